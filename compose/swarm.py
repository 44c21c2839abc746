"""The processes of one swarm as a whole: started in order, watched, stopped in order."""

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from compose import policy, progress, report, run_folder, status
from compose.control import Control
from compose.network import Network
from compose.output import Output
from compose.plan import SENTINEL, Kind, NodePlan, Planner, Request
from compose.processes import Node, Processes, how_it_ended, remove
from compose.restart import Restarts
from compose.watch import ContractWatch
from services.common.errors import ConfigError, NotFoundError, RemoteError
from services.common.ids import DEFAULT_CONTRACT
from services.common.sn_api import RoundRecord
from services.common.sn_client import SnClient

READY_SECONDS = 120.0
"""How long a service may take to be ready, on a slow machine that does much else."""
TICK_SECONDS = 0.5
"""Longest time between two looks at everything."""
LEDGER_SECONDS = 10.0
"""How long the SNs may take to hand out the ledger at the end."""
KILLED = "killed by compose.local"
"""Why a node ended that was killed to see what happens, which is no failure."""


class Swarm:
    """A swarm that is about to start.

    Args:
        planner: what to start.
        folder: the run folder, held by us.
        client: of our SNs.
        output: where to say what happens.
        jobs: programs to run beside the swarm, by name.
        wait_for_return: go on waiting when fewer than ``min_peers`` are left.
        sn_patience: seconds to wait for an SN to return when too few of several are left.
    """

    def __init__(
        self, planner: Planner, folder: run_folder.RunFolder, client: SnClient, output: Output,
        jobs: Mapping[str, tuple[str, ...]], wait_for_return: bool, sn_patience: float,
    ) -> None:  # fmt: skip
        self.planner = planner
        self.layout = planner.layout
        self.request: Request = planner.request
        self.folder = folder
        self.output = output
        self.jobs = jobs
        self.wait_for_return = wait_for_return
        self.failures: dict[str, str] = {}
        """What we found out ourselves; an exit code says less."""
        self.closing = False
        self._phase = "starting"
        self._changed = asyncio.Event()
        self._started = time.monotonic()
        self._pace = progress.Pace()
        self._saved: dict[str, Any] = {}
        self._contract = self.request.contract
        self._wanted = self.request.min_peers
        self._serving = False
        """Whether an SN ever was ready."""
        self.processes = Processes(self._changed.set)
        self.processes.guard.tell(f"rm {self.layout.scratch}")
        self.network = Network(planner, self.processes, output, sn_patience)
        self.control = Control(self.layout.run, self.obey)
        self.restarts = Restarts(planner, self.processes, output, self.ready)
        self.client = client
        self.watch = ContractWatch(client, self.request.contract, self._changed.set)
        self.save()

    # --- start

    async def start(self) -> None:
        """Start everything.

        ML programs and jobs come first, because they load frameworks and data for seconds before
        they look for their SL. Then the license server, the sentinel, the other SNs and the SLs,
        each kind ready before the next.

        Raises:
            RemoteError: the license server or an SN ended or is not ready in time.
        """
        await self.control.open()
        indices = range(1, self.request.nodes + 1)
        programs = [self.planner.ml(index) for index in indices if self.request.program]
        programs += [self.planner.job(name, command) for name, command in self.jobs.items()]
        if programs:
            self.output.say(f"starting {report.count(len(programs), 'program')}")
        for plan in programs:
            await self.processes.start(plan)
        for plan in (self.planner.license(), self.planner.sn(1)):
            await self.ready(await self.start_service(plan))
        self._serving = True
        joining = [self.planner.sn(index) for index in range(2, self.request.sns + 1)]
        for node in [await self.start_service(plan) for plan in joining]:
            await self.ready(node)
        if self.request.contract != DEFAULT_CONTRACT:
            await self.client.create_contract(self.request.contract)
        if indices:
            names = dict.fromkeys(("sl-1", f"sl-{len(indices)}"))
            self.output.say(f"starting {' to '.join(names)}")
        for index in indices:
            await self.processes.start(self.planner.sl(index))
        self._phase = "running"
        self.save()

    async def start_service(self, plan: NodePlan) -> Node:
        """Start a process and say so; it need not be ready when this returns."""
        addresses = ", ".join(f"{name} on port {port}" for name, port in plan.ports.items())
        self.output.say(f"starting {plan.name}" + (f" ({addresses})" if addresses else ""))
        node = await self.processes.start(plan)
        self.save()
        return node

    async def ready(self, node: Node) -> None:
        """Wait until a process is ready; raises RemoteError where it will not be."""
        try:
            await self.processes.ready(node, READY_SECONDS)
        except RemoteError as exc:
            if node.alive:
                self.failures[node.name] = str(exc)
                raise
            raise RemoteError(": ".join(filter(None, (str(exc), report.last_words(node))))) from exc

    # --- commands

    async def obey(self, verb: str, name: str) -> str:
        """Carry out a command of the user's; return what to tell.

        Raises:
            NotFoundError: there is no such node.
            ConfigError: it cannot be done with that node.
            RemoteError: the node does not start.
        """
        node = self.processes.nodes.get(name)
        if node is None:
            names = ", ".join(self.processes.nodes)
            raise NotFoundError(f"no node {name!r} in this run; there are {names}")
        if verb == "kill":
            return await self._kill(node)
        if verb == "restart":
            return await self._restart(node)
        raise ConfigError(f"cannot {verb!r} a node: kill or restart")

    async def _kill(self, node: Node) -> str:
        if not node.alive:
            raise ConfigError(f"{node.name} does not run ({how_it_ended(node)})")
        await self.processes.kill(node, KILLED)
        return f"{node.name} (pid {node.process.pid}) {how_it_ended(node)}"

    async def _restart(self, node: Node) -> str:
        said = await self.restarts.restart(node)
        for one in self.processes.nodes.values():
            if one.name == node.name or (one.plan.index and one.plan.index == node.plan.index):
                self.failures.pop(one.name, None)
        return said

    # --- watch

    async def until_finished(self) -> str:
        """Wait until all pairs ended; return why the run must be stopped before, if so."""
        watching = asyncio.create_task(self.watch.run())
        try:
            while True:
                verdict = await self._judge()
                self.show()
                if verdict.next is policy.Next.FINISHED:
                    return ""
                if verdict.next is policy.Next.STOP:
                    return verdict.reason
                for orphan in verdict.orphans:
                    if orphan.culprit:
                        self.failures.setdefault(orphan.culprit, orphan.why)
                    await self.processes.stop([self.processes.nodes[orphan.name]], orphan.why)
                await self.tick()
        finally:
            watching.cancel()

    async def until_told(self) -> str:
        """Show the state until cancelled, or the license server or too many SNs are lost; why."""
        watching = asyncio.create_task(self.watch.run())
        try:
            while not (reason := self.core_lost()):
                self.save()
                await self.tick()
        finally:
            watching.cancel()
        return reason

    def core_lost(self) -> str:
        """Why nothing can go on: the license server or too many SNs are gone; else empty."""
        found = [self.network.look().hopeless]
        if self.processes.is_gone("license"):
            ended = report.end_of(self.processes.nodes["license"])
            found.insert(0, f"license ended ({ended})")
        return "; ".join(filter(None, found))

    async def tick(self) -> None:
        """Wait until something changed, not for long."""
        try:
            async with asyncio.timeout(TICK_SECONDS):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()

    async def _judge(self) -> policy.Verdict:
        sns = self.network.look()
        places = await self._places() if self.network.serves else None
        elsewhere = next((name for name in (places or {}).values() if name != self._contract), "")
        if elsewhere:
            return policy.Verdict(policy.Next.STOP, report.elsewhere(elsewhere, self._contract))
        pairs = [self._pair(index, places) for index in range(1, self.request.nodes + 1)]
        return policy.judge(
            pairs, self._min_peers(), completed=self.watch.completed,
            wait_for_return=self.wait_for_return, sns=sns, completed_ago=self.watch.completed_ago,
            others_running=any(
                n.alive for n in self.processes.nodes.values() if n.plan.kind is Kind.JOB
            ),
        )  # fmt: skip

    async def _places(self) -> dict[str, str] | None:
        """The contract in which each of our SLs enrolled; None where nobody can say."""
        uids = [uid for name, uid in self.planner.uids.items() if name.startswith("sl-")]
        found: dict[str, str] | None = {
            uid: self._contract for uid in uids if self.watch.enrolled(uid)
        }
        if len(found or {}) < len(uids):
            found = await self.watch.places()
        return None if found is None else {uid: found[uid] for uid in uids if uid in found}

    def _pair(self, index: int, places: Mapping[str, str] | None) -> policy.Pair:
        sl, ml = self.processes.nodes[f"sl-{index}"], self.processes.nodes[f"ml-{index}"]
        enrolled = places is None or sl.plan.uid in places or self.watch.enrolled(sl.plan.uid)
        now = asyncio.get_running_loop().time()
        halves = [
            policy.Half(None)
            if node.name in self.processes.restarting
            else policy.Half(node.exit_code, now - node.ended)
            for node in (sl, ml)
        ]
        return policy.Pair(index, halves[0], halves[1], enrolled, ml.name in self.failures)

    def _min_peers(self) -> int:
        """How many peers a round needs: what the contract says once the first peer fixed it."""
        terms = self.watch.view.terms if self.watch.view is not None else None
        wanted = self._wanted
        self._wanted = self.request.min_peers if terms is None else terms.min_peers
        if terms is not None and self._wanted != wanted:
            self.output.say(
                f"the programs ask for minPeers={self._wanted}, not for --min-peers "
                f"{self.request.min_peers}: a round needs {self._wanted}"
            )
        return self._wanted

    def show(self) -> None:
        """Where the training stands: to the user, and into the state file."""
        now, view = time.monotonic(), self.watch.view
        if view is not None:
            self._pace.add(now, view)
        names = self.names()
        text = progress.describe(view, names, self._pace, now - self._started)
        self.output.progress("  ".join(filter(None, (text, self.network.waiting))), now)
        self.save()

    def names(self) -> dict[str, str]:
        """What nodes are called, by UID."""
        return {uid: name for name, uid in self.planner.uids.items()}

    def rows(self) -> list[status.Row]:
        """What is known of each process."""
        return [status.row(node) for node in self.processes.nodes.values()]

    def save(self) -> None:
        """Bring the state file up to date, and tell what it says where it changed."""
        view = self.watch.view
        state: dict[str, Any] = {
            "run_dir": str(self.layout.run), "pid": os.getpid(), "state": self._phase,
            "certs": str(self.layout.certs), "sn_api": self.planner.ports.sn_api[0],
            "sn_apis": list(self.planner.ports.sn_api), "chain": self.network.waiting,
            "program": list(self.request.program), "min_peers": self.request.min_peers,
            "contract": {"name": self.request.contract, **status.summary(view)},
            "nodes": status.with_view(self.rows(), view),
        }  # fmt: skip
        if state != self._saved:
            self.folder.write(run_folder.STATE, state)
            self._saved = state
            self.output.status(state)

    # --- stop

    async def close(self, reason: str, signal: int = 0) -> report.Result:
        """Fetch the ledger, stop everything in order, clear up, and say what came of it.

        Args:
            reason: why it is stopped before its end; empty where it ended by itself.
            signal: the signal that asked for it.
        """
        self.closing, self._phase = True, "stopping"
        self.save()
        await self.control.close()
        seconds = time.monotonic() - self._started
        records = await self._ledger()
        await self.client.close()
        await self.processes.stop_all(reason or "finished")
        await self.processes.close()
        remove(self.layout.scratch)
        results = self.results()
        trained = report.rounds_of(results)
        if records == [] and trained and not reason:
            reason = report.elsewhere("", self._contract)
        result = report.Result(
            str(self.layout.run), reason,
            report.failures(self.processes.nodes.values(), results, self.failures),
            report.final_digests(results),
            max(self.watch.rounds, trained) if records is None else len(records),
            round(seconds, 2), signal, ledger="" if records is not None else self._no_ledger(),
        )  # fmt: skip
        if records is not None:
            ledger = [record.model_dump(mode="json") for record in records]
            self.folder.write("ledger.json", ledger)
        self.folder.write(
            "results.json", {**asdict(result), "nodes": results, "perf": self.watch.perf()}
        )
        self._phase = "finished"
        self.save()
        return result

    async def abandon(self) -> None:
        """Kill everything at once; for a bug of ours or an impatient user."""
        await self.control.close()
        await self.processes.close()
        remove(self.layout.scratch)

    def results(self) -> dict[str, dict[str, Any]]:
        """How each SL's training ended, by the SL's name."""
        return report.read_results(self.layout, self.request.nodes)

    async def _ledger(self) -> list[RoundRecord] | None:
        """Every published round; None where they could not be fetched."""
        if not self._serving:
            return []
        if not self.network.serves:
            return None
        try:
            async with asyncio.timeout(LEDGER_SECONDS):
                return await self.watch.ledger()
        except TimeoutError:
            return None

    def _no_ledger(self) -> str:
        chain = self.planner.chain(SENTINEL)
        if self.request.sns > 1:
            return f"ledger not fetched: no SN answered; the sentinel's chain is in {chain}"
        why = "is gone" if self.processes.nodes[SENTINEL].told in {"", KILLED} else "did not answer"
        return f"ledger not fetched: {SENTINEL} {why}; its chain is in {chain}"
