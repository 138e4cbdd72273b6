"""The fewest upstream calls that answer a set of timeslot queries, and each query's share of the answers.

A query is what one field wants, a step is one upstream call. Planning goes in three moves, all per care unit:

1. Spread. A query that the EHR's filter policy forbids becomes several that it allows: one per resource or
   service of the roster.
2. Cover. What is asked for is merged while that saves calls: windows that overlap or touch are joined, and
   where two resources (or services) are asked for in touching windows, one call without that filter serves
   both. A merged window is never longer than its parts together, so cutting it never costs a call more.
3. Cut. A window longer than the EHR takes becomes pieces.

A share is cut from a wider answer by what the slots name. A slot that does not name its resource may belong to
any of them, so such an answer settles nothing about one resource, and that one is asked for by itself.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import product

from gateway.domain.cutting import cut
from gateway.domain.ehr import EhrProfile, FilterPolicy
from gateway.domain.models import CareUnitKey, Timeslot
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import Window


@dataclass(frozen=True, slots=True)
class TimeslotQuery:
    """Free times of a care unit inside a window, of one resource or service where given (Leyr's ids)."""

    care_unit: CareUnitKey
    window: Window
    resource: str | None = None
    service: str | None = None

    def covers(self, other: "TimeslotQuery") -> bool:
        """Whether the answer to this contains the answer to `other`."""
        return (
            self.care_unit == other.care_unit
            and self.window.contains(other.window)
            and self.resource in {None, other.resource}
            and self.service in {None, other.service}
        )

    def allowed_by(self, policy: FilterPolicy) -> bool:
        """Whether an EHR of this policy accepts it as one call."""
        return policy.allows(resource=self.resource is not None, service=self.service is not None)


class Step(TimeslotQuery):
    """One upstream call; its answer may serve many queries."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Roster:
    """The Leyr ids of a care unit's resources and services, as far as they are known."""

    resources: tuple[str, ...] | None = None
    services: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Lists:
    """A choice among the two lists of a care unit."""

    resources: bool = False
    services: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps to take, and which of them serve each query."""

    steps: tuple[Step, ...]
    serving: Mapping[TimeslotQuery, tuple[Step, ...]]


def roster_need(queries: Iterable[TimeslotQuery], policy: FilterPolicy, at_hand: Lists) -> Lists:
    """The lists that `plan` needs for these queries, given those that are fetched anyway.

    Where either list would do and none is at hand, it is the services: a clinic has fewer kinds of visit than
    people.
    """
    forbidden = [query for query in queries if not query.allowed_by(policy)]
    if not forbidden:
        return Lists()
    if policy is FilterPolicy.ANY_ONE:
        return at_hand if at_hand != Lists() else Lists(services=True)
    return Lists(
        resources=policy is not FilterPolicy.SERVICE and any(query.resource is None for query in forbidden),
        services=policy is not FilterPolicy.RESOURCE and any(query.service is None for query in forbidden),
    )


def plan(queries: Sequence[TimeslotQuery], profile: EhrProfile, roster: Roster) -> Plan:
    """The fewest calls whose answers contain every query, none of them against the EHR's profile.

    All queries are about one care unit. The roster holds what `roster_need` asked for.
    """
    parts = {query: _spread(query, profile.filter_policy, roster) for query in queries}
    covering = _cover((part for each in parts.values() for part in each), profile.filter_policy)
    pieces = {whole: _cut(whole, profile) for whole in covering}
    serving = {
        query: tuple(
            dict.fromkeys(
                piece
                for part in each
                for piece in pieces[next(whole for whole in covering if whole.covers(part))]
                if overlaps(piece.window, part.window)
            )
        )
        for query, each in parts.items()
    }
    return Plan(tuple(piece for each in pieces.values() for piece in each), serving)


def serves(step: Step, query: TimeslotQuery) -> bool:
    """Whether a step's answer can hold slots of a query."""
    return (
        overlaps(step.window, query.window)
        and (query.resource is None or step.resource in {None, query.resource})
        and (query.service is None or step.service in {None, query.service})
    )


def partition(query: TimeslotQuery, answers: Mapping[Step, TimeslotList]) -> TimeslotList | None:
    """A query's share of the answers that serve it; None where the slots do not tell which are its own."""
    shares: list[TimeslotList] = []
    for step, answer in answers.items():
        share = _share(query, step, answer)
        if share is None:
            return None
        shares.append(share)
    return shares[0] if len(shares) == 1 else TimeslotList(slot for share in shares for slot in share.slots)


def unproven(query: TimeslotQuery, answers: Mapping[Step, TimeslotList]) -> Lists:
    """Which ids of a query nothing vouches for: no step that Leyr answered asked for them, no slot names them.

    Asked alone, Leyr refuses an id that does not exist; a wider answer just holds nothing of it.
    """
    slots = [slot for answer in answers.values() for slot in answer.slots]
    return Lists(
        resources=query.resource not in {None, *(step.resource for step in answers)}
        and all(slot.resource_id != query.resource for slot in slots),
        services=query.service not in {None, *(step.service for step in answers)}
        and all(slot.healthcare_service_id != query.service for slot in slots),
    )


def overlaps(one: Window, other: Window) -> bool:
    """Whether two windows have an instant in common."""
    return one.start < other.end and other.start < one.end


def _share(query: TimeslotQuery, step: Step, answer: TimeslotList) -> TimeslotList | None:
    candidates, unchecked = answer, (query.resource is not None) + (query.service is not None)
    if query.resource is not None and step.resource is None:
        nameless = answer.of_resource(None).within(query.window)
        if any(
            _matches(slot.healthcare_service_id, query.service, step.service) is not False for slot in nameless.slots
        ):
            return None
        candidates, unchecked = answer.of_resource(query.resource), unchecked - 1
    elif query.service is not None and step.service is None:
        nameless = answer.of_service(None).within(query.window)
        if any(_matches(slot.resource_id, query.resource, step.resource) is not False for slot in nameless.slots):
            return None
        candidates, unchecked = answer.of_service(query.service), unchecked - 1
    candidates = candidates.within(query.window)
    if not unchecked:
        return candidates
    verdicts = {id(slot): _belongs(slot, query, step) for slot in candidates.slots}
    return None if None in verdicts.values() else candidates.where(lambda slot: verdicts[id(slot)] is True)


def _belongs(slot: Timeslot, query: TimeslotQuery, step: Step) -> bool | None:
    by_resource = _matches(slot.resource_id, query.resource, step.resource)
    by_service = _matches(slot.healthcare_service_id, query.service, step.service)
    if by_resource is False or by_service is False:
        return False
    return None if by_resource is None or by_service is None else True


def _matches(named: str | None, wanted: str | None, asked: str | None) -> bool | None:
    """Whether a slot is of the wanted id. One that names none is what the EHR was asked for, if it was asked."""
    if wanted is None or named == wanted:
        return True
    if named is None:
        return True if asked == wanted else None
    return False


def _spread(query: TimeslotQuery, policy: FilterPolicy, roster: Roster) -> list[TimeslotQuery]:
    if query.allowed_by(policy):
        return [query]
    by_resource = policy in {FilterPolicy.RESOURCE, FilterPolicy.BOTH}
    by_service = policy in {FilterPolicy.SERVICE, FilterPolicy.BOTH}
    if policy is FilterPolicy.ANY_ONE:
        # A list that is empty tells nothing about slots that the other list would find.
        by_resource = bool(roster.resources) and (
            not roster.services or len(roster.resources or ()) <= len(roster.services)
        )
        by_service = not by_resource
    resources = (roster.resources or ()) if by_resource and query.resource is None else (query.resource,)
    services = (roster.services or ()) if by_service and query.service is None else (query.service,)
    return [replace(query, resource=resource, service=service) for resource, service in product(resources, services)]


def _cover(wanted: Iterable[TimeslotQuery], policy: FilterPolicy) -> list[TimeslotQuery]:
    """Merge what is asked for until no merge saves a call; each part is inside one of the results."""
    asks = _uncovered(wanted)
    while True:
        merged = asks
        for loosen in _LOOSENINGS:
            merged = _uncovered(_merge(merged, loosen, policy))
        if len(merged) == len(asks):
            return merged
        asks = merged


def _uncovered(asks: Iterable[TimeslotQuery]) -> list[TimeslotQuery]:
    """The asks that no other contains; what is contained must not pull a merge its way."""
    distinct = dict.fromkeys(asks)
    furthest: dict[tuple[str | None, str | None], tuple[list[datetime], list[datetime]]] = {}
    covered: set[TimeslotQuery] = set()
    # Looser filters first, and in them earlier and longer windows: whatever contains an ask has come before it.
    for ask in sorted(distinct, key=_looseness):
        start, end = ask.window.start, ask.window.end
        for filters in {(None, None), (ask.resource, None), (None, ask.service), (ask.resource, ask.service)}:
            starts, ends = furthest.get(filters, ((), ()))
            place = bisect_right(starts, start)
            if place and ends[place - 1] >= end:
                covered.add(ask)
                break
        else:
            starts, ends = furthest.setdefault((ask.resource, ask.service), ([], []))
            starts.append(start)
            ends.append(max(end, ends[-1]) if ends else end)
    return [ask for ask in distinct if ask not in covered]


def _looseness(ask: TimeslotQuery) -> tuple[int, datetime, timedelta]:
    filters = (ask.resource is not None) + (ask.service is not None)
    return filters, ask.window.start, ask.window.start - ask.window.end


def _merge(
    asks: Iterable[TimeslotQuery], loosen: Callable[[TimeslotQuery], TimeslotQuery], policy: FilterPolicy
) -> list[TimeslotQuery]:
    alike: defaultdict[tuple[str | None, str | None], list[TimeslotQuery]] = defaultdict(list)
    for ask in asks:
        loose = loosen(ask)
        alike[loose.resource, loose.service].append(ask)
    merged: list[TimeslotQuery] = []
    for group in alike.values():
        for cluster in _clusters(group):
            together = replace(loosen(cluster[0]), window=_span(cluster))
            merged += [together] if len(cluster) > 1 and together.allowed_by(policy) else cluster
    return merged


def _clusters(asks: Iterable[TimeslotQuery]) -> list[list[TimeslotQuery]]:
    """Asks whose windows make one unbroken stretch."""
    clusters: list[list[TimeslotQuery]] = []
    end: datetime | None = None
    for ask in sorted(asks, key=lambda ask: ask.window.start):
        if end is None or ask.window.start > end:
            clusters.append([ask])
            end = ask.window.end
        else:
            clusters[-1].append(ask)
            end = max(end, ask.window.end)
    return clusters


def _span(cluster: Sequence[TimeslotQuery]) -> Window:
    return Window(cluster[0].window.start, max(ask.window.end for ask in cluster))


def _cut(whole: TimeslotQuery, profile: EhrProfile) -> tuple[Step, ...]:
    windows = cut(whole.window, profile.longest_window, profile.time_zone)
    return tuple(Step(whole.care_unit, window, whole.resource, whole.service) for window in windows)


_LOOSENINGS: tuple[Callable[[TimeslotQuery], TimeslotQuery], ...] = (
    lambda ask: ask,
    lambda ask: replace(ask, resource=None),
    lambda ask: replace(ask, service=None),
    lambda ask: replace(ask, resource=None, service=None),
)
