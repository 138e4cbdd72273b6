"""The fewest upstream calls that answer a set of timeslot queries.

A query is what one field wants, a step is one upstream call. Planning goes in three moves, all per care unit:

1. Spread. A query that the EHR's filter policy forbids becomes several that it allows: one per resource or
   service of the roster.
2. Cover. What is wanted is merged while that pays (`covering`).
3. Cut. A window longer than the EHR takes becomes pieces.

Together, queries get what each gets alone, and never in more calls (`partition`).
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from itertools import chain, product

from gateway.domain.costs import cost_model
from gateway.domain.covering import Terms, covering
from gateway.domain.cutting import cut
from gateway.domain.ehr import EhrProfile, FilterPolicy
from gateway.domain.queries import Lists, Plan, Roster, Step, TimeslotQuery
from gateway.domain.window import Window

__all__ = ["Lists", "Plan", "Roster", "Step", "TimeslotQuery", "overlaps", "plan", "roster_need", "serves", "spread"]

_NO_LISTS = Lists()


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


def plan(queries: Sequence[TimeslotQuery], profile: EhrProfile, roster: Roster, at_hand: Lists = _NO_LISTS) -> Plan:
    """The fewest calls whose answers contain every query, none of them against the EHR's profile.

    All queries are about one care unit. The roster holds what `roster_need` asked for; `at_hand` are the lists that
    are fetched anyway, beside those of the roster.
    """
    distinct = dict.fromkeys(queries)
    free = Lists(at_hand.resources or roster.resources is not None, at_hand.services or roster.services is not None)
    container = _container(distinct, profile, free)
    if container is not None:
        steps = _steps(container, profile)
        return Plan(steps, {query: _overlapping(steps, query.window) for query in distinct})
    parts = {query: spread(query, profile.filter_policy, roster) for query in distinct}
    wanted = tuple(dict.fromkeys(chain.from_iterable(parts.values())))
    terms = Terms(profile, cost_model(wanted, roster, profile.longest_window), free)
    found: dict[TimeslotQuery, tuple[Step, ...]] = {}
    for cover in covering(wanted, terms):
        steps = _steps(cover.query, profile)
        found.update((part, _overlapping(steps, part.window)) for part in cover.parts)
    # The parts of one query differ by a filter that the EHR wants, so no two of them have a step in common.
    serving = {query: tuple(chain.from_iterable(found[part] for part in each)) for query, each in parts.items()}
    return Plan(tuple(dict.fromkeys(chain.from_iterable(serving.values()))), serving)


def spread(query: TimeslotQuery, policy: FilterPolicy, roster: Roster) -> list[TimeslotQuery]:
    """What the EHR takes in a query's stead: the query itself, or one a resource or service of the roster."""
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


def _container(queries: Collection[TimeslotQuery], profile: EhrProfile, free: Lists) -> TimeslotQuery | None:
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
