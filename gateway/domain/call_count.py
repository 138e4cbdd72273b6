"""How many upstream calls a care unit would get, counted before the first and as if nothing were from_cache."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from gateway.domain.ehr_profile import EhrProfile, FilterPolicy
from gateway.domain.planner import needed_lists, plan, spread
from gateway.domain.queries import ListedIds, Step, TimeslotQuery, UnitLists


@dataclass(frozen=True, slots=True)
class UnitRequirements:
    """What an operation asks of a care unit.

    `lists` it reads anyway, and so many `other_lists`, which filter nothing. The queries of a batch are planned
    together, one batch knows of no other. `each_resource` and `each_service` are asked again for each listed resource
    or service, where slots do not name theirs.
    """

    lists: UnitLists
    batches: Sequence[Sequence[TimeslotQuery]] = ()
    each_resource: Sequence[TimeslotQuery] = ()
    each_service: Sequence[TimeslotQuery] = ()
    other_lists: int = 0


def needs_unit_lists(profile: EhrProfile) -> bool:
    """Whether the calls to an EHR depend on what its care units list."""
    return (
        profile.filter_policy is not FilterPolicy.NONE_REQUIRED
        or not profile.names_resource
        or not profile.names_service
    )


def is_plain(profile: EhrProfile) -> bool:
    """Whether one call is enough for any query, and its slots say whose they are."""
    return profile.longest_window is None and not needs_unit_lists(profile)


def calls_for(demand: UnitRequirements, profile: EhrProfile, listed_ids: ListedIds) -> int:
    """The most calls that answer a demand, unless the EHR refuses one or does not know an id.

    The listed_ids is what is known of the care unit's lists. What has to be spread over a list that is not known counts
    for nothing but that list.
    """
    counted = _CallCount(profile, listed_ids, demand.lists)
    for batch in demand.batches:
        counted.add(batch)
    if not profile.names_resource:
        each = listed_ids.resources or ()
        counted.add([replace(query, resource=resource) for query in demand.each_resource for resource in each])
    if not profile.names_service:
        each = listed_ids.services or ()
        counted.add([replace(query, service=service) for query in demand.each_service for service in each])
    return counted.calls + demand.other_lists


class _CallCount:
    """The calls of some batches; one that several of them make is made once."""

    def __init__(self, profile: EhrProfile, listed_ids: ListedIds, read_anyway: UnitLists) -> None:
        self._profile = profile
        self._roster = listed_ids
        self._at_hand = read_anyway
        self._lists = read_anyway
        self._steps: set[Step] = set()

    @property
    def calls(self) -> int:
        return self._lists.resources + self._lists.services + len(self._steps)

    def add(self, batch: Sequence[TimeslotQuery]) -> None:
        policy = self._profile.filter_policy
        need = needed_lists(batch, policy, self._at_hand)
        self._read(need)
        listed_ids = ListedIds(
            self._roster.resources if need.resources else None,
            self._roster.services if need.services else None,
        )
        known = UnitLists(listed_ids.resources is not None, listed_ids.services is not None)
        parts = [
            part
            for query in _planned(batch, self._profile)
            if need == known or query.allowed_by(policy)
            for part in spread(query, policy, listed_ids)
        ]
        planned = plan(parts, self._profile, listed_ids, self._at_hand)
        self._steps.update(planned.steps)
        for part, steps in planned.serving.items():
            # Where a wider answer holds nothing of an id, the list has to say whether it exists.
            self._read(
                UnitLists(
                    part.resource is not None and any(step.resource is None for step in steps),
                    part.service is not None and any(step.service is None for step in steps),
                )
            )

    def _read(self, lists: UnitLists) -> None:
        self._lists = UnitLists(self._lists.resources or lists.resources, self._lists.services or lists.services)


def _planned(batch: Iterable[TimeslotQuery], profile: EhrProfile) -> list[TimeslotQuery]:
    """The queries of a batch without those that are found in what another is spread over."""
    distinct = list(dict.fromkeys(batch))
    spread_out = [query for query in distinct if not query.allowed_by(profile.filter_policy)]
    return [
        query for query in distinct if not any(other != query and other.settles(query, profile) for other in spread_out)
    ]
