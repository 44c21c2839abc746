"""CSV that a spreadsheet takes for text."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.license.core.tables import csv_lines


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "\n-x"])
def test_what_begins_like_a_formula_is_quoted(cell):
    assert next(csv.reader(io.StringIO(csv_lines([[cell]]), newline=""))) == [f"'{cell}"]


def test_numbers_stay_numbers_and_plain_text_stays():
    assert csv_lines([[1, -2, "a-b", "x=1", "é"]]) == "1,-2,a-b,x=1,é\r\n"


@given(
    st.lists(
        st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")), min_size=2
    )
)
def test_every_cell_comes_back_and_none_is_a_formula(cells):
    row = next(csv.reader(io.StringIO(csv_lines([cells]), newline="")))
    assert [cell.removeprefix("'") for cell in row] == [cell.removeprefix("'") for cell in cells]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row)
