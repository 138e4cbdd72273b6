"""What planning and counting take grows with the queries, not with pairs of them: counted in calls of functions."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.domain.call_count import QueryBatch, UnitRequirements, calls_for
from gateway.domain.ehr_profile import EhrProfile, FilterPolicy
from gateway.domain.planner import plan, plan_in_pieces
from gateway.domain.queries import ListedIds, TimeslotQuery, UnitLists
from tests.unit.model_ehr import query
from tests.unit.pieces import calls_of, worked

PLAIN = EhrProfile("model", "Model")
PROFILES = {
    **{str(policy): replace(PLAIN, filter_policy=policy) for policy in FilterPolicy},
    "short windows": replace(PLAIN, longest_window=timedelta(days=2)),
    "slots name no resource": replace(PLAIN, names_resource=False),
    "slots name nothing": replace(PLAIN, names_resource=False, names_service=False),
}
Shape = Callable[[int], TimeslotQuery]
SHAPES: dict[str, Shape] = {
    "ids": lambda n: query(0, 1, f"r{n}"),
    "ids and services": lambda n: query(0, 1, f"r{n}", f"s{n % 7}"),
    "apart": lambda n: query(2 * n, 2 * n + 1, "r"),
    "nested": lambda n: query(0, 1 + n / 1_000, "r"),
    "overlapping": lambda n: query(n / 1_000, 1 + n / 1_000, "r"),
    "ids, each in its window": lambda n: query(n / 1_000, 1 + n / 1_000, f"r{n}"),
    "ids in windows": lambda n: query(n % 28, n % 28 + 2, f"r{n // 28}"),
    "ids in windows apart": lambda n: query(3 * (n % 28), 3 * (n % 28) + 1, f"r{n // 28}", "s"),
}
# Twice the queries take twice the calls, a little more for sorting, and not four times.
MOST_GROWTH = 2.7


def asked(shape: Shape, count: int) -> Sequence[TimeslotQuery]:
    return [shape(number) for number in range(count)]


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_planning_twice_the_queries_takes_about_twice_the_work(shape: Shape, profile: EhrProfile) -> None:
    listed_ids = ListedIds(("r1", "r2", "r3"), ("s1", "s2"))

    def calls(count: int) -> int:
        queries = asked(shape, count)
        return calls_of(lambda: plan(queries, profile, listed_ids))

    assert calls(800) < MOST_GROWTH * calls(400)


def requirements_of(queries: Sequence[TimeslotQuery]) -> UnitRequirements:
    return UnitRequirements(UnitLists.BOTH, [QueryBatch(queries, UnitLists.BOTH)])


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("is_spread", [False, True])
def test_counting_the_calls_of_twice_the_queries_takes_about_twice_the_work(
    shape: Shape, profile: EhrProfile, *, is_spread: bool
) -> None:
    def count(queries: Sequence[TimeslotQuery]) -> int:
        if is_spread:
            queries = [replace(each, resource=None) for each in queries]
        listed_ids = ListedIds(("r1", "r2"), ("s1", "s2"))
        return calls_of(lambda: calls_for(requirements_of(queries), profile, listed_ids, 200))

    assert count(asked(shape, 800)) < MOST_GROWTH * max(count(asked(shape, 400)), 1_000)


@pytest.mark.parametrize("policy", [each for each in FilterPolicy if each is not FilterPolicy.NONE_REQUIRED])
def test_counting_what_is_spread_over_long_lists_stops_at_the_limit(policy: FilterPolicy) -> None:
    profile = replace(PLAIN, filter_policy=policy)
    requirements = requirements_of([query(number, number + 2) for number in range(28)])

    listed_ids = ListedIds(tuple(f"r{n}" for n in range(20_000)), tuple(f"s{n}" for n in range(20_000)))

    assert calls_for(requirements, profile, listed_ids, 200) > 200
    assert calls_of(lambda: calls_for(requirements, profile, listed_ids, 200)) < 2_000


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_long_plan_is_made_in_pieces_and_is_the_same(shape: Shape) -> None:
    queries = asked(shape, 6_000)

    done = worked(plan_in_pieces(queries, PLAIN, ListedIds()))

    assert done.result == plan(queries, PLAIN, ListedIds())
    assert len(done.calls) > 2
    # A third of all would be a step that grows with the queries.
    assert max(done.calls) < 150_000
