"""An SN writes and fails before it answers: asking another one gives what the first would have."""

import asyncio

import httpx
import pytest

from services.common import task_api as api
from services.common.errors import ChainUnavailableError, ProtocolError, SnUnavailableError
from services.common.ids import NodeKind
from services.common.sn_client import SnClient
from services.common.task_api import RunnerState, TaskPeerState
from services.common.task_client import TaskClient
from services.sn.adapters.writer import Writer
from services.sn.api import access
from tests.component.sn.conftest import PATIENCE
from tests.component.sn.swops import RUNNER, Operator, Swop, header, new_id
from tests.component.sn.test_many_sns import joining
from tests.component.sn.test_task_refusals import Ledger


class Forgetful(SnClient):
    """Loses the answer to each write at the first SN that is asked, once that has written."""

    forgot = 0
    between = None
    """What happens before the next SN is asked."""

    async def _send(self, sn, method, path, body, timeout):
        answer = await super()._send(sn, method, path, body, timeout)
        if method == "GET" or sn != self.forgets or not isinstance(answer, httpx.Response):
            return answer
        self._leave(sn)
        self.forgot += 1
        if self.between is not None:
            await self.between()
        return "it died"

    async def again(self, act):
        """Do it with the SN first that forgets."""
        self.sns.sort(key=lambda sn: sn != self.forgets)
        return await act


async def two(swarm, kind=NodeKind.SWCI):
    """Two SNs, a client of both, and one of the second alone."""
    first = await swarm.sn("1")
    second = await swarm.sn("2", **joining(first))
    client = Forgetful(swarm.pki.identity(kind, "1"), [first.endpoint, second.endpoint], 30.0)
    client.forgets = first.endpoint
    swarm._clients.append(client)
    return client, second


async def test_whatever_an_operator_writes_may_be_asked_of_another_sn(swarm):
    client, second = await two(swarm)
    tasks, again = TaskClient(client), client.again
    swop = await Swop(swarm, second, "1").register()
    await swop.listen()

    await again(tasks.create_task(header("gone")))
    gone = await again(tasks.delete("gone"))
    assert (gone.name, gone.lines) == ("gone", 0)
    await again(tasks.create_task(header("t")))
    await again(tasks.append("t", api.BodyLines(first=1, lines=["a", "b"])))
    assert (await again(tasks.finalize("t"))).finalized
    assert (await tasks.task("t")).body == ["a", "b"]
    assert [task.name for task in await tasks.tasks()] == [api.ROOTTASK, "t"]

    made = (await again(tasks.create_runner("another"))).view
    assert (made.name, made.state) == ("another", RunnerState.IDLE)
    asked = api.Assign(task="t", mode=api.Assignment.PEERS, peers=1, request=new_id())
    view = (await again(tasks.assign(RUNNER, asked))).view
    assert (view.state, view.run) == (RunnerState.ASSIGNED, 1)
    view = (await again(tasks.reset(RUNNER, "enough"))).view
    assert (view.state, view.run) == (RunnerState.IDLE, 1)
    assert client.forgot == 8, "each of these was written twice"


async def test_training_contracts_too(swarm):
    client, second = await two(swarm)
    await client.again(client.create_contract("mine"))
    assert "mine" in {row.name for row in await client.contracts()}
    with pytest.raises(ProtocolError) as caught:
        await client.create_contract(RUNNER)
    assert caught.value.code == "name-taken"

    async def trains():
        peer = await swarm.peer(second)
        peer.contract = "mine"
        await peer.enrol(min_peers=1)

    client.between = trains  # before the repeated reset arrives, another training begins
    view = (await client.again(client.reset("mine", "done"))).view
    assert (view.generation, len(view.peers)) == (2, 1)
    assert client.forgot == 2


async def test_what_was_so_before_is_refused_still(swarm):
    operator = Operator(swarm, await swarm.sn())
    await operator.client.create_runner("another")
    for name in ("another", "defaultbb.cqdb.sml.hpe"):
        with pytest.raises(ProtocolError) as caught:
            await operator.client.create_runner(name)
        assert caught.value.code == "name-taken"
    with pytest.raises(ProtocolError) as caught:
        await operator.client.delete("nowhere")
    assert caught.value.code == "unknown-task"


async def test_a_repeated_reset_never_ends_the_run_of_somebody_else(swarm):
    client, second = await two(swarm)
    other = Operator(swarm, second)
    await other.final_task()
    await other.assign()

    async def assigns():
        async with asyncio.timeout(PATIENCE):
            await other.until(lambda view: view.state is RunnerState.IDLE)
        await other.assign()

    client.between = assigns
    with pytest.raises(ProtocolError) as caught:
        await client.again(TaskClient(client).reset(RUNNER, "old"))
    assert caught.value.code == "wrong-run"
    view = (await other.client.runner(RUNNER)).view
    assert (view.state, view.run) == (RunnerState.ASSIGNED, 2)


async def test_two_operators_at_once(swarm):
    """One of two tasks is assigned; a reset ends that run or comes too early, never another one."""
    operators = [Operator(swarm, sn) for sn in [await swarm.sn("1")] * 2]
    await operators[0].final_task("a")
    await operators[0].final_task("b")
    for run in range(1, 5):
        outcomes = await asyncio.gather(
            operators[0].assign("a"), operators[1].assign("b"), return_exceptions=True
        )
        (refusal,) = [each for each in outcomes if isinstance(each, ProtocolError)]
        (won,) = [each for each in outcomes if not isinstance(each, BaseException)]
        assert refusal.code == "busy"
        assert won.view.task in str(refusal)
        assert won.view.run == run
        outcomes = await asyncio.gather(
            operators[0].client.reset(RUNNER, "", run), operators[1].assign("a"),
            return_exceptions=True,
        )  # fmt: skip
        if isinstance(outcomes[1], ProtocolError):
            assert outcomes[1].code == "busy"
        else:
            assert outcomes[1].view.run == run + 1
            await operators[0].client.reset(RUNNER, "", run + 1)
            return


async def test_an_sn_that_dies_between_making_a_taskrunner_and_naming_it(swarm, monkeypatch):
    operator = Operator(swarm, await swarm.sn())
    write = Writer.write

    async def dies(self, call):
        if call.function == "register":
            raise ChainUnavailableError("gone")
        await write(self, call)

    monkeypatch.setattr(Writer, "write", dies)
    with pytest.raises(SnUnavailableError, match="gone"):
        await operator.client.create_runner("another")
    monkeypatch.undo()
    assert [row.name for row in await operator.client.runners()] == [RUNNER]
    assert (await operator.client.create_runner("another")).view.state is RunnerState.IDLE
    assert [row.name for row in await operator.client.runners()] == ["another", RUNNER]


async def test_a_delete_that_comes_late_spares_the_next_task_of_that_name(swarm, monkeypatch):
    """As of an SN that was cut off, after the operator asked another one."""
    operator = Operator(swarm, await swarm.sn())
    await operator.client.create_task(header("t"))
    write, held, go_on = Writer.write, asyncio.Event(), asyncio.Event()

    async def late(self, call):
        if call.function == "remove" and not held.is_set():
            held.set()
            await go_on.wait()
        await write(self, call)

    monkeypatch.setattr(Writer, "write", late)
    deleting = asyncio.create_task(operator.client.delete("t"))
    async with asyncio.timeout(PATIENCE):
        await held.wait()
    await operator.client.delete("t")
    again = await operator.client.create_task(header("t", outcome="another image"))
    go_on.set()
    with pytest.raises(ProtocolError, match="another task has the name by now") as caught:
        await deleting
    assert caught.value.code == "stale-request"
    assert [task for task in await operator.client.tasks() if task.name == "t"] == [again]


async def test_a_swop_that_floods_is_slowed_down_and_nobody_else(swarm, monkeypatch):
    monkeypatch.setattr(access, "WRITES_AT_ONCE", 13)
    monkeypatch.setattr(access, "WRITES_PER_SECOND", 0.001)
    sn = await swarm.sn()
    operator, honest = Operator(swarm, sn), await Swop(swarm, sn, "1").register()
    liar = await Swop(swarm, sn, "2", swarm.client(sn, "2", NodeKind.SWOP)).register()
    await operator.final_task()
    await liar.listen()
    await operator.assign()
    await liar.enrol(1)
    done = 2
    with pytest.raises(SnUnavailableError, match=r"SWOP-2.* has written 13 times of late"):
        for done in range(3, 100):
            await liar.report(1, TaskPeerState.ACTIVE, said=f"{done:0160}")
    assert done == 13, "the thirteenth is too much"
    for attempt in (liar.listen(2), liar.quit(), liar.enrol(1)):
        with pytest.raises(SnUnavailableError):
            await attempt
    (event,) = await Ledger(swarm, sn).until(len)
    assert (event.by, event.code) == (liar.uid, "too-many-writes")
    await honest.listen()
    assert (await operator.client.reset(RUNNER, "liar")).view.state is RunnerState.IDLE
