"""F7, S5, S6: models that are damaged, hostile, or not numbers, on disk and from a lying peer."""

import json
import os
import struct

import numpy as np
import pytest

from services.common.errors import SwarmError
from services.common.sn_api import Phase
from swarmlearning.wire.digest import digest_of
from swarmlearning.wire.tensors import read
from tests.faults.actor import Actor
from tests.faults.invariants import check
from tests.faults.light_ml import model_file
from tests.faults.standing import PATIENCE, SMALL

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(240)]


def good(**changes):
    """A model like those of `light_ml`."""
    arrays = {"weight": np.ones(SMALL, np.float32), "steps": np.array(1, np.int64), **changes}
    return model_file(arrays)


SIZE = len(good())


def headed(header, length=None):
    """A file of the right size with that header; ``length``: what it says the header has."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    length = len(text) if length is None else length
    return (struct.pack("<Q", length) + text).ljust(SIZE, b" ")[:SIZE]


def altered(old, new):
    """A good file with something else in its header, of the same size."""
    content = good()
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].rstrip().replace(old, new)
    assert len(header) <= length
    return content[:8] + header.ljust(length) + content[8 + length :]


def entry(begin, end, dtype="F32", shape=None):
    shape = [(end - begin) // 4] if shape is None else shape
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def weights(value, at=7):
    found = np.ones(SMALL, np.float32)
    found[at] = value
    return found


HOSTILE = {
    "pickle that calls": (b"cos\nsystem\n(S'touch /tmp/pwned'\ntR.".ljust(SIZE, b"."), "header"),
    "header larger than the file": (headed(b"{}", 2**62), "header"),
    "header that is no JSON": (headed(b"\xff\xfe{"), "header"),
    "nested a thousand deep": (headed(b"[" * 1000), "header"),
    "tensors that overlap": (
        headed({"weight": entry(0, 4 * SMALL), "steps": entry(0, 8, "I64", [])}), ""
    ),
    "tensor beyond the file": (headed({"weight": entry(0, 2**40)}), ""),
    "object array": (headed({"weight": entry(0, 4 * SMALL, "OBJECT")}), ""),
    "shape of 2**62 items": (headed({"weight": entry(0, 4, shape=[2**31, 2**31, 0])}), ""),
    "another dtype": (good(weight=np.ones(SMALL, np.int32)), "I32"),
    "another shape": (altered(b"[1000]", b"[10,100]"), "expected F32"),
    "another name": (altered(b'"weight"', b'"height"'), "missing"),
    "not a number": (good(weight=weights(np.nan)), "not finite"),
    "infinity": (good(weight=weights(-np.inf)), "not finite"),
}  # fmt: skip
"""What a peer may serve under its right digest and the right size, and words of the refusal."""


async def round_with(training, actor, digest, size=SIZE, **changes):
    """A round to which everybody checks in, the actor with what is given."""
    before = training.pairs[0].synced
    await actor.check_in(digest, size, **changes)
    training.sync()
    await training.synced(before + 1)


@pytest.fixture
async def with_actor(train):
    """A training of two pairs and an actor, with a first round behind it."""
    training = await train("hostile", 2)
    await training.start(2, SL_WAIT_FOR_FULL_QUORUM_SECONDS="20")
    actor = await training.enter(Actor(training))
    await round_with(training, actor, actor.serve(good()))
    return training, actor


async def ended(training, actor):
    await actor.leave()
    await training.end()
    told = await check(training, *training.pairs)
    return told, {e.round: e.data["reason"] for e in told.of("Dropped", peer=actor.uid)}


async def test_hostile_models_of_a_peer_are_refused_with_the_reason(with_actor):
    training, actor = with_actor
    expected = {}
    for number, (name, (content, words)) in enumerate(HOSTILE.items(), 2):
        assert len(content) == SIZE, name
        await round_with(training, actor, actor.serve(content))
        expected[number] = words
    whole = actor.serve(good(steps=np.array(9, np.int64)))
    await round_with(training, actor, whole)

    told, reasons = await ended(training, actor)
    assert set(reasons) == set(expected)
    for number, words in expected.items():
        assert words in reasons[number], (number, reasons[number])
    last = told.rounds[len(expected) + 1]
    assert whole in {c.digest for c in last.contributors}, "an honest model is taken again"


async def test_a_lying_file_server_is_found_out_by_the_digest(with_actor):
    training, actor = with_actor
    honest = good(steps=np.array(7, np.int64))
    digest = digest_of(honest)
    flipped = bytearray(honest)
    flipped[-5] ^= 4
    for content in (bytes(flipped), honest[:-100], honest + b"more"):
        actor.serve(content, digest)
        await round_with(training, actor, digest)
    actor.store.path(digest).unlink()
    await round_with(training, actor, digest)  # it has nothing
    await round_with(training, actor, digest, size=2**62)
    actor.serve(honest)
    await round_with(training, actor, digest)

    told, reasons = await ended(training, actor)
    assert "is another file" in reasons[2]
    assert "announced were" in reasons[3]
    assert "announced were" in reasons[4]
    assert "no model file" in reasons[5]
    assert f"it has {2**62} bytes" in reasons[6]
    assert set(reasons) == {2, 3, 4, 5, 6}
    assert digest in {c.digest for c in told.rounds[6].contributors}
    said = training.pairs[0].sl.said(100_000) + training.pairs[1].sl.said(100_000)
    assert "is damaged: fetching it again" in said


def by_mean(attack):
    """A mean follows an attacker as far as its weightage goes: here a third of the way."""
    return attack / 3


def not_at_all(_):
    """A coordinate's median is the value of an honest peer, or between two of them."""
    return 0.0


def hardly(_):
    """One of three cannot carry the model away, whatever it sends."""
    return 0.5


BOUNDS = {"mean": by_mean, "coordmedian": not_at_all, "geomedian": hardly, "normclip": hardly}
"""By merge method: how far from the honest peers' models (all items within 1) a merge may be when
a third peer of the same weightage is ``attack`` away. A robust method: a small number."""


@pytest.mark.parametrize("method", list(BOUNDS))
async def test_large_and_flipped_parameters_do_what_the_method_allows(train, method):
    training = await train(f"attack-{method}", 2, method=method)
    await training.start(2, SL_WAIT_FOR_FULL_QUORUM_SECONDS="20")
    actor = await training.enter(Actor(training))
    attacks = [1.0, 1000.0, -10.0, float(np.finfo(np.float32).max)]
    for value in attacks:
        content = good(weight=np.full(SMALL, value, np.float32))
        await round_with(training, actor, actor.serve(content))
    for weightage in (-1, 101, 10**9):
        with pytest.raises(SwarmError) as refused:
            await actor.check_in(actor.serve(good()), SIZE, weightage=weightage)
        assert "weightage" in str(refused.value)
    told, reasons = await ended(training, actor)
    assert not reasons
    for record, attack in zip(told.rounds, attacks, strict=False):
        assert {c.weightage for c in record.contributors} == {1}
        merged = read((training.kept / record.digest).read_bytes())["weight"]
        honest = [
            read((training.kept / c.digest).read_bytes())["weight"]
            for c in record.contributors
            if c.peer != actor.uid
        ]
        reach = max(np.abs(each).max() for each in honest)
        assert np.abs(merged).max() <= reach + BOUNDS[method](abs(attack)) * 1.001


def flip(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 16
    path.write_bytes(content)


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


async def test_a_model_damaged_on_a_peers_disk_is_not_merged(train):
    training = await train("damaged", 2)
    leader, other = await training.start(2, SL_WAIT_FOR_FULL_QUORUM_SECONDS="20")
    victim = await training.pair(SL_MAKE_ME_ADMIN="False")
    await training.enrolled()
    training.sync()
    await training.synced(1)
    for number, damage in enumerate((flip, truncate, os.unlink), 2):
        victim.sync()
        leader.sync()
        view = await training.until(
            lambda v, n=number: v.round == n and victim.of(v).checkin and v.phase is Phase.QUORUM,
            "no check-in",
        )
        checked_in = victim.of(view).checkin
        assert checked_in is not None
        damage(victim.store / checked_in.digest)
        other.sync()
        await training.synced(number)
    training.sync()
    await training.synced(5)
    await training.end()

    told = await check(training, *training.pairs)
    reasons = told.reasons(victim)
    assert "on disk was damaged" in reasons[2]
    assert "on disk was damaged" in reasons[3]
    assert "no model file" in reasons[4]
    assert told.took_part(victim) == [1, 5, 6]


async def test_the_leaders_own_model_damaged_on_its_disk_is_not_merged(train):
    training = await train("own", 2)
    leader = await training.pair(SL_WAIT_FOR_FULL_QUORUM_SECONDS="20")
    for _ in range(2):
        await training.pair(SL_MAKE_ME_ADMIN="False")
    await training.enrolled()
    training.sync()
    await training.synced(1)
    leader.sync()
    training.pairs[1].sync()
    view = await training.until(
        lambda v: v.phase is Phase.QUORUM and leader.of(v).checkin, "no check-in"
    )
    checked_in = leader.of(view).checkin
    assert checked_in is not None
    flip(leader.store / checked_in.digest)
    training.pairs[2].sync()
    assert await leader.sl.end(PATIENCE) == 4
    assert "our own model cannot be merged with the others" in leader.sl.said()
    assert leader.ml is not None
    assert await leader.ml.end(PATIENCE) != 0
    assert "SL error: our own model cannot be merged" in leader.ml.said()
    another = await training.pair()
    another.sync(2)
    rest = training.others(leader)
    await training.synced(2, *rest)
    await training.end(*rest)

    told = await check(training, *rest)
    assert told.took_part(leader) == [1]
    (left,) = told.of("Left", peer=leader.uid)
    assert "its own file" in str(left.data["reason"]) or "own model" in str(left.data["reason"])
