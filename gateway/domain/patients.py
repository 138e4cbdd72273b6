"""Patients as a client names them, checked. Nothing here is ever logged, kept, or shown in an error."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import TypeAlias

from gateway.domain.appointments import PatientIdentification
from gateway.domain.errors import BadUserInput


class Country(StrEnum):
    """The countries whose national numbers Leyr knows (leyr-api 3.2)."""

    SE = "SE"
    NO = "NO"
    GB = "GB"


@dataclass(frozen=True, slots=True)
class NationalNumber:
    """A national identity number: 12 digits in Sweden, 11 in Norway, 10 in Great Britain, without separators."""

    country: Country
    number: str = field(repr=False)

    @classmethod
    def read(cls, country: Country, text: str, today: date) -> "NationalNumber":
        """The number that people write in this way; `today` tells the century of a Swedish one that leaves it out.

        Raises BadUserInput.
        """
        found = _digits(text)
        match country:
            case Country.SE:
                number = _swedish(found, text, today)
            case Country.NO:
                number = found if _is_norwegian(found) else None
            case Country.GB:
                number = found if _is_nhs_number(found) else None
        if number is None:
            raise BadUserInput(f"nationalNumber: this is not {_NAMES[country]}")
        return cls(country, number)


@dataclass(frozen=True, slots=True)
class PatientByLeyrId:
    """A patient whom Leyr lists."""

    leyr_id: str = field(repr=False)

    @classmethod
    def read(cls, text: str) -> "PatientByLeyrId":
        """The patient of this id. Raises BadUserInput."""
        return cls(_plain_id(text, "leyrId"))


@dataclass(frozen=True, slots=True)
class PatientByEmrId:
    """A patient whom the EHR lists."""

    emr_id: str = field(repr=False)

    @classmethod
    def read(cls, text: str) -> "PatientByEmrId":
        """The patient of this id. Raises BadUserInput."""
        return cls(_plain_id(text, "emrId"))


@dataclass(frozen=True, slots=True)
class PatientDetails:
    """A patient whom the EHR finds, or makes (leyr-api 2.9)."""

    first_name: str = field(repr=False)
    last_name: str = field(repr=False)
    national_number: NationalNumber | None = field(default=None, repr=False)
    phones: tuple[str, ...] = field(default=(), repr=False)
    emails: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def read(
        cls,
        first_name: str,
        last_name: str,
        national_number: NationalNumber | None = None,
        *,
        phones: Sequence[str] = (),
        emails: Sequence[str] = (),
    ) -> "PatientDetails":
        """The patient of these details, without the spaces around them. Raises BadUserInput."""
        return cls(
            _name(first_name, "firstName"),
            _name(last_name, "lastName"),
            national_number,
            _contacts(phones, "phones", _phone),
            _contacts(emails, "emails", _email),
        )


Patient: TypeAlias = PatientByLeyrId | PatientByEmrId | NationalNumber | PatientDetails


def identification(patient: Patient) -> PatientIdentification:
    """In which way a patient is named."""
    match patient:
        case PatientByLeyrId():
            return PatientIdentification.LEYR_ID
        case PatientByEmrId():
            return PatientIdentification.EMR_ID
        case NationalNumber():
            return PatientIdentification.NATIONAL_NUMBER
        case PatientDetails():
            return PatientIdentification.DETAILS


def identity(patient: Patient) -> tuple[str, ...]:
    """Texts that are the same for the same patient, as far as the way in which it is named tells."""
    match patient:
        case PatientByLeyrId():
            return "leyr", patient.leyr_id
        case PatientByEmrId():
            return "emr", patient.emr_id
        case NationalNumber():
            return "number", patient.country, patient.number
        case PatientDetails(national_number=NationalNumber() as number):
            return identity(number)
        case PatientDetails():
            names = patient.first_name.casefold(), patient.last_name.casefold()
            return "details", *names, *sorted((*patient.phones, *patient.emails))


_NAMES = {
    Country.SE: "a Swedish personal or coordination number: 10 or 12 digits, of which the last is a check digit",
    Country.NO: "a Norwegian personal or D number: 11 digits, of which the last two are check digits",
    Country.GB: "an NHS number: 10 digits, of which the last is a check digit",
}
_LONGEST_NAME, _LONGEST_EMAIL, _LONGEST_ID, _MOST_CONTACTS = 100, 254, 255, 5
_NATIONAL_NUMBER = re.compile(r"[0-9](?:[ +-]?[0-9]){8,12}")
_WITHOUT_CENTURY = re.compile(r"[0-9]{6}[ +-]?[0-9]{4}")
_SEPARATORS = re.compile(r"[ +-]")
_CENTURY = 100
_COORDINATION_DAYS, _D_NUMBER_DAYS = 60, 40
# Norway's population register adds 80 to the months of people that it made up, its health network 65; 40 and 20 are
# other registers', and Leyr's own example has 20 (docs page D7).
_SYNTHETIC_MONTHS = (0, 20, 40, 65, 80)
_NORWEGIAN_WEIGHTS = ((3, 7, 6, 1, 8, 9, 4, 5, 2, 1), (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1))
_NHS_WEIGHTS = (10, 9, 8, 7, 6, 5, 4, 3, 2, 1)
_SE_SHORT, _SE_DIGITS, _NO_DIGITS, _GB_DIGITS = 10, 12, 11, 10
_LEAP_YEAR = 2000
# Each year of a century that ends so comes before it, a leap year for 00 too.
_LATE = date(2099, 12, 31)
_UNPRINTABLE = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]")
_PHONE = re.compile(r"\+?[0-9](?:[ ()./-]{0,3}[0-9]){4,14}")
_NOT_OF_PHONES = re.compile(r"[^0-9+]")
_EMAIL = re.compile(r"[^\s@<>\"(),:;\[\]\\]{1,64}@[^\s@<>\"(),:;\[\]\\]+")
# Leyr's ids have no such beginning; a number with it would be another way to name a patient (leyr-api 3.2).
_TYPED_ID = re.compile(r"[A-Za-z_]+:")


def _digits(text: str) -> str:
    """The digits of a number, without single separators between them; nothing where it has any other form."""
    found = text.strip()
    return _SEPARATORS.sub("", found) if _NATIONAL_NUMBER.fullmatch(found) else ""


def _swedish(digits: str, text: str, today: date) -> str | None:
    """The 12 digits of a Swedish number; None where it is none."""
    if len(digits) == _SE_SHORT and _WITHOUT_CENTURY.fullmatch(text.strip()):
        # From the year in which somebody becomes 100, a plus sign stands in the place of the hyphen.
        latest = today.year - _CENTURY if "+" in text else today.year
        year = latest - (latest - int(digits[:2])) % _CENTURY
        if "+" not in text and not _is_day(year, digits[2:4], digits[4:6], not_after=today):
            year -= _CENTURY
        digits = f"{year:04}{digits[2:]}"
    if len(digits) != _SE_DIGITS or not _is_day(int(digits[:4]), digits[4:6], digits[6:8], not_after=today):
        return None
    doubled = (int(digit) * (2 - place % 2) for place, digit in enumerate(digits[2:]))
    return digits if sum(number // 10 + number % 10 for number in doubled) % 10 == 0 else None


def _is_day(year: int, month: str, day: str, *, not_after: date) -> bool:
    """Whether a Swedish number's day is one, or that of a coordination number."""
    found = _day(year, int(month), int(day) % _COORDINATION_DAYS)
    return found is not None and found <= not_after and int(day) < 2 * _COORDINATION_DAYS


def _day(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _is_norwegian(digits: str) -> bool:
    if len(digits) != _NO_DIGITS or not all(_has_no_remainder(digits, each) for each in _NORWEGIAN_WEIGHTS):
        return False
    day, month = int(digits[:2]), int(digits[2:4])
    # The century is not in the date, and a year of any century may be a leap year.
    days = (day, day - _D_NUMBER_DAYS)
    return any(_day(_LEAP_YEAR, month - added, each) for added in _SYNTHETIC_MONTHS for each in days)


def _is_nhs_number(digits: str) -> bool:
    return len(digits) == _GB_DIGITS and _has_no_remainder(digits, _NHS_WEIGHTS)


def _has_no_remainder(digits: str, weights: Sequence[int]) -> bool:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False)) % 11 == 0


def _plain_id(text: str, what: str) -> str:
    if not text.strip() or len(text) > _LONGEST_ID or _UNPRINTABLE.search(text):
        raise BadUserInput(f"{what}: an id has 1 to {_LONGEST_ID} printable characters")
    if _TYPED_ID.match(text) or _is_national_number(text):
        raise BadUserInput(f"{what}: this is another kind of id; name the patient by that one")
    return text


def _is_national_number(text: str) -> bool:
    """Whether an id is a national number that says by itself whose it is, which no list gives as an id."""
    digits = _digits(text)
    return _is_norwegian(digits) or _swedish(digits, text, _LATE) is not None


def _name(text: str, what: str) -> str:
    found = text.strip()
    if not found or len(found) > _LONGEST_NAME or _UNPRINTABLE.search(found):
        raise BadUserInput(f"{what}: a name has 1 to {_LONGEST_NAME} printable characters")
    return found


def _contacts(texts: Sequence[str], what: str, read: Callable[[str], str]) -> tuple[str, ...]:
    if len(texts) > _MOST_CONTACTS:
        raise BadUserInput(f"{what}: at most {_MOST_CONTACTS} of them")
    return tuple(dict.fromkeys(map(read, texts)))


def _phone(text: str) -> str:
    found = text.strip()
    if not _PHONE.fullmatch(found):
        raise BadUserInput("phones: a number has 5 to 15 digits, such as +46 70 174 06 05")
    return _NOT_OF_PHONES.sub("", found)


def _email(text: str) -> str:
    found = text.strip()
    if len(found) > _LONGEST_EMAIL or not _EMAIL.fullmatch(found) or _UNPRINTABLE.search(found):
        raise BadUserInput("emails: this is not an address such as name@example.com")
    return found
