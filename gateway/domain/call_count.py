"""How many upstream calls an operation would make for a care unit, counted before the first and as if without cache."""

from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from math import inf

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.planner import fewest_calls, needed_lists, plan
from gateway.domain.queries import (
    Containers,
    Filters,
    ListedIds,
    Plan,
    Step,
    TimeslotQuery,
    TooManyCallsError,
    UnitLists,
    kept_filters,
    spread,
)

FURTHER_CALLS: ContextVar[Callable[[int], None]] = ContextVar("gateway.further_calls", default=lambda _: None)
"""Counts the calls that a call turns out to take, such as those for further pages, before they are made.

Raises OperationTooLarge and RateLimited.
"""
# A refusal says how many calls there would be; beyond so many it takes long to find out, and helps nobody.
_COUNTED_EXACTLY = 1_000


@dataclass(frozen=True, slots=True)
class QueryBatch:
    """Queries that are planned together; each is asked for each id of the list `of_each`, where there is one.

    `lists` are read by then. Those that are read later cost a plan as much as if they were not read at all.
    """

    queries: Sequence[TimeslotQuery]
    lists: UnitLists = UnitLists.NONE
    of_each: UnitLists = UnitLists.NONE

    def asked(self, listed_ids: ListedIds) -> Sequence[TimeslotQuery]:
        """The queries, as far as the listed ids are known."""
        match self.of_each:
            case UnitLists.RESOURCES:
                return [replace(query, resource=each) for query in self.queries for each in listed_ids.resources or ()]
            case UnitLists.SERVICES:
                return [replace(query, service=each) for query in self.queries for each in listed_ids.services or ()]
            case _:
                return self.queries


@dataclass(frozen=True, slots=True)
class UnitRequirements:
    """What an operation asks of a care unit.

    It reads `lists` in any case, sooner or later, and so many `other_lists`, which filter nothing. The queries of one
    batch are planned apart from those of other batches.
    """

    lists: UnitLists
    batches: Sequence[QueryBatch] = ()
    other_lists: int = 0


def calls_for(requirements: UnitRequirements, profile: EhrProfile, listed_ids: ListedIds, limit: float = inf) -> int:
    """The most calls that an operation makes for a care unit, unless the EHR refuses one or does not know an id.

    A query that has to be spread over a list that is not in `listed_ids` counts for nothing but that list. Where the
    calls are more than `limit` and many, it may give fewer of them than they are, but more than `limit`.
    """
    lists = requirements.lists
    steps: set[Step] = set()
    for batch in requirements.batches:
        queries = batch.asked(listed_ids)
        need = needed_lists(queries, profile)
        planned = _plan(queries, profile, _only(need, listed_ids), batch.lists, limit)
        if isinstance(planned, int):
            return planned
        steps.update(planned.steps)
        lists |= need
        for part, serving in planned.serving.items():
            # Where a wider answer holds no slot of an id, the list has to tell whether the id exists. The steps that
            # serve a part have the same filters.
            lists |= UnitLists.of(
                resources=part.resource is not None and serving[0].resource is None,
                services=part.service is not None and serving[0].service is None,
            )
    return lists.resources + lists.services + len(steps) + requirements.other_lists


def _only(lists: UnitLists, listed_ids: ListedIds) -> ListedIds:
    return ListedIds(listed_ids.resources if lists.resources else None, listed_ids.services if lists.services else None)


def _plan(
    batch: Iterable[TimeslotQuery], profile: EhrProfile, listed_ids: ListedIds, loaded: UnitLists, limit: float
) -> Plan | int:
    """The plan for a batch, without queries that need a list that is not known; a number of calls above the limit."""
    distinct = list(dict.fromkeys(batch))
    need = needed_lists(distinct, profile)
    spread_out = Containers()
    for query in distinct:
        if not query.allowed_by(profile.filter_policy):
            spread_out.add(query)
    parts: list[TimeslotQuery] = []
    apart: set[Filters] = set()
    for query in distinct:
        # What another query is spread over holds the answer too.
        if spread_out.of_another(query, profile):
            continue
        if query.allowed_by(profile.filter_policy):
            added = [query]
        elif need is listed_ids.known:
            fewest = fewest_calls(query, profile, listed_ids)
            if fewest > max(limit, _COUNTED_EXACTLY):
                return fewest
            added = spread(query, profile, listed_ids)
        else:
            continue
        parts += added
        apart.update(kept_filters(part, profile) for part in added)
        if len(apart) > limit and len(parts) > _COUNTED_EXACTLY:
            return len(apart)
    try:
        return plan(parts, profile, listed_ids, loaded, limit=max(limit, _COUNTED_EXACTLY))
    except TooManyCallsError as error:
        return error.calls
