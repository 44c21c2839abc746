"""The table of commands: whatever it holds has an example, an error, a HELP and a handler."""

import typing

import pytest

from services.common.task_api import TaskType
from services.swci.adapters.executor import HANDLERS
from services.swci.core import commands as c
from services.swci.core.commands import Address, Command
from services.swci.core.grammar import Wrong, parse
from services.swci.core.manual import help_reply
from services.swci.core.reply import Layout
from services.swci.core.table import COMMANDS

UID = "0123456789abcdef0123456789abcdef"

EXAMPLES = {
    "CREATE CONTEXT c WITH IP sn1 8000": c.CreateContext("c", "sn1", 8000),
    "CREATE CONTEXT c WITH SERVICE sn.example.org": c.CreateContextService(
        "c", Address("sn.example.org", 443)
    ),
    "SWITCH CONTEXT c": c.SwitchContext("c"),
    "GET CONTEXT INFO c": c.GetContextInfo("c"),
    "GET CONTEXT ENV c PROXY": c.GetContextEnv("PROXY", "c"),
    "SET CONTEXT ENV c PROXY off": c.SetContextEnv("PROXY", "off", "c"),
    "LIST CONTEXT ENV c": c.ListContextEnv("c"),
    "GET CONTEXT VERSION": c.GetContextVersion(),
    "LIST CONTEXTS": c.ListContexts(),
    "CREATE CONTRACT k": c.CreateContract("k"),
    "GET CONTRACT INFO k": c.GetContractInfo("k"),
    "GET CONTRACT STATUS k": c.GetContractStatus("k"),
    "LIST CONTRACTS": c.ListContracts(),
    "PERFDATA k": c.PerfData("k"),
    "RESET CONTRACT k": c.ResetContract("k"),
    "CREATE TASK RUN_SWARM t me ROOTTASK out": c.CreateTask(
        TaskType.RUN_SWARM, "t", "me", "ROOTTASK", "out"
    ),
    "CREATE TASK FROM taskdefs/t.yaml": c.CreateTaskFrom("taskdefs/t.yaml"),
    "APPEND TASK BODY t 3   Src: /a b": c.AppendTaskBody("t", 3, "  Src: /a b"),
    "FINALIZE TASK t": c.FinalizeTask("t"),
    "DELETE TASK t": c.DeleteTask("t"),
    "GET TASK INFO t": c.GetTaskInfo("t"),
    "GET TASK BODY t": c.GetTaskBody("t"),
    "LIST TASKS": c.ListTasks(),
    "CREATE TASKRUNNER r": c.CreateTaskRunner("r"),
    "ASSIGN TASK t TO r WITH 2 PEERS": c.AssignTask("t", "r", 2),
    "ASSIGN TASK t TO r WITH ALL PEERS": c.AssignTaskToAll("t", "r"),
    f"ASSIGN TASK t TO r TARGET {UID}": c.AssignTaskToTarget("t", "r", UID),
    "GET TASKRUNNER INFO r": c.GetTaskRunnerInfo("r"),
    "GET TASKRUNNER STATUS r": c.GetTaskRunnerStatus("r"),
    "GET TASKRUNNER PEER STATUS r 0": c.GetTaskRunnerPeerStatus("r", 0),
    "LIST TASKRUNNERS": c.ListTaskRunners(),
    "LIST TASKRUNNER PEERS r": c.ListTaskRunnerPeers("r"),
    "RESET TASKRUNNER r": c.ResetTaskRunner("r"),
    "WAIT FOR TASKRUNNER r": c.WaitForTaskRunner("r"),
    "WAIT FOR IP 10.0.0.1 8000 3": c.WaitForIp("10.0.0.1", 8000, 3),
    "WAIT FOR SERVICE sn:8443 3": c.WaitForService(Address("sn", 8443), 3),
    "SLEEP 5": c.Sleep(5.0),
    "LIST NODES": c.ListNodes(),
    "EXIT ON FAILURE OFF": c.ExitOnFailure(switch=False),
    "EXIT": c.Exit(),
    "CD /tmp": c.ChangeDir("/tmp"),
    "PWD": c.PrintDir(),
    "LS -l /tmp": c.ListDir("-l /tmp"),
    "HELP LIST NODES": c.Help("LIST NODES"),
}
ALL = typing.get_args(Command)
FORMS = [form for entry in COMMANDS for form in entry.forms]


def test_every_command_is_in_the_table_has_an_example_and_a_handler():
    made = {form.make for form in FORMS}
    assert made == set(ALL) == set(HANDLERS) == {type(command) for command in EXAMPLES.values()}


@pytest.mark.parametrize("line", EXAMPLES)
def test_examples(line):
    assert parse(line) == EXAMPLES[line]


KEYWORDS = {part.word for form in FORMS for part in form.parts if part.argument is None}
SAMPLES = {
    "ip": "sn1", "service": "sn1", "swop": UID, "type": "PULL_IMAGE", "idx": "1", "peers": "2",
    "seconds": "1", "peer": "0", "file": "t.yaml", "dir": "/",
}  # fmt: skip


def typed(form):
    """The form with all its mandatory words."""
    return [
        part.word if part.argument is None else SAMPLES.get(part.word, "x")
        for part in form.parts
        if not part.optional
    ]


def as_typed(line):
    """The same in the other case and with more blanks; names keep their case."""
    words = [word.lower() if word in KEYWORDS else word for word in line.split(" ")]
    return "\t " + " ".join(words) + " \t \r\n"


@pytest.mark.parametrize("line", EXAMPLES)
def test_keywords_in_any_case_trailing_blanks_tabs_and_line_ends(line):
    found = parse(as_typed(line))
    if isinstance(found, c.Help):
        assert found.command.upper() == "LIST NODES"
    else:
        assert found == EXAMPLES[line]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_word_that_is_missing_is_named(form):
    words, parts = typed(form), [part for part in form.parts if not part.optional]
    assert isinstance(parse(" ".join(words)), form.make)
    for count in range(1, len(words)):
        found = parse(" ".join(words[:count]))
        if isinstance(found, c.Exit):
            continue  # the beginning of EXIT ON FAILURE
        assert isinstance(found, Wrong), found
        assert "but the line ends" in found.why
        assert str(parts[count]) in found.why
        assert "HELP" in found.why


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_wrong_keyword_and_argument_is_named(form):
    words, parts = typed(form), [part for part in form.parts if not part.optional]
    for at in range(1, len(words)):
        found = parse(" ".join([*words[:at], "a/:b", *words[at + 1 :]]))
        if parts[at].argument is not None and not isinstance(found, Wrong):
            assert parts[at].word in ANY, "everything is such an argument"
            continue
        assert isinstance(found, Wrong)
        assert str(parts[at]) in found.why or "end of the line" in found.why


ANY = {"file", "dir", "author", "outcome", "value"}


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_help_shows_syntax_indented_and_description_not(entry):
    for topic in (entry.name, entry.name.lower(), f"  {entry.name} "):
        reply = help_reply(topic)
        assert (reply.error, reply.layout) == (False, Layout.AS_IS)
        syntax = [line for line in reply.lines if line.startswith("    ")]
        about = [line for line in reply.lines if not line.startswith(" ")]
        shown = [form for form in entry.forms if not form.legacy]
        assert len(syntax) == len(shown) > 0
        assert all(line.strip().startswith(entry.name) for line in syntax)
        assert all(len(line) <= 100 for line in reply.lines)
        assert len(" ".join(about)) > 10
        assert about[-1].endswith(".")


def test_help_lists_every_command_once():
    assert help_reply("").lines == tuple(entry.name for entry in COMMANDS)
    assert len(set(help_reply("").lines)) == len(COMMANDS)


def test_help_of_help_is_the_documented_line_and_two_sentences():
    lines = help_reply("help").lines
    assert lines[0] == "    HELP [command:string]"
    assert " ".join(lines[1:]).count(".") == 2


def test_help_of_several_and_of_none():
    assert {line.split()[1] for line in help_reply("create").lines if line.startswith(" ")} == {
        "CONTEXT", "CONTRACT", "TASK", "TASKRUNNER",
    }  # fmt: skip
    reply = help_reply("LST NODES")
    assert reply.error
    assert "did you mean HELP LIST NODES?" in reply.lines[0]
    assert help_reply("\x1b[2J").lines[0].startswith('ERROR : no command "\\x1b[2J"')


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_word_too_many_is_refused_or_belongs_to_the_last_argument(form):
    last = form.parts[-1].argument
    found = parse(" ".join([*typed(form), *("1" for part in form.parts if part.optional), "y z"]))
    if last is not None and last.rest:
        assert isinstance(found, form.make)
    else:
        assert isinstance(found, Wrong)
