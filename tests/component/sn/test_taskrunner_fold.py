"""The SN's fold of a taskrunner beside the Solidity contract itself, over random histories."""

from typing import Any

from eth_abi.abi import encode
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import invariant

from services.sn.adapters import abi
from services.sn.core.ledger import Block
from services.sn.core.nodes import Nodes
from services.sn.core.runner_views import view_of
from services.sn.core.taskrunners import TaskRunner
from tests.solidity.test_taskrunner_properties import Histories

PEER_STATES, STATES = abi.TASK_PEER_STATES, abi.RUNNER_STATES


def decoded(event):
    """An event as the SN reads it from the chain."""
    contract = abi.abi(abi.TASKRUNNER)
    ((topic, shape),) = [
        item for item in contract._events.items() if item[1].make.__name__ == event.name
    ]
    return contract.event([topic], encode([i.type for i in shape.inputs], [*event.args.values()]))


class FoldedHistories(Histories):
    """The same histories; the SN sees nothing but their events."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = TaskRunner("tr", "0xR", 1)

    def _call(self, function: str, **arguments: Any) -> None:
        before = len(self.events)
        super()._call(function, **arguments)
        for number, event in enumerate(self.events[before:], before + 1):
            self.runner.apply(decoded(event), Block(number, f"{number:064x}", number))

    # what the contract itself must fulfil is shown in tests/solidity

    def the_contract_is_where_the_oracle_is(self) -> None: ...

    def the_events_alone_tell_the_same(self) -> None: ...

    def what_is_final_stays(self) -> None: ...

    def teardown(self) -> None: ...

    @invariant()
    def the_sn_tells_what_is_so(self) -> None:
        oracle, view = self.oracle, view_of(self.runner, Nodes())
        assert (view.run, STATES.index(view.state), view.task, view.needed) == (
            oracle.run, oracle.state, oracle.task, oracle.needed,
        )  # fmt: skip
        if oracle.state:
            assert abi.TASK_TYPES.index(view.type) == oracle.type
            assert abi.ASSIGNMENTS.index(view.mode) == oracle.mode
            assert set(view.targets) == {swop.hex() for swop in oracle.targets}
        swops = {swop.uid: swop for swop in view.swops}
        assert swops.keys() == {s.hex() for s in (*oracle.listeners, *oracle.enrolled)}
        for swop in self.runner.swops.values():
            assert swop.listening is (bytes.fromhex(swop.uid) in oracle.listeners)
        for swop, peers in oracle.enrolled.items():
            assert swops[swop.hex()].enrolled
            assert swops[swop.hex()].retry is (swop in oracle.retries)
            assert [
                (p.uid, PEER_STATES.index(p.state), p.description) for p in swops[swop.hex()].peers
            ] == [(p.hex(), oracle.peers[p].state, oracle.peers[p].said) for p in peers]


# no shrinking: it takes minutes, and the notes tell the calls of the one that failed
FoldedHistories.TestCase.settings = settings(
    max_examples=12, stateful_step_count=50, derandomize=True, deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
TestFoldedHistories = FoldedHistories.TestCase
