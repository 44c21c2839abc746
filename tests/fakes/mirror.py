"""Keeps `FakeContract` honest: every call also goes to the Solidity contract, and must do the same.

The Solidity contract runs on the in-process EVM; its events go through the SN's decoder and fold.
So a simulated training on this class checks the fake, the contract, the decoder and the fold
against each other, call by call.
"""

from eth_utils import keccak

from services.common import sn_api as api
from services.common.ids import NodeId
from services.sn.adapters import abi
from services.sn.core.ledger import Block
from services.sn.core.nodes import Nodes
from services.sn.core.training import Training
from services.sn.core.views import view_of
from tests.fakes.contract import FakeContract, RefusedError
from tests.solidity.evm import OWNER, START, Evm, RevertedError

SHARED = (
    "uid", "live", "may_lead", "state", "checkin", "participant", "dropped", "left", "rounds",
    "exposed",
)  # fmt: skip


class MirroredContract:
    """A `FakeContract` and its Solidity twin.

    Args:
        is_lost: what the node registry shall say of a uid.
    """

    def __init__(self, is_lost) -> None:
        self.evm = Evm()
        self.twin = self.evm.deploy_training()
        self.training = Training("c", "", 0)
        self.is_lost = is_lost
        self.fake = FakeContract(self._rank, is_lost)
        self._lost: dict[str, bool] = {}
        self._blocks = 0

    def _rank(self, round_: int, term: int, uid: str) -> bytes:
        numbers = b"".join(n.to_bytes(4) for n in (1, round_, term))
        return keccak(self.twin.address + numbers + bytes.fromhex(uid))

    def __getattr__(self, name):
        return getattr(self.fake, name)

    def view(self, now: float) -> api.ContractView:
        return self.fake.view(now)

    # --- the calls

    def enrol(self, uid, enrol) -> None:
        self._registered(uid)
        self._both(
            lambda: self.fake.enrol(uid, enrol),
            "enrol", 0, _b(uid), enrol.min_peers, abi.method_bytes(enrol.merge_method),
            enrol.adaptive, enrol.may_lead, enrol.leader_timeout_s, enrol.attestations,
        )  # fmt: skip

    def check_in(self, uid, c, now) -> None:
        self._time(now)
        self._both(
            lambda: self.fake.check_in(uid, c, now),
            "checkIn", 1, _b(uid), c.round, _b(c.base), _b(c.digest), c.size, c.weightage,
            abi.PEER_STATES.index(c.state), abi.perf_tuple(c.perf),
        )  # fmt: skip

    def freeze(self, uid, round_, term) -> None:
        self._both(lambda: self.fake.freeze(uid, round_, term), "freeze", 1, round_, term, _b(uid))

    def drop(self, uid, round_, term, dropped, reason, now) -> None:
        self._time(now)
        self._both(
            lambda: self.fake.drop(uid, round_, term, dropped, reason, now),
            "drop", 1, round_, term, _b(uid), _b(dropped), reason,
        )  # fmt: skip

    def publish(self, uid, round_, term, digest, size, contributors, next_interval=0) -> None:
        self._both(
            lambda: self.fake.publish(
                uid, round_, term, digest, size, contributors, next_interval
            ),
            "publish", 1, round_, term, _b(uid), _b(digest), size,
            [_b(c) for c in contributors], next_interval,
        )  # fmt: skip

    def attest(self, uid, round_, term, digest, size, now) -> None:
        self._time(now)
        self._both(
            lambda: self.fake.attest(uid, round_, term, digest, size, now),
            "attest", 1, round_, term, _b(uid), _b(digest), size,
        )  # fmt: skip

    def report_leader(self, round_, term, now) -> None:
        self._time(now)
        reporter = next(iter(self.fake.peers))
        self._both(
            lambda: self.fake.report_leader(round_, term, now),
            "reportLeader", 1, round_, term, _b(reporter),
        )  # fmt: skip

    def leave(self, uid, reason, now) -> None:
        self._time(now)
        self._both(lambda: self.fake.leave(uid, reason, now), "leave", 1, _b(uid), reason)

    def reap(self, uid, now) -> None:
        self._time(now)
        self._both(lambda: self.fake.reap(uid, now), "reap", 1, _b(uid))

    def report_perf(self, uid, round_, perf) -> None:
        self._both(
            lambda: self.fake.report_perf(uid, round_, perf),
            "perf", 1, _b(uid), round_, abi.perf_tuple(perf),
        )  # fmt: skip

    # --- the comparison

    def _both(self, on_fake, function, *arguments) -> None:
        self._tell_registry()
        refused = [None, None]
        try:
            on_fake()
        except RefusedError as exc:
            refused[0] = exc.code
        try:
            self._on_twin(function, arguments)
        except RevertedError as exc:
            refused[1] = exc.code
        assert refused[0] == refused[1], (function, arguments, refused)
        self._compare()
        if refused[0] is not None:
            raise RefusedError(refused[0])

    def _on_twin(self, function, arguments) -> None:
        contract = abi.abi(abi.TRAINING)
        data = contract.call(function, *arguments)
        computation = self.evm.message(self.twin.address, data, OWNER)
        self._blocks += 1
        block = Block(self._blocks, f"{self._blocks:064x}", self.evm.now)
        for address, topics, log in computation.get_log_entries():
            assert address == self.twin.address
            event = contract.event([t.to_bytes(32) for t in topics], log)
            self.training.apply(event, block)

    def _compare(self) -> None:
        ours, theirs = self.fake.view(0.0), view_of(self.training, Nodes(), None)
        for name in (
            "generation",
            "phase",
            "round",
            "term",
            "leader",
            "terms",
            "merged",
            "proposal",
        ):
            assert getattr(ours, name) == getattr(theirs, name), name
        for mine, twin in zip(ours.peers, theirs.peers, strict=True):
            for name in SHARED:
                assert getattr(mine, name) == getattr(twin, name), (name, mine, twin)

    # --- the surroundings

    def _time(self, now: float) -> None:
        behind = START + int(now) - self.evm.now
        if behind > 0:
            self.evm.advance(behind)

    def _registered(self, uid: NodeId) -> None:
        if uid not in self._lost:
            self.evm.nodes.call("register", _b(uid), 2, False, "h:1", "", "", _b(uid), bytes(32))
            self._lost[uid] = False

    def _tell_registry(self) -> None:
        for uid, lost in self._lost.items():
            if self.is_lost(uid) != lost:
                self.evm.nodes.call("alive" if lost else "lost", [_b(uid)])
                self._lost[uid] = not lost


def _b(text: str) -> bytes:
    return bytes.fromhex(text)
