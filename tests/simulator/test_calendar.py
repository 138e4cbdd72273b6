from datetime import date
from itertools import pairwise

import pytest

from gateway.simulator.calendar import Calendar, SlotQuery
from gateway.simulator.clinics import rng
from gateway.simulator.world import World

MIDNIGHT = 1772406000.0  # 2026-03-02 in Sweden
DAY = 24 * 60 * 60


@pytest.fixture(scope="module")
def calendar() -> Calendar:
    return World(seed=1, scale=1, today=date(2026, 3, 2)).calendar("webdoc", "L0_1")


@pytest.mark.parametrize("by_start", [True, False])
def test_what_is_found_is_what_the_window_holds(calendar: Calendar, by_start: bool) -> None:
    every = calendar.find(calendar.slot_range(SlotQuery(0, 10 * MIDNIGHT, None, None), by_start=True))
    random = rng("calendar test")
    for _ in range(200):
        start, end = sorted(MIDNIGHT + random.randrange(14 * DAY // 300) * 300 for _ in range(2))
        one = random.choice(every)
        query = SlotQuery(
            start, end, random.choice((None, one.resource_id)), random.choice((None, one.service_id))
        )  # fmt: skip

        found = calendar.find(calendar.slot_range(query, by_start=by_start))

        assert found == [
            slot
            for slot in every
            if start <= slot.start < end
            and (by_start or slot.end <= end)
            and query.resource_id in (None, slot.resource_id)
            and query.service_id in (None, slot.service_id)
        ]


def test_windows_that_differ_in_the_night_are_one_stretch(calendar: Calendar) -> None:
    nights = [
        calendar.slot_range(SlotQuery(MIDNIGHT + minute * 60, MIDNIGHT + 5 * DAY - minute, None, None), by_start=False)
        for minute in range(0, 6 * 60, 30)
    ]
    assert all(one == other for one, other in pairwise(nights))
    assert len(calendar.find(nights[0])) > 10
