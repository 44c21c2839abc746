"""Making a leader's merge once more: where its inputs come from, and the same bytes in the end."""

import asyncio

import numpy as np
import pytest

from services.common.ids import NodeId
from services.sl.adapters.executor import Executor
from services.sl.adapters.merging import merge_files
from services.sl.adapters.peers import Peers
from services.sl.adapters.store import _stamp
from services.sl.core import events as ev
from services.sl.core.merge import METHODS
from tests.component.sl.plane import DEADLINE, QUICK, Plane, model_file, put
from tests.pki import Pki

NOBODY = "127.0.0.1:1"
"""Where nobody listens."""


@pytest.fixture
def plane(tmp_path):
    return Plane(Pki(tmp_path / "pki"), tmp_path)


@pytest.fixture
async def peers(plane):
    async with Peers(plane.identity(name="2"), QUICK) as made:
        yield made


class Attester:
    """An SL of which only what recomputing needs is there."""

    def __init__(self, plane, peers):
        self.store = plane.store("attester")
        self._peers = peers

    async def outcome(self, command):
        """What it reports."""
        events = asyncio.Queue()
        async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
            executor = Executor(
                "c", 1, NodeId("e" * 32), None, self.store, self._peers, None, events.put_nowait,
                group,
            )  # fmt: skip
            executor.start(command)
            return await events.get()


@pytest.fixture
def attester(plane, peers):
    return Attester(plane, peers)


def put_models(store, count=3):
    """Models of peers, and what their merge is about."""
    return [put(store, model_file(seed)) for seed in range(count)]


def merge_of(store, digests, endpoints, method="mean", base=None):
    inputs = tuple(
        ev.Input(NodeId(f"{n:032x}"), endpoint, ev.Model(digest, store.size(digest)), n + 1)
        for n, (digest, endpoint) in enumerate(zip(digests, endpoints, strict=True))
    )
    return ev.Merge(3, 1, method, inputs, base)


async def leaders(store, merge):
    weights = [(i.model.digest, i.weightage) for i in merge.inputs]
    base = merge.base.digest if merge.base else None
    made = await merge_files(merge.method, store, weights, base)
    return ev.Model(made.digest, made.size)


@pytest.mark.parametrize("method", sorted(METHODS))
async def test_every_method_gives_the_leaders_bytes(plane, attester, method):
    leader = plane.store("leader")
    digests = put_models(leader)
    async with plane.serving(leader) as served:
        merge = merge_of(leader, digests, [served.endpoint] * 3, method)
        event = await attester.outcome(ev.Recompute(merge, ()))
    assert isinstance(event, ev.Recomputed)
    assert event.model == await leaders(leader, merge)
    assert attester.store.has(event.model.digest), "it need not be fetched when it is published"


async def test_what_a_peer_does_not_serve_comes_from_the_leader_or_from_who_has_it(plane, attester):
    leader, other = plane.store("leader"), plane.store("other")
    digests = put_models(leader)
    put(other, model_file(2))
    lacking = plane.store("lacking")
    put(lacking, model_file(0))
    put(lacking, model_file(1))
    async with plane.serving(lacking) as first, plane.serving(other) as second:
        merge = merge_of(leader, digests, [NOBODY, first.endpoint, NOBODY])
        command = ev.Recompute(merge, (NOBODY, first.endpoint, second.endpoint))
        event = await attester.outcome(command)
    assert event.model == await leaders(leader, merge)


async def test_the_base_is_fetched_too_where_it_is_not_there(plane, attester):
    leader = plane.store("leader")
    digests = put_models(leader)
    base = put(leader, model_file(7))
    async with plane.serving(leader) as served:
        about = ev.Model(base, leader.size(base))
        merge = merge_of(leader, digests, [served.endpoint] * 3, base=about)
        event = await attester.outcome(ev.Recompute(merge, (served.endpoint,)))
    assert event.model == await leaders(leader, merge)
    assert attester.store.has(base)


async def test_inputs_that_nobody_serves_are_a_failure(plane, attester):
    leader = plane.store("leader")
    digests = put_models(leader)
    command = ev.Recompute(merge_of(leader, digests, [NOBODY] * 3), (NOBODY,))
    event = await attester.outcome(command)
    assert isinstance(event, ev.Failed)
    assert "no peer serves model" in event.reason


async def test_a_peer_that_serves_something_else_does_not_mislead_it(plane, attester):
    leader, false = plane.store("leader"), plane.store("false")
    digests = put_models(leader)
    for digest in digests:
        false.path(digest).write_bytes(model_file(9))
        # as if it had been good when it came
        false._checked[digest] = _stamp(false.path(digest).stat())
    async with plane.serving(false) as bad, plane.serving(leader) as good:
        merge = merge_of(leader, digests, [bad.endpoint] * 3)
        event = await attester.outcome(ev.Recompute(merge, (good.endpoint,)))
    assert event.model == await leaders(leader, merge)


async def test_inputs_that_cannot_be_merged_are_said_to_be_such(plane, attester, caplog):
    leader = plane.store("leader")
    digests = [put(leader, model_file(1)), put(leader, model_file(2, bad=np.nan))]
    async with plane.serving(leader) as served:
        merge = merge_of(leader, digests, [served.endpoint] * 2)
        event = await attester.outcome(ev.Recompute(merge, ()))
    assert event == ev.Recomputed(event.command, None, event.now)
    assert "cannot attest the merge of round 3" in caplog.text
    assert "not finite" in caplog.text
