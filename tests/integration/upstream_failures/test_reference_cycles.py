"""The objects of a request are freed at once, without the cycle collector."""

import gc
from collections.abc import Callable, Iterator
from time import sleep
from typing import Any, TypeAlias

import pytest

from gateway.domain.errors import GatewayError
from gateway.fetch.fetch_scope import FetchScope
from gateway.fetch.single_flight import SharedCall
from gateway.http.request_context import RequestTimeout
from tests.harness import Gateway, Simulator

OF_A_REQUEST = (RequestTimeout, FetchScope, SharedCall, GatewayError)
WINDOW = {"start": "2026-10-13T06:00:00Z", "end": "2026-10-13T16:00:00Z"}
QUERY = """
query($start: DateTime!, $end: DateTime!) {
  careUnits(emr: "webdoc") {
    timeslots(start: $start, end: $end) { start }
    resources { name timeslots(start: $start, end: $end) { start } }
  }
}
"""


Left: TypeAlias = Callable[[], list[Any]]


@pytest.fixture
def left() -> Iterator[Left]:
    """The objects of requests that were not there before; the collector is off meanwhile."""
    gc.disable()
    # What is frozen is not listed: looking at all that a run of the suite has made would take most of a second.
    gc.collect()
    gc.freeze()
    yield of_requests
    gc.unfreeze()
    gc.enable()


def of_requests() -> list[Any]:
    return [each for each in gc.get_objects() if issubclass(type(each), OF_A_REQUEST)]


def after_a_while(gateway: Gateway, left: Left) -> list[Any]:
    """The objects that are left when the gateway has finished its work after the answers."""
    for _ in range(500):
        gateway.http.get("/livez")
        if not left():
            break
        sleep(0.01)
    return left()


def test_request_that_waited_leaves_no_reference_cycle(
    left: Left, serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway()
    # Longer than it takes until somebody looks whether the client has left.
    simulator.behaviour("webdoc", latency_ms=80, latency_jitter=0)

    for _ in range(20):
        gateway.data("{ careUnits { name } }")

    assert after_a_while(gateway, left) == []


@pytest.mark.parametrize("endpoint", ["care_units", "resources", "timeslots"])
@pytest.mark.parametrize(
    "fault", ["hang", "cut", "html_200", "service_unavailable", "too_many_requests", "emr_error_500"]
)
def test_request_that_failed_leaves_no_reference_cycle(
    fault: str, endpoint: str, left: Left, serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway(gateway_deadline_seconds=0.3, gateway_call_seconds=0.6)
    simulator.fault(fault, endpoint=endpoint, emr="webdoc")

    answers = [gateway.ask(QUERY, **WINDOW) for _ in range(3)]

    assert all(each["errors"] for each in answers)
    assert after_a_while(gateway, left) == []
