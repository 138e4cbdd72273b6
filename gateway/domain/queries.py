"""What planning works on: the queries that callers ask, and the upstream calls that answer them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Flag
from typing import Self, TypeAlias

from gateway.domain.ehr_profile import EhrProfile, FilterPolicy
from gateway.domain.models import CareUnitKey
from gateway.domain.window import Window

Filters: TypeAlias = tuple[str | None, str | None]
"""A resource and a service, each of them None where all are meant."""


@dataclass(frozen=True, slots=True)
class TimeslotQuery:
    """Free times of a care unit inside a window, of one resource or service where given (Leyr's ids)."""

    care_unit: CareUnitKey
    window: Window
    resource: str | None = None
    service: str | None = None

    @property
    def filters(self) -> Filters:
        """The resource and the service."""
        return self.resource, self.service

    @property
    def filter_count(self) -> int:
        """How many of the two filters are set."""
        return (self.resource is not None) + (self.service is not None)

    def within(self, window: Window) -> Self:
        """The same query for another window."""
        if window is self.window:
            return self
        return self.__class__(self.care_unit, window, self.resource, self.service)

    def covers(self, other: "TimeslotQuery") -> bool:
        """Whether the answer to this query contains the answer to `other`."""
        return (
            self.care_unit == other.care_unit
            and self.window.contains(other.window)
            and (self.resource is None or self.resource == other.resource)
            and (self.service is None or self.service == other.service)
        )

    def settles(self, other: "TimeslotQuery", profile: EhrProfile) -> bool:
        """Whether the answer to `other` can be cut from the answer to this query, by what the EHR's slots name."""
        return (
            self.covers(other)
            and (profile.names_resource or self.resource == other.resource)
            and (profile.names_service or self.service == other.service)
        )

    def allowed_by(self, policy: FilterPolicy) -> bool:
        """Whether an EHR of this policy accepts the query as one call."""
        return policy.allows(resource=self.resource is not None, service=self.service is not None)


class Step(TimeslotQuery):
    """One upstream call; its answer may serve many queries."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class ListedIds:
    """The Leyr ids of a care unit's resources and services; None for a list that is not known."""

    resources: tuple[str, ...] | None = None
    services: tuple[str, ...] | None = None

    @property
    def known(self) -> "UnitLists":
        """The lists whose ids are known."""
        return UnitLists.of(resources=self.resources is not None, services=self.services is not None)


class UnitLists(Flag):
    """A choice among the two lists of a care unit: its resources and its healthcare services."""

    NONE = 0
    RESOURCES = 1
    SERVICES = 2
    BOTH = RESOURCES | SERVICES

    def __init__(self, value: int) -> None:
        # Attributes of the four members, because planning reads them often, and `in` takes six times as long.
        self.resources = bool(value & 1)
        self.services = bool(value & 2)

    @classmethod
    def of(cls, *, resources: bool, services: bool) -> "UnitLists":
        """The member for a condition on each list; the operators take eight times as long."""
        return _BY_VALUE[resources + 2 * services]


_BY_VALUE = (UnitLists.NONE, UnitLists.RESOURCES, UnitLists.SERVICES, UnitLists.BOTH)


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps to take, and which of them serve each query."""

    steps: tuple[Step, ...]
    serving: Mapping[TimeslotQuery, tuple[Step, ...]]
