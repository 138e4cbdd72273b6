"""The law of planning: together, queries get what each gets alone, in no more calls and within the EHR's manners."""

from collections.abc import Sequence
from datetime import datetime
from itertools import product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.ehr import EhrProfile, FilterPolicy
from gateway.domain.models import Timeslot
from gateway.domain.planning import (
    Lists,
    Plan,
    Roster,
    Step,
    TimeslotQuery,
    overlaps,
    partition,
    plan,
    roster_need,
    serves,
    unproven,
)
from gateway.domain.timeslots import TimeslotList
from tests.unit import strategies
from tests.unit.model_ehr import DAY, EVERYTHING, RESOURCES, SERVICES, UNIT, ModelEhr, TrueSlot, query

# How long an example takes says nothing on a shared machine.
law = settings(max_examples=300, deadline=None)
side = settings(max_examples=80, deadline=None)


def planned(queries: Sequence[TimeslotQuery], profile: EhrProfile, at_hand: Lists | None = None) -> Plan:
    """A plan that is given no list that it did not ask for."""
    need = roster_need(queries, profile.filter_policy, at_hand or Lists())
    roster = Roster(RESOURCES if need.resources else None, SERVICES if need.services else None)
    return plan(queries, profile, roster)


def asked_alone(wanted: TimeslotQuery, ehr: ModelEhr) -> TimeslotList | None:
    steps = planned([wanted], ehr.profile).serving[wanted]
    return partition(wanted, {step: ehr.fetch(step) for step in steps})


@law
@given(strategies.query_sets, strategies.profiles, strategies.slots, strategies.lists)
def test_each_query_gets_what_it_gets_alone(
    queries: list[TimeslotQuery], profile: EhrProfile, slots: list[TrueSlot], at_hand: Lists
) -> None:
    ehr = ModelEhr(slots, profile)
    made = planned(queries, profile, at_hand)
    answers = {step: ehr.fetch(step) for step in made.steps}

    for each in queries:
        share = partition(each, {step: answers[step] for step in made.serving[each]})
        alone = asked_alone(each, ehr)

        assert alone is not None
        assert alone.slots == ehr.owned(each).slots
        assert share is None or share.slots == alone.slots


@side
@given(strategies.query_sets, strategies.profiles, strategies.slots)
def test_a_share_is_undecided_only_where_slots_do_not_name_their_owner(
    queries: list[TimeslotQuery], profile: EhrProfile, slots: list[TrueSlot]
) -> None:
    ehr = ModelEhr([TrueSlot(slot.start, slot.resource, slot.service) for slot in slots], profile)
    made = planned(queries, profile)

    for each in queries:
        assert partition(each, {step: ehr.fetch(step) for step in made.serving[each]}) is not None


@side
@given(strategies.query_sets, strategies.profiles, strategies.lists)
def test_steps_keep_to_the_profile(queries: list[TimeslotQuery], profile: EhrProfile, at_hand: Lists) -> None:
    made = planned(queries, profile, at_hand)

    assert len(set(made.steps)) == len(made.steps)
    assert {step for steps in made.serving.values() for step in steps} <= set(made.steps)
    for step in made.steps:
        assert step.allowed_by(profile.filter_policy)
        assert profile.longest_window is None or step.window.length <= profile.longest_window


@side
@given(strategies.query_sets, strategies.profiles, strategies.lists)
def test_a_plan_takes_no_more_calls_than_its_queries_alone(
    queries: list[TimeslotQuery], profile: EhrProfile, at_hand: Lists
) -> None:
    together = planned(queries, profile, at_hand)

    # The lists at hand decide over which of them a query spreads, so the comparison gets the same.
    alone = [planned([each], profile, at_hand) for each in set(queries)]

    assert len(together.steps) <= sum(len(each.steps) for each in alone)


@side
@given(strategies.query_sets, strategies.profiles)
def test_serving_steps_cover_the_whole_query(queries: list[TimeslotQuery], profile: EhrProfile) -> None:
    made = planned(queries, profile)

    for each in queries:
        owners = product(
            RESOURCES if each.resource is None else [each.resource],
            SERVICES if each.service is None else [each.service],
        )
        for resource, service in owners:
            reached = each.window.start
            for step in sorted(made.serving[each], key=lambda step: step.window.start):
                of_owner = step.resource in {None, resource} and step.service in {None, service}
                if of_owner and step.window.start <= reached:
                    reached = max(reached, step.window.end)
            assert reached >= each.window.end


@side
@given(strategies.query_sets, strategies.profiles)
def test_only_steps_that_can_hold_its_slots_serve_a_query(queries: list[TimeslotQuery], profile: EhrProfile) -> None:
    made = planned(queries, profile)

    for each in queries:
        assert all(serves(step, each) for step in made.serving[each])


@side
@given(strategies.query_sets, strategies.profiles, st.randoms(use_true_random=False))
def test_the_order_of_queries_does_not_change_the_steps(
    queries: list[TimeslotQuery], profile: EhrProfile, random: Random
) -> None:
    shuffled = random.sample(queries, len(queries))

    assert set(planned(shuffled, profile).steps) == set(planned(queries, profile).steps)


PLAIN = EhrProfile("model", "Model")


def test_fifty_resources_share_one_call() -> None:
    queries = [query(0, 30, f"r{number}") for number in range(50)]

    made = plan(queries, PLAIN, Roster())

    assert made.steps == (Step(UNIT, queries[0].window),)
    assert all(made.serving[each] == made.steps for each in queries)


def test_resource_and_service_share_one_call_where_their_windows_touch() -> None:
    made = plan([query(0, 5, "r1"), query(5, 8, None, "s1")], PLAIN, Roster())

    assert made.steps == (Step(UNIT, query(0, 8).window),)


def test_far_apart_windows_stay_apart() -> None:
    made = plan([query(0, 2), query(20, 22)], PLAIN, Roster())

    assert set(made.steps) == {Step(UNIT, query(0, 2).window), Step(UNIT, query(20, 22).window)}


def test_one_resource_is_asked_for_with_its_filter() -> None:
    made = plan([query(0, 2, "r1"), query(1, 4, "r1")], PLAIN, Roster())

    assert made.steps == (Step(UNIT, query(0, 4).window, "r1"),)


def test_a_required_service_becomes_one_call_a_service() -> None:
    profile = EhrProfile("model", "Model", FilterPolicy.SERVICE)

    made = plan([query(0, 2)], profile, Roster(None, SERVICES))

    assert {step.service for step in made.steps} == set(SERVICES)


def test_any_one_filter_spreads_over_the_shorter_list() -> None:
    profile = EhrProfile("model", "Model", FilterPolicy.ANY_ONE)

    made = plan([query(0, 2)], profile, EVERYTHING)

    assert {step.service for step in made.steps} == set(SERVICES)


def test_both_filters_take_every_pair() -> None:
    profile = EhrProfile("model", "Model", FilterPolicy.BOTH)

    made = plan([query(0, 2)], profile, EVERYTHING)

    assert {(step.resource, step.service) for step in made.steps} == set(product(RESOURCES, SERVICES))


@pytest.mark.parametrize("at_hand", [Lists(resources=True), Lists(services=True), Lists(resources=True, services=True)])
def test_any_one_filter_needs_no_list_that_is_not_at_hand(at_hand: Lists) -> None:
    assert roster_need([query(0, 1)], FilterPolicy.ANY_ONE, at_hand) == at_hand


@pytest.mark.parametrize(
    ("policy", "resource", "service", "need"),
    [
        (FilterPolicy.NONE_REQUIRED, None, None, Lists()),
        (FilterPolicy.ANY_ONE, None, None, Lists(services=True)),
        (FilterPolicy.ANY_ONE, "r1", None, Lists()),
        (FilterPolicy.RESOURCE, None, "s1", Lists(resources=True)),
        (FilterPolicy.RESOURCE, "r1", None, Lists()),
        (FilterPolicy.SERVICE, "r1", None, Lists(services=True)),
        (FilterPolicy.SERVICE, None, "s1", Lists()),
        (FilterPolicy.BOTH, None, None, Lists(resources=True, services=True)),
        (FilterPolicy.BOTH, "r1", None, Lists(services=True)),
        (FilterPolicy.BOTH, None, "s1", Lists(resources=True)),
        (FilterPolicy.BOTH, "r1", "s1", Lists()),
    ],
)
def test_roster_need(policy: FilterPolicy, resource: str | None, service: str | None, need: Lists) -> None:
    assert roster_need([query(0, 1, resource, service)], policy, Lists()) == need


def test_a_nameless_slot_settles_nothing_about_one_resource() -> None:
    nameless = TimeslotList([Timeslot(query(1, 2).window.start.isoformat())])

    assert partition(query(0, 2, "r1"), {Step(UNIT, query(0, 2).window): nameless}) is None
    assert partition(query(0, 2), {Step(UNIT, query(0, 2).window): nameless}) is not None


def test_a_nameless_slot_is_of_the_resource_that_was_asked_for() -> None:
    nameless = TimeslotList([Timeslot(query(1, 2).window.start.isoformat())])

    share = partition(query(0, 2, "r1"), {Step(UNIT, query(0, 2).window, "r1"): nameless})

    assert share is not None
    assert share.slots == nameless.slots


def test_a_nameless_slot_outside_the_window_does_no_harm() -> None:
    nameless = TimeslotList([Timeslot(query(5, 6).window.start.isoformat())])

    share = partition(query(0, 2, "r1"), {Step(UNIT, query(0, 8).window): nameless})

    assert share is not None
    assert share.slots == ()


def test_an_id_is_unproven_until_a_slot_of_a_wider_answer_names_it() -> None:
    wide, narrow = Step(UNIT, query(0, 2).window), Step(UNIT, query(0, 2).window, "r1", "s1")
    named = TimeslotList([Timeslot(query(1, 2).window.start.isoformat(), None, "r1", "s1")])
    wanted = query(0, 2, "r1", "s1")

    assert unproven(wanted, {wide: TimeslotList()}) == Lists(resources=True, services=True)
    assert unproven(wanted, {wide: named}) == Lists()
    assert unproven(wanted, {narrow: TimeslotList()}) == Lists()


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


@side
@given(strategies.queries(), strategies.queries())
def test_overlaps_means_an_instant_in_common(one: TimeslotQuery, other: TimeslotQuery) -> None:
    common = [
        at
        for at in instants(one, other)
        if one.window.start <= at < one.window.end and other.window.start <= at < other.window.end
    ]

    assert overlaps(one.window, other.window) is bool(common)
    assert overlaps(other.window, one.window) is bool(common)


def instants(*queries: TimeslotQuery) -> list[datetime]:
    """Every half day from the earliest start to the latest end."""
    first = min(each.window.start for each in queries)
    last = max(each.window.end for each in queries)
    return [first + count * DAY / 2 for count in range(int((last - first) / (DAY / 2)))]


def test_what_another_query_contains_costs_no_call() -> None:
    profile = EhrProfile("model", "Model", FilterPolicy.ANY_ONE, 3 * DAY)
    asked = [query(0, 9, "r1"), query(0, 3.5, service="s1")]

    contained = query(3, 6.5, "r1", "s1")

    assert len(plan([*asked, contained], profile, EVERYTHING).steps) == len(plan(asked, profile, EVERYTHING).steps) == 5


def test_every_step_serves_a_query_in_the_order_of_the_queries() -> None:
    asked = [query(0, 2, "r2"), query(10, 12, "r1"), query(20, 22, service="s1")]

    made = plan(asked, EhrProfile("model", "Model"), EVERYTHING)

    assert list(made.steps) == [step for each in asked for step in made.serving[each]]
