"""The grammar: what is understood, what is refused and how, and that nothing gets past it."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.swci.core import commands as c
from services.swci.core.commands import Address
from services.swci.core.grammar import LONGEST_LINE, Wrong, parse
from services.swci.core.reply import failure, printable
from services.swci.core.table import COMMANDS

UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029]")


@pytest.mark.parametrize("line", ["", " ", "\t", "\r\n", "#", "# LIST NODES", "  \t# x", "#EXIT\n"])
def test_comments_and_blank_lines_are_nothing(line):
    assert parse(line) is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("CREATE CONTEXT c 10.1.1.1", c.CreateContext("c", "10.1.1.1")),
        ("create context c sn1 8000", c.CreateContext("c", "sn1", 8000)),
        ("create context c with ip [::1] 8000", c.CreateContext("c", "::1", 8000)),
        ("create context c with service sn:9", c.CreateContextService("c", Address("sn", 9))),
        ("create context c with service [fe80::1]:9",
         c.CreateContextService("c", Address("fe80::1", 9))),
        ("wait for ip sn1", c.WaitForIp("sn1", 30304, 360)),
        ("wait for service sn1", c.WaitForService(Address("sn1", 443), 360)),
        ("exit on failure", c.ExitOnFailure(switch=True)),
        ("EXIT ON FAILURE ON", c.ExitOnFailure(switch=True)),
        ("get context env A", c.GetContextEnv("A", "")),
        ("set context env A b", c.SetContextEnv("A", "b", "")),
        ("help", c.Help("")),
        ("ls", c.ListDir("")),
        ("append task body t 1", c.AppendTaskBody("t", 1, "")),
        ("append task body t 1 #x", c.AppendTaskBody("t", 1, "#x")),
        ('append task body t 1 - "a b"', c.AppendTaskBody("t", 1, '- "a b"')),
        ('get task info "my task"', c.GetTaskInfo("my task")),
        ('set context env A ""', c.SetContextEnv("A", "", "")),
        ("get taskrunner peer status r 0123456789ABCDEF-0123456789abcdef",
         c.GetTaskRunnerPeerStatus("r", "0123456789abcdef0123456789abcdef")),
        ("assign task a to b with all peers", c.AssignTaskToAll("a", "b")),
        ("CREATE CONTEXT Test WITH ip SN1", c.CreateContext("Test", "SN1")),
        ("create task from with blank".replace(" blank", ""), c.CreateTaskFrom("with")),
        ("sleep 0.5", c.Sleep(0.5)),
        ("switch context switch", c.SwitchContext("switch")),
    ],
)  # fmt: skip
def test_understood(line, expected):
    assert parse(line) == expected


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("foo", ['unknown command "foo"', "HELP lists"]),
        ("LST NODES", ["did you mean LIST NODES?"]),
        ("lsit taskruners", ["did you mean LIST TASKRUNNERS?"]),
        ("GET CONTARCT STATUS k", ['after "GET"', "CONTRACT", 'not "CONTARCT"',
                                   "did you mean GET CONTRACT STATUS?"]),
        ("create", ['after "CREATE" expected CONTEXT or CONTRACT or TASK or TASKRUNNER']),
        ("create context c with", ["CREATE CONTEXT: expected IP or SERVICE", "the line ends"]),
        ("create context c with ip", ["<ip:string>", "the line ends"]),
        ("create context c with ip sn1 0", ["a number from 1 to 65535", 'not "0"']),
        ("create context c with ip sn1 ٣", ["a number from 1 to 65535"]),
        ("create context c with ip a;b", ["an IP address or a host name"]),
        ("create context c with service a:b:c", ["a host name, or HOST:PORT"]),
        ("create context a/b with ip sn", ['without "/"']),
        ("create task NO_SUCH a b c d", ["RUN_SWARM, MAKE_SWARM_USER_CONTENT"]),
        ("create task ROOT_TASK a b c d", ["PULL_IMAGE"]),
        ("append task body t 0 x", ["a number from 1 to"]),
        ("append task body t -1 x", ["a number from 1 to"]),
        ("assign task a to b with 0 peers", ["ALL or <peers:integer>"]),
        ("assign task a to b with 2", ["expected PEERS", "the line ends"]),
        ("assign task a to b target sn1", ["32 hex digits"]),
        ("exit on failure maybe", ["ON or OFF"]),
        ("sleep forever", ["seconds"]),
        ("sleep -1", ["seconds"]),
        ("sleep 1e9", ["seconds"]),
        ("sleep nan", ["seconds"]),
        ("get taskrunner peer status r x", ["an index from 0, or a UUID"]),
        ("list nodes now", ['the end of the line, not "now"', "HELP LIST NODES"]),
        ("get task info " + "n" * 161, ["1 to 160 characters"]),
        ("append task body t 1 " + "é" * 600, ["1024 bytes"]),
        ("x" * (LONGEST_LINE + 1), [f"at most {LONGEST_LINE}"]),
        ("get task info a\nEXIT", ["control character '\\n'"]),
        ("get task info a\x1b[2J", ["control character '\\x1b'"]),
        ("get task info a\u2028b", ["control character"]),
        ("get task info \udcff", ["control character"]),
    ],
)  # fmt: skip
def test_refused_and_what_was_expected(line, words):
    found = parse(line)
    assert isinstance(found, Wrong), found
    for word in words:
        assert word in found.why
    assert not UNSEEN.search(found.why)


KEYWORDS = sorted({part.word for e in COMMANDS for f in e.forms for part in f.parts})
words = st.one_of(
    st.sampled_from(KEYWORDS), st.sampled_from(["c", "0", "1", "ROOTTASK", "../x", '"a b"', '"']),
    st.text(max_size=12),
)  # fmt: skip
lines = st.one_of(
    st.text(max_size=200),
    st.lists(words, max_size=9).map(" ".join),
    st.sampled_from([e.name for e in COMMANDS]).flatmap(
        lambda name: st.lists(words, max_size=5).map(lambda rest: " ".join([name, *rest]))
    ),
)


@given(lines)
@example("CREATE CONTEXT c WITH IP a\r\nEXIT")
@example('LS "')
@example("APPEND TASK BODY t 1")
def test_any_line_is_a_command_or_one_clear_printable_sentence(line):
    found = parse(line)
    if isinstance(found, Wrong):
        reply = failure(found.why)
        assert len(reply.lines) == 1
        assert reply.lines[0].startswith("ERROR : ")
        assert not UNSEEN.search(reply.lines[0])
        assert len(reply.lines[0]) < 1000
    elif found is not None:
        fields = [getattr(found, name) for name in found.__slots__]
        assert not any(isinstance(v, str) and re.search("[\r\n\x1b\x00]", v) for v in fields)


@given(st.text())
def test_whatever_is_shown_stays_one_line_and_moves_no_cursor(text):
    assert not UNSEEN.search(printable(text))


@given(st.sampled_from(sorted(e.name for e in COMMANDS)), st.integers(0, 30))
def test_a_typo_in_a_keyword_is_answered_with_the_command(name, at):
    at %= len(name)
    if name[at] == " ":
        return
    typo = name[:at] + "~" + name[at + 1 :]
    found = parse(typo)
    if isinstance(found, Wrong) and len(name) >= 6:
        assert "did you mean" in found.why or "HELP" in found.why
