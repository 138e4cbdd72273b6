"""Who may book, and how patients may be named: in the keys' file and in tokens."""

from hashlib import sha256
from typing import Any

import pytest

from gateway.auth.api_keys import read_api_keys
from gateway.auth.caller import AuthSettingsError, Rate
from gateway.auth.jwt import JwtRequirements, granted_rights
from gateway.domain.appointments import NO_BOOKING, BookingRights, PatientIdentification
from gateway.domain.errors import Forbidden
from tests.unit.auth.issuer import AUDIENCE, ISSUER

RULES = JwtRequirements(ISSUER, AUDIENCE)
DEFAULT = Rate(50, 100)
ONLY_DETAILS = frozenset({PatientIdentification.DETAILS})
TWO = frozenset({PatientIdentification.LEYR_ID, PatientIdentification.NATIONAL_NUMBER})
TABLE = f'[page]\nkey_sha256 = "{sha256(b"key").hexdigest()}"\n'


@pytest.mark.parametrize(
    ("lines", "rights", "per_minute"),
    [
        ("", NO_BOOKING, 600),
        ("may_book = true", BookingRights(may_book=True, patient_by=ONLY_DETAILS), 600),
        (
            'may_book = true\npatient_by = ["leyr_id", "national_number"]\nbookings_per_minute = 5',
            BookingRights(may_book=True, patient_by=TWO),
            5,
        ),
    ],
)
def test_the_keys_file_grants_booking(lines: str, rights: BookingRights, per_minute: int) -> None:
    (caller,) = read_api_keys(TABLE + lines, DEFAULT).callers.values()

    assert (caller.rights, caller.rate.bookings_per_minute) == (rights, per_minute)


@pytest.mark.parametrize(
    "line", ['may_book = "yes"', "may_book = 1", 'patient_by = ["name"]', "patient_by = []", "bookings_per_minute = 0"]
)
def test_what_it_says_of_booking_is_checked(line: str) -> None:
    with pytest.raises(AuthSettingsError, match=line.split(" ", maxsplit=1)[0]):
        read_api_keys(TABLE + line, DEFAULT)


@pytest.mark.parametrize(
    ("claims", "rights"),
    [
        ({}, NO_BOOKING),
        ({"may_book": True}, BookingRights(may_book=True, patient_by=ONLY_DETAILS)),
        (
            {"may_book": True, "patient_by": ["leyr_id", "national_number"]},
            BookingRights(may_book=True, patient_by=TWO),
        ),
        ({"may_book": False, "patient_by": "leyr_id national_number"}, BookingRights(may_book=False, patient_by=TWO)),
    ],
)
def test_a_token_grants_booking(claims: dict[str, Any], rights: BookingRights) -> None:
    assert granted_rights(claims, RULES) == rights


@pytest.mark.parametrize(
    "claims",
    [{"may_book": "true"}, {"may_book": 1}, {"patient_by": []}, {"patient_by": ["name"]}, {"patient_by": None}],
)
def test_claims_of_another_form_are_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(Forbidden, match=next(iter(claims))):
        granted_rights(claims, RULES)
