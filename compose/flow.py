"""A swarm whose pairs are started by SWOPs, as one SWCI script tells them: :class:`Flow`.

SWCI's transcript is the story that is told; the run is over when its script is.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from compose import flow_plan, pairs, status
from compose.flow_folder import FlowFolder
from compose.output import Output
from compose.plan import Kind, Planner
from compose.processes import how_it_ended
from compose.run_folder import RunFolder, shown
from compose.swarm import Swarm
from compose.transcript import Transcript
from compose.wheel import make_wheel
from services.common.sn_api import Phase
from services.common.sn_client import SnClient

WHEEL_VOLUME = "sl-cli-lib"
"""HPE's name for the volume that build tasks take the client's wheel from."""
UID_PART = 16
"""How much of the SL's UID ends the names of a pair's containers, and so of their logs."""
DIGEST = "Final model digest: "
"""What an ML program's client says at the end of its training, before the digest."""


class Flow(Swarm):
    """A swarm with SWOPs and SWCI in place of pairs of its own; arguments as those of ``Swarm``.

    Args:
        flow: where its files come from.
    """

    def __init__(
        self, flow: FlowFolder, planner: Planner, folder: RunFolder, client: SnClient,
        output: Output, jobs: Mapping[str, tuple[str, ...]], sn_patience: float,
    ) -> None:  # fmt: skip
        swops = range(1, len(flow.profiles) + 1)
        self._engines = [flow_plan.engine(planner, index) for index in swops]
        super().__init__(planner, folder, client, output, jobs, False, sn_patience)
        self.flow = flow
        self._gone: set[str] = set()
        """SWOPs that were seen to have ended."""
        self._transcript = Transcript(planner.layout.log(flow_plan.SWCI))
        for engine in self._engines:
            self.processes.guard.tell(f"containers {engine / 'containers'}")

    async def start(self) -> None:
        """Start the license server, the SNs, the SWOPs and SWCI, each kind ready before the next.

        Raises:
            RemoteError: one of them ended or is not ready in time.
        """
        for engine in self._engines:
            await asyncio.to_thread(make_wheel, engine / "volumes" / WHEEL_VOLUME)
        await super().start()
        profiles = enumerate(self.flow.profiles, start=1)
        swops = [
            await self.start_service(flow_plan.swop(self.planner, index, profile.name))
            for index, profile in profiles
        ]
        for node in swops:
            await self.ready(node)
        await self.start_service(flow_plan.swci(self.planner, self.layout.run / "swci"))

    async def until_finished(self) -> str:
        """Follow SWCI until its script and the jobs are over; return why to stop before, if so."""
        watching = asyncio.create_task(self.watch.run())
        try:
            while self._busy():
                self._tell()
                if reason := self.core_lost():
                    return reason
                await self.tick()
            self._tell(to_the_end=True)
        finally:
            watching.cancel()
        return ""

    def _busy(self) -> bool:
        ends = {Kind.SWCI, Kind.JOB}
        return any(node.alive for node in self.processes.nodes.values() if node.plan.kind in ends)

    def _tell(self, *, to_the_end: bool = False) -> None:
        """What SWCI printed since, who was lost, and how the training goes while there is one."""
        for line in self._transcript.lines(all_of_it=to_the_end):
            self.output.say(line)
        for node in self.processes.nodes.values():
            if node.plan.kind is Kind.SWOP and self.processes.is_gone(node.name):
                self._lost(node.name)
            else:
                self._gone.discard(node.name)
        view = self.watch.view
        if view is not None and view.phase not in {Phase.UNINITIALIZED, Phase.COMPLETED}:
            self.show()
        else:
            self.save()

    def _lost(self, name: str) -> None:
        if name in self._gone:
            return
        self._gone.add(name)
        ended = how_it_ended(self.processes.nodes[name])
        words = f"python -m compose.local restart {name} --run-dir {shown(self.layout.run)}"
        self.output.say(f"{name} ended ({ended}). Bring it back: {words}")

    def names(self) -> dict[str, str]:
        """What nodes are called, by UID; SLs by the group and the index of their SWOP's profile."""
        return super().names() | pairs.names(pairs.rows(self._engines))

    def rows(self) -> list[status.Row]:
        """What is known of each process, those that SWOPs started at the end."""
        return [*super().rows(), *pairs.rows(self._engines)]

    def results(self) -> dict[str, dict[str, Any]]:
        """How the last training ended, as its ML programs' logs tell."""
        view = self.watch.view
        peers = {peer.uid[:UID_PART] for peer in view.peers} if view is not None else set()
        found: dict[str, dict[str, Any]] = {}
        for log in pairs.kept_logs(self.layout.run):
            _, said, after = log.read_text(errors="replace").rpartition(DIGEST)
            if said and after.split() and log.stem.rpartition("-")[2] in peers:
                found[log.stem] = {"outcome": "completed", "final_digest": after.split()[0]}
        return found
