"""``python -m services.swci`` as operators start it: scripts, exit codes, JSON, a terminal."""

import asyncio
import json
import os
import pty
import re
import signal
import sys
import termios

import pytest

from services.common.ids import NodeKind
from tests.component.swci.conftest import BUILD, PATIENCE, ROOT, fresh

TRANSCRIPT = """\
SWCI:0 > EXIT ON FAILURE
SWCI:0 > EXIT ON FAILURE IS TURNED ON
SWCI:1 > # a comment
SWCI:1 > 
SWCI:1 > wait for ip 127.0.0.1 PORT
    API Server is UP!
SWCI:2 > create context test-mnist with ip 127.0.0.1 PORT
    API Server is UP!
    CONTEXT CREATED : test-mnist
SWCI:3 > switch context test-mnist
    DEFAULT CONTEXT SET TO : test-mnist
SWCI:4 > EXIT ON FAILURE OFF
SWCI:4 > EXIT ON FAILURE IS TURNED OFF
SWCI:5 > cd USR
SWCI:5 > Current Directory : USR
SWCI:6 > switch context nowhere
    ERROR : no context nowhere: LIST CONTEXTS shows those there are
SWCI:7 > create task from taskdefs/user_env_tf_build_task.yaml
    Task definition is valid
    Task Registered : TASK
    Appending Task Body
    batch start : 1 , len : 4 Successful
    batch start : 5 , len : 4 Successful
SWCI:8 > HELP PWD
    PWD
Shows the current directory.
SWCI:9 >     # indented comment
SWCI:9 > EXIT
    EXITING SWCI
"""  # noqa: W291 - the prompt of a blank line ends with a blank


@pytest.fixture
def environment(sn, tmp_path):
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith(("SWCI_", "SWARM_"))},
        **sn.pki.files(NodeKind.SWCI), "SWCI_USR_DIR": str(tmp_path), "TERM": "xterm",
        "SWCI_HISTORY_FILE": str(tmp_path / "history"), "PYTHONUNBUFFERED": "1",
    }  # fmt: skip


async def run(environment, *arguments, stdin=b"", **changes):
    """Exit code, stdout, stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.swci", *arguments, cwd=ROOT,
        env={**environment, **changes}, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(PATIENCE):
        out, err = await process.communicate(stdin)
    assert b"Traceback" not in err
    return process.returncode, out.decode(), err.decode()


async def test_an_init_script_is_echoed_as_documented(environment, sn, tmp_path):
    task = fresh("env")
    (tmp_path / "taskdefs").mkdir()
    (tmp_path / "taskdefs" / "user_env_tf_build_task.yaml").write_text(BUILD.format(name=task))
    expected = (
        TRANSCRIPT.replace("PORT", str(sn.port)).replace("USR", str(tmp_path))
        .replace("TASK\n", f"{task}\n")
    )  # fmt: skip
    lines = [
        found[1] for line in expected.splitlines() if (found := re.match(r"SWCI:\d+ > (.*)", line))
    ]
    answers = ("EXIT ON FAILURE IS", "Current Directory")
    script = "\r\n".join(line for line in lines if not line.startswith(answers))
    (tmp_path / "swci-init").write_bytes(script.encode() + b"\r\n")
    code, out, _ = await run(environment)
    banner, transcript = out.split("\n\n", 1)
    assert "SWARM LEARNING SWCI NODE" in banner
    assert "HPE" not in banner, "ours is not HPE's product"
    assert transcript == expected
    assert code == 0


async def test_a_failure_under_exit_on_failure_ends_the_script(environment, tmp_path):
    (tmp_path / "mine").write_text("foo\nEXIT ON FAILURE\nLIST NODES\nPWD\n")
    code, out, err = await run(environment, SWCI_STARTUP_SCRIPT="mine")
    assert code == 1
    assert out.count("ERROR : ") == 2
    assert "PWD" not in out
    assert re.search(r"Exiting SWCI. Reason: 'LIST NODES' failed under EXIT ON FAILURE: ERROR", err)


async def test_a_script_without_exit_goes_on_with_the_prompt(environment, tmp_path):
    (tmp_path / "swci-init").write_text("\ufeffPWD\n")
    code, out, _ = await run(environment, stdin=b"HELP SLEEP\nEXIT\nPWD\n")
    assert code == 0
    assert "SWCI:1 > HELP SLEEP\n" in out
    assert "SWCI:3" not in out, "nothing follows EXIT"


@pytest.mark.parametrize(
    ("commands", "expected"),
    [(["PWD"], 0), (["foo"], 1), (["foo", "PWD"], 0), (["PWD", "foo"], 1),
     (["EXIT ON FAILURE", "foo", "PWD"], 1), (["foo", "EXIT"], 0), (["# x"], 0)],
)  # fmt: skip
async def test_exit_codes(environment, commands, expected):
    arguments = [word for command in commands for word in ("-c", command)]
    assert (await run(environment, *arguments))[0] == expected


async def test_json_is_one_object_a_line_and_nothing_else(environment, sn, tmp_path):
    script = tmp_path / "script"
    script.write_text(
        f"# nodes\ncreate context c with ip 127.0.0.1 {sn.port}\nswitch context c\n"
        "LIST NODES\nfoo\n"
    )
    code, out, _ = await run(environment, "--json", str(script))
    told = [json.loads(line) for line in out.splitlines()]
    assert [row["command"].split()[0] for row in told] == ["create", "switch", "LIST", "foo"]
    assert [row["ok"] for row in told] == [True, True, True, False]
    assert told[2]["data"][0]["type"] == "SENTINEL"
    assert told[3]["data"]["code"] == "bad-command"
    assert told[0]["lines"] == ["API Server is UP!", "CONTEXT CREATED : c"]
    assert code == 1


async def test_lines_from_a_file_as_stdin(environment, tmp_path):
    (tmp_path / "lines").write_text("PWD\nEXIT")
    with (tmp_path / "lines").open() as stdin:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.swci", cwd=ROOT, env=environment, stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert (process.returncode, b"EXITING" in out) == (0, True)


async def test_a_line_too_long_from_a_pipe_is_never_taken_in_parts(environment):
    code, out, err = await run(environment, stdin=b"PWD\n" + b"x" * 200_000 + b" \nEXIT\n")
    assert code == 2
    assert "EXITING" not in out
    assert "a line is too long" in err


@pytest.mark.parametrize(
    ("arguments", "changes", "words"),
    [
        (["/no/such/script"], {}, "cannot read the script"),
        (["/dev/zero"], {}, "is longer than"),
        ([], {"SWCI_STARTUP_SCRIPT": "nope"}, "SWCI_STARTUP_SCRIPT=nope: no such file"),
        ([], {"SWCI_MODE": "FOO"}, "SWCI_MODE"),
        ([], {"SWCI_RUN_TASK_MAX_WAIT_TIME": "-1"}, "SWCI_RUN_TASK_MAX_WAIT_TIME"),
        (["-c", "PWD"], {"SWARM_ID_KEY": ""}, "SWARM_ID_KEY is not set"),
        (["-c", "PWD", "script"], {}, "not both"),
        (["/dev/null", "/dev/null"], {}, "one script at a time"),
    ],
)
async def test_it_says_why_it_does_not_start(environment, arguments, changes, words):
    code, _, err = await run(environment, *arguments, **changes)
    assert code == 2
    assert words in err


async def test_without_a_licence_that_is_required_it_does_not_start(environment):
    code, out, err = await run(
        environment, "-c", "PWD", SWARM_LICENSE_AUTOPASSJ_SERVER_PRIMARY_IP="127.0.0.1",
        SWARM_LICENSE_AUTOPASSJ_SERVER_PRIMARY_PORT="1", SWARM_START_PATIENCE="0",
    )  # fmt: skip
    assert (code, out) == (1, "")
    assert "Error Code: 6002" in err


async def test_arguments_that_a_run_script_appended_are_ignored_in_one_line(environment):
    given = ["-serverAddress", "x", "-genJoinToken"]
    code, out, err = await run(environment, *given, stdin=b"PWD\nEXIT\n")
    assert code == 0
    assert "EXITING" in out
    ignored = [line for line in err.splitlines() if "ignores the arguments" in line]
    assert [line.split("arguments ")[1] for line in ignored] == ["'-serverAddress x -genJoinToken'"]


async def test_a_certificate_of_another_role_is_refused(environment, sn):
    code, _, err = await run(environment, "-c", "PWD", **sn.pki.files(NodeKind.SL))
    assert code == 2
    assert "this node is SWCI" in err


class Terminal:
    """A SWCI at a pseudo-terminal."""

    def __init__(self, environment):
        self._environment = environment
        self.text = ""
        self._arrived = asyncio.Event()

    async def start(self):
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (40, 200))
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.swci", cwd=ROOT, env=self._environment,
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        asyncio.get_running_loop().add_reader(self._ours, self._read)
        return self

    def _read(self):
        try:
            data = os.read(self._ours, 65536)
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._ours)
            return
        if b"\x1b[6n" in data:  # prompt_toolkit asks where the cursor is
            os.write(self._ours, b"\x1b[40;1R")
        self.text += data.decode(errors="replace")
        self._arrived.set()

    def type(self, text):
        self.text = ""
        os.write(self._ours, text.encode())

    async def see(self, words):
        try:
            async with asyncio.timeout(PATIENCE):
                while words not in plain(self.text):
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise AssertionError(f"{words!r} is not in {plain(self.text)!r}") from None

    async def end(self):
        async with asyncio.timeout(PATIENCE):
            code = await self.process.wait()
        asyncio.get_running_loop().remove_reader(self._ours)
        os.close(self._ours)
        return code


def plain(text):
    return re.sub(r"\x1b(\[[0-9;?]*[a-zA-Z]|[=>])", "", text)


@pytest.fixture
async def terminal(environment):
    started = await Terminal(environment).start()
    yield started
    if started.process.returncode is None:
        started.process.kill()
        await started.end()


async def test_a_terminal_has_a_prompt_coloured_errors_history_and_ctrl_d(
    terminal, environment, tmp_path
):
    await terminal.see("SWCI:0 >")
    terminal.type("pwd\r")
    await terminal.see(str(tmp_path))
    terminal.type("foo\r")
    await terminal.see("unknown command")
    assert "\x1b[31mERROR : unknown command" in terminal.text
    await terminal.see("SWCI:2 >")
    terminal.type("\x1b[A\x1b[A\r")
    await terminal.see("SWCI:3 >")
    assert str(tmp_path) in plain(terminal.text), "two lines up is pwd"
    terminal.type("\x04")
    assert await terminal.end() == 0
    history = tmp_path / "history"
    assert history.stat().st_mode & 0o077 == 0, "commands may hold secrets"
    assert "+pwd" in history.read_text()


async def test_ctrl_c_cancels_the_running_command_and_keeps_the_shell(terminal):
    await terminal.see("SWCI:0 >")
    terminal.type("sleep 3600\r")
    await terminal.see("sleep 3600")
    async with asyncio.timeout(PATIENCE):
        while "cancelled" not in terminal.text:
            os.killpg(terminal.process.pid, signal.SIGINT)
            await asyncio.sleep(0.05)
    await terminal.see("SWCI:1 >")
    terminal.type("half a line\x03")
    await terminal.see("SWCI:1 >")
    terminal.type("EXIT\r")
    assert await terminal.end() == 0


async def test_ctrl_c_during_the_init_script_leads_to_the_prompt(environment, tmp_path):
    (tmp_path / "swci-init").write_text("SLEEP 3600\nPWD\n")
    terminal = await Terminal(environment).start()
    await terminal.see("SWCI:0 > SLEEP 3600")
    async with asyncio.timeout(PATIENCE):
        while "the script is cancelled" not in terminal.text:
            os.killpg(terminal.process.pid, signal.SIGINT)
            await asyncio.sleep(0.05)
    await terminal.see("SWCI:1 >")
    terminal.type("\x04")
    assert await terminal.end() == 0


async def test_an_interrupted_command_did_not_succeed(environment):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.swci", "-c", "SLEEP 3600", cwd=ROOT, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await asyncio.wait_for(process.stdout.readline(), PATIENCE)
    process.send_signal(signal.SIGINT)
    _, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 1
    assert b"interrupted" in err


async def test_tab_completes_from_the_table_and_from_the_names_that_exist(terminal, sn):
    await terminal.see("SWCI:0 >")
    terminal.type("cre\t")
    await terminal.see("ate")
    terminal.type(f" context zebra with ip 127.0.0.1 {sn.port}\r")
    await terminal.see("CONTEXT CREATED : zebra")
    await terminal.see("SWCI:1 >")
    terminal.type("switch context ze\t")
    await terminal.see("bra")
    terminal.type("\r")
    await terminal.see("DEFAULT CONTEXT SET TO : zebra")
    await terminal.see("SWCI:2 >")
    terminal.type("PERFDATA default\t")
    await terminal.see("bb.cqdb.sml.hpe")
    terminal.type("\r")
    await terminal.see("UID, ADMIN, LOSS")
    await terminal.see("SWCI:3 >")
    terminal.type("EXIT\r")
    assert await terminal.end() == 0


async def test_a_failure_under_exit_on_failure_ends_the_shell_too(terminal):
    await terminal.see("SWCI:0 >")
    terminal.type("EXIT ON FAILURE\r")
    await terminal.see("IS TURNED ON")
    await terminal.see("SWCI:1 >")
    terminal.type("foo\r")
    assert await terminal.end() == 1


async def test_sigterm_ends_it_within_seconds(terminal):
    await terminal.see("SWCI:0 >")
    terminal.process.terminate()
    assert await terminal.end() == 0


async def test_the_web_mode_starts_after_a_script_that_ends_with_exit(environment, tmp_path):
    (tmp_path / "swci-init").write_text("PWD\nEXIT\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.swci", cwd=ROOT,
        env={**environment, "SWCI_MODE": "web", "SWCI_WEB_PORT": "0", "SWARM_BIND_IP": "127.0.0.1"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    seen = []
    async with asyncio.timeout(PATIENCE):
        while line := (await process.stdout.readline()).decode():
            seen.append(line)
            if re.search(r"starting SWCI web mode in \d+", line):
                break
    assert any("SWCI:1 > EXIT" in line for line in seen)
    process.terminate()
    rest = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 0, rest
