"""A simulator and gateways over real HTTP, for every test that needs them."""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import StringIO
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, settings

from gateway.app import create_app
from gateway.http.csrf import Origins
from gateway.http_client.pool import HttpClientFactory
from gateway.server.serving import listening_socket, serve_in_thread
from gateway.settings import Settings
from gateway.simulator import SimulatorSettings, create_simulator
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.traces import Traces
from tests.harness import (
    CLIENT_ID,
    CLIENT_SECRET,
    ERROR_BODY,
    NOW,
    TODAY,
    Clock,
    Gateway,
    Simulator,
    leyr_settings,
    no_certificates,
)


def pytest_configure() -> None:
    """Let no example of Hypothesis fail for its time, which says nothing on a machine that does other things too.

    CI tries the same examples each time, so that it judges the change alone; elsewhere each run tries new ones.
    """
    settings.register_profile(
        "patient",
        deadline=None,
        derandomize="CI" in os.environ,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("patient")


# What takes a minute and more comes first, so that no process is left with it when the others have ended.
LONG_FILES = (
    "test_access.py", "test_callers_apart.py", "test_storm.py", "test_default_limits.py", "test_packaging.py",
    "test_booking_page.py", "test_step_sizes.py", "test_memory.py", "test_upstream_cost.py",
    "test_availability.py", "test_canary.py", "test_charges.py", "test_graceful_shutdown.py", "test_collector.py",
    "test_generated_queries.py", "test_smoke.py", "test_commands.py", "test_read_order.py", "test_partial_answers.py",
    "test_fleet.py", "test_store_failures.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of long files first; the others keep their order."""
    rank = {name: place for place, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


def pytest_collection_finish() -> None:
    """Spare the garbage collector thousands of tests: it would look at all of them, time and again, in every test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _earlier_modules() -> None:
    """Free what earlier modules left, and spare the garbage collector the rest of it, as it is spared the tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def simulator_server() -> Iterator[Simulator]:
    settings = SimulatorSettings(today=TODAY, latency_ms=0, client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
    with (
        serve_in_thread(create_simulator(settings, now=NOW.timestamp), listening_socket("127.0.0.1", 0)) as url,
        httpx.Client(base_url=url, timeout=30, verify=no_certificates()) as http,
    ):
        yield Simulator(url, settings.emrs, http)


@pytest.fixture
def simulator(simulator_server: Simulator) -> Iterator[Simulator]:
    simulator_server.forget()
    yield simulator_server
    simulator_server.forget()


@pytest.fixture
def serve_gateway(simulator: Simulator) -> Iterator[Callable[..., Gateway]]:
    """Start gateways on the simulator, each with settings of its own; `now` stands still, or is a clock's."""
    with ExitStack() as stack:

        def start(
            *,
            notice: str = "",
            clock: Clock | None = None,
            connections: HttpClientFactory | None = None,
            traces: Traces | None = None,
            **settings: Any,
        ) -> Gateway:
            given: dict[str, Any] = {
                **leyr_settings(simulator.url, simulator.emrs),
                # Most tests change what upstream says from one query to the next; those of the caches turn them on.
                "gateway_cache_catalog_seconds": 0,
                "gateway_cache_timeslots_seconds": 0,
                **settings,
            }
            log = StringIO()
            time: dict[str, Any] = {"now": lambda: NOW} if clock is None else {"now": clock.now, "clock": clock}
            checked = Settings(**given)
            metrics = Metrics(checked.leyr_emrs)
            told: dict[str, Any] = {"log_to": log, "metrics": metrics, "traces": traces}
            app = create_app(checked, **time, **told, connections=connections, notice=notice)
            wire: dict[str, Any] = {
                "error_body": ERROR_BODY,
                "error_headers": Origins(checked.gateway_cors_origins).headers,
            }
            url = stack.enter_context(serve_in_thread(app, listening_socket("127.0.0.1", 0), **wire))
            http = stack.enter_context(httpx.Client(base_url=url, timeout=30, verify=no_certificates()))
            return Gateway(url, http, log, metrics)

        yield start


@pytest.fixture
def gateway(serve_gateway: Callable[..., Gateway]) -> Gateway:
    return serve_gateway()
