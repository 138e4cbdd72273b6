"""Each query's share of wider answers, when it cannot be told, and which ids stay unconfirmed."""

from collections.abc import Mapping
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.models import Timeslot
from gateway.domain.queries import Plan, Step, TimeslotQuery, UnitLists, lacks_owner, partition, unconfirmed_ids
from gateway.domain.timeslots import TimeslotList
from tests.unit import strategies
from tests.unit.domain.plan_inputs import PlanInputs, owners_lacking, plan_inputs, query_sets, share_of
from tests.unit.model_ehr import UNIT, ModelEhr, TrueSlot, query

# How long an example takes says nothing on a shared machine.
law = settings(max_examples=200, deadline=None)
STRANGERS = ("stranger",)


def slot_at(day: float, resource: str | None = None, service: str | None = None) -> Timeslot:
    return Timeslot(query(day, day + 1).window.start.isoformat(), None, resource, service)


def answers_for(wanted: TimeslotQuery, made: Plan, ehr: ModelEhr) -> Mapping[Step, TimeslotList]:
    return {step: ehr.fetch(step) for step in made.serving[wanted]}


@law
@given(query_sets, strategies.profiles, strategies.slots, plan_inputs)
def test_a_share_cannot_be_told_where_slots_lack_an_owner(
    queries: list[TimeslotQuery], profile: EhrProfile, slots: list[TrueSlot], inputs: PlanInputs
) -> None:
    ehr = ModelEhr(slots, profile)
    made = inputs.plan(queries, profile)

    for each in queries:
        answers = answers_for(each, made, ehr)

        assert (share_of(each, answers) is None) is (owners_lacking(each, answers) is not UnitLists.NONE)


@law
@given(query_sets, strategies.profiles, strategies.slots, plan_inputs)
def test_planning_with_what_slots_lack_tells_every_share(
    queries: list[TimeslotQuery], profile: EhrProfile, slots: list[TrueSlot], inputs: PlanInputs
) -> None:
    ehr = ModelEhr(slots, profile)

    for _ in range(2):
        made, learned = inputs.plan(queries, profile), profile
        for each in queries:
            missing = owners_lacking(each, answers_for(each, made, ehr))
            assert profile.names_resource or not missing.resources
            assert profile.names_service or not missing.services
            learned = learned.after_lacking_owner(resource=missing.resources, service=missing.services)
        profile = learned

    made = inputs.plan(queries, profile)
    for each in queries:
        share = share_of(each, answers_for(each, made, ehr))
        assert share is not None
        assert share.slots == ehr.expected(each).slots


@pytest.mark.parametrize(
    ("slot", "wanted", "missing"),
    [
        (slot_at(1), query(0, 2), UnitLists.NONE),
        (slot_at(1), query(0, 2, "r1"), UnitLists.RESOURCES),
        (slot_at(1), query(0, 2, None, "s1"), UnitLists.SERVICES),
        (slot_at(1), query(0, 2, "r1", "s1"), UnitLists.BOTH),
        (slot_at(1, "r1"), query(0, 2, "r1", "s1"), UnitLists.SERVICES),
        (slot_at(1, "r2"), query(0, 2, "r1", "s1"), UnitLists.NONE),
        (slot_at(1, None, "s2"), query(0, 2, "r1", "s1"), UnitLists.NONE),
        (slot_at(5), query(0, 2, "r1", "s1"), UnitLists.NONE),
    ],
)
def test_lacks_owner_says_which_owner_slots_do_not_name(
    slot: Timeslot, wanted: TimeslotQuery, missing: UnitLists
) -> None:
    step, answer = Step(UNIT, query(0, 8).window), TimeslotList([slot])

    assert lacks_owner(wanted, step, answer) is missing
    assert (partition(wanted, step, answer) is None) is (missing is not UnitLists.NONE)


def test_a_slot_without_an_owner_belongs_to_the_resource_that_was_asked_for() -> None:
    unnamed = TimeslotList([slot_at(1)])

    share = partition(query(0, 2, "r1"), Step(UNIT, query(0, 2).window, "r1"), unnamed)

    assert share is not None
    assert share.slots == unnamed.slots


def test_a_filter_that_the_ehr_ignores_is_applied_again() -> None:
    answer = TimeslotList([slot_at(1, "r1"), slot_at(1, "r2")])

    share = partition(query(0, 2, "r1"), Step(UNIT, query(0, 2).window, "r1"), answer)

    assert share is not None
    assert [slot.resource_id for slot in share.slots] == ["r1"]


@law
@given(strategies.queries(STRANGERS), strategies.slots, st.sampled_from(["r1", None]), st.sampled_from(["s1", None]))
def test_an_id_is_unconfirmed_until_a_call_or_a_slot_names_it(
    wanted: TimeslotQuery, slots: list[TrueSlot], resource: str | None, service: str | None
) -> None:
    step = Step(UNIT, wanted.window, resource, service)
    answer = ModelEhr(slots, EhrProfile("model", "Model")).owned(step)

    named = {(slot.resource_id, slot.healthcare_service_id) for slot in answer.slots}

    assert unconfirmed_ids(wanted, {step: answer}) == UnitLists.of(
        resources=wanted.resource not in {None, resource, *(each for each, _ in named)},
        services=wanted.service not in {None, service, *(each for _, each in named)},
    )


def test_an_id_is_confirmed_by_any_of_several_answers() -> None:
    steps = [Step(UNIT, query(day, day + 2).window) for day in (0, 2, 4)]
    wanted = query(0, 6, "r1", "s1")

    for one, other in product(steps, steps):
        answers = dict.fromkeys(steps, TimeslotList())
        answers[one] = TimeslotList([slot_at(1, "r1", "s2")])
        if one != other:
            answers[other] = TimeslotList([slot_at(1, "r2", "s1")])

        assert unconfirmed_ids(wanted, answers) == (UnitLists.SERVICES if one == other else UnitLists.NONE)
