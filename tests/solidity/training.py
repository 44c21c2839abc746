"""A training contract with short words for what peers do; peers are numbers, not node ids."""

from typing import Any

from eth_utils import keccak

from tests.solidity.evm import Deployed, Event, Evm, digest, uid

PHASES = ("UNINITIALIZED", "CHECKIN", "QUORUM", "MERGING", "COMPLETED")
TRAINING, SNAPSHOT, ACTIVE, INACTIVE = range(4)
MEAN = b"mean".ljust(32, b"\0")
NONE = bytes(32)
NO_PERF = (False, 0, 0, 0, 0)
TIMEOUT = 600
SIZE = 1000


def register(evm: Evm, *numbers: int) -> None:
    """Makes the nodes known and alive."""
    for number in numbers:
        evm.nodes.call("register", uid(number), 2, False, "h:1", "c", "1", uid(99), bytes(32))


class Training:
    """A fresh training contract; nodes 0 to 9 are registered.

    Calls take what differs from an ordinary one as keywords, e.g. ``check_in(1, round=7)``.
    """

    def __init__(self, evm: Evm, min_peers: int = 2, attestations: int = 0) -> None:
        register(evm, *range(10))
        self.evm = evm
        self.contract: Deployed = evm.deploy_training()
        self.min_peers, self.attestations = min_peers, attestations

    # --- what peers do

    def enrol(self, *peers: int, **other: Any) -> list[Event]:
        events: list[Event] = []
        for peer in peers:
            values = {
                "generation": 0, "peer": uid(peer), "minPeers": self.min_peers, "method": MEAN,
                "adaptive": False, "mayLead": True, "leaderTimeout": TIMEOUT,
                "attestations": self.attestations,
            }  # fmt: skip
            events += self._call("enrol", values, other)
        return events

    def check_in(self, *peers: int, **other: Any) -> list[Event]:
        events: list[Event] = []
        for peer in peers:
            now = self.summary
            values = {
                "generation": now["generation"], "peer": uid(peer), "round": now["round"],
                "base": now["mergedDigest"], "digest": digest(now["round"], peer), "size": SIZE,
                "weightage": 1, "state": TRAINING, "measured": NO_PERF,
            }  # fmt: skip
            events += self._call("checkIn", values, other)
        return events

    def freeze(self, **other: Any) -> list[Event]:
        return self._call("freeze", self._of_term(), other)

    def drop(self, peer: int, reason: str = "too slow", **other: Any) -> list[Event]:
        return self._call("drop", {**self._of_term(), "peer": uid(peer), "reason": reason}, other)

    def publish(self, **other: Any) -> list[Event]:
        now = self.summary
        values = {
            **self._of_term(), "digest": digest("merged", now["round"]), "size": SIZE,
            "contributors": sorted(self.contract.view("participants")), "nextInterval": 0,
        }  # fmt: skip
        return self._call("publish", values, other)

    def attest(self, *peers: int, **other: Any) -> list[Event]:
        """Peers that got what the leader published, unless said otherwise."""
        events: list[Event] = []
        for peer in peers:
            proposal = self.contract.view("proposal")
            values = {
                **self._of_term(), "peer": uid(peer), "digest": proposal["digest"], "size": SIZE,
            }  # fmt: skip
            events += self._call("attest", values, other)
        return events

    def report(self, peer: int, **other: Any) -> list[Event]:
        values = {**self._of_term(), "reporter": uid(peer)}
        del values["leader"]
        return self._call("reportLeader", values, other)

    def leave(self, peer: int, reason: str = "stopped", **other: Any) -> list[Event]:
        return self._call("leave", {**self._of_peer(peer), "reason": reason}, other)

    def reap(self, peer: int, **other: Any) -> list[Event]:
        return self._call("reap", self._of_peer(peer), other)

    def perf(self, peer: int, round: int, **other: Any) -> list[Event]:
        values = {**self._of_peer(peer), "round": round, "measured": (True, 1, 2, 3, 4)}
        return self._call("perf", values, other)

    def refused(self, peer: int, **other: Any) -> list[Event]:
        values = {**self._of_peer(peer), "round": 1, "code": "stale-term", "detail": "late"}
        return self._call("refused", values, other)

    def reset(self, **other: Any) -> list[Event]:
        return self._call("reset", {"generation": self.summary["generation"], "by": "op"}, other)

    def lose(self, *peers: int) -> None:
        """The nodes miss their heartbeats."""
        self.evm.nodes.call("lost", [uid(peer) for peer in peers])

    def round(self, *peers: int, **other: Any) -> list[Event]:
        """One whole round of these peers, published by whoever leads it."""
        return [*self.check_in(*peers, **other), *self.freeze(), *self.publish()]

    # --- how it looks

    @property
    def summary(self) -> dict[str, Any]:
        return self.contract.view("summary")

    @property
    def phase(self) -> str:
        return PHASES[self.summary["phase"]]

    @property
    def leader(self) -> int | None:
        """The leader's number."""
        return next((n for n in range(10) if uid(n) == self.summary["leader"]), None)

    @property
    def followers(self) -> list[int]:
        """Peers 1 to 3 without the leader."""
        return [number for number in (1, 2, 3) if number != self.leader]

    def lot(self, number: int, round: int, term: int) -> bytes:
        """What the peer draws; the smallest leads."""
        head = b"".join(n.to_bytes(4, "big") for n in (1, round, term))
        return keccak(self.contract.address + head + uid(number))

    def peer(self, number: int) -> dict[str, Any]:
        return self.contract.view("peerOf", uid(number))

    def checked_in(self, number: int) -> bool:
        return self.peer(number)["size"] != 0

    # --- calls

    def _of_term(self) -> dict[str, Any]:
        now = self.summary
        return {key: now[key] for key in ("generation", "round", "term", "leader")}

    def _of_peer(self, peer: int) -> dict[str, Any]:
        return {"generation": self.summary["generation"], "peer": uid(peer)}

    def _call(self, function: str, values: dict[str, Any], other: dict[str, Any]) -> list[Event]:
        names = [field["name"] for field in self.contract.functions[function]["inputs"]]
        assert set(other) <= set(names), f"{function} takes {names}"
        values = {**values, **other}
        return self.contract.call(function, *(values[name] for name in names))


def names(events: list[Event]) -> list[str]:
    """Which events these are."""
    return [event.name for event in events]
