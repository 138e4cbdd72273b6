"""The deadline of a request: data in time are delivered, the rest are errors, and abandoned calls are cancelled."""

import socket
import time
from collections.abc import Callable

import httpx
import pytest

from tests.harness import PATIENT, Gateway, Simulator

GRAPH = "{ careUnits { leyrId resources { leyrId } timeslots { start } } }"
WAITED = 20.0


def until(holds: Callable[[], bool], seconds: float) -> bool:
    """Whether a condition becomes true within so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.01)
    return holds()


def test_data_that_came_before_the_deadline_is_delivered(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway(gateway_deadline_seconds=2)
    simulator.fault("hang", endpoint="timeslots", path="/api/emrs/webdoc/care-units/L0_1/timeslots")

    began = time.monotonic()
    answer = gateway.ask(GRAPH)
    took = time.monotonic() - began

    sick, *healthy = sorted(answer["data"]["careUnits"], key=lambda unit: unit["leyrId"] != "L0_1")
    assert sick["timeslots"] is None
    assert sick["resources"]
    assert all(unit["timeslots"] for unit in healthy)
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["DEADLINE_EXCEEDED"]
    assert answer["errors"][0]["extensions"]["retryable"] is True
    assert 1.9 < took < WAITED


@pytest.mark.parametrize(
    ("header", "deadline", "status"),
    [("0.2", 60, 200), ("60", 1, 200), ("soon", 1, 400), ("-1", 1, 400), ("1e3", 1, 400)],
)
def test_deadline_header_shortens_but_never_extends_the_deadline(
    header: str, deadline: float, status: int, serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway(gateway_deadline_seconds=deadline, gateway_attempt_seconds=deadline)
    simulator.fault("hang", endpoint="care_units")

    began = time.monotonic()
    response = gateway.http.post("/graphql", json={"query": GRAPH}, headers={"x-gateway-deadline": header})
    took = time.monotonic() - began

    assert response.status_code == status
    if status == 200:
        assert response.json()["data"] == {"careUnits": None}
        # The shorter of the two decides, and the other is a minute.
        assert 0.9 * min(float(header), deadline) < took < WAITED


def test_no_upstream_call_begins_after_the_deadline(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway(gateway_deadline_seconds=1)
    simulator.behaviour("webdoc", latency_ms=1_300, latency_jitter=0)

    answer = gateway.ask(GRAPH)
    assert simulator.arrived(1) == {"care_units": 1}
    assert until(lambda: simulator.calls()[0]["ended_at"] is not None, WAITED)
    gateway.settle()

    assert answer["data"] == {"careUnits": None}
    assert simulator.count() == {"care_units": 1}


def test_upstream_call_is_cancelled_when_its_client_disconnects(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway(**PATIENT)
    simulator.fault("hang", endpoint="care_units")
    address = httpx.URL(gateway.url)
    body = b'{"query": "{ careUnits { name } }"}'
    with socket.create_connection((address.host, address.port or 80)) as client:
        client.sendall(
            b"POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )
        assert simulator.arrived(1) == {"care_units": 1}

    # Far sooner than the call would end by itself.
    assert until(lambda: '"outcome":"left"' in gateway.log.getvalue(), WAITED)
    assert until(lambda: simulator.calls()[0]["ended_at"] is not None, WAITED)
    assert simulator.count() == {"care_units": 1}


def test_request_after_a_disconnected_client_is_answered(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway()
    simulator.behaviour("webdoc", latency_ms=600, latency_jitter=0)
    with httpx.Client(base_url=gateway.url, timeout=0.2) as impatient, pytest.raises(httpx.ReadTimeout):
        impatient.post("/graphql", json={"query": "{ careUnits { name } }"})

    assert len(gateway.data("{ careUnits { name } }")["careUnits"]) == 4
