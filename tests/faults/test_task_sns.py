"""F10: SNs die, are cut off, or all restart while a task runs; it ends as if nothing had been.

Three real SNs on hosts of their own; the SWOP and the operators are played by the test, through
the clients that SWOP and SWCI have.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from services.common import sn_api
from services.common import task_api as api
from services.common.errors import NotFoundError, SwarmError
from services.common.ids import NodeId, NodeKind
from services.common.sn_client import SnClient
from services.common.task_api import RunnerState, TaskPeerState, TaskType
from services.common.task_client import TaskClient
from services.sn.core import task_events as on
from tests.faults.history import History, one_history
from tests.faults.sn_network import PATIENCE, SnNetwork

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(600)]
ALL = ("1", "2", "3")
RUNNER, TASK = api.DEFAULT_TASKRUNNER, "train"
BODY = ["Command: train.py", "Entrypoint: python3"]
LOOK_S = 5.0
"""How long a look at the taskrunner waits for a change, as WAIT FOR TASKRUNNER does it."""


def new_id() -> NodeId:
    return NodeId(uuid.uuid4().hex)


class Client:
    """A client of all SNs, one of them first."""

    def __init__(self, sns: SnNetwork, kind: NodeKind, first: str) -> None:
        order = [first, *(name for name in ALL if name != first)]
        apis = [sns.sns[name].api for name in order]
        self.sn = SnClient(sns.pki.identity(kind, f"at-{first}"), apis, patience=PATIENCE)
        self.tasks = TaskClient(self.sn)

    async def until(self, state: RunnerState) -> api.TaskRunnerView:
        """WAIT FOR TASKRUNNER."""
        async with asyncio.timeout(PATIENCE):
            seen = await self.tasks.runner(RUNNER)
            while seen.view.state is not state:
                seen = await self.tasks.watch(RUNNER, seen.cursor, LOOK_S)
            return seen.view


class Swop(Client):
    """A SWOP with two pairs that beats as a real one does."""

    def __init__(self, sns: SnNetwork, first: str) -> None:
        super().__init__(sns, NodeKind.SWOP, first)
        self.uid, self.peers = new_id(), [new_id(), new_id()]
        self._me = sn_api.NodeRegistration(
            kind=NodeKind.SWOP, endpoint="swop:30304", container="swop1"
        )

    async def register(self) -> None:
        await self.sn.register(self.uid, self._me)

    async def beat(self) -> None:
        while True:
            with suppress(SwarmError):
                try:
                    await self.sn.alive(self.uid)
                except NotFoundError:
                    await self.register()
            await asyncio.sleep(1)

    async def write(self, verb: str, body: api.Listen | api.EnrolInRun | api.PeerReport) -> None:
        """As SWOP does: what an SN does not know yet is tried again."""
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await self.tasks.swop(RUNNER, self.uid, verb, body)
                except NotFoundError:
                    await self.register()
                else:
                    return

    async def completes(self, peer: NodeId) -> None:
        await self.write("report", api.PeerReport(run=1, peer=peer, state=TaskPeerState.COMPLETE))


@asynccontextmanager
async def running(sns: SnNetwork, first: str = "1") -> AsyncIterator[tuple[Swop, Client]]:
    """A task in the middle: one of two peers has completed. The SWOP's SN is ``first``."""
    await sns.start(*ALL)
    swop, operator = Swop(sns, first), Client(sns, NodeKind.SWCI, "3")
    await operator.tasks.create_task(
        api.TaskHeader(
            name=TASK, type=TaskType.RUN_SWARM, author="me", prereq=api.ROOTTASK,
            outcome="a model", request=new_id(),
        )
    )  # fmt: skip
    await operator.tasks.append(TASK, api.BodyLines(first=1, lines=BODY))
    await operator.tasks.finalize(TASK)
    await swop.register()
    await swop.write("listen", api.Listen(nodes=2))
    await operator.tasks.assign(
        RUNNER, api.Assign(task=TASK, mode=api.Assignment.PEERS, peers=2, request=new_id())
    )
    await swop.write("enrol", api.EnrolInRun(run=1, peers=[*swop.peers]))
    await swop.completes(swop.peers[0])
    beating = asyncio.create_task(swop.beat())
    try:
        yield swop, operator
    finally:
        beating.cancel()
        await asyncio.wait([beating])
        await swop.sn.close()
        await operator.sn.close()


async def told_alike(sns: SnNetwork, swop: Swop) -> History:
    """The one history of all SNs; each tells the same task, and the run that completed."""
    history = await one_history(sns)
    told = []
    for name in ALL:
        tasks = TaskClient(sns.client(name, NodeKind.SWCI))
        told.append((await tasks.runner(RUNNER), await tasks.task(TASK), await tasks.runners()))
    assert all(each == told[0] for each in told)
    runner, task, _ = told[0]
    assert (task.finalized, task.body) == (True, BODY)
    assert (runner.view.state, runner.view.run, runner.view.completed) == (
        RunnerState.COMPLETE, 1, 2,
    )  # fmt: skip
    (told_swop,) = runner.view.swops
    assert [(peer.uid, peer.state) for peer in told_swop.peers] == [
        (uid, TaskPeerState.COMPLETE) for uid in swop.peers
    ]
    (assigned,) = history.of(on.Assigned)
    assert (assigned.run, assigned.task, assigned.needed) == (1, TASK, 2)
    assert len(history.of(on.SwopEnrolled)) == 1
    completed = [e.peer for e in history.of(on.Reported) if e.state is TaskPeerState.COMPLETE]
    assert completed == swop.peers, "each once, in order"
    return history


async def test_the_sentinel_dies_in_mid_task(sns: SnNetwork):
    async with running(sns) as (swop, operator):
        waiting = asyncio.create_task(operator.until(RunnerState.COMPLETE))
        sns.sns["1"].kill()
        await swop.completes(swop.peers[1])
        assert (await waiting).completed == 2
        await sns.restart("1")
        await told_alike(sns, swop)


async def test_all_sns_restart_from_disk_in_mid_task(sns: SnNetwork):
    async with running(sns) as (swop, operator):
        before = await operator.tasks.runner(RUNNER)
        for name in ALL:
            sns.sns[name].kill()
        await sns.restart(*ALL)
        now = (await operator.tasks.runner(RUNNER)).view
        assert (now.state, now.run, now.task) == (RunnerState.RUNNING, 1, TASK)
        assert now.assigned == before.view.assigned
        await swop.completes(swop.peers[1])
        await operator.until(RunnerState.COMPLETE)
        await told_alike(sns, swop)


async def test_the_swops_sn_is_cut_off_in_mid_task(sns: SnNetwork):
    """What it took and could not write then gets into the chain late, and changes nothing."""
    async with running(sns, first="2") as (swop, operator):
        sns.network.cut_off("2")
        await swop.completes(swop.peers[1])
        assert (await operator.until(RunnerState.COMPLETE)).completed == 2
        sns.network.heal()
        await told_alike(sns, swop)
