"""Cached timeslots: any part of a known window is served, and only missing ranges are fetched."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from gateway.domain.ids import care_unit_id
from gateway.domain.models import CareUnitKey
from tests.harness import CACHES_ON, NOW, PATIENT, Clock, Gateway, Simulator

WEBDOC = CareUnitKey("webdoc", "L0_1")
TAKECARE = CareUnitKey("takecare", "10")
BOOKING_PAGE = "query($id: ID!) { careUnit(id: $id) { timeslots { start } } }"
DAYS = """query($id: ID!, $start: DateTime, $end: DateTime, $who: ID) {
    careUnit(id: $id) { timeslots(start: $start, end: $end, resourceId: $who) { start resource { leyrId } } }
}"""


def asked(simulator: Simulator) -> list[tuple[datetime, datetime]]:
    """The windows of the timeslots calls."""
    calls = [call["params"] for call in simulator.calls() if call["endpoint"] == "timeslots"]
    return [(datetime.fromisoformat(each["start"]), datetime.fromisoformat(each["end"])) for each in calls]


def days(gateway: Gateway, first: float, last: float, who: str | None = None, **headers: str) -> list[dict[str, Any]]:
    """What is free from so many days after midnight in Stockholm to so many days after it."""
    midnight = datetime.fromisoformat("2026-10-12T00:00:00+02:00")
    start, end = ((midnight + timedelta(days=each)).isoformat() for each in (first, last))
    variables = {"id": care_unit_id(WEBDOC), "start": start, "end": end, "who": who}
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = gateway.http.post("/graphql", json={"query": DAYS, "variables": variables}, headers=names).json()
    assert "errors" not in answer, answer
    found: list[dict[str, Any]] = answer["data"]["careUnit"]["timeslots"]
    return found


def test_default_window_that_moves_with_the_clock_is_fetched_once(
    gateway: Gateway, simulator: Simulator, clock: Clock
) -> None:
    for _ in range(10):
        assert gateway.data(BOOKING_PAGE, id=care_unit_id(WEBDOC))["careUnit"]["timeslots"]
        clock.seconds += 1.4

    assert asked(simulator) == [(NOW, datetime.fromisoformat("2026-11-12T00:00:00+01:00"))]
    assert simulator.count() == {"care_units": 1, "timeslots": 1}


def test_narrower_queries_are_answered_from_a_cached_window(
    gateway: Gateway, simulator: Simulator, serve_gateway: Callable[..., Gateway]
) -> None:
    forgetful = serve_gateway()
    inside = [(1, 6, None), (2, 3, None), (1, 6, "R1"), (2.5, 2.75, "R2"), (3.3, 6, "R1")]
    alone = [days(forgetful, *each) for each in inside]
    assert any(alone)
    days(gateway, 1, 6)
    simulator.http.post("/__reset")

    together = [days(gateway, *each) for each in inside]

    assert together == alone
    assert simulator.count()["timeslots"] == 0


def test_wider_window_fetches_only_the_missing_range(gateway: Gateway, simulator: Simulator) -> None:
    days(gateway, 1, 4)

    days(gateway, 2, 7)

    [_, (start, end)] = asked(simulator)
    assert start == datetime.fromisoformat("2026-10-16T00:00:00+02:00")
    assert end == datetime.fromisoformat("2026-10-19T00:00:00+02:00")


def test_stale_timeslots_are_served_at_once_during_one_single_refresh(
    serve_gateway: Callable[..., Gateway], simulator: Simulator, clock: Clock
) -> None:
    gateway = serve_gateway(clock=clock, **CACHES_ON, **PATIENT)
    before = days(gateway, 1, 4)
    clock.seconds += 15
    simulator.fault("hang", endpoint="timeslots")

    for _ in range(14):
        assert days(gateway, 1, 4) == before
        assert days(gateway, 2, 3)
        clock.seconds += 1

    # The care unit, its people and its timeslots, and the timeslots again.
    assert simulator.arrived(4)["timeslots"] == 2


def test_timeslots_beyond_the_stale_lifetime_are_not_served(
    gateway: Gateway, simulator: Simulator, clock: Clock
) -> None:
    assert days(gateway, 1, 4)
    simulator.fault("empty_list", endpoint="timeslots")

    clock.seconds += 30

    assert days(gateway, 1, 4) == []


def test_no_cache_request_bypasses_the_cache_and_updates_it(gateway: Gateway, simulator: Simulator) -> None:
    for _ in range(3):
        assert days(gateway, 1, 4)
    simulator.fault("empty_list", endpoint="timeslots")

    assert days(gateway, 1, 4, cache_control="no-cache") == []

    assert days(gateway, 1, 4) == []
    # Nobody's name is needed where nothing is free, so their list may have been given up on its way.
    seen = simulator.count()
    assert (seen["care_units"], seen["timeslots"]) == (2, 2)


def test_timeslots_of_an_ehr_with_required_filters_are_cached_by_filter(gateway: Gateway, simulator: Simulator) -> None:
    first = gateway.data(BOOKING_PAGE, id=care_unit_id(TAKECARE))
    calls = simulator.count()

    again = gateway.data(BOOKING_PAGE.replace("start }", "end }"), id=care_unit_id(TAKECARE))

    assert len(again["careUnit"]["timeslots"]) == len(first["careUnit"]["timeslots"]) > 0
    assert simulator.count() == calls
    assert calls["timeslots"] > 1


def test_window_is_not_rounded_up_beyond_the_longest_of_the_ehr(gateway: Gateway, simulator: Simulator) -> None:
    simulator.behaviour("webdoc", longest_window_days=14)
    fortnight = (1.25, 15.25)

    assert days(gateway, *fortnight)
    assert days(gateway, 20.5, 34.5)

    lengths = [end - start for start, end in asked(simulator)]
    assert lengths[0] > timedelta(days=14)
    assert lengths[1:] == [timedelta(days=14)] * 2
    days(gateway, *fortnight)
    assert len(asked(simulator)) == 3


def test_zero_seconds_turn_cache_and_rounding_off(
    serve_gateway: Callable[..., Gateway], simulator: Simulator, clock: Clock
) -> None:
    gateway = serve_gateway(clock=clock, **{**CACHES_ON, "gateway_cache_timeslots_seconds": 0})

    for _ in range(3):
        gateway.data(BOOKING_PAGE, id=care_unit_id(WEBDOC))

    assert asked(simulator) == [(NOW, NOW + timedelta(days=30))] * 3


@pytest.mark.parametrize("key", [WEBDOC, TAKECARE], ids=["one call", "a fan-out"])
async def test_concurrent_queries_share_each_call(
    key: CareUnitKey, gateway: Gateway, simulator: Simulator, clock: Clock
) -> None:
    gateway.data(BOOKING_PAGE, id=care_unit_id(key))
    alone = simulator.count()
    simulator.behaviour(key.emr, latency_ms=300)
    clock.seconds += 100_000

    async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as http:
        question = {"query": BOOKING_PAGE, "variables": {"id": care_unit_id(key)}}
        answers = await asyncio.gather(*(http.post("/graphql", json=question) for _ in range(60)))

    assert len({answer.text for answer in answers}) == 1
    assert "errors" not in answers[0].json()
    assert simulator.count() - alone == alone


def test_a_failing_refresh_is_tried_every_five_seconds(gateway: Gateway, simulator: Simulator, clock: Clock) -> None:
    unit = care_unit_id(WEBDOC)
    before = gateway.data(BOOKING_PAGE, id=unit)
    simulator.fault("emr_error_500", endpoint="timeslots")
    clock.seconds += 16

    def is_served_stale(refreshes: int) -> None:
        assert gateway.data(BOOKING_PAGE, id=unit) == before
        gateway.settle()
        assert len(asked(simulator)) == 1 + refreshes

    for _ in range(4):
        is_served_stale(1)
    clock.seconds += 5
    for _ in range(4):
        is_served_stale(2)
