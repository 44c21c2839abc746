"""When a license may go, which state it is in, and what of a refusal a node shows."""

from datetime import UTC, datetime, timedelta

import pytest

from services.common.errors import ConfigError
from services.common.license_refusal import NUMBERS, refusal
from services.license.core import clock_rules
from services.license.core.leases import still_needed
from services.license.core.license_file import COMMUNITY_PRODUCT, documents_in, state
from tests.unit.license.test_leases import NOW, a_lease, a_license


def of(*documents):
    return {document.serial: document for document in documents}


@pytest.mark.parametrize(("held", "missing"), [(0, 0), (2, 0), (3, 1), (5, 3)])
def test_a_license_is_needed_for_what_the_others_do_not_allow(held, missing):
    licenses = of(a_license("a", 3), a_license("b", 2))
    leases = [a_lease(n) for n in range(held)]
    short = still_needed("a", licenses, leases, NOW)
    assert sum(short.values()) == missing


def test_the_community_license_takes_over_where_no_other_names_the_feature():
    licenses = of(a_license("a", 3), a_license("c", 1000, product=COMMUNITY_PRODUCT))
    leases = [a_lease(n) for n in range(3)]
    assert still_needed("a", licenses, leases, NOW) == {}
    assert still_needed("c", licenses, leases, NOW) == {}


def test_an_ended_license_is_needed_for_nothing():
    licenses = of(a_license("a", 3, end=NOW))
    assert still_needed("a", licenses, [a_lease(1)], NOW) == {}


def test_states():
    document = a_license("a", 1, end=NOW + 10)
    begin = document.not_before.timestamp()
    assert state(document, begin - 1, archived=False) == "future"
    assert state(document, begin, archived=False) == "active"
    assert state(document, NOW + 10, archived=False) == "expired"
    assert state(document, begin, archived=True) == "archived"


def test_files_of_one_or_several():
    assert documents_in(' {"a": 1}') == [' {"a": 1}']
    assert documents_in('[{"a": "é"}, 1]') == ['{"a": "é"}', "1"]
    for bad in ("[]", "[1", "[1.5]", "[" * 100, str([1] * 17)):
        with pytest.raises(ConfigError) as caught:
            documents_in(bad)
        assert caught.value.code == "bad-license"


@pytest.mark.parametrize("code", NUMBERS)
def test_a_refusal_is_hpes_three_lines_with_a_number(code):
    lines = str(refusal("https://l:5814", code, "why\nand\x1b[0m")).split("\n")
    assert lines[0] == f"Error Code: {NUMBERS[code]}"
    assert lines[1].startswith("Error Message: ")
    assert lines[2] == "Custom Message: License server https://l:5814 refused: why?and?[0m"
    assert len(lines) == 3


def test_an_unknown_refusal_has_a_number_too():
    assert str(refusal("s", "new-code", "x")).startswith("Error Code: 6100\n")


def test_holders_are_named_but_not_believed():
    holder = {"component": "SL", "host": "h\n", "container": "sl1", "since": "2026-01-01"}
    text = str(refusal("s", "no-capacity", "all in use", [holder] * 30))
    assert text.count("SL sl1 on h? since 2026-01-01") == 20
    assert text.count("\n") == 2
    for odd in ("x", [1], [{}], {"a": 1}, None):
        assert str(refusal("s", "no-capacity", "d", odd)).count("\n") == 2


def test_the_numbers_are_documented():
    assert sorted(NUMBERS.values()) == [6101, 6102, 6103, 6104, 6105]


def test_clock_rules():
    assert not clock_rules.is_set_back(1000, 1000 + clock_rules.TOLERANCE_S)
    assert clock_rules.is_set_back(1000, 1001 + clock_rules.TOLERANCE_S)
    assert not clock_rules.is_jump(1000, 1000 - clock_rules.TOLERANCE_S)
    assert clock_rules.is_jump(1000, 999 - clock_rules.TOLERANCE_S)
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    later = begin + timedelta(days=3)
    text = clock_rules.set_back_warning(begin.timestamp(), later.timestamp()).text
    assert "3 days behind 2026-01-04 00:00 UTC" in text
    assert clock_rules.REPAIR in text
