"""Tasks through the API of a real SN, over real TLS, on the real chain."""

import pytest

from services.common import task_api as api
from services.common.errors import ForbiddenError, NotFoundError, ProtocolError
from services.common.ids import NodeKind
from services.common.task_client import TaskClient
from services.sn import VERSION
from tests.component.sn.conftest import on_both_engines
from tests.component.sn.swops import Operator, header
from tests.component.sn.test_many_sns import joining


@on_both_engines
async def test_a_task_from_its_header_to_its_end(swarm):
    operator = Operator(swarm, await swarm.sn())
    tasks = operator.client
    (root,) = await tasks.tasks()
    assert (root.name, root.type, root.author, root.finalized) == (
        api.ROOTTASK, api.TaskType.ROOT_TASK, "HPE", True,
    )  # fmt: skip
    made = await tasks.create_task(header("tä sk", api.TaskType.RUN_SWARM, outcome="x" * 160))
    assert (made.name, made.type, made.lines, made.finalized) == (
        "tä sk", api.TaskType.RUN_SWARM, 0, False,
    )  # fmt: skip
    assert made.created > 0
    lines = ["a: 1", "", "  ünïcode \U0001f40d: '\"\\", "y" * 1024]
    assert (await tasks.append("tä sk", api.BodyLines(first=1, lines=lines))).lines == 4
    again = api.BodyLines(first=4, lines=["d", "e"])
    assert (await tasks.append("tä sk", again)).lines == 5
    assert (await tasks.task("tä sk")).body == [*lines[:3], "d", "e"]
    assert (await tasks.finalize("tä sk")).finalized
    assert (await tasks.finalize("tä sk")).finalized, "harmless"
    assert [t.name for t in await tasks.tasks()] == [api.ROOTTASK, "tä sk"]

    depends = await tasks.create_task(header("next", prereq="tä sk"))
    assert depends.prereq == "tä sk"
    assert (await tasks.delete("next")) == depends
    with pytest.raises(NotFoundError, match="LIST TASKS"):
        await tasks.task("next")


@on_both_engines
async def test_the_largest_body_goes_in(swarm):
    operator = Operator(swarm, await swarm.sn())
    await operator.client.create_task(header("t"))
    whole = [f"{number:04}" + "x" * (1024 - 4) for number in range(1, 2001)]
    for first in range(1, 2001, 64):
        lines = whole[first - 1 : first + 63]
        await operator.client.append("t", api.BodyLines(first=first, lines=lines))
    assert (await operator.client.finalize("t")).lines == 2000
    assert (await operator.client.task("t")).body == whole


@on_both_engines
async def test_what_the_contract_refuses_comes_with_its_word(swarm):
    operator = Operator(swarm, await swarm.sn())
    tasks = operator.client
    await operator.final_task("done")
    await tasks.create_task(header("open"))
    body = api.BodyLines(first=1, lines=["x"])
    refused = {
        "name-taken": tasks.create_task(header("done")),
        "unknown-task": tasks.create_task(header("new", prereq="nowhere")),
        "not-final": tasks.create_task(header("new", prereq="open")),
        "bad-value": tasks.finalize("open"),
        "final": tasks.append("done", body),
    }
    for code, attempt in refused.items():
        with pytest.raises(ProtocolError) as caught:
            await attempt
        assert caught.value.code == code
    for code, attempt in (
        ("final", tasks.delete("done")), ("unknown-task", tasks.delete("nowhere")),
        ("bad-value", tasks.create_task(header("new", api.TaskType.ROOT_TASK))),
        ("bad-value", tasks.append("open", api.BodyLines(first=2, lines=["gap"]))),
    ):  # fmt: skip
        with pytest.raises(ProtocolError) as caught:
            await attempt
        assert caught.value.code == code
    assert [(t.name, t.lines) for t in await tasks.tasks()][1:] == [("done", 1), ("open", 0)]


@on_both_engines
async def test_creating_the_same_task_once_more_is_harmless(swarm):
    operator = Operator(swarm, await swarm.sn())
    asked = header("t")
    first = await operator.client.create_task(asked)
    await operator.client.append("t", api.BodyLines(first=1, lines=["x"]))
    again = await operator.client.create_task(asked)
    assert again == first.model_copy(update={"lines": 1}), "nothing was begun anew"


async def test_only_operators_change_tasks(swarm):
    sn = await swarm.sn()
    operator = Operator(swarm, sn)
    await operator.client.create_task(header("t"))
    for kind in (NodeKind.SWOP, NodeKind.SL, NodeKind.SN):
        other = TaskClient(swarm.client(sn, "9", kind))
        for attempt in (
            other.create_task(header("u")), other.append("t", api.BodyLines(first=1, lines=["x"])),
            other.finalize("t"), other.delete("t"),
        ):  # fmt: skip
            with pytest.raises(ForbiddenError, match=f"role {kind}, but this needs SWCI"):
                await attempt
        assert (await other.task("t")).lines == 0, "reading is for all members"


@on_both_engines
async def test_another_sn_and_a_restarted_one_tell_the_same(swarm):
    first = await swarm.sn()
    operator = Operator(swarm, first)
    await operator.final_task()
    told = await operator.client.tasks(), await operator.client.task("t")
    second = Operator(swarm, await swarm.sn("2", **joining(first)))
    assert (await second.client.tasks(), await second.client.task("t")) == told
    await first.stop()
    again = Operator(swarm, await swarm.sn())
    assert (await again.client.tasks(), await again.client.task("t")) == told


async def test_the_version_is_told(swarm):
    sn = await swarm.sn()
    assert await swarm.client(sn, kind=NodeKind.SWCI).version() == VERSION
