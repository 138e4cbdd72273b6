"""Windows are half-open, carry offsets, and have defaults; time zones follow the rules of a package."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from importlib.resources import files
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.domain.errors import BadUserInput
from gateway.domain.window import Window, requested_window, subtract, time_zone, window_of_slot

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
DAY = timedelta(days=1)
MONTH = timedelta(days=30)
WIDEST = timedelta(days=92)
STOCKHOLM = time_zone("Europe/Stockholm")

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
    assert requested_window(start, end, now=NOW, default=MONTH, widest=WIDEST, zone=STOCKHOLM) == expected


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
        requested_window(start, end, now=NOW, default=MONTH, widest=WIDEST, zone=STOCKHOLM)


zones = st.sampled_from(files("tzdata").joinpath("zones").read_text().split()).map(time_zone)
local_times = st.integers(0, 300 * 366 * 24 * 60).map(
    lambda minutes: datetime(1900, 1, 1, tzinfo=UTC).replace(tzinfo=None) + timedelta(minutes=minutes)
)
offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(local_times, st.sampled_from([0, 1]), st.integers(1, 92), st.sampled_from([0, 1]), zones, offsets, offsets)
def test_a_window_that_ends_at_the_same_local_time_at_most_92_days_later_is_accepted(
    local: datetime, fold: int, count: int, end_fold: int, zone: ZoneInfo, one: timezone, other: timezone
) -> None:
    start = local.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    local_start = start.astimezone(zone).replace(tzinfo=None)
    end = (local_start + count * DAY).replace(tzinfo=zone, fold=end_fold).astimezone(UTC)
    assume(start < end)

    window = requested_window(
        start.astimezone(one), end.astimezone(other), now=NOW, default=MONTH, widest=WIDEST, zone=zone
    )

    assert (window.start, window.end) == (start, end)


@given(local_times, st.integers(93, 400), st.sampled_from([STOCKHOLM, time_zone("America/Sao_Paulo")]), offsets)
def test_a_window_of_93_local_days_is_refused_whatever_the_offset(
    local: datetime, count: int, zone: ZoneInfo, offset: timezone
) -> None:
    start = local.replace(tzinfo=zone).astimezone(UTC)
    end = (start.astimezone(zone).replace(tzinfo=None) + count * DAY).replace(tzinfo=zone).astimezone(offset)

    with pytest.raises(BadUserInput, match="wider than 92 days"):
        requested_window(start, end, now=NOW, default=MONTH, widest=WIDEST, zone=zone)


@given(local_times, offsets, zones)
def test_a_window_of_92_times_24_hours_is_accepted_though_clocks_are_put_forward(
    moment: datetime, offset: timezone, zone: ZoneInfo
) -> None:
    start = moment.replace(tzinfo=offset)

    assert requested_window(start, start + WIDEST, now=NOW, default=MONTH, widest=WIDEST, zone=zone).length == WIDEST


def test_three_months_over_the_end_of_summer_time_are_accepted() -> None:
    start, end = datetime(2026, 8, 1, tzinfo=STOCKHOLM), datetime(2026, 11, 1, tzinfo=STOCKHOLM)

    window = requested_window(
        start.astimezone(UTC), end.astimezone(UTC), now=NOW, default=MONTH, widest=WIDEST, zone=STOCKHOLM
    )

    assert window.length == WIDEST + timedelta(hours=1)


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "../secret", "/etc/localtime", "Europe", "zone.tab", "tzdata.zi", "Europe//Oslo", "ö"]
)
def test_an_unknown_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="time zone"):
        time_zone(name)


def test_time_zones_do_not_depend_on_the_files_of_the_machine(tmp_path: Path) -> None:
    tokyo = files("tzdata").joinpath("zoneinfo", "Asia", "Tokyo").read_bytes()
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe" / "Stockholm").write_bytes(tokyo)
    program = """
from datetime import datetime
from zoneinfo import ZoneInfo
from gateway.domain.ehr_profile import shipped_profile
for zone in (ZoneInfo("Europe/Stockholm"), shipped_profile("webdoc").time_zone):
    print(datetime(2026, 1, 1, tzinfo=zone).isoformat())
"""

    shown = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONTZPATH": str(tmp_path)},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert shown == ["2026-01-01T00:00:00+09:00", "2026-01-01T00:00:00+01:00"]


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
