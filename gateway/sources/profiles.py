"""The profiles of the configured EHRs, and what calls teach about them."""

from collections.abc import Iterable

from gateway.domain.ehr import EhrProfile
from gateway.domain.errors import BadUserInput, FilterRequired, NotSupported
from gateway.domain.planning import Step


class Profiles:
    """The configured EHRs in order, the default first; what is learned lasts as long as the process."""

    def __init__(self, profiles: Iterable[EhrProfile]) -> None:
        self._profiles = {profile.code: profile for profile in profiles}
        if not self._profiles:
            raise ValueError("at least one EHR is needed")

    @property
    def all(self) -> tuple[EhrProfile, ...]:
        """Every configured EHR."""
        return tuple(self._profiles.values())

    @property
    def default(self) -> EhrProfile:
        """The EHR that a query means when it names none."""
        return next(iter(self._profiles.values()))

    def of(self, code: str) -> EhrProfile:
        """The profile of an EHR code. Raises BadUserInput where it is not configured."""
        try:
            return self._profiles[code]
        except KeyError:
            known = ", ".join(self._profiles)
            raise BadUserInput(f"This EHR is not configured here; the configured ones are: {known}") from None

    def learn(self, refused: Step, error: NotSupported) -> bool:
        """Remember what a refusal says about filters; True where the EHR's profile now forbids that step.

        Leyr documents no one error for a missing filter (leyr-api 5.3): FilterRequired says it plainly, any
        other NotSupported only counts against a step that carried no filter at all.
        """
        known = self._profiles[refused.care_unit.emr]
        resource, service = refused.resource is not None, refused.service is not None
        if isinstance(error, FilterRequired) or not (resource or service):
            self._profiles[known.code] = known.after_refusing(resource=resource, service=service)
        return not refused.allowed_by(self._profiles[known.code].filter_policy)
