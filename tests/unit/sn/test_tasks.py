"""The fold of the task registry, and what the API says of it."""

from services.common.task_api import ROOTTASK, TaskType
from services.sn.core import ledger
from services.sn.core import task_events as on
from services.sn.core.ledger import Block
from services.sn.core.tasks import TASK_REGISTRY, Tasks, info_of, summary_of

NOBODY = "0" * 32
CREATED = on.TaskCreated("t", TaskType.PULL_IMAGE, "me", ROOTTASK, "an image", NOBODY)


def fold(*events):
    tasks = Tasks()
    tasks.register(ledger.Registered(TASK_REGISTRY, ledger.SYSTEM_KIND, "0xT", 5))
    for number, event in enumerate(events):
        tasks.apply(event, Block(number, f"{number:064x}", 100 + number))
    return tasks


def test_the_root_task_is_there_from_the_start():
    tasks = fold()
    assert tasks.address == "0xT"
    root = summary_of(tasks.get(ROOTTASK))
    assert (root.type, root.author, root.prereq, root.outcome) == (
        TaskType.ROOT_TASK, "HPE", "", ROOTTASK,
    )  # fmt: skip
    assert (root.finalized, root.lines, root.created) == (True, 0, 5)


def test_a_task_grows_line_by_line_until_it_is_final():
    appended = on.TaskAppended("t", 1, ("a: 1", "b: 2"))
    tasks = fold(CREATED, appended, on.TaskAppended("t", 2, ("B: 2", "c: 3")))
    found = info_of(tasks.get("t"))
    assert found.body == ["a: 1", "B: 2", "c: 3"]
    assert (found.lines, found.finalized, found.created) == (3, False, 100)
    assert (found.type, found.author, found.prereq) == (TaskType.PULL_IMAGE, "me", ROOTTASK)
    assert summary_of(fold(CREATED, appended, on.TaskFinalized("t")).get("t")).finalized


def test_a_removed_task_leaves_its_name_free():
    tasks = fold(CREATED, on.TaskAppended("t", 1, ("x",)), on.TaskRemoved("t"))
    assert tasks.get("t") is None
    again = fold(CREATED, on.TaskAppended("t", 1, ("x",)), on.TaskRemoved("t"), CREATED)
    assert again.get("t").body == []
    assert [task.name for task in again.all()] == [ROOTTASK, "t"]


def test_a_refusal_changes_nothing():
    tasks = fold(CREATED)
    before = info_of(tasks.get("t"))
    tasks.apply(on.TaskRefused("t", NOBODY, "forbidden", "no"), Block(9, "9" * 64, 900))
    tasks.apply(on.TaskRefused("unknown", NOBODY, "forbidden", "no"), Block(9, "9" * 64, 900))
    assert info_of(tasks.get("t")) == before
