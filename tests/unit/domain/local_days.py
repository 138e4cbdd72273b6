"""Zones with odd days, and the machine's own zone, which must make no difference."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

from hypothesis import strategies as st

from gateway.domain.window import time_zone

DAY = timedelta(days=1)
# Days around which clocks change: at night, at midnight, by a whole day, and by half an hour.
CHANGES = {
    "Europe/Stockholm": [date(2026, 3, 29), date(2026, 10, 25)],
    "Europe/Oslo": [date(2026, 3, 29), date(2026, 10, 25)],
    "Europe/London": [date(2026, 3, 29), date(2026, 10, 25)],
    "America/Sao_Paulo": [date(2018, 2, 18), date(2018, 11, 4)],
    "Asia/Beirut": [date(2026, 3, 29), date(2026, 10, 25)],
    "Africa/Cairo": [date(2026, 4, 24), date(2026, 10, 30)],
    "America/Havana": [date(2024, 3, 10), date(2024, 11, 3)],
    "Pacific/Apia": [date(2011, 12, 30)],
    "Australia/Lord_Howe": [date(2026, 4, 5), date(2026, 10, 4)],
}
zones_and_days = st.sampled_from([(name, day) for name, days in CHANGES.items() for day in days]).map(
    lambda found: (time_zone(found[0]), found[1])
)
MACHINES = ["UTC", "Pacific/Kiritimati"]


@contextmanager
def machine_in(zone: str) -> Iterator[None]:
    """Set the machine's own time zone for a while."""
    before = os.environ.get("TZ")
    try:
        os.environ["TZ"] = zone
        time.tzset()
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
