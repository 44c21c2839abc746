"""Names of contracts, as the API's schemas and plain code check them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from services.common.ids import ContractNameField, is_contract_name

FIELD = TypeAdapter(ContractNameField)


def is_field(name):
    try:
        FIELD.validate_python(name)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    "name", ["a", "..a", "a.", ".a", "...", "a" * 160, "名", "%2e", "a b", ".é"]
)
def test_names(name):
    assert is_contract_name(name)
    assert is_field(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "/",
        "a/",
        "./",
        "../",
        "a/b",
        "a" * 161,
        "a\n",
        ".\n",
        "\x00",
        "\u2028",
        "ab\x85",
    ],
    ids=ascii,
)
def test_no_names(name):
    """``.`` and ``..`` in a URL are this folder and the one above: another route would answer."""
    assert not is_contract_name(name)
    assert not is_field(name)


@given(st.text(st.sampled_from("./a\n\x7f\u2029é"), max_size=4) | st.text(max_size=170))
def test_both_checks_are_the_same(name):
    assert is_contract_name(name) == is_field(name)
