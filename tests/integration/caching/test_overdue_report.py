"""Stale data whose refresh failed are served, and reported as overdue."""

import time
from typing import Any

from tests.harness import Clock, Gateway, Simulator

CATALOGUE = "{ careUnits { name resources { name } healthcareServices { name } } }"
TIMESLOTS = (
    '{ careUnits { timeslots(start: "2026-10-13T00:00:00+02:00", end: "2026-10-14T00:00:00+02:00") { start } } }'
)


def overdue(answer: dict[str, Any]) -> list[dict[str, Any]]:
    assert "errors" not in answer
    found: list[dict[str, Any]] = answer.get("extensions", {}).get("gateway", {}).get("overdue", [])
    return found


def says(gateway: Gateway, query: str, lists: int) -> dict[str, Any]:
    """The first answer that reports so many overdue lists; a refresh ends after the answer that started it."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        answer = gateway.ask(query)
        if sum(each["lists"] for each in overdue(answer)) == lists:
            return answer
        time.sleep(0.02)
    raise AssertionError(answer.get("extensions"))


def test_lists_whose_refresh_failed_are_reported_as_overdue_until_it_succeeds(
    gateway: Gateway, simulator: Simulator, clock: Clock
) -> None:
    known = gateway.ask(CATALOGUE)
    units = len(known["data"]["careUnits"])
    clock.seconds += 100
    assert gateway.ask(CATALOGUE) == known
    simulator.fault("service_unavailable", endpoint="resources")
    clock.seconds += 250
    assert gateway.ask(CATALOGUE) == known

    told = says(gateway, CATALOGUE, units)

    assert told["data"] == known["data"]
    assert overdue(told) == [{"endpoint": "resources", "emr": "webdoc", "lists": units, "ageSeconds": 350.0}]
    simulator.http.request("DELETE", "/__faults")
    clock.seconds += 60
    assert says(gateway, CATALOGUE, 0)["data"] == known["data"]


def test_timeslots_whose_refresh_failed_are_reported_as_overdue(
    gateway: Gateway, simulator: Simulator, clock: Clock
) -> None:
    known = gateway.ask(TIMESLOTS)
    units = len(known["data"]["careUnits"])
    simulator.fault("cut", endpoint="timeslots")
    clock.seconds += 20

    told = says(gateway, TIMESLOTS, units)

    assert told["data"] == known["data"]
    assert overdue(told) == [{"endpoint": "timeslots", "emr": "webdoc", "lists": units, "ageSeconds": 20.0}]
