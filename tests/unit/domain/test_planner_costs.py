"""What calls are expected to cost."""

from collections.abc import Sequence
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.planner import CostModel, calls_of, cost_model
from gateway.domain.queries import ListedIds, TimeslotQuery
from gateway.domain.window import cut
from tests.unit import strategies
from tests.unit.model_ehr import DAY, query

# How long an example takes says nothing on a shared machine.
many = settings(max_examples=100, deadline=None)


@many
@given(strategies.queries(), st.timedeltas(timedelta(hours=1), timedelta(days=40)))
def test_calls_are_the_pieces_that_a_window_is_cut_into(wanted: TimeslotQuery, longest: timedelta) -> None:
    pieces = cut(wanted.window, longest, ZoneInfo("Europe/Oslo"))

    assert calls_of(wanted.window, longest) == len(pieces)


@pytest.mark.parametrize(
    ("wanted", "resource_days"),
    [
        (query(0, 30), 30 * 50),
        (query(0, 30, "r1"), 30),
        (query(0, 30, None, "s1"), 30 * 50 / 5),
        (query(0, 30, "r1", "s1"), 30 / 5),
        (query(0, 0.5, "r1"), 0.5),
    ],
)
def test_a_call_costs_as_much_as_a_thousand_resource_days(wanted: TimeslotQuery, resource_days: float) -> None:
    whole, halves = CostModel(50, 5), CostModel(50, 5, wanted.window.length / 2)
    a_call = halves.cost(wanted) - whole.cost(wanted)

    assert whole.cost(wanted) / a_call == pytest.approx(1 + resource_days / 1000)


@pytest.mark.parametrize(
    ("asked", "listed_ids", "numbers"),
    [
        ([query(0, 1)], ListedIds(), (8, 4)),
        ([query(0, 1)], ListedIds(("r1", "r2"), ("s1",)), (2, 1)),
        ([query(0, 1)], ListedIds((), ()), (1, 1)),
        ([query(0, 1, f"r{number}") for number in range(9)], ListedIds(), (9, 4)),
        ([query(0, 1, "r1", f"s{number}") for number in range(5)], ListedIds(), (8, 5)),
        ([query(0, 1, "r1", "s1"), query(0, 1, "r2", "s1")], ListedIds(("r1",), ("s1",)), (2, 1)),
    ],
)
def test_sizes_are_known_or_common_and_never_smaller_than_what_is_asked_for(
    asked: Sequence[TimeslotQuery], listed_ids: ListedIds, numbers: tuple[int, int]
) -> None:
    model = cost_model(asked, listed_ids, 7 * DAY)

    assert model == CostModel(*numbers, 7 * DAY)
