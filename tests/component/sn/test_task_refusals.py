"""Refused writes about tasks and taskrunners are on the ledger (FAULTS S3, S8)."""

import asyncio

import httpx
import pytest

from services.common import task_api as api
from services.common.errors import ForbiddenError, NotFoundError, ProtocolError
from services.common.ids import NodeKind
from services.common.task_client import TaskClient
from services.sn.adapters import abi
from services.sn.api.access import MOST_REFUSALS, NOBODY
from services.sn.core import task_events as on
from tests.component.sn.conftest import PATIENCE, on_both_engines
from tests.component.sn.law import RUNNER, SWOP_OWNER, TASK, TASK_RULES
from tests.component.sn.swops import Operator, Swop, header, new_id
from tests.component.sn.test_sn_roles import ask

WRITES = {route: rule for route, rule in TASK_RULES.items() if route[0] != "GET"}


class Ledger:
    """What the chain itself says, read as operators may."""

    def __init__(self, swarm, sn):
        self._context = swarm.pki.identity(NodeKind.SWCI).client_context()
        self._url = f"https://{sn.endpoint}/eth"
        self._client = TaskClient(swarm.client(sn, kind=NodeKind.SWCI))
        self._shared = bool(swarm.under)

    async def refusals(self):
        """Every refusal so far about tasks and taskrunners, in order.

        Where other swarms are on the same chain, only those about this one's taskrunners.
        """
        wanted = {"fromBlock": "0x0", "toBlock": "latest"}
        if self._shared:
            wanted["address"] = [row.address for row in await self._client.runners()]
        asked = {"jsonrpc": "2.0", "id": 1, "method": "eth_getLogs", "params": [wanted]}
        async with httpx.AsyncClient(verify=self._context) as http:
            answer = (await http.post(self._url, json=asked)).json()
        assert "result" in answer, answer
        logs = answer["result"]
        events = [self._event(log) for log in logs]
        return [e for e in events if isinstance(e, on.TaskRefused | on.RunnerRefused)]

    def _event(self, log):
        topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
        data = bytes.fromhex(log["data"][2:])
        found = (abi.abi(kind).event(topics, data) for kind in (abi.TASKS, abi.TASKRUNNER))
        return next((event for event in found if event is not None), None)

    async def until(self, condition):
        async with asyncio.timeout(PATIENCE):
            while not condition(found := await self.refusals()):
                await asyncio.sleep(0.05)
            return found


@pytest.mark.parametrize("route", WRITES, ids=" ".join)
async def test_a_write_by_a_wrong_role_is_refused_and_on_the_ledger(swarm, route):
    sn = await swarm.sn()
    rule = WRITES[route]
    await ask(swarm, sn, "SWOP", "PUT", f"/v1/nodes/{SWOP_OWNER}", {
        "kind": "SWOP", "endpoint": "sn:1",
    })  # fmt: skip
    assert (await ask(swarm, sn, "SL", route[0], rule.path, rule.body)).status_code == 403
    (event,) = await Ledger(swarm, sn).until(len)
    assert event.code == "forbidden"
    assert "'SL-1' has role SL" in event.detail
    assert event.by == (SWOP_OWNER if "{uid}" in route[1] else NOBODY)
    if "/tasks" in route[1]:
        assert event.name == TASK
    elif isinstance(event, on.TaskRefused):
        assert (route, event.name) == (("POST", "/v1/taskrunners"), "a runner")
    else:
        assert event.run == 0
    state = await TaskClient(swarm.client(sn, kind=NodeKind.SWCI)).runner(RUNNER)
    assert (state.view.state, state.view.swops) == (api.RunnerState.IDLE, [])


@on_both_engines
async def test_a_forged_uid_is_refused_and_on_the_ledger(swarm):
    sn = await swarm.sn()
    owner = await Swop(swarm, sn, "1").register()
    await owner.listen()
    thief = Swop(swarm, sn, "1", swarm.client(sn, "2", NodeKind.SWOP))
    with pytest.raises(ForbiddenError, match="another certificate"):
        await thief.quit("not mine")
    (event,) = await Ledger(swarm, sn).until(len)
    assert (event.by, event.code) == (owner.uid, "forbidden")
    assert (await owner.client.runner(RUNNER)).view.swops[0].listening
    stranger = Swop(swarm, sn, "3")
    with pytest.raises(NotFoundError, match="not registered"):
        await stranger.listen()
    (_, event) = await Ledger(swarm, sn).until(lambda found: len(found) == 2)
    assert (event.by, event.code) == (stranger.uid, "not-found")


@on_both_engines
async def test_a_replay_of_an_old_run_is_on_the_ledger(swarm):
    sn = await swarm.sn()
    operator, swop = Operator(swarm, sn), await Swop(swarm, sn, "1").register()
    await operator.final_task()
    await swop.listen()
    for _ in range(2):
        await operator.assign()
        await operator.client.reset(RUNNER, "")
    await operator.assign()
    with pytest.raises(ProtocolError):
        await swop.enrol(1)
    (event,) = await Ledger(swarm, sn).until(len)
    assert (event.run, event.by, event.code) == (3, swop.uid, "wrong-run")
    with pytest.raises(ProtocolError):
        await operator.client.reset(RUNNER, "late", run=2)
    (_, event) = await Ledger(swarm, sn).until(lambda found: len(found) == 2)
    assert (event.by, event.code) == (NOBODY, "wrong-run")
    assert (await operator.client.runner(RUNNER)).view.run == 3


@on_both_engines
async def test_a_refusal_changes_nothing_that_anybody_waits_for(swarm):
    sn = await swarm.sn()
    operator = Operator(swarm, sn)
    before = await operator.client.runner(RUNNER)
    other = TaskClient(swarm.client(sn, kind=NodeKind.SL))
    watching = asyncio.create_task(operator.client.watch(RUNNER, before.cursor, 2))
    with pytest.raises(ForbiddenError):
        await other.reset(RUNNER, "x")
    await Ledger(swarm, sn).until(len)
    assert await watching == before


async def test_who_invents_a_task_each_time_does_not_fill_the_chain(swarm):
    sn = await swarm.sn()
    other = TaskClient(swarm.client(sn, kind=NodeKind.SL))
    for number in range(MOST_REFUSALS + 15):
        with pytest.raises(ForbiddenError):
            await other.create_task(header(f"t{number}", request=new_id()))
    operator = Operator(swarm, sn)
    await operator.final_task("last")  # in a block after all of them
    # a slow machine may need longer than the ten seconds that one share is for
    assert 1 <= len(await Ledger(swarm, sn).refusals()) < MOST_REFUSALS + 15
