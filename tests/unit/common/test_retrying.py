"""How often a node says that it waits for an SN."""

import pytest

from services.common.retrying import Notices


def told(patience, moments):
    notices = Notices(patience)
    return [line for moment in moments if (line := notices.due(moment, "why"))]


def test_twelve_lines_over_the_patience_whatever_the_number_of_tries():
    lines = told(60.0, range(61))
    words = "Failed to connect to the API server. Retrying"
    assert lines == [f"{words} {number} of 12: why" for number in range(1, 13)]


def test_one_line_a_minute_where_the_wait_has_no_end():
    lines = told(float("inf"), range(0, 181, 5))
    words = "Failed to connect to the API server. Retrying, after"
    assert lines == [f"{words} {seconds} s: why" for seconds in (0, 60, 120, 180)]


@pytest.mark.parametrize("moments", [[0.0], range(100)])
def test_without_patience_nothing_is_said(moments):
    assert told(0.0, moments) == []
