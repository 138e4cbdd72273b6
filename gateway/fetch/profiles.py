"""The profiles of the configured EHRs, and what calls teach about them."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.errors import BadUserInput, FilterRequired, GatewayError, NotSupported
from gateway.domain.models import CareUnitKey
from gateway.domain.queries import Step, UnitLists

V = TypeVar("V")

_MOST_UNITS_REMEMBERED = 10_000


class Profiles:
    """The configured EHRs in order, the default first; what is learned lasts as long as the process."""

    def __init__(
        self, profiles: Iterable[EhrProfile], on_learned: Callable[[EhrProfile], None] = lambda _: None
    ) -> None:
        self._on_learned = on_learned
        self._profiles = {profile.code: profile for profile in profiles}
        self._lacks_owner: dict[CareUnitKey, UnitLists] = {}
        if not self._profiles:
            raise ValueError("at least one EHR is needed")

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
        """The profile of a care unit's EHR, and of what its own slots name. Raises BadUserInput as `of` does."""
        profile = self.of(care_unit.emr)
        lacks_owner = self._lacks_owner.get(care_unit)
        if lacks_owner is None:
            return profile
        return profile.after_lacking_owner(resource=lacks_owner.resources, service=lacks_owner.services)

    def learn(self, proved: EhrProfile) -> None:
        """Remember the filter policy that a call proved; what slots name is remembered for each care unit."""
        known = self._profiles[proved.code]
        learned = replace(proved, names_resource=known.names_resource, names_service=known.names_service)
        if known != learned:
            self._profiles[proved.code] = learned
            self._on_learned(learned)

    def learn_lacks_owner(self, care_unit: CareUnitKey, found: UnitLists) -> None:
        """Remember that slots of a care unit did not name their resource, or their service."""
        remember(self._lacks_owner, care_unit, self._lacks_owner.get(care_unit, UnitLists.NONE) | found)


def remember(values: dict[CareUnitKey, V], care_unit: CareUnitKey, value: V) -> None:
    """Set the value of a care unit; of too many, the oldest is forgotten."""
    values.pop(care_unit, None)
    if len(values) >= _MOST_UNITS_REMEMBERED:
        del values[next(iter(values))]
    values[care_unit] = value


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
