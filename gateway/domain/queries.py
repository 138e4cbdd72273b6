"""The queries that callers ask, the upstream calls that answer them, and each query's share of an answer.

A share is cut from a wider answer by what the slots name. A slot that does not name its resource may belong to
any of them, so such an answer settles nothing about one resource, and that one is asked for by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Flag
from typing import Self, TypeAlias

from gateway.domain.ehr_profile import EhrProfile, FilterPolicy
from gateway.domain.models import CareUnitKey, Timeslot
from gateway.domain.timeslots import TimeslotList
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
        return policy is FilterPolicy.NONE_REQUIRED or policy.allows(
            resource=self.resource is not None, service=self.service is not None
        )


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


def partition(query: TimeslotQuery, step: Step, answer: TimeslotList) -> TimeslotList | None:
    """A query's share of the answer to a step; None where the slots do not tell which are its own."""
    share = answer
    if query.resource is not None:
        if share.of_resource(None).slots:
            return _share_slot_by_slot(query, step, answer)
        share = share.of_resource(query.resource)
    if query.service is not None:
        if share.of_service(None).slots:
            return _share_slot_by_slot(query, step, answer)
        share = share.of_service(query.service)
    return share.within(query.window)


def lacks_owner(query: TimeslotQuery, step: Step, answer: TimeslotList) -> UnitLists:
    """What the slots that may belong to a query do not name: their resource, their service; NONE where all are told."""
    resource = service = False
    for slot in answer.within(query.window).slots:
        by_resource = _matches(slot.resource_id, query.resource, step.resource)
        by_service = _matches(slot.healthcare_service_id, query.service, step.service)
        resource |= by_resource is None and by_service is not False
        service |= by_service is None and by_resource is not False
    return UnitLists.of(resources=resource, services=service)


def unconfirmed_ids(query: TimeslotQuery, answers: Mapping[Step, TimeslotList]) -> UnitLists:
    """Which ids of a query are not known to exist: no step that Leyr answered asked for them, no slot names them.

    Asked for by itself, Leyr refuses an id that does not exist; a wider answer just holds no slot of it.
    """
    return UnitLists.of(
        resources=query.resource not in {None, *(step.resource for step in answers)}
        and not any(len(answer.of_resource(query.resource)) for answer in answers.values()),
        services=query.service not in {None, *(step.service for step in answers)}
        and not any(len(answer.of_service(query.service)) for answer in answers.values()),
    )


def _share_slot_by_slot(query: TimeslotQuery, step: Step, answer: TimeslotList) -> TimeslotList | None:
    """The share where some slots lack an owner, so that each has to be looked at."""
    candidates = answer.within(query.window)
    belongs = {id(slot): _belongs(slot, query, step) for slot in candidates.slots}
    return None if None in belongs.values() else candidates.where(lambda slot: belongs[id(slot)] is True)


def _belongs(slot: Timeslot, query: TimeslotQuery, step: Step) -> bool | None:
    by_resource = _matches(slot.resource_id, query.resource, step.resource)
    by_service = _matches(slot.healthcare_service_id, query.service, step.service)
    if by_resource is False or by_service is False:
        return False
    return None if by_resource is None or by_service is None else True


def _matches(named: str | None, wanted: str | None, asked: str | None) -> bool | None:
    """Whether a slot is of the wanted id; None where it cannot be told.

    A slot that names no id belongs to the one that the step asked the EHR for, if it asked for one.
    """
    if wanted is None or named == wanted:
        return True
    if named is None:
        return True if asked == wanted else None
    return False
