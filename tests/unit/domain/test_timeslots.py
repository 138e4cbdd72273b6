"""Timeslots in order, each once, cut by window."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.models import Timeslot
from gateway.domain.timeslots import TimeslotList, duration_minutes, instant
from gateway.domain.window import Window

START = datetime(2026, 10, 24, 22, tzinfo=UTC)

instants = st.integers(0, 30).map(lambda count: START + count * timedelta(minutes=20))
offsets = st.sampled_from([0, 60, 120, -570]).map(lambda minutes: timezone(timedelta(minutes=minutes)))
texts = st.builds(lambda at, offset: at.astimezone(offset).isoformat(), instants, offsets)
names = st.sampled_from([None, "a", "b", "Å"])
slots = st.lists(st.builds(Timeslot, texts, st.one_of(st.none(), texts), names, names), max_size=30)
windows = st.tuples(instants, instants).filter(lambda both: both[0] < both[1]).map(lambda both: Window(*both))
many = settings(max_examples=100, deadline=None)  # how long an example takes says nothing on a shared machine


def place(slot: Timeslot) -> tuple[datetime, str, str]:
    return instant(slot.start), slot.resource_id or "", slot.healthcare_service_id or ""


def identity(slot: Timeslot) -> tuple[datetime, datetime | None, str | None, str | None]:
    end = None if slot.end is None else instant(slot.end)
    return instant(slot.start), end, slot.resource_id, slot.healthcare_service_id


@many
@given(slots)
def test_slots_come_by_start_then_resource_then_service(given_slots: Sequence[Timeslot]) -> None:
    arranged = TimeslotList(given_slots).slots

    assert list(arranged) == sorted(arranged, key=place)


@many
@given(slots)
def test_each_slot_comes_once_as_it_was_written(given_slots: Sequence[Timeslot]) -> None:
    arranged = TimeslotList(given_slots)

    assert len(arranged) == len({identity(slot) for slot in given_slots})
    assert {identity(slot) for slot in arranged.slots} == {identity(slot) for slot in given_slots}
    assert all(slot in given_slots for slot in arranged.slots)


@many
@given(slots, windows)
def test_within_is_every_slot_that_starts_in_the_window(given_slots: Sequence[Timeslot], window: Window) -> None:
    arranged = TimeslotList(given_slots)

    inside = arranged.within(window).slots

    assert inside == tuple(slot for slot in arranged.slots if window.start <= instant(slot.start) < window.end)


@many
@given(slots)
def test_arranging_twice_changes_nothing(given_slots: Sequence[Timeslot]) -> None:
    arranged = TimeslotList(given_slots)

    assert TimeslotList(reversed(arranged.slots)).slots == arranged.slots


def test_one_instant_in_two_offsets_is_one_slot() -> None:
    arranged = TimeslotList(
        [Timeslot("2026-12-01T09:00:00+01:00", None, "a"), Timeslot("2026-12-01T08:00:00Z", None, "a")]
    )

    assert len(arranged) == 1


def test_order_is_by_instant_and_not_by_text() -> None:
    before, after = Timeslot("2026-10-25T02:30:00+02:00"), Timeslot("2026-10-25T02:00:00+01:00")

    assert TimeslotList([after, before]).slots == (before, after)


def test_microseconds_count() -> None:
    first, second = Timeslot("2026-12-01T09:00:00.000001Z"), Timeslot("2026-12-01T09:00:00.000002Z")
    window = Window(instant(second.start), instant(second.start) + timedelta(microseconds=1))

    assert TimeslotList([second, first]).within(window).slots == (second,)


@pytest.mark.parametrize("text", ["2026-12-01T09:00:00", "2026-12-01", "tomorrow", "", "2026-13-01T09:00:00Z"])
def test_a_text_that_names_no_instant_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 # the class is the promise, the text is Python's
        instant(text)


@pytest.mark.parametrize(
    ("end", "minutes"),
    [
        (None, None),
        ("2026-10-25T02:50:00+02:00", 20),
        ("2026-10-25T02:10:00+01:00", 40),
        ("2026-10-25T02:31:59+02:00", 1),
        ("2026-10-25T02:30:00+02:00", 0),
        ("6109-10-25T02:30:00+02:00", 2_147_450_400),
        ("6110-10-25T02:30:00+02:00", None),
    ],
)
def test_duration_counts_whole_minutes_between_instants(end: str | None, minutes: int | None) -> None:
    assert duration_minutes(Timeslot("2026-10-25T02:30:00+02:00", end)) == minutes
