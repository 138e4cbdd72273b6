"""Patients as clients name them: national numbers in all their forms, and bounds on everything else."""

import string
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import BadUserInput
from gateway.domain.patients import Country, NationalNumber, PatientByEmrId, PatientByLeyrId, PatientDetails

TODAY = date(2026, 11, 30)
BORN = st.dates(date(1850, 1, 1), TODAY)


def swedish(born: date, serial: int, *, coordination: bool = False) -> str:
    """The 12 digits of somebody who was born that day; coordination numbers have days up to 91."""
    nine = f"{born:%y%m}{born.day + 60 * coordination:02}{serial:03}"
    total = sum(sum(divmod(int(digit) * (2 - place % 2), 10)) for place, digit in enumerate(nine))
    return f"{born.year // 100}{nine}{-total % 10}"


def weighted(digits: str, *weights: int) -> int:
    return -sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True)) % 11


def norwegian(born: date, individual: int, *, days: int = 0, months: int = 0) -> str | None:
    """The 11 digits; None for an individual number that nobody has, since a check digit would be 10."""
    nine = f"{born.day + days:02}{born.month + months:02}{born:%y}{individual:03}"
    first = weighted(nine, 3, 7, 6, 1, 8, 9, 4, 5, 2)
    second = weighted(f"{nine}{first % 10}", 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)
    return None if 10 in (first, second) else f"{nine}{first}{second}"


@given(BORN, st.integers(0, 999), st.booleans(), st.sampled_from(["", "-", "+", " "]))
def test_a_swedish_number_with_its_century_is_normalised(
    born: date, serial: int, coordination: bool, separator: str
) -> None:
    number = swedish(born, serial, coordination=coordination)

    assert read(Country.SE, f" {number[:8]}{separator}{number[8:]} ") == number


@given(BORN, st.integers(0, 999), st.booleans(), st.sampled_from(["", "-", " "]))
def test_the_century_of_a_swedish_number_is_made_out(
    born: date, serial: int, coordination: bool, separator: str
) -> None:
    number = swedish(born, serial, coordination=coordination)
    is_hundred = TODAY.year - born.year >= 100
    short = f"{number[2:8]}{'+' if is_hundred else separator}{number[8:]}"

    # A plus sign says no more than that somebody is a hundred or older.
    is_told = TODAY.year - born.year < 200
    assert not is_told or read(Country.SE, short) == number


def test_who_is_born_later_in_the_year_was_born_a_century_ago() -> None:
    number = swedish(date(1926, 12, 24), 123)

    assert read(Country.SE, number[2:]) == number


@given(st.dates(date(1900, 1, 1), TODAY), st.integers(0, 999), st.sampled_from([0, 40]), st.sampled_from([0, 40, 80]))
def test_a_norwegian_number_is_normalised(born: date, individual: int, days: int, months: int) -> None:
    number = norwegian(born, individual, days=days, months=months)

    assert number is None or read(Country.NO, f"{number[:6]} {number[6:]}") == number


@given(st.from_regex(r"[0-9]{9}", fullmatch=True))
def test_an_nhs_number_is_normalised(nine: str) -> None:
    check = weighted(nine, 10, 9, 8, 7, 6, 5, 4, 3, 2)
    if check == 10:
        return
    assert read(Country.GB, f"{nine[:3]} {nine[3:6]}-{nine[6:]}{check}") == f"{nine}{check}"


@pytest.mark.parametrize(
    ("country", "number"),
    [(Country.SE, "191212121212"), (Country.NO, "26258605879"), (Country.GB, "9434765919")],
)
def test_the_well_known_numbers_are_read_and_a_wrong_digit_is_found(country: Country, number: str) -> None:
    assert read(country, number) == number
    for place, digit in enumerate(number):
        # The first two digits of a Swedish number are outside of its check digit.
        if country is Country.SE and place < 2:
            continue
        wrong = f"{number[:place]}{(int(digit) + 1) % 10}{number[place + 1 :]}"
        assert refusal(country, wrong)


@pytest.mark.parametrize("country", Country)
@given(text=st.text(string.digits + "-+ ABab٣", max_size=20))
def test_what_is_no_number_is_refused_and_never_quoted(country: Country, text: str) -> None:
    try:
        found = NationalNumber.read(country, text, TODAY)
    except BadUserInput as error:
        refused = error.message
    else:
        refused = ""
        assert found.number.isascii()
        assert found.number.isdigit()
        assert found.number not in repr(found)
    # A few digits stand in the message by themselves.
    assert len(text.strip()) < 4 or text.strip() not in refused


@pytest.mark.parametrize(
    ("country", "text"),
    [
        (Country.SE, "20270101-0000"),
        (Country.SE, "191202301212"),
        (Country.SE, "191212--121212"),
        (Country.SE, "١٩١٢١٢١٢١٢١٢"),
        (Country.SE, "1912121212"),
        (Country.NO, "191212121212"),
        (Country.NO, "00000000000"),
        (Country.GB, "943476591"),
        (Country.GB, ""),
    ],
)
def test_other_forms_are_refused(country: Country, text: str) -> None:
    assert refusal(country, text)


def test_details_are_trimmed_and_contacts_normalised() -> None:
    found = PatientDetails.read(
        " Tolvan ", "Tolvansson", phones=["+46 (70) 174-06 05", "+46701740605"], emails=["a@b.se"]
    )

    assert found == PatientDetails("Tolvan", "Tolvansson", None, ("+46701740605",), ("a@b.se",))
    assert "Tolvan" not in repr(found)


@pytest.mark.parametrize(
    ("names", "contacts", "field"),
    [
        ((" ", "b"), {}, "firstName"),
        (("a", "b" * 101), {}, "lastName"),
        (("a", "b\n"), {}, None),
        (("a\nb", "b"), {}, "firstName"),
        (("a", "b"), {"phones": ["12"]}, "phones"),
        (("a", "b"), {"phones": ["+4670174060x"]}, "phones"),
        (("a", "b"), {"phones": [f"+4670174060{each}" for each in range(6)]}, "phones"),
        (("a", "b"), {"emails": ["no address"]}, "emails"),
        (("a", "b"), {"emails": ["a@" + "b" * 254]}, "emails"),
        (("a", "b"), {"emails": ["a@b.se\nbcc: c@d.se"]}, "emails"),
    ],
)
def test_details_are_bounded(names: tuple[str, str], contacts: dict[str, Any], field: str | None) -> None:
    if field is None:
        assert PatientDetails.read(*names, **contacts).last_name == names[1].strip()
        return
    with pytest.raises(BadUserInput, match=field):
        PatientDetails.read(*names, **contacts)


@pytest.mark.parametrize("kind", [PatientByLeyrId, PatientByEmrId])
@pytest.mark.parametrize(
    "text", ["", " ", "a" * 256, "a\x00b", "se_personal_number:1", "19121212-1212", "1212121212", "26258605879"]
)
def test_an_id_is_no_way_around_the_kinds_of_patient(kind: type[PatientByLeyrId | PatientByEmrId], text: str) -> None:
    with pytest.raises(BadUserInput, match="Id"):
        kind.read(text)


@pytest.mark.parametrize("text", ["10-991890000019", "p 1", "X1y2Z3a4B5c6D7e8F", "1212121211"])
def test_an_id_is_passed_on_unchanged(text: str) -> None:
    assert PatientByLeyrId.read(text) == PatientByLeyrId(text)
    assert text not in repr(PatientByEmrId.read(text))


def read(country: Country, text: str) -> str:
    return NationalNumber.read(country, text, TODAY).number


def refusal(country: Country, text: str) -> str:
    with pytest.raises(BadUserInput, match="nationalNumber") as error:
        NationalNumber.read(country, text, TODAY)
    return error.value.message
