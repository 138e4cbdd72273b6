"""The profiles of the configured EHRs, and what calls teach about them."""

from collections.abc import Callable, Iterable

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.errors import BadUserInput, FilterRequired, GatewayError, NotSupported
from gateway.domain.queries import Step


class Profiles:
    """The configured EHRs in order, the default first; what is learned lasts as long as the process."""

    def __init__(
        self, profiles: Iterable[EhrProfile], on_learned: Callable[[EhrProfile], None] = lambda _: None
    ) -> None:
        self._on_learned = on_learned
        self._profiles = {profile.code: profile for profile in profiles}
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

    def remember(self, learned: EhrProfile) -> None:
        """Keep a profile that a call proved."""
        if self._profiles[learned.code] != learned:
            self._profiles[learned.code] = learned
            self._on_learned(learned)


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
