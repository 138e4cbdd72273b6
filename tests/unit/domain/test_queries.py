"""What one query's answer says about another's, and the choice among a unit's lists."""

from datetime import datetime
from itertools import product

import pytest
from hypothesis import given, settings

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.queries import ListedIds, Step, TimeslotQuery, UnitLists, partition
from tests.unit import strategies
from tests.unit.domain.plan_inputs import as_named_by, profiles
from tests.unit.model_ehr import DAY, RESOURCES, SERVICES, UNIT, ModelEhr, TrueSlot

# How long an example takes says nothing on a shared machine.
law = settings(max_examples=300, deadline=None)
side = settings(max_examples=100, deadline=None)

PLAIN = EhrProfile("model", "Model")


@side
@given(strategies.queries(), strategies.queries())
def test_covers_means_that_every_slot_of_the_other_is_inside(one: TimeslotQuery, other: TimeslotQuery) -> None:
    slots = [
        TrueSlot(at, resource, service)
        for at in instants(one, other)
        for resource, service in product((*RESOURCES, "other"), (*SERVICES, "other"))
    ]
    ehr = ModelEhr(slots, PLAIN)

    inside = set(ehr.owned(other).slots) <= set(ehr.owned(one).slots)

    assert one.covers(other) is inside


@law
@given(strategies.queries(), strategies.queries(), profiles)
def test_settles_means_that_a_share_can_be_cut(one: TimeslotQuery, other: TimeslotQuery, profile: EhrProfile) -> None:
    slots = [TrueSlot(at, *owners) for at in instants(one, other) for owners in product(RESOURCES, SERVICES)]
    ehr = ModelEhr(as_named_by(profile, slots), profile)
    step = Step(UNIT, one.window, one.resource, one.service)

    share = partition(other, step, ehr.owned(step))

    assert one.settles(other, profile) is (one.covers(other) and share is not None)


def instants(*queries: TimeslotQuery) -> list[datetime]:
    """Every half day from the earliest start to the latest end."""
    first = min(each.window.start for each in queries)
    last = max(each.window.end for each in queries)
    return [first + count * DAY / 2 for count in range(int((last - first) / (DAY / 2)))]


@pytest.mark.parametrize("resources", [False, True])
@pytest.mark.parametrize("services", [False, True])
def test_unit_lists_of_conditions_hold_just_those_lists(*, resources: bool, services: bool) -> None:
    lists = UnitLists.of(resources=resources, services=services)

    assert (lists.resources, lists.services) == (resources, services)
    assert (UnitLists.RESOURCES in lists, UnitLists.SERVICES in lists) == (resources, services)


def test_known_lists_are_those_with_ids_even_where_they_are_empty() -> None:
    assert ListedIds().known is UnitLists.NONE
    assert ListedIds((), None).known is UnitLists.RESOURCES
    assert ListedIds(RESOURCES, SERVICES).known is UnitLists.BOTH
