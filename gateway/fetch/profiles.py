"""The profiles of the configured EHRs, what the profiles file sets of them, and what calls teach about them."""

import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from datetime import timedelta
from typing import Annotated, Any, TypeAlias

from cachetools import FIFOCache
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from gateway.domain.appointments import Capabilities, PatientDetail, PatientIdentification, Support
from gateway.domain.ehr_profile import EhrProfile, FanOut, FilterPolicy
from gateway.domain.errors import BadUserInput, FilterRequired, GatewayError, NotSupported
from gateway.domain.models import CareUnitKey
from gateway.domain.queries import Step, UnitLists
from gateway.domain.window import time_zone

_MOST_REMEMBERED = 10_000


def _known_time_zone(name: str) -> str:
    return time_zone(name).key


TimeZoneName: TypeAlias = Annotated[str, AfterValidator(_known_time_zone)]
"""The name of a time zone that is known."""


def _support(value: object) -> Support:
    found = _SUPPORT.get(value) if isinstance(value, bool | str) else None
    if found is None:
        raise ValueError('write true, false, or "unknown" to have it tried')
    return found


_SUPPORT = {True: Support.YES, False: Support.NO, "unknown": Support.UNKNOWN}
SupportOverride: TypeAlias = Annotated[Support, BeforeValidator(_support)]
"""Whether an EHR can do something, as TOML says it."""


def _in_capitals(value: object) -> object:
    return [each.upper() if isinstance(each, str) else each for each in value] if isinstance(value, list) else value


class CareUnitOverride(BaseModel):
    """A table of the profiles file below an EHR's: what it sets for one care unit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    time_zone: TimeZoneName | None = None


class ProfileOverride(BaseModel):
    """One table of the profiles file: what it sets of an EHR's profile."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    filter_policy: FilterPolicy | None = None
    longest_window_days: Annotated[int, Field(strict=True, ge=1, le=3660)] | None = None
    time_zone: TimeZoneName | None = None
    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)] | None = None
    names_resource: StrictBool | None = None
    names_service: StrictBool | None = None
    fan_out: FanOut | None = None
    past: StrictBool | None = None
    calls_per_minute: Annotated[int, Field(strict=True, ge=1, le=100_000)] | None = None
    care_units: dict[str, CareUnitOverride] | None = None
    book: SupportOverride | None = None
    confirm_by_code: SupportOverride | None = None
    cancel: SupportOverride | None = None
    reschedule: SupportOverride | None = None
    list_appointments: SupportOverride | None = None
    checks_timeslots: SupportOverride | None = None
    patient_by: Annotated[frozenset[PatientIdentification], BeforeValidator(_in_capitals)] | None = None
    required_patient_details: Annotated[frozenset[PatientDetail], BeforeValidator(_in_capitals)] | None = None
    maximum_comment_length: Annotated[int, Field(strict=True, ge=0, le=2_000)] | None = None

    def applied_to(self, profile: EhrProfile) -> EhrProfile:
        """Give the profile with what this table sets."""
        own = {each.name for each in fields(Capabilities)}
        capabilities = self.model_dump(exclude_none=True, include=own)
        others = {"longest_window_days", "time_zone", "care_units"} | own
        changes: dict[str, Any] = self.model_dump(exclude_none=True, exclude=others)
        if capabilities:
            changes["capabilities"] = replace(profile.capabilities, **capabilities)
        if self.longest_window_days is not None:
            changes["longest_window"] = timedelta(days=self.longest_window_days)
        if self.time_zone is not None:
            changes["time_zone"] = time_zone(self.time_zone)
        if self.care_units is not None:
            zones = {leyr_id: unit.time_zone for leyr_id, unit in self.care_units.items()}
            changes["unit_time_zones"] = {leyr_id: time_zone(zone) for leyr_id, zone in zones.items() if zone}
        return replace(profile, **changes)


class ProfilesError(Exception):
    """The profiles file is wrong; each line of the message says where and why."""


def read_profiles(text: bytes) -> dict[str, ProfileOverride]:
    """Read a profiles file: TOML with a table for each EHR code. Raises ProfilesError."""
    try:
        tables = tomllib.loads(text.decode())
    # Beside its own errors the parser raises those of huge numbers and of deep nesting.
    except (ValueError, RecursionError) as error:
        raise ProfilesError(f"the file is not TOML: {error}") from None
    try:
        return TypeAdapter(dict[str, ProfileOverride]).validate_python(tables)
    except ValidationError as error:
        raise ProfilesError("\n".join(_error_lines(error))) from None


def _error_lines(error: ValidationError) -> Iterator[str]:
    """Where each error is, a table as the file has it since ids of care units tell upper case, and what is wrong."""
    for each in error.errors(include_url=False, include_input=False, include_context=False):
        *table, key = map(str, each["loc"])
        text = each["msg"].removeprefix("Value error, ")
        yield f"[{'.'.join(table)}] {key.upper()}: {text}" if table else f"[{key}]: {text}"


class Profiles:
    """The configured EHRs in order, the default first; what is learned lasts as long as the process."""

    def __init__(
        self, profiles: Iterable[EhrProfile], on_learned: Callable[[EhrProfile], None] = lambda _: None
    ) -> None:
        self._on_learned = on_learned
        self._lacks_owner: FIFOCache[CareUnitKey, UnitLists] = FIFOCache(_MOST_REMEMBERED)
        self.configure(profiles)
        if not self._profiles:
            raise ValueError("at least one EHR is needed")

    def configure(self, profiles: Iterable[EhrProfile]) -> None:
        """Take these profiles instead of those so far; what was learned of filters is learned again."""
        self._profiles = {profile.code: profile for profile in profiles}
        self._in_other_zones: dict[CareUnitKey, EhrProfile] = {}
        for profile in self._profiles.values():
            self._set_in_other_zones(profile)

    @property
    def all(self) -> tuple[EhrProfile, ...]:
        """Every configured EHR."""
        return tuple(self._profiles.values())

    @property
    def default(self) -> EhrProfile:
        """The EHR of queries that name none."""
        return next(iter(self._profiles.values()))

    def of(self, code: str, shown: Callable[[str], bool] = lambda _: True) -> EhrProfile:
        """The profile of an EHR code. Raises BadUserInput where it is not configured.

        The message names the configured ones for which `shown` is true.
        """
        try:
            return self._profiles[code]
        except KeyError:
            known = ", ".join(filter(shown, self._profiles)) or "none"
            raise BadUserInput(f"This EHR is not configured here; the configured ones are: {known}") from None

    def of_unit(self, care_unit: CareUnitKey) -> EhrProfile:
        """The profile of a care unit's EHR, with its own time zone, and what its own slots name.

        Raises BadUserInput as `of` does.
        """
        profile = self._in_other_zones.get(care_unit) or self.of(care_unit.emr)
        lacks_owner = self._lacks_owner.get(care_unit)
        if lacks_owner is None:
            return profile
        return profile.after_lacking_owner(resource=lacks_owner.resources, service=lacks_owner.services)

    def learn(self, proved: EhrProfile) -> None:
        """Remember the filter policy that a call proved; what slots name is remembered for each care unit."""
        known = self._profiles[proved.code]
        learned = replace(known, filter_policy=proved.filter_policy)
        if known != learned:
            self._profiles[proved.code] = learned
            self._set_in_other_zones(learned)
            self._on_learned(learned)

    def _set_in_other_zones(self, profile: EhrProfile) -> None:
        for leyr_id, zone in profile.unit_time_zones.items():
            self._in_other_zones[CareUnitKey(profile.code, leyr_id)] = replace(profile, time_zone=zone)

    def learn_lacks_owner(self, care_unit: CareUnitKey, found: UnitLists) -> None:
        """Remember that slots of a care unit did not name their resource, or their service."""
        self._lacks_owner[care_unit] = self._lacks_owner.get(care_unit, UnitLists.NONE) | found


def suspected_profile(known: EhrProfile, refused: Step, error: GatewayError) -> EhrProfile | None:
    """The profile that a refused step suggests; None where the refusal says nothing about filters.

    Leyr documents no single error for a missing filter (leyr-api 5.3): FilterRequired always means it, any other
    NotSupported only where the step carried no filter at all. Only a call that then succeeds proves the profile.
    """
    resource, service = refused.resource is not None, refused.service is not None
    if not isinstance(error, FilterRequired) and (not isinstance(error, NotSupported) or resource or service):
        return None
    stricter = known.after_refusing(resource=resource, service=service)
    return None if refused.allowed_by(stricter.filter_policy) else stricter
