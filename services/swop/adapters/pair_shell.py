"""Carries out what `core.pair.Pair` decides for one pair: the containers of an SL and its ML."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, assert_never

from services.swop.adapters.kept_logs import save_logs
from services.swop.core import pair as on
from services.swop.core.engine import (
    LABEL_ROLE,
    ContainerState,
    Engine,
    EngineError,
    Found,
    Role,
)
from services.swop.core.outcome import Outcome
from services.swop.core.plan import PairPlan

log = logging.getLogger("swarm.swop")

LAST_LINES = 40
"""Lines of a log in which the reason of an end is looked for."""


class PairShell:
    """One pair, from its start or from where a SWOP before us left it.

    Args:
        engine: runs it.
        had_session: whether its SL ever took part in a training.
        logs: folder for its logs.
    """

    def __init__(
        self, engine: Engine, had_session: Callable[[], Awaitable[bool]], logs: Path
    ) -> None:
        self._engine, self._had_session, self._logs = engine, had_session, logs
        self._events: asyncio.Queue[on.Event] = asyncio.Queue()
        self._ids: dict[Role, str] = {}
        self._names: dict[Role, str] = {}

    async def run(self, plan: PairPlan, existing: Sequence[Found], *, fresh: bool) -> Outcome:
        """Run the pair to its end.

        Args:
            plan: what to start.
            existing: containers that a SWOP before us made for this peer.
            fresh: whether it may be started where nothing is there to go on with.
        """
        programs = [each for each in existing if each.labels[LABEL_ROLE] == Role.ML]
        over = any(each.state is ContainerState.EXITED for each in programs)
        pair = on.Pair(found_over=over)
        self._names = {Role.SL: plan.sl.name, Role.ML: plan.ml.name}
        try:
            await _to_its_end(self._begin(plan, existing, fresh=fresh))
        except EngineError as exc:
            log.warning("pair %s was not started: %s", plan.ml.name, exc)
            self._events.put_nowait(on.StartFailed(str(exc)))
        else:
            self._events.put_nowait(on.Started())
        async with asyncio.TaskGroup() as group:
            helpers = [group.create_task(self._watch(role)) for role in self._ids]
            while True:
                for command in pair.handle(await self._events.get()):
                    if isinstance(command, on.Finish):
                        for helper in helpers:
                            helper.cancel()
                        names = {each: self._names[role] for role, each in self._ids.items()}
                        await save_logs(self._engine, names, self._logs)
                        return command.outcome
                    helpers.append(group.create_task(self._do(command)))

    async def _begin(self, plan: PairPlan, existing: Sequence[Found], *, fresh: bool) -> None:
        found = {Role(each.labels[LABEL_ROLE]): each for each in existing}
        started = all(
            each.state is ContainerState.RUNNING or each.exit_code is not None for each in existing
        )
        if len(found) == len(Role) and started:
            self._ids = {role: each.id for role, each in found.items()}
            log.info("pair %s was there already: going on with it", plan.ml.name)
            return
        for each in existing:  # a SWOP before us was killed while it started them
            await self._engine.remove(each.id)
        if not fresh:
            raise EngineError("its containers are gone")
        await self._engine.make_volume(plan.volume, plan.labels)
        made = {}
        for spec in (plan.sl, plan.ml):
            made[spec.role] = await self._engine.create(spec)
        for each_id in made.values():
            await self._engine.start(each_id)
        self._ids = made

    async def _watch(self, role: Role) -> None:
        """Tell when one of the two ended."""
        each = self._ids[role]
        try:
            code = await self._engine.wait(each)
            lines = await self._engine.logs(each, LAST_LINES) if code else []
        except EngineError as exc:
            code, lines = 1, [str(exc)]
        log.info("%s ended with exit code %d", self._names[role], code)
        self._events.put_nowait(on.Ended(role, code, tuple(lines)))

    async def _do(self, command: on.AskSession | on.Wait | on.Stop) -> None:
        match command:
            case on.AskSession():
                self._events.put_nowait(on.SessionKnown(await self._had_session()))
            case on.Wait(seconds):
                await asyncio.sleep(seconds)
                self._events.put_nowait(on.TimeUp())
            case on.Stop(role, seconds):
                try:
                    await self._engine.stop(self._ids[role], seconds)
                except EngineError as exc:
                    log.warning("cannot stop %s: %s", self._names[role], exc)
            case _:
                assert_never(command)


async def _to_its_end(beginning: Coroutine[Any, Any, None]) -> None:
    """Begin, or be told to stop only after that: what is half made nobody would find."""
    task = asyncio.ensure_future(beginning)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
