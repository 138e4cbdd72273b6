"""The words of planning: what is wanted of a care unit's timeslots, and the calls that bring it."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.domain.ehr_profile import EhrProfile, FilterPolicy
from gateway.domain.models import CareUnitKey
from gateway.domain.window import Window


@dataclass(frozen=True, slots=True)
class TimeslotQuery:
    """Free times of a care unit inside a window, of one resource or service where given (Leyr's ids)."""

    care_unit: CareUnitKey
    window: Window
    resource: str | None = None
    service: str | None = None

    def within(self, window: Window) -> "TimeslotQuery":
        """The same, in another window."""
        if window is self.window:
            return self
        return TimeslotQuery(self.care_unit, window, self.resource, self.service)

    def covers(self, other: "TimeslotQuery") -> bool:
        """Whether the answer to this contains the answer to `other`."""
        return (
            self.care_unit == other.care_unit
            and self.window.contains(other.window)
            and (self.resource is None or self.resource == other.resource)
            and (self.service is None or self.service == other.service)
        )

    def settles(self, other: "TimeslotQuery", profile: EhrProfile) -> bool:
        """Whether the share of `other` can be told apart in the answer to this, by what the EHR's slots name."""
        return (
            self.covers(other)
            and (profile.names_resource or self.resource == other.resource)
            and (profile.names_service or self.service == other.service)
        )

    def allowed_by(self, policy: FilterPolicy) -> bool:
        """Whether an EHR of this policy accepts it as one call."""
        return policy.allows(resource=self.resource is not None, service=self.service is not None)


class Step(TimeslotQuery):
    """One upstream call; its answer may serve many queries."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class ListedIds:
    """The Leyr ids of a care unit's resources and services, as far as they are known."""

    resources: tuple[str, ...] | None = None
    services: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class UnitLists:
    """A choice among the two lists of a care unit."""

    resources: bool = False
    services: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps to take, and which of them serve each query."""

    steps: tuple[Step, ...]
    serving: Mapping[TimeslotQuery, tuple[Step, ...]]
