"""The fewest upstream calls that answer a set of timeslot queries.

A query is what one field wants, a step is one upstream call. Planning goes in three moves, all per care unit:

1. Spread. A query that the EHR's filter policy forbids becomes several that it allows: one per listed resource or
   service.
2. Cover. What is wanted is merged while that pays. A *part* is something wanted that the EHR takes as one call, a
   *cover* is a query whose answer contains several parts.
   Windows of the same filters that overlap or touch are joined. The joined window is never longer than its parts
   together, so cutting it never takes a call more.
   Where several resources (or services) are wanted in one unbroken stretch, a call without that filter serves them
   all. It also brings what nobody wants, so it has to cost less than what it replaces.
3. Cut. A window longer than the EHR takes becomes pieces.

Together, queries get what each gets alone (`partition`), and never in more calls, even when the worst comes to the
worst. Leyr refuses an id that does not exist only where it is asked for that id; where a wider answer holds nothing of
an id, the unit's list has to tell whether it exists. So a list that is not at hand counts as a call to come.

Calls are weighed before they are made. An upstream call wakes a clinic's EHR, which takes 0.3 to 5 seconds whatever it
finds; a further slot in its answer costs a fraction of a millisecond. So a call weighs as much as a thousand
*resource-days*: the free times of one resource on one day. How many resources and services there are is known where
their lists are. Elsewhere a clinic of common size is assumed, and never fewer than are asked for at once. Being wrong
costs time, never truth.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain, product

from gateway.domain.ehr_profile import EhrProfile, FilterPolicy
from gateway.domain.queries import ListedIds, Plan, Step, TimeslotQuery, UnitLists
from gateway.domain.window import Window, cut

_RESOURCE_DAYS_A_CALL = 1000
_COMMON_RESOURCES = 8
_COMMON_SERVICES = 4
_MICROSECOND = timedelta(microseconds=1)
_CALL = timedelta(days=_RESOURCE_DAYS_A_CALL) // _MICROSECOND


@dataclass(frozen=True, slots=True)
class CostModel:
    """The cost of calls to a care unit that has so many resources and services."""

    resources: int
    services: int
    longest_window: timedelta | None = None

    def calls(self, window: Window) -> int:
        """How many calls it takes to ask for a window, which is cut where it is too long."""
        longest = self.longest_window
        return 1 if longest is None else -(-window.length // longest)

    def cost(self, query: TimeslotQuery) -> int:
        """What a query costs by itself, in a unit that makes sense only beside another cost of the same model.

        It is counted in whole numbers, because a sum of fractions depends on their order.
        """
        days = query.window.length // _MICROSECOND
        size = days * (1 if query.resource is not None else self.resources)
        return self.calls(query.window) * _CALL * self.services + (
            size if query.service is not None else size * self.services
        )


def cost_model(queries: Iterable[TimeslotQuery], listed_ids: ListedIds, longest_window: timedelta | None) -> CostModel:
    """The cost model for queries that are planned together."""
    asked = tuple(queries)
    return CostModel(
        _number(listed_ids.resources, _COMMON_RESOURCES, {query.resource for query in asked}),
        _number(listed_ids.services, _COMMON_SERVICES, {query.service for query in asked}),
        longest_window,
    )


def _number(listed: tuple[str, ...] | None, common: int, asked: set[str | None]) -> int:
    return max(common if listed is None else len(listed), len(asked - {None}), 1)


_Filters = tuple[str | None, str | None]
_LOOSENINGS = (UnitLists(resources=True), UnitLists(services=True), UnitLists(resources=True, services=True))
_Clustering = Callable[[Iterable["Cover"]], Iterable[list["Cover"]]]


@dataclass(slots=True)
class Cover:
    """A query that stands for its parts, the calls that these take alone, and the lists of ids that only they name."""

    query: TimeslotQuery
    parts: list[TimeslotQuery]
    calls_alone: int
    unasked: UnitLists

    @property
    def filters(self) -> _Filters:
        """Its resource and its service."""
        return self.query.resource, self.query.service


@dataclass(frozen=True, slots=True)
class Terms:
    """On which a cover may stand for its parts: the EHR's behaviour, the costs, and the lists that cost nothing."""

    profile: EhrProfile
    costs: CostModel
    at_hand: UnitLists

    def loosenings(self) -> list[UnitLists]:
        """The filters that a cover may drop: by what its slots do not name, no share can be cut from an answer."""
        return [
            loosening
            for loosening in _LOOSENINGS
            if (self.profile.names_resource or not loosening.resources)
            and (self.profile.names_service or not loosening.services)
        ]

    def containing(self, filters: _Filters) -> list[_Filters]:
        """The filters that a cover of a query with these may have, its own first and the loosest last."""
        resource, service = filters
        found = [filters]
        if resource is not None and self.profile.names_resource:
            found.append((None, service))
        if service is not None and self.profile.names_service:
            found += [(each, None) for each, _ in found]
        return found

    def most_calls(self, query: TimeslotQuery, unasked: UnitLists) -> int:
        """How many calls a query takes if lists have to vouch for the ids that are not asked for."""
        return (
            self.costs.calls(query.window)
            + (unasked.resources and not self.at_hand.resources)
            + (unasked.services and not self.at_hand.services)
        )

    def pays(self, merged: Cover, replaced: Sequence[Cover]) -> bool:
        """Whether one cover is better than those that it would replace."""
        if all(each.filters == merged.filters for each in replaced):
            return True
        return (
            merged.query.allowed_by(self.profile.filter_policy)
            and self.most_calls(merged.query, merged.unasked) <= merged.calls_alone
            and self.costs.cost(merged.query) < sum(self.costs.cost(each.query) for each in replaced)
        )


def covering(parts: Sequence[TimeslotQuery], terms: Terms) -> list[Cover]:
    """Covers that serve each of these distinct parts once, merged until no merge pays."""
    nothing = UnitLists()
    alone = [Cover(part, [part], terms.costs.calls(part.window), nothing) for part in parts]
    covers = _uncontained(alone, terms)
    merges = [(nothing, _touching)]
    # Equal windows first: what the resources of a list ask for must not hang on a stray query that touches it.
    merges += [(loosening, clusters) for clusters in (_equal, _touching) for loosening in terms.loosenings()]
    before = 0
    while len(covers) not in {before, 1}:
        before = len(covers)
        for loosening, clusters in merges:
            merged = _merged(covers, loosening, clusters, terms)
            covers = _uncontained(merged, terms) if len(merged) < len(covers) else covers
    return covers


def _uncontained(covers: Iterable[Cover], terms: Terms) -> list[Cover]:
    """The covers that no other contains, with the parts of those that one does.

    What is contained must not pull a merge its way.
    """
    kept: list[Cover] = []
    placed: defaultdict[_Filters, tuple[list[datetime], list[Cover]]] = defaultdict(lambda: ([], []))
    # Looser filters first, and in them earlier and longer windows: whatever contains a cover has come before it.
    for cover in sorted(covers, key=_looseness):
        start, end = cover.query.window.start, cover.query.window.end
        for filters in terms.containing(cover.filters):
            starts, candidates = placed[filters]
            # None of these contains another, so the last to start is the last to end.
            place = bisect_right(starts, start)
            if (
                place
                and candidates[place - 1].query.window.end >= end
                and _took_in(candidates[place - 1], cover, terms)
            ):
                break
        else:
            starts, candidates = placed[cover.filters]
            starts.append(start)
            candidates.append(cover)
            kept.append(cover)
    return kept


def _looseness(cover: Cover) -> tuple[int, datetime, timedelta]:
    (resource, service), window = cover.filters, cover.query.window
    return (resource is not None) + (service is not None), window.start, window.start - window.end


def _took_in(container: Cover, cover: Cover, terms: Terms) -> bool:
    """Let a cover serve another's parts, unless that could take more calls than these take alone."""
    unasked = _unasked(container.query, (container, cover))
    calls_alone = container.calls_alone + cover.calls_alone
    if terms.most_calls(container.query, unasked) > calls_alone:
        return False
    container.parts += cover.parts
    container.calls_alone, container.unasked = calls_alone, unasked
    return True


def _merged(covers: Iterable[Cover], loosening: UnitLists, clusters: _Clustering, terms: Terms) -> list[Cover]:
    """The covers, with one in place of each cluster where that pays."""
    groups: defaultdict[_Filters, list[Cover]] = defaultdict(list)
    for cover in covers:
        resource, service = cover.filters
        groups[None if loosening.resources else resource, None if loosening.services else service].append(cover)
    merged: list[Cover] = []
    for filters, group in groups.items():
        for cluster in clusters(group) if len(group) > 1 else [group]:
            together = _together(cluster, filters) if len(cluster) > 1 else None
            merged += [together] if together and terms.pays(together, cluster) else cluster
    return merged


def _together(cluster: Sequence[Cover], filters: _Filters) -> Cover:
    window = Window(
        min(each.query.window.start for each in cluster),
        max(each.query.window.end for each in cluster),
    )
    query = replace(cluster[0].query, window=window, resource=filters[0], service=filters[1])
    return Cover(
        query,
        [part for each in cluster for part in each.parts],
        sum(each.calls_alone for each in cluster),
        _unasked(query, cluster),
    )


def _unasked(query: TimeslotQuery, covers: Iterable[Cover]) -> UnitLists:
    """The lists of the ids that some part of the covers names, and a query in their place does not."""
    resources = services = False
    for cover in covers:
        resources |= cover.unasked.resources or cover.query.resource != query.resource
        services |= cover.unasked.services or cover.query.service != query.service
    return UnitLists(resources, services)


def _equal(covers: Iterable[Cover]) -> Iterable[list[Cover]]:
    """Covers whose windows are the same."""
    clusters: defaultdict[Window, list[Cover]] = defaultdict(list)
    for cover in covers:
        clusters[cover.query.window].append(cover)
    return clusters.values()


def _touching(covers: Iterable[Cover]) -> Iterable[list[Cover]]:
    """Covers whose windows make one unbroken stretch."""
    clusters: list[list[Cover]] = []
    end: datetime | None = None
    for cover in sorted(covers, key=lambda cover: cover.query.window.start):
        window = cover.query.window
        if end is None or window.start > end:
            clusters.append([cover])
            end = window.end
        else:
            clusters[-1].append(cover)
            end = max(end, window.end)
    return clusters


_NO_LISTS = UnitLists()


def needed_lists(queries: Iterable[TimeslotQuery], policy: FilterPolicy, at_hand: UnitLists) -> UnitLists:
    """The lists that `plan` needs for these queries, given those that are fetched anyway.

    Where either list would do and none is at hand, it is the services: a clinic has fewer kinds of visit than
    people.
    """
    forbidden = [query for query in queries if not query.allowed_by(policy)]
    if not forbidden:
        return UnitLists()
    if policy is FilterPolicy.ANY_ONE:
        return at_hand if at_hand != UnitLists() else UnitLists(services=True)
    return UnitLists(
        resources=policy is not FilterPolicy.SERVICE and any(query.resource is None for query in forbidden),
        services=policy is not FilterPolicy.RESOURCE and any(query.service is None for query in forbidden),
    )


def plan(
    queries: Sequence[TimeslotQuery], profile: EhrProfile, listed_ids: ListedIds, at_hand: UnitLists = _NO_LISTS
) -> Plan:
    """The fewest calls whose answers contain every query, none of them against the EHR's profile.

    All queries are about one care unit. `listed_ids` holds what `needed_lists` asked for; `at_hand` are the lists that
    are fetched anyway, beside those.
    """
    distinct = dict.fromkeys(queries)
    free = UnitLists(
        at_hand.resources or listed_ids.resources is not None, at_hand.services or listed_ids.services is not None
    )
    container = _container(distinct, profile, free)
    if container is not None:
        steps = _steps(container, profile)
        return Plan(steps, {query: _overlapping(steps, query.window) for query in distinct})
    parts = {query: spread(query, profile.filter_policy, listed_ids) for query in distinct}
    wanted = tuple(dict.fromkeys(chain.from_iterable(parts.values())))
    terms = Terms(profile, cost_model(wanted, listed_ids, profile.longest_window), free)
    found: dict[TimeslotQuery, tuple[Step, ...]] = {}
    for cover in covering(wanted, terms):
        steps = _steps(cover.query, profile)
        found.update((part, _overlapping(steps, part.window)) for part in cover.parts)
    # The parts of one query differ by a filter that the EHR wants, so no two of them have a step in common.
    serving = {query: tuple(chain.from_iterable(found[part] for part in each)) for query, each in parts.items()}
    return Plan(tuple(dict.fromkeys(chain.from_iterable(serving.values()))), serving)


def spread(query: TimeslotQuery, policy: FilterPolicy, listed_ids: ListedIds) -> list[TimeslotQuery]:
    """What the EHR takes in a query's stead: the query itself, or one a resource or service of the listed_ids."""
    if query.allowed_by(policy):
        return [query]
    by_resource = policy in {FilterPolicy.RESOURCE, FilterPolicy.BOTH}
    by_service = policy in {FilterPolicy.SERVICE, FilterPolicy.BOTH}
    if policy is FilterPolicy.ANY_ONE:
        # A list that is empty tells nothing about slots that the other list would find.
        by_resource = bool(listed_ids.resources) and (
            not listed_ids.services or len(listed_ids.resources or ()) <= len(listed_ids.services)
        )
        by_service = not by_resource
    resources = (listed_ids.resources or ()) if by_resource and query.resource is None else (query.resource,)
    services = (listed_ids.services or ()) if by_service and query.service is None else (query.service,)
    return [replace(query, resource=resource, service=service) for resource, service in product(resources, services)]


def serves(step: Step, query: TimeslotQuery) -> bool:
    """Whether a step's answer can hold slots of a query."""
    return (
        overlaps(step.window, query.window)
        and (query.resource is None or step.resource in {None, query.resource})
        and (query.service is None or step.service in {None, query.service})
    )


def overlaps(one: Window, other: Window) -> bool:
    """Whether two windows have an instant in common."""
    return one.start < other.end and other.start < one.end


def _container(queries: Collection[TimeslotQuery], profile: EhrProfile, free: UnitLists) -> TimeslotQuery | None:
    """One of the queries whose answer settles all of them.

    `covering` would find it too, but this is what most requests are, and it takes a quarter of the time.
    """
    loosest = min(queries, key=_filters, default=None)
    if loosest is None or not loosest.allowed_by(profile.filter_policy):
        return None
    lists = (loosest.resource is None and not free.resources) + (loosest.service is None and not free.services)
    others = len(queries) - 1
    settled = not others or (lists <= others and all(loosest.settles(query, profile) for query in queries))
    return loosest if settled else None


def _filters(query: TimeslotQuery) -> int:
    return (query.resource is not None) + (query.service is not None)


def _steps(query: TimeslotQuery, profile: EhrProfile) -> tuple[Step, ...]:
    windows = cut(query.window, profile.longest_window, profile.time_zone)
    return tuple(Step(query.care_unit, window, query.resource, query.service) for window in windows)


def _overlapping(steps: tuple[Step, ...], window: Window) -> tuple[Step, ...]:
    return steps if len(steps) == 1 else tuple(step for step in steps if overlaps(step.window, window))
