"""Queries and answers of the web mode, for any text: what a client glues is what arrives."""

import json
import string
from pathlib import PurePath
from urllib.parse import quote, urlencode

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st

from services.common.errors import ConfigError
from services.swci.core.reply import ERROR, Reply, failure, printable
from services.swci.web_command import answer, content, is_exit, read_query

TEXT = st.text(max_size=60).filter(lambda text: printable(text) == text)


def glued(command):
    """The query that ``requests`` makes of HPE's glued URL."""
    url = requests.Request("POST", f"https://h:1/exec?cmd={command}").prepare().url
    return url.partition("?")[2]


@given(TEXT)
@example("a+b & c=d;e")
@example("x&format=jsonx")
def test_a_glued_command_is_read_as_written(text):
    """Except for what cannot be told apart: ``#`` ends a URL, ``%41`` is an ``A``."""
    command = "append task body t 1 " + text.replace("#", "").replace("%", "") + "."
    assert read_query(glued(command)).command == command


@given(TEXT)
def test_an_encoded_command_is_read_as_written(text):
    assert read_query(f"cmd={quote(text, safe='')}").command == text
    assert read_query(urlencode({"cmd": text})).command == text
    asked = read_query(urlencode({"cmd": text, "format": "json"}))
    assert (asked.command, asked.with_data) == (text, True)


@given(st.text(alphabet=string.printable, max_size=80))
def test_no_query_is_a_traceback(query):
    try:
        asked = read_query(query)
    except ConfigError as exc:
        assert str(exc)
    else:
        assert printable(asked.command.replace("\t", " ")) == asked.command.replace("\t", " ")


def hpe_reads(parts):
    """Rules 2 to 4 of compat/03 section 6."""
    for part in parts:
        if part.startswith("ERROR "):
            return None
    return [line.strip() for part in parts for line in part.splitlines()]


@given(st.lists(TEXT | TEXT.map("ERROR ".__add__), max_size=5))
def test_a_success_is_one_for_hpes_client_whatever_it_says(lines):
    read = hpe_reads(content(Reply(tuple(lines))))
    assert read
    if any(line.strip() for line in lines):
        assert [line for line in read if line] == [t for line in lines if (t := line.strip())]


@given(TEXT, st.lists(TEXT, max_size=3))
def test_a_failure_is_one_with_all_it_says(first, more):
    parts = content(Reply((ERROR + first, *more), error=True))
    assert len(parts) == 1
    assert hpe_reads(parts) is None
    assert all(line in parts[0] for line in (first, *more))


def test_a_failure_without_the_word_gets_it():
    assert content(Reply(("it broke",), error=True)) == ["ERROR : it broke"]


def test_data_is_json_whatever_it_holds():
    data = {"loss": float("nan"), "rows": ({1: 0.5}, [True, None]), "path": PurePath("x")}
    told = answer(Reply(("x",), data), with_data=True)
    assert json.loads(json.dumps(told, allow_nan=False))["DATA"] == {
        "loss": None, "rows": [{"1": 0.5}, [True, None]], "path": "x",
    }  # fmt: skip
    assert "DATA" not in answer(failure("x"), with_data=False)


@pytest.mark.parametrize(
    ("command", "is_it"),
    [("EXIT", True), ("exit ", True), ("EXIT ON FAILURE", False), ("exits", False), ("", False)],
)
def test_exit_is_known(command, is_it):
    assert is_exit(command) is is_it
