"""The SNs of a swarm: which of them run, told wherever that changes."""

import asyncio
import math
from dataclasses import replace

from compose import policy, report
from compose.output import Output
from compose.plan import Planner
from compose.processes import Processes, State
from compose.run_folder import shown


class Network:
    """Looks at the SNs' processes.

    Args:
        planner: names them.
        processes: of the swarm.
        output: where to say what happens to them.
        patience: seconds to wait for one to return once too few run.
    """

    def __init__(
        self, planner: Planner, processes: Processes, output: Output, patience: float
    ) -> None:
        self._run_dir = planner.layout.run
        self._processes = processes
        self._output = output
        self._sns = policy.Sns(tuple(planner.sns), patience=patience)
        self._short_since = 0.0

    @property
    def serves(self) -> bool:
        """Whether any of them is there to be asked."""
        nodes = (self._processes.nodes.get(name) for name in self._sns.names)
        return any(node is not None and node.state is State.RUNNING for node in nodes)

    @property
    def waiting(self) -> str:
        """What the chain waited for at the last look, in words; empty where it goes on."""
        return self._sns.waiting

    def look(self) -> policy.Sns:
        """Look at all, and say what happened since the last look."""
        old, now = self._sns, asyncio.get_running_loop().time()
        gone = tuple(name for name in old.names if self._processes.is_gone(name))
        seen = replace(old, gone=gone, ends="; ".join(map(self._end, gone)))
        if seen.enough or old.enough:
            self._short_since = now
        self._sns = replace(seen, short_for=now - self._short_since)
        if len(old.names) > 1:
            self._tell(old)
        return self._sns

    def _end(self, name: str) -> str:
        return f"{name} ended ({report.end_of(self._processes.nodes[name])})"

    def _tell(self, old: policy.Sns) -> None:
        sns = self._sns
        for name in sns.gone:
            if name not in old.gone:
                self._output.say(f"{self._end(name)}: {sns.count}")
        if old.waiting and not sns.waiting:
            self._output.say(f"{sns.count}: enough for the chain to go on")
        if sns.waiting and not old.waiting:
            words = f"restart {sns.gone[0]} --run-dir {shown(self._run_dir)}"
            limit = f", within {sns.patience:.0f} s" if sns.patience < math.inf else ""
            self._output.say(
                f"{sns.waiting}. Bring one back{limit}: python -m compose.local {words}"
            )
