"""What is free next behind a range is found in few calls, one search for all who ask, and with what ends it told."""

import asyncio
from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.ids import TimeslotIds, care_unit_id
from gateway.domain.timeslots import TimeslotList
from gateway.schema.context import OperationLimits
from tests.unit.domain.local_days import DAY, noon
from tests.unit.model_ehr import RESOURCES, SERVICES, UNIT, TrueSlot
from tests.unit.schema.clinic import Clinic
from tests.unit.schema.graph import UNLIMITED, Answered, Graph

PROFILE = EhrProfile(UNIT.emr, "Model")
NOW = noon(date(2026, 10, 20))
# The end of thirty days from today.
END = datetime.fromisoformat("2026-11-19T00:00:00+01:00")
NEXT = "{ timeslot { start } searchedUntil complete }"


def slot(days: float, resource: str = "r1", service: str = "s1") -> TrueSlot:
    """A slot so many days behind the end of the range."""
    return TrueSlot(END + days * DAY, resource, service)


def ask(clinic: Clinic, selection: str, arguments: str = "", limits: OperationLimits = UNLIMITED) -> Answered:
    text = f'{{ careUnit(id: "{care_unit_id(UNIT)}") {{ availability{arguments} {{ {selection} }} }} }}'
    return asyncio.run(Graph(clinic, [PROFILE], instant=NOW).ask(text, limits=limits))


def found(answer: Answered) -> dict[str, Any]:
    assert answer.errors == []
    assert answer.data is not None
    whole: dict[str, Any] = answer.data["careUnit"]["availability"]
    return whole


def start(each: TrueSlot) -> dict[str, str]:
    return {"start": each.start.isoformat()}


@pytest.mark.parametrize(("days", "calls"), [(0, 1), (9.9, 1), (10.1, 2), (39.9, 2), (40.1, 3), (99.9, 3)])
def test_the_next_time_within_a_hundred_days_takes_at_most_three_more_calls(days: float, calls: int) -> None:
    clinic = Clinic([slot(days), slot(days + 0.01)], PROFILE)

    whole = found(ask(clinic, f"timeslotCount nextAfter(withinDays: 100) {NEXT}"))

    assert whole["timeslotCount"] == 0
    assert whole["nextAfter"]["timeslot"] == start(clinic.slots[0])
    assert whole["nextAfter"]["complete"] is True
    assert len(clinic.calls) == 1 + calls


def test_where_nothing_is_free_within_the_days_it_is_null_and_complete() -> None:
    clinic = Clinic([slot(-1), slot(100.1)], PROFILE)

    whole = found(ask(clinic, f"nextAfter(withinDays: 100) {NEXT}"))

    assert whole["nextAfter"] == {"timeslot": None, "searchedUntil": "2027-02-27T00:00:00+01:00", "complete": True}
    assert len(clinic.calls) == 4


def test_a_slot_behind_the_days_is_not_next() -> None:
    selection = f"a: nextAfter(withinDays: 5) {NEXT} b: nextAfter(withinDays: 6) {NEXT}"
    whole = found(ask(Clinic([slot(5)], PROFILE), selection))

    assert whole["a"] == {"timeslot": None, "searchedUntil": "2026-11-24T00:00:00+01:00", "complete": True}
    assert whole["b"]["timeslot"] == start(slot(5))


def test_one_search_serves_all_owners_and_groups() -> None:
    clinic = Clinic([slot(1, "r1", "s2"), slot(15, "r2", "s1"), slot(50, "r3", "s2")], PROFILE)
    groups = " ".join(f"{name} {{ nextAfter {NEXT} }}" for name in ("byResource", "byHealthcareService", "byCareUnit"))

    whole = found(ask(clinic, f"nextAfter {NEXT} {groups}"))

    starts = {name: [each["nextAfter"]["timeslot"] for each in whole[name]] for name in whole if name.startswith("by")}
    first, second, third = map(start, clinic.slots)
    assert starts == {
        "byResource": [first, second, third],
        "byHealthcareService": [second, first],
        "byCareUnit": [first],
    }
    assert len(clinic.calls) == 1 + 3


def test_filters_hold_for_what_is_next() -> None:
    clinic = Clinic([slot(1), slot(2, "r2"), slot(2.5, "r2"), slot(20, "r2")], PROFILE)
    asked = '(filter: {resourceIds: ["r2"], timeOfDay: {from: "11:00", to: "13:00"}, minimumDurationMinutes: 20})'

    whole = found(ask(clinic, f"nextAfter {NEXT}", asked))

    assert whole["nextAfter"]["timeslot"] == start(clinic.slots[2])


def test_a_failure_ends_the_search_and_nothing_else() -> None:
    clinic = Clinic([slot(-2), slot(20)], PROFILE, sick_at=END + 15 * DAY)

    whole = found(ask(clinic, f"timeslotCount nextAfter {NEXT}"))

    assert whole["timeslotCount"] == 1
    assert whole["nextAfter"] == {"timeslot": None, "searchedUntil": "2026-11-29T00:00:00+01:00", "complete": False}


def test_a_limit_ends_the_search_which_is_not_counted_before() -> None:
    clinic = Clinic([slot(-2), slot(20)], PROFILE)

    # The care unit's list, the range, and one stretch.
    whole = found(ask(clinic, f"timeslotCount nextAfter {NEXT}", limits=OperationLimits(3)))

    assert whole["timeslotCount"] == 1
    assert whole["nextAfter"] == {"timeslot": None, "searchedUntil": "2026-11-29T00:00:00+01:00", "complete": False}
    assert len(clinic.calls) == 2


def test_days_that_are_past_are_not_looked_at() -> None:
    clinic = Clinic([TrueSlot(NOW - DAY, "r1", "s1"), TrueSlot(NOW + DAY, "r1", "s1")], PROFILE)

    whole = found(ask(clinic, f"nextAfter {NEXT}", '(range: {days: {from: "2026-10-10", count: 2}})'))

    assert whole["nextAfter"]["timeslot"] == start(clinic.slots[1])
    assert len(clinic.calls) == 1
    assert clinic.calls[0].window.start >= NOW


@pytest.mark.parametrize("days", [0, -1, 367])
def test_days_out_of_bounds_are_refused_at_the_field_alone(days: int) -> None:
    answer = ask(Clinic([slot(-1)], PROFILE), f"timeslotCount nextAfter(withinDays: {days}) {NEXT}")

    assert answer.messages == {"withinDays lies between 1 and 366"}
    assert answer.data == {"careUnit": {"availability": {"timeslotCount": 1, "nextAfter": None}}}


half_days = st.integers(-80, 300).map(lambda half: half / 2)
some_slots = st.lists(st.builds(slot, half_days, st.sampled_from(RESOURCES), st.sampled_from(SERVICES)), max_size=8)


@settings(max_examples=40)
@given(some_slots, st.integers(1, 140), st.sampled_from(["", '(filter: {resourceIds: ["r1", "r2"]})']))
def test_what_is_next_is_the_first_of_all_slots_behind_the_range(slots: list[TrueSlot], days: int, asked: str) -> None:
    clinic = Clinic(slots, PROFILE)
    selection = f"nextAfter(withinDays: {days}) {{ timeslot {{ id }} complete }}"

    whole = found(ask(clinic, f"{selection} byResource {{ {selection} }}", asked))

    def first(meant: tuple[str, ...]) -> dict[str, str] | None:
        behind = [each for each in slots if END <= each.start < END + days * DAY and each.resource in meant]
        shown = TimeslotList(each.shown() for each in behind).slots
        return {"id": TimeslotIds(UNIT)(shown[0])} if shown else None

    meant = RESOURCES[:2] if asked else RESOURCES
    assert whole["nextAfter"] == {"timeslot": first(meant), "complete": True}
    assert [each["nextAfter"]["timeslot"] for each in whole["byResource"]] == [first((each,)) for each in meant]
