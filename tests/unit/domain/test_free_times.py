"""Counts, days, times, owners and pages of free times are those of a model that looks at every slot."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import groupby
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.availability import (
    AvailabilityFilter,
    AvailabilityRequest,
    DayRange,
    InstantRange,
    TimeOfDayRange,
    by_owner,
    filtered,
)
from gateway.domain.calendar_days import CalendarDays
from gateway.domain.errors import BadUserInput
from gateway.domain.free_times import FreeTimes, SlotRange, UnitFreeTimes
from gateway.domain.ids import TimeslotId
from gateway.domain.models import CareUnitKey, HealthcareService, Timeslot
from gateway.domain.pieces import InPieces, whole
from gateway.domain.timeslots import TimeslotList, instant
from gateway.domain.window import Window, time_zone
from tests.steps import Steps, run_counted
from tests.unit.domain.local_days import DAY, MACHINES, machine_in, noon, zones_and_days

QUARTER = timedelta(minutes=15)
KEYS = [CareUnitKey("model", name) for name in ("one", "two", "three")]
WIDEST = timedelta(days=92)


@pytest.fixture(autouse=True, scope="module", params=MACHINES)
def _machine(request: pytest.FixtureRequest) -> Iterator[None]:
    with machine_in(request.param):
        yield


offsets = st.sampled_from([0, 0, 60, -180]).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@st.composite
def timeslots(draw: st.DrawFn, around: datetime) -> Timeslot:
    """A slot of some days around an instant."""
    start = (around + draw(st.integers(-250, 250)) * QUARTER).astimezone(draw(offsets))
    end = draw(st.sampled_from([None, timedelta(0), QUARTER, 2 * QUARTER]))
    return Timeslot(
        start.isoformat(),
        None if end is None else (start + end).isoformat(),
        draw(st.sampled_from([None, "r1", "r2", "r9"])),
        draw(st.sampled_from([None, "s1", "s2"])),
    )


@dataclass
class Unit:
    """A care unit with its zone and its slots, of which a window is asked for."""

    key: CareUnitKey
    zone: ZoneInfo
    slots: TimeslotList
    window: Window

    @property
    def free(self) -> UnitFreeTimes:
        days = CalendarDays.of_window(self.window, self.zone)
        return UnitFreeTimes(self.key, SlotRange.of(self.slots.within(self.window)), days)

    @property
    def model(self) -> list[tuple[CareUnitKey, Timeslot]]:
        window = self.window
        return [(self.key, each) for each in self.slots.slots if window.start <= instant(each.start) < window.end]

    def day(self, slot: Timeslot) -> date:
        return instant(slot.start).astimezone(self.zone).date()


@st.composite
def clinics(draw: st.DrawFn, most: int = 3) -> list[Unit]:
    """Care units that are asked for about the same time."""
    (zone, day), count = draw(zones_and_days), draw(st.integers(1, most))
    around = noon(day)
    start = around + draw(st.integers(-300, 300)) * QUARTER
    window = Window(start, start + draw(st.integers(1, 500)) * QUARTER)
    zones = [zone, zone, time_zone("Europe/London")]
    return [
        Unit(key, zones[number], TimeslotList(draw(st.lists(timeslots(around), max_size=30))), window)
        for number, key in enumerate(KEYS[:count])
    ]


def merged(units: Sequence[Unit]) -> list[tuple[CareUnitKey, Timeslot]]:
    """All slots in order."""
    found = [(instant(slot.start), number, key, slot) for number, unit in enumerate(units) for key, slot in unit.model]
    return [(key, slot) for _, _, key, slot in sorted(found, key=lambda each: each[:2])]


def free_times(units: Sequence[Unit]) -> FreeTimes:
    return FreeTimes(tuple(unit.free for unit in units))


def slots_of(free: FreeTimes) -> list[tuple[CareUnitKey, Timeslot]]:
    page = whole(free.page(None, None))
    assert not page.has_next
    assert page.total == free.count == len(page.entries)
    return [(unit.key, slot) for unit, slot in page.entries]


def starts(slots: Sequence[tuple[CareUnitKey, Timeslot]]) -> list[datetime]:
    return [instant(slot.start) for _, slot in slots]


@given(clinics())
def test_counts_and_first_are_those_of_all_slots(units: list[Unit]) -> None:
    free, model = free_times(units), merged(units)

    assert slots_of(free) == model
    assert whole(free.distinct_starts()) == len(set(starts(model)))
    found = free.first
    assert (None if found is None else (found[0].key, found[1])) == (model[0] if model else None)


@given(clinics(), st.booleans())
def test_days_are_those_of_each_care_units_zone(units: list[Unit], include_empty: bool) -> None:
    found = whole(free_times(units).days(include_empty=include_empty))

    expected: dict[date, list[tuple[CareUnitKey, Timeslot]]] = {}
    for unit in units:
        minutes = int((unit.window.end - unit.window.start) / QUARTER)
        for each in range(minutes if include_empty else 0):
            expected.setdefault((unit.window.start + each * QUARTER).astimezone(unit.zone).date(), [])
    zones = {unit.key: unit for unit in units}
    for key, slot in merged(units):
        expected.setdefault(zones[key].day(slot), []).append((key, slot))
    assert [(day, slots_of(free)) for day, free in found] == sorted(expected.items())


@given(clinics(), st.one_of(st.none(), st.integers(0, 5)), st.integers(-320, 320), st.booleans())
def test_times_are_the_slots_by_instant(units: list[Unit], first: int | None, after: int, has_after: bool) -> None:
    behind = units[0].window.start + after * QUARTER if has_after else None

    found = whole(free_times(units).times(first, behind))

    model = [each for each in merged(units) if behind is None or instant(each[1].start) > behind]
    groups = [list(group) for _, group in groupby(model, key=lambda each: instant(each[1].start))]
    assert [slots_of(each) for each in found] == groups[:first]
    assert [slots_of(each) for each in found[:2]] == groups[:first][:2]
    assert [found.start(place) for place in range(len(found))] == [group[0][1].start for group in groups[:first]]
    assert [found.size(place) for place in range(len(found))] == [len(group) for group in groups[:first]]


def test_times_of_many_care_units_take_no_work_for_those_that_have_nothing_then() -> None:
    window, slots, units = Window(noon(date(2026, 10, 1)), noon(date(2026, 10, 9))), 20, 200
    days = CalendarDays.of_window(window, time_zone("Europe/Stockholm"))
    minutes = [
        [window.start + timedelta(minutes=units * slot + unit) for slot in range(slots)] for unit in range(units)
    ]
    free = FreeTimes(
        tuple(
            UnitFreeTimes(KEYS[0], SlotRange.of(TimeslotList(Timeslot(each.isoformat()) for each in several)), days)
            for several in minutes
        )
    )

    async def work(_: Steps) -> list[tuple[str, int]]:
        times = await InPieces(free.times(None, None))
        return [(times.start(place), times.size(place)) for place in range(len(times))]

    found, steps = run_counted(work)

    assert [size for _, size in found] == [1] * slots * units
    assert steps.total < 100 * slots * units


@given(clinics(), st.integers(1, 7), st.data())
def test_pages_hold_all_slots_once_though_those_between_are_taken(
    units: list[Unit], size: int, data: st.DataObject
) -> None:
    seen: list[tuple[CareUnitKey, Timeslot]] = []
    model = merged(units)
    after: TimeslotId | None = None
    for _ in range(len(model) + 1):
        page = whole(free_times(units).page(size, after))
        entries = [(unit.key, slot) for unit, slot in page.entries]
        left = [each for each in merged(units) if not seen or model.index(each) > model.index(seen[-1])]
        assert entries == left[:size]
        assert page.has_next is (len(left) > size)
        assert page.has_previous is (len(left) < len(merged(units)))
        if not entries:
            break
        seen += entries
        key, slot = seen[-1]
        after = id_of(key, slot)
        if data.draw(st.booleans()):
            # The slot of the cursor is gone.
            unit = units[KEYS.index(key)]
            unit.slots = TimeslotList(each for each in unit.slots.slots if each is not slot)
    assert seen == model


def id_of(key: CareUnitKey, slot: Timeslot) -> TimeslotId:
    end = None if slot.end is None else instant(slot.end)
    return TimeslotId(key, instant(slot.start), end, slot.resource_id, slot.healthcare_service_id)


@given(clinics(1), st.permutations(["r1", "r3", "r2"]), st.integers(0, 3))
def test_owners_are_the_listed_then_the_unlisted_then_those_of_none(
    units: list[Unit], order: list[str], number: int
) -> None:
    (unit,), listed = units, dict.fromkeys(order[:number])
    slots = unit.free.range

    found = whole(by_owner(slots, listed, slots.slots.resource_ids, slots.slots.of_resource))

    owners = {slot.resource_id for _, slot in unit.model}
    unlisted: list[str | None] = [*sorted(each for each in owners if each is not None and each not in listed)]
    expected = [*listed, *unlisted, *([None] if None in owners else [])]
    assert [owner for owner, _ in found] == expected
    for owner, group in found:
        free = FreeTimes((unit.free.within(group),))
        assert slots_of(free) == [each for each in unit.model if each[1].resource_id == owner]


times_of_day = st.integers(0, 95).map(lambda quarter: (datetime(2026, 1, 1, tzinfo=UTC) + quarter * QUARTER).time())
filters = st.builds(
    AvailabilityFilter,
    weekdays=st.one_of(st.none(), st.frozensets(st.integers(0, 6))),
    time_of_day=st.one_of(
        st.none(),
        st.tuples(times_of_day, times_of_day)
        .filter(lambda both: both[0] != both[1])
        .map(lambda both: TimeOfDayRange(*both)),
    ),
    minimum_notice=st.sampled_from([None, timedelta(0), 9 * QUARTER, timedelta(days=400)]),
    minimum_duration=st.sampled_from([None, timedelta(0), QUARTER, 3 * QUARTER]),
)


@given(clinics(1), filters, st.integers(-200, 200))
def test_filters_let_through_what_local_clocks_say(units: list[Unit], asked: AvailabilityFilter, at: int) -> None:
    (unit,) = units
    now = unit.window.start + at * QUARTER

    found = whole(filtered(unit.free.range, asked, unit.zone, now))

    assert slots_of(FreeTimes((unit.free.within(found),))) == [
        each for each in unit.model if is_meant(each[1], asked, unit.zone, now)
    ]


def is_meant(slot: Timeslot, asked: AvailabilityFilter, zone: ZoneInfo, now: datetime) -> bool:
    start = instant(slot.start)
    local, hours = start.astimezone(zone), asked.time_of_day
    if asked.weekdays is not None and local.weekday() not in asked.weekdays:
        return False
    if hours is not None:
        is_late, is_early = local.time() >= hours.start, local.time() < hours.end
        if not (is_late and is_early if hours.start < hours.end else is_late or is_early):
            return False
    if asked.minimum_notice is not None and start < now + asked.minimum_notice:
        return False
    least = asked.minimum_duration
    return least is None or (slot.end is not None and instant(slot.end) - start >= least)


NOW = datetime(2026, 10, 12, 5, tzinfo=UTC)
STOCKHOLM = time_zone("Europe/Stockholm")


def window_of(request: AvailabilityRequest, now: datetime = NOW) -> tuple[CalendarDays, Window | None]:
    zone = request.zone_within(STOCKHOLM)
    days = request.days(now, zone, WIDEST)
    return days, request.window(days, now)


def test_without_a_range_it_is_thirty_local_days_of_which_what_has_begun_is_not_free() -> None:
    days, window = window_of(AvailabilityRequest())

    first, end = datetime(2026, 10, 11, 22, tzinfo=UTC), datetime(2026, 11, 10, 23, tzinfo=UTC)
    assert (days.first, days.count, days.window) == (date(2026, 10, 12), 30, Window(first, end))
    assert window == Window(NOW, end)


def test_today_is_that_of_the_zone_that_is_asked_for() -> None:
    days, _ = window_of(AvailabilityRequest(zone="Pacific/Kiritimati"), datetime(2026, 10, 12, 11, tzinfo=UTC))

    assert days.first == date(2026, 10, 13)
    assert days.window.start == datetime(2026, 10, 12, 10, tzinfo=UTC)


def test_nothing_is_free_on_days_that_are_past() -> None:
    days, window = window_of(AvailabilityRequest(DayRange(date(2026, 10, 10), 2)))

    assert list(days) == [date(2026, 10, 10), date(2026, 10, 11)]
    assert window is None


def test_instants_are_taken_as_they_are() -> None:
    days, window = window_of(AvailabilityRequest(InstantRange(NOW - DAY, NOW + DAY)))

    assert window == days.window == Window(NOW - DAY, NOW + DAY)
    assert list(days) == [date(2026, 10, 11), date(2026, 10, 12), date(2026, 10, 13)]


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (AvailabilityRequest(InstantRange(NOW, NOW)), "end must be after start"),
        (AvailabilityRequest(InstantRange(NOW, NOW + 100 * DAY)), "wider than 92 days"),
        (AvailabilityRequest(DayRange(None, 93)), "longer than 92 days"),
        (AvailabilityRequest(zone="Europe/Nowhere"), "no IANA time zone"),
    ],
)
def test_what_makes_no_window_is_refused(request_: AvailabilityRequest, why: str) -> None:
    with pytest.raises(BadUserInput, match=why):
        window_of(request_)


def test_negative_minutes_are_refused() -> None:
    with pytest.raises(BadUserInput, match="minimumNoticeMinutes may not be negative"):
        AvailabilityFilter(minimum_notice=-QUARTER)
    with pytest.raises(BadUserInput, match="minimumDurationMinutes may not be negative"):
        AvailabilityFilter(minimum_duration=-QUARTER)


def test_a_time_of_day_that_ends_as_it_begins_is_refused() -> None:
    with pytest.raises(BadUserInput, match="must differ"):
        AvailabilityFilter(time_of_day=TimeOfDayRange(NOW.time(), NOW.time()))


def test_services_are_named_whatever_their_case_and_the_spaces_around() -> None:
    services = [
        HealthcareService("a", name=" Läkarbesök "),
        HealthcareService("b", name="Straße"),
        HealthcareService("c"),
    ]

    found = AvailabilityFilter(healthcare_service_names=("LÄKARBESÖK", "strasse", " C")).names(services)

    assert found == ["a", "b", "c"]
