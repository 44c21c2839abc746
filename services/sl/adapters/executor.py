"""Carries out what the round machine asks for, and reports each outcome to it as an event."""

import asyncio
import logging
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import assert_never

from services.common import sn_api as api
from services.common.errors import (
    DigestMismatchError,
    LayoutError,
    MlError,
    PeerUnavailableError,
    ProtocolError,
    SwarmError,
)
from services.common.ids import NodeId
from services.common.sn_client import SnClient
from services.sl.adapters.merging import InputError, MergedFile, merge_files
from services.sl.adapters.ml import MlSession
from services.sl.adapters.peers import Peers
from services.sl.adapters.store import Store
from services.sl.core import events as ev
from services.sl.core.method import MethodError
from services.sl.core.methods import METHODS, Factory, method_named
from services.sl.core.outliers import Update

log = logging.getLogger("swarm.round")

FETCH_SECONDS = 30.0
FETCH_BYTES_PER_SECOND = 4 * 1024 * 1024
"""A participant whose model takes the leader longer than the seconds and this rate is dropped: the
others wait for the slowest (Our choice). A peer that fetches a merged model has more time."""
REASON_LENGTH = 200
"""Longest reason that goes on the ledger, characters."""


_Write = ev.CheckIn | ev.Freeze | ev.Drop | ev.Publish | ev.Attest | ev.ReportLeader | ev.ReportPerf
"""What goes to the contract."""


class Executor:
    """Runs each command as a task of ``group``.

    Args:
        contract: name of the training contract.
        generation: of it, from enrolment.
        me: our uid.
        sn: state API.
        store: our model files.
        peers: downloads from other SLs.
        ml: our ML program.
        emit: takes the events.
        group: owns the tasks.
        methods: merge methods by name.
        ram_intensive: merge in large blocks.
    """

    def __init__(
        self, contract: str, generation: int, me: NodeId, sn: SnClient, store: Store, peers: Peers,
        ml: MlSession, emit: Callable[[ev.Event], None], group: asyncio.TaskGroup,
        methods: Mapping[str, Factory] = METHODS, *, ram_intensive: bool = True,
    ) -> None:  # fmt: skip
        self.contract, self.generation, self.me = contract, generation, me
        self.sn, self.store, self.peers, self.ml = sn, store, peers, ml
        self.emit, self.group = emit, group
        self.methods, self.ram_intensive = methods, ram_intensive
        self._merge: asyncio.Task[None] | None = None

    def start(self, command: ev.Command) -> None:
        """Begin; outcomes are emitted. A newer merge ends an older one, whatever it is for.

        So does the merged model of a later round: nobody needs the older one's any more.
        """
        log.debug("command %s", command)
        task = self.group.create_task(self._run(command))
        if isinstance(command, ev.Merge | ev.Recompute | ev.Install):
            if self._merge is not None:
                self._merge.cancel()
            self._merge = None if isinstance(command, ev.Install) else task

    async def _run(self, command: ev.Command) -> None:
        try:
            await self._carry_out(command)
        except (MlError, LayoutError, MethodError):
            raise
        except SwarmError as exc:
            log.warning("%s of round %s not done: %s", type(command).__name__,
                        getattr(command, "round", "-"), exc)  # fmt: skip
            self.emit(ev.Failed(command, str(exc), time.monotonic()))

    async def _carry_out(self, command: ev.Command) -> None:
        match command:
            case ev.Merge():
                await self._do_merge(command)
                return
            case ev.Recompute():
                await self._do_recompute(command)
                return
            case ev.Install():
                await self._do_install(command)
                return
            case ev.Fetch():
                await self._obtain(command.model, command.sources)
            case ev.Leave(_, reason):
                body = api.Leave(generation=self.generation, reason=reason[:REASON_LENGTH])
                await self.sn.peer(self.contract, self.me, "leave", body)
                log.warning("left the training: %s", reason)
            case ev.AnswerSync(_, next_interval, training_over):
                await self.ml.answer_sync(next_interval, training_over)
            case ev.AnswerClose():
                await self.ml.answer_close()
            case _:
                await self._write(command)
        self.emit(ev.Done(command, time.monotonic()))

    # --- the contract

    async def _write(self, command: _Write) -> None:
        verb, body = self._body(command)
        await self.sn.peer(self.contract, self.me, verb, body)
        if isinstance(command, ev.Publish):
            log.info("published model %.12s of round %d, merged from %d peers",
                     command.model.digest, command.round, len(command.contributors))  # fmt: skip
        elif isinstance(command, ev.Attest):
            log.info("attested model %.12s as the merge of round %d",
                     command.model.digest, command.round)  # fmt: skip
        elif isinstance(command, ev.CheckIn):
            log.info("checked in model %.12s (%d bytes, weightage %d)",
                     command.model.digest, command.model.size, command.weightage)  # fmt: skip

    def _body(self, command: _Write) -> tuple[str, api.CheckIn | api.OfTerm | api.PerfReport]:
        generation = self.generation
        match command:
            case ev.CheckIn(round_, base, model, weightage, state, perf):
                return "checkin", api.CheckIn(
                    generation=generation, round=round_, base=base, digest=model.digest,
                    size=model.size, weightage=weightage, state=state, perf=perf,
                )  # fmt: skip
            case ev.Freeze(round_, term) | ev.ReportLeader(round_, term):
                verb = "freeze" if isinstance(command, ev.Freeze) else "report-leader"
                return verb, api.OfTerm(generation=generation, round=round_, term=term)
            case ev.Drop(round_, term, peer, reason):
                return "drop", api.Drop(
                    generation=generation, round=round_, term=term, peer=peer,
                    reason=reason[:REASON_LENGTH],
                )  # fmt: skip
            case ev.Publish(round_, term, model, contributors, next_interval):
                return "publish", api.Publish(
                    generation=generation, round=round_, term=term, digest=model.digest,
                    size=model.size, contributors=list(contributors), next_interval=next_interval,
                )  # fmt: skip
            case ev.Attest(round_, term, model):
                return "attest", api.Attest(
                    generation=generation, round=round_, term=term, digest=model.digest,
                    size=model.size,
                )  # fmt: skip
            case ev.ReportPerf(round_, perf):
                return "perf", api.PerfReport(generation=generation, round=round_, perf=perf)
            case _:
                assert_never(command)

    # --- models

    async def _do_merge(self, command: ev.Merge) -> None:
        """Fetch all inputs, merge them, and see that another peer has the result, too.

        The copy is made before the result can be published: a leader that dies right after its
        publish would otherwise take the only copy of the round's model with it.
        """
        began = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                fetches = [group.create_task(self._fetch(command, i)) for i in command.inputs]
        except BaseExceptionGroup as errors:  # our disk: the others need not go on
            raise errors.exceptions[0] from errors
        if not any(fetch.result() for fetch in fetches):
            await self._have_base(command)
            try:
                merged = await self._merged(command)
            except InputError as exc:
                bad = command.inputs[exc.index].peer
                log.warning("model of peer %.8s cannot be merged: %s", bad, exc)
                self.emit(ev.InputFailed(command, bad, str(exc), time.monotonic()))
                return
            await self._tell_outliers(command, merged.updates)
            model = ev.Model(merged.digest, merged.size)
            await self._copy(command, model)
            log.info("merged %d models of round %d by %s in %.0f ms", len(command.inputs),
                     command.round, command.method, (time.monotonic() - began) * 1000)  # fmt: skip
            self.emit(ev.MergeFinished(command, model, time.monotonic()))

    async def _have_base(self, command: ev.Merge) -> None:
        """Get the merged model of the round before, where our store lost it."""
        if command.base is not None:
            others = [i.endpoint for i in command.inputs if i.peer != self.me]
            await self._obtain_base(command, others, _seconds_for(command.base.size))

    async def _obtain_base(self, command: ev.Merge, sources: Sequence[str], seconds: float) -> None:
        """The same; where nobody has it any more, a method that does not use it goes on without."""
        assert command.base is not None
        try:
            await self._obtain(command.base, sources, seconds)
        except PeerUnavailableError as exc:
            if method_named(command.method, self.methods).uses_base:
                raise
            log.warning("merging round %d without the model before it: %s", command.round, exc)

    async def _tell_outliers(self, command: ev.Merge, updates: Sequence[Update | None]) -> None:
        """Log large updates, and put them on the ledger."""
        for wanted, update in zip(command.inputs, updates, strict=True):
            if update is None or not update.is_outlier:
                continue
            log.warning(
                "the update of peer %.8s in round %d is large: norm %.4g, %.3g x the median",
                wanted.peer, command.round, update.norm, update.ratio,
            )  # fmt: skip
            remark = api.Outlier(
                generation=self.generation, round=command.round, term=command.term,
                peer=wanted.peer, norm=update.norm, ratio=update.ratio,
            )  # fmt: skip
            try:
                await self.sn.peer(self.contract, self.me, "outlier", remark)
            except SwarmError as exc:
                log.warning("this is not on the ledger: %s", exc)

    async def _merged(self, command: ev.Merge) -> MergedFile:
        """The merge of inputs that are all in the store; raises as ``merge_files`` does."""
        base = command.base
        return await merge_files(
            command.method, self.store, [(i.model.digest, i.weightage) for i in command.inputs],
            base.digest if base is not None else None,
            methods=self.methods, ram_intensive=self.ram_intensive,
        )  # fmt: skip

    async def _do_recompute(self, command: ev.Recompute) -> None:
        """Make the leader's merge once more, from the same files and by the same code."""
        began, merge, model = time.monotonic(), command.merge, None
        try:
            self._require_sizes(merge)
            await self._obtain_all(command)
            merged = await self._merged(merge)
        except InputError as exc:
            log.warning("cannot attest the merge of round %d: the model of peer %.8s cannot be "
                        "merged: %s", merge.round, merge.inputs[exc.index].peer, exc)  # fmt: skip
        else:
            model = ev.Model(merged.digest, merged.size)
            log.info("recomputed the merge of round %d: %.12s, in %.0f ms", merge.round,
                     model.digest, (time.monotonic() - began) * 1000)  # fmt: skip
        self.emit(ev.Recomputed(command, model, time.monotonic()))

    def _require_sizes(self, merge: ev.Merge) -> None:
        """No leader can make us fetch what it should have dropped, of whatever size.

        Raises:
            InputError: one model has not the size that all must have.
        """
        expected = _expected_size(merge, self.me)
        for index, wanted in enumerate(merge.inputs):
            if wanted.model.size != expected:
                raise InputError(index, _other_size(wanted, expected))

    async def _obtain_all(self, command: ev.Recompute) -> None:
        """Get the inputs of a merge, and its base, wherever they are."""
        merge = command.merge
        base_size = merge.base.size if merge.base is not None else 0
        seconds = _seconds_for(sum(i.model.size for i in merge.inputs) + base_size)
        try:
            async with asyncio.TaskGroup() as group:
                for wanted in merge.inputs:
                    sources = (wanted.endpoint, *command.sources)
                    group.create_task(self._obtain(wanted.model, sources, seconds))
                if merge.base is not None:
                    group.create_task(self._obtain_base(merge, command.sources, seconds))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from errors

    async def _fetch(self, command: ev.Merge, wanted: ev.Input) -> bool:
        """Get one input into the store; True when that failed, which is then reported."""
        if await self.store.holds(wanted.model.digest):
            return False
        problem = self._problem(command, wanted) or await self._download(command, wanted)
        if problem:
            log.warning("model of peer %.8s cannot be merged: %s", wanted.peer, problem)
            self.emit(ev.InputFailed(command, wanted.peer, problem, time.monotonic()))
        return bool(problem)

    def _problem(self, command: ev.Merge, wanted: ev.Input) -> str:
        """Why an input need not even be fetched, or nothing."""
        if wanted.peer == self.me:
            return "the leader's own file is gone"
        expected = _expected_size(command, self.me)
        return _other_size(wanted, expected) if wanted.model.size != expected else ""

    async def _download(self, command: ev.Merge, wanted: ev.Input) -> str:
        """Fetch an input; why it failed, or nothing. All inputs share our link, and their time."""
        model = wanted.model
        deadline = _seconds_for(len(command.inputs) * model.size)
        try:
            await self.peers.fetch(wanted.endpoint, model.digest, model.size, self.store, deadline)
        except (PeerUnavailableError, DigestMismatchError) as exc:
            return str(exc)
        return ""

    async def _copy(self, command: ev.Merge, model: ev.Model) -> None:
        """Give the merged model to one other participant, the first that takes it."""
        for other in command.inputs:
            if other.peer == self.me:
                continue
            try:
                await self.peers.push(
                    other.endpoint, model.digest, model.size, self.store, _seconds_for(model.size)
                )
            except (PeerUnavailableError, ProtocolError) as exc:
                log.warning("peer %.8s did not take a copy of the merge: %s", other.peer, exc)
            else:
                return

    async def _do_install(self, command: ev.Install) -> None:
        await self._obtain(command.model, command.sources)
        perf = await self.ml.install(command.model)
        log.info("installed merged model %.12s of round %d: loss %.4f, metric %.4f",
                 command.model.digest, command.round, perf.loss, perf.metric)  # fmt: skip
        self.emit(ev.Installed(command, perf, time.monotonic()))

    async def _obtain(
        self, model: ev.Model, sources: Sequence[str], seconds: float | None = None
    ) -> None:
        """Get a model into the store from the first peer that serves it, unless it is there.

        Raises:
            PeerUnavailableError: none does.
        """
        if await self.store.holds(model.digest):
            return
        failures: list[str] = []
        for source in sources:
            try:
                await self.peers.fetch(source, model.digest, model.size, self.store, seconds)
            except (PeerUnavailableError, DigestMismatchError) as exc:
                failures.append(f"{source}: {exc}")
            else:
                return
        raise PeerUnavailableError(
            f"no peer serves model {model.digest:.12} ({'; '.join(failures)})"
        )


def _seconds_for(size: int) -> float:
    """How long a transfer of the leader's may take."""
    return FETCH_SECONDS + size / FETCH_BYTES_PER_SECOND


def _expected_size(command: ev.Merge, me: NodeId) -> int:
    """Bytes that every input must have: equal layouts make equal files.

    In the first round as many as most have, and our own where there is a tie.
    """
    if command.base is not None:
        return command.base.size
    most = statistics.multimode(i.model.size for i in command.inputs)
    return next((i.model.size for i in command.inputs if i.peer == me and i.model.size in most),
                most[0])  # fmt: skip


def _other_size(wanted: ev.Input, expected: int) -> str:
    return f"it has {wanted.model.size} bytes, the others' models have {expected}"
