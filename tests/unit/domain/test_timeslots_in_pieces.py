"""Long lists of timeslots: the same order as of short ones, in pieces of bounded work."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.models import Timeslot
from gateway.domain.pieces import PIECE, whole
from gateway.domain.timeslots import TimeslotList, joined, joined_in_pieces
from tests.unit.domain.test_timeslots import slots
from tests.unit.pieces import worked

COUNT = 6 * PIECE
START = datetime(2026, 12, 1, tzinfo=UTC)
ZONES = (UTC, timezone(timedelta(hours=1)))
SHAPES: dict[str, Callable[[int], Timeslot]] = {
    "in order": lambda n: Timeslot(at(n // 50), None, f"r{n % 50:02}", "s"),
    "all times differ": lambda n: Timeslot(at(n * 7_919 % COUNT), at(n + 1), f"r{n % 50}", "s"),
    "offsets mixed": lambda n: Timeslot(at(n % 999, n), at(n), f"r{n % 50}", f"s{n % 7}"),
    "some without owner": lambda n: Timeslot(at(n % 999), None, f"r{n % 50}" if n % 3 else None, None),
    "one instant": lambda n: Timeslot(at(0), None, f"r{n * 7_919 % COUNT}", "s"),
    "one instant and owner, many ends": lambda n: Timeslot(at(0), at(n % 9_999), "r", None),
    "all alike": lambda _: Timeslot(at(0), at(1), "r", "s"),
}
# Each slot takes a handful of calls in a piece, and none is in more than two of them.
MOST_CALLS = 12 * PIECE


def at(minutes: int, zone: int = 0) -> str:
    return (START + timedelta(minutes=minutes)).astimezone(ZONES[zone % 2]).isoformat()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_long_list_is_sorted_in_pieces_of_bounded_work(shape: Callable[[int], Timeslot]) -> None:
    listed = [shape(number) for number in range(COUNT)]
    short = listed[:: COUNT // 500]

    done = worked(TimeslotList.in_pieces(listed))

    assert max(done.calls) <= MOST_CALLS
    assert sum(done.calls) <= MOST_CALLS * (COUNT // PIECE)
    assert TimeslotList(reversed(done.result.slots)).slots == done.result.slots
    assert whole(TimeslotList.in_pieces(short)).slots == TimeslotList(short).slots


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_long_lists_are_joined_in_pieces_of_bounded_work(shape: Callable[[int], Timeslot]) -> None:
    listed = [shape(number) for number in range(COUNT)]
    parts = [TimeslotList(listed[first::3]) for first in range(3)]

    done = worked(joined_in_pieces(parts))

    assert max(done.calls) <= MOST_CALLS
    assert set(done.result.slots) == set(TimeslotList(listed).slots)


def test_the_pieces_of_a_window_are_joined_without_sorting() -> None:
    listed = [SHAPES["in order"](number) for number in range(COUNT)]
    parts = [TimeslotList(listed[low : low + PIECE]) for low in range(0, COUNT, PIECE)]

    done = worked(joined_in_pieces(reversed(parts)))

    assert done.result.slots == tuple(listed)
    assert sum(done.calls) < PIECE


@settings(max_examples=100, deadline=None)
@given(st.lists(slots, max_size=4))
def test_lists_joined_are_what_their_slots_sorted_are(lists: Sequence[Sequence[Timeslot]]) -> None:
    together = joined(map(TimeslotList, lists)).slots

    assert together == TimeslotList([slot for each in lists for slot in TimeslotList(each).slots]).slots


def test_a_group_of_many_is_made_when_it_is_asked_for() -> None:
    listed = TimeslotList(Timeslot(at(number), None, f"r{number}") for number in range(COUNT))

    assert [slot.resource_id for slot in listed.of_resource("r17").slots] == ["r17"]
    assert listed.of_resource("r17") is listed.of_resource("r17")
    assert not listed.of_resource("none").slots
