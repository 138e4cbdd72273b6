"""How many upstream calls an operation would make for a care unit, counted before the first and as if without cache."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.planner import needed_lists, plan, spread
from gateway.domain.queries import ListedIds, Plan, Step, TimeslotQuery, UnitLists


@dataclass(frozen=True, slots=True)
class UnitRequirements:
    """What an operation asks of a care unit.

    It reads `lists` in any case, and so many `other_lists`, which filter nothing. The queries of one batch are planned
    together, apart from those of other batches. Where slots do not name theirs, `each_resource` and `each_service` are
    asked again for each listed id.
    """

    lists: UnitLists
    batches: Sequence[Sequence[TimeslotQuery]] = ()
    each_resource: Sequence[TimeslotQuery] = ()
    each_service: Sequence[TimeslotQuery] = ()
    other_lists: int = 0


def calls_for(requirements: UnitRequirements, profile: EhrProfile, listed_ids: ListedIds) -> int:
    """The most calls that an operation makes for a care unit, unless the EHR refuses one or does not know an id.

    A query that has to be spread over a list that is not in `listed_ids` counts for nothing but that list.
    """
    batches = list(requirements.batches)
    if not profile.names_resource:
        ids = listed_ids.resources or ()
        batches.append([replace(query, resource=each) for query in requirements.each_resource for each in ids])
    if not profile.names_service:
        ids = listed_ids.services or ()
        batches.append([replace(query, service=each) for query in requirements.each_service for each in ids])
    lists = requirements.lists
    steps: set[Step] = set()
    for batch in batches:
        need = needed_lists(batch, profile.filter_policy, requirements.lists)
        planned = _plan(batch, profile, _only(need, listed_ids), requirements.lists, need)
        steps.update(planned.steps)
        lists |= need
        for part, serving in planned.serving.items():
            # Where a wider answer holds no slot of an id, the list has to tell whether the id exists.
            lists |= UnitLists.of(
                resources=part.resource is not None and any(step.resource is None for step in serving),
                services=part.service is not None and any(step.service is None for step in serving),
            )
    return lists.resources + lists.services + len(steps) + requirements.other_lists


def _only(lists: UnitLists, listed_ids: ListedIds) -> ListedIds:
    return ListedIds(listed_ids.resources if lists.resources else None, listed_ids.services if lists.services else None)


def _plan(
    batch: Iterable[TimeslotQuery], profile: EhrProfile, listed_ids: ListedIds, loaded: UnitLists, need: UnitLists
) -> Plan:
    """The plan for a batch, without queries that need a list that is not known."""
    policy = profile.filter_policy
    distinct = list(dict.fromkeys(batch))
    spread_out = [query for query in distinct if not query.allowed_by(policy)]
    parts = [
        part
        for query in distinct
        if (need is listed_ids.known or query.allowed_by(policy))
        # What another query is spread over holds the answer too.
        and not any(other != query and other.settles(query, profile) for other in spread_out)
        for part in spread(query, policy, listed_ids)
    ]
    return plan(parts, profile, listed_ids, loaded)
