"""A client as HPE's wheel 2.3.0 is described in compat/01, byte by byte; shares no code with ours.

Used in the test process (on a thread, because everything blocks) and as a program of its own:
``python foreign_client.py REQUEST RESPONSE FOLDER SYNCS``.
"""

import io
import pickle
import struct
import sys
from pathlib import Path

import numpy as np

STATUS, OPEN, OPENED, CLOSE, CLOSED, SYNC, SYNCED, LOSS, LOST, KILL = range(1, 11)


def varint(value):
    value &= 2**64 - 1
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number, value):
    """One protobuf field; proto3 leaves zero values out."""
    if isinstance(value, float):
        return bytes([number << 3 | 5]) + struct.pack("<f", value) if value else b""
    if isinstance(value, int):
        return varint(number << 3) + varint(value) if value else b""
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data if data else b""


def fields(body):
    """Protobuf fields of a message: number -> value."""
    found, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = body[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(body):
        tag = number()
        if tag & 7 == 0:
            found[tag >> 3] = number()
        elif tag & 7 == 5:
            found[tag >> 3] = struct.unpack("<f", body[at : at + 4])[0]
            at += 4
        else:
            length = number()
            found[tag >> 3] = body[at : at + length]
            at += length
    return found


def frame(kind, body, version=2):
    header = b"\x0a\x0a\x0d" + struct.pack("<I", version) + b"\x15" + struct.pack("<I", version)
    header += b"\x15" + struct.pack("<I", kind) + b"\x1d" + struct.pack("<I", len(body))
    assert len(header) == 22
    return header + body


def text(value):
    raw = value.encode()
    return b"\x8c" + bytes([len(raw)]) + raw + b"\x94"


def integer(value):
    return b"J" + struct.pack("<i", value)


def tuple_of(items):
    return b"(" + b"".join(items) + b"t\x94"


def pickled(arrays):
    """A dict of arrays as numpy 1.2x pickles it with protocol 5, opcode by opcode."""
    out = b"\x80\x05}\x94("
    for name, array in arrays.items():
        order = "|" if array.dtype.itemsize == 1 else "<"
        dtype = (
            text("numpy")
            + text("dtype")
            + b"\x93\x94"
            + text(array.dtype.str[1:])
            + b"\x89\x88\x87\x94R\x94"
            + b"(K\x03"
            + text(order)
            + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t\x94b"
        )
        data = array.tobytes()
        out += text(name) + text("numpy.core.numeric") + text("_frombuffer") + b"\x93\x94("
        out += b"\x96" + struct.pack("<Q", len(data)) + data + b"\x94"
        out += dtype + tuple_of([integer(size) for size in array.shape]) + text("C") + b"t\x94R\x94"
    return out + b"u."


class OldNumpy(pickle.Unpickler):
    """Finds only what numpy 1 had, under numpy 1's names."""

    def find_class(self, module, name):
        assert (module, name) in {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }, f"numpy 1 has no {module}.{name}"
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


class ForeignClient:
    """One session."""

    def __init__(self, request, response, folder):
        self.incoming = Path(response).open("rb")  # noqa: SIM115 - kept for the session
        self.outgoing = Path(request).open("wb")  # noqa: SIM115 - kept for the session
        self.folder = Path(folder)
        self.session = ""
        self.syncs = 0
        self.merged = []

    def send(self, kind, body):
        data = frame(kind, body)
        self.outgoing.write(data[:22])
        self.outgoing.write(data[22:])
        self.outgoing.flush()

    def receive(self):
        header = self.incoming.read(22)
        if len(header) < 22:
            raise RuntimeError(f"wanted: 22 bytes, got {len(header)} bytes: pipe closed?")
        assert header[:2] == b"\x0a\x0a"
        assert header[2:12] == b"\x0d\x02\0\0\0\x15\x02\0\0\0"
        kind, size = struct.unpack("<I", header[13:17])[0], struct.unpack("<I", header[18:])[0]
        assert size > 0
        message = fields(self.incoming.read(size))
        if kind == STATUS and message.get(1):
            raise RuntimeError(f"SL error: {message[2].decode()}")
        return kind, message

    def open(self):
        body = field(1, 128) + field(2, 2) + field(5, "snapshot") + field(6, 1)
        body += field(7, "defaultbb.cqdb.sml.hpe") + field(8, "mean")
        self.send(OPEN, body)
        kind, message = self.receive()
        assert kind == OPENED
        status = fields(message[1])
        if status.get(1):
            raise RuntimeError(f"SL error: {status[2].decode()}")
        self.session = message[2].decode()
        assert self.session

    def round(self, arrays, close=False):
        """A sync, or the close; returns interval and whether training is over."""
        (self.folder / "trained_weights.pkl").write_bytes(pickled(arrays))
        sequence = 1 if close else self.syncs + 1
        self.syncs += not close
        body = field(1, self.session) + field(2, sequence) + field(3, 0 if close else 1)
        self.send(CLOSE if close else SYNC, body + field(4, 1) + field(5, "trained_weights.pkl"))
        loads = 0
        while True:
            kind, message = self.receive()
            if kind != LOSS:
                break
            loads += 1
            assert message[1].decode() == self.session
            assert message[2] == sequence
            raw = (self.folder / message[4].decode()).read_bytes()
            self.merged.append(OldNumpy(io.BytesIO(raw)).load())
            answer = field(1, self.session) + field(2, sequence) + field(3, message[3])
            answer += field(4, field(2, "StatusOK")) + field(5, 0.5) + field(7, 1)
            self.send(LOST, answer)
        assert kind == (CLOSED if close else SYNCED)
        assert loads >= 1, "the merged model enters the ML program only in a loss request"
        assert message[2] == sequence
        assert not fields(message.get(3, b"")).get(1)
        assert message[4] >= 1
        return message[4], bool(message.get(5))

    def close(self):
        self.outgoing.close()
        self.incoming.close()


def model():
    return {
        "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "double": np.array([1 / 3]),
        "bn.num_batches_tracked": np.array(7),
        "mask": np.array([True, False]),
        "half": np.ones(2, np.float16),
        "empty": np.zeros((0, 3), np.float32),
    }


def main():
    request, response, folder, syncs = sys.argv[1:]
    client = ForeignClient(request, response, folder)
    client.open()
    for _ in range(int(syncs)):
        client.round(model())
    client.round(model(), close=True)
    client.close()


if __name__ == "__main__":
    main()
