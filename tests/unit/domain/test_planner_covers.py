"""When one call replaces several: what it costs, and what it may cost when lists have to confirm ids."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.planner import cost_model, plan
from gateway.domain.queries import ListedIds, Step, TimeslotQuery, UnitLists
from tests.unit.domain.plan_inputs import PlanInputs, plan_inputs, profiles, query_sets
from tests.unit.model_ehr import DAY, UNIT, query

# How long an example takes says nothing on a shared machine.
many = settings(max_examples=200, deadline=None)

PLAIN = EhrProfile("model", "Model")
NOTHING, BOTH, RESOURCES, SERVICES = UnitLists.NONE, UnitLists.BOTH, UnitLists.RESOURCES, UnitLists.SERVICES
Asked = list[TimeslotQuery]


def ids(count: int) -> tuple[str, ...]:
    return tuple(f"r{number}" for number in range(count))


def calls(queries: Asked, listed_ids: ListedIds, loaded: UnitLists = BOTH, profile: EhrProfile = PLAIN) -> int:
    return len(plan(queries, profile, listed_ids, loaded).steps)


@many
@given(query_sets, profiles, plan_inputs)
def test_a_plan_never_costs_more_than_its_queries_alone(
    queries: Asked, profile: EhrProfile, inputs: PlanInputs
) -> None:
    alone = {step for each in queries for step in inputs.plan([each], profile).steps}
    model = cost_model(alone, inputs.listed_ids(queries, profile), profile.longest_window)

    assert sum(map(model.cost, inputs.plan(queries, profile).steps)) <= sum(map(model.cost, alone))


@many
@given(st.integers(1, 60), st.integers(0, 60), st.integers(1, 92))
def test_resources_of_one_window_are_asked_for_in_the_cheapest_way(asked: int, others: int, days: int) -> None:
    listed_ids = ListedIds(ids(asked + others))

    made = plan([query(0, days, resource) for resource in ids(asked)], PLAIN, listed_ids)

    narrow, wide = asked * (1000 + days), 1000 + days * (asked + others)
    assert len(made.steps) == (1 if wide < narrow else asked)
    assert {step.resource for step in made.steps} == ({None} if wide < narrow else set(ids(asked)))


@pytest.mark.parametrize(
    ("asked", "known", "days", "expected"),
    [
        (2, 50, 30, 2),
        (3, 50, 30, 1),
        # What costs the same brings no more than is wanted.
        (2, 102, 10, 2),
        (2, 101, 10, 1),
        (2, None, 92, 1),
        (50, 50, 30, 1),
        (2, 2, 92, 1),
        # A thousand resources are known to be there, once a thousand are asked for.
        (1000, None, 92, 1),
    ],
)
def test_a_wide_call_is_worth_several_narrow_ones(asked: int, known: int | None, days: int, expected: int) -> None:
    listed_ids = ListedIds(None if known is None else ids(known))

    assert calls([query(0, days, resource) for resource in ids(asked)], listed_ids) == expected


def test_a_single_resource_is_never_asked_for_without_its_filter() -> None:
    made = plan([query(0, 2, "r1"), query(1, 4, "r1"), query(9, 12, "r2")], PLAIN, ListedIds(("r1", "r2")))

    assert set(made.steps) == {Step(UNIT, query(0, 4).window, "r1"), Step(UNIT, query(9, 12).window, "r2")}


def test_the_pieces_of_a_long_window_are_calls_too() -> None:
    asked = [query(0, 30, "r1"), query(0, 30, "r2"), query(0, 3, "r3")]

    made = plan(asked, EhrProfile("model", "Model", longest_window=7 * DAY), ListedIds(ids(20)))

    assert len(made.steps) == 5


@pytest.mark.parametrize(
    ("asked", "loaded", "expected"),
    [
        # One list to confirm ids is one call, so two calls may become one wide call, and three may too.
        ([query(0, 9, "r1"), query(0, 9, "r2")], NOTHING, 1),
        ([query(0, 9, None, "s1"), query(0, 9, None, "s2")], NOTHING, 1),
        ([query(0, 9, "r1", "s1"), query(0, 9, "r2", "s1")], NOTHING, 1),
        # Both lists are two calls.
        ([query(0, 9, "r1"), query(0, 9, None, "s1")], NOTHING, 2),
        ([query(0, 9, "r1"), query(0, 9, None, "s1")], RESOURCES, 1),
        ([query(0, 9, "r1"), query(0, 9, None, "s1")], SERVICES, 1),
        ([query(0, 9, "r1", "s1"), query(0, 9, "r2", "s2")], NOTHING, 2),
        ([query(0, 9, "r1", "s1"), query(0, 9, "r2", "s2")], SERVICES, 1),
        ([query(0, 9, "r1", "s1"), query(0, 9, "r2", "s2"), query(0, 9, "r3", "s3")], NOTHING, 1),
        # What lies inside a query that is asked anyway saves a call as well, and no more.
        ([query(0, 9), query(0, 9, "r1")], NOTHING, 1),
        ([query(0, 9), query(0, 9, "r1", "s1")], NOTHING, 2),
        ([query(0, 9), query(0, 9, "r1", "s1")], RESOURCES, 1),
        ([query(0, 9), query(0, 9, "r1", "s1"), query(0, 9, "r2", "s1")], NOTHING, 1),
        ([query(0, 9), query(0, 9, "r1"), query(0, 9, "r1", "s1")], NOTHING, 1),
        ([query(2, 4), query(0, 9), query(0, 9, "r1", "s1")], NOTHING, 1),
    ],
)
def test_a_list_that_is_not_loaded_counts_as_a_call(asked: Asked, loaded: UnitLists, expected: int) -> None:
    far_away = query(90, 91, "r9", "s9")

    assert calls(asked, ListedIds(), loaded) == expected
    assert calls([*asked, far_away], ListedIds(), loaded) == expected + 1


def test_a_known_list_costs_no_call() -> None:
    asked = [query(0, 9, "r1"), query(0, 9, None, "s1")]

    assert calls(asked, ListedIds(ids(4)), NOTHING) == 1


@pytest.mark.parametrize(
    ("resource", "service", "kept"),
    [
        (False, False, {(None, None)}),
        (True, False, {("r1", None), ("r2", None)}),
        (False, True, {(None, "s1"), (None, "s2")}),
        (True, True, {("r1", "s1"), ("r1", "s2"), ("r2", "s1"), ("r2", "s2")}),
    ],
)
def test_what_slots_do_not_name_stays_in_the_call(
    *, resource: bool, service: bool, kept: set[tuple[str | None, str | None]]
) -> None:
    asked = [query(0, 9, resource_id, service_id) for resource_id in ("r1", "r2") for service_id in ("s1", "s2")]

    made = plan(asked, PLAIN.after_lacking_owner(resource=resource, service=service), ListedIds(), BOTH)

    assert {(step.resource, step.service) for step in made.steps} == kept


def test_a_wide_call_does_not_stand_for_what_it_cannot_name() -> None:
    wide, narrow = query(0, 9), query(2, 4, "r1")

    made = plan([wide, narrow], PLAIN.after_lacking_owner(resource=True, service=False), ListedIds(), BOTH)

    assert made.serving == {wide: (Step(UNIT, wide.window),), narrow: (Step(UNIT, narrow.window, "r1"),)}


def test_a_stray_query_that_touches_does_not_keep_others_apart() -> None:
    listed = [query(0, 30, resource) for resource in ids(3)]

    made = plan([*listed, query(29, 121, "r9")], PLAIN, ListedIds(ids(50)))

    assert set(made.steps) == {Step(UNIT, query(0, 30).window), Step(UNIT, query(29, 121).window, "r9")}


@pytest.mark.parametrize(
    ("contained", "longer", "others"),
    [
        (query(0, 90, "r1"), query(90, 300, "r1"), []),
        (query(10, 50, "r1"), query(50, 300, "r1"), []),
        # The shorter of the two accounts for the lists that may have to confirm both ids.
        (query(0, 90, "r1", "s1"), query(90, 300, "r1", "s1"), [query(0, 4)]),
    ],
)
def test_what_another_query_contains_pulls_no_merge(
    contained: TimeslotQuery, longer: TimeslotQuery, others: Asked
) -> None:
    wide = query(0, 90)

    made = plan([contained, longer, *others, wide], PLAIN, ListedIds())

    assert set(made.steps) == {Step(UNIT, wide.window), Step(UNIT, longer.window, longer.resource, longer.service)}


def test_a_long_window_keeps_the_short_ones_inside_it_together() -> None:
    asked = [query(0, 30, "r1"), query(1, 2, "r2"), query(5, 30, "r3")]

    assert calls(asked, ListedIds(ids(50))) == 1


@pytest.mark.parametrize(
    "queries",
    [
        lambda count: [query(2 * number, 2 * number + 1, f"r{number}") for number in range(count)],
        lambda count: [query(number / 4, number / 4 + 3, f"r{number}", f"s{number % 7}") for number in range(count)],
        lambda count: [query(0, 30), *(query(0, 30, f"r{number}", f"s{number % 7}") for number in range(count))],
    ],
)
def test_every_query_of_many_is_served(queries: Callable[[int], Asked]) -> None:
    made = plan(queries(500), PLAIN, ListedIds())

    assert len(made.serving) == len(queries(500))
    assert all(made.serving.values())
    assert len(made.steps) <= len(queries(500))
