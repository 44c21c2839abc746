"""Random histories of the task registry and of taskrunners, as the contracts can write them."""

from hypothesis import strategies as st

from services.common.task_api import Assignment, RunnerState, TaskPeerState, TaskType
from services.sn.core import task_events as on

TASKS_AT = "0xTASKS"
NOBODY = "0" * 32
UIDS = [letter * 32 for letter in "abcd"]
PEERS = [f"{digit}" * 32 for digit in "12345"]

uids = st.sampled_from(UIDS)
texts = st.sampled_from(["", "x", 'ä \u2028 "quoted" \\ line\n'])


class RegistryScript:
    """What the registry must know to write only what it can."""

    def __init__(self, draw):
        self._draw = draw
        self.address = TASKS_AT
        self._lines = {}
        self._final = set()

    def event(self):
        name = self._draw(st.sampled_from(["t1", "t2", "t3"]))
        if self._draw(st.integers(0, 9)) == 0:
            return on.TaskRefused(name, self._draw(uids), "final", self._draw(texts))
        if name not in self._lines:
            self._lines[name] = 0
            kind = self._draw(st.sampled_from(list(TaskType)[1:]))
            return on.TaskCreated(name, kind, "me", "ROOTTASK", self._draw(texts), NOBODY)
        if name in self._final:
            return on.TaskFinalized(name)
        return self._draw(st.sampled_from([self._append] * 3 + [self._finalize, self._remove]))(
            name
        )

    def _append(self, name):
        first = self._draw(st.integers(1, self._lines[name] + 1))
        lines = tuple(self._draw(st.lists(texts, min_size=1, max_size=4)))
        self._lines[name] = max(self._lines[name], first - 1 + len(lines))
        return on.TaskAppended(name, first, lines)

    def _finalize(self, name):
        self._final.add(name)
        return on.TaskFinalized(name)

    def _remove(self, name):
        del self._lines[name]
        return on.TaskRemoved(name)


class RunnerScript:
    """The same for one taskrunner; its verdicts are random, the fold believes them."""

    def __init__(self, draw, name):
        self._draw = draw
        self.address = f"0x{name}"
        self.run = 0
        self._busy = False
        self._enrolled = {}

    def event(self):
        always = [self._listening, self._quit, self._refused]
        within = [self._enrol, self._report, self._report, self._change, self._target, self._reset]
        return self._draw(
            st.sampled_from(always + (within if self._busy else [self._assign] * 3))
        )()

    def _listening(self):
        return on.Listening(self.run, self._draw(uids), self._draw(st.integers(0, 3)))

    def _quit(self):
        return on.Quit(self.run, self._draw(uids), self._draw(texts))

    def _refused(self):
        return on.RunnerRefused(self.run, self._draw(uids), "busy", self._draw(texts))

    def _assign(self):
        self.run, self._busy = self.run + 1, True
        mode = self._draw(st.sampled_from(Assignment))
        target = self._draw(uids) if mode is Assignment.TARGET else NOBODY
        needed = self._draw(st.integers(1, 3))
        return on.Assigned(self.run, "t1", TaskType.RUN_SWARM, mode, needed, target, NOBODY)

    def _target(self):
        return on.Targeted(self.run, self._draw(uids), self._draw(st.integers(1, 3)), NOBODY)

    def _enrol(self):
        swop = self._draw(uids)
        peers = tuple(self._draw(st.lists(st.sampled_from(PEERS), min_size=1, unique=True)))
        self._enrolled[swop] = peers
        return on.SwopEnrolled(self.run, swop, peers)

    def _report(self):
        if not self._enrolled:
            return self._enrol()
        swop = self._draw(st.sampled_from(sorted(self._enrolled)))
        peer = self._draw(st.sampled_from(self._enrolled[swop]))
        state = self._draw(st.sampled_from(TaskPeerState))
        return on.Reported(self.run, swop, peer, state, self._draw(texts))

    def _change(self):
        return on.StateChanged(self.run, self._draw(st.sampled_from(list(RunnerState)[1:])))

    def _reset(self):
        self._busy, self._enrolled = False, {}
        return on.RunnerReset(self.run, "SWCI-1")
