"""API keys, of which the gateway knows SHA-256 digests only, and the file that lists them."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    TypeAdapter,
    ValidationError,
    field_validator,
)

from gateway.auth.caller import AuthSettingsError, Caller, Rate, api_key, care_units, is_emr_code, patient_kinds
from gateway.domain.appointments import BookingRights
from gateway.domain.errors import Unauthenticated
from gateway.domain.models import Access
from gateway.domain.personal_numbers import may_hold_a_personal_number

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PLACE_IN_TOML = re.compile(r"\(at [a-z0-9, ]+\)$")

_OneOrMore = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
    Field(min_length=1, max_length=100),
]
_Names = Annotated[tuple[str, ...], Field(min_length=1, max_length=10_000)]


class _Table(BaseModel):
    """One caller's table in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    key_sha256: _OneOrMore
    emrs: _Names | None = None
    care_units: _Names | None = None
    rate_per_second: Annotated[float, Field(strict=True, gt=0, le=1_000_000, allow_inf_nan=False)] | None = None
    burst: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = None
    calls_per_minute: Annotated[int, Field(strict=True, ge=1, le=10_000_000)] | None = None
    may_book: StrictBool = False
    patient_by: _Names = ("details",)
    bookings_per_minute: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = None

    @field_validator("key_sha256")
    @classmethod
    def _digests(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        digests = tuple(digest.lower() for digest in value)
        if not all(map(_DIGEST.fullmatch, digests)):
            raise ValueError("a SHA-256 digest has 64 hexadecimal digits; the key itself must not stand here")
        return digests

    @field_validator("emrs")
    @classmethod
    def _codes(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and not all(map(is_emr_code, value)):
            raise ValueError("an EHR code is made of letters, digits, `-`, `_` and `.`; leave emrs out for all EHRs")
        return value

    @field_validator("care_units")
    @classmethod
    def _known_form(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and care_units(value) is None:
            raise ValueError("a care unit is a node id of one, or an EHR's code, `/` and Leyr's id")
        return value

    @field_validator("patient_by")
    @classmethod
    def _kinds(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if patient_kinds(value) is None:
            raise ValueError("name some of leyr_id, emr_id, national_number and details")
        return value

    def caller(self, name: str, default: Rate) -> Caller:
        """The caller that the table describes."""
        emrs = None if self.emrs is None else frozenset(self.emrs)
        units = None if self.care_units is None else care_units(self.care_units)
        if emrs is not None and units is not None and any(unit.emr not in emrs for unit in units):
            raise AuthSettingsError(f"{name}: care_units: one belongs to an EHR that emrs leaves out")
        rate = Rate(
            default.per_second if self.rate_per_second is None else self.rate_per_second,
            default.burst if self.burst is None else self.burst,
            default.calls_per_minute if self.calls_per_minute is None else self.calls_per_minute,
            default.bookings_per_minute if self.bookings_per_minute is None else self.bookings_per_minute,
        )
        rights = BookingRights(self.may_book, patient_kinds(self.patient_by) or frozenset())
        return Caller(name, Access(emrs, units), rate, rights)


@dataclass(slots=True)
class ApiKeyVerifier:
    """Verifies API keys; `callers` by the SHA-256 digests of their keys."""

    callers: Mapping[bytes, Caller]

    async def identify(self, headers: Mapping[bytes, str]) -> Caller:
        """The caller whose key the headers hold."""
        # The time of a dict lookup depends on the digest. That reveals nothing about a key: a guess whose digest begins
        # like a known one cannot be computed, only searched for blindly.
        caller = self.callers.get(sha256(api_key(headers).encode("latin-1")).digest())
        if caller is None:
            raise Unauthenticated("This API key is not known")
        return caller

    async def start(self) -> None:
        """Fetch nothing: all keys are here."""

    async def close(self) -> None:
        """Close nothing: there are no connections."""


def read_api_keys(text: str, default: Rate) -> ApiKeyVerifier:
    """Read a file of API keys: TOML with a table for each caller, which has the rate `default` unless it names one.

    Raises AuthSettingsError.
    """
    callers: dict[bytes, Caller] = {}
    for name, table in _tables(text).items():
        caller = table.caller(name, default)
        for digest in map(bytes.fromhex, dict.fromkeys(table.key_sha256)):
            if digest in callers:
                raise AuthSettingsError(f"{name}: key_sha256: {callers[digest].name} has this key too")
            callers[digest] = caller
    if not callers:
        raise AuthSettingsError("the file names no caller; write one table for each")
    return ApiKeyVerifier(callers)


def _tables(text: str) -> dict[str, _Table]:
    try:
        tables = tomllib.loads(text)
    # Beside its own errors the parser raises those of huge numbers and of deep nesting.
    except (ValueError, RecursionError) as error:
        # The rest of the parser's message may quote the file.
        place = _PLACE_IN_TOML.search(str(error))
        raise AuthSettingsError(f"the file is not TOML {place[0] if place else ''}".rstrip()) from None
    for number, name in enumerate(tables, 1):
        if not _NAME.fullmatch(name) or may_hold_a_personal_number(name):
            raise AuthSettingsError(
                f"table {number}: a caller's name is made of 1 to 64 letters, digits, `.`, `_` and `-`, "
                "and does not look like a personal number"
            )
    try:
        return TypeAdapter(dict[str, _Table]).validate_python(tables)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        lines = (f"{'.'.join(map(str, each['loc']))}: {each['msg'].removeprefix('Value error, ')}" for each in found)
        raise AuthSettingsError("\n".join(lines)) from None
