"""`compose.local restart`: an SN, the license server, or a pair of SL and ML program again."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from compose.output import Output
from compose.plan import Kind, Planner
from compose.processes import Node, Processes, State
from services.common.errors import ConfigError, SwarmError

PIPES = ("SL_REQUEST_CHANNEL", "SL_RESPONSE_CHANNEL")


class Restarts:
    """Starts nodes again, with the folders, ports, certificates and uids that they had.

    An SL and its ML program share a session and are started again together: the program begins
    anew, and its first sync gives it the latest merged model.

    Args:
        planner: of the run.
        processes: of the run.
        output: where to say what happens.
        ready: waits until a node is ready.
    """

    def __init__(
        self, planner: Planner, processes: Processes, output: Output,
        ready: Callable[[Node], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._planner, self._processes = planner, processes
        self._output, self._ready = output, ready

    async def restart(self, node: Node) -> str:
        """Start a node again, after stopping it where it still runs; what to tell.

        Raises:
            ConfigError: it cannot be done with that node, or now.
            RemoteError: it does not start.
        """
        nodes = self._together(node)
        names = " and ".join(each.name for each in nodes)
        busy = [n for n in nodes if n.name in self._processes.restarting or _starts(n)]
        if busy:
            raise ConfigError(f"{busy[0].name} is starting already")
        self._output.say(f"restarting {names}")
        began = time.monotonic()
        try:
            again = await self._processes.restart(nodes, lambda: self._clear_up(node))
            for each in again:
                await self._ready(each)
        except SwarmError as exc:
            self._output.say(str(exc))
            raise
        run = "runs" if len(again) == 1 else "run"
        said = f"{names} {run} again (pid {', '.join(str(n.process.pid) for n in again)})"
        self._output.say(said)
        return f"{said}, ready after {time.monotonic() - began:.1f} s"

    def _together(self, node: Node) -> list[Node]:
        """What must start with a node, in this order."""
        if node.plan.kind in {Kind.JOB, Kind.SWCI}:
            raise ConfigError(f"{node.name} cannot be restarted: it is no part of the swarm")
        if not node.plan.index:
            return [node]
        halves = (f"ml-{node.plan.index}", f"sl-{node.plan.index}")
        return [self._processes.nodes[name] for name in halves if name in self._processes.nodes]

    def _clear_up(self, node: Node) -> None:
        """Remove what a pair left that the next one would take for its own."""
        if not node.plan.index:
            return
        channels = self._planner.channels(node.plan.index)
        for path in (*(Path(channels[name]) for name in PIPES), self._result(node)):
            path.unlink(missing_ok=True)

    def _result(self, node: Node) -> Path:
        return self._planner.layout.result(node.plan.index)


def _starts(node: Node) -> bool:
    """Whether it is on its way; an SL that waits for its turn is not."""
    return node.state is State.STARTING and node.plan.kind in {Kind.LICENSE, Kind.SN}
