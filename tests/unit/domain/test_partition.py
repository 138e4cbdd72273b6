"""Each query's share of wider answers, what keeps it from being told, and which ids stay in doubt."""

from collections.abc import Mapping
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.models import Timeslot
from gateway.domain.partition import lacks_owner, partition, unconfirmed_ids
from gateway.domain.queries import Plan, Step, TimeslotQuery, UnitLists
from gateway.domain.timeslots import TimeslotList
from tests.unit import strategies
from tests.unit.domain.surroundings import PolicyDependencies, query_sets, surroundings
from tests.unit.model_ehr import UNIT, ModelEhr, TrueSlot, query

# How long an example takes says nothing on a shared machine.
law = settings(max_examples=200, deadline=None)
STRANGERS = ("stranger",)


def slot_at(day: float, resource: str | None = None, service: str | None = None) -> Timeslot:
    return Timeslot(query(day, day + 1).window.start.isoformat(), None, resource, service)


def answers_for(wanted: TimeslotQuery, made: Plan, ehr: ModelEhr) -> Mapping[Step, TimeslotList]:
    return {step: ehr.fetch(step) for step in made.serving[wanted]}


@law
@given(query_sets, strategies.profiles, strategies.slots, surroundings)
def test_a_share_is_undecided_where_slots_are_nameless(
    queries: list[TimeslotQuery], profile: EhrProfile, slots: list[TrueSlot], given_in: PolicyDependencies
) -> None:
    ehr = ModelEhr(slots, profile)
    made = given_in.plan(queries, profile)

    for each in queries:
        answers = answers_for(each, made, ehr)

        assert (partition(each, answers) is None) is (lacks_owner(each, answers) != UnitLists())


@law
@given(query_sets, strategies.profiles, strategies.slots, surroundings)
def test_what_nameless_slots_teach_makes_every_share_decided(
    queries: list[TimeslotQuery], profile: EhrProfile, slots: list[TrueSlot], given_in: PolicyDependencies
) -> None:
    ehr = ModelEhr(slots, profile)

    for _ in range(2):
        made, learned = given_in.plan(queries, profile), profile
        for each in queries:
            missing = lacks_owner(each, answers_for(each, made, ehr))
            assert profile.names_resource or not missing.resources
            assert profile.names_service or not missing.services
            learned = learned.after_lacking_owner(resource=missing.resources, service=missing.services)
        profile = learned

    made = given_in.plan(queries, profile)
    for each in queries:
        share = partition(each, answers_for(each, made, ehr))
        assert share is not None
        assert share.slots == ehr.owned(each).slots


@pytest.mark.parametrize(
    ("slot", "wanted", "missing"),
    [
        (slot_at(1), query(0, 2), UnitLists()),
        (slot_at(1), query(0, 2, "r1"), UnitLists(resources=True)),
        (slot_at(1), query(0, 2, None, "s1"), UnitLists(services=True)),
        (slot_at(1), query(0, 2, "r1", "s1"), UnitLists(resources=True, services=True)),
        (slot_at(1, "r1"), query(0, 2, "r1", "s1"), UnitLists(services=True)),
        (slot_at(1, "r2"), query(0, 2, "r1", "s1"), UnitLists()),
        (slot_at(1, None, "s2"), query(0, 2, "r1", "s1"), UnitLists()),
        (slot_at(5), query(0, 2, "r1", "s1"), UnitLists()),
    ],
)
def test_nameless(slot: Timeslot, wanted: TimeslotQuery, missing: UnitLists) -> None:
    answers = {Step(UNIT, query(0, 8).window): TimeslotList([slot])}

    assert lacks_owner(wanted, answers) == missing
    assert (partition(wanted, answers) is None) is (missing != UnitLists())


def test_a_nameless_slot_is_of_the_resource_that_was_asked_for() -> None:
    unnamed = TimeslotList([slot_at(1)])

    share = partition(query(0, 2, "r1"), {Step(UNIT, query(0, 2).window, "r1"): unnamed})

    assert share is not None
    assert share.slots == unnamed.slots


def test_a_filter_that_the_ehr_ignores_is_applied_again() -> None:
    answer = TimeslotList([slot_at(1, "r1"), slot_at(1, "r2")])

    share = partition(query(0, 2, "r1"), {Step(UNIT, query(0, 2).window, "r1"): answer})

    assert share is not None
    assert [slot.resource_id for slot in share.slots] == ["r1"]


@law
@given(strategies.queries(STRANGERS), strategies.slots, st.sampled_from(["r1", None]), st.sampled_from(["s1", None]))
def test_an_id_is_unproven_until_a_call_or_a_slot_names_it(
    wanted: TimeslotQuery, slots: list[TrueSlot], resource: str | None, service: str | None
) -> None:
    step = Step(UNIT, wanted.window, resource, service)
    answer = ModelEhr(slots, EhrProfile("model", "Model")).owned(step)

    named = {(slot.resource_id, slot.healthcare_service_id) for slot in answer.slots}

    assert unconfirmed_ids(wanted, {step: answer}) == UnitLists(
        resources=wanted.resource not in {None, resource, *(each for each, _ in named)},
        services=wanted.service not in {None, service, *(each for _, each in named)},
    )


def test_every_answer_can_vouch_for_an_id() -> None:
    steps = [Step(UNIT, query(day, day + 2).window) for day in (0, 2, 4)]
    wanted = query(0, 6, "r1", "s1")

    for one, other in product(steps, steps):
        answers = dict.fromkeys(steps, TimeslotList())
        answers[one] = TimeslotList([slot_at(1, "r1", "s2")])
        if one != other:
            answers[other] = TimeslotList([slot_at(1, "r2", "s1")])

        assert unconfirmed_ids(wanted, answers) == UnitLists(services=one == other)
