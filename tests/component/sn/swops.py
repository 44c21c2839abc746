"""An operator and SWOPs, as clients of a real SN; for tests of tasks and taskrunners."""

import asyncio
import uuid

from services.common import sn_api
from services.common import task_api as api
from services.common.ids import NodeId, NodeKind
from services.common.sn_client import SnClient
from services.common.task_client import TaskClient
from tests.component.sn.conftest import PATIENCE, RunningSn, Swarm

RUNNER = api.DEFAULT_TASKRUNNER


def new_id() -> NodeId:
    return NodeId(uuid.uuid4().hex)


def header(name="t", kind=api.TaskType.PULL_IMAGE, **changes):
    given = {
        "name": name, "type": kind, "author": "me", "prereq": api.ROOTTASK, "outcome": "an image",
        "request": new_id(),
    }  # fmt: skip
    return api.TaskHeader(**{**given, **changes})


class Operator:
    """SWCI's client, and what it does often."""

    def __init__(self, swarm: Swarm, sn: RunningSn) -> None:
        self.sn = swarm.client(sn, kind=NodeKind.SWCI)
        self.client = TaskClient(self.sn)

    async def final_task(self, name="t", kind=api.TaskType.PULL_IMAGE):
        await self.client.create_task(header(name, kind))
        await self.client.append(name, api.BodyLines(first=1, lines=["Tag: latest"]))
        return await self.client.finalize(name)

    async def assign(self, task="t", peers=1, *, target=None, everybody=False, runner=RUNNER):
        mode = api.Assignment.ALL if everybody else api.Assignment.PEERS
        if target is not None:
            mode, peers = api.Assignment.TARGET, 0
        body = api.Assign(task=task, mode=mode, peers=peers, target=target, request=new_id())
        return await self.client.assign(runner, body)

    async def until(self, condition, runner=RUNNER):
        """The first state of the taskrunner that meets the condition."""
        async with asyncio.timeout(PATIENCE):
            state = await self.client.runner(runner)
            while not condition(state.view):
                state = await self.client.watch(runner, state.cursor, 5)
            return state


class Swop:
    """A registered SWOP; ``client`` may be another one's, whose certificate it shares then."""

    def __init__(
        self, swarm: Swarm, sn: RunningSn, name: str, client: SnClient | None = None
    ) -> None:
        self.sn = client or swarm.client(sn, kind=NodeKind.SWOP)
        self.client = TaskClient(self.sn)
        self.uid = NodeId(uuid.uuid5(uuid.NAMESPACE_DNS, f"swop-{name}").hex)
        self.me = sn_api.NodeRegistration(
            kind=NodeKind.SWOP, endpoint="sn:30304", container=f"swop{name}"
        )

    async def register(self):
        await self.sn.register(self.uid, self.me)
        return self

    async def listen(self, nodes=1, runner=RUNNER):
        return await self.client.swop(runner, self.uid, "listen", api.Listen(nodes=nodes))

    async def enrol(self, run, *peers, runner=RUNNER):
        body = api.EnrolInRun(run=run, peers=list(peers) or [self.uid])
        return await self.client.swop(runner, self.uid, "enrol", body)

    async def report(self, run, state, peer=None, said="", runner=RUNNER):
        body = api.PeerReport(run=run, peer=peer or self.uid, state=state, description=said)
        return await self.client.swop(runner, self.uid, "report", body)

    async def quit(self, reason="", runner=RUNNER):
        return await self.client.swop(runner, self.uid, "quit", api.Quit(reason=reason))
