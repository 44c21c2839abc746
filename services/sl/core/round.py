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

Where merges must be attested, what the leader publishes is a proposal at first: the others
``Recompute`` it, when it is their turn (``merge_plan.py``), and ``Attest`` what they got.

Everything that decides the fate of a round on this side is in this file; nothing here touches a
disk, a socket or a clock.
"""

from typing import assert_never

from services.common.errors import IllegalTransitionError, LayoutError, ProtocolError
from services.common.ids import NO_DIGEST, NodeId
from services.common.sn_api import ContractView, Merged, PeerView, Perf, Phase, Proposal
from services.sl.core import adaptive, merge_plan
from services.sl.core.ending import FOREVER, Shortage, Straggler, sources
from services.sl.core.events import (
    AnswerClose,
    AnswerSync,
    Attest,
    CheckIn,
    Command,
    Done,
    Drop,
    Event,
    Failed,
    Fetch,
    Freeze,
    InputFailed,
    Install,
    Installed,
    Merge,
    MergeFinished,
    MlAsked,
    Model,
    Publish,
    Recompute,
    Recomputed,
    ReportLeader,
    ReportPerf,
    Seconds,
    Tick,
    ViewArrived,
    key_of,
)
from services.sl.core.giving_up import Trouble
from services.sl.core.leaderless import LEADERLESS_SECONDS, is_leaderless
from services.sl.core.merge_plan import merged_model, plan_of
from services.sl.core.request import Request, shows

SETTLE_SECONDS = 1.0
"""How long a command that succeeded is not repeated while no view shows its effect yet."""
RETRY_SECONDS = 0.5
"""Pause after a command that failed; doubles with each failure in a row."""
RETRY_MAX_SECONDS = 30.0
LAST_TRIES = 12
"""Tries to get the final model, over about three minutes; who has it does not wait for ever."""


class Training:
    """State machine of one peer in one training.

    Call :meth:`handle` with each event and carry out the command it returns; report each one with
    ``Done`` (``Install``: ``Installed``; ``Merge``: ``MergeFinished``, or ``InputFailed`` for each
    bad input; ``Recompute``: ``Recomputed``) or ``Failed``. Call it with a :class:`Tick` no later
    than :attr:`wake_at`.

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
        self._recomputed: Recomputed | None = None
        self._proposed: tuple[int, int, Seconds] = (0, 0, 0.0)
        """Round and term of the latest proposal, and when we saw it first."""
        self._failed_inputs: dict[NodeId, InputFailed] = {}
        self._losses: dict[int, dict[str, float]] = {}
        self._hold: dict[Command, Seconds] = {}
        """Commands not to be given again before a time; FOREVER while one is under way."""
        self._checked_in_at: Seconds = 0.0
        self._failures = 0
        self._trouble = Trouble()

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
        key = key_of(wanted)
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
                del self._hold[key_of(command)]
            case MergeFinished() | Recomputed():
                self._note_merge(event)
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
            self._hold = {k: t for k, t in self._hold.items() if t > now and not _is_merge(k)}
        before = self._losses.get(view.round - 2, {})
        self._losses = {view.round - 2: before, view.round - 1: adaptive.losses_of(view)}
        self.view, self._view_at = view, now
        if view.proposal is not None and self._proposed[:2] != (view.round, view.term):
            self._proposed = (view.round, view.term, now)
        self._straggler.look(view, now)

    def _ask(self, request: Request) -> None:
        if self.request is not None or self.over:
            raise IllegalTransitionError("the ML program asked again before it was answered")
        self.request = request

    def _note_merge(self, event: MergeFinished | Recomputed) -> None:
        if isinstance(event, MergeFinished):
            self._merged = event
        else:
            self._recomputed = event
        self._hold.pop(key_of(event.command), None)

    def _note_failed_input(self, event: InputFailed) -> None:
        if event.peer == self.me and self.request and self.request.is_in(event.command, self.me):
            raise LayoutError(f"our own model cannot be merged with the others': {event.reason}")
        self._failed_inputs[event.peer] = event
        self._hold.pop(key_of(event.command), None)

    def _ended(self, event: Done | Failed) -> None:
        if isinstance(event, Done):
            self._done(event.command, event.now)
        else:
            self._trouble = self._trouble.after(event)
            self._fail(event.command, event.now)

    def _done(self, command: Command, now: Seconds) -> None:
        self._failures = 0
        self._hold[key_of(command)] = now + SETTLE_SECONDS
        if isinstance(command, CheckIn):
            self._checked_in_at = now
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
        self._hold[key_of(command)] = now + pause
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
        return Install(merged.round, merged_model(merged), sources(view, self.me), request.seq)

    def _answer(self, view: ContractView, request: Request) -> Command:
        if view.phase is Phase.COMPLETED and self._perf is not None:
            return ReportPerf(self.installed_round, self._perf)
        if request.closing:
            return AnswerClose(request.seq)
        interval = 0
        if view.merged and view.terms and view.terms.adaptive:
            interval = min(view.merged.next_interval, adaptive.LIMIT * self.interval)
        return AnswerSync(request.seq, interval, view.phase is Phase.COMPLETED)

    def _take_part(self, view: ContractView, request: Request, now: Seconds) -> Command | None:
        if not request.closing and self._straggler.is_over(view, now):
            return self._straggler.leave(view)
        if self._straggler.due > now:
            self._wake(self._straggler.due)
        mine = next((p for p in view.peers if p.uid == self.me), None)
        ours = request.check_in(view.round, self.installed, self.installed_round, self._perf)
        if mine is None or (view.phase is not Phase.MERGING and not shows(mine, ours)):
            return ours
        if view.phase in (Phase.QUORUM, Phase.MERGING):
            if view.leader == self.me:
                return self._lead(view, now)
            return self._follow(view, now) or self._attest(view, mine, ours, now)
        return self._check_in_again(view, ours, now)

    def _check_in_again(self, view: ContractView, ours: CheckIn, now: Seconds) -> CheckIn | None:
        if not is_leaderless(view, self.me):
            return None
        due = max(self._view_at, self._checked_in_at) + LEADERLESS_SECONDS
        if now >= due:
            return ours
        self._wake(due)
        return None

    # --- leading

    def _lead(self, view: ContractView, now: Seconds) -> Command | None:
        if view.phase is Phase.QUORUM:
            return self._freeze_when_full(view, now)
        if view.proposal is not None:
            return None  # that is our merge, or one of an earlier process of ours; others judge it
        for peer in merge_plan.participants_of(view):
            failed = self._failed_inputs.get(NodeId(peer.uid))
            if failed is not None and _is_of(failed.command, view):
                if peer.uid == self.me:
                    return self._follow(view, now)  # another leader can drop it
                return Drop(view.round, view.term, failed.peer, failed.reason)
        return self._merge_or_publish(view)

    def _freeze_when_full(self, view: ContractView, now: Seconds) -> Freeze | None:
        due = self._since(view) + self.quorum_wait
        if now < due and any(p.live and p.checkin is None for p in view.peers):
            self._wake(due)
            return None
        return Freeze(view.round, view.term)

    def _merge_or_publish(self, view: ContractView) -> Command:
        plan = plan_of(view)
        model = plan.merge if isinstance(plan.merge, Model) else self._merge_of(view)
        if model is None:
            assert isinstance(plan.merge, Merge)
            return self._trouble.leave(view, self.me) or plan.merge
        return Publish(view.round, view.term, model, plan.contributors, self._next_interval(view))

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

    def _attest(
        self, view: ContractView, mine: PeerView, ours: CheckIn, now: Seconds
    ) -> Command | None:
        """Our part in attesting what the leader proposes, if it is our turn."""
        proposal = view.proposal
        if proposal is None or not merge_plan.is_asked(view, proposal, self.me):
            return None
        if not mine.live:  # taken for lost; repeating the check-in brings us back
            return ours if shows(mine, ours) else None
        plan = plan_of(view).merge
        if isinstance(plan, Model):
            return Attest(view.round, view.term, plan)
        done = self._recomputed
        if done is not None and _is_of(done.command.merge, view):
            return Attest(view.round, view.term, done.model) if done.model else None
        return self._recompute(view, proposal, plan, now)

    def _recompute(
        self, view: ContractView, proposal: Proposal, plan: Merge, now: Seconds
    ) -> Recompute | None:
        due = self._proposed[2] + merge_plan.patience_of(view, proposal, self.me)
        if now < due:
            self._wake(due)
            return None
        return Recompute(plan, merge_plan.sources_of(view, proposal, self.me))

    def _since(self, view: ContractView) -> Seconds:
        """When the present leader was elected, on our clock."""
        return self._view_at - (view.quorum_age_s or 0.0)

    def _is_under_way(self, *kinds: type[Command]) -> bool:
        return any(t == FOREVER and isinstance(key, kinds) for key, t in self._hold.items())

    def _wake(self, at: Seconds) -> None:
        self.wake_at = min(self.wake_at, at)


def _is_merge(command: Command) -> bool:
    """Whether it is given up with its round, so that no event may tell how it ended."""
    return isinstance(command, Merge | Recompute)


def _is_of(command: Merge, view: ContractView) -> bool:
    return (command.round, command.term) == (view.round, view.term)
