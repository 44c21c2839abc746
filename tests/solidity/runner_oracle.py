"""The rules of a taskrunner once more, as plainly as Python can say them.

Nothing is counted or kept twice: every question is answered by looking at all peers and SWOPs.
Property tests compare the Solidity contract with it after every call. All ids are node ids.
"""

# ruff: noqa: N803 - the contract's own names

from dataclasses import dataclass, field
from typing import Any

from tests.solidity.oracle import Fact, RefusalError, need

NOBODY = bytes(16)
IDLE, ASSIGNED, RUNNING, ENDED, FAILED = range(5)
ACTIVE, COMPLETE, ERROR = range(3)
PEERS, ALL, TARGET = range(3)
RUN_SWARM = 1


@dataclass
class Peer:
    swop: bytes
    state: int = ACTIVE
    said: str = ""
    lost: bool = False


@dataclass
class RunnerOracle:
    """A taskrunner; ``tasks`` are its final tasks and their types."""

    tasks: dict[str, int]
    lost: set[bytes] = field(default_factory=set)
    run: int = 0
    state: int = IDLE
    requests: dict[bytes, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    listeners: dict[bytes, int] = field(default_factory=dict)
    nodes: dict[bytes, int] = field(default_factory=dict)
    """What each SWOP said last, whether it listens or not."""

    def __post_init__(self) -> None:
        self.facts: list[Fact] = []
        self._forget()

    def _forget(self) -> None:
        self.task, self.type, self.mode, self.needed = "", 0, 0, 0
        self.targets: set[bytes] = set()
        self.retries: set[bytes] = set()
        self.enrolled: dict[bytes, list[bytes]] = {}
        self.peers: dict[bytes, Peer] = {}
        """All that ever enrolled in this run, also those that a retry replaced."""

    def call(self, function: str, arguments: dict[str, Any]) -> list[Fact]:
        """What the contract should emit.

        Raises:
            RefusalError: it should refuse; then this oracle is unchanged.
        """
        self.facts = []
        getattr(self, f"_{function}")(**arguments)
        if function != "refused" and (self.facts or function != "listen"):
            self._settle()  # listening on in the same way is no occasion to look
        return self.facts

    # --- questions

    def present(self) -> list[bytes]:
        """Peers that count."""
        return [peer for peers in self.enrolled.values() for peer in peers]

    def count(self, state: int, swop: bytes | None = None) -> int:
        return sum(
            self.peers[peer].state == state and swop in (None, self.peers[peer].swop)
            for peer in self.present()
        )

    def share(self, swop: bytes, task_type: int) -> int:
        return self.nodes.get(swop, 0) if task_type == RUN_SWARM else 1

    def hopes(self) -> int:
        """Peers that have not failed, or that somebody who is alive may still bring."""
        hopes = self.count(ACTIVE) + self.count(COMPLETE)
        for swop in self.listeners.keys() - self.lost:
            if swop in self.retries:
                hopes += self.count(ERROR, swop)
            elif swop not in self.enrolled and (self.mode != TARGET or swop in self.targets):
                hopes += self.share(swop, self.type)
        return hopes

    # --- calls

    def _listen(self, swop: bytes, nodeCount: int) -> None:
        need(swop not in self.lost, "unknown-node")
        need(nodeCount <= 250, "bad-value")
        if self.listeners.get(swop) == nodeCount:
            return
        self.listeners[swop] = self.nodes[swop] = nodeCount
        self._emit("Listening", swop=swop, nodes=nodeCount)

    def _quit(self, swop: bytes, reason: str) -> None:
        if self.listeners.pop(swop, None) is not None:
            self._emit("Quit", swop=swop, reason=reason)

    def _reap(self, swop: bytes) -> None:
        need(swop in self.lost, "not-lost")
        self._quit(swop, "lost")
        for peer in self.enrolled.get(swop, []):
            if self.peers[peer].state == ACTIVE:
                self._set(peer, ERROR, "SWOP lost", lost=True)

    def _assign(self, task: str, mode: int, peers: int, target: bytes, request: bytes) -> None:
        arguments = {"task": task, "mode": mode, "peers": peers, "target": target}
        if self.state != IDLE and self.requests.get(request) == (self.run, arguments):
            return
        need(request != NOBODY, "bad-value")
        need(request not in self.requests, "stale-request")
        need(mode <= TARGET, "bad-value")
        if self.state == IDLE:
            self._begin(task, mode, peers, target, request)
        else:
            joins = mode == TARGET and self.state != ENDED and task == self.task
            need(joins, "busy")
            self._join(target, request)
        self.requests[request] = (self.run, arguments)

    def _begin(self, task: str, mode: int, peers: int, target: bytes, request: bytes) -> None:
        need(task in self.tasks, "unknown-task")
        task_type = self.tasks[task]
        need(task_type != 0, "bad-value")
        alive = self.listeners.keys() - self.lost
        if mode == PEERS:
            need(peers > 0, "bad-value")
            needed = peers
        else:
            asked = alive if mode == ALL else alive & {target}
            needed = sum(self.share(swop, task_type) for swop in asked)
            need(needed > 0, "no-swop")
        self._forget()
        self.run += 1
        self.task, self.type, self.mode, self.needed = task, task_type, mode, needed
        self.targets = {target} if mode == TARGET else set()
        self._emit(
            "Assigned", task=task, taskType=task_type, mode=mode, needed=needed,
            target=target if mode == TARGET else NOBODY, request=request,
        )  # fmt: skip
        self.state = ASSIGNED
        self._emit("StateChanged", state=ASSIGNED)

    def _join(self, target: bytes, request: bytes) -> None:
        need(target in self.listeners.keys() - self.lost, "no-swop")
        need(self.share(target, self.type) > 0, "no-swop")
        if target in self.enrolled:
            need(self.count(ERROR, target) > 0, "enrolled")
            self.retries.add(target)
        elif self.mode == TARGET and target not in self.targets:
            self.needed += self.share(target, self.type)
        self.targets.add(target)
        self._emit("Targeted", target=target, needed=self.needed, request=request)

    def _enrol(self, run: int, swop: bytes, peers: list[bytes]) -> None:
        need(run == self.run and self.state != IDLE, "wrong-run")
        if swop in self.enrolled and swop not in self.retries:
            need(peers == self.enrolled[swop], "enrolled")
            gone = [peer for peer in peers if self.peers[peer].lost]
            need(not gone or swop in self.listeners, "not-listening")
            for peer in gone:
                self._set(peer, ACTIVE, "SWOP is back")
            return
        need(self.state != ENDED, "wrong-state")
        need(swop in self.listeners, "not-listening")
        if swop not in self.enrolled and swop not in self.targets:
            need(self.mode != TARGET, "not-target")
            in_time = self.count(ACTIVE) + self.count(COMPLETE) < self.needed
            need(self.type == RUN_SWARM or in_time, "not-needed")
        need(len(peers) == self.share(swop, self.type) > 0, "bad-value")
        need(self.type == RUN_SWARM or peers == [swop], "bad-value")
        used = self.peers.keys() - self.enrolled.get(swop, [])
        for number, peer in enumerate(peers):
            need(peer != NOBODY, "bad-value")
            need(peer not in used and peer not in peers[:number], "duplicate-peer")
        for peer in peers:
            if peer not in self.peers or self.peers[peer].state == ERROR:
                self.peers[peer] = Peer(swop)
        self.enrolled[swop] = peers
        self.retries.discard(swop)
        self._emit("SwopEnrolled", swop=swop, peers=peers)

    def _report(self, run: int, swop: bytes, peer: bytes, state: int, description: str) -> None:
        need(run == self.run and self.state != IDLE, "wrong-run")
        need(peer in self.enrolled.get(swop, []), "not-enrolled")
        need(state <= ERROR and len(description.encode()) <= 640, "bad-value")
        now = self.peers[peer]
        if not now.lost:
            if (now.state, now.said) == (state, description):
                return
            need(now.state in (ACTIVE, state), "wrong-state")
        self._set(peer, state, description)
        if self.count(ERROR, swop) == 0:
            self.retries.discard(swop)

    def _reset(self, run: int, by: str) -> None:
        need(run == self.run, "wrong-run")
        if self.state == IDLE:
            return
        self._emit("RunnerReset", by=by)
        self._forget()
        self.state = IDLE
        self._emit("StateChanged", state=IDLE)

    def _refused(self, by: bytes, code: str, detail: str) -> None:
        self._emit("RunnerRefused", by=by, code=code, detail=detail)

    # --- what follows

    def _settle(self) -> None:
        if self.state in (IDLE, ENDED):
            return
        if self.count(COMPLETE) >= self.needed:
            state = ENDED
        elif self.count(ERROR) and self.hopes() < self.needed:
            state = FAILED
        else:
            state = RUNNING if self.enrolled else ASSIGNED
        if state != self.state:
            self.state = state
            self._emit("StateChanged", state=state)

    def _set(self, peer: bytes, state: int, said: str, lost: bool = False) -> None:
        swop = self.peers[peer].swop
        self.peers[peer] = Peer(swop, state, said, lost)
        self._emit("Reported", swop=swop, peer=peer, state=state, description=said)

    def _emit(self, name: str, **args: Any) -> None:
        self.facts.append((name, {"run": self.run, **args}))


__all__ = ["RefusalError", "RunnerOracle"]
