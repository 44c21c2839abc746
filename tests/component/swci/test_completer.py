"""What Tab inserts at the prompt."""

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from services.swci.shell import TableCompleter


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("swi", ["switch "]), ("SWITCH CONTEXT m", ["main "]), ("l", ["list", "ls"]),
        ("cd t", ["taskdefs"]), ("EXIT ON FAILURE O", ["OFF", "ON"]), ("zzz", []),
    ],
    ids=str,
)  # fmt: skip
async def test_the_only_completion_is_whole_and_the_next_word_may_follow(operator, text, expected):
    (operator.folder / "taskdefs").mkdir()
    found = TableCompleter(operator.interpreter).get_completions_async(
        Document(text), CompleteEvent(completion_requested=True)
    )
    assert [each.text async for each in found] == expected
