"""The contracts that are there from the start: made once, whatever breaks off; on old chains."""

import asyncio
from itertools import count

import pytest

from services.common.errors import ChainUnavailableError, ConfigError
from services.common.ids import DEFAULT_CONTRACT, NodeKind
from services.common.task_api import DEFAULT_TASKRUNNER, ROOTTASK
from services.sn import daemon
from services.sn.adapters import founding
from services.sn.adapters.tasks import Tasks
from services.sn.adapters.writer import Writer
from services.sn.core.tasks import TASK_REGISTRY
from tests.component.sn.conftest import PATIENCE, on_both_engines
from tests.component.sn.swops import Operator
from tests.component.sn.test_many_sns import joining


class PowerCutError(Exception):
    pass


async def works(swarm, sn):
    operator = Operator(swarm, sn)
    assert [c.name for c in await operator.sn.contracts()] == [DEFAULT_CONTRACT]
    assert [r.name for r in await operator.client.runners()] == [DEFAULT_TASKRUNNER]
    assert [t.name for t in await operator.client.tasks()] == [ROOTTASK]
    await operator.final_task()
    await operator.assign()
    return operator


def older(monkeypatch):
    """Starts from now on are those of a version that knew no tasks; undo it for the present one."""
    only = {DEFAULT_CONTRACT: founding.FROM_THE_START[DEFAULT_CONTRACT]}
    monkeypatch.setattr(founding, "FROM_THE_START", only)


@on_both_engines
@pytest.mark.parametrize("steps", range(2, 8))
async def test_a_first_start_that_is_broken_off_goes_on_at_the_next(swarm, monkeypatch, steps):
    """Two writes each: a contract is made, then it is named."""
    settle, done = Writer._settle, count()

    async def unreliable(self, *transactions):
        if next(done) == steps:
            raise PowerCutError
        return await settle(self, *transactions)

    monkeypatch.setattr(Writer, "_settle", unreliable)
    with pytest.RaisesGroup(PowerCutError, flatten_subgroups=True):
        await swarm.sn()
    monkeypatch.undo()
    await works(swarm, await swarm.sn())


@on_both_engines
async def test_a_sentinel_adds_to_an_old_chain_what_it_lacks(swarm, monkeypatch, caplog):
    older(monkeypatch)
    sn = await swarm.sn()
    assert await Operator(swarm, sn).client.runners() == []
    await sn.stop()
    monkeypatch.undo()
    caplog.set_level("INFO")
    await works(swarm, await swarm.sn())
    assert f"this chain lacks {TASK_REGISTRY} and {DEFAULT_TASKRUNNER}" in caplog.text


async def test_an_sn_that_joins_an_old_sentinel_says_what_to_do(swarm, monkeypatch, caplog):
    older(monkeypatch)
    first = await swarm.sn()
    monkeypatch.undo()
    monkeypatch.setattr(daemon, "TELL_EVERY", 0.1)
    caplog.set_level("INFO")
    starting = asyncio.create_task(swarm.sn("2", **joining(first)))
    async with asyncio.timeout(PATIENCE):
        while "start the sentinel with this version, too" not in caplog.text:
            assert not starting.done()
            await asyncio.sleep(0.05)
        assert f"waiting for {TASK_REGISTRY} and {DEFAULT_TASKRUNNER}" in caplog.text
    await first.stop()
    first = await swarm.sn(sn_p2p_listen_port=0)
    second = await starting
    operator = await works(swarm, second)
    assert (await operator.client.runner(DEFAULT_TASKRUNNER)).view.task == "t"


@pytest.mark.parametrize("name", [TASK_REGISTRY, DEFAULT_TASKRUNNER])
async def test_a_name_that_an_old_chain_gave_away_is_said(swarm, monkeypatch, name):
    older(monkeypatch)
    sn = await swarm.sn()
    await swarm.client(sn, kind=NodeKind.SWCI).create_contract(name)
    await sn.stop()
    monkeypatch.undo()
    with pytest.RaisesGroup(
        pytest.RaisesExc(ConfigError, match=f"{name} is the name of something else.*SN_DATA_DIR"),
        flatten_subgroups=True,
    ):
        await swarm.sn()


async def test_a_chain_that_takes_no_writes_yet_is_waited_for(swarm, monkeypatch, caplog):
    deploy, failures = Tasks.deploy, iter([ChainUnavailableError("nobody seals")] * 2)

    async def later(self):
        for each in failures:
            raise each
        await deploy(self)

    monkeypatch.setattr(Tasks, "deploy", later)
    monkeypatch.setattr(founding, "RETRY_S", 0.01)
    await works(swarm, await swarm.sn())
    assert caplog.text.count(f"cannot make {TASK_REGISTRY} yet: nobody seals") == 2


@pytest.mark.parametrize("name", [DEFAULT_CONTRACT, TASK_REGISTRY, DEFAULT_TASKRUNNER])
async def test_a_write_that_was_given_up_and_happened_after_all(swarm, monkeypatch, name):
    """A name is given by an earlier try, or by what the sentinel sent in its last life."""
    write, first = Writer.write, iter([True])

    async def twice(self, call):
        if call.function == "register" and call.args[0] == name and next(first, False):
            await write(self, call)
        await write(self, call)

    monkeypatch.setattr(Writer, "write", twice)
    await works(swarm, await swarm.sn())
    assert not next(first, False)
