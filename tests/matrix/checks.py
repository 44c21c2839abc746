"""What the client must do on every Python, numpy and protobuf. Needs nothing but the wheel.

Run by ``python -m tests.matrix`` as ``python checks.py PROTOBUF NUMPY`` in each environment, and by
``tests/unit/client/test_matrix_checks.py`` in ours. Plain functions and asserts, no test framework.
"""

import hashlib
import logging
import os
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import google.protobuf
import numpy as np

import swarmlearning
from swarmlearning._options import parse
from swarmlearning._session import Session
from swarmlearning._weights import MERGED, TRAINED
from swarmlearning.errors import SwarmError
from swarmlearning.wire import messages as m
from swarmlearning.wire.codec import Decoder, encode
from swarmlearning.wire.digest import digest_of
from swarmlearning.wire.tensors import layout_of, read, write_into

OK = m.Status()

MESSAGES = (
    m.Status(m.StatusCode.ERROR_IN_SL, "überfüllt"),
    m.SessionRequest(128, 2, True, "snapshot", 100, "defaultbb.cqdb.sml.hpe", "mean"),
    m.SessionResponse(OK, "s-1"),
    m.SessionResponse(OK, "s-1", epochs_done=7),
    m.CloseRequest("s-1", 1, 0, TRAINED),
    m.CloseResponse("s-1", 1, OK, 1, False),
    m.SyncRequest("s-1", 2**31 - 1, 100, TRAINED),
    m.SyncResponse("s-1", 3, OK, 128, True),
    m.LossRequest("s-1", 3, 1, MERGED),
    m.LossResponse("s-1", 3, 1, m.Status(m.StatusCode.ERROR_IN_USER, "x"), -1.0, 0.5, 3, 5),
    m.KillSession("s-1", OK),
)

FRAMES_SHA256 = "0b0b9728246e93130c5f16595c3a624ef5f65abfd95e0d245b9499ceed9dbba7"
"""SHA-256 over the frames of MESSAGES: the same bytes under every protobuf."""

FILE_DIGEST = "90f3709be37fea74c68c32a3c3ed25ee343210b9d55feaf7aeea9e20a1ddde9a"
"""Digest of the model file of :func:`arrays`: the same bytes under every numpy."""


def arrays():
    """One array of each dtype, and of each awkward shape."""
    kinds = ("?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8")
    made = {f"kind.{kind}": np.arange(6).reshape(2, 3).astype(kind) for kind in kinds}
    made["0d"] = np.array(2**60 + 1)
    made["empty"] = np.zeros((0, 4), "f4")
    made["strided"] = np.arange(12, dtype="f4").reshape(3, 4)[:, ::2].T
    made["big endian"] = np.arange(3, dtype=">f8")
    made["bf16"] = np.array([0x3FC0, 0xC000], "u2")
    return made


def check_that_no_framework_is_imported():
    heavy = {"torch", "tensorflow", "keras", "transformers", "sklearn", "lightning"}
    assert not heavy & set(sys.modules), heavy & set(sys.modules)


def check_messages():
    frames = b"".join(map(encode, MESSAGES))
    assert hashlib.sha256(frames).hexdigest() == FRAMES_SHA256
    decoder, found = Decoder(), []
    for byte in frames:
        decoder.feed(bytes([byte]))
        if (message := decoder.next_message()) is not None:
            found.append(message)
    assert tuple(found) == MESSAGES, found


def check_model_files():
    made = arrays()
    layout = layout_of(made, bfloat16=["bf16"])
    raw = bytearray(layout.file_size)
    write_into(raw, made, layout)
    assert digest_of(raw) == FILE_DIGEST
    again = read(raw)
    assert again.keys() == made.keys()
    for name, array in made.items():
        assert again[name].shape == array.shape, name
        assert np.array_equal(again[name], array), name


class Model:
    """A user's model of plain arrays."""

    def __init__(self):
        self.arrays = {"w": np.arange(3.0), "n": np.array(5), "h": np.ones((2, 2), "f2")}

    def layout(self):
        return layout_of(self.arrays)

    def save(self, target):
        for name, array in self.arrays.items():
            target[name][...] = array

    def load(self, source):
        self.arrays = {name: np.array(array) for name, array in source.items()}

    def evaluate(self):
        return 0.25, 0.75


class SlDouble(threading.Thread):
    """The SL's end of the pipes: doubles each model's ``w``, or answers as told."""

    def __init__(self, folder, opened):
        super().__init__(daemon=True)
        self.folder, self.opened = folder, opened
        self.request, self.response = folder / "request", folder / "response"
        for name in (TRAINED, MERGED):
            (folder / name).touch()
        os.mkfifo(self.request)
        os.mkfifo(self.response)
        self.environment = {
            "SL_REQUEST_CHANNEL": str(self.request),
            "SL_RESPONSE_CHANNEL": str(self.response),
            "SL_WEIGHTS_DIR": str(folder),
        }
        self.heard = []
        self.start()

    def run(self):
        with self.response.open("wb", 0) as out, self.request.open("rb", 0) as incoming:
            decoder = Decoder()
            while data := incoming.read(65536):
                decoder.feed(data)
                while (message := decoder.next_message()) is not None:
                    self.heard.append(message)
                    for answer in self.answers(message):
                        out.write(encode(answer))

    def answers(self, message):
        if isinstance(message, m.SessionRequest):
            return [self.opened]
        if isinstance(message, (m.SyncRequest, m.CloseRequest)):
            self.asked = message
            raw = bytearray((self.folder / message.file_name).read_bytes())
            read(raw)["w"][:] *= 2
            (self.folder / MERGED).write_bytes(raw)
            return [m.LossRequest("s-1", message.sequence, 1, MERGED)]
        if isinstance(message, m.LossResponse):
            kind = m.SyncResponse if isinstance(self.asked, m.SyncRequest) else m.CloseResponse
            return [kind("s-1", message.sequence, OK, 2, False)]
        return []


def session_of(environment, model=None):
    log = logging.getLogger("checks")
    return Session(
        parse(2, 1, "c", {"totalEpochs": 1}, (), log), model or Model(), log, environment
    )


def check_a_session_over_pipes():
    with tempfile.TemporaryDirectory() as folder:
        sl, model = SlDouble(Path(folder), m.SessionResponse(OK, "s-1", epochs_done=4)), Model()
        session = session_of(sl.environment, model)
        session.open()
        assert session.resume_epoch == 4
        session.train_begin()
        for _ in range(5):  # syncs at the ends of batches 3 and 5
            session.batch_end()
        session.epoch_end()
        session.train_end()
        sl.join(30)
        assert not sl.is_alive()
    assert model.arrays["w"].tolist() == [0, 16, 32]
    assert (model.arrays["n"].dtype, model.arrays["h"].dtype) == ("i8", "f2")
    kinds = [type(message).__name__ for message in sl.heard]
    assert kinds == [
        "SessionRequest", *["SyncRequest", "LossResponse"] * 3, "CloseRequest", "LossResponse",
    ]  # fmt: skip
    assert sl.heard[-1] == m.LossResponse("s-1", 1, 1, OK, 0.25, 0.75, 1, 1)


def check_a_refusal_has_its_reason():
    with tempfile.TemporaryDirectory() as folder:
        status = m.Status(m.StatusCode.ERROR_IN_SL, "no such contract")
        sl = SlDouble(Path(folder), m.SessionResponse(status, ""))
        session = session_of(sl.environment)
        try:
            session.open()
        except SwarmError as exc:
            assert str(exc).endswith("failed - SL error: no such contract"), exc
        else:
            raise AssertionError("it was not refused")
        sl.join(30)


def check_loopback_touches_nothing():
    session = session_of({"SWARM_LOOPBACK": "True"})
    session.open()
    for call in (session.train_begin, session.batch_end, session.epoch_end, session.train_end):
        call()


CHECKS = [check for name, check in list(globals().items()) if name.startswith("check_")]


def main():
    wanted = tuple(sys.argv[1:])
    found = google.protobuf.__version__, np.__version__
    assert found == wanted, f"wanted protobuf and numpy {wanted}, found {found}"
    assert "site-packages" in swarmlearning.__file__, "this is not the installed wheel"
    logging.getLogger("checks").addHandler(logging.NullHandler())
    logging.getLogger("checks").propagate = False
    output, sys.stdout = sys.stdout, open(os.devnull, "w")  # noqa: PTH123, SIM115
    try:
        for check in CHECKS:
            check()
    finally:
        with suppress(OSError):
            sys.stdout.close()
        sys.stdout = output
    sys.stdout.write(f"{len(CHECKS)} checks\n")


if __name__ == "__main__":
    main()
