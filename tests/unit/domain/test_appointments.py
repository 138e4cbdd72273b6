"""When an appointment takes a resource's time."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.domain.appointments import TimeRange

START = datetime(2026, 12, 1, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("end", "length"),
    [
        (START + timedelta(minutes=20), timedelta(minutes=20)),
        (START + timedelta(days=1), timedelta(days=1)),
        (None, timedelta(minutes=1)),
        (START, timedelta(minutes=1)),
        (START - timedelta(hours=1), timedelta(minutes=1)),
        (START + timedelta(days=2), timedelta(days=1)),
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), timedelta(days=1)),
    ],
)
def test_time_range_ends_within_a_day(end: datetime | None, length: timedelta) -> None:
    assert TimeRange.of(START, end) == TimeRange(START, START + length)
