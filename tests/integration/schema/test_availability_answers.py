"""Availabilities over real HTTP: what they weigh, and that they move on when a slot is taken."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from gateway.domain.ids import care_unit_id
from gateway.domain.models import CareUnitKey
from gateway.server.serving import listening_socket, serve_in_thread
from tests.harness import CACHES_ON, Gateway, Simulator
from tests.stand_ins.versioned_leyr import START, OwnedSlot, VersionedLeyr

WEBDOC = care_unit_id(CareUnitKey("webdoc", "L0_1"))
DAYS = "days { date timeslotCount }"
UNIT = care_unit_id(CareUnitKey("webdoc", "u1"))
WEEK = 'range: {days: {from: "2026-10-13", count: 7}}'
MOVING = (
    f'{{ careUnit(id: "{UNIT}") {{ availability({WEEK}) {{ first {{ start }} times {{ start }} {DAYS} asOf }} }} }}'
)


def size(gateway: Gateway, query: str) -> int:
    response = gateway.http.post("/graphql", json={"query": query}, headers={"accept-encoding": "identity"})
    assert "errors" not in response.json()
    # Beside it stand the same few instants, whatever is asked.
    return response.content.index(b',"extensions":')


def test_a_months_days_of_a_clinic_take_less_than_a_kilobyte(gateway: Gateway) -> None:
    weekdays = "filter: {weekdays: [MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY]}"

    assert size(gateway, f'{{ careUnit(id: "{WEBDOC}") {{ availability({weekdays}) {{ {DAYS} }} }} }}') < 1_000


def test_three_months_of_four_care_units_as_days_take_less_than_ten_kilobytes(
    gateway: Gateway, simulator: Simulator
) -> None:
    units = len(simulator.rest("/emrs/webdoc/care-units"))
    quarter = "range: {days: {count: 92}}"

    assert units == 4
    assert size(gateway, f"{{ careUnits {{ name availability({quarter}) {{ timeslotCount {DAYS} }} }} }}") < 10_000


@pytest.fixture
def leyr() -> VersionedLeyr:
    return VersionedLeyr(free={OwnedSlot(START + timedelta(hours=hours), "r1", "s1") for hours in (24, 48)})


@pytest.fixture
def moving(leyr: VersionedLeyr, serve_gateway: Callable[..., Gateway]) -> Iterator[Gateway]:
    with serve_in_thread(leyr, listening_socket("127.0.0.1", 0)) as url:
        known: dict[str, Any] = {"leyr_base_url": f"{url}/api", "leyr_emrs": ("webdoc",)}
        yield serve_gateway(**{**CACHES_ON, **known})


def test_when_the_first_slot_is_taken_all_fields_move_on_and_nothing_older_comes_back(
    moving: Gateway, leyr: VersionedLeyr
) -> None:
    before = moving.data(MOVING)["careUnit"]["availability"]
    leyr.free.remove(OwnedSlot(START + timedelta(hours=24), "r1", "s1"))
    kept = moving.data(MOVING)["careUnit"]["availability"]
    # Somebody asks for that day alone, and wants the truth.
    day = 'range: {days: {from: "2026-10-14", count: 1}}, filter: {resourceIds: ["r1"]}'
    query = f'{{ careUnit(id: "{UNIT}") {{ availability({day}) {{ timeslotCount }} }} }}'
    moving.http.post("/graphql", json={"query": query}, headers={"cache-control": "no-cache"})
    after = moving.data(MOVING)["careUnit"]["availability"]

    first, second = ({"start": (START + timedelta(hours=hours)).isoformat()} for hours in (24, 48))
    assert (before["first"], before["times"]) == (kept["first"], kept["times"]) == (first, [first, second])
    assert [day["date"] for day in before["days"]] == ["2026-10-14", "2026-10-15"]
    assert (after["first"], after["times"]) == (second, [second])
    assert after["days"] == [{"date": "2026-10-15", "timeslotCount": 1}]
    assert len(leyr.queries) == 2


def test_as_of_is_when_the_extensions_say_that_the_oldest_list_was_read(moving: Gateway) -> None:
    fetched, cached = moving.ask(MOVING), moving.ask(MOVING)

    as_of = fetched["data"]["careUnit"]["availability"]["asOf"]
    assert as_of == fetched["extensions"]["gateway"]["timeslotsAsOf"]
    assert cached["data"]["careUnit"]["availability"]["asOf"] == as_of
