"""The law of planning: together, queries get what each gets alone, in no more calls and within the EHR's behaviour."""

from dataclasses import replace
from datetime import datetime
from itertools import product
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.domain.ehr_profile import EhrProfile, FilterPolicy
from gateway.domain.partition import partition, unconfirmed_ids
from gateway.domain.planner import needed_lists, overlaps, plan, serves
from gateway.domain.queries import ListedIds, Step, TimeslotQuery, UnitLists
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import Window
from tests.unit import strategies
from tests.unit.domain.surroundings import (
    PolicyDependencies,
    as_named_by,
    nameless_profiles,
    profiles,
    query_sets,
    surroundings,
)
from tests.unit.model_ehr import DAY, EVERYTHING, RESOURCES, SERVICES, UNIT, ModelEhr, TrueSlot, query

# How long an example takes says nothing on a shared machine.
law = settings(max_examples=300, deadline=None)
side = settings(max_examples=100, deadline=None)


def asked_alone(wanted: TimeslotQuery, ehr: ModelEhr) -> TimeslotList | None:
    steps = PolicyDependencies().plan([wanted], ehr.profile).serving[wanted]
    return partition(wanted, {step: ehr.fetch(step) for step in steps})


@law
@given(query_sets, profiles, strategies.slots, surroundings)
def test_each_query_gets_what_it_gets_alone(
    queries: list[TimeslotQuery], profile: EhrProfile, slots: list[TrueSlot], given_in: PolicyDependencies
) -> None:
    ehr = ModelEhr(slots, profile)
    made = given_in.plan(queries, profile)
    answers = {step: ehr.fetch(step) for step in made.steps}

    for each in queries:
        share = partition(each, {step: answers[step] for step in made.serving[each]})
        alone = asked_alone(each, ehr)

        assert alone is not None
        assert alone.slots == ehr.owned(each).slots
        assert share is None or share.slots == alone.slots


@law
@given(query_sets, profiles, strategies.slots, surroundings)
def test_a_share_is_undecided_only_where_slots_name_less_than_the_profile_says(
    queries: list[TimeslotQuery], profile: EhrProfile, slots: list[TrueSlot], given_in: PolicyDependencies
) -> None:
    ehr = ModelEhr(as_named_by(profile, slots), profile)
    made = given_in.plan(queries, profile)

    for each in queries:
        share = partition(each, {step: ehr.fetch(step) for step in made.serving[each]})
        assert share is not None
        assert share.slots == ehr.owned(each).slots


@law
@given(query_sets, profiles, surroundings)
def test_even_with_lists_that_vouch_for_ids_a_plan_takes_no_more_calls_than_its_queries_alone(
    queries: list[TimeslotQuery], profile: EhrProfile, given_in: PolicyDependencies
) -> None:
    # Where nothing is free, no slot proves that an id exists.
    deserted = ModelEhr([], profile)
    together = given_in.plan(queries, profile)
    doubts = [
        unconfirmed_ids(each, {step: deserted.fetch(step) for step in steps})
        for each, steps in together.serving.items()
    ]
    lists = UnitLists(any(doubt.resources for doubt in doubts), any(doubt.services for doubt in doubts))

    # What is at hand decides over which list a query spreads, so the comparison gets the same.
    alone = [given_in.plan([each], profile) for each in set(queries)]

    assert len(together.steps) + given_in.costing_a_call(lists, queries, profile) <= sum(
        len(each.steps) for each in alone
    )


@side
@given(query_sets, profiles, surroundings)
def test_steps_keep_to_the_profile(
    queries: list[TimeslotQuery], profile: EhrProfile, given_in: PolicyDependencies
) -> None:
    made = given_in.plan(queries, profile)

    assert len(set(made.steps)) == len(made.steps)
    assert {step for steps in made.serving.values() for step in steps} <= set(made.steps)
    for step in made.steps:
        assert step.allowed_by(profile.filter_policy)
        assert profile.longest_window is None or step.window.length <= profile.longest_window


@law
@given(query_sets, nameless_profiles, surroundings)
def test_a_filter_is_kept_where_slots_do_not_name_it(
    queries: list[TimeslotQuery], profile: EhrProfile, given_in: PolicyDependencies
) -> None:
    made = given_in.plan(queries, profile)

    for each, steps in made.serving.items():
        for step in steps:
            assert profile.names_resource or step.resource == each.resource or each.resource is None
            assert profile.names_service or step.service == each.service or each.service is None


@side
@given(query_sets, profiles, surroundings)
def test_serving_steps_cover_the_whole_query(
    queries: list[TimeslotQuery], profile: EhrProfile, given_in: PolicyDependencies
) -> None:
    made = given_in.plan(queries, profile)

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
@given(query_sets, profiles, surroundings)
def test_only_steps_that_can_hold_its_slots_serve_a_query(
    queries: list[TimeslotQuery], profile: EhrProfile, given_in: PolicyDependencies
) -> None:
    made = given_in.plan(queries, profile)

    for each in queries:
        assert len(set(made.serving[each])) == len(made.serving[each])
        assert all(serves(step, each) for step in made.serving[each])


@law
@given(query_sets, profiles, surroundings, st.randoms(use_true_random=False))
def test_the_order_of_queries_does_not_change_the_steps(
    queries: list[TimeslotQuery], profile: EhrProfile, given_in: PolicyDependencies, random: Random
) -> None:
    shuffled = random.sample(queries, len(queries))

    assert set(given_in.plan(shuffled, profile).steps) == set(given_in.plan(queries, profile).steps)


PLAIN = EhrProfile("model", "Model")


def test_fifty_resources_share_one_call() -> None:
    queries = [query(0, 30, f"r{number}") for number in range(50)]

    made = plan(queries, PLAIN, ListedIds())

    assert made.steps == (Step(UNIT, queries[0].window),)
    assert all(made.serving[each] == made.steps for each in queries)


def test_resource_and_service_share_one_call_where_their_windows_touch() -> None:
    made = plan([query(0, 5, "r1"), query(5, 8, None, "s1")], PLAIN, EVERYTHING)

    assert made.steps == (Step(UNIT, query(0, 8).window),)


def test_far_apart_windows_stay_apart() -> None:
    made = plan([query(0, 2), query(20, 22)], PLAIN, ListedIds())

    assert set(made.steps) == {Step(UNIT, query(0, 2).window), Step(UNIT, query(20, 22).window)}


def test_one_resource_is_asked_for_with_its_filter() -> None:
    made = plan([query(0, 2, "r1"), query(1, 4, "r1")], PLAIN, ListedIds())

    assert made.steps == (Step(UNIT, query(0, 4).window, "r1"),)


def test_a_required_service_becomes_one_call_a_service() -> None:
    profile = EhrProfile("model", "Model", FilterPolicy.SERVICE)

    made = plan([query(0, 2)], profile, ListedIds(None, SERVICES))

    assert {step.service for step in made.steps} == set(SERVICES)


def test_any_one_filter_spreads_over_the_shorter_list() -> None:
    profile = EhrProfile("model", "Model", FilterPolicy.ANY_ONE)

    made = plan([query(0, 2)], profile, EVERYTHING)

    assert {step.service for step in made.steps} == set(SERVICES)


def test_both_filters_take_every_pair() -> None:
    profile = EhrProfile("model", "Model", FilterPolicy.BOTH)

    made = plan([query(0, 2)], profile, EVERYTHING)

    assert {(step.resource, step.service) for step in made.steps} == set(product(RESOURCES, SERVICES))


@pytest.mark.parametrize(
    "at_hand", [UnitLists(resources=True), UnitLists(services=True), UnitLists(resources=True, services=True)]
)
def test_any_one_filter_needs_no_list_that_is_not_at_hand(at_hand: UnitLists) -> None:
    assert needed_lists([query(0, 1)], FilterPolicy.ANY_ONE, at_hand) == at_hand


@pytest.mark.parametrize(
    ("policy", "resource", "service", "need"),
    [
        (FilterPolicy.NONE_REQUIRED, None, None, UnitLists()),
        (FilterPolicy.ANY_ONE, None, None, UnitLists(services=True)),
        (FilterPolicy.ANY_ONE, "r1", None, UnitLists()),
        (FilterPolicy.RESOURCE, None, "s1", UnitLists(resources=True)),
        (FilterPolicy.RESOURCE, "r1", None, UnitLists()),
        (FilterPolicy.SERVICE, "r1", None, UnitLists(services=True)),
        (FilterPolicy.SERVICE, None, "s1", UnitLists()),
        (FilterPolicy.BOTH, None, None, UnitLists(resources=True, services=True)),
        (FilterPolicy.BOTH, "r1", None, UnitLists(services=True)),
        (FilterPolicy.BOTH, None, "s1", UnitLists(resources=True)),
        (FilterPolicy.BOTH, "r1", "s1", UnitLists()),
    ],
)
def test_roster_need(policy: FilterPolicy, resource: str | None, service: str | None, need: UnitLists) -> None:
    assert needed_lists([query(0, 1, resource, service)], policy, UnitLists()) == need


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

    share = partition(other, {step: ehr.owned(step)})

    assert one.settles(other, profile) is (one.covers(other) and share is not None)


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


@law
@given(query_sets, profiles, st.data())
def test_what_another_query_contains_changes_no_step(
    queries: list[TimeslotQuery], profile: EhrProfile, data: st.DataObject
) -> None:
    container = data.draw(st.sampled_from(queries))
    start, length = container.window.start, container.window.length
    first, last = data.draw(st.sampled_from([(0, 1), (0, 1 / 2), (1 / 4, 3 / 4), (1 / 2, 1)]))
    contained = replace(
        container,
        window=Window(start + first * length, start + last * length),
        resource=container.resource or data.draw(st.sampled_from([None, *RESOURCES])),
        service=container.service or data.draw(st.sampled_from([None, *SERVICES])),
    )
    assume(container.allowed_by(profile.filter_policy) and container.settles(contained, profile))

    made = plan([contained, *queries], profile, EVERYTHING)

    assert set(made.steps) == set(plan(queries, profile, EVERYTHING).steps)


def test_every_step_serves_a_query_in_the_order_of_the_queries() -> None:
    asked = [query(0, 2, "r2"), query(10, 12, "r1"), query(20, 22, service="s1")]

    made = plan(asked, EhrProfile("model", "Model"), EVERYTHING)

    assert list(made.steps) == [step for each in asked for step in made.serving[each]]
