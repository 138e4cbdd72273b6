"""Cached lists of care units, resources and services: fresh, stale during a refresh, never too old."""

from collections.abc import Callable

import pytest

from gateway.domain.ids import care_unit_id
from gateway.domain.models import CareUnitKey
from tests.harness import CACHES_ON, PATIENT, Clock, Gateway, Simulator

UNIT = CareUnitKey("webdoc", "L0_1")
PEOPLE = "query($id: ID!) { careUnit(id: $id) { resources { leyrId } } }"
ENDPOINTS = ("care_units", "resources")


def people(gateway: Gateway) -> int:
    """How many people the clinic has, as far as the gateway knows."""
    return len(gateway.data(PEOPLE, id=care_unit_id(UNIT))["careUnit"]["resources"])


def test_fresh_lists_take_no_upstream_call(gateway: Gateway, simulator: Simulator, clock: Clock) -> None:
    found = people(gateway)

    clock.seconds += 299
    assert people(gateway) == found > 0
    assert gateway.data("{ careUnits { name } }")["careUnits"]

    assert simulator.count() == {"care_units": 1, "resources": 1}


def test_changed_lists_are_served_after_a_background_refresh(
    gateway: Gateway, simulator: Simulator, clock: Clock
) -> None:
    before = people(gateway)
    simulator.fault("empty_list", endpoint="resources")
    clock.seconds += 300

    meanwhile = people(gateway)
    gateway.settle()

    assert (meanwhile, people(gateway)) == (before, 0)
    assert simulator.count() == {"care_units": 2, "resources": 2}


def test_stale_lists_are_served_at_once_during_one_single_refresh(
    serve_gateway: Callable[..., Gateway], simulator: Simulator, clock: Clock
) -> None:
    gateway = serve_gateway(clock=clock, **CACHES_ON, **PATIENT)
    before = people(gateway)
    for endpoint in ENDPOINTS:
        simulator.fault("hang", endpoint=endpoint)

    for _ in range(20):
        clock.seconds += 300
        assert people(gateway) == before

    assert simulator.arrived(4) == {"care_units": 2, "resources": 2}


def test_a_failing_refresh_is_tried_every_five_seconds(gateway: Gateway, simulator: Simulator, clock: Clock) -> None:
    before = people(gateway)
    for endpoint in ENDPOINTS:
        simulator.fault("emr_error_500", endpoint=endpoint)
    clock.seconds += 300

    for tries in range(1, 4):
        for _ in range(4):
            assert people(gateway) == before
        gateway.settle()
        assert simulator.count() == {"care_units": 1 + tries, "resources": 1 + tries}
        clock.seconds += 5


def test_lists_beyond_the_stale_lifetime_are_not_served(gateway: Gateway, simulator: Simulator, clock: Clock) -> None:
    before = people(gateway)
    simulator.fault("emr_error_500", endpoint="resources")

    clock.seconds += 300 + 86_399
    assert people(gateway) == before
    clock.seconds += 1
    answer = gateway.ask(PEOPLE, id=care_unit_id(UNIT))

    assert answer["errors"][0]["extensions"]["code"] == "UPSTREAM_UNAVAILABLE"


def test_failed_fetch_is_not_cached(gateway: Gateway, simulator: Simulator) -> None:
    simulator.fault("emr_error_500", endpoint="resources", times=1)

    assert "errors" in gateway.ask(PEOPLE, id=care_unit_id(UNIT))

    assert people(gateway) > 0


@pytest.mark.parametrize("seconds", [0, 300])
def test_zero_seconds_turn_the_cache_off(
    seconds: int, serve_gateway: Callable[..., Gateway], simulator: Simulator, clock: Clock
) -> None:
    gateway = serve_gateway(clock=clock, **{**CACHES_ON, "gateway_cache_catalog_seconds": seconds})

    people(gateway)
    people(gateway)

    calls = 1 if seconds else 2
    assert simulator.count() == {"care_units": calls, "resources": calls}
