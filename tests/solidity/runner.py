"""A taskrunner with short words for what SWOPs and operators do; nodes are numbers, not ids."""

from typing import Any

from tests.solidity.evm import Deployed, Event, Evm, uid
from tests.solidity.training import register

STATES = ("IDLE", "ASSIGNED", "RUNNING", "COMPLETE", "ERROR")
ACTIVE, COMPLETE, ERROR = range(3)
PEERS, ALL, TARGET = range(3)
RUN_SWARM, BUILD = 1, 3
"""Types of tasks; BUILD stands for those that need SWOPs, not SL/ML pairs."""
NOBODY = bytes(16)


class Tasks:
    """A fresh TaskRegistry."""

    def __init__(self, evm: Evm) -> None:
        self.contract: Deployed = evm.deploy("TaskRegistry", evm.registry.address)
        self._requests = 5000

    def create(self, name: str, task_type: int = RUN_SWARM, /, **other: Any) -> list[Event]:
        self._requests += 1
        values = {
            "name": name, "taskType": task_type, "author": "me", "prereq": "ROOTTASK",
            "outcome": f"{name}'s", "request": uid(self._requests),
        }  # fmt: skip
        return call(self.contract, "create", values, other)

    def append(self, name: str, first: int, *lines: str) -> list[Event]:
        return self.contract.call("append", name, NOBODY, first, list(lines))

    def make(self, *names: str, task_type: int = RUN_SWARM) -> None:
        """Tasks that can be assigned."""
        for name in names:
            self.create(name, task_type)
            self.append(name, 1, "line")
            self.contract.call("finalize", name, NOBODY)


class Runner:
    """A fresh taskrunner; nodes 0 to 9 are registered, the tasks ``swarm`` and ``build`` are final.

    Calls take what differs from an ordinary one as keywords, e.g. ``enrol(1, 11, run=7)``. The
    peers of a SWOP in a RUN_SWARM task are numbers from 100.
    """

    def __init__(self, evm: Evm) -> None:
        register(evm, *range(10))
        self.evm = evm
        self.tasks = Tasks(evm)
        self.tasks.make("swarm", "swarm2")
        self.tasks.make("build", task_type=BUILD)
        self.contract: Deployed = evm.deploy(
            "TaskRunner", evm.registry.address, evm.nodes.address, self.tasks.contract.address
        )
        self._requests = 9000

    # --- what SWOPs do

    def listen(self, *swops: int, nodes: int = 1) -> list[Event]:
        return [
            event
            for swop in swops
            for event in self.contract.call("listen", uid(swop), nodes)
        ]  # fmt: skip

    def quit(self, swop: int, reason: str = "stopped") -> list[Event]:
        return self.contract.call("quit", uid(swop), reason)

    def reap(self, swop: int) -> list[Event]:
        return self.contract.call("reap", uid(swop))

    def enrol(self, swop: int, /, *peers: int, **other: Any) -> list[Event]:
        values = {"run": self.run, "swop": uid(swop), "peers": [uid(n) for n in peers or (swop,)]}
        return call(self.contract, "enrol", values, other)

    def report(
        self, swop: int, peer: int, state: int, why: str = "", /, **other: Any
    ) -> list[Event]:
        values = {
            "run": self.run, "swop": uid(swop), "peer": uid(peer), "state": state,
            "description": why,
        }  # fmt: skip
        return call(self.contract, "report", values, other)

    # --- what operators and SNs do

    def assign(self, mode: int = PEERS, number: int = 0, /, **other: Any) -> list[Event]:
        """``number`` is how many peers (mode PEERS), or which SWOP (mode TARGET)."""
        self._requests += 1
        values = {
            "task": "swarm", "mode": mode, "peers": number if mode == PEERS else 0,
            "target": uid(number) if mode == TARGET else NOBODY, "request": uid(self._requests),
        }  # fmt: skip
        return call(self.contract, "assign", values, other)

    def reset(self, **other: Any) -> list[Event]:
        return call(self.contract, "reset", {"run": self.run, "by": "op"}, other)

    def lose(self, *nodes: int) -> None:
        """The nodes miss their heartbeats."""
        self.evm.nodes.call("lost", [uid(node) for node in nodes])

    # --- how it looks

    @property
    def summary(self) -> dict[str, Any]:
        return self.contract.view("summary")

    @property
    def run(self) -> int:
        return self.summary["run"]

    @property
    def state(self) -> str:
        return STATES[self.summary["state"]]

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Peers that are active, completed and failed, and how many are needed."""
        now = self.summary
        return now["active"], now["completed"], now["failed"], now["needed"]

    @property
    def listeners(self) -> set[bytes]:
        view = self.contract.view
        found = [view("listenerAt", i) for i in range(view("listenerCount"))]
        assert len(found) == len(set(found))
        return set(found)

    def swop(self, number: int) -> set[str]:
        """Which of listening, enrolled, target and retry hold for it."""
        seen = self.contract.view("swopOf", uid(number))
        return {key for key, value in seen.items() if value is True}

    def peer(self, number: int) -> int | None:
        """The peer's state; None where the run has no such peer."""
        seen = self.contract.view("peerOf", uid(number))
        return seen["state"] if seen["swop"] != NOBODY else None


def call(
    contract: Deployed, function: str, values: dict[str, Any], other: dict[str, Any]
) -> list[Event]:
    """Calls a function with these values, some of them replaced."""
    names = [field["name"] for field in contract.functions[function]["inputs"]]
    assert set(other) <= set(names), f"{function} takes {names}"
    values = {**values, **other}
    return contract.call(function, *(values[name] for name in names))


def moves(events: list[Event]) -> list[str]:
    """Names of the events; a StateChanged is named by its state."""
    return [
        STATES[event.args["state"]] if event.name == "StateChanged" else event.name
        for event in events
    ]
