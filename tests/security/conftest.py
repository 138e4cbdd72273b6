"""A gateway with default settings to attack: one for all cases of a module, checked for harm after each."""

import logging
from collections.abc import Iterator
from io import StringIO
from typing import Any

import httpx
import pytest

from gateway.app import create_app
from gateway.server.serving import listening_socket, serve_in_thread
from gateway.settings import Settings
from tests.harness import ERROR_BODY, NOW, Gateway, Simulator, leyr_settings


@pytest.fixture(scope="module")
def closed_gateway(simulator_server: Simulator) -> Iterator[Gateway]:
    """A gateway with default limits and caches, where everybody may book; introspection and GraphiQL are off."""
    kinds = ("leyr_id", "emr_id", "national_number", "details")
    booking: dict[str, Any] = {"gateway_anonymous_booking": True, "gateway_anonymous_patient_by": kinds}
    settings = Settings(**leyr_settings(simulator_server.url, simulator_server.emrs), **booking)
    log = StringIO()
    app = create_app(settings, now=lambda: NOW, log_to=log)
    with (
        serve_in_thread(app, listening_socket("127.0.0.1", 0), error_body=ERROR_BODY) as url,
        httpx.Client(base_url=url, timeout=30) as http,
    ):
        yield Gateway(url, http, log)


@pytest.fixture
def target(closed_gateway: Gateway, caplog: pytest.LogCaptureFixture) -> Iterator[Gateway]:
    """The gateway to attack; the test fails if it logged an internal error or does not answer afterwards."""
    start = len(closed_gateway.log.getvalue())
    server_log = logging.getLogger("uvicorn.error")
    server_log.addHandler(caplog.handler)
    try:
        yield closed_gateway
    finally:
        server_log.removeHandler(caplog.handler)
    assert closed_gateway.data("{ careUnits { resources { id } } }")["careUnits"]
    log = closed_gateway.log.getvalue()[start:]
    assert [word for word in ("INTERNAL", "Traceback", '"level":"error"', '"level":"critical"') if word in log] == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info] == []
