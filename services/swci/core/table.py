"""The table of all commands. The parser, HELP and completion are made from it, and nothing else.

Syntax: a word in capitals is a keyword, ``<name>`` an argument of ``arguments.py``, ``[name]`` an
optional one.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from services.swci.core import commands as c
from services.swci.core.arguments import ARGUMENTS, Argument


@dataclass(frozen=True, slots=True)
class Part:
    """One word of a syntax."""

    word: str
    """The keyword, or the argument's name."""
    argument: Argument | None
    """None for a keyword."""
    optional: bool = False

    def __str__(self) -> str:
        if self.argument is None:
            return self.word
        text = self.word if self.argument.words else f"{self.word}:{self.argument.shown}"
        if self.argument.shown == "ON/OFF":
            text = "ON/OFF"
        return f"[{text}]" if self.optional else f"<{text}>"


@dataclass(frozen=True, slots=True)
class Form:
    """One way to write a command."""

    parts: tuple[Part, ...]
    make: Callable[..., c.Command]
    legacy: bool = False
    """Understood, and not shown by HELP."""

    def __str__(self) -> str:
        return " ".join(map(str, self.parts))


@dataclass(frozen=True, slots=True)
class Entry:
    """One command."""

    name: str
    """Its topic for HELP."""
    forms: tuple[Form, ...]
    about: tuple[str, ...]
    """What HELP says, in lines."""


def _form(syntax: str, make: Callable[..., c.Command], *, legacy: bool = False) -> Form:
    parts = []
    for word in syntax.split():
        name = re.sub(r"[<>\[\]]", "", word)
        argument = None if name == word else ARGUMENTS[name]
        parts.append(Part(name, argument, word.startswith("[")))
    return Form(tuple(parts), make, legacy)


def _entry(name: str, about: str, *forms: Form) -> Entry:
    return Entry(name, forms, tuple(about.split("\n")))


COMMANDS: tuple[Entry, ...] = (
    # --- contexts
    _entry(
        "CREATE CONTEXT",
        "Makes a context: a name for an SN whose API server answers now.\n"
        f"The default port is {c.API_PORT} for an IP, {c.SERVICE_PORT} for a service.\n"
        "SWITCH CONTEXT then makes the other commands go there.",
        _form("CREATE CONTEXT <name> WITH IP <ip> [port]", c.CreateContext),
        _form("CREATE CONTEXT <name> WITH SERVICE <service>", c.CreateContextService),
        _form("CREATE CONTEXT <name> <ip> [port]", c.CreateContext, legacy=True),
    ),
    _entry(
        "SWITCH CONTEXT",
        "Makes a context the default one, on which the other commands act.",
        _form("SWITCH CONTEXT <context>", c.SwitchContext),
    ),
    _entry(
        "GET CONTEXT INFO",
        "Shows a context: its server, and whether it is the default one.\n"
        "Without a name: the default context.",
        _form("GET CONTEXT INFO [context]", c.GetContextInfo),
    ),
    _entry(
        "GET CONTEXT ENV",
        "Shows one variable of a context.\nWithout a name: of the default context.",
        _form("GET CONTEXT ENV [context] <env>", c.GetContextEnv),
    ),
    _entry(
        "SET CONTEXT ENV",
        "Sets a variable of a context.\nWithout a name: of the default context.",
        _form("SET CONTEXT ENV [context] <env> <value>", c.SetContextEnv),
    ),
    _entry(
        "LIST CONTEXT ENV",
        "Lists the variables of a context.\nWithout a name: of the default context.",
        _form("LIST CONTEXT ENV [context]", c.ListContextEnv),
    ),
    _entry(
        "GET CONTEXT VERSION",
        "Shows the version of the API server of a context.\nWithout a name: the default context.",
        _form("GET CONTEXT VERSION [context]", c.GetContextVersion),
    ),
    _entry(
        "LIST CONTEXTS",
        "Lists the contexts of this session.",
        _form("LIST CONTEXTS", c.ListContexts),
    ),
    # --- training contracts
    _entry(
        "CREATE CONTRACT",
        "Registers a training contract. It is permanent and cannot be deleted.",
        _form("CREATE CONTRACT <name>", c.CreateContract),
    ),
    _entry(
        "GET CONTRACT INFO",
        "Shows what never changes of a training contract.",
        _form("GET CONTRACT INFO <contract>", c.GetContractInfo),
    ),
    _entry(
        "GET CONTRACT STATUS",
        "Shows where a training stands, and what it waits for.",
        _form("GET CONTRACT STATUS <contract>", c.GetContractStatus),
    ),
    _entry(
        "LIST CONTRACTS",
        "Lists the registered training contracts.",
        _form("LIST CONTRACTS", c.ListContracts),
    ),
    _entry(
        "PERFDATA",
        "Shows loss, metric and epochs of each SL-ML pair of a training contract.",
        _form("PERFDATA <contract>", c.PerfData),
    ),
    _entry(
        "RESET CONTRACT",
        "Makes a training contract uninitialized, ready for the next training.\n"
        "WARNING: for trainings that have ended. A running one is broken off on all its peers.",
        _form("RESET CONTRACT <contract>", c.ResetContract),
    ),
    # --- tasks
    _entry(
        "CREATE TASK",
        "Registers a task: by its header alone, APPEND TASK BODY gives it a body; or all of it,\n"
        "checked, from a YAML file. The prerequisite must be finalized; ROOTTASK is for none.",
        _form("CREATE TASK FROM <file>", c.CreateTaskFrom),
        _form("CREATE TASK <type> <name> <author> <prereq> <outcome>", c.CreateTask),
    ),
    _entry(
        "APPEND TASK BODY",
        "Adds a line to the body of a task that is not finalized, or overwrites one.\n"
        "Lines count from 1. Blanks before the text, but for one, belong to it.",
        _form("APPEND TASK BODY <task> <idx> [text]", c.AppendTaskBody),
    ),
    _entry(
        "FINALIZE TASK",
        "Checks the body of a task and makes it final: it can be assigned, and never changes.",
        _form("FINALIZE TASK <task>", c.FinalizeTask),
    ),
    _entry(
        "DELETE TASK",
        "Deletes a task that is not finalized.",
        _form("DELETE TASK <task>", c.DeleteTask),
    ),
    _entry(
        "GET TASK INFO",
        "Shows the header of a task, and whether it is finalized.",
        _form("GET TASK INFO <task>", c.GetTaskInfo),
    ),
    _entry(
        "GET TASK BODY",
        "Shows the body of a task.",
        _form("GET TASK BODY <task>", c.GetTaskBody),
    ),
    _entry("LIST TASKS", "Lists the registered tasks.", _form("LIST TASKS", c.ListTasks)),
    # --- taskrunners
    _entry(
        "CREATE TASKRUNNER",
        "Registers a taskrunner contract. It is permanent and cannot be deleted.",
        _form("CREATE TASKRUNNER <name>", c.CreateTaskRunner),
    ),
    _entry(
        "ASSIGN TASK",
        "Starts a finalized task on the SWOPs that listen to an idle taskrunner.\n"
        "PEERS: how many must complete: SL-ML pairs for RUN_SWARM, else SWOPs. ALL: those of the\n"
        "SWOPs that listen now. TARGET: on one SWOP; where the taskrunner runs the task already,\n"
        "that SWOP joins, or tries again after a failure.",
        _form("ASSIGN TASK <task> TO <taskrunner> WITH ALL PEERS", c.AssignTaskToAll),
        _form("ASSIGN TASK <task> TO <taskrunner> WITH <peers> PEERS", c.AssignTask),
        _form("ASSIGN TASK <task> TO <taskrunner> TARGET <swop>", c.AssignTaskToTarget),
    ),
    _entry(
        "GET TASKRUNNER INFO",
        "Shows what never changes of a taskrunner.",
        _form("GET TASKRUNNER INFO <taskrunner>", c.GetTaskRunnerInfo),
    ),
    _entry(
        "GET TASKRUNNER STATUS",
        "Shows the task of a taskrunner, its state and its peers.",
        _form("GET TASKRUNNER STATUS <taskrunner>", c.GetTaskRunnerStatus),
    ),
    _entry(
        "GET TASKRUNNER PEER STATUS",
        "Shows how one enrolled SWOP fares, and each SL that it started.\n"
        "The peer is its UUID, or its index from 0 in LIST TASKRUNNER PEERS.",
        _form("GET TASKRUNNER PEER STATUS <taskrunner> <peer>", c.GetTaskRunnerPeerStatus),
    ),
    _entry(
        "LIST TASKRUNNERS",
        "Lists the registered taskrunners.",
        _form("LIST TASKRUNNERS", c.ListTaskRunners),
    ),
    _entry(
        "LIST TASKRUNNER PEERS",
        "Lists the SWOPs that enrolled in the present run of a taskrunner.",
        _form("LIST TASKRUNNER PEERS <taskrunner>", c.ListTaskRunnerPeers),
    ),
    _entry(
        "RESET TASKRUNNER",
        "Makes a taskrunner idle. Its SWOPs stop and remove what they started, even an ML\n"
        "program that is still saving its model: wait for it first.",
        _form("RESET TASKRUNNER <taskrunner>", c.ResetTaskRunner),
    ),
    _entry(
        "WAIT FOR TASKRUNNER",
        "Waits until the task of a taskrunner is complete or has failed, at most as long as\n"
        "SWCI_RUN_TASK_MAX_WAIT_TIME (RUN_SWARM) or SWCI_GENERIC_TASK_MAX_WAIT_TIME minutes.",
        _form("WAIT FOR TASKRUNNER <taskrunner>", c.WaitForTaskRunner),
    ),
    # --- the rest
    _entry(
        "WAIT FOR IP",
        "Waits until the API server of an SN answers.\n"
        f"Defaults: port {c.API_PORT}, {c.WAIT_RETRIES} retries, one every 5 seconds.",
        _form("WAIT FOR IP <ip> [port] [retries]", c.WaitForIp),
    ),
    _entry(
        "WAIT FOR SERVICE",
        "Waits until the API server behind a service answers.\n"
        f"Defaults: port {c.SERVICE_PORT}, {c.WAIT_RETRIES} retries, one every 5 seconds.",
        _form("WAIT FOR SERVICE <service> [retries]", c.WaitForService),
    ),
    _entry(
        "LIST NODES",
        "Lists the SN, SL and SWOP nodes that are active or were in the last 10 minutes.",
        _form("LIST NODES", c.ListNodes),
    ),
    _entry("SLEEP", "Does nothing for some seconds.", _form("SLEEP <seconds>", c.Sleep)),
    _entry(
        "EXIT ON FAILURE",
        "ON: the first command that fails ends the session. OFF, as at the start: it goes on.\n"
        "Without an argument: ON.",
        _form("EXIT ON FAILURE [switch]", c.ExitOnFailure),
    ),
    _entry("EXIT", "Ends the session.", _form("EXIT", c.Exit)),
    _entry("CD", "Changes the current directory.", _form("CD <dir>", c.ChangeDir)),
    _entry(
        "PWD",
        "Shows the current directory.",
        _form("PWD", c.PrintDir),
        _form("PWD()", c.PrintDir, legacy=True),
    ),
    _entry(
        "LS",
        "Lists files. Options: -a (hidden ones too), -l (long), -1, -d, -h, -r, -t, -S, -R,\n"
        "and names of files and directories.",
        _form("LS [options]", c.ListDir),
        _form("LS()", c.ListDir, legacy=True),
    ),
    _entry(
        "HELP",
        "Lists all commands.\nWith a command: shows its syntax and what it does.",
        _form("HELP [command]", c.Help),
    ),
)
"""In the order of HELP."""
