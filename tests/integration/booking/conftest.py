"""A simulator whose clock the tests move, so that a late write lands when they say so."""

from collections.abc import Iterator

import httpx
import pytest

from gateway.server.serving import listening_socket, serve_in_thread
from gateway.simulator import SimulatorSettings, create_simulator
from tests.harness import CLIENT_ID, CLIENT_SECRET, NOW, TODAY, Simulator, no_certificates
from tests.integration.booking.ehr import SimulatorClock


@pytest.fixture(scope="package")
def simulator_clock() -> SimulatorClock:
    return SimulatorClock()


@pytest.fixture(scope="package")
def simulator_server(simulator_clock: SimulatorClock) -> Iterator[Simulator]:
    settings = SimulatorSettings(today=TODAY, latency_ms=0, client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
    application = create_simulator(settings, clock=simulator_clock, now=NOW.timestamp)
    with (
        serve_in_thread(application, listening_socket("127.0.0.1", 0)) as url,
        httpx.Client(base_url=url, timeout=30, verify=no_certificates()) as http,
    ):
        yield Simulator(url, settings.emrs, http)
