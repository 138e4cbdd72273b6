"""A simulator in memory for most tests, and one behind a real uvicorn for what only a socket shows."""

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import date
from urllib.parse import quote

import httpx
import pytest
import uvicorn

from gateway.simulator import SimulatorSettings, create_simulator

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


@pytest.fixture(scope="module", params=["httptools", "h11"])
def served(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a simulator behind uvicorn, once for each of its HTTP parsers."""
    app = create_simulator(SimulatorSettings(today=TODAY, latency_ms=0))
    config = uvicorn.Config(app, port=0, http=request.param, ws="none", log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(5)
