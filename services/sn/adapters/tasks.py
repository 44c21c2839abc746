"""The task contracts' functions, from what the API takes."""

from services.common import task_api as api
from services.common.errors import ChainUnavailableError, ConfigError
from services.common.ids import NodeId
from services.sn.adapters import abi
from services.sn.adapters.chain import Call
from services.sn.adapters.projection import Projection
from services.sn.adapters.writer import Writer
from services.sn.core.ledger import SYSTEM_KIND, TASKRUNNER_KIND
from services.sn.core.taskrunners import TaskRunner
from services.sn.core.tasks import TASK_REGISTRY

NO_TARGET = "0" * 32
NO_REQUEST = "0" * 32
"""Of a task that this SN does not know yet."""


class Tasks:
    """Writes to the TaskRegistry. Every method raises as :meth:`Writer.write` does.

    Args:
        writer: sends.
        projection: knows where the TaskRegistry is.
        registry: address of the SwarmRegistry.
    """

    def __init__(self, writer: Writer, projection: Projection, registry: str) -> None:
        self._writer = writer
        self._projection = projection
        self._registry = registry

    @property
    def address(self) -> str:
        """Of the TaskRegistry.

        Raises:
            ChainUnavailableError: the sentinel has not made it.
        """
        found = self._projection.now.tasks.address
        if not found:
            raise ChainUnavailableError("the swarm has no task registry yet: wait for the sentinel")
        return found

    async def deploy(self) -> None:
        """Make the TaskRegistry; only for the sentinel, and only while there is none."""
        await self._writer.deploy_and_name(
            abi.TASKS, (self._registry,), self._registry, TASK_REGISTRY, SYSTEM_KIND
        )

    async def create(self, body: api.TaskHeader) -> None:
        """CREATE TASK."""
        await self._write(
            "create", body.name, abi.TASK_TYPES.index(body.type), body.author, body.prereq,
            body.outcome, abi.uid_bytes(body.request),
        )  # fmt: skip

    async def append(self, name: str, body: api.BodyLines) -> None:
        """APPEND TASK BODY."""
        await self._write("append", name, self._which(name), body.first, body.lines)

    async def finalize(self, name: str) -> None:
        """FINALIZE TASK."""
        await self._write("finalize", name, self._which(name))

    async def remove(self, name: str) -> None:
        """DELETE TASK."""
        await self._write("remove", name, self._which(name))

    async def refused(self, name: str, by: str, code: str, detail: str) -> None:
        """Record a refusal, without waiting for it."""
        args = (name, abi.uid_bytes(by), code, detail)
        await self._writer.tell(Call(abi.TASKS, self.address, "refused", args))

    def _which(self, name: str) -> bytes:
        """Tells the task that has the name now from a later one.

        While this SN is cut off the write waits, and may happen long after another SN was asked.
        """
        task = self._projection.now.tasks.get(name)
        return abi.uid_bytes(task.request if task else NO_REQUEST)

    async def _write(self, function: str, *args: object) -> None:
        await self._writer.write(Call(abi.TASKS, self.address, function, args))


class TaskRunners:
    """Writes to taskrunners. Every method raises as :meth:`Writer.write` does.

    Args:
        writer: sends.
        tasks: knows where the TaskRegistry is.
        registry: address of the SwarmRegistry.
        nodes: address of the NodeRegistry.
    """

    def __init__(self, writer: Writer, tasks: Tasks, registry: str, nodes: str) -> None:
        self._writer = writer
        self._tasks = tasks
        self._registry = registry
        self._nodes = nodes

    async def create(self, name: str) -> None:
        """Deploy a taskrunner under ``name``."""
        system = (self._registry, self._nodes, self._tasks.address)
        await self._writer.deploy_and_name(
            abi.TASKRUNNER, system, self._registry, name, TASKRUNNER_KIND
        )

    async def assign(self, runner: TaskRunner, body: api.Assign) -> None:
        """ASSIGN TASK.

        Raises:
            ConfigError: it names no SWOP, or too few peers.
        """
        if body.mode is api.Assignment.TARGET and body.target is None:
            raise ConfigError("name the SWOP: ASSIGN TASK ... TARGET <SWOP uid>")
        if body.mode is api.Assignment.PEERS and body.peers < 1:
            raise ConfigError("ask for at least one peer: ASSIGN TASK ... WITH <n> PEERS")
        await self._write(
            runner, "assign", body.task, abi.ASSIGNMENTS.index(body.mode), body.peers,
            abi.uid_bytes(body.target or NO_TARGET), abi.uid_bytes(body.request),
        )  # fmt: skip

    async def reset(self, runner: TaskRunner, run: int, by: str) -> None:
        """RESET TASKRUNNER."""
        await self._write(runner, "reset", run, by)

    async def listen(self, runner: TaskRunner, swop: NodeId, body: api.Listen) -> None:
        """A SWOP offers its work."""
        await self._write(runner, "listen", abi.uid_bytes(swop), body.nodes)

    async def enrol(self, runner: TaskRunner, swop: NodeId, body: api.EnrolInRun) -> None:
        """A SWOP takes part in the run."""
        peers = [abi.uid_bytes(uid) for uid in body.peers]
        await self._write(runner, "enrol", body.run, abi.uid_bytes(swop), peers)

    async def report(self, runner: TaskRunner, swop: NodeId, body: api.PeerReport) -> None:
        """How a peer of a SWOP fares."""
        await self._write(
            runner, "report", body.run, abi.uid_bytes(swop), abi.uid_bytes(body.peer),
            abi.TASK_PEER_STATES.index(body.state), body.description,
        )  # fmt: skip

    async def quit(self, runner: TaskRunner, swop: NodeId, body: api.Quit) -> None:
        """A SWOP listens no more."""
        await self._write(runner, "quit", abi.uid_bytes(swop), body.reason)

    async def reap(self, runner: TaskRunner, swop: NodeId) -> None:
        """Take a lost SWOP out."""
        await self._write(runner, "reap", abi.uid_bytes(swop))

    async def refused(self, runner: TaskRunner, by: str, code: str, detail: str) -> None:
        """Record a refusal, without waiting for it."""
        args = (abi.uid_bytes(by), code, detail)
        await self._writer.tell(Call(abi.TASKRUNNER, runner.address, "refused", args))

    async def _write(self, runner: TaskRunner, function: str, *args: object) -> None:
        await self._writer.write(Call(abi.TASKRUNNER, runner.address, function, args))
