"""TaskRunner: what calls cost does not grow with the past, and the largest fit into a block."""

import pytest

from tests.solidity.evm import GAS, Evm
from tests.solidity.runner import ALL, COMPLETE, ERROR, PEERS, TARGET, Runner
from tests.solidity.training import register


@pytest.fixture
def runner(evm: Evm) -> Runner:
    return Runner(evm)


def one_run(runner: Runner, first: int) -> list[int]:
    """Gas of each call of a run of SWOPs 1 and 2, whose peers are new: numbers from ``first``."""
    found = []
    for act in (
        lambda: runner.assign(ALL),
        lambda: runner.enrol(1, first, first + 1),
        lambda: runner.enrol(2, first + 2, first + 3),
        lambda: runner.report(1, first, COMPLETE, "done"),
        lambda: runner.report(1, first + 1, ERROR, "exit 1"),
        lambda: runner.assign(TARGET, 1),
        lambda: runner.enrol(1, first, first + 4),
        lambda: runner.report(2, first + 2, COMPLETE, "done"),
        runner.reset,
    ):
        act()
        found.append(runner.contract.gas_used)
    return found


def test_earlier_runs_cost_nothing(runner):
    runner.listen(1, 2, nodes=2)
    one_run(runner, 1000)
    early = one_run(runner, 1100)
    for run in range(20):
        one_run(runner, 2000 + 10 * run)
    assert one_run(runner, 3000) == early


def test_swops_that_went_cost_nothing(runner):
    gone = range(100, 160)
    register(runner.evm, *gone)
    runner.listen(1, 2, nodes=2)
    one_run(runner, 1000)
    early = one_run(runner, 1100)
    runner.listen(*gone)
    for swop in gone:
        runner.quit(swop)
    assert one_run(runner, 1200) == early


def test_a_report_does_not_cost_more_in_a_large_run(runner):
    runner.listen(1, nodes=250)
    runner.assign(PEERS, 250)
    runner.enrol(1, *range(1000, 1250))
    runner.report(1, 1249, COMPLETE, "done")
    assert runner.contract.gas_used < 70_000


def test_the_largest_swop_fits(runner):
    """A third of what the SN gives a transaction (15 million gas) is left for its calldata."""
    peers = range(1000, 1250)
    runner.listen(1, nodes=250)
    runner.assign(PEERS, 250)
    runner.enrol(1, *peers)
    assert runner.contract.gas_used < GAS
    runner.lose(1)
    runner.reap(1)
    assert runner.contract.gas_used < GAS
    register(runner.evm, 1)
    runner.listen(1, nodes=250)
    runner.assign(TARGET, 1)
    runner.enrol(1, *range(2000, 2250))
    assert runner.counts == (250, 0, 0, 250)
    assert runner.contract.gas_used < GAS


def test_as_many_swops_as_may_listen_fit(runner):
    """What a listener costs is the same for each, so that a few of them tell what all cost."""
    counts, costs = (40, 80, 120), []
    begin = 1000
    for count in counts:
        swops = range(begin, 1000 + count)
        begin = 1000 + count
        register(runner.evm, *swops)
        runner.listen(*swops)
        runner.listen(1000, nodes=2)
        runner.assign(ALL)
        assert runner.counts == (0, 0, 0, count + 1)
        cost = [runner.contract.gas_used]
        runner.enrol(1000, count + 1, count + 2)
        cost.append(runner.contract.gas_used)
        runner.report(1000, count + 1, ERROR)
        cost.append(runner.contract.gas_used)
        runner.reset()
        costs.append(cost)
    for few, more, many in zip(*costs, strict=True):
        each = (many - few) / (counts[2] - counts[0])
        assert abs((many - more) - (more - few)) < 0.02 * many, "not the same for each"
        most = runner.contract.view("MOST_LISTENERS")
        assert many + each * (most - counts[2]) < GAS


def test_no_more_swops_listen(runner, refuses):
    runner.listen(*range(1, 8))
    runner.evm.overwrite(runner.contract.address, 7, 999)
    assert runner.contract.view("listenerCount") == 999
    runner.listen(8)
    assert refuses("bad-value", runner.listen, 9) == "at most 1000 SWOPs per taskrunner"
    runner.quit(8)
    runner.listen(9)
