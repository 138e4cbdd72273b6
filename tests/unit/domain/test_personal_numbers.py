"""Which texts could hold a personal identity number."""

import re
from datetime import date

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from gateway.domain.models import EVERYTHING, Access, CareUnitKey
from gateway.domain.personal_numbers import (
    may_be_cached,
    may_hide_a_personal_number,
    may_hold_a_personal_number,
    refuse_name,
)

SEPARATORS = st.sampled_from(["", "-", "+", " ", ".", "/", "_", " - ", "\u2013"])


@pytest.mark.parametrize(
    "text",
    [
        "191212121212",
        "121212-1212",
        "121212+1212",
        "19 12 12 12 12 12",
        "701272-1212",  # a coordination number of Sweden
        "531052-12345",  # a D number of Norway
        "131052-308T",
        "131052A308T",
        "n_1912_12_12_1212",
        "unit-19121212-1212-b",
        "\u0661\u0669\u0661\u0662\u0661\u0662\u0661\u0662\u0661\u0662\u0661\u0662",
    ],
)
def test_a_number_is_found_however_it_is_written(text: str) -> None:
    assert may_hold_a_personal_number(text)
    assert may_hide_a_personal_number(text)


@pytest.mark.parametrize("text", ["", "L0_1", "R/7", "1234567890", "2026-11-25", "999999999999", "a1" * 30])
def test_other_digits_are_not(text: str) -> None:
    assert not may_hold_a_personal_number(text)
    assert not may_hide_a_personal_number(text)


@pytest.mark.parametrize(
    "text", ["MTkxMjEyMTIxMjEy", "19121212%20-%201212", "UmVzb3VyY2U6d2ViZG9jL0wwLzE5MTIxMjEyMTIxMg=="]
)
def test_a_number_may_be_encoded(text: str) -> None:
    assert not may_hold_a_personal_number(text)
    assert may_hide_a_personal_number(text)


@given(st.dates(), st.integers(0, 9999), SEPARATORS, st.booleans(), st.text("abc ", max_size=3))
def test_every_birthday_counts(birthday: date, serial: int, separator: str, century: bool, around: str) -> None:
    digits = f"{birthday:%Y%m%d}".zfill(8)
    swedish, danish = digits if century else digits[2:], f"{birthday:%d%m}{digits[2:4]}"

    assert may_hold_a_personal_number(f"{around}{swedish}{separator}{serial:04}{around}")
    assert may_hold_a_personal_number(f"{around}{danish}{separator}{serial:04}{around}")


@given(st.text())
def test_any_text_can_be_judged(text: str) -> None:
    assert may_hide_a_personal_number(text) >= may_hold_a_personal_number(text)


@pytest.mark.parametrize(
    ("header", "fit"), [("application/json;q=0.9, */*", True), ("text/191212121212", False), ("gzip, MTkxMjEy", False)]
)
def test_headers_may_be_cached_where_they_hold_nothing_else(header: str, fit: bool) -> None:
    assert may_be_cached(header) is fit


HERE, THERE = CareUnitKey("webdoc", "L0_1"), CareUnitKey("takecare", "T1")


@pytest.mark.parametrize(
    ("access", "emrs", "units"),
    [
        (EVERYTHING, {"webdoc", "takecare"}, {HERE, THERE}),
        (Access(frozenset({"webdoc"})), {"webdoc"}, {HERE}),
        (Access(None, frozenset({THERE})), {"takecare"}, {THERE}),
        (Access(frozenset({"webdoc"}), frozenset({HERE, THERE})), {"webdoc"}, {HERE}),
        (Access(frozenset({"takecare"}), frozenset({HERE})), set(), set()),
        (Access(frozenset(), None), set(), set()),
    ],
)
def test_what_a_caller_may_see(access: Access, emrs: set[str], units: set[CareUnitKey]) -> None:
    assert {code for code in ("webdoc", "takecare") if access.sees_emr(code)} == emrs
    assert {key for key in (HERE, THERE) if access.sees(key)} == units
    assert access.is_whole == (access == EVERYTHING)


@pytest.mark.parametrize("name", ["_191212121212", "_19121212_1212", "p121212_1212", "x1212121212y", "_010170_123A"])
def test_a_name_that_looks_like_a_personal_number_is_refused(name: str) -> None:
    assert refuse_name(name) == "A name in the document looks like a personal number; pass such data in variables"


@pytest.mark.parametrize(
    "name",
    [
        "w20261130_20261206",
        "Availability_20261130_20261206",
        "from20261130to20261206",
        "_20280229_to_20280301_free",
        "slots2of20261130_20261206",
    ],
)
def test_a_name_made_of_two_dates_is_no_personal_number(name: str) -> None:
    assert refuse_name(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "w20261130_1206",
        "w20261130_20261306",
        "w20260230_20260306",  # no calendar has this day
        "w2026113020261206",
        "w1_20261130_20261206",
        "w20261130_20261206_1",
        "w20261130_20261206_20261213",
        "w20261130_20261206A308T",  # 261206A308T
        "w131052A20261130_20261206",  # 131052A2026
        "w191212121212a20261130_20261206",
        "w20261130_20261206_p191212121212",
    ],
)
def test_a_name_that_holds_more_than_two_dates_is_refused_as_ever(name: str) -> None:
    assert refuse_name(name) is not None


@given(st.from_regex(r"[_a-z]{1,2}([0-9]{2,6}[_A-Fa]{0,2}){2,4}", fullmatch=True))
def test_names_are_refused_exactly_where_they_may_hold_a_number(name: str) -> None:
    looks = may_hold_a_personal_number(name)
    two_dates = re.search(r"(19|20)[0-9]{6}[_A-Fa]+(19|20)[0-9]{6}", name)
    event(f"looks like a number: {looks}")

    assert two_dates or (refuse_name(name) is not None) == looks
