"""The fewest upstream calls that answer a set of timeslot queries.

No library plans them: a DataLoader batches keys, and knows nothing of windows and filters that contain others.

A query is what one field wants, a step is one upstream call. Planning goes in three moves, all per care unit:

1. Spread. A query that the EHR's filter policy forbids becomes several that it allows: one per listed resource or
   service, as the profile says.
2. Cover. Queries are merged while that saves cost. A *part* is a query that the EHR accepts as one call, a *cover* is
   a query whose answer contains several parts.
   Windows of the same filters that overlap or touch are joined. The joined window is never longer than its parts
   together, so cutting it never takes a call more.
   Where several resources (or services) are wanted in one unbroken stretch, a call without that filter serves them
   all. It also brings slots that no query wants, so it has to cost less than the calls that it replaces.
3. Cut. A window longer than the EHR accepts becomes pieces.

Planned together, queries get what each gets by itself (`partition`), and never in more calls, not even in the worst
case. Leyr refuses an id that does not exist only where it is asked for that id; where a wider answer holds no slot of
an id, the unit's list has to tell whether the id exists. So a list that costs a call counts as a call to come.

Costs are estimated before a call is made. An upstream call wakes a clinic's EHR, which takes 0.3 to 5 seconds whatever
it finds; a further slot in its answer costs a fraction of a millisecond. So a call costs as much as a thousand
*resource-days*: the free times of one resource on one day. How many resources and services there are is known where
their lists are. Elsewhere a clinic of common size is assumed, and never fewer than are asked for at once. A wrong
estimate costs time, and changes no answer.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from itertools import chain
from math import inf
from operator import attrgetter, or_

from gateway.domain.ehr_profile import EhrProfile, FilterPolicy
from gateway.domain.pieces import PIECE, Pieces, batches, whole
from gateway.domain.queries import (
    Filters,
    ListedIds,
    Plan,
    Step,
    TimeslotQuery,
    TooManyCallsError,
    UnitLists,
    containing,
    lists_spread_over,
    number_of_parts,
    spread,
)
from gateway.domain.window import Window, cut

_RESOURCE_DAYS_A_CALL = 1000
_COMMON_RESOURCES = 8
_COMMON_SERVICES = 4
_MICROSECOND = timedelta(microseconds=1)
_CALL = timedelta(days=_RESOURCE_DAYS_A_CALL) // _MICROSECOND
_COVERS_A_PIECE = PIECE // 2


def calls_of(window: Window, longest: timedelta | None) -> int:
    """How many calls a window takes, which is cut where it is too long."""
    return 1 if longest is None else -(-window.length // longest)


@dataclass(frozen=True, slots=True)
class CostModel:
    """What calls to a care unit cost, by the number of its resources and services."""

    resources: int
    services: int
    longest_window: timedelta | None = None

    def cost(self, query: TimeslotQuery) -> int:
        """What a query costs by itself, in a unit that compares only with other costs of the same model.

        Costs are whole numbers, because a sum of fractions depends on their order.
        """
        days = query.window.length // _MICROSECOND
        size = days * (1 if query.resource is not None else self.resources)
        return calls_of(query.window, self.longest_window) * _CALL * self.services + (
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


_DROPPABLE = (UnitLists.RESOURCES, UnitLists.SERVICES, UnitLists.BOTH)
_Clustering = Callable[[Iterable["Cover"]], Iterable[list["Cover"]]]


@dataclass(slots=True)
class Cover:
    """A query in place of its parts, and how many calls these take by themselves.

    `unconfirmed` are the lists of those ids that parts name and the query does not.
    """

    query: TimeslotQuery
    parts: list[TimeslotQuery]
    calls_by_parts: int
    unconfirmed: UnitLists


@dataclass(frozen=True, slots=True)
class CoverRules:
    """When a cover may replace others: the EHR's behaviour, the costs, and the lists that take no call."""

    profile: EhrProfile
    costs: CostModel
    free_lists: UnitLists

    def droppable_filters(self) -> list[UnitLists]:
        """The filters that a cover may drop: those by which the EHR's slots tell its parts apart."""
        return [
            dropped
            for dropped in _DROPPABLE
            if (self.profile.names_resource or not dropped.resources)
            and (self.profile.names_service or not dropped.services)
        ]

    def most_calls(self, query: TimeslotQuery, unconfirmed: UnitLists) -> int:
        """How many calls a query takes if lists have to confirm the ids that it does not name."""
        return (
            calls_of(query.window, self.costs.longest_window)
            + (unconfirmed.resources and not self.free_lists.resources)
            + (unconfirmed.services and not self.free_lists.services)
        )

    def saves_cost(self, merged: Cover, replaced: Sequence[Cover]) -> bool:
        """Whether one cover is better than those that it would replace."""
        filters = merged.query.filters
        if all(each.query.filters == filters for each in replaced):
            return True
        return (
            merged.query.allowed_by(self.profile.filter_policy)
            and self.most_calls(merged.query, merged.unconfirmed) <= merged.calls_by_parts
            and self.costs.cost(merged.query) < sum(self.costs.cost(each.query) for each in replaced)
        )


def _covers(parts: Sequence[TimeslotQuery], rules: CoverRules) -> Pieces[list[Cover]]:
    """Covers that serve each of these distinct parts once, merged until no merge saves cost."""
    nothing = UnitLists.NONE
    covers: list[Cover] = []
    for some in batches(parts):
        covers += [Cover(part, [part], calls_of(part.window, rules.costs.longest_window), nothing) for part in some]
        yield
    covers = yield from _uncontained(covers, rules)
    merges = [(nothing, _touching)]
    # Equal windows first: what the resources of a list ask for must not hang on a stray query that touches it.
    merges += [(dropped, clusters) for clusters in (_equal, _touching) for dropped in rules.droppable_filters()]
    before = 0
    while len(covers) not in {before, 1}:
        before = len(covers)
        for dropped, clusters in merges:
            merged = yield from _merged(covers, dropped, clusters, rules)
            covers = (yield from _uncontained(merged, rules)) if len(merged) < len(covers) else covers
    return covers


def _uncontained(covers: Sequence[Cover], rules: CoverRules) -> Pieces[list[Cover]]:
    """The covers that no other contains; each takes over the parts of those that it contains.

    A contained cover must not influence which others are merged.
    """
    kept: list[Cover] = []
    by_filters: defaultdict[Filters, tuple[list[datetime], list[Cover]]] = defaultdict(lambda: ([], []))
    for count, cover in enumerate(sorted(covers, key=_containers_first)):
        if count % _COVERS_A_PIECE == _COVERS_A_PIECE - 1:
            yield
        start, end = cover.query.window.start, cover.query.window.end
        for filters in containing(cover.query.filters, rules.profile):
            starts, candidates = by_filters[filters]
            # None of these contains another, so the last to start is the last to end.
            place = bisect_right(starts, start)
            if (
                place
                and candidates[place - 1].query.window.end >= end
                and _taken_over(candidates[place - 1], cover, rules)
            ):
                break
        else:
            starts, candidates = by_filters[cover.query.filters]
            starts.append(start)
            candidates.append(cover)
            kept.append(cover)
    return kept


def _containers_first(cover: Cover) -> tuple[int, datetime, timedelta]:
    """A sort key: fewer filters first, then earlier starts and longer windows, so a container precedes its content."""
    window = cover.query.window
    return cover.query.filter_count, window.start, window.start - window.end


def _taken_over(container: Cover, cover: Cover, rules: CoverRules) -> bool:
    """Let a cover serve another's parts, unless that could take more calls than these take by themselves."""
    unconfirmed = _unconfirmed(container.query, (container, cover))
    calls_by_parts = container.calls_by_parts + cover.calls_by_parts
    if rules.most_calls(container.query, unconfirmed) > calls_by_parts:
        return False
    container.parts += cover.parts
    container.calls_by_parts, container.unconfirmed = calls_by_parts, unconfirmed
    return True


def _merged(
    covers: Iterable[Cover], dropped: UnitLists, clusters: _Clustering, rules: CoverRules
) -> Pieces[list[Cover]]:
    """The covers, with one in place of each cluster where that saves cost."""
    groups: defaultdict[Filters, list[Cover]] = defaultdict(list)
    for cover in covers:
        resource, service = cover.query.filters
        groups[None if dropped.resources else resource, None if dropped.services else service].append(cover)
    merged: list[Cover] = []
    done = 0
    for filters, group in groups.items():
        done += len(group)
        if done > _COVERS_A_PIECE:
            yield
            done = 0
        for cluster in clusters(group) if len(group) > 1 else [group]:
            together = _together(cluster, filters) if len(cluster) > 1 else None
            merged += [together] if together and rules.saves_cost(together, cluster) else cluster
    return merged


def _together(cluster: Sequence[Cover], filters: Filters) -> Cover:
    window = Window(
        min(each.query.window.start for each in cluster),
        max(each.query.window.end for each in cluster),
    )
    query = TimeslotQuery(cluster[0].query.care_unit, window, *filters)
    return Cover(
        query,
        [part for each in cluster for part in each.parts],
        sum(each.calls_by_parts for each in cluster),
        _unconfirmed(query, cluster),
    )


def _unconfirmed(query: TimeslotQuery, covers: Iterable[Cover]) -> UnitLists:
    """The lists of those ids that some part of the covers names, and a query in their place does not."""
    resources = services = False
    for cover in covers:
        resources |= cover.unconfirmed.resources or cover.query.resource != query.resource
        services |= cover.unconfirmed.services or cover.query.service != query.service
    return UnitLists.of(resources=resources, services=services)


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


def needed_lists(queries: Iterable[TimeslotQuery], profile: EhrProfile) -> UnitLists:
    """The lists that `plan` needs for these queries."""
    if profile.filter_policy is FilterPolicy.NONE_REQUIRED:
        return UnitLists.NONE
    # The same few combinations of filters come back in many windows.
    kinds = {query.filters: query for query in queries}
    return reduce(or_, (lists_spread_over(query, profile) for query in kinds.values()), UnitLists.NONE)


def plan(
    queries: Sequence[TimeslotQuery],
    profile: EhrProfile,
    listed_ids: ListedIds,
    loaded: UnitLists = UnitLists.NONE,
    *,
    limit: float = inf,
) -> Plan:
    """The fewest calls whose answers contain every query, none of them against the EHR's profile.

    All queries are about one care unit. `listed_ids` holds what `needed_lists` asked for; `loaded` are the lists that
    the request loads anyway, besides those. Raises TooManyCallsError where it takes more calls than `limit`.
    """
    return whole(plan_in_pieces(queries, profile, listed_ids, loaded, limit=limit))


def plan_in_pieces(
    queries: Sequence[TimeslotQuery],
    profile: EhrProfile,
    listed_ids: ListedIds,
    loaded: UnitLists = UnitLists.NONE,
    *,
    limit: float = inf,
) -> Pieces[Plan]:
    """The same for many queries."""
    distinct = dict.fromkeys(queries)
    free_lists = UnitLists.of(
        resources=loaded.resources or listed_ids.resources is not None,
        services=loaded.services or listed_ids.services is not None,
    )
    container = _container(distinct, profile, free_lists)
    if container is not None:
        if calls_of(container.window, profile.longest_window) > limit:
            raise TooManyCallsError(calls_of(container.window, profile.longest_window))
        steps = _steps(container, profile)
        if len(steps) == 1:
            return Plan(steps, dict.fromkeys(distinct, steps))
        overlapping = _Overlapping(steps)
        return Plan(steps, {query: overlapping[query.window] for query in distinct})
    parts = {query: spread(query, profile, listed_ids) for query in distinct}
    yield
    wanted = tuple(dict.fromkeys(chain.from_iterable(parts.values())))
    yield
    rules = CoverRules(profile, cost_model(wanted, listed_ids, profile.longest_window), free_lists)
    covers = yield from _covers(wanted, rules)
    calls = sum(calls_of(cover.query.window, profile.longest_window) for cover in covers)
    if calls > limit:
        raise TooManyCallsError(calls)
    found: dict[TimeslotQuery, tuple[Step, ...]] = {}
    for some in batches(covers):
        for cover in some:
            overlapping = _Overlapping(_steps(cover.query, profile))
            found.update((part, overlapping[part.window]) for part in cover.parts)
        yield
    # A step has the filters that the EHR wants, by which the parts of one query differ: no two have a step in common.
    serving = {query: tuple(chain.from_iterable(found[part] for part in each)) for query, each in parts.items()}
    return Plan(tuple(dict.fromkeys(chain.from_iterable(serving.values()))), serving)


def fewest_calls(query: TimeslotQuery, profile: EhrProfile, listed_ids: ListedIds) -> int:
    """How many calls a query takes at least, whatever it is planned with."""
    # Its parts differ by a filter that the EHR wants, so that no call serves two of them.
    return calls_of(query.window, profile.longest_window) * number_of_parts(query, profile, listed_ids)


def _container(queries: Collection[TimeslotQuery], profile: EhrProfile, free_lists: UnitLists) -> TimeslotQuery | None:
    """One of the queries whose answer settles all of them.

    `_covers` would find it too, but most requests have one, and this takes a quarter of the time.
    """
    widest = min(queries, key=attrgetter("filter_count"), default=None)
    if widest is None or not widest.allowed_by(profile.filter_policy):
        return None
    lists = (widest.resource is None and not free_lists.resources) + (
        widest.service is None and not free_lists.services
    )
    others = len(queries) - 1
    settled = not others or (lists <= others and all(widest.settles(query, profile) for query in queries))
    return widest if settled else None


def _steps(query: TimeslotQuery, profile: EhrProfile) -> tuple[Step, ...]:
    windows = cut(query.window, profile.longest_window, profile.time_zone)
    return tuple(Step(query.care_unit, window, query.resource, query.service) for window in windows)


class _Overlapping(dict[Window, tuple[Step, ...]]):
    """The steps that overlap a window, out of those of one cover; many queries share few windows."""

    def __init__(self, steps: tuple[Step, ...]) -> None:
        super().__init__()
        self._steps = steps

    def __missing__(self, window: Window) -> tuple[Step, ...]:
        found = self[window] = tuple(step for step in self._steps if step.window.overlaps(window))
        return found
