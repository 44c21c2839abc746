"""Random histories of a training contract against an oracle, and against a fold of its events."""

from random import Random
from typing import Any

from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.solidity.evm import Event, Evm, RevertedError, digest, uid
from tests.solidity.fold import Fold, Seat
from tests.solidity.oracle import NOBODY, Oracle, RefusalError
from tests.solidity.training import MEAN, NO_PERF, PHASES, SIZE, TIMEOUT, register

PEERS = [uid(number) for number in range(5)]
MEDIAN = b"coordmedian".ljust(32, b"\0")

NO_TERMS = {
    "minPeers": 0, "method": bytes(32), "adaptive": False, "leaderTimeout": 0, "attestations": 0,
}  # fmt: skip
WRONG_CHECK_INS: list[dict[str, Any]] = [
    {"round": 0}, {"round": 99}, {"base": digest("x")}, {"generation": 0}, {"state": 4},
    {"state": 0}, {"weightage": 0}, {"weightage": 101}, {"weightage": 257}, {"size": 0},
    {"digest": bytes(32)},
]  # fmt: skip


class Histories(RuleBasedStateMachine):
    """Peers, leaders and clocks do what they like; calls are right, late, repeated or wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.evm = Evm()
        register(self.evm, *range(len(PEERS)))
        self.contract = self.evm.deploy_training()
        self.oracle = Oracle(self.contract.address)
        self.fold = Fold()
        self.ever_lost = False
        self.events: list[Event] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []

    # --- what may happen

    @initialize(seed=st.integers(0, 2**32 - 1))
    def begin(self, seed: int) -> None:
        self.random = Random(seed)
        self.attestations = self.random.choice([0, 0, 1, 2, 2])
        self.min_peers = self.random.randint(self.attestations + 1, 3)
        followers = self.random.sample(PEERS, 2) if seed % 2 else []
        for peer in PEERS[: self.random.randint(3 + self.attestations, 5)]:
            self._enrol(peer, mayLead=peer not in followers)

    @rule()
    def step(self) -> None:
        """Hypothesis chooses the seed and how many steps there are; the seed chooses the steps."""
        leading = self.oracle.leader != NOBODY
        actions = {
            self.a_peer_checks_in: 5,
            self.a_peer_closes: 3,
            self.all_live_peers_check_in: 1 if leading else 4,
            self.a_peer_calls: 4,
            self.the_leader_acts: 14 if leading else 1,
            self.the_leader_fails: 2 if leading else 0,
            self.a_peer_attests: 60 if self.oracle.proposal else 0.5,
            self.a_peer_goes_or_comes: 4,
            self.time_passes: 1,
            self.an_old_call_is_repeated: 3,
            self.an_operator_resets: 2 if self.oracle.phase == "COMPLETED" else 0.1,
        }
        (action,) = self.random.choices([*actions], weights=[*actions.values()])
        action()

    def a_peer_checks_in(self) -> None:
        peer = self._peer()
        other: dict[str, Any] = {}
        if self._one_in(4):
            other = {"digest": digest(self.oracle.round, peer, self.random.random())}
        if self._one_in(4):
            other = self.random.choice(WRONG_CHECK_INS)
        self._check_in(peer, **other)

    def a_peer_closes(self) -> None:
        state = self.random.choice([1, 2, 3])
        self._check_in(self._peer(), state=state, weightage=0 if state == 3 else 1)

    def all_live_peers_check_in(self) -> None:
        for peer, now in list(self.oracle.peers.items()):
            if now.live and not now.checkin:
                self._check_in(peer)

    def a_peer_calls(self) -> None:
        peer = self._peer()
        call = self.random.choice(["enrol", "enrol", "follow", "differ", "report", "report"])
        if call == "enrol":
            self._enrol(peer, generation=self.random.randint(0, 2))
        elif call == "follow":
            self._enrol(peer, mayLead=False)
        elif call == "differ":
            self._enrol(peer, **self.random.choice([{"method": MEDIAN}, {"attestations": 7}]))
        else:
            self._report(peer, later=self.random.randint(-1, 1))

    def the_leader_acts(self) -> None:
        term = self._of_term(late=self._one_in(8), leader=self._peer() if self._one_in(8) else None)
        merging = self.oracle.phase == "MERGING" and not self._one_in(8)
        call = (
            self.random.choice(["drop", "publish", "publish", "misattribute"])
            if merging
            else "freeze"
        )
        if call == "freeze":
            self._call("freeze", **term)
        elif call == "drop":
            self._call("drop", **term, peer=self._peer(), reason="unreachable")
        elif call == "publish":
            self._publish(**term)
        else:
            contributors = set(self.oracle.remaining()) ^ {self._peer()}
            self._publish(**term, contributors=sorted(contributors, reverse=self._one_in(2)))

    def a_peer_attests(self) -> None:
        """Honestly in most cases; what liars say is often the same."""
        term = self._of_term(late=self._one_in(12))
        del term["leader"]
        file = {"digest": self._merge(), "size": SIZE}
        if self._one_in(3):
            file["digest"] = digest("lie", self.random.randint(0, 1))
        if self._one_in(12):
            file["size"] = self.random.choice([0, 7])
        asked = [uid for uid in self.oracle.remaining() if uid != self.oracle.leader]
        peer = self.random.choice(asked) if asked and not self._one_in(6) else self._peer()
        self._call("attest", **term, peer=peer, **file)

    def the_leader_fails(self) -> None:
        of_leader = {"generation": self.oracle.generation, "peer": self.oracle.leader}
        how = self.random.choice(["late", "late", "lost", "lost", "reaped", "leaves"])
        if how == "late":
            self.evm.advance(TIMEOUT)
        elif how == "leaves":
            self._call("leave", **of_leader, reason="stopped")
        else:
            self._lose(self.oracle.leader)
        if how == "reaped":
            self._call("reap", **of_leader)
        else:
            self._report(self._peer())

    def a_peer_goes_or_comes(self) -> None:
        generation, peer = self.oracle.generation, self._peer()
        act = self.random.choice(["leave", "lose", "lose and reap", "reap", "back", "back"])
        if act == "leave":
            self._call("leave", generation=generation, peer=peer, reason="stopped")
        if act.startswith("lose"):
            self._lose(peer)
        if act.endswith("reap"):
            self._call("reap", generation=generation, peer=peer)
        if act == "back":
            self.evm.nodes.call("alive", PEERS)
            self.oracle.lost.clear()

    def time_passes(self) -> None:
        self.evm.advance(self.random.choice([1, TIMEOUT - 1, TIMEOUT]))

    def an_old_call_is_repeated(self) -> None:
        function, arguments = self.random.choice(self.calls[-12:])
        self._call(function, **arguments)

    def an_operator_resets(self) -> None:
        generation = self.oracle.generation - self._one_in(2)
        self._call("reset", generation=generation, by="op")

    # --- what must hold

    def teardown(self) -> None:
        """The slow comparison: at the end, and now and then before."""
        assert self.contract.view("participants") == self.oracle.remaining()
        proposal = self.oracle.proposal or {"digest": bytes(32), "size": 0}
        assert self.contract.view("proposal") == {
            "digest": proposal["digest"], "size": proposal["size"],
            "agreed": len(self._agreed()),
        }  # fmt: skip
        assert self.contract.view("peerCount") == len(self.oracle.peers)
        for peer in PEERS:
            assert self.contract.view("peerOf", peer) == self._expected_peer(peer)

    @invariant()
    def the_contract_is_where_the_oracle_is(self) -> None:
        oracle, summary = self.oracle, self.contract.view("summary")
        terms = oracle.terms or NO_TERMS
        assert summary == {
            **terms, "generation": oracle.generation,
            "phase": PHASES.index(oracle.phase), "round": oracle.round, "term": oracle.term,
            "leader": oracle.leader, "mergedDigest": oracle.merged,
            "mergedRound": len(oracle.merges), "quorumAt": oracle.elected_at,
        }  # fmt: skip
        if len(self.calls) % 8 == 0:
            self.teardown()

    @invariant()
    def the_events_alone_tell_the_same(self) -> None:
        fold, oracle = self.fold, self.oracle
        assert (fold.generation, fold.phase) == (oracle.generation, oracle.phase)
        assert (fold.round, fold.term, fold.leader) == (oracle.round, oracle.term, oracle.leader)
        assert fold.merged == (len(oracle.merges), oracle.merged)
        assert fold.terms == oracle.terms
        assert fold.seats == {
            uid: Seat(
                peer.may_lead, peer.live, peer.state, peer.checkin, uid in oracle.remaining(),
                uid in oracle.drops, peer.exposed,
            )
            for uid, peer in oracle.peers.items()
        }  # fmt: skip
        assert (fold.proposal is not None) == bool(oracle.proposal)
        if fold.proposal is not None:
            assert fold.proposal["got"] == {
                uid: oracle.peers[uid].attested[2:] for uid in oracle.attesters()
            }

    @invariant()
    def rounds_have_no_gaps_and_one_publish_each(self) -> None:
        for generation in range(1, self.oracle.generation + 1):
            rounds = [
                event.args["round"]
                for event in self.events
                if event.name == "Published" and event.args["generation"] == generation
            ]
            assert rounds == list(range(1, len(rounds) + 1))

    @invariant()
    def every_merge_is_of_the_frozen_peers_without_the_dropped(self) -> None:
        merged: set[bytes] = set()
        term = (0, 0, 0)
        for event in self.events:
            if event.name == "Frozen":
                merged = set(event.args["participants"])
                term = tuple(event.args[key] for key in ("generation", "round", "term"))
            elif event.name == "Dropped":
                merged.remove(event.args["peer"])
            elif event.name == "Published":
                assert event.args["contributors"] == sorted(merged)
                assert len(merged) >= self.min_peers
                assert term == tuple(event.args[k] for k in ("generation", "round", "term"))

    @invariant()
    def no_merge_counts_without_its_attestations(self) -> None:
        """Only events say so: k contributors other than the leader got what was published."""
        got: dict[bytes, tuple[bytes, int]] = {}
        for event in self.events:
            args = event.args
            if event.name == "Proposed":
                got = {}
            elif event.name == "Attested":
                assert args["peer"] not in got
                got[args["peer"]] = (args["digest"], args["size"])
            elif event.name == "Published":
                same = [u for u, file in got.items() if file == (args["digest"], args["size"])]
                assert len(same) == self.attestations
                assert set(same) <= set(args["contributors"]) - {args["leader"]}
                got = {}
            elif event.name == "Exposed":
                other = (args["computed"], args["computedSize"])
                assert [*got.values()].count(other) == self.attestations
                assert other != (args["digest"], args["size"])

    @invariant()
    def who_was_exposed_does_not_lead_again(self) -> None:
        exposed: set[bytes] = set()
        for event in self.events:
            if event.name == "Exposed":
                exposed.add(event.args["leader"])
            elif event.name == "LeaderElected":
                assert event.args["leader"] not in exposed
            elif event.name == "Reset":
                exposed.clear()

    @invariant()
    def nobody_waits_for_a_leader_that_could_be_elected(self) -> None:
        oracle = self.oracle
        if oracle.phase == "CHECKIN" and not self.ever_lost and oracle.is_quorum():
            assert not oracle.candidates()

    # --- calls

    def _enrol(self, peer: bytes, **other: Any) -> None:
        arguments = {
            "generation": 0, "peer": peer, "minPeers": self.min_peers, "method": MEAN,
            "adaptive": False, "mayLead": True, "leaderTimeout": TIMEOUT,
            "attestations": self.attestations, **other,
        }  # fmt: skip
        self._call("enrol", **arguments)

    def _report(self, reporter: bytes, later: int = 0) -> None:
        arguments = self._of_term()
        del arguments["leader"]
        arguments["term"] = max(arguments["term"] + later, 0)
        self._call("reportLeader", **arguments, reporter=reporter)

    def _peer(self) -> bytes:
        return self.random.choice(PEERS if self._one_in(8) else [*self.oracle.peers] or PEERS)

    def _one_in(self, number: int) -> bool:
        return self.random.randrange(number) == 0

    def _lose(self, peer: bytes) -> None:
        self.evm.nodes.call("lost", [peer])
        self.oracle.lost.add(peer)
        self.ever_lost = True

    def _check_in(self, peer: bytes, **other: Any) -> None:
        oracle = self.oracle
        state = oracle.peers[peer].state if peer in oracle.peers else 0
        arguments = {
            "generation": oracle.generation, "peer": peer, "round": oracle.round,
            "base": oracle.merged, "digest": digest(oracle.round, peer), "size": SIZE,
            "weightage": 0 if state == 3 else 7, "state": state, "measured": NO_PERF, **other,
        }  # fmt: skip
        self._call("checkIn", **arguments)

    def _publish(self, **other: Any) -> None:
        oracle = self.oracle
        lie = self.attestations and self._one_in(3)
        arguments = {
            "digest": digest("lie", self.random.randint(0, 1)) if lie else self._merge(),
            "size": SIZE, "contributors": sorted(oracle.remaining()), "nextInterval": 0, **other,
        }  # fmt: skip
        self._call("publish", **arguments)

    def _merge(self) -> bytes:
        """What an honest peer gets."""
        oracle = self.oracle
        checkins = [peer.checkin for uid in oracle.remaining() if (peer := oracle.peers[uid])]
        stays = oracle.merges and not any(weight for _, _, weight in checkins)
        return oracle.merged if stays else digest("m", oracle.generation, oracle.round)

    def _agreed(self) -> list[bytes]:
        proposal = self.oracle.proposal
        file = (proposal["digest"], proposal["size"]) if proposal else None
        peers = self.oracle.peers
        return [uid for uid in self.oracle.attesters() if peers[uid].attested[2:] == file]

    def _of_term(self, late: bool = False, leader: bytes | None = None) -> dict[str, Any]:
        oracle = self.oracle
        return {
            "generation": oracle.generation, "round": oracle.round,
            "term": max(oracle.term - late, 0), "leader": leader or oracle.leader,
        }  # fmt: skip

    def _call(self, function: str, **arguments: Any) -> None:
        """Calls both; they must agree on the refusal or on the events."""
        self.calls.append((function, arguments))
        self.oracle.now = self.evm.now
        note(f"{function} {arguments}")
        try:
            expected = self.oracle.call(function, arguments)
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

    def _expected_peer(self, uid: bytes) -> dict[str, Any]:
        oracle = self.oracle
        enrolled = uid in oracle.peers
        if not enrolled:
            values = (False, False, False, 0, bytes(32), 0, 0, False, False)
        else:
            peer = oracle.peers[uid]
            checkin = peer.checkin or (bytes(32), 0, 0)
            values = (
                True, peer.live, oracle.may_lead(uid), peer.state, *checkin,
                uid in oracle.remaining(), uid in oracle.drops,
            )  # fmt: skip
        names = (
            "enrolled", "live", "mayLead", "state", "digest", "size", "weightage", "participant",
            "dropped",
        )  # fmt: skip
        return dict(zip(names, values, strict=True))


Histories.TestCase.settings = settings(
    max_examples=35,
    stateful_step_count=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestHistories = Histories.TestCase
