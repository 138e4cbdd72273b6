"""The invented data: free times that look like a clinic's, the same in every process, found by what is asked."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import mean
from zoneinfo import ZoneInfo

import pytest

from gateway.simulator.calendar import Calendar, SlotQuery, Timeslot, World, invent_timeslots
from gateway.simulator.clinics import Clinic, rng
from gateway.simulator.ehrs import EHRS

TODAY = date(2026, 3, 2)
CHANGE = date(2026, 3, 29)
EMRS = tuple(EHRS)
MIDNIGHT = 1772406000.0  # 2026-03-02 in Sweden
DAY_SECONDS = 24 * 60 * 60


def make(emr: str, *, seed: int = 1, scale: int = 1) -> list[tuple[Clinic, list[Timeslot]]]:
    world = World(seed=seed, scale=scale, today=TODAY)
    zone = ZoneInfo(EHRS[emr].country.zone)
    clinics = [world.clinic(emr, unit) for unit in world.care_units(emr)]
    return [(clinic, invent_timeslots(clinic, zone, TODAY, (seed, emr, clinic.unit.id))) for clinic in clinics]


def local(emr: str, instant: float) -> datetime:
    return datetime.fromtimestamp(instant, ZoneInfo(EHRS[emr].country.zone))


def fingerprint() -> str:
    digest = hashlib.sha256()
    for emr in ("kaddio", "physica"):
        digest.update(repr(make(emr)).encode())
    return digest.hexdigest()


@pytest.mark.parametrize("emr", EMRS)
def test_slots_look_like_a_clinic(emr: str) -> None:
    for clinic, slots in make(emr):
        starts = [local(emr, slot.start) for slot in slots]
        minutes = {service.id: service.minutes for service in clinic.services}
        assert len(slots) > 20 * len(clinic.resources)
        assert min(starts).date() >= TODAY
        assert max(starts).date() < TODAY + timedelta(60)
        assert all(start.weekday() != 6 for start in starts)
        assert sum(start.weekday() == 5 for start in starts) < 0.15 * len(starts)
        assert all(start.time() >= time(8) for start in starts)
        assert all(local(emr, slot.end).time() <= time(17) for slot in slots)
        assert all(slot.end - slot.start == 60 * minutes[slot.service_id] for slot in slots)
        offered = {(one.id, service.id) for one in clinic.resources for service in one.services}
        assert {(slot.resource_id, slot.service_id) for slot in slots} <= offered


def test_every_resource_has_a_lunch_break() -> None:
    for clinic, slots in make("webdoc"):
        for resource in clinic.resources:
            weekdays = [
                (local("webdoc", slot.start).time(), local("webdoc", slot.end).time())
                for slot in slots
                if slot.resource_id == resource.id and local("webdoc", slot.start).weekday() < 5
            ]
            breaks = ((time(11, 30), time(12)), (time(12), time(12, 30)))
            assert any(all(end <= begin or start >= over for start, end in weekdays) for begin, over in breaks)


def test_some_times_are_booked_and_saturdays_are_few() -> None:
    slots = [slot for _, slots in make("webdoc") for slot in slots]
    saturdays = {local("webdoc", slot.start).date() for slot in slots if local("webdoc", slot.start).weekday() == 5}
    assert 1 <= len(saturdays) <= 8
    distinct = {(slot.resource_id, slot.start) for _, one in make("webdoc")[:1] for slot in one}
    days = {(resource, local("webdoc", start).date()) for resource, start in distinct}
    assert len(distinct) / len(days) < 12


def test_same_time_for_several_services_and_exact_duplicates() -> None:
    for emr in EMRS:
        slots = [slot for _, slots in make(emr)[:1] for slot in slots]
        times = Counter((slot.resource_id, slot.start) for slot in set(slots))
        exact = Counter(slot[:4] for slot in slots)
        assert max(times.values()) >= 2
        assert 0 < sum(count - 1 for count in exact.values()) < 0.02 * len(slots)


@pytest.mark.parametrize("emr", ["webdoc", "cliniko"])
def test_clocks_change_but_opening_hours_do_not(emr: str) -> None:
    slots = [slot for _, slots in make(emr) for slot in slots]
    before = [local(emr, slot.start) for slot in slots if local(emr, slot.start).date() < CHANGE]
    after = [local(emr, slot.start) for slot in slots if local(emr, slot.start).date() > CHANGE]
    assert {start.utcoffset() for start in before} == {timedelta(hours=1)}
    assert {start.utcoffset() for start in after} == {timedelta(hours=2)}
    assert min(start.time() for start in before) == min(start.time() for start in after)
    assert before[0].astimezone(UTC).hour == before[0].hour - 1


def test_order_is_shuffled() -> None:
    _, slots = make("webdoc")[0]
    in_answer = sorted(slots, key=lambda slot: slot.rank)
    assert [slot.rank for slot in in_answer] == list(range(len(slots)))
    rising = [one.start <= other.start for one, other in pairwise(in_answer)]
    assert 0.4 < mean(rising) < 0.6


def test_data_are_the_same_in_another_process() -> None:
    program = "import test_calendar; print(test_calendar.fingerprint())"
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    for salt in ("1", "2"):
        output = subprocess.check_output(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": salt, "PYTHONPATH": paths}, text=True
        )
        assert output.strip() == fingerprint()


def test_seed_changes_everything() -> None:
    assert make("webdoc") != make("webdoc", seed=2)
    assert [clinic.unit.id for clinic, _ in make("kaddio")] != [clinic.unit.id for clinic, _ in make("kaddio", seed=2)]


def test_scale_multiplies_slots_and_leaves_care_units() -> None:
    small, large = make("webdoc"), make("webdoc", scale=4)
    assert [clinic.unit for clinic, _ in small] == [clinic.unit for clinic, _ in large]
    ratio = sum(len(slots) for _, slots in large) / sum(len(slots) for _, slots in small)
    assert 2.5 < ratio < 5.5


def test_ids_are_unique_within_a_care_unit() -> None:
    for emr in EMRS:
        for clinic, _ in make(emr, scale=3):
            assert len({one.id for one in clinic.resources}) == len(clinic.resources)
            assert len({one.id for one in clinic.services}) == len(clinic.services)
            assert None in [one.emr_id for one in clinic.resources] + [one.emr_id for one in clinic.services]


@pytest.fixture(scope="module")
def calendar() -> Calendar:
    return World(seed=1, scale=1, today=TODAY).calendar("webdoc", "L0_1")


@pytest.mark.parametrize("by_start", [True, False])
def test_find_gives_the_slots_that_the_query_holds(calendar: Calendar, by_start: bool) -> None:
    every = calendar.find(SlotQuery(0, 10 * MIDNIGHT, None, None), by_start=True)
    random = rng("calendar test")
    for _ in range(200):
        start, end = sorted(MIDNIGHT + random.randrange(14 * DAY_SECONDS // 300) * 300 for _ in range(2))
        one = random.choice(every)
        query = SlotQuery(
            start, end, random.choice((None, one.resource_id)), random.choice((None, one.service_id))
        )  # fmt: skip

        found = calendar.find(query, by_start=by_start)

        assert found == [
            slot
            for slot in every
            if start <= slot.start < end
            and (by_start or slot.end <= end)
            and query.resource_id in (None, slot.resource_id)
            and query.service_id in (None, slot.service_id)
        ]


@pytest.mark.parametrize("emr", EHRS)
def test_as_many_care_units_as_are_wanted_have_ids_and_names_of_their_own(emr: str) -> None:
    few, many = (World(seed=1, scale=1, today=TODAY, care_units=count).care_units(emr) for count in (2, 40))

    assert (len(few), len(many)) == (2, 40)
    assert len({unit.name.rsplit(" ", 1)[0] for unit in many.values()}) == 40
