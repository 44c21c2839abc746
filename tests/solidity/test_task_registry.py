"""TaskRegistry: create, append, finalize, remove, and every refusal."""

import pytest

from tests.solidity.evm import STRANGER, Event, Evm, RevertedError, uid
from tests.solidity.runner import NOBODY, RUN_SWARM, Tasks
from tests.solidity.training import names


@pytest.fixture
def tasks(evm: Evm) -> Tasks:
    return Tasks(evm)


def seen(tasks: Tasks, name: str) -> tuple[bool, bool, int, int]:
    """Exists, final, type, lines."""
    view = tasks.contract.view
    found = view("isFinal", name)
    return (*found.values(), view("typeOf", name), view("lineCount", name))


def test_the_root_task_is_there_from_the_start(tasks, refuses):
    assert seen(tasks, "ROOTTASK") == (True, True, 0, 0)
    assert seen(tasks, "other") == (False, False, 0, 0)
    assert tasks.contract.call("finalize", "ROOTTASK", NOBODY) == []
    refuses("final", tasks.append, "ROOTTASK", 1, "x")
    refuses("final", tasks.contract.call, "remove", "ROOTTASK", NOBODY)
    refuses("name-taken", tasks.create, "ROOTTASK")


def test_a_task_from_its_creation_to_its_end(tasks):
    (created,) = tasks.create("t", RUN_SWARM, request=uid(1))
    assert created == Event(
        "TaskCreated",
        {
            "name": "t", "taskType": 1, "author": "me", "prereq": "ROOTTASK", "outcome": "t's",
            "request": uid(1),
        },
    )  # fmt: skip
    assert seen(tasks, "t") == (True, False, 1, 0)
    (appended,) = tasks.append("t", 1, "a", "", "c")
    assert appended.args == {"name": "t", "first": 1, "lines": ["a", "", "c"]}
    assert seen(tasks, "t") == (True, False, 1, 3)
    assert tasks.contract.call("finalize", "t", NOBODY) == [Event("TaskFinalized", {"name": "t"})]
    assert seen(tasks, "t") == (True, True, 1, 3)
    assert tasks.contract.call("finalize", "t", NOBODY) == []


def test_a_final_task_never_changes(tasks, refuses):
    tasks.make("t")
    refuses("final", tasks.append, "t", 1, "x")
    refuses("final", tasks.append, "t", 2, "x")
    refuses("final", tasks.contract.call, "remove", "t", NOBODY)
    refuses("name-taken", tasks.create, "t")
    assert seen(tasks, "t") == (True, True, 1, 1)


def test_what_does_not_exist(tasks, refuses):
    for function in ("finalize", "remove"):
        refuses("unknown-task", tasks.contract.call, function, "t", NOBODY)
    assert refuses("unknown-task", tasks.append, "t", 1, "x") == "there is no task t"
    refuses("unknown-task", tasks.create, "t", prereq="nothing")
    refuses("unknown-task", tasks.create, "t", prereq="")
    refuses("unknown-task", tasks.create, "t", prereq="t")


def test_a_prerequisite_must_be_final(tasks, refuses):
    tasks.create("first")
    tasks.append("first", 1, "x")
    detail = refuses("not-final", tasks.create, "second", prereq="first")
    assert detail == "finalize the prerequisite first: first"
    tasks.contract.call("finalize", "first", NOBODY)
    assert names(tasks.create("second", prereq="first")) == ["TaskCreated"]


@pytest.mark.parametrize("field", ["name", "author", "outcome"])
def test_texts_have_1_to_640_bytes(tasks, refuses, field):
    assert refuses("bad-value", tasks.create, "t", **{field: ""}) == f"the {field} is empty"
    detail = refuses("bad-value", tasks.create, "t", **{field: "x" * 641})
    assert detail == f"bytes of the {field}: at most 640, not 641"
    refuses("bad-value", tasks.create, "t", **{field: "\N{OCTOPUS}" * 160 + "x"})
    assert names(tasks.create("t", **{field: "\N{OCTOPUS}" * 160})) == ["TaskCreated"]


@pytest.mark.parametrize("task_type", [0, 5, 255])
def test_only_the_root_task_has_type_0(tasks, refuses, task_type):
    detail = refuses("bad-value", tasks.create, "t", task_type)
    assert detail == f"no such type of task: {task_type}"


@pytest.mark.parametrize("task_type", [1, 2, 3, 4])
def test_types_are_remembered(tasks, task_type):
    tasks.create("t", task_type)
    assert seen(tasks, "t") == (True, False, task_type, 0)


def test_names_are_given_once(tasks, refuses):
    tasks.create("t")
    assert refuses("name-taken", tasks.create, "t") == "t"
    assert names(tasks.create("T")) == ["TaskCreated"]


# --- requests


def test_repeating_a_creation_is_harmless_while_the_task_exists(tasks, refuses):
    tasks.create("t", request=uid(1))
    tasks.append("t", 1, "x")
    assert tasks.create("t", request=uid(1)) == []
    assert seen(tasks, "t") == (True, False, 1, 1)
    tasks.contract.call("finalize", "t", NOBODY)
    assert tasks.create("t", request=uid(1)) == []


def test_a_late_creation_does_not_bring_a_removed_task_back(tasks, refuses):
    tasks.create("t", request=uid(1))
    tasks.contract.call("remove", "t", NOBODY)
    detail = refuses("stale-request", tasks.create, "t", request=uid(1))
    assert detail == f"request {uid(1).hex()} has created a task already"
    assert seen(tasks, "t") == (False, False, 0, 0)
    tasks.create("t", request=uid(2))
    refuses("stale-request", tasks.create, "t", request=uid(1))
    assert tasks.create("t", request=uid(2)) == []


@pytest.mark.parametrize("other", [{"name": "u"}, {"author": "you"}, {"taskType": 2}])
def test_a_request_is_for_one_call_only(tasks, refuses, other):
    tasks.create("t", request=uid(1))
    refuses("stale-request", tasks.create, "t", **{"request": uid(1), **other})


def test_a_refused_creation_does_not_use_up_its_request(tasks, refuses):
    refuses("unknown-task", tasks.create, "t", prereq="nothing", request=uid(1))
    assert names(tasks.create("t", request=uid(1))) == ["TaskCreated"]


def test_a_request_is_not_zero(tasks, refuses):
    refuses("bad-value", tasks.create, "t", request=bytes(16))
    refuses("bad-value", tasks.create, "ROOTTASK", request=bytes(16))


# --- bodies


def test_lines_are_added_or_replaced(tasks):
    tasks.create("t")
    for first, lines, count in [
        (1, "abc", 3),
        (4, "d", 4),
        (2, "BC", 4),
        (4, "DE", 5),
        (6, "f", 6),
    ]:
        (event,) = tasks.append("t", first, *lines)
        assert event.args == {"name": "t", "first": first, "lines": list(lines)}
        assert seen(tasks, "t")[3] == count


def test_lines_leave_no_gap(tasks, refuses):
    tasks.create("t")
    refuses("bad-value", tasks.append, "t", 0, "x")
    refuses("bad-value", tasks.append, "t", 2, "x")
    tasks.append("t", 1, "a", "b")
    detail = refuses("bad-value", tasks.append, "t", 4, "x")
    assert detail == "the first line must be 1 to 3, it is 4"
    refuses("bad-value", tasks.append, "t", 2**32 - 1, "x")
    refuses("bad-value", tasks.append, "t", 1)


def test_lines_have_at_most_1024_bytes(tasks, refuses):
    tasks.create("t")
    detail = refuses("bad-value", tasks.append, "t", 1, "a", "x" * 1025)
    assert detail == "bytes of a line: at most 1024, not 1025"
    assert seen(tasks, "t")[3] == 0
    tasks.append("t", 1, "x" * 1024)


def test_bodies_have_at_most_2000_lines(tasks, refuses):
    tasks.create("t")
    for first in range(1, 2000, 400):
        tasks.append("t", first, *[""] * 400)
    assert seen(tasks, "t")[3] == 2000
    detail = refuses("bad-value", tasks.append, "t", 2001, "x")
    assert detail == "number of lines: at most 2000, not 2001"
    refuses("bad-value", tasks.append, "t", 2000, "x", "y")
    tasks.append("t", 2000, "x")
    tasks.append("t", 1, "x")
    assert seen(tasks, "t")[3] == 2000


def test_a_task_without_a_body_cannot_be_finalized(tasks, refuses):
    tasks.create("t")
    assert (
        refuses("bad-value", tasks.contract.call, "finalize", "t", NOBODY)
        == "the task has no body: t"
    )


def test_a_removed_task_leaves_nothing_behind(tasks, refuses):
    tasks.create("t", 3)
    tasks.append("t", 1, "a", "b")
    assert tasks.contract.call("remove", "t", NOBODY) == [Event("TaskRemoved", {"name": "t"})]
    assert seen(tasks, "t") == (False, False, 0, 0)
    refuses("unknown-task", tasks.contract.call, "remove", "t", NOBODY)
    tasks.create("t", 2)
    assert seen(tasks, "t") == (True, False, 2, 0)
    refuses("bad-value", tasks.append, "t", 3, "c")


def test_a_late_call_does_not_touch_the_next_task_of_that_name(tasks, refuses):
    call = tasks.contract.call
    old, new = uid(1), uid(2)
    tasks.create("t", request=old)
    call("append", "t", old, 1, ["a"])
    call("remove", "t", old)
    tasks.create("t", request=new)
    for late in (("append", "t", old, 1, ["a"]), ("finalize", "t", old), ("remove", "t", old)):
        detail = refuses("stale-request", call, *late)
        assert detail == "another task has the name by now: t"
    assert seen(tasks, "t") == (True, False, RUN_SWARM, 0)
    call("append", "t", new, 1, ["b"])
    call("finalize", "t", new)
    assert call("finalize", "t", new) == []
    refuses("stale-request", call, "finalize", "t", old)
    refuses("final", call, "remove", "t", new)


def test_refusals_are_on_the_ledger(tasks):
    (event,) = tasks.contract.call("refused", "t", uid(7), "name-taken", "t exists")
    said = {"name": "t", "by": uid(7), "code": "name-taken", "detail": "t exists"}
    assert event == Event("TaskRefused", said)


def test_strangers_change_nothing(tasks):
    calls = {
        "create": ("t", 1, "me", "ROOTTASK", "o", uid(1)), "append": ("t", NOBODY, 1, ["x"]),
        "finalize": ("t", NOBODY), "remove": ("t", NOBODY), "refused": ("t", uid(1), "c", "d"),
    }  # fmt: skip
    writes = {
        name for name, entry in tasks.contract.functions.items()
        if entry["stateMutability"] not in ("view", "pure")
    }  # fmt: skip
    assert set(calls) == writes
    for function, arguments in calls.items():
        with pytest.raises(RevertedError) as caught:
            tasks.contract.call(function, *arguments, sender=STRANGER)
        assert caught.value.code == "not-writer"


def test_appending_costs_the_same_in_a_long_body(tasks):
    tasks.create("t")
    tasks.append("t", 1, "a", "b")
    tasks.append("t", 3, "x")
    early = tasks.contract.gas_used
    for first in range(4, 1500, 300):
        tasks.append("t", first, *[""] * 300)
    tasks.append("t", 4, "y")
    assert tasks.contract.gas_used <= early
