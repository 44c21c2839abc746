"""Random histories of a taskrunner against an oracle, and against a fold of its events."""

from random import Random
from typing import Any

from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.solidity.evm import Event, Evm, RevertedError, uid
from tests.solidity.runner import BUILD, NOBODY, RUN_SWARM, Runner
from tests.solidity.runner_fold import RunnerFold
from tests.solidity.runner_oracle import (
    ACTIVE,
    ALL,
    COMPLETE,
    ENDED,
    ERROR,
    FAILED,
    IDLE,
    PEERS,
    TARGET,
    RefusalError,
    RunnerOracle,
)

SWOPS = [uid(number) for number in range(1, 6)]
TASKS = {"ROOTTASK": 0, "swarm": RUN_SWARM, "swarm2": RUN_SWARM, "build": BUILD}


class Histories(RuleBasedStateMachine):
    """SWOPs and operators do what they like; calls are right, late, repeated or wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.evm = Evm()
        self.contract = Runner(self.evm).contract
        self.oracle = RunnerOracle(TASKS)
        self.fold = RunnerFold()
        self.events: list[Event] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.fresh = 10_000

    # --- what may happen

    @initialize(seed=st.integers(0, 2**32 - 1))
    def begin(self, seed: int) -> None:
        self.random = Random(seed)
        for swop in SWOPS[: self.random.randint(1, 5)]:
            self._call("listen", swop=swop, nodeCount=self.random.randint(1, 3))

    @rule()
    def step(self) -> None:
        """Hypothesis chooses the seed and how many steps there are; the seed chooses the steps."""
        state = self.oracle.state
        actions = {
            self.an_operator_assigns: 8 if state == IDLE else 0.7,
            self.an_operator_names_a_target: 5 if state == FAILED else 1,
            self.an_operator_resets: 4 if state == ENDED else 0.2,
            self.a_swop_enrols: 0.3 if state == IDLE else 8,
            self.a_swop_enrols_wrongly: 0 if state == IDLE else 2,
            self.a_peer_makes_progress: 10,
            self.anything_is_reported: 1,
            self.a_swop_listens_or_quits: 1.5,
            self.a_swop_is_lost: 0.8,
            self.lost_swops_are_back: 0.8,
            self.an_old_call_is_repeated: 2,
        }
        (action,) = self.random.choices([*actions], weights=[*actions.values()])
        action()

    def an_operator_assigns(self) -> None:
        mode = self.random.choice([PEERS, PEERS, ALL, TARGET])
        task = self.random.choice(["swarm", "swarm", "build", "build", "swarm2"])
        if self._one_in(12):
            task = self.random.choice(["ROOTTASK", "nothing"])
        if self._one_in(20):
            mode = 3
        self._assign(task, mode)

    def an_operator_names_a_target(self) -> None:
        self._assign("swarm2" if self._one_in(8) else self.oracle.task or "build", TARGET)

    def an_operator_resets(self) -> None:
        self._call("reset", run=self._run(), by="op")

    def a_swop_enrols(self) -> None:
        oracle = self.oracle
        asked = [*oracle.retries, *(oracle.listeners.keys() - oracle.enrolled.keys())]
        swop = self.random.choice(sorted(asked) if asked and not self._one_in(4) else SWOPS)
        old = oracle.enrolled.get(swop)
        if old and swop not in oracle.retries:
            peers = old
        elif oracle.type == BUILD:
            peers = [swop]
        else:
            kept = [p for p in old or [] if oracle.peers[p].state != ERROR or self._one_in(2)]
            share = oracle.share(swop, RUN_SWARM)
            peers = (kept + [self._new_peer() for _ in range(share)])[:share]
        self._call("enrol", run=self._run(), swop=swop, peers=peers)

    def a_swop_enrols_wrongly(self) -> None:
        swop = self.random.choice([*self.oracle.listeners, *SWOPS])
        choices = [*self.oracle.peers] * 3 + [self._new_peer(), self._new_peer(), swop, NOBODY]
        count = self.oracle.nodes.get(swop, 0) if self._one_in(2) else self.random.randint(0, 3)
        peers = [self.random.choice(choices) for _ in range(count)]
        self._call("enrol", run=self.oracle.run, swop=swop, peers=peers)

    def a_peer_makes_progress(self) -> None:
        oracle = self.oracle
        going = [p for p in oracle.present() if oracle.peers[p].state == ACTIVE] or oracle.present()
        if going:
            peer = self.random.choice(going)
            state = self.random.choice([ACTIVE, COMPLETE, COMPLETE, ERROR])
            self._report(oracle.peers[peer].swop, peer, state)

    def anything_is_reported(self) -> None:
        peer = self.random.choice([*self.oracle.peers, self._new_peer(), NOBODY])
        self._report(self._swop(), peer, self.random.randint(0, 3))

    def a_swop_listens_or_quits(self) -> None:
        swop = self._swop()
        if self._one_in(3):
            self._call("quit", swop=swop, reason="stopped")
        else:
            nodes = self.random.choice([0, 1, 2, 3, 251, *[self.oracle.nodes.get(swop, 1)] * 6])
            self._call("listen", swop=swop, nodeCount=nodes)

    def a_swop_is_lost(self) -> None:
        swop = self._swop()
        if not self._one_in(6):
            self.evm.nodes.call("lost", [swop])
            self.oracle.lost.add(swop)
        if not self._one_in(4):
            self._call("reap", swop=swop)

    def lost_swops_are_back(self) -> None:
        self.evm.nodes.call("alive", SWOPS)
        lost, self.oracle.lost = self.oracle.lost, set()
        for swop in sorted(lost):
            if not self._one_in(3):
                self._call("listen", swop=swop, nodeCount=self.oracle.nodes.get(swop, 1))
            if swop in self.oracle.enrolled and not self._one_in(3):
                peers = self.oracle.enrolled[swop]
                self._call("enrol", run=self._run(), swop=swop, peers=peers)

    def an_old_call_is_repeated(self) -> None:
        function, arguments = self.random.choice(self.calls[-12:])
        self._call(function, **arguments)

    # --- what must hold

    @invariant()
    def the_contract_is_where_the_oracle_is(self) -> None:
        oracle = self.oracle
        assert self.contract.view("summary") == {
            "run": oracle.run, "state": oracle.state, "task": oracle.task, "taskType": oracle.type,
            "mode": oracle.mode, "needed": oracle.needed, "active": oracle.count(ACTIVE),
            "completed": oracle.count(COMPLETE), "failed": oracle.count(ERROR),
        }  # fmt: skip
        if len(self.calls) % 24 == 0:
            self.teardown()

    def teardown(self) -> None:
        """The slow comparison: at the end, and now and then before."""
        oracle, view = self.oracle, self.contract.view
        assert {view("listenerAt", i) for i in range(view("listenerCount"))} == {*oracle.listeners}
        enrolled = [view("enrolledAt", i) for i in range(view("enrolledCount"))]
        assert enrolled == [*oracle.enrolled]
        for swop in SWOPS:
            assert view("peersOf", swop) == oracle.enrolled.get(swop, [])
            assert view("swopOf", swop) == {
                "listening": swop in oracle.listeners, "nodeCount": oracle.nodes.get(swop, 0),
                "enrolled": swop in oracle.enrolled, "target": swop in oracle.targets,
                "retry": swop in oracle.retries,
            }  # fmt: skip
        for uid_, peer in oracle.peers.items():
            counts = uid_ in oracle.present()
            values = (peer.swop, peer.state, peer.lost) if counts else (NOBODY, 0, False)
            assert tuple(view("peerOf", uid_).values()) == values

    @invariant()
    def the_events_alone_tell_the_same(self) -> None:
        fold, oracle = self.fold, self.oracle
        for name in (
            "run", "state", "task", "type", "mode", "needed", "listeners", "targets", "retries",
        ):  # fmt: skip
            assert getattr(fold, name) == getattr(oracle, name), name
        assert fold.enrolled == {
            swop: {peer: (oracle.peers[peer].state, oracle.peers[peer].said) for peer in peers}
            for swop, peers in oracle.enrolled.items()
        }

    @invariant()
    def what_is_final_stays(self) -> None:
        """COMPLETE ends a run until its reset, and a peer; a run has the number after the last."""
        state, run, done = IDLE, 0, set()
        for event in self.events:
            args = event.args
            if event.name == "Assigned":
                assert (state, args["run"]) == (IDLE, run + 1)
                run, done = run + 1, set()
            elif event.name == "StateChanged":
                assert args["state"] != state
                assert state != ENDED or args["state"] == IDLE
                state = args["state"]
            elif event.name == "Reported":
                assert args["peer"] not in done or args["state"] == COMPLETE
                done |= {args["peer"]} if args["state"] == COMPLETE else set()
            assert args["run"] == run

    # --- calls

    def _assign(self, task: str, mode: int) -> None:
        request = NOBODY if self._one_in(30) else self._new_peer()
        peers = self.random.randint(0, 5) if mode == PEERS else 0
        target = self._swop() if mode == TARGET else NOBODY
        self._call(
            "assign", task=task, mode=mode, peers=peers, target=target, request=request
        )  # fmt: skip

    def _report(self, swop: bytes, peer: bytes, state: int) -> None:
        why = self.random.choice(["", "", "exit 1", "SWOP lost", "x" * (641 if state else 640)])
        self._call(
            "report", run=self._run(), swop=swop, peer=peer, state=state, description=why
        )  # fmt: skip

    def _run(self) -> int:
        return max(self.oracle.run - self._one_in(12), 0)

    def _swop(self) -> bytes:
        return self.random.choice(SWOPS)

    def _new_peer(self) -> bytes:
        self.fresh += 1
        return uid(self.fresh)

    def _one_in(self, number: int) -> bool:
        return self.random.randrange(number) == 0

    def _call(self, function: str, **arguments: Any) -> None:
        """Calls both; they must agree on the refusal or on the events."""
        self.calls.append((function, arguments))
        note(f"{function} {arguments}")
        try:
            expected: Any = self.oracle.call(function, arguments)
        except RefusalError as refusal:
            expected = refusal.code
        inputs = self.contract.functions[function]["inputs"]
        try:
            events = self.contract.call(function, *(arguments[i["name"]] for i in inputs))
        except RevertedError as reverted:
            assert reverted.code == expected
            return
        assert [(event.name, event.args) for event in events] == expected
        self.events += events
        for event in events:
            self.fold.apply(event)


Histories.TestCase.settings = settings(
    max_examples=30,
    stateful_step_count=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestHistories = Histories.TestCase
