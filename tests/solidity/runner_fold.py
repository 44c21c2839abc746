"""A taskrunner's state from its events alone, by the rules in contracts/README.md."""

# ruff: noqa: N802, N803 - the contract's own names

from dataclasses import dataclass, field
from typing import Any

from tests.solidity.evm import Event

ACTIVE, COMPLETE, ERROR = range(3)


@dataclass
class RunnerFold:
    """State after the events applied so far."""

    run: int = 0
    state: int = 0
    task: str = ""
    type: int = 0
    mode: int = 0
    needed: int = 0
    listeners: dict[bytes, int] = field(default_factory=dict)
    targets: set[bytes] = field(default_factory=set)
    retries: set[bytes] = field(default_factory=set)
    enrolled: dict[bytes, dict[bytes, tuple[int, str]]] = field(default_factory=dict)
    """State and description of each peer, by SWOP."""

    def apply(self, event: Event) -> None:
        getattr(self, f"_on_{event.name}")(**event.args)

    def count(self, state: int) -> int:
        return sum(now == state for peers in self.enrolled.values() for now, _ in peers.values())

    def _on_Listening(self, swop, nodes, **_):
        self.listeners[swop] = nodes

    def _on_Quit(self, swop, **_):
        del self.listeners[swop]

    def _on_Assigned(self, run, task, taskType, mode, needed, target, **_):
        self._forget()
        self.run, self.task, self.type, self.mode = run, task, taskType, mode
        self.needed = needed
        self.targets = {target} - {bytes(16)}

    def _on_Targeted(self, target, needed, **_):
        self.needed = needed
        self.targets.add(target)
        if target in self.enrolled:
            self.retries.add(target)

    def _on_SwopEnrolled(self, swop, peers, **_):
        old = self.enrolled.get(swop, {})
        stays = {peer: now for peer, now in old.items() if now[0] != ERROR}
        self.enrolled[swop] = {peer: stays.get(peer, (ACTIVE, "")) for peer in peers}
        self.retries.discard(swop)

    def _on_Reported(self, swop, peer, state, description, **_):
        self.enrolled[swop][peer] = (state, description)
        if all(now != ERROR for now, _ in self.enrolled[swop].values()):
            self.retries.discard(swop)

    def _on_StateChanged(self, state, **_):
        self.state = state

    def _on_RunnerReset(self, **_):
        self._forget()

    def _on_RunnerRefused(self, **_: Any) -> None:
        pass

    def _forget(self):
        self.task, self.type, self.mode, self.needed = "", 0, 0, 0
        self.targets, self.retries, self.enrolled = set(), set(), {}
