"""What an SL node does after its own ML program got the final model."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from services.common import sn_api as api
from services.sl import participation
from services.sl.core import events as ev

ME, SLOW, GONE = "a" * 32, "b" * 32, "c" * 32


def completed(slow_has_it, *, size=10, phase=api.Phase.COMPLETED):
    def peer(uid, perf_round, live=True):
        return api.PeerView(
            uid=uid, endpoint="h:1", fingerprint="", container="", live=live, may_lead=True,
            state=api.PeerState.SNAPSHOT, checkin=None, participant=False, dropped="", perf=None,
            perf_round=perf_round, rounds=0, left="",
        )  # fmt: skip

    merged = api.Merged(round=7, digest="d" * 64, size=size, leader=ME, next_interval=0)
    return api.ContractView(
        name="c", generation=1, phase=phase, round=8, term=0, leader="", terms=None,
        peers=[peer(ME, 0), peer(SLOW, 7 if slow_has_it else 6), peer(GONE, 2, live=False)],
        merged=merged, quorum_age_s=None, waiting_for="",
    )  # fmt: skip


@pytest.fixture
def node():
    """A node whose rounds are over; only what `_serve_the_last` looks at."""
    node = object.__new__(participation.Participation)
    node._tools, node._events = SimpleNamespace(uid=ME), asyncio.Queue()
    node.training = SimpleNamespace(view=completed(slow_has_it=False))
    return node


async def test_serves_until_every_live_peer_reported_the_final_model(node):
    serving = asyncio.create_task(node._serve_the_last())
    for arrived in (ev.Tick(0.0), ev.ViewArrived(completed(slow_has_it=False), 0.0)):
        node._events.put_nowait(arrived)
    while not node._events.empty():
        await asyncio.sleep(0)
    assert not serving.done()
    node._events.put_nowait(ev.ViewArrived(completed(slow_has_it=True), 0.0))
    async with asyncio.timeout(10):
        await serving


async def test_does_not_serve_for_ever(node, monkeypatch):
    monkeypatch.setattr(participation, "LAST_SECONDS", 0.05)
    began = time.monotonic()
    await node._serve_the_last()
    assert 0.05 <= time.monotonic() - began < 10


async def test_does_not_wait_where_the_training_goes_on(node):
    node.training.view = completed(slow_has_it=False, phase=api.Phase.CHECKIN)
    async with asyncio.timeout(5):
        await node._serve_the_last()
