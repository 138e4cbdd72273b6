"""The queries that callers ask, the upstream calls that answer them, and each query's share of an answer.

A share is cut from a wider answer by what the slots name. A slot that does not name its resource may belong to
any of them, so such an answer settles nothing about one resource, and that one is asked for by itself.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Flag
from itertools import product
from typing import Self, TypeAlias

from gateway.domain.ehr_profile import EhrProfile, FanOut, FilterPolicy
from gateway.domain.models import CareUnitKey
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import Window

Filters: TypeAlias = tuple[str | None, str | None]
"""A resource and a service, each of them None where all are meant."""


_ANY_ID = "any"
_BY_RESOURCE = frozenset({FilterPolicy.RESOURCE, FilterPolicy.BOTH})
_BY_SERVICE = frozenset({FilterPolicy.SERVICE, FilterPolicy.BOTH})


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
_FAN_OUT = {FanOut.RESOURCES: UnitLists.RESOURCES, FanOut.SERVICES: UnitLists.SERVICES, FanOut.BOTH: UnitLists.BOTH}


class TooManyCallsError(Exception):
    """A plan takes more `calls` than it may."""

    def __init__(self, calls: int) -> None:
        super().__init__(calls)
        self.calls = calls


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps to take, and which of them serve each query."""

    steps: tuple[Step, ...]
    serving: Mapping[TimeslotQuery, tuple[Step, ...]]


def lists_spread_over(query: TimeslotQuery, profile: EhrProfile) -> UnitLists:
    """The lists over whose ids a query is spread, as the EHR wants a filter that it lacks; NONE where it does not.

    They depend on the profile alone: were it on the lists that are at hand, the answer would depend on what else is
    asked, because slots outside every filter are not found.
    """
    policy = profile.filter_policy
    if query.allowed_by(policy):
        return UnitLists.NONE
    if policy is FilterPolicy.ANY_ONE:
        return _FAN_OUT[profile.fan_out]
    return UnitLists.of(
        resources=policy in _BY_RESOURCE and query.resource is None,
        services=policy in _BY_SERVICE and query.service is None,
    )


def asked_each(query: TimeslotQuery, profile: EhrProfile) -> UnitLists:
    """The lists of whose ids each is asked for whatever else its slots name, so that all that it has is found."""
    lists = lists_spread_over(query, profile)
    return UnitLists.NONE if lists is UnitLists.BOTH and profile.filter_policy is FilterPolicy.BOTH else lists


def spread(query: TimeslotQuery, profile: EhrProfile, listed_ids: ListedIds) -> list[TimeslotQuery]:
    """The parts of a query that the EHR accepts: the query itself, or one for each listed resource or service.

    Where the EHR wants both filters, each resource is asked for with each service; where any one of them will do, each
    resource and each service is asked for by itself. A slot that is in the answers to several parts counts once.
    """
    lists = lists_spread_over(query, profile)
    if lists is UnitLists.NONE:
        return [query]
    resources, services = listed_ids.resources or (), listed_ids.services or ()
    pairs: Iterable[Filters]
    if profile.filter_policy is FilterPolicy.ANY_ONE:
        pairs = [(each, None) for each in resources if lists.resources]
        pairs += [(None, each) for each in services if lists.services]
    else:
        pairs = product(
            resources if lists.resources else (query.resource,), services if lists.services else (query.service,)
        )
    return [TimeslotQuery(query.care_unit, query.window, *filters) for filters in pairs]


def number_of_parts(query: TimeslotQuery, profile: EhrProfile, listed_ids: ListedIds) -> int:
    """How many parts `spread` makes, found without making them."""
    lists = lists_spread_over(query, profile)
    resources = len(listed_ids.resources or ()) if lists.resources else 0
    services = len(listed_ids.services or ()) if lists.services else 0
    if profile.filter_policy is FilterPolicy.ANY_ONE and lists is not UnitLists.NONE:
        return resources + services
    return (resources if lists.resources else 1) * (services if lists.services else 1)


def holds_answer(container: TimeslotQuery, query: TimeslotQuery, profile: EhrProfile) -> bool:
    """Whether the parts of one query hold all that those of another do, whatever the unit's lists hold.

    The parts of a query that is spread exist for listed ids only, so they hold no answer to one that names such an
    id itself: that may be an id that no list holds, or its slots may lack the other owner.
    """
    return container.settles(query, profile) and _spread_alike(container, query, profile)


def _spread_alike(container: TimeslotQuery, query: TimeslotQuery, profile: EhrProfile) -> bool:
    """Whether the ids that one query is spread over do not keep its parts from holding the answer to another."""
    return container.allowed_by(profile.filter_policy) or (
        lists_spread_over(container, profile) is lists_spread_over(query, profile)
    )


def kept_filters(part: TimeslotQuery, profile: EhrProfile) -> Filters:
    """The filters that every call for a query has that the EHR accepts, whatever the query is planned with.

    So queries that differ in them are at least as many calls.
    """
    policy, (resource, service) = profile.filter_policy, part.filters
    is_one_needed = policy is FilterPolicy.ANY_ONE and part.filter_count == 1
    keeps_resource = is_one_needed or policy in _BY_RESOURCE or not profile.names_resource
    keeps_service = is_one_needed or policy in _BY_SERVICE or not profile.names_service
    return resource if keeps_resource else None, service if keeps_service else None


def serves(step: Step, query: TimeslotQuery) -> bool:
    """Whether a step's answer can hold slots of a query."""
    return (
        step.window.overlaps(query.window)
        and (query.resource is None or step.resource in {None, query.resource})
        and (query.service is None or step.service in {None, query.service})
    )


def partition(query: TimeslotQuery, step: Step, answer: TimeslotList) -> TimeslotList | None:
    """A query's share of the answer to a step; None where the slots do not tell which are its own."""
    share = answer
    if query.resource is not None:
        if share.of_resource(None).slots:
            return _share_by_groups(query, step, answer)
        share = share.of_resource(query.resource)
    if query.service is not None:
        if share.of_service(None).slots:
            return _share_by_groups(query, step, answer)
        share = share.of_service(query.service)
    return share.within(query.window)


def lacks_owner(query: TimeslotQuery, step: Step, answer: TimeslotList) -> UnitLists:
    """What the slots that may belong to a query do not name: their resource, their service; NONE where all are told."""
    resource = service = False
    for _, by_resource, by_service in _candidates(query, step, answer):
        resource |= not by_resource
        service |= not by_service
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


def _share_by_groups(query: TimeslotQuery, step: Step, answer: TimeslotList) -> TimeslotList | None:
    """The share where some slots lack an owner, and may have to be found in several groups."""
    shares = []
    for slots, by_resource, by_service in _candidates(query, step, answer):
        if not (by_resource and by_service):
            return None
        shares.append(slots)
    if len(shares) == 1:
        return shares[0]
    inside = answer.within(query.window)
    if sum(map(len, shares)) == len(inside):
        return inside
    # Picked out of what is in order already, since sorting what was found would take longer.
    found = {id(slot) for share in shares for slot in share.slots}
    return inside.where(lambda slot: id(slot) in found)


def _candidates(query: TimeslotQuery, step: Step, answer: TimeslotList) -> Iterator[tuple[TimeslotList, bool, bool]]:
    """Slots inside a query's window that may belong to it, none of them empty, by what they name.

    The flags say whether they are known to be of its resource, and of its service.
    """
    for of_resource, by_resource in _matching(answer, answer.of_resource, query.resource, step.resource):
        for group, by_service in _matching(of_resource, of_resource.of_service, query.service, step.service):
            slots = group.within(query.window)
            if slots.slots:
                yield slots, by_resource, by_service


def _matching(
    slots: TimeslotList, of: Callable[[str | None], TimeslotList], wanted: str | None, asked: str | None
) -> Iterator[tuple[TimeslotList, bool]]:
    """The slots that are of the wanted id, and those that name none.

    These belong to the one that the step asked the EHR for, if it asked for one; else it is not known whose they are.
    """
    if wanted is None:
        yield slots, True
    else:
        yield of(wanted), True
        yield of(None), asked == wanted


def containing(filters: Filters, profile: EhrProfile) -> list[Filters]:
    """The filters of queries that may settle one with these: its own first, and the fewest last."""
    resource, service = filters
    found = [filters]
    if resource is not None and profile.names_resource:
        found.append((None, service))
    if service is not None and profile.names_service:
        found += [(each, None) for each, _ in found]
    return found


def wider_filters(query: TimeslotQuery, profile: EhrProfile) -> list[Filters]:
    """The filters of the calls with fewer filters than a query that together hold what its answer should.

    For a query by an id that Leyr refuses: slots may name one that the lists leave out.
    """
    allows = profile.filter_policy.allows
    found = [
        (resource, service)
        for resource, service in containing(query.filters, profile)[1:]
        if allows(resource=resource is not None, service=service is not None)
    ]
    return [(None, None)] if (None, None) in found else found


def holds_each_answer(query: TimeslotQuery, named: UnitLists, profile: EhrProfile) -> bool:
    """Whether a query's parts hold the answers to the same query of each resource, or of each service, of its unit."""
    of_one = TimeslotQuery(
        query.care_unit,
        query.window,
        _ANY_ID if named.resources else query.resource,
        _ANY_ID if named.services else query.service,
    )
    return holds_answer(query, of_one, profile)


class Containers:
    """Queries of one care unit; those that another with the same filters contains are left out.

    Of what is left under the same filters, the last to start is the last to end, so a container is found by bisection.
    """

    __slots__ = ("_by_filters",)

    def __init__(self) -> None:
        self._by_filters: dict[Filters, tuple[list[datetime], list[TimeslotQuery]]] = {}

    def add(self, query: TimeslotQuery) -> None:
        """Add a query."""
        window = query.window
        starts, queries = self._by_filters.setdefault(query.filters, ([], []))
        place = bisect_right(starts, window.start)
        if place and queries[place - 1].window.end >= window.end:
            return
        first = last = bisect_left(starts, window.start, 0, place)
        while last < len(queries) and queries[last].window.end <= window.end:
            last += 1
        starts[first:last], queries[first:last] = [window.start], [query]

    def of(self, query: TimeslotQuery, profile: EhrProfile) -> TimeslotQuery | None:
        """A query whose parts hold the answer to another, which it may be itself; None where there is none."""
        if not self._by_filters:
            return None
        for filters in containing(query.filters, profile):
            found = self._under(filters, query)
            if found is not None and _spread_alike(found, query, profile):
                return found
        return None

    def of_another(self, query: TimeslotQuery, profile: EhrProfile) -> TimeslotQuery | None:
        """The same, but never an equal query."""
        for filters in containing(query.filters, profile):
            found = self._under(filters, query)
            if found is not None and found != query and _spread_alike(found, query, profile):
                return found
        return None

    def _under(self, filters: Filters, query: TimeslotQuery) -> TimeslotQuery | None:
        starts, queries = self._by_filters.get(filters, ((), ()))
        place = bisect_right(starts, query.window.start)
        return queries[place - 1] if place and queries[place - 1].window.end >= query.window.end else None
