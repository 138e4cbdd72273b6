"""A gateway as it ships, under attack: one for all cases of a module, unharmed after each."""

import logging
from collections.abc import Iterator
from io import StringIO
from typing import Any

import httpx
import pytest

from gateway.app import create_app
from gateway.server.serving import listening_socket, serve_in_thread
from gateway.settings import Settings
from tests.harness import CLIENT_ID, CLIENT_SECRET, ERROR_BODY, NOW, Gateway, Simulator


@pytest.fixture(scope="module")
def closed_gateway(simulator_server: Simulator) -> Iterator[Gateway]:
    """A gateway with the limits and caches that it has unless told otherwise; introspection and GraphiQL are off."""
    given: dict[str, Any] = {
        "leyr_base_url": f"{simulator_server.url}/api",
        "leyr_client_id": CLIENT_ID,
        "leyr_client_secret": CLIENT_SECRET,
        "leyr_emrs": simulator_server.emrs,
    }
    log = StringIO()
    app = create_app(Settings(**given), now=lambda: NOW, log_to=log)
    with (
        serve_in_thread(app, listening_socket("127.0.0.1", 0), error_body=ERROR_BODY) as url,
        httpx.Client(base_url=url, timeout=30) as http,
    ):
        yield Gateway(url, http, log)


@pytest.fixture
def target(closed_gateway: Gateway, caplog: pytest.LogCaptureFixture) -> Iterator[Gateway]:
    """The gateway to attack; a test fails where it harmed it."""
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
