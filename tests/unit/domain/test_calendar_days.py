"""Local days begin with the first instant of their date, whatever clocks do at midnight and wherever the machine is."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.calendar_days import CalendarDays, day_start, window_of_days
from gateway.domain.errors import BadUserInput
from gateway.domain.window import Window, time_zone
from tests.unit.domain.local_days import DAY, MACHINES, machine_in, noon, zones_and_days

MINUTE = timedelta(minutes=1)
few = st.integers(-2, 2)


@pytest.fixture(autouse=True, scope="module", params=MACHINES)
def _machine(request: pytest.FixtureRequest) -> Iterator[None]:
    with machine_in(request.param):
        yield


@given(zones_and_days, few)
def test_day_start_is_the_first_minute_whose_local_date_is_the_day_or_later(
    where: tuple[ZoneInfo, date], days: int
) -> None:
    zone, day = where[0], where[1] + days * DAY

    begins = day_start(day, zone)

    minutes = (noon(day) - 2 * DAY + each * MINUTE for each in range(3 * 24 * 60))
    assert begins == next(each for each in minutes if each.astimezone(zone).date() >= day)
    assert begins.tzinfo is UTC


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Stockholm", date(2026, 3, 29), 23),
        ("Europe/Stockholm", date(2026, 10, 25), 25),
        ("America/Sao_Paulo", date(2018, 11, 4), 23),
        ("America/Sao_Paulo", date(2018, 2, 17), 25),
        ("Pacific/Apia", date(2011, 12, 30), 0),
        ("Europe/London", date(2026, 6, 1), 24),
    ],
)
def test_days_last_as_long_as_clocks_make_them(zone: str, day: date, hours: int) -> None:
    found = time_zone(zone)

    assert day_start(day + DAY, found) - day_start(day, found) == timedelta(hours=hours)


@given(zones_and_days, few, st.integers(0, 60 * 24), st.integers(1, 5 * 60 * 24))
def test_each_minute_of_a_window_is_in_the_day_of_its_local_date(
    where: tuple[ZoneInfo, date], days: int, minute: int, minutes: int
) -> None:
    zone, day = where
    start = noon(day) + days * DAY + minute * MINUTE
    window = Window(start, start + minutes * MINUTE)

    found = CalendarDays.of_window(window, zone)

    local = [(start + each * MINUTE).astimezone(zone).date() for each in range(minutes)]
    assert list(found) == sorted(set(local))
    begins = window.start
    for each, ends in found.ends.items():
        assert (ends - begins) // MINUTE == local.count(each)
        begins = ends
    assert begins == window.end


@given(zones_and_days, few, st.integers(1, 5))
def test_the_days_of_a_range_are_whole(where: tuple[ZoneInfo, date], days: int, count: int) -> None:
    zone, day = where[0], where[1] + days * DAY

    try:
        window = window_of_days(day, count, zone, most=5)
    except BadUserInput:
        assert zone.key == "Pacific/Apia"
        return

    assert window == Window(day_start(day, zone), day_start(day + count * DAY, zone))
    found = CalendarDays(day, count, zone, window)
    assert list(found) == list(CalendarDays.of_window(window, zone))


@pytest.mark.parametrize(("count", "why"), [(0, "at least 1"), (-1, "at least 1"), (93, "longer than 92 days")])
def test_a_range_of_no_days_or_too_many_is_refused(count: int, why: str) -> None:
    with pytest.raises(BadUserInput, match=why):
        window_of_days(date(2026, 10, 12), count, time_zone("Europe/Oslo"), most=92)


def test_a_range_of_a_day_that_the_zone_skipped_is_refused() -> None:
    with pytest.raises(BadUserInput, match="do not exist"):
        window_of_days(date(2011, 12, 30), 1, time_zone("Pacific/Apia"), most=92)


def test_a_window_of_part_of_a_day_holds_that_part() -> None:
    start = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)

    found = CalendarDays.of_window(Window(start, start + timedelta(hours=1)), time_zone("Europe/Stockholm"))

    assert found.ends == {date(2026, 10, 25): start + timedelta(hours=1)}
