r"""The sync rounds of one training, as one SL peer lives them.

The training contract is the authority: this machine looks at the contract's view, compares it with
what its ML program waits for, and asks for the next step. It is *level-triggered*: what to do
follows from the latest view and a few local facts, never from having seen every change, so missed,
repeated or replayed views do no harm.

::

    ML trains  --MlAsked-->  our model is checked in  --QUORUM, we lead-->  Freeze, Merge, Publish
        ^                        | round published (by whomever)
        |                        v
        +----AnswerSync----  Install the merged model in the ML program

A closing ML program (``MlAsked`` with a closed state) stays in the loop: its contribution is
checked in to each further round and each merged model is installed, until the contract is
COMPLETED; then ``AnswerClose``. A peer that is behind (late, slow, or taken for lost) installs the
latest merged model before anything else; what it trained since from an older one is not merged.

Everything that decides the fate of a round on this side is in this file; nothing here touches a
disk, a socket or a clock.
"""

from dataclasses import dataclass, replace
from typing import assert_never

from services.common.errors import IllegalTransitionError, LayoutError, ProtocolError
from services.common.ids import NO_DIGEST, Digest, NodeId
from services.common.sn_api import ContractView, Merged, PeerState, PeerView, Perf, Phase
from services.sl.core import adaptive
from services.sl.core.ending import FOREVER, Shortage, Straggler, sources
from services.sl.core.events import (
    AnswerClose,
    AnswerSync,
    CheckIn,
    Command,
    Done,
    Drop,
    Event,
    Failed,
    Fetch,
    Freeze,
    Input,
    InputFailed,
    Install,
    Installed,
    Merge,
    MergeFinished,
    MlAsked,
    Model,
    Publish,
    ReportLeader,
    ReportPerf,
    Seconds,
    Tick,
    ViewArrived,
)

SETTLE_SECONDS = 1.0
"""How long a command that succeeded is not repeated while no view shows its effect yet."""
RETRY_SECONDS = 0.5
"""Pause after a command that failed; doubles with each failure in a row."""
RETRY_MAX_SECONDS = 30.0
LAST_TRIES = 12
"""Tries to get the final model, over about three minutes; who has it does not wait for ever."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the ML program waits for."""

    seq: int
    model: Model
    weightage: int
    state: PeerState
    base_round: int
    """The merged model that its ML program had when it asked, by round."""

    @property
    def closing(self) -> bool:
        """Whether it is the last one."""
        return self.state is not PeerState.TRAINING


class Training:
    """State machine of one peer in one training.

    Call :meth:`handle` with each event and carry out the command it returns; report each one with
    ``Done`` (``Install``: ``Installed``; ``Merge``: ``MergeFinished``, or ``InputFailed`` for each
    bad input) or ``Failed``. Call it with a :class:`Tick` no later than :attr:`wake_at`.

    Args:
        me: our node id.
        generation: of the contract, as enrolment told.
        interval: the ML program's sync interval, batches.
        quorum_wait: SL_WAIT_FOR_FULL_QUORUM_SECONDS.
        min_peers_timeout: SL_MIN_PEERS_TIMEOUT.
        straggler_timeout: SL_STRAGGLER_TIMEOUT.
    """

    def __init__(
        self, me: NodeId, generation: int, interval: int, quorum_wait: Seconds,
        min_peers_timeout: Seconds = FOREVER, straggler_timeout: Seconds = FOREVER,
    ) -> None:  # fmt: skip
        self.me = me
        self.generation = generation
        self.interval = interval
        self.quorum_wait = quorum_wait
        self.view: ContractView | None = None
        self.request: Request | None = None
        self.installed = Model(NO_DIGEST, 0)
        self.installed_round = 0
        self.over = False
        """The swarm's training ended before our ML program's did."""
        self.finished = False
        self.wake_at: Seconds = FOREVER
        self._view_at: Seconds = 0.0
        self._shortage = Shortage(min_peers_timeout)
        self._straggler = Straggler(me, straggler_timeout)
        self._perf: Perf | None = None
        self._merged: MergeFinished | None = None
        self._failed_inputs: dict[NodeId, InputFailed] = {}
        self._losses: dict[int, dict[str, float]] = {}
        self._hold: dict[Command, Seconds] = {}
        """Commands not to be given again before a time; FOREVER while one is under way."""
        self._failures = 0

    def handle(self, event: Event) -> list[Command]:
        """Advance by one event.

        Returns:
            The command to carry out now, or nothing. One at a time: its outcome, or the next view,
            leads to the next.

        Raises:
            IllegalTransitionError: the ML program asked twice, or the contract was reset.
            LayoutError: our own model is the one that cannot be merged.
            ProtocolError: the training is over and the final model cannot be had.
            RemoteError: fewer than minPeers were there for too long.
        """
        now = self._take(event)
        if self.view is None or self.finished:
            return []
        self.wake_at = FOREVER
        wanted = self._next(self.view, now)
        if wanted is None:
            return []
        key = _key(wanted)
        held_until = self._hold.get(key, 0.0)
        if now < held_until:
            self._wake(held_until)
            return []
        self._hold[key] = FOREVER
        return [wanted]

    # --- what happened

    def _take(self, event: Event) -> Seconds:
        """Note an event; returns the time to decide at."""
        match event:
            case ViewArrived(view):
                self._look(view, event.now)
            case MlAsked(seq, model, weightage, state):
                self._ask(Request(seq, model, weightage, state, self.installed_round))
            case Installed(command, perf):
                self.installed, self.installed_round = command.model, command.round
                self._perf, self._failures = perf, 0
                del self._hold[_key(command)]
            case MergeFinished(command):
                self._merged = event
                self._hold.pop(_key(command), None)
            case InputFailed():
                self._note_failed_input(event)
            case Done() | Failed():
                self._ended(event)
            case Tick():
                pass
            case _:
                assert_never(event)
        return event.now

    def _look(self, view: ContractView, now: Seconds) -> None:
        if view.generation > self.generation:
            raise IllegalTransitionError(
                f"contract {view.name} was reset while this peer was training", "reset"
            )
        seen = (self.view.generation, self.view.round) if self.view else (0, 0)
        if (view.generation, view.round) < seen:
            return  # from an SN that has not caught up yet
        if (view.generation, view.round) > seen:
            self._failed_inputs.clear()
            self._hold = {key: until for key, until in self._hold.items() if until > now}
        measured = {
            p.uid: p.perf.loss for p in view.peers if p.perf and p.perf_round == view.round - 1
        }
        self._losses = {
            view.round - 2: self._losses.get(view.round - 2, {}),
            view.round - 1: measured,
        }
        self.view, self._view_at = view, now
        self._straggler.look(view, now)

    def _ask(self, request: Request) -> None:
        if self.request is not None or self.over:
            raise IllegalTransitionError("the ML program asked again before it was answered")
        self.request = request

    def _note_failed_input(self, event: InputFailed) -> None:
        if event.peer == self.me:
            raise LayoutError(f"our own model cannot be merged with the others': {event.reason}")
        self._failed_inputs[event.peer] = event
        self._hold.pop(_key(event.command), None)

    def _ended(self, event: Done | Failed) -> None:
        if isinstance(event, Done):
            self._done(event.command, event.now)
        else:
            self._fail(event.command, event.now)

    def _done(self, command: Command, now: Seconds) -> None:
        self._failures = 0
        self._hold[_key(command)] = now + SETTLE_SECONDS
        match command:
            case AnswerSync(training_over=over):
                self.request, self.over = None, over
            case AnswerClose():
                self.request, self.finished = None, True
            case ReportPerf(round=measured) if measured == self.installed_round:
                self._perf = None
            case CheckIn(round=round_, perf=perf) if perf and round_ == self.installed_round + 1:
                self._perf = None
            case Fetch(model=model):
                self._straggler.fetched = model.digest
            case _:
                pass

    def _fail(self, command: Command, now: Seconds) -> None:
        self._failures += 1
        over = self.view is not None and self.view.phase is Phase.COMPLETED
        if over and isinstance(command, Install) and self._failures >= LAST_TRIES:
            raise ProtocolError(
                f"the training is over and nobody serves the merged model of round {command.round}"
            )
        pause = min(RETRY_SECONDS * 2 ** (self._failures - 1), RETRY_MAX_SECONDS)
        self._hold[_key(command)] = now + pause
        if isinstance(command, ReportPerf):
            self._perf = None  # nice to have; never keeps the ML program waiting
        if isinstance(command, Fetch):
            self._straggler.fetched = command.model.digest  # nice to have, too

    # --- what to do

    def _next(self, view: ContractView, now: Seconds) -> Command | None:
        """The one step that is due, given the latest view; None while others must act."""
        request = self.request
        self._shortage.look(view, now, waiting=request is not None)
        self._shortage.check(view, now)
        self._wake(self._shortage.due)
        if self._is_under_way(AnswerSync, AnswerClose, Fetch):
            return None
        if request is None:
            return self._while_ml_trains(view, now)
        merged_round = view.merged.round if view.merged else 0
        if merged_round < self.installed_round:
            return None  # from an SN that has not caught up yet
        if view.merged is not None and (
            merged_round > self.installed_round or view.merged.digest != self.installed.digest
        ):
            return self._install(view, view.merged, request)
        caught_up = not request.closing and self.installed_round > request.base_round
        if caught_up or view.phase is Phase.COMPLETED:
            return self._answer(view, request)
        return self._take_part(view, request, now)

    def _while_ml_trains(self, view: ContractView, now: Seconds) -> Command | None:
        """Have the final model ready for it; let the others end when they waited long enough."""
        over = self._straggler.is_over(view, now)
        if not over and view.phase is not Phase.COMPLETED:
            if self._straggler.due > now:
                self._wake(self._straggler.due)
            return None
        fetch = self._straggler.fetch(view, self.installed.digest)
        return fetch if fetch is not None or not over else self._straggler.leave(view)

    def _install(self, view: ContractView, merged: Merged, request: Request) -> Command | None:
        if self._is_under_way(Install):
            return None  # the ML program takes one at a time
        return Install(merged.round, _merged_model(merged), sources(view, self.me), request.seq)

    def _answer(self, view: ContractView, request: Request) -> Command:
        if view.phase is Phase.COMPLETED and self._perf is not None:
            return ReportPerf(self.installed_round, self._perf)
        if request.closing:
            return AnswerClose(request.seq)
        interval = view.merged.next_interval if view.merged else 0
        return AnswerSync(request.seq, interval, view.phase is Phase.COMPLETED)

    def _take_part(self, view: ContractView, request: Request, now: Seconds) -> Command | None:
        if not request.closing and self._straggler.is_over(view, now):
            return self._straggler.leave(view)
        mine = next((p for p in view.peers if p.uid == self.me), None)
        ours = self._check_in(view, request)
        if mine is None or (view.phase is not Phase.MERGING and not _shows(mine, ours)):
            return ours
        if view.phase in (Phase.QUORUM, Phase.MERGING):
            if view.leader == self.me:
                return self._lead(view, now)
            return self._follow(view, now)
        return None

    def _check_in(self, view: ContractView, request: Request) -> CheckIn:
        model, weightage = request.model, request.weightage
        if request.state is PeerState.ACTIVE and self.installed_round > 0:
            model = self.installed
        if request.state is PeerState.INACTIVE:
            weightage = 0
        return CheckIn(
            view.round, self.installed.digest, model, weightage, request.state, self._perf
        )

    # --- leading

    def _lead(self, view: ContractView, now: Seconds) -> Command | None:
        if view.phase is Phase.QUORUM:
            return self._freeze_when_full(view, now)
        participants = [p for p in view.peers if p.participant and not p.dropped]
        for peer in participants:
            failed = self._failed_inputs.get(NodeId(peer.uid))
            if failed is not None and _is_of(failed.command, view):
                return Drop(view.round, view.term, failed.peer, failed.reason)
        return self._merge_or_publish(view, participants)

    def _freeze_when_full(self, view: ContractView, now: Seconds) -> Freeze | None:
        due = self._since(view) + self.quorum_wait
        if now < due and any(p.live and p.checkin is None for p in view.peers):
            self._wake(due)
            return None
        return Freeze(view.round, view.term)

    def _merge_or_publish(self, view: ContractView, participants: list[PeerView]) -> Command | None:
        assert view.terms is not None
        inputs = tuple(
            Input(
                NodeId(p.uid),
                p.endpoint,
                Model(Digest(p.checkin.digest), p.checkin.size),
                p.checkin.weightage,
            )
            for p in participants
            if p.checkin is not None
        )
        weighted = tuple(i for i in inputs if i.weightage > 0)
        model: Model | None
        if not weighted and view.merged is not None:
            model = _merged_model(view.merged)
        else:
            weighted = weighted or tuple(replace(i, weightage=1) for i in inputs)
            model = self._merge_of(view)
        if model is None:
            base = _merged_model(view.merged) if view.merged else None
            return Merge(view.round, view.term, view.terms.merge_method, weighted, base)
        contributors = tuple(i.peer for i in inputs)
        return Publish(view.round, view.term, model, contributors, self._next_interval(view))

    def _merge_of(self, view: ContractView) -> Model | None:
        """Our merge of this round and term, if it is finished (then nobody was dropped since)."""
        done = self._merged
        return done.model if done is not None and _is_of(done.command, view) else None

    def _next_interval(self, view: ContractView) -> int:
        if view.terms is None or not view.terms.adaptive:
            return 0
        current = (view.merged.next_interval if view.merged else 0) or self.interval
        latest, before = self._losses.get(view.round - 1, {}), self._losses.get(view.round - 2, {})
        return adaptive.next_interval(current, self.interval, before, latest)

    # --- following

    def _follow(self, view: ContractView, now: Seconds) -> ReportLeader | None:
        assert view.terms is not None
        due = self._since(view) + view.terms.leader_timeout_s
        if now < due:
            self._wake(due)
            return None
        return ReportLeader(view.round, view.term)

    def _since(self, view: ContractView) -> Seconds:
        """When the present leader was elected, on our clock."""
        return self._view_at - (view.quorum_age_s or 0.0)

    def _is_under_way(self, *kinds: type[Command]) -> bool:
        return any(t == FOREVER and isinstance(key, kinds) for key, t in self._hold.items())

    def _wake(self, at: Seconds) -> None:
        self.wake_at = min(self.wake_at, at)


def _shows(peer: PeerView, ours: CheckIn) -> bool:
    """Whether a peer's check-in is ours, and not one of an earlier process under the same uid."""
    return peer.checkin is not None and peer.checkin.digest == ours.model.digest


def _merged_model(merged: Merged) -> Model:
    return Model(Digest(merged.digest), merged.size)


def _is_of(command: Merge, view: ContractView) -> bool:
    return (command.round, command.term) == (view.round, view.term)


def _key(command: Command) -> Command:
    """What makes two commands the same for holding back repeats.

    A check-in's perf does not, nor what an answer says: a request is answered once.
    """
    match command:
        case CheckIn():
            return replace(command, perf=None)
        case AnswerSync(seq):
            return AnswerSync(seq, 0, training_over=False)
        case _:
            return command
