"""Child processes: started in groups of their own, watched, stopped in order, never left behind."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from compose.plan import STOP_ORDER, Kind, NodePlan
from services.common.errors import RemoteError, SwarmError

HERE = Path(__file__).resolve().parent
STOP_SECONDS = 5.0
"""From SIGTERM to SIGKILL."""
SWOP_SECONDS = 30.0
"""The same for SWOPs, which stop their pairs first and sign off."""
LOOK_SECONDS = 0.05
"""How often a log is looked at for its ready line."""
CHILD = (sys.executable, "-I", "-S", str(HERE / "child.py"))


class State(StrEnum):
    """Where a process is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"


@dataclass(slots=True)
class Node:
    """One process that was started."""

    plan: NodePlan
    process: asyncio.subprocess.Process
    state: State = State.STARTING
    exit_code: int | None = None
    """Negative: the signal that killed it."""
    told: str = ""
    """Why we stopped it; empty where it ended by itself."""
    ended: float = 0.0
    """When it ended, in the event loop's seconds."""
    log_from: int = 0
    """Where in its log its words begin; before are those of the process that it replaced."""
    restarts: int = 0
    """How often it was started again."""
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it is ready, or ended before it was."""
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it ended."""

    @property
    def name(self) -> str:
        """Its name, e.g. ``sl-2``."""
        return self.plan.name

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.exit_code is None

    @property
    def failed(self) -> bool:
        """Whether it ended badly by itself; one that we stopped in order did not fail."""
        return bool(self.exit_code) and not self.told


class Guard:
    """Our half of :mod:`compose.guard`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(HERE / "guard.py")],
            stdin=subprocess.PIPE, start_new_session=True, text=True, cwd="/",
        )  # fmt: skip

    def tell(self, line: str) -> None:
        """Send a line; a guard that died is not a reason to stop."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def close(self) -> None:
        """Let it clear up what is left, and wait for it."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()


class Processes:
    """All processes of one swarm.

    Args:
        on_change: called after any node's state changed.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.nodes: dict[str, Node] = {}
        self.guard = Guard()
        self.restarting: set[str] = set()
        """Nodes between their end and their new start."""
        self._on_change = on_change
        self._waiters: set[asyncio.Task[None]] = set()

    async def start(self, plan: NodePlan) -> Node:
        """Start one process; its output goes to its log.

        Raises:
            SwarmError: the system cannot start it.
        """
        plan.log.parent.mkdir(parents=True, exist_ok=True)
        plan.cwd.mkdir(parents=True, exist_ok=True)
        with plan.log.open("ab") as log:
            log_from = log.tell()
            try:
                process = await asyncio.create_subprocess_exec(
                    *CHILD, str(os.getpid()), *plan.command,
                    stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                    start_new_session=True, cwd=plan.cwd, env=dict(plan.environment),
                )  # fmt: skip
            except OSError as exc:
                raise SwarmError(f"cannot start {plan.name}: {exc.strerror}") from exc
        self.guard.tell(f"+{process.pid}")
        old = self.nodes.get(plan.name)
        restarts = 0 if old is None else old.restarts + 1
        node = Node(plan, process, log_from=log_from, restarts=restarts)
        if not plan.ready:
            node.state = State.RUNNING
            node.settled.set()
        self.nodes[plan.name] = node
        self._waiters.add(asyncio.create_task(self._watch(node)))
        self._on_change()
        return node

    async def _watch(self, node: Node) -> None:
        looking = asyncio.create_task(self._look_for_ready(node))
        code = await node.process.wait()
        looking.cancel()
        _kill_group(node.process.pid, signal.SIGKILL)  # what it started and left behind
        self.guard.tell(f"-{node.process.pid}")
        node.exit_code, node.state = code, State.EXITED
        node.ended = asyncio.get_running_loop().time()
        node.settled.set()
        node.finished.set()
        self._on_change()

    async def _look_for_ready(self, node: Node) -> None:
        wanted, seen = node.plan.ready.encode(), b""
        with node.plan.log.open("rb") as log:
            log.seek(node.log_from)
            while node.state is State.STARTING:
                seen = seen[-len(wanted) :] + log.read()
                if wanted in seen:
                    node.state = State.RUNNING
                    node.settled.set()
                    self._on_change()
                    return
                await asyncio.sleep(LOOK_SECONDS)

    async def ready(self, node: Node, seconds: float) -> None:
        """Wait until a node is ready.

        Raises:
            RemoteError: it ended, or is not ready in time; the message says which.
        """
        try:
            async with asyncio.timeout(seconds):
                await node.settled.wait()
        except TimeoutError:
            raise RemoteError(f"{node.name} is not ready after {seconds:.0f} s") from None
        if node.state is State.EXITED:
            raise RemoteError(f"{node.name} ended before it was ready ({how_it_ended(node)})")

    def is_gone(self, name: str) -> bool:
        """Whether a node ended, and is not about to start again."""
        return not self.nodes[name].alive and name not in self.restarting

    async def restart(self, nodes: list[Node], between: Callable[[], None]) -> list[Node]:
        """Start nodes as they were, after stopping those that run; errors as in `start`.

        Args:
            nodes: stopped together, then started in this order.
            between: called when all have ended.
        """
        names = {node.name for node in nodes}
        self.restarting |= names
        try:
            await self.stop(nodes, "restart")
            between()
            return [await self.start(node.plan) for node in nodes]
        finally:
            self.restarting -= names

    async def kill(self, node: Node, why: str) -> None:
        """Kill one node at once, as a crash would, and wait for its end."""
        node.told = why
        _kill_group(node.process.pid, signal.SIGKILL)
        await self._any_left([node], STOP_SECONDS)

    async def stop(self, nodes: Iterable[Node], why: str, seconds: float = STOP_SECONDS) -> None:
        """Stop some nodes together: SIGTERM to their groups, SIGKILL to what is left after that."""
        running = [node for node in nodes if node.alive]
        for node in running:
            node.told = why
            _kill_group(node.process.pid, signal.SIGTERM)
        if running and await self._any_left(running, seconds):
            for node in running:
                if node.alive:
                    _kill_group(node.process.pid, signal.SIGKILL)
            await self._any_left(running, seconds)

    async def _any_left(self, nodes: list[Node], seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for node in nodes:
                    await node.finished.wait()
        return any(node.alive for node in nodes)

    async def stop_all(self, why: str) -> None:
        """Stop everything in the order of `STOP_ORDER`.

        From the beginning no node can fail any more: an SL ends badly by itself when its ML
        program was stopped, and another program takes longer.
        """
        for node in self.nodes.values():
            if node.alive:
                node.told = why
        for kinds in STOP_ORDER:
            seconds = SWOP_SECONDS if Kind.SWOP in kinds else STOP_SECONDS
            await self.stop([n for n in self.nodes.values() if n.plan.kind in kinds], why, seconds)

    def kill_all(self) -> None:
        """Kill everything at once; for the impatient second Ctrl-C."""
        for node in self.nodes.values():
            if node.alive:
                node.told = node.told or "killed"
                _kill_group(node.process.pid, signal.SIGKILL)

    async def close(self) -> None:
        """Make sure that nothing is left, whatever happened before."""
        self.kill_all()
        if self._waiters:
            await asyncio.wait(self._waiters, timeout=STOP_SECONDS)
        self.guard.close()


def how_it_ended(node: Node) -> str:
    """Words for a node's end: exit code or signal."""
    code = node.exit_code
    if code is None:
        return "still running"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def last_lines(log: Path, count: int, log_from: int = 0) -> list[str]:
    """The last lines of a log from byte ``log_from``, at most 8 KiB of them."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(log_from, size - 8192))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except OSError:
        return []


def remove(folder: Path) -> None:
    """Remove a folder with all that is in it; one that is gone is fine."""
    shutil.rmtree(folder, ignore_errors=True)


def _kill_group(group: int, sent: signal.Signals) -> None:
    try:
        os.killpg(group, sent)
    except (ProcessLookupError, PermissionError):
        return
