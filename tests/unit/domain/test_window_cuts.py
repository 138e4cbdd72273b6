"""Cutting: as few pieces as possible, and quiet places to cut."""

from datetime import UTC, datetime, time, timedelta, timezone
from itertools import pairwise
from math import ceil
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.window import Window, cut, halves

STOCKHOLM = ZoneInfo("Europe/Stockholm")
zones = st.sampled_from(["Europe/Stockholm", "America/Sao_Paulo", "Asia/Beirut", "Pacific/Apia"]).map(ZoneInfo)
offsets = st.sampled_from([0, 60, 120, -210, 765]).map(lambda minutes: timezone(timedelta(minutes=minutes)))
starts = st.builds(
    datetime.fromtimestamp,
    st.integers(1_260_000_000, 1_900_000_000),
    offsets,
)
windows = st.builds(
    lambda start, length: Window(start, start + length),
    starts,
    st.timedeltas(timedelta(seconds=1), timedelta(days=90)),
)
longest_windows = st.timedeltas(timedelta(days=1), timedelta(days=31))


@settings(max_examples=200, deadline=None)  # how long an example takes says nothing on a shared machine
@given(windows, longest_windows, zones)
def test_the_fewest_pieces_make_up_the_window(window: Window, longest: timedelta, zone: ZoneInfo) -> None:
    pieces = cut(window, longest, zone)

    assert pieces[0].start == window.start
    assert pieces[-1].end == window.end
    assert all(one.end == other.start for one, other in pairwise(pieces))
    assert all(piece.length <= longest for piece in pieces)
    assert len(pieces) == ceil(window.length / longest)


@settings(max_examples=200, deadline=None)  # as above
@given(windows, longest_windows, zones)
def test_pieces_meet_at_a_local_midnight_wherever_one_costs_no_further_call(
    window: Window, longest: timedelta, zone: ZoneInfo
) -> None:
    pieces = cut(window, longest, zone)

    for index, piece in enumerate(pieces[:-1]):
        left = len(pieces) - 1 - index
        latest = piece.start + longest
        midnight = datetime.combine(latest.astimezone(zone).date(), time.min, zone).astimezone(UTC)
        possible = window.end - left * longest <= midnight <= latest
        assert piece.end == (midnight if possible else latest)


@settings(max_examples=200, deadline=None)  # as above
@given(windows, zones)
def test_halves_meet_at_the_local_midnight_nearest_to_the_middle_or_at_a_full_hour(
    window: Window, zone: ZoneInfo
) -> None:
    both = halves(window, zone)

    assert (both is None) == (window.length <= timedelta(hours=1))
    if both is not None:
        one, other = both
        assert (one.start, other.end, one.end) == (window.start, window.end, other.start)
        local = one.end.astimezone(zone)
        first = window.start.astimezone(zone).date()
        days = (window.end.astimezone(zone).date() - first).days + 1
        midnights = [
            datetime.combine(first + timedelta(days=day), time.min, zone).astimezone(UTC) for day in range(days)
        ]
        midnights = [each for each in midnights if window.start < each < window.end]
        if midnights:
            middle = window.start + window.length / 2
            assert abs(one.end - middle) <= min(abs(each - middle) for each in midnights)
            assert one.end in midnights
        else:
            assert (local.minute, local.second, local.microsecond) == (0, 0, 0)


@settings(max_examples=50, deadline=None)  # as above
@given(windows, zones)
def test_halving_again_and_again_ends_at_windows_of_an_hour(window: Window, zone: ZoneInfo) -> None:
    rounds = 0
    while (both := halves(window, zone)) is not None:
        window = max(both, key=lambda each: each.length)
        rounds += 1

    assert rounds <= 14


@pytest.mark.parametrize("longest", [None, timedelta(days=3), timedelta(days=2)])
def test_a_window_that_is_short_enough_stays_whole(longest: timedelta | None) -> None:
    window = Window(datetime(2026, 1, 1, 9, 30, tzinfo=UTC), datetime(2026, 1, 3, 9, 30, tzinfo=UTC))

    assert cut(window, longest, STOCKHOLM) == (window,)


def test_no_slack_means_no_midnight() -> None:
    window = Window(datetime(2026, 1, 1, 9, 30, tzinfo=UTC), datetime(2026, 1, 7, 9, 30, tzinfo=UTC))

    first, second = cut(window, timedelta(days=3), STOCKHOLM)

    assert first.end == second.start == datetime(2026, 1, 4, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "midnights"),
    [
        # The night to 29 March 2026 loses an hour in Stockholm, the night to 25 October gains one.
        (
            datetime(2026, 3, 27, 8, tzinfo=UTC),
            [datetime(2026, 3, 29, 23, tzinfo=UTC) - timedelta(hours=1), datetime(2026, 4, 1, 22, tzinfo=UTC)],
        ),
        (
            datetime(2026, 10, 23, 8, tzinfo=UTC),
            [datetime(2026, 10, 25, 23, tzinfo=UTC), datetime(2026, 10, 28, 23, tzinfo=UTC)],
        ),
    ],
)
def test_midnights_follow_the_clocks_of_the_zone(start: datetime, midnights: list[datetime]) -> None:
    pieces = cut(Window(start, start + timedelta(days=7)), timedelta(days=3), STOCKHOLM)

    assert [piece.end for piece in pieces[:-1]] == midnights
    assert all(end.astimezone(STOCKHOLM).time() == time.min for end in midnights)
