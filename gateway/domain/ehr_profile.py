"""What one EHR can do with a timeslots call (leyr-api 5.3), and with appointments (leyr-api 3.4 and 5.2)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from gateway.domain.appointments import Capabilities, PatientDetail, PatientIdentification, Support
from gateway.domain.window import time_zone


class FilterPolicy(StrEnum):
    """Which filters a timeslots call must carry."""

    NONE_REQUIRED = "none_required"
    ANY_ONE = "any_one"
    RESOURCE = "resource"
    SERVICE = "service"
    BOTH = "both"

    def allows(self, *, resource: bool, service: bool) -> bool:
        """Whether a call with these filters set is accepted."""
        match self:
            case FilterPolicy.NONE_REQUIRED:
                return True
            case FilterPolicy.ANY_ONE:
                return resource or service
            case FilterPolicy.RESOURCE:
                return resource
            case FilterPolicy.SERVICE:
                return service
            case FilterPolicy.BOTH:
                return resource and service


class FanOut(StrEnum):
    """Over which lists a query without a filter is spread, where an EHR wants any one filter.

    A slot that names no service is found by the calls for resources alone, one that names no resource by those for
    services. So an EHR whose slots may lack an owner needs both.
    """

    RESOURCES = "resources"
    SERVICES = "services"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class EhrProfile:
    """The behaviour of one EHR; `longest_window` None means that no limit is known.

    `names_resource` and `names_service` say whether its slots name theirs; where they do not, only the answer to a
    call with that filter tells whose its slots are. `fan_out` counts under `FilterPolicy.ANY_ONE` only, and is never
    learned from calls, since another fan-out may find other slots. `past` says whether a call's window may begin before
    now. No minute has more than `calls_per_minute`, where there is such a limit. `unit_time_zones` holds the zones of
    care units, by Leyr's id, that lie in another one than `time_zone`.
    """

    code: str
    name: str
    filter_policy: FilterPolicy = FilterPolicy.NONE_REQUIRED
    longest_window: timedelta | None = None
    time_zone: ZoneInfo = field(default_factory=lambda: time_zone("Europe/Stockholm"))
    names_resource: bool = field(default=True, kw_only=True)
    names_service: bool = field(default=True, kw_only=True)
    fan_out: FanOut = field(default=FanOut.SERVICES, kw_only=True)
    past: bool = field(default=True, kw_only=True)
    calls_per_minute: int | None = field(default=None, kw_only=True)
    unit_time_zones: Mapping[str, ZoneInfo] = field(default_factory=dict, kw_only=True, hash=False)
    capabilities: Capabilities = field(default_factory=Capabilities, kw_only=True, hash=False)
    needs_unit_lists: bool = field(init=False, compare=False, repr=False)
    """Whether the calls depend on what a care unit lists."""
    is_plain: bool = field(init=False, compare=False, repr=False)
    """Whether one call is enough for any query, and the slots name their owners."""

    def __post_init__(self) -> None:
        needs = not (self.filter_policy is FilterPolicy.NONE_REQUIRED and self.names_resource and self.names_service)
        object.__setattr__(self, "needs_unit_lists", needs)
        object.__setattr__(self, "is_plain", self.longest_window is None and not needs)

    def after_refusing(self, *, resource: bool, service: bool) -> "EhrProfile":
        """The profile after the EHR refused a call with these filters because it lacks another.

        Nothing changes where the profile forbade that call already, or where it carried both filters.
        """
        policy = self.filter_policy
        if (resource and service) or not policy.allows(resource=resource, service=service):
            return self
        match resource, service:
            case False, False:
                policy = FilterPolicy.ANY_ONE
            case True, False:
                policy = FilterPolicy.BOTH if policy is FilterPolicy.RESOURCE else FilterPolicy.SERVICE
            case _:
                policy = FilterPolicy.BOTH if policy is FilterPolicy.SERVICE else FilterPolicy.RESOURCE
        return replace(self, filter_policy=policy)

    def after_lacking_owner(self, *, resource: bool, service: bool) -> "EhrProfile":
        """The profile after slots of a call without that filter did not name their resource, or their service."""
        learned = (self.names_resource and not resource, self.names_service and not service)
        if learned == (self.names_resource, self.names_service):
            return self
        return replace(self, names_resource=learned[0], names_service=learned[1])


def shipped_profile(code: str) -> EhrProfile:
    """The profile that the gateway ships for an EHR code.

    One that it does not know is assumed to need no filter, until the EHR refuses a call.
    """
    name, policy, zone = _SHIPPED.get(code, (code, FilterPolicy.NONE_REQUIRED, "Europe/Stockholm"))
    capabilities = _CAPABILITIES.get(code, Capabilities(required_patient_details=_NAMES))
    return EhrProfile(code, name, policy, None, time_zone(zone), capabilities=capabilities)


_SHIPPED = {
    "webdoc": ("WebDoc", FilterPolicy.NONE_REQUIRED, "Europe/Stockholm"),
    "kaddio": ("Kaddio", FilterPolicy.NONE_REQUIRED, "Europe/Stockholm"),
    "cliniko": ("Cliniko", FilterPolicy.NONE_REQUIRED, "Europe/Stockholm"),
    "pridok": ("Pridok", FilterPolicy.NONE_REQUIRED, "Europe/Oslo"),
    "physica": ("Physica", FilterPolicy.NONE_REQUIRED, "Europe/Oslo"),
    "takecare": ("TakeCare", FilterPolicy.ANY_ONE, "Europe/Stockholm"),
    "anitasystems": ("Anita Systems", FilterPolicy.ANY_ONE, "Europe/Oslo"),
    "konfidens": ("Konfidens", FilterPolicy.ANY_ONE, "Europe/Oslo"),
    "pasientsky": ("PasientSky", FilterPolicy.NONE_REQUIRED, "Europe/Oslo"),
}

_YES, _NO = Support.YES, Support.NO
# Leyr takes no patient without them (leyr-api 2.9).
_NAMES = frozenset({PatientDetail.FIRST_NAME, PatientDetail.LAST_NAME})
_BY_ANY = frozenset(PatientIdentification)
_BY_NO_NUMBER = _BY_ANY - {PatientIdentification.NATIONAL_NUMBER}
# What the documentation says an EHR does, or lets expect it to do, is YES; NO is only what it says outright, so that
# everything else is tried.
_CAPABILITIES = {
    "webdoc": Capabilities(book=_YES, required_patient_details=_NAMES),
    "kaddio": Capabilities(book=_YES, reschedule=_NO, list_appointments=_YES, required_patient_details=_NAMES),
    "cliniko": Capabilities(
        book=_YES,
        cancel=_YES,
        reschedule=_YES,
        list_appointments=_YES,
        # Its own API takes appointments that overlap, and lists the conflicts afterwards.
        checks_timeslots=_NO,
        patient_by=_BY_NO_NUMBER,
        required_patient_details=_NAMES,
    ),
    "takecare": Capabilities(
        book=_YES,
        cancel=_YES,
        reschedule=_YES,
        list_appointments=_YES,
        required_patient_details=_NAMES | {PatientDetail.NATIONAL_NUMBER},
    ),
    # It is newer than the table of patient ids.
    "konfidens": Capabilities(
        book=_YES, cancel=_YES, required_patient_details=_NAMES | {PatientDetail.NATIONAL_NUMBER}
    ),
    "anitasystems": Capabilities(
        book=_YES,
        confirm_by_code=_YES,
        list_appointments=_NO,
        patient_by=_BY_NO_NUMBER,
        required_patient_details=_NAMES | {PatientDetail.PHONE},
    ),
    "pridok": Capabilities(book=_YES, patient_by=_BY_NO_NUMBER, required_patient_details=_NAMES),
    "physica": Capabilities(book=_YES, patient_by=_BY_NO_NUMBER, required_patient_details=_NAMES),
    "pasientsky": Capabilities(patient_by=_BY_NO_NUMBER, required_patient_details=_NAMES),
}
