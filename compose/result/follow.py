"""Follows a run through the SNs and the pairs' folders until it is over."""

import asyncio
import json
import signal
import sys
from collections.abc import Sequence

from compose import progress
from compose.result import table
from compose.result.judge import Pair, Sight, Terms, Verdict, verdict
from compose.result.read import Folder, uid_of
from compose.result.services import Services
from compose.result.settings import ResultSettings
from compose.watch import POLL_SECONDS, ContractWatch
from services.common.sn_client import SnClient

LOOK_SECONDS = 0.5
AGAIN_SECONDS = 20.0
"""After which the same line is said again."""
SILENCE = 2 * POLL_SECONDS
"""Seconds; a long poll that brings nothing new answers before."""


class Follower:
    """Prints what happens, then the table.

    Args:
        settings: of the run.
        client: of the SNs.
    """

    def __init__(self, settings: ResultSettings, client: SnClient) -> None:
        self._settings = settings
        self._folder = Folder(settings.result_dir)
        self._line = progress.Line(sys.stdout)
        self._pace = progress.Pace()
        self._pairs: Sequence[Pair] = ()
        self._notices: list[str] = []
        self._began = self._answered = 0.0
        self._shown, self._shown_at = "", 0.0
        self._stopped: Verdict | None = None
        self._names = {uid_of(index): f"sl-{index}" for index in self._indices}
        self._watch = ContractWatch(client, settings.result_contract, self._news)

    @property
    def _indices(self) -> range:
        return range(1, self._settings.result_pairs + 1)

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def stop(self, received: signal.Signals) -> None:
        """End early."""
        self._stopped = Verdict(128 + received, "it was stopped before its end")

    async def run(self) -> int:
        """Follow to the end; the exit code."""
        self._began = self._answered = self._now
        services = Services(self._settings.watched(), self._tell)
        terms = Terms(self._settings.min_peers, self._settings.swarm_timeout)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._watch.run()), group.create_task(services.run())]
            while True:
                sight = self._look()
                found = self._stopped or verdict(sight, terms)
                if found is not None:
                    break
                await asyncio.sleep(LOOK_SECONDS)
            for task in tasks:
                task.cancel()
        for line in table.outcome(sight, found, self._notices):
            self._line.say(line)
        told = table.as_json(sight, found, self._notices)
        (self._settings.result_dir / "result.json").write_text(json.dumps(told, indent=1) + "\n")
        return found.exit_code

    def _look(self) -> Sight:
        """Look at all, and say what is new."""
        view, now = self._watch.view, self._now
        pairs = [self._folder.pair(index, view) for index in self._indices]
        for change in table.changes(self._pairs, pairs):
            self._tell(change.text, change.trouble)
        self._pairs = pairs
        elapsed = now - self._began
        self._show(progress.describe(view, self._names, self._pace, elapsed), elapsed)
        silent = now - self._answered
        return Sight(
            pairs, view, elapsed, self._watch.completed_ago, silent if silent > SILENCE else 0.0
        )

    def _show(self, text: str, elapsed: float) -> None:
        """The line about where the training stands; one that says nothing new only now and then."""
        if self._watch.rounds == 0:
            text = "; ".join(filter(None, (text, table.programs(self._pairs))))
        key = text[len(f"{elapsed:4.0f} s") :]
        if key != self._shown or elapsed - self._shown_at >= AGAIN_SECONDS:
            self._shown, self._shown_at = key, elapsed
            self._line.show(text, self._now)

    def _news(self) -> None:
        self._answered = self._now
        if self._watch.view is not None:
            self._pace.add(self._now, self._watch.view)

    def _tell(self, text: str, trouble: bool = True) -> None:
        """Print it; what was trouble is said once more at the end."""
        text = f"{self._now - self._began:4.0f} s  {text}"
        self._line.say(text)
        if trouble:
            self._notices.append(text.strip())
