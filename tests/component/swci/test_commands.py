"""Every command on a real SN: what it prints, and how it fails."""

import asyncio
import json
from pathlib import Path

import pytest

from services.common import sn_api
from services.common.ids import DEFAULT_CONTRACT, NodeKind
from services.common.sn_client import SnClient
from services.common.task_api import DEFAULT_TASKRUNNER, TaskPeerState
from services.swci.adapters.contracts import BROKEN_OFF
from services.swci.core import commands as c
from services.swci.core.grammar import parse
from services.swci.core.reply import Layout
from services.swci.core.table import COMMANDS
from tests.component.sn.conftest import Peer
from tests.component.swci.conftest import BUILD, RUN, fresh

NOWHERE = "ab" * 16


async def test_creating_and_switching_contexts(stranger, sn):
    assert await stranger.good("LIST CONTEXTS") == ["NO CONTEXTS"]
    assert await stranger.good(f"create context test-mnist with ip 127.0.0.1 {sn.port}") == [
        "API Server is UP!", "CONTEXT CREATED : test-mnist",
    ]  # fmt: skip
    assert "no context is active" in await stranger.bad("LIST NODES")
    assert await stranger.good("switch context test-mnist") == [
        "DEFAULT CONTEXT SET TO : test-mnist"
    ]
    await stranger.good(f"CREATE CONTEXT s WITH SERVICE localhost:{sn.port}")
    await stranger.good(f"CREATE CONTEXT old 127.0.0.1 {sn.port}")
    assert await stranger.good("LIST CONTEXTS") == ["test-mnist", "s", "old"]
    info = await stranger.pairs("GET CONTEXT INFO")
    assert (info["CONTEXT_NAME"], info["DEFAULT"]) == ("test-mnist", "TRUE")
    info = await stranger.pairs("GET CONTEXT INFO s")
    assert (info["API_SERVER"], info["API_PORT"]) == ("localhost", str(sn.port))
    assert (info["CONTEXT_TYPE"], info["DEFAULT"]) == ("SERVICE", "FALSE")


async def test_the_same_context_once_more_is_harmless_another_of_the_name_is_not(operator, sn):
    await operator.good(f"CREATE CONTEXT main WITH IP 127.0.0.1 {sn.port}")
    assert "exists already" in await operator.bad(f"CREATE CONTEXT main localhost {sn.port}")
    assert await operator.good("LIST CONTEXTS") == ["main"]


async def test_names_of_contexts_count_their_case_and_typos_get_a_hint(operator):
    assert "did you mean main?" in await operator.bad("SWITCH CONTEXT Main")
    assert "LIST CONTEXTS" in await operator.bad("GET CONTEXT INFO zzzz")


async def test_variables_of_a_context(operator):
    assert await operator.good("LIST CONTEXT ENV") == ["NO VARIABLES IN CONTEXT : main"]
    assert await operator.good("SET CONTEXT ENV PROXY off") == ["PROXY : off"]
    await operator.good('SET CONTEXT ENV main EMPTY ""')
    assert await operator.good("GET CONTEXT ENV main PROXY") == ["PROXY : off"]
    assert await operator.good("LIST CONTEXT ENV main") == ["EMPTY : -", "PROXY : off"]
    assert "has no variable X" in await operator.bad("GET CONTEXT ENV X")
    assert "no context other" in await operator.bad("SET CONTEXT ENV other A b")
    assert "no context other" in await operator.bad("LIST CONTEXT ENV other")


async def test_version(operator):
    pairs = await operator.pairs("GET CONTEXT VERSION")
    assert pairs["API_SERVER_VERSION"]
    assert await operator.pairs("GET CONTEXT VERSION main") == pairs
    assert "no context x" in await operator.bad("GET CONTEXT VERSION x")


async def test_contracts(operator):
    name = fresh("contract")
    assert await operator.good(f"CREATE CONTRACT {name}") == [f"CONTRACT CREATED : {name}"]
    assert f"training contract {name} exists already" in await operator.bad(
        f"CREATE CONTRACT {name}"
    )
    assert {name, DEFAULT_CONTRACT} <= set(await operator.good("LIST CONTRACTS"))
    info = await operator.pairs(f"GET CONTRACT INFO {name}")
    assert (info["CONTRACT_NAME"], info["CONTRACT_TYPE"]) == (name, "TRAINING")
    status = await operator.pairs(f"GET CONTRACT STATUS {name}")
    assert (status["STATE"], status["PEERS"], status["ROUND"]) == ("UNINITIALIZED", "0", "0")
    assert status["WAITING_FOR"] == "the first peer to enrol"
    assert len(await operator.good(f"PERFDATA {name}")) == 1


async def test_a_training_under_way(operator, sn):
    name = fresh("contract")
    await operator.good(f"CREATE CONTRACT {name}")
    client = SnClient(sn.pki.identity(NodeKind.SL), [sn.endpoint], patience=1.0)
    peer = Peer(client, name, NodeKind.SL)
    peer.contract = name
    await peer.register()
    await peer.enrol(min_peers=2)
    status = await operator.pairs(f"GET CONTRACT STATUS {name}")
    assert (status["STATE"], status["WAITING"], status["PEERS"]) == ("CHECKIN", "0/2", "1")
    assert status["MIN_PEERS"] == "2"
    told = await operator.good(f"RESET CONTRACT {name}")
    assert told == [f"CONTRACT RESET : {name}", BROKEN_OFF], "the operator hears what it broke off"
    await peer.enrol(min_peers=1)
    await peer.check_in(generation=2)
    status = await operator.pairs(f"GET CONTRACT STATUS {name}")
    assert (status["STATE"], status["LEADER"]) == ("QUORUM", f"{peer.uid} sl{name}")
    term = {"generation": 2, "round": 1, "term": 1}
    await peer.write("freeze", sn_api.OfTerm(**term))
    await peer.write(
        "publish", sn_api.Publish(**term, digest="b" * 64, size=9, contributors=[peer.uid])
    )
    perf = sn_api.Perf(loss=0.5, metric=0.25, epochs=1, total_epochs=4)
    await peer.write("perf", sn_api.PerfReport(generation=2, round=1, perf=perf))
    status = await operator.pairs(f"GET CONTRACT STATUS {name}")
    assert (status["ROUND"], status["GENERATION"]) == ("2", "2")
    assert status["TS_LAST_MERGE"] >= status["TS_CREATED"] > "2"
    assert (await operator.good(f"PERFDATA {name}"))[1] == f"{peer.uid}, YES, 0.5, 0.25, 4, 1"
    await client.close()


async def test_resetting_an_uninitialized_contract_succeeds_as_often_as_one_likes(operator):
    name = fresh("contract")
    await operator.good(f"CREATE CONTRACT {name}")
    for _ in range(2):
        assert await operator.good(f"RESET CONTRACT {name}") == [f"CONTRACT RESET : {name}"]


@pytest.mark.parametrize(
    "line",
    ["GET CONTRACT INFO", "GET CONTRACT STATUS", "PERFDATA", "RESET CONTRACT", "FINALIZE TASK",
     "DELETE TASK", "GET TASK INFO", "GET TASK BODY", "GET TASKRUNNER INFO",
     "GET TASKRUNNER STATUS", "LIST TASKRUNNER PEERS", "RESET TASKRUNNER", "WAIT FOR TASKRUNNER"],
)  # fmt: skip
async def test_what_does_not_exist_is_named(operator, line):
    reply = await operator.bad(f"{line} no-such-thing")
    assert "no-such-thing" in reply


async def test_creating_a_task_from_a_file_shows_the_documented_lines(operator):
    name = fresh("env")
    operator.write(BUILD.format(name=name))
    lines = await operator.good("create task from t.yaml")
    assert lines[:3] == [
        "Task definition is valid", f"Task Registered : {name}", "Appending Task Body",
    ]  # fmt: skip
    assert lines[3:] == [
        "batch start : 1 , len : 4 Successful", "batch start : 5 , len : 4 Successful",
    ]  # fmt: skip
    info = await operator.pairs(f"GET TASK INFO {name}")
    assert info["TASK_TYPE"] == "MAKE_USER_CONTAINER"
    assert (info["AUTHOR"], info["PREREQ"], info["OUTCOME"]) == (
        "HPE-TESTER", "ROOTTASK", "user-env",
    )  # fmt: skip
    assert (info["FINALIZED"], info["BODY_LINES"]) == ("FALSE", "8")
    assert "numpy" in "\n".join(await operator.good(f"GET TASK BODY {name}"))
    assert f"task {name} exists already" in await operator.bad("CREATE TASK FROM t.yaml")
    for _ in range(2):
        assert await operator.good(f"FINALIZE TASK {name}") == [f"TASK FINALIZED : {name}"]
    assert (await operator.pairs(f"GET TASK INFO {name}"))["FINALIZED"] == "TRUE"
    assert name in await operator.bad(f"DELETE TASK {name}")
    assert name in await operator.bad(f"APPEND TASK BODY {name} 1 x")
    assert {name, "ROOTTASK"} <= set(await operator.good("LIST TASKS"))


async def test_a_task_typed_line_by_line(operator):
    name = fresh("pull")
    header = f"CREATE TASK PULL_IMAGE {name} me ROOTTASK busybox:1"
    assert await operator.good(header) == [f"Task Registered : {name}"]
    assert "exists already" in await operator.bad(header)
    body = [
        "Tag: '1'",
        "RepoName: busybox",
        "OrgAndReg: registry.example.org/library/",
        "Auth: null",
    ]
    assert await operator.bad(f"FINALIZE TASK {name}")
    for number, text in enumerate(body, start=1):
        await operator.good(f"APPEND TASK BODY {name} {number} {text}")
    assert await operator.good(f"GET TASK BODY {name}") == body
    await operator.good(f"APPEND TASK BODY {name} 1 Tagg: x")
    assert "Tagg" in await operator.bad(f"FINALIZE TASK {name}")
    assert await operator.good(f"APPEND TASK BODY {name} 1 {body[0]}") == [
        "batch start : 1 , len : 1 Successful"
    ]
    assert await operator.bad(f"APPEND TASK BODY {name} 9 x"), "a hole in the body"
    await operator.good(f"FINALIZE TASK {name}")


async def test_deleting_a_task(operator):
    name = fresh("gone")
    await operator.good(f"CREATE TASK PULL_IMAGE {name} me ROOTTASK x")
    assert await operator.good(f"DELETE TASK {name}") == [f"TASK DELETED : {name}"]
    assert name in await operator.bad(f"GET TASK INFO {name}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ["no file", "PWD"]),
        ("Name: [", ["t.yaml"]),
        ("Name: x\nTaskType: FOO\n", ["t.yaml", "TaskType"]),
        (b"\xff\xfe\x00", ["as text"]),
        (b"x" * (1024 * 1024 + 1), ["longer than"]),
        (BUILD.format(name="a/b"), []),
        (BUILD.format(name="t").replace("ROOTTASK", "no-such-prereq"), ["no-such-prereq"]),
        (BUILD.format(name='"ERROR x\\nEXIT"'), []),
    ],
)
async def test_bad_task_files_leave_nothing_behind(operator, text, words):
    before = await operator.good("LIST TASKS")
    if text is not None:
        data = text if isinstance(text, bytes) else text.encode()
        (operator.folder / "t.yaml").write_bytes(data)
    error = await operator.bad("CREATE TASK FROM t.yaml")
    for word in words:
        assert word in error
    assert await operator.good("LIST TASKS") == before


async def test_create_task_from_that_is_cancelled_leaves_no_half_body(operator):
    """Ctrl-C at the prompt, and a client of the web mode that goes away."""
    name = fresh("task")
    operator.write(BUILD.format(name=name))
    line = "CREATE TASK FROM t.yaml"

    def cancel(text):
        if text.startswith("Task Registered"):
            task.cancel()

    task = asyncio.create_task(operator.interpreter.execute(line, cancel))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await operator.pairs(f"GET TASK INFO {name}"))["BODY_LINES"] == "8"
    await operator.good(f"FINALIZE TASK {name}")


async def test_errors_say_what_to_do(operator):
    task, runner, contract = await operator.task(), await operator.runner(), fresh("contract")
    await operator.good(f"CREATE CONTRACT {contract}")
    for line, words in (
        (f"CREATE CONTRACT {contract}", f"training contract {contract} exists already: choose"),
        (f"CREATE CONTRACT {runner}", f"{runner} is the name of a taskrunner: choose another"),
        (f"CREATE TASKRUNNER {contract}", f"{contract} is the name of a training contract: choose"),
        ("CREATE TASKRUNNER taskdb.sml.hpe", "is the name of a contract of the system: choose"),
        (f"CREATE TASK PULL_IMAGE {task} me ROOTTASK x", f"task {task} exists already: choose"),
        ("CREATE TASK PULL_IMAGE t me nowhere x", "no task nowhere: LIST TASKS"),
        (f"APPEND TASK BODY {task} 1 x", "CREATE TASK makes another one"),
        (f"DELETE TASK {task}", "CREATE TASK makes another one"),
        ("FINALIZE TASK nowhere", "LIST TASKS"),
        (f"ASSIGN TASK nowhere TO {runner} WITH 1 PEERS", "no task nowhere: LIST TASKS"),
        (f"ASSIGN TASK {task} TO {runner} WITH ALL PEERS", "LIST NODES shows the SWOPs"),
        (f"ASSIGN TASK {task} TO {runner} TARGET {'0' * 32}", "LIST NODES shows the SWOPs"),
        (f"ASSIGN TASK {task} TO nowhere WITH 1 PEERS", "CREATE TASKRUNNER"),
        ("PERFDATA nowhere", "CREATE CONTRACT"),
    ):
        assert words in await operator.bad(line), line


async def test_a_folder_and_a_pipe_are_no_task_files(operator):
    assert "no file" in await operator.bad("CREATE TASK FROM .")
    assert "no file" in await operator.bad("CREATE TASK FROM /dev/zero")


async def test_taskrunners(operator):
    name = fresh("runner")
    assert await operator.good(f"CREATE TASKRUNNER {name}") == [f"TASKRUNNER CREATED : {name}"]
    assert f"taskrunner {name} exists already" in await operator.bad(f"CREATE TASKRUNNER {name}")
    assert {name, DEFAULT_TASKRUNNER} <= set(await operator.good("LIST TASKRUNNERS"))
    assert (await operator.pairs(f"GET TASKRUNNER INFO {name}"))["CONTRACT_TYPE"] == "TASKRUNNER"
    status = await operator.pairs(f"GET TASKRUNNER STATUS {name}")
    assert (status["TASK_NAME"], status["TASK_STATE"]) == ("Empty", "IDLE")
    assert len(await operator.good(f"LIST TASKRUNNER PEERS {name}")) == 1
    for _ in range(2):
        assert await operator.good(f"RESET TASKRUNNER {name}") == [f"TASKRUNNER RESET : {name}"]


async def test_a_run_from_assign_to_reset(operator, swop):
    task, runner = await operator.task(), await operator.runner()
    agent = await swop(runner)
    assert (await operator.pairs(f"ASSIGN TASK {task} TO {runner} WITH 1 PEERS")) == {
        "TASK ASSIGNED": task, "TASKRUNNER": runner, "PEER_TYPE": "SWOP", "PEERS_NEEDED": "1",
    }  # fmt: skip
    state = (await operator.pairs(f"GET TASKRUNNER STATUS {runner}"))["TASK_STATE"]
    assert state != "IDLE", "HPE's client would take it for done"
    for who in ("WITH 1 PEERS", "WITH ALL PEERS"):
        assert "RESET TASKRUNNER" in await operator.bad(f"ASSIGN TASK {task} TO {runner} {who}")
    assert "enrolled: none yet" in await operator.bad(f"GET TASKRUNNER PEER STATUS {runner} 0")
    run = await agent.enrol()
    assert await operator.good(f"GET TASKRUNNER PEER STATUS {runner} 0") == [
        f"UID : {agent.uid}", "STATUS : ACTIVE", "DESCRIPTION : -",
    ]  # fmt: skip
    assert (await operator.good(f"LIST TASKRUNNER PEERS {runner}"))[1].startswith(f"0, {agent.uid}")
    await agent.report(run, TaskPeerState.COMPLETE, "built")
    status = await operator.pairs(f"GET TASKRUNNER STATUS {runner}")
    assert (status["TASK_STATE"], status["COMPLETED_PEERS"]) == ("COMPLETE", "1")
    assert "-" not in {status["TS_ASSIGNED"], status["TS_STARTED"], status["TS_COMPLETED"]}
    await operator.good(f"RESET TASKRUNNER {runner}")
    status = await operator.pairs(f"GET TASKRUNNER STATUS {runner}")
    assert (status["TASK_NAME"], status["TASK_STATE"]) == ("Empty", "IDLE")


async def test_a_swarm_run_on_all_and_on_a_target(operator, swop):
    build, runner = await operator.task(), await operator.runner()
    task = await operator.task(RUN, build)
    assert await operator.bad(f"ASSIGN TASK {task} TO {runner} WITH ALL PEERS"), "nobody listens"
    assert NOWHERE[:8] in await operator.bad(f"ASSIGN TASK {task} TO {runner} TARGET {NOWHERE}")
    agent = await swop(runner, nodes=3)
    pairs = await operator.pairs(f"ASSIGN TASK {task} TO {runner} WITH ALL PEERS")
    assert (pairs["PEERS_NEEDED"], pairs["PEER_TYPE"]) == ("3", "SL")
    await operator.good(f"RESET TASKRUNNER {runner}")
    pairs = await operator.pairs(f"ASSIGN TASK {task} TO {runner} TARGET {agent.uid.upper()}")
    assert pairs["PEERS_NEEDED"] == "3"
    await agent.enrol(*(letter * 32 for letter in "123"))
    lines = await operator.good(f"GET TASKRUNNER PEER STATUS {runner} {agent.uid}")
    assert lines[:2] == [f"SWOP_UID : {agent.uid}", "SL_PEERS : 3"]
    assert len(lines) == 2 + 3 * 3
    assert "indexes 0 to 0" in await operator.bad(f"GET TASKRUNNER PEER STATUS {runner} 1")


async def test_unknown_and_unfinished_tasks_are_not_assigned(operator):
    runner, name = await operator.runner(), fresh("open")
    assert "no-such" in await operator.bad(f"ASSIGN TASK no-such TO {runner} WITH 1 PEERS")
    await operator.good(f"CREATE TASK PULL_IMAGE {name} me ROOTTASK x")
    assert name in await operator.bad(f"ASSIGN TASK {name} TO {runner} WITH 1 PEERS")
    assert await operator.bad(f"ASSIGN TASK ROOTTASK TO {runner} WITH 1 PEERS")


async def test_nodes(operator, swop, sn):
    agent = await swop(await operator.runner())
    header, *rows = await operator.good("list Nodes")
    assert header.startswith("NodeType, HostIP, Port, ")
    cells = [[cell.strip() for cell in row.split(",")] for row in rows]
    assert cells[0][:3] == ["SENTINEL", "127.0.0.1", str(sn.port)]
    mine = next(row for row in cells if row[4] == agent.uid)
    assert (mine[0], mine[5]) == ("SWOP", cells[0][4])
    assert all(len(row) == 7 for row in cells)


async def test_exit_on_failure_and_exit(stranger):
    for line, word in (("", "ON"), (" OFF", "OFF"), (" ON", "ON"), (" off", "OFF")):
        reply = await stranger.reply(f"EXIT ON FAILURE{line}")
        assert reply.lines == (f"EXIT ON FAILURE IS TURNED {word}",)
        assert reply.layout is Layout.PROMPT
    await stranger.bad("foo")
    assert not stranger.interpreter.finished, "OFF"
    await stranger.good("EXIT ON FAILURE")
    await stranger.good("HELP")
    assert not stranger.interpreter.finished
    await stranger.bad("foo")
    assert stranger.interpreter.finished
    assert stranger.interpreter.failed


async def test_exit_ends_without_a_failure(stranger):
    await stranger.good("exit")
    assert (stranger.interpreter.finished, stranger.interpreter.failed) == (True, False)


async def test_help(stranger):
    assert (await stranger.good("HELP"))[0] == "CREATE CONTEXT"
    assert (await stranger.good("help list nodes"))[0] == "    LIST NODES"
    assert "no command" in await stranger.bad("HELP foo")


async def test_comments_and_blank_lines_do_not_count(stranger):
    for line in ("# x", "", "  ", "\t#"):
        assert (await stranger.reply(line)).lines == ()
    assert stranger.interpreter.counter == 0
    await stranger.good("PWD")
    await stranger.bad("foo")
    assert stranger.interpreter.counter == 2


@pytest.mark.parametrize(
    "line",
    ["HELP", "HELP LS", "LIST NODES", "LIST TASKS", "GET TASK INFO ROOTTASK", "foo", "PWD", "LS",
     "GET CONTEXT INFO", f"GET CONTRACT STATUS {DEFAULT_CONTRACT}",
     f"PERFDATA {DEFAULT_CONTRACT}", f"GET TASKRUNNER STATUS {DEFAULT_TASKRUNNER}"],
)  # fmt: skip
async def test_answers_carry_data_that_json_can_hold(operator, line):
    data = (await operator.reply(line)).data
    assert json.loads(json.dumps(data)) == data
    assert data is not None


async def test_clients_at_once_share_the_session_and_do_not_wait_for_a_sleeper(operator):
    sleeper = asyncio.create_task(operator.reply("SLEEP 3600"))
    await asyncio.gather(*(operator.good(f"SET CONTEXT ENV V{n} {n}") for n in range(20)))
    assert len(await operator.good("LIST CONTEXT ENV")) == 20
    assert not sleeper.done()
    sleeper.cancel()
    await asyncio.wait([sleeper])
    await operator.good("LIST NODES")


def test_this_file_and_its_neighbours_use_every_command():
    """A command that no test of this folder types has no test of its output."""
    text = "\n".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py")).upper()
    assert [entry.name for entry in COMMANDS if entry.name not in text] == []
    assert isinstance(parse("list nodes"), c.ListNodes)
