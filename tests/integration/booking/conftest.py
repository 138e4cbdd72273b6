"""A simulator whose clock the tests move, so that a late write lands when they say so."""

from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.server.serving import listening_socket, serve_in_thread
from gateway.simulator import SimulatorSettings, create_simulator
from tests.harness import CLIENT_ID, CLIENT_SECRET, NOW, TODAY, Clock, Gateway, Simulator, no_certificates
from tests.integration.booking.ehr import SimulatorClock
from tests.integration.booking.page import Page

BOOKING_SECRET = "a secret of the tests' own for bookings"
Serve = Callable[..., Gateway]


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


@pytest.fixture
def clock() -> Clock:
    """The gateway's time, which a test moves on to where no call can land any more."""
    return Clock()


@pytest.fixture
def journal(tmp_path: Path) -> dict[str, Any]:
    """The settings that say where the journal is; some tests have it in a store."""
    return {"gateway_journal": tmp_path / "journal.sqlite"}


@pytest.fixture
def serve_booking(serve_gateway: Serve, journal: dict[str, Any], tmp_path: Path) -> Serve:
    """Start gateways that book, with a journal that they share and a caller for each of two API keys."""
    keys = tmp_path / "keys.toml"
    keys.write_text("".join(map(_table, ("page", "other"))), encoding="utf-8")

    def start(**more: Any) -> Gateway:
        given: dict[str, Any] = {
            "gateway_auth": "api-keys",
            "gateway_api_keys": keys,
            **journal,
            "gateway_booking_secret": BOOKING_SECRET,
            **more,
        }
        return serve_gateway(**given)

    return start


@pytest.fixture
def page(serve_booking: Serve, clock: Clock) -> Page:
    return Page(serve_booking(clock=clock), {"authorization": f"Bearer {key_of('page')}"})


@pytest.fixture
def other(page: Page) -> Page:
    """Another caller of the same gateway."""
    return Page(page.gateway, {"authorization": f"Bearer {key_of('other')}"})


def key_of(caller: str) -> str:
    """The API key of a caller."""
    return f"key-of-the-caller-{caller}-0123456789"


def _table(caller: str) -> str:
    digest = sha256(key_of(caller).encode()).hexdigest()
    return (
        f'[{caller}]\nkey_sha256 = "{digest}"\nmay_book = true\nrate_per_second = 100000\nburst = 100000\n'
        'bookings_per_minute = 100000\npatient_by = ["leyr_id", "emr_id", "national_number", "details"]\n'
    )
