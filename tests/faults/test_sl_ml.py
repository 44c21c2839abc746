"""F9, S5, S6 at the hand-over: ML programs that die, babble, or hand over what no model is.

The ML programs here are `foreign_client`'s, which shares no code with our client, in the hands of
the test. Every case has an SL of its own; all cases of a test run at the same time.
"""

import asyncio
import contextlib
import json
import pickle
import signal
import struct
import time

import numpy as np
import pytest

from services.common.sn_api import Phase
from tests.component.sl.foreign_client import (
    OPEN,
    OPENED,
    SYNC,
    ForeignClient,
    field,
    fields,
    frame,
    pickled,
)  # fmt: skip
from tests.faults.invariants import check
from tests.faults.light_ml import model_file
from tests.faults.standing import PATIENCE, SMALL, until

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(240)]
ENDS_IN = 10.0
"""Seconds in which an SL ends whose ML program failed it."""


class Ml(ForeignClient):
    """An ML program that says what the test wants."""

    @classmethod
    async def connected(cls, pair):
        await until(lambda: (pair.folder / "response").exists(), "no pipes")  # the second one
        paths = (pair.folder / name for name in ("request", "response"))
        made = await asyncio.to_thread(cls, *paths, pair.folder)
        made.contract = pair.training.name
        pair.training.at_end(made.close)
        return made

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            super().close()

    async def begin(self, min_peers=2, method="mean"):
        body = field(1, 1) + field(2, min_peers) + field(5, "snapshot") + field(6, 1)
        self.send(OPEN, body + field(7, self.contract) + field(8, method))
        kind, message = await self.hear()
        if kind == OPENED:
            status = fields(message[1]) if message.get(1) else {}
            if status.get(1):
                raise RuntimeError(f"SL error: {status[2].decode()}")
            self.session = message[2].decode()
        return kind, message

    async def hear(self):
        async with asyncio.timeout(20):
            return await asyncio.to_thread(self.receive)

    def sync(self, content, name="trained_weights.safetensors", weightage=1):
        if name in ("trained_weights.safetensors", "trained_weights.pkl"):
            (self.folder / name).write_bytes(content)
        body = field(1, self.session) + field(2, 1) + field(3, weightage)
        self.send(SYNC, body + field(4, 1) + field(5, name))


async def together(cases):
    """Run cases at the same time; all that fail are told."""
    outcomes = await asyncio.gather(*cases, return_exceptions=True)
    errors = [each for each in outcomes if isinstance(each, Exception)]
    if errors:
        raise ExceptionGroup("cases", errors)
    return outcomes


async def never_opens(pair):
    await until(lambda: (pair.folder / "response").exists(), "no pipes")
    return "no ML program opened the pipes"


async def dies_before_it_says_a_word(pair):
    ml = await Ml.connected(pair)
    ml.close()
    return "its log says why"  # with its first words missing, or none at all


async def dies_with_its_pipes_open(pair):
    ml = await Ml.connected(pair)
    await ml.begin()
    ml.close()
    return "the ML program closed its pipe"


async def stops_in_half_a_frame(pair):
    ml = await Ml.connected(pair)
    await ml.begin()
    ml.outgoing.write(frame(SYNC, b"x" * 100)[:60])
    ml.outgoing.flush()
    return "stopped in the middle of a message: wanted 100 bytes, got 38"


async def dies_in_half_a_header(pair):
    ml = await Ml.connected(pair)
    await ml.begin()
    ml.outgoing.write(frame(SYNC, b"x")[:7])
    ml.outgoing.flush()
    ml.close()
    return "ended in the middle of a message"


async def talks_garbage(pair):
    ml = await Ml.connected(pair)
    await ml.begin()
    ml.outgoing.write(np.random.default_rng(1).bytes(4096))
    ml.outgoing.flush()
    with pytest.raises(RuntimeError, match=r"SL error|pipe closed"):
        await ml.hear()
    return "the ML program broke the protocol"


FAILING = (
    never_opens, dies_before_it_says_a_word, dies_with_its_pipes_open, stops_in_half_a_frame,
    dies_in_half_a_header, talks_garbage,
)  # fmt: skip


async def fails(pair, how):
    """One case: the SL must end with the words that ``how`` returns; how long that took."""
    words = await how(pair)
    began = time.monotonic()
    code = await pair.sl.end(ENDS_IN)
    took = time.monotonic() - began
    assert code == 4, (how, pair.sl.said())
    last = pair.sl.said().splitlines()[-1]
    assert " : ERROR : " in last, (how, last)
    assert words in last, (how, last)
    assert pair.result["outcome"] == "left"
    assert words in pair.result["reason"]
    return took


async def test_an_ml_program_that_fails_ends_its_sl_and_nobody_else(train, record_property):
    training = await train("failing", 2)
    pairs = [await training.pair(with_ml=False, SL_ML_CONNECT_TIMEOUT="2") for _ in FAILING]
    took = await together(map(fails, pairs, FAILING))
    record_property("SL ended after its ML program failed", max(took))
    nodes = {node.uid: node.alive for node in await training.client.nodes()}
    assert not any(nodes.get(pair.uid) for pair in pairs), "all signed off"

    whole = await training.start(2)
    training.pairs = whole
    training.sync()
    await training.synced(1)
    await training.end()
    told = await check(training, *whole)
    enrolled = pairs[2:]
    left = {str(e.data["peer"]): str(e.data["reason"]) for e in told.of("Left")}
    assert set(left) == {pair.uid for pair in enrolled}
    assert all(pair.result["reason"][:60] in left[pair.uid] for pair in enrolled)


async def test_an_ml_program_killed_while_others_wait_for_it(train):
    training = await train("ml-killed", 2)
    first, second, victim = await training.start(3, SL_WAIT_FOR_FULL_QUORUM_SECONDS="30")
    training.sync()
    await training.synced(1)
    first.sync()
    second.sync()
    await training.until(lambda v: v.phase is Phase.QUORUM, "no quorum")
    victim.ml.send(signal.SIGKILL)
    assert await victim.sl.end(ENDS_IN) == 4
    await training.until_round(3, 10)  # the others need not wait for their window
    await training.end(first, second)
    told = await check(training, first, second)
    (left,) = told.of("Left", peer=victim.uid)
    assert "the ML program closed its pipe" in str(left.data["reason"])


# --- what it hands over


class Calls:
    def __reduce__(self):
        return (open, ("pwned", "w"))


def safetensors(header, data=b""):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def object_array():
    return pickle.dumps({"w": np.array([{}, "x"], object)})


def doubling_pickle():
    """A few kilobytes that would become 2**40 items."""
    out = b"\x80\x04}(\x8c\x01w]q\x00K\x01a"
    for number in range(40):
        out += b"]q" + bytes([number + 1]) + 2 * (b"h" + bytes([number])) + b"e"
    return out + b"u."


def weights():
    return {"weight": np.ones(SMALL, np.float32), "steps": np.array(1)}


def with_nan():
    arrays = weights()
    arrays["weight"][3] = np.nan
    return arrays


ST, PKL = "trained_weights.safetensors", "trained_weights.pkl"
HANDED = {
    "pickle that calls": (PKL, pickle.dumps({"w": Calls()}), "it wants to use"),
    "pickle of objects": (PKL, object_array(), ""),
    "pickle that doubles": (PKL, doubling_pickle(), ""),
    "pickle cut off": (PKL, pickled(weights())[:-40], ""),
    "not a pickle": (PKL, b"hello", ""),
    "header of 2**63 bytes": (ST, struct.pack("<Q", 2**63) + b"{}", "header"),
    "tensor of 2**50 bytes": (
        ST, safetensors({"w": {"dtype": "F32", "shape": [2**48], "data_offsets": [0, 2**50]}}), ""
    ),
    "nothing": (ST, b"", "empty"),
    "no tensors": (ST, safetensors({}), "no parameters"),
    "not a number": (ST, model_file(with_nan()), "not finite"),
    "path": ("../../trained_weights.pkl", b"", "named its parameters"),
    "absolute path": ("/etc/passwd", b"", "named its parameters"),
}  # fmt: skip


async def told_why(pair, act, words):
    """One case: the ML program hears why, the SL ends with that and leaves."""
    ml = await Ml.connected(pair)
    with pytest.raises(RuntimeError) as refused:
        await act(ml)
        await ml.hear()
    code = await pair.sl.end(PATIENCE)
    assert code in (2, 4), pair.sl.said()
    assert "Traceback" not in pair.sl.said(), pair.sl.said()
    assert "SL error" in str(refused.value), refused.value
    assert words in str(refused.value), refused.value
    assert words in pair.result["reason"]


async def test_what_is_no_model_is_refused_at_the_hand_over(train):
    training = await train("handed", 2)
    pairs = {name: await training.pair(with_ml=False) for name in HANDED}

    async def one(name, pair):
        file_name, content, words = HANDED[name]

        async def act(ml):
            await ml.begin()
            ml.sync(content, file_name)

        await told_why(pair, act, words)

    await together(one(name, pair) for name, pair in pairs.items())
    told = await check(training)
    left = {str(e.data["peer"]) for e in told.of("Left")}
    assert left == {pair.uid for pair in pairs.values()}
    assert not told.of("CheckedIn")
    assert not list(training.folder.rglob("pwned"))


WEIGHTAGES = (0, -1, 101, 2**31 - 1)


async def test_terms_and_weightages_that_nobody_may_ask_for(train):
    training = await train("weightage", 2)

    def asks(weightage):
        async def act(ml):
            await ml.begin()
            ml.sync(model_file(weights()), weightage=weightage)

        return act

    def begins(**terms):
        async def act(ml):
            await ml.begin(**terms)

        return act

    cases = [(asks(weightage), "weightage") for weightage in WEIGHTAGES]
    cases += [(begins(min_peers=n), "minPeers") for n in (0, -1, 1001)]
    cases += [(begins(method="MEAN\n; drop"), "merge method")]
    pairs = [await training.pair(with_ml=False) for _ in cases]
    await together(told_why(p, *case) for p, case in zip(pairs, cases, strict=True))
    told = await check(training)
    assert not told.of("CheckedIn")
