"""The law of planning: together, queries get what each gets alone, in no more calls and within the EHR's behaviour."""

from dataclasses import replace
from datetime import timedelta
from itertools import product
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.domain.ehr_profile import EhrProfile, FanOut, FilterPolicy
from gateway.domain.planner import needed_lists, plan
from gateway.domain.queries import ListedIds, Step, TimeslotQuery, UnitLists, serves, spread, unconfirmed_ids
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import Window
from tests.unit import strategies
from tests.unit.domain.plan_inputs import (
    PlanInputs,
    as_named_by,
    plan_inputs,
    profiles,
    profiles_lacking_owner,
    query_sets,
    share_of,
)
from tests.unit.model_ehr import EVERYTHING, RESOURCES, SERVICES, UNIT, ModelEhr, TrueSlot, query

# How long an example takes says nothing on a shared machine.
law = settings(max_examples=300, deadline=None)
side = settings(max_examples=100, deadline=None)


def asked_alone(wanted: TimeslotQuery, ehr: ModelEhr) -> TimeslotList | None:
    steps = PlanInputs().plan([wanted], ehr.profile).serving[wanted]
    return share_of(wanted, {step: ehr.fetch(step) for step in steps})


@law
@given(query_sets, profiles, strategies.slots, plan_inputs, strategies.spills)
def test_each_query_gets_what_it_gets_alone(
    queries: list[TimeslotQuery], profile: EhrProfile, slots: list[TrueSlot], inputs: PlanInputs, spill: timedelta
) -> None:
    ehr = ModelEhr(slots, profile, spill=spill)
    made = inputs.plan(queries, profile)
    answers = {step: ehr.fetch(step) for step in made.steps}

    for each in queries:
        share = share_of(each, {step: answers[step] for step in made.serving[each]})
        alone = asked_alone(each, ehr)

        assert alone is not None
        assert alone.slots == ehr.expected(each).slots
        assert share is None or share.slots == alone.slots


@law
@given(query_sets, profiles, strategies.slots, plan_inputs)
def test_every_share_is_told_where_slots_name_what_the_profile_says(
    queries: list[TimeslotQuery], profile: EhrProfile, slots: list[TrueSlot], inputs: PlanInputs
) -> None:
    ehr = ModelEhr(as_named_by(profile, slots), profile)
    made = inputs.plan(queries, profile)

    for each in queries:
        share = share_of(each, {step: ehr.fetch(step) for step in made.serving[each]})
        assert share is not None
        assert share.slots == ehr.expected(each).slots


@law
@given(query_sets, profiles, plan_inputs)
def test_a_plan_takes_no_more_calls_than_its_queries_alone_even_with_lists_that_confirm_ids(
    queries: list[TimeslotQuery], profile: EhrProfile, inputs: PlanInputs
) -> None:
    # Where nothing is free, no slot proves that an id exists.
    deserted = ModelEhr([], profile)
    together = inputs.plan(queries, profile)
    unconfirmed = UnitLists.NONE
    for each, steps in together.serving.items():
        unconfirmed |= unconfirmed_ids(each, {step: deserted.fetch(step) for step in steps})

    alone = [inputs.plan([each], profile) for each in set(queries)]

    assert len(together.steps) + inputs.calls_to_confirm(unconfirmed, queries, profile) <= sum(
        len(each.steps) for each in alone
    )


@side
@given(query_sets, profiles, plan_inputs)
def test_steps_keep_to_the_profile(queries: list[TimeslotQuery], profile: EhrProfile, inputs: PlanInputs) -> None:
    made = inputs.plan(queries, profile)

    assert len(set(made.steps)) == len(made.steps)
    assert {step for steps in made.serving.values() for step in steps} <= set(made.steps)
    for step in made.steps:
        assert step.allowed_by(profile.filter_policy)
        assert profile.longest_window is None or step.window.length <= profile.longest_window


@law
@given(query_sets, profiles_lacking_owner, plan_inputs)
def test_a_filter_is_kept_where_slots_do_not_name_it(
    queries: list[TimeslotQuery], profile: EhrProfile, inputs: PlanInputs
) -> None:
    made = inputs.plan(queries, profile)

    for each, steps in made.serving.items():
        for step in steps:
            assert profile.names_resource or step.resource == each.resource or each.resource is None
            assert profile.names_service or step.service == each.service or each.service is None


@side
@given(query_sets, profiles, plan_inputs)
def test_serving_steps_cover_the_whole_query(
    queries: list[TimeslotQuery], profile: EhrProfile, inputs: PlanInputs
) -> None:
    made = inputs.plan(queries, profile)

    for each in queries:
        for part in spread(each, profile, EVERYTHING):
            reached = each.window.start
            for step in sorted(made.serving[each], key=lambda step: step.window.start):
                of_owner = step.resource in {None, part.resource} and step.service in {None, part.service}
                if of_owner and step.window.start <= reached:
                    reached = max(reached, step.window.end)
            assert reached >= each.window.end


@side
@given(query_sets, profiles, plan_inputs)
def test_only_steps_that_can_hold_its_slots_serve_a_query(
    queries: list[TimeslotQuery], profile: EhrProfile, inputs: PlanInputs
) -> None:
    made = inputs.plan(queries, profile)

    for each in queries:
        assert len(set(made.serving[each])) == len(made.serving[each])
        assert all(serves(step, each) for step in made.serving[each])


@law
@given(query_sets, profiles, plan_inputs, st.randoms(use_true_random=False))
def test_the_order_of_queries_does_not_change_the_steps(
    queries: list[TimeslotQuery], profile: EhrProfile, inputs: PlanInputs, random: Random
) -> None:
    shuffled = random.sample(queries, len(queries))

    assert set(inputs.plan(shuffled, profile).steps) == set(inputs.plan(queries, profile).steps)


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


@pytest.mark.parametrize(
    ("fan_out", "filters"),
    [
        (FanOut.RESOURCES, {(each, None) for each in RESOURCES}),
        (FanOut.SERVICES, {(None, each) for each in SERVICES}),
        (FanOut.BOTH, {*((each, None) for each in RESOURCES), *((None, each) for each in SERVICES)}),
    ],
)
def test_any_one_filter_spreads_as_the_profile_says(
    fan_out: FanOut, filters: set[tuple[str | None, str | None]]
) -> None:
    profile = EhrProfile("model", "Model", FilterPolicy.ANY_ONE, fan_out=fan_out)

    made = plan([query(0, 2)], profile, EVERYTHING)

    assert {step.filters for step in made.steps} == filters


def test_both_filters_take_every_pair() -> None:
    profile = EhrProfile("model", "Model", FilterPolicy.BOTH)

    made = plan([query(0, 2)], profile, EVERYTHING)

    assert {(step.resource, step.service) for step in made.steps} == set(product(RESOURCES, SERVICES))


@pytest.mark.parametrize(
    ("policy", "resource", "service", "need"),
    [
        (FilterPolicy.NONE_REQUIRED, None, None, UnitLists.NONE),
        (FilterPolicy.ANY_ONE, None, None, UnitLists.SERVICES),
        (FilterPolicy.ANY_ONE, "r1", None, UnitLists.NONE),
        (FilterPolicy.RESOURCE, None, "s1", UnitLists.RESOURCES),
        (FilterPolicy.RESOURCE, "r1", None, UnitLists.NONE),
        (FilterPolicy.SERVICE, "r1", None, UnitLists.SERVICES),
        (FilterPolicy.SERVICE, None, "s1", UnitLists.NONE),
        (FilterPolicy.BOTH, None, None, UnitLists.BOTH),
        (FilterPolicy.BOTH, "r1", None, UnitLists.SERVICES),
        (FilterPolicy.BOTH, None, "s1", UnitLists.RESOURCES),
        (FilterPolicy.BOTH, "r1", "s1", UnitLists.NONE),
    ],
)
def test_needed_lists_are_those_that_the_policy_spreads_over(
    policy: FilterPolicy, resource: str | None, service: str | None, need: UnitLists
) -> None:
    profile = EhrProfile("model", "Model", policy)

    assert needed_lists([query(0, 1, resource, service)], profile) == need


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
