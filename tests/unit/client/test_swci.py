"""``swarmlearning.swci.Swci`` against a stand-in: what it sends, keeps, answers and raises."""

import inspect
import logging

import pytest

import swarmlearning.swci as sw
from tests.unit.client.swci_stand_in import StandIn

DEFAULT = "defaulttaskbb.taskdb.sml.hpe"


@pytest.fixture
def server():
    with StandIn() as server:
        yield server


@pytest.fixture
def s(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with sw.Swci("127.0.0.1", server.port, logLv=logging.CRITICAL) as s:
        yield s


COMMANDS = [
    (lambda s: s.ls(), "ls"),
    (lambda s: s.ls("-l x"), "ls -l x"),
    (lambda s: s.pwd(), "pwd"),
    (lambda s: s.cd("/platform/swarm/usr"), "cd /platform/swarm/usr"),
    (lambda s: s.sleep(5), "sleep 5"),
    (lambda s: s.createContext("c", ip="1.2.3.4"), "create context c with ip 1.2.3.4 30304"),
    (lambda s: s.createContext("c", "1.2.3.4", 5), "create context c with ip 1.2.3.4 5"),
    (lambda s: s.createContext("c", service="a.b:4"), "create context c with service a.b:4"),
    (lambda s: s.switchContext("c"), "switch context c"),
    (lambda s: s.getContextInfo("c"), "get context info c"),
    (lambda s: s.listContexts(), "list contexts"),
    (lambda s: s.createTrainingContract("n"), "create contract n"),
    (lambda s: s.getTrainingContractInfo("n"), "get contract info n"),
    (lambda s: s.getTrainingContractStatus("n"), "get contract status n"),
    (lambda s: s.getTrainingContractPerformanceData("n"), "perfdata n"),
    (lambda s: s.listTrainingContracts(), "list contracts"),
    (lambda s: s.resetTrainingContract(), "reset contract defaultbb.cqdb.sml.hpe"),
    (lambda s: s.resetTrainingContract("n"), "reset contract n"),
    (lambda s: s.createTaskFrom("d/t.yaml"), "create task from d/t.yaml"),
    (lambda s: s.finalizeTask("t"), "finalize task t"),
    (lambda s: s.deleteTask("t"), "delete task t"),
    (lambda s: s.getTaskInfo("t"), "get task info t"),
    (lambda s: s.getTaskBody("t"), "get task body t"),
    (lambda s: s.listTasks(), "list tasks"),
    (lambda s: s.assignTask("t", "r", 2), "assign task t to r with 2 peers"),
    (lambda s: s.assignTask("t", "r", peers="all"), "assign task t to r with all peers"),
    (lambda s: s.assignTask("t", "r", target="ab"), "assign task t to r target ab"),
    (lambda s: s.getTaskRunnerInfo("r"), "get taskrunner info r"),
    (lambda s: s.getTaskRunnerStatus("r"), "get taskrunner status r"),
    (lambda s: s.getTaskRunnerPeerStatus("r", 0), "get taskrunner peer status r 0"),
    (lambda s: s.listTaskRunners(), "list taskrunners"),
    (lambda s: s.resetTaskRunner(), f"reset taskrunner {DEFAULT}"),
    (lambda s: s.resetTaskRunner("r"), "reset taskrunner r"),
    (lambda s: s.listNodes(), "list Nodes"),
]


@pytest.mark.parametrize(("call", "command"), COMMANDS, ids=[command for _, command in COMMANDS])
def test_each_method_sends_its_command(s, server, call, command):
    assert call(s) == ["ok"]
    assert server.commands == [command]
    assert s.getErrors() is None


def test_a_command_arrives_whatever_is_in_it(s, server):
    s.cd("a&b+c%20d#e?f=g/ü \\ \"'")
    assert server.commands == ["cd a&b+c%20d#e?f=g/ü \\ \"'"]


CACHED = [
    lambda s: s.getContextInfo("c"), lambda s: s.listContexts(),
    lambda s: s.getTrainingContractInfo("n"), lambda s: s.listTrainingContracts(),
    lambda s: s.getTaskInfo("t"), lambda s: s.getTaskBody("t"), lambda s: s.listTasks(),
    lambda s: s.getTaskRunnerInfo("r"), lambda s: s.listTaskRunners(),
]  # fmt: skip


@pytest.mark.parametrize("index", range(len(CACHED)))
def test_what_rarely_changes_is_asked_once(s, server, index):
    call = CACHED[index]
    call(s).append("the caller's own")
    assert call(s) == ["ok"]
    assert len(server.commands) == 1
    s.clearCache()
    call(s)
    assert len(server.commands) == 2


@pytest.mark.parametrize("index", range(len(CACHED)))
def test_caching_can_be_switched_off(server, tmp_path, monkeypatch, index):
    monkeypatch.chdir(tmp_path)
    with sw.Swci("127.0.0.1", server.port, logLv=50, enableCaching=False) as s:
        CACHED[index](s)
        CACHED[index](s)
    assert len(server.commands) == 2


@pytest.mark.parametrize("index", [i for i, (_, c) in enumerate(COMMANDS) if c in (
    "ls", "pwd", "get contract status n", "perfdata n", "get taskrunner status r",
    "get taskrunner peer status r 0", "list Nodes", "sleep 5", "cd /platform/swarm/usr",
)])  # fmt: skip
def test_what_changes_is_asked_each_time(s, server, index):
    COMMANDS[index][0](s)
    COMMANDS[index][0](s)
    assert len(server.commands) == 2


@pytest.mark.parametrize(
    ("read", "write"),
    [
        (lambda s: s.listContexts(), lambda s: s.createContext("c", ip="i")),
        (lambda s: s.listTasks(), lambda s: s.createTaskFrom("f")),
        (lambda s: s.listTasks(), lambda s: s.deleteTask("t")),
        (lambda s: s.getTaskInfo("t"), lambda s: s.finalizeTask("t")),
        (lambda s: s.listTrainingContracts(), lambda s: s.createTrainingContract("n")),
        (lambda s: s.getTaskBody("t"), lambda s: s.switchContext("other")),
    ],
    ids=["contexts", "tasks created", "tasks deleted", "task info", "contracts", "switch"],
)
def test_own_changes_are_seen(s, server, read, write):
    read(s)
    write(s)
    read(s)
    assert server.commands[0] == server.commands[2]


def test_failures_are_not_kept(s, server):
    server.says("list tasks", ["ERROR : down"], ["t1"])
    assert s.listTasks() == []
    assert s.listTasks() == ["t1"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (["fine", "ERROR : no such task"], "ERROR : no such task"),
        (["ERROR : a\nb"], "ERROR : a\nb"),
        (b"{}", "ERROR : Command did not produce output"),
        (b"[]", "ERROR : Command did not produce output"),
        (b"<html>", "ERROR : Exception occurred during POST request"),
        (b'{"detail": "gone"}', "ERROR : Exception occurred during POST request: gone"),
        (b'{"CONTENT": "x"}', "ERROR : Exception occurred during POST request"),
        (b'{"CONTENT": [1]}', "ERROR : Exception occurred during POST request"),
        (b'"x"', "ERROR : Exception occurred during POST request"),
        (b"\xff", "ERROR : Exception occurred during POST request"),
        (b"[" * 100_000, "ERROR : Exception occurred during POST request"),
    ],
)
def test_failures_answer_nothing_and_are_told(s, server, answer, error):
    server.says("pwd", answer, ["/"])
    assert s.pwd() == []
    assert s.getErrors().startswith(error)
    assert s.pwd() == ["/"]
    assert s.getErrors() is None


@pytest.mark.parametrize("line", ["ERROR", "error : x", " ERROR : x", "x ERROR : y", "ERROR_COUNT"])
def test_what_only_looks_like_a_failure_is_none(s, server, line):
    server.says("pwd", [line])
    assert s.pwd() == [line.strip()]


def test_elements_are_split_into_stripped_lines(s, server):
    server.says("pwd", ["  a  \n\tb", "c "])
    assert s.pwd() == ["a", "b", "c"]


def test_nobody_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with StandIn() as gone:
        pass
    with sw.Swci("127.0.0.1", gone.port, logLv=50) as s:
        assert s.pwd() == []
        assert s.getErrors().startswith("ERROR : Exception occurred during POST request: 127.0.0.1")
        assert s.uploadTaskDefinition(__file__) == s.getErrors()


# --- tasks


def test_register_task_creates_and_finalizes(s, server):
    server.says("create task from f.yaml", ["Task definition is valid", "Task Registered : t1"])
    assert s.registerTask("f.yaml") == ["Registered Task : t1"]
    assert server.commands == ["create task from f.yaml", "finalize task t1"]


def test_register_task_without_finalizing(s, server):
    server.says("create task from f.yaml", ["Task Registered : t1"])
    assert s.registerTask("f.yaml", finalize=False) == ["Registered Task : t1"]
    assert server.commands == ["create task from f.yaml"]


@pytest.mark.parametrize("command", ["create task from f.yaml", "finalize task t1"])
def test_register_task_fails_where_a_step_does(s, server, command):
    server.says("create task from f.yaml", ["Task Registered : t1"])
    server.says(command, ["ERROR : no"])
    assert s.registerTask("f.yaml") == []
    assert s.getErrors() == "ERROR : no"


def test_register_task_needs_a_name(s, server):
    server.says("create task from f.yaml", ["something"])
    assert s.registerTask("f.yaml") == []
    assert "Task Registered" in s.getErrors()


def status(state):
    return ["TASK_NAME : t", f"TASK_STATE : {state} : x", "FAILED_PEERS : 0"]


@pytest.mark.parametrize(
    ("state", "done"),
    [
        ("COMPLETE", True), ("ERROR", True), ("IDLE", True), ("RUNNING", False),
        ("ASSIGNED", False),
    ],
)  # fmt: skip
def test_is_task_done(s, server, state, done):
    server.says("get taskrunner status r", status(state))
    assert s.isTaskDone("r") is done


@pytest.mark.parametrize("answer", [["ERROR : no such runner"], ["nothing"], b""])
def test_is_task_done_raises_where_it_cannot_know(s, server, answer):
    server.says("get taskrunner status r", answer)
    with pytest.raises(RuntimeError, match="ERROR : "):
        s.isTaskDone("r")


def test_execute_task_goes_the_documented_way(s, server):
    query = "get taskrunner status r"
    server.says(query, status("ASSIGNED"), status("RUNNING"), status("COMPLETE"))
    server.says("get taskrunner peer status r 0", ["UID : a"])
    server.says("get taskrunner peer status r 1", ["ERROR : no such peer"])
    report = s.executeTask("t", "r", peers=2, pollWaitInSec=0)
    assert server.commands == [
        "assign task t to r with 2 peers", query, query, query, query,
        "get taskrunner peer status r 0", "get taskrunner peer status r 1", "reset taskrunner r",
    ]  # fmt: skip
    assert report == [*status("COMPLETE"), "UID : a"]
    assert s.getErrors() is None


def test_execute_task_by_default(s, server):
    server.says(f"get taskrunner status {DEFAULT}", status("COMPLETE"))
    assert s.executeTask("t", resetTROnSuccess=False)
    assert server.commands[0] == f"assign task t to {DEFAULT} with 1 peers"
    assert not [c for c in server.commands if c.startswith("reset")]
    parameters = inspect.signature(sw.Swci.executeTask).parameters
    assert parameters["pollWaitInSec"].default == 120


@pytest.mark.parametrize("state", ["ERROR", "IDLE"])
def test_execute_task_that_does_not_complete(s, server, state):
    server.says("get taskrunner status r", status(state))
    server.says("get taskrunner peer status r 0", ["Description : out of memory"])
    assert s.executeTask("t", "r") == []
    assert f"ended as {state}" in s.getErrors()
    assert "out of memory" in s.getErrors()
    assert "reset taskrunner r" not in server.commands


def test_execute_task_that_cannot_be_assigned(s, server):
    server.says("assign task t to r with 1 peers", ["ERROR : busy"])
    assert s.executeTask("t", "r") == []
    assert s.getErrors() == "ERROR : busy"
    assert len(server.commands) == 1


def test_execute_task_that_cannot_be_reset(s, server):
    server.says("get taskrunner status r", status("COMPLETE"))
    server.says("reset taskrunner r", ["ERROR : no"])
    assert s.executeTask("t", "r") == []
    assert s.getErrors() == "ERROR : no"


def test_wait_for_task(s, server):
    server.says("get taskrunner status r", status("RUNNING"), status("ERROR"))
    assert s.waitForTask("r", pollWaitInSec=0) == "ERROR"
    server.says("get taskrunner status r", status("RUNNING"))
    with pytest.raises(RuntimeError, match="still RUNNING"):
        s.waitForTask("r", timeoutInSec=0)


@pytest.mark.parametrize("more", [{}, {"peers": 1, "target": "a"}])
def test_assign_needs_one_of_peers_and_target(s, server, more):
    with pytest.raises(RuntimeError, match="either peers"):
        s.assignTask("t", "r", **more)
    assert server.commands == []


# --- upload


def test_upload_sends_a_form(s, server, tmp_path):
    file = tmp_path / "t.yaml"
    file.write_bytes(b"a: 1\r\n--\xff")
    assert s.uploadTaskDefintion(str(file)) == "stored"
    kind, body = server.uploads[0]
    boundary = kind.removeprefix("multipart/form-data; boundary=")
    assert body.startswith(f"--{boundary}\r\n".encode())
    assert body.endswith(b"\r\n\r\na: 1\r\n--\xff" + f"\r\n--{boundary}--\r\n".encode())
    assert b'Content-Disposition: form-data; name="file"; filename="t.yaml"\r\n' in body


def test_upload_tells_what_was_refused(s, server, tmp_path):
    server.upload_status, server.upload_text = 400, "ERROR : odd name"
    file = tmp_path / 'a"\nb.yaml'
    file.touch()
    assert s.uploadTaskDefinition(str(file)) == "ERROR : odd name"
    assert s.getErrors() == "ERROR : odd name"
    assert b'filename="a%22b.yaml"' in server.uploads[0][1]


def test_upload_of_no_file(s):
    with pytest.raises(RuntimeError, match="does not exist"):
        s.uploadTaskDefintion("missing.yaml")


# --- constructor, logging


def test_the_constructor_is_the_documented_one():
    parameters = inspect.signature(sw.Swci).parameters
    assert {name: p.default for name, p in parameters.items()} == {
        "swciIp": inspect.Parameter.empty, "port": 30306, "clientCert": None, "clientPKey": None,
        "clientCABundle": None, "logger": None, "logLv": logging.WARNING, "enableCaching": True,
    }  # fmt: skip


def test_the_constructor_checks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match="SWCI IP not provided!"):
        sw.Swci(None)
    with pytest.raises(RuntimeError, match="SWCI Port not Integer!"):
        sw.Swci("h", "30306")
    with pytest.raises(RuntimeError, match=r"cannot use clientCert=missing\.pem"):
        sw.Swci("h", clientCert="missing.pem")


def test_create_context_needs_a_server(s):
    with pytest.raises(RuntimeError, match="needs ip or service"):
        s.createContext("c")


def test_without_a_logger_console_and_file(server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    server.says("pwd", ["ERROR : 100% wrong"])
    with sw.Swci("127.0.0.1", server.port) as s:
        s.pwd()
        said = (tmp_path / "swci-web.log").read_text()
    assert "swarmlearning.swci : ERROR : 100% wrong" in said
    assert "plain HTTP" in said
    assert "100% wrong" in capsys.readouterr().err


def test_where_no_log_file_can_be_written(server, tmp_path, monkeypatch, capsys):
    (tmp_path / "swci-web.log").mkdir()
    monkeypatch.chdir(tmp_path)
    with sw.Swci("127.0.0.1", server.port) as s:
        assert s.pwd() == ["ok"]
    assert "logging to the console only" in capsys.readouterr().err


def test_a_logger_of_ones_own(server, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    server.says("pwd", ["ERROR : no"])
    with sw.Swci("127.0.0.1", server.port, logger=logging.getLogger("mine")) as s:
        s.pwd()
    assert ("mine", logging.ERROR, "no") in caplog.record_tuples
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "level"),
    [("DEBUG", 10), ("info", 20), ("ERROR", 40), ("nonsense", 30), ("", 30), (10, 30), (None, 30)],
)
def test_set_log_level(s, name, level):
    s.setLogLevel(name)
    assert s.logger.level == level


# --- connection


def test_a_connection_is_used_again(s, server):
    for _ in range(5):
        s.pwd()
    assert server.connections == 1
    assert server.paths == ["/exec?cmd=pwd"] * 5


def test_a_connection_that_the_server_closed_is_not(s, server):
    server.close_after = True
    for _ in range(3):
        assert s.pwd() == ["ok"]
        assert server.closed.acquire(timeout=30)
    assert server.connections == 3
    assert len(server.commands) == 3
