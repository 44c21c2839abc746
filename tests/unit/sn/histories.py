"""Random histories of a swarm as the contracts can write them: pairs of an address and an event."""

from hypothesis import strategies as st

from services.common.ids import NO_DIGEST, NodeKind
from services.common.sn_api import PeerState, Perf
from services.sn.core import ledger
from services.sn.core.tasks import TASK_REGISTRY
from tests.unit.sn.task_histories import TASKS_AT, RegistryScript, RunnerScript

REGISTRY, NODES = "0xREGISTRY", "0xNODES"
UIDS = [letter * 32 for letter in "abcd"]
NAMES = ["one", "two"]
RUNNERS = ["runner", "other runner"]
WORDS = ["", "lost", "below min peers", 'ä \u2028 "quoted" \\ line\n']
FLOATS = st.floats(width=32)

uids, words = st.sampled_from(UIDS), st.sampled_from(WORDS)
perfs = st.builds(Perf, loss=FLOATS, metric=FLOATS, epochs=st.integers(0, 3))
system_events = st.one_of(
    st.tuples(st.just(REGISTRY), st.builds(ledger.WriterAdded, uids)),
    st.tuples(st.just(REGISTRY), st.builds(ledger.WriterRemoved, uids)),
    st.tuples(st.just(REGISTRY), st.builds(ledger.Registered, words, st.just(3), uids, st.just(1))),
    st.tuples(
        st.just(NODES),
        st.builds(
            ledger.NodeRegistered, uids, st.sampled_from(NodeKind), st.booleans(),
            st.sampled_from(["h:1", "h:2"]), words, words, uids, st.just("f" * 64),
        ),
    ),
    st.tuples(st.just(NODES), st.builds(ledger.NodesAlive, st.lists(uids).map(tuple))),
    st.tuples(st.just(NODES), st.builds(ledger.NodesLost, st.lists(uids).map(tuple))),
    st.tuples(st.just(NODES), st.builds(ledger.NodeLeft, uids, words)),
)  # fmt: skip


class _Contract:
    """What a training contract must know to write only what it can."""

    def __init__(self, draw, name):
        self._draw = draw
        self.address = f"0x{name}"
        self.generation, self.round, self.term = 1, 1, 0
        self.enrolled, self.checked_in, self.proposed = [], [], False

    def event(self):
        if not self.enrolled:
            return self._enrol()
        makers = [
            self._enrol, self._perf, self._reset, *[self._other] * 6, *[self._publish] * 4,
            *[self._check_in] * 5, *[self._propose] * 3,
        ]  # fmt: skip
        return self._draw(st.sampled_from(makers))()

    @property
    def _about(self):
        return self.generation, self.round

    def _peer(self):
        return self._draw(st.sampled_from(self.enrolled))

    def _enrol(self):
        peer, leads = self._draw(uids), self._draw(st.booleans())
        self.enrolled = sorted({*self.enrolled, peer})
        return ledger.Enrolled(*self._about, peer, 2, "mean", leads, leads, 600, 1)

    def _check_in(self):
        peer, state = self._peer(), self._draw(st.sampled_from(PeerState))
        self.checked_in = sorted({*self.checked_in, peer})
        weightage, perf = self._draw(st.integers(0, 100)), self._draw(st.none() | perfs)
        return ledger.CheckedIn(*self._about, peer, NO_DIGEST, "c" * 64, 9, weightage, state, perf)

    def _publish(self):
        if not self.checked_in:
            return self._check_in()
        about, contributors = self._about, tuple(self.checked_in)
        self.round, self.term, self.checked_in = self.round + 1, 0, []
        self.proposed = False
        return ledger.Published(*about, 1, self._peer(), "e" * 64, 9, contributors, 3)

    def _propose(self):
        about = *self._about, self.term
        if self.proposed:
            digest, agrees = self._draw(st.sampled_from("ef")) * 64, self._draw(st.booleans())
            return self._draw(
                st.sampled_from(
                    [
                        ledger.Attested(*about, self._peer(), digest, 9, agrees),
                        ledger.Exposed(*about, self._peer(), "e" * 64, 9, digest, 8),
                    ]
                )
            )
        self.proposed = True
        return ledger.Proposed(*about, self._peer(), "e" * 64, 9, tuple(self.checked_in), 3)

    def _perf(self):
        return ledger.PerfReported(self.generation, self.round - 1, self._peer(), self._draw(perfs))

    def _reset(self):
        about = self._about
        self.generation, self.round, self.term = self.generation + 1, 1, 0
        self.enrolled, self.checked_in, self.proposed = [], [], False
        return ledger.Reset(*about, "SWCI-1")

    def _other(self):
        about, peer, reason = self._about, self._peer(), self._draw(words)
        self.term += 1
        events = [
            ledger.LeaderElected(*about, self.term, peer, reason),
            ledger.Frozen(*about, self.term, peer, tuple(self.checked_in)),
            ledger.Dropped(*about, self.term, peer, reason),
            ledger.Reopened(*about, reason), ledger.Left(*about, peer, reason),
            ledger.Returned(*about, peer), ledger.Completed(*about),
            ledger.Refused(99, 7, "d" * 32, "code", reason),
        ]  # fmt: skip
        event = self._draw(st.sampled_from(events))
        if isinstance(event, ledger.LeaderElected | ledger.Reopened):
            self.proposed = False
        return event


@st.composite
def histories(draw, most=30):
    """Events with their addresses; all contracts are named first."""
    scripts = [
        *(_Contract(draw, name) for name in NAMES), *(RunnerScript(draw, name) for name in RUNNERS),
        RegistryScript(draw),
    ]  # fmt: skip
    trainings, runners, system = ledger.TRAINING_KIND, ledger.TASKRUNNER_KIND, ledger.SYSTEM_KIND
    found = [
        *((REGISTRY, ledger.Registered(name, trainings, f"0x{name}", 5)) for name in NAMES),
        *((REGISTRY, ledger.Registered(name, runners, f"0x{name}", 6)) for name in RUNNERS),
        (REGISTRY, ledger.Registered(TASK_REGISTRY, system, TASKS_AT, 7)),
    ]
    for which in draw(st.lists(st.sampled_from([0, 0, 0, 1, 2, 2, 3, 4, None]), max_size=most)):
        if which is None:
            found.append(draw(system_events))
        else:
            found.append((scripts[which].address, scripts[which].event()))
    return found
