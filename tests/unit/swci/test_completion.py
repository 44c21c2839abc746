"""Completion comes from the table and from the names that exist."""

import pytest

from services.swci.core.arguments import Source
from services.swci.core.manual import complete, wanted

NAMES = {
    Source.CONTEXTS: ["c1", "c2"], Source.CONTRACTS: ["k"], Source.TASKS: ["t1", "ROOTTASK"],
    Source.TASKRUNNERS: ["r", "r\x1b[2J"], Source.SWOPS: ["ab" * 16], Source.FILES: ["x.yaml"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("L", ["LIST", "LS"]),
        ("l", ["list", "ls"]),
        ("LIST CON", ["CONTEXT", "CONTEXTS", "CONTRACTS"]),
        ("list ta", ["taskrunner", "taskrunners", "tasks"]),
        ("SWITCH CONTEXT ", ["c1", "c2"]),
        ("GET CONTEXT ENV c", ["c1", "c2"]),
        ("ASSIGN TASK t", ["t1"]),
        ("ASSIGN TASK t1 ", ["TO"]),
        ("ASSIGN TASK t1 TO ", ["r"]),
        ("ASSIGN TASK t1 TO r ", ["TARGET", "WITH"]),
        ("ASSIGN TASK t1 TO r WITH ", ["ALL"]),
        ("assign task t1 to r target ", ["ab" * 16]),
        ("CREATE TASK ", ["FROM", "MAKE_SWARM_USER_CONTENT", "MAKE_USER_CONTAINER", "PULL_IMAGE",
                          "RUN_SWARM"]),
        ("CREATE TASK FROM ", ["x.yaml"]),
        ("EXIT ON FAILURE ", ["OFF", "ON"]),
        ("HELP GET CONTRACT ", ["INFO", "STATUS"]),
        ("help li", ["list"]),
        ("LIST NODES ", []),
        ("nonsense ", []),
        ("CREATE CONTRACT ", []),
    ],
)  # fmt: skip
def test_completion(text, expected):
    assert complete(text, NAMES) == expected


def test_only_the_names_that_are_wanted_are_asked_for():
    assert wanted("ASSIGN TASK ") == (set(), {Source.TASKS})
    assert wanted("LIST ")[1] == set()
