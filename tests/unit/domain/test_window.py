"""Windows are half-open, carry offsets, and have defaults."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import BadUserInput
from gateway.domain.window import Window, requested_window, subtract, window_of_slot

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
DAY = timedelta(days=1)
MONTH = timedelta(days=30)
WIDEST = timedelta(days=92)

instants = st.integers(0, 12).map(lambda count: NOW + count * DAY)
windows = st.tuples(instants, instants).filter(lambda both: both[0] < both[1]).map(lambda both: Window(*both))


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (NOW.replace(tzinfo=None), NOW),
        (NOW, NOW.replace(tzinfo=None)),
        (NOW.replace(tzinfo=None), (NOW + DAY).replace(tzinfo=None)),
    ],
)
def test_a_time_without_offset_is_refused(start: datetime, end: datetime) -> None:
    with pytest.raises(BadUserInput, match="offset"):
        Window(start, end)


@pytest.mark.parametrize("end", [NOW, NOW - DAY, NOW.astimezone(timezone(DAY / 2))])
def test_an_end_that_is_not_after_the_start_is_refused(end: datetime) -> None:
    with pytest.raises(BadUserInput, match="end must be after start"):
        Window(NOW, end)


def test_length_counts_instants_whatever_the_offsets() -> None:
    summer, winter = timezone(timedelta(hours=2)), timezone(timedelta(hours=1))

    night = Window(datetime(2026, 10, 24, 12, tzinfo=summer), datetime(2026, 10, 25, 12, tzinfo=winter))

    assert night.length == timedelta(hours=25)


@given(windows, windows)
def test_contains_is_that_of_half_open_stretches(one: Window, other: Window) -> None:
    assert one.contains(other) is (days(other) <= days(one))


@given(windows, windows)
def test_overlaps_means_an_instant_in_common(one: Window, other: Window) -> None:
    assert one.overlaps(other) is bool(days(one) & days(other))


@given(windows, windows)
def test_intersection_is_what_both_windows_hold(one: Window, other: Window) -> None:
    both = one.intersection(other)

    assert (set() if both is None else days(both)) == days(one) & days(other)


@given(st.lists(windows, max_size=3), windows)
def test_subtract_leaves_what_lies_outside_the_other_window(several: list[Window], taken: Window) -> None:
    left = subtract(several, taken)

    assert sorted(day for each in left for day in days(each)) == sorted(
        day for each in several for day in days(each) - days(taken)
    )


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, Window(NOW, NOW + MONTH)),
        (NOW + DAY, None, Window(NOW + DAY, NOW + DAY + MONTH)),
        (None, NOW + DAY, Window(NOW, NOW + DAY)),
        (NOW - DAY, NOW + DAY, Window(NOW - DAY, NOW + DAY)),
        (NOW, NOW + WIDEST, Window(NOW, NOW + WIDEST)),
    ],
)
def test_what_is_left_out_is_now_and_the_default(
    start: datetime | None, end: datetime | None, expected: Window
) -> None:
    assert requested_window(start, end, now=NOW, default=MONTH, widest=WIDEST) == expected


@pytest.mark.parametrize(
    ("start", "end", "why"),
    [
        (None, NOW - DAY, "end must be after start"),
        (NOW, NOW + WIDEST + timedelta(microseconds=1), "wider than 92 days"),
        (NOW.replace(tzinfo=None), None, "offset"),
        (datetime.max.replace(tzinfo=UTC), None, "calendar"),
        (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), "wider"),
    ],
)
def test_a_window_out_of_bounds_is_refused(start: datetime | None, end: datetime | None, why: str) -> None:
    with pytest.raises(BadUserInput, match=why):
        requested_window(start, end, now=NOW, default=MONTH, widest=WIDEST)


def days(window: Window) -> set[int]:
    """The days since NOW whose beginning is inside."""
    return {count for count in range(-1, 14) if window.start <= NOW + count * DAY < window.end}


@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 # Hypothesis's bounds
    st.none() | st.timedeltas(-DAY, 3 * DAY),
)
def test_the_window_of_a_slot_holds_its_start_and_of_its_length_a_minute_at_least_and_a_day_at_most(
    start: datetime, length: timedelta | None
) -> None:
    end = None if length is None else start + length

    window = window_of_slot(start, end)

    assert window.start <= start < window.end
    assert window.start.microsecond == window.end.microsecond == 0
    assert end is None or window.end >= min(end, start + DAY)
    assert timedelta(minutes=1) <= window.length <= DAY + timedelta(seconds=1)


@pytest.mark.parametrize("start", ["0001-01-01T00:00:00+14:00", "1899-12-31T23:59:59Z", "9999-12-31T23:59:59-12:00"])
def test_a_slot_beyond_the_calendar_has_no_window(start: str) -> None:
    with pytest.raises(BadUserInput, match="beyond the calendar"):
        window_of_slot(datetime.fromisoformat(start), datetime.fromisoformat("9999-12-31T23:59:59-12:00"))
