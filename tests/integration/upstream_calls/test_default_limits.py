"""The limits as shipped fit what the gateway is for: the whole simulated world, and 300 care units, in one document."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from gateway.app import create_app
from gateway.http_client.pool import ConnectionPool
from gateway.server.serving import listening_socket, serve_in_thread
from gateway.settings import Settings
from gateway.simulator import SimulatorSettings, create_simulator
from tests.harness import CLIENT_ID, CLIENT_SECRET, ERROR_BODY, NOW, PATIENT, TODAY, Gateway, Simulator, leyr_settings
from tests.house.pages import README, blocks_of

UNITS = 300
# A caller with a budget of calls, which connections of the gateway's own machine do not have.
STRANGER = {"x-forwarded-for": "203.0.113.9"}
LISTS = "{ careUnits { name resources { name } healthcareServices { name } timeslots(first: 5) { start end } } }"
[README_QUERY] = [block.text for block in blocks_of(README) if block.language == "graphql"]


@contextmanager
def simulated(care_units: int | None) -> Iterator[Simulator]:
    settings = SimulatorSettings(
        today=TODAY, latency_ms=0, care_units=care_units, client_id=CLIENT_ID, client_secret=CLIENT_SECRET
    )
    with (
        serve_in_thread(create_simulator(settings), listening_socket("127.0.0.1", 0)) as url,
        httpx.Client(base_url=url, timeout=30) as http,
    ):
        yield Simulator(url, settings.emrs, http)


@contextmanager
def shipped_gateway(simulator: Simulator) -> Iterator[Gateway]:
    """A gateway with all limits as shipped, but for its patience with a simulator that invents its world meanwhile."""
    settings: dict[str, Any] = {
        **leyr_settings(simulator.url, simulator.emrs), **PATIENT, "gateway_trusted_proxies": ("127.0.0.1",)
    }  # fmt: skip
    app = create_app(Settings(**settings), now=lambda: NOW)
    with (
        serve_in_thread(app, listening_socket("127.0.0.1", 0), error_body=ERROR_BODY) as url,
        httpx.Client(base_url=url, timeout=90, headers=STRANGER) as http,
    ):
        yield Gateway(url, http)


@pytest.fixture(scope="module")
def large_region() -> Iterator[Simulator]:
    with simulated(UNITS) as simulator:
        yield simulator


@pytest.mark.parametrize("document", [LISTS, README_QUERY], ids=["lists and next times", "README"])
def test_all_lists_of_300_care_units_fit_one_document(document: str, large_region: Simulator) -> None:
    large_region.forget()
    with shipped_gateway(large_region) as gateway:
        data = gateway.data(document)

    assert len(data["careUnits"]) == UNITS
    assert all(unit["timeslots"] for unit in data["careUnits"])
    assert large_region.count() == {
        "care_units": 1, "resources": UNITS, "healthcare_services": UNITS, "timeslots": UNITS
    }  # fmt: skip


def test_more_care_units_than_fit_are_refused_with_the_number_of_calls_before_these_are_made() -> None:
    with simulated(340) as simulator, shipped_gateway(simulator) as gateway:
        [error] = gateway.ask(LISTS)["errors"]

        assert error["extensions"]["code"] == "OPERATION_TOO_LARGE"
        assert error["message"] == "The operation would take 1021 upstream calls; the limit is 1000"
        assert simulator.count() == {"care_units": 1}


def test_a_month_of_the_whole_simulated_world_fits_one_document() -> None:
    selection = "name resources { name } healthcareServices { name } timeslots { start end }"
    with simulated(None) as simulator, shipped_gateway(simulator) as gateway:
        ehrs = " ".join(f'{emr}: careUnits(emr: "{emr}") {{ {selection} }}' for emr in simulator.emrs)
        data = gateway.data(f"{{ {ehrs} }}")
        units = {emr: len(simulator.rest(f"/emrs/{emr}/care-units")) for emr in simulator.emrs}

    assert {emr: len(found) for emr, found in data.items()} == units
    assert all(unit["timeslots"] for found in data.values() for unit in found)


def test_one_document_may_need_more_connections_than_there_are(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    for emr in simulator.emrs:
        simulator.behaviour(emr, latency_ms=300, latency_jitter=0)
    gateway = serve_gateway(connections=lambda *to: ConnectionPool(*to, max_connections=20), **PATIENT)
    ehrs = " ".join(f'{emr}: careUnits(emr: "{emr}") {{ resources {{ name }} }}' for emr in simulator.emrs)

    gateway.data(f"{{ {ehrs} }}")
