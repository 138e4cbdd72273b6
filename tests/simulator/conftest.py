"""A simulator in memory for most tests, and one behind a real uvicorn for what only a socket shows."""

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Literal
from urllib.parse import quote

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp

from gateway.simulator import SimulatorSettings, create_simulator
from tests.simulator.booking_client import BookingClient, TimeOfTests

CREDENTIALS = {"x-leyr-client-id": "simulator", "x-leyr-client-secret": "simulator"}
# The clocks change on 2026-03-29 in both countries.
TODAY = date(2026, 3, 2)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def settings() -> SimulatorSettings:
    return SimulatorSettings(today=TODAY, latency_ms=0)


@pytest.fixture
async def leyr(settings: SimulatorSettings) -> AsyncIterator[httpx.AsyncClient]:
    """An authorised client of a fresh simulator."""
    transport = httpx.ASGITransport(create_simulator(settings))
    async with httpx.AsyncClient(transport=transport, base_url="http://leyr.test", headers=CREDENTIALS) as client:
        yield client


@pytest.fixture
def segment() -> Callable[[str], str]:
    """Encode an id as one path segment."""
    return lambda text: quote(text, safe="")


@pytest.fixture
def window() -> dict[str, str]:
    """A window that holds every simulated slot."""
    return {"start": "2026-03-01T00:00:00+01:00", "end": "2026-06-01T00:00:00+02:00"}


@contextmanager
def serving(app: ASGIApp, http: Literal["httptools", "h11"] = "httptools") -> Iterator[str]:
    """Serve a simulator by uvicorn; gives its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=http, ws="none", log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(5)


@pytest.fixture(scope="module", params=["httptools", "h11"])
def served(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a simulator behind uvicorn, once for each of its HTTP parsers."""
    with serving(create_simulator(SimulatorSettings(today=TODAY, latency_ms=0)), request.param) as url:
        yield url


@pytest.fixture(scope="module")
def time_of_tests() -> TimeOfTests:
    return TimeOfTests()


@pytest.fixture(scope="module")
def served_bookings(time_of_tests: TimeOfTests) -> Iterator[str]:
    """The address of a simulator whose clock the tests move."""
    settings = SimulatorSettings(today=TODAY, latency_ms=0)
    with serving(create_simulator(settings, clock=time_of_tests, now=time_of_tests.now)) as url:
        yield url


@pytest.fixture
def bookings(served_bookings: str, time_of_tests: TimeOfTests) -> Iterator[BookingClient]:
    """A client over real HTTP of a simulator in which nothing is booked."""
    time_of_tests.seconds = 0
    with httpx.Client(base_url=served_bookings, headers=CREDENTIALS, timeout=30) as http:
        http.post("/__reset").raise_for_status()
        yield BookingClient(http)
