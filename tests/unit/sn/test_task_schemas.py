"""What the SN's API takes about tasks: texts that could show people something else are refused."""

import pytest
from pydantic import TypeAdapter, ValidationError

from services.common import task_api as api

DESCRIPTION, TEXT, NAME = map(TypeAdapter, (api.Description, api.Text, api.TaskNameField))
HOSTILE = ["a\nTASK_STATE : COMPLETE", "\x1b[2J", "a\x9bA", "a\rb", "a\u2028b", "\x00", "\ud800"]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
@pytest.mark.parametrize("kind", [DESCRIPTION, TEXT, NAME], ids=["description", "text", "name"])
def test_no_text_holds_a_control_character(kind, text):
    with pytest.raises(ValidationError):
        kind.validate_python(text)


@pytest.mark.parametrize("text", ["\U0001f40d" * 160, "exit code 1: ä /x \\ \"y\" 'z'"], ids=ascii)
@pytest.mark.parametrize("kind", [DESCRIPTION, TEXT], ids=["description", "text"])
def test_any_other_text_is_taken(kind, text):
    assert kind.validate_python(text) == text
    with pytest.raises(ValidationError):
        kind.validate_python(text + "x" * 160)


def test_a_description_may_be_empty_and_another_text_may_not():
    assert DESCRIPTION.validate_python("") == ""
    with pytest.raises(ValidationError, match="at least 1 character"):
        TEXT.validate_python("")


@pytest.mark.parametrize("name", [".", "..", "a/b", "", "x" * 161])
def test_what_cannot_stand_in_a_url_is_no_name(name):
    with pytest.raises(ValidationError):
        NAME.validate_python(name)
    with pytest.raises(ValidationError):
        api.CreateTaskRunner(name=name)
