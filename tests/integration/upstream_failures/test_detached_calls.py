"""A call that is too slow for those who ask goes on for those who ask next, within bounds."""

import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from gateway.domain.ids import care_unit_id
from gateway.domain.models import CareUnitKey
from tests.harness import CACHES_ON, Gateway, Simulator
from tests.integration.upstream_failures.test_deadline import WAITED, until

UNIT = care_unit_id(CareUnitKey("webdoc", "L0_1"))
WINDOW = 'start: "2026-10-13T06:00:00Z", end: "2026-10-13T16:00:00Z"'
SLOTS = f'{{ careUnit(id: "{UNIT}") {{ timeslots({WINDOW}) {{ start }} }} }}'
UNITS = "{ careUnits { name } }"
ENDPOINTS = pytest.mark.parametrize(
    ("endpoint", "query"), [("timeslots", SLOTS), ("care_units", UNITS)], ids=["timeslots", "list"]
)


def ask(gateway: Gateway, query: str, seconds: float | None = None, *, no_cache: bool = False) -> dict[str, Any]:
    """The answer to a query that waits for so many seconds, or for the gateway's deadline."""
    headers = {"cache-control": "no-cache"} if no_cache else {}
    if seconds is not None:
        headers["x-gateway-deadline"] = str(seconds)
    found: dict[str, Any] = gateway.http.post("/graphql", json={"query": query}, headers=headers).json()
    return found


def codes(answer: dict[str, Any]) -> list[str]:
    return [error["extensions"]["code"] for error in answer.get("errors", ())]


def ended(simulator: Simulator, call: int = -1) -> bool:
    return simulator.calls()[call]["ended_at"] is not None


@contextmanager
def waiting_client(gateway: Gateway, query: str) -> Iterator[None]:
    """A client that disconnects at the end of the block, before it has its answer."""
    address, body = httpx.URL(gateway.url), json.dumps({"query": query}).encode()
    head = "POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: "
    left = gateway.log.getvalue().count('"outcome":"left"')
    with socket.create_connection((address.host, address.port or 80)) as client:
        client.sendall(f"{head}{len(body)}\r\n\r\n".encode() + body)
        yield
    assert until(lambda: gateway.log.getvalue().count('"outcome":"left"') > left, WAITED)


@ENDPOINTS
def test_the_next_request_joins_a_call_that_was_too_slow_for_the_first(
    endpoint: str, query: str, serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway()
    simulator.fault("delay", endpoint=endpoint, seconds=0.8)

    assert codes(ask(gateway, query, 0.2)) == ["DEADLINE_EXCEEDED"]
    assert codes(ask(gateway, query, 0.2)) == ["DEADLINE_EXCEEDED"]
    answer = ask(gateway, query)

    assert codes(answer) == []
    assert answer["data"]
    assert simulator.count()[endpoint] == 1


@ENDPOINTS
def test_the_answer_of_a_call_that_nobody_waited_for_is_remembered(
    endpoint: str, query: str, serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway(**CACHES_ON)
    simulator.fault("delay", endpoint=endpoint, seconds=0.5)
    assert codes(ask(gateway, query, 0.2)) == ["DEADLINE_EXCEEDED"]
    gateway.settle()

    assert codes(ask(gateway, query)) == []

    assert simulator.count()[endpoint] == 1


@ENDPOINTS
def test_a_call_ends_with_the_client_that_leaves(
    endpoint: str, query: str, serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway(gateway_deadline_seconds=60, gateway_attempt_seconds=60)
    simulator.fault("hang", endpoint=endpoint)

    with waiting_client(gateway, query):
        assert until(lambda: simulator.count()[endpoint] == 1, WAITED)

    assert until(lambda: ended(simulator), WAITED)


@pytest.mark.parametrize("leaves_first", [True, False])
def test_a_call_goes_on_where_one_client_left_and_the_time_of_another_was_over(
    leaves_first: bool, serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway()
    # Longer than a client that has closed its side, as one that leaves does, is given to read an answer.
    simulator.fault("delay", endpoint="timeslots", seconds=4)

    with ThreadPoolExecutor() as pool, waiting_client(gateway, SLOTS):
        assert until(lambda: simulator.count()["timeslots"] == 1, WAITED)
        other = pool.submit(ask, gateway, SLOTS, 0.8 if leaves_first else 0.2)
        if leaves_first:
            assert until(lambda: gateway.gauge("gateway_requests_inside") == 2, WAITED)
        else:
            other.result()
    assert codes(other.result()) == ["DEADLINE_EXCEEDED"]

    assert codes(ask(gateway, SLOTS)) == []
    assert simulator.count()["timeslots"] == 1


def test_a_no_cache_request_does_not_join_a_call_that_began_before_it(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway()
    simulator.fault("hang", endpoint="timeslots", times=1)
    assert codes(ask(gateway, SLOTS, 0.2)) == ["DEADLINE_EXCEEDED"]

    assert codes(ask(gateway, SLOTS, no_cache=True)) == []

    assert simulator.count()["timeslots"] == 2


def test_a_call_ends_after_its_own_longest_time(serve_gateway: Callable[..., Gateway], simulator: Simulator) -> None:
    gateway = serve_gateway(gateway_deadline_seconds=0.2, gateway_call_seconds=0.6)
    simulator.fault("hang", endpoint="timeslots")

    assert codes(ask(gateway, SLOTS)) == ["DEADLINE_EXCEEDED"]

    assert until(lambda: ended(simulator), WAITED)
    gateway.settle()
    assert simulator.count()["timeslots"] == 1
    assert '"request.fault"' not in gateway.log.getvalue()


def test_a_quarter_of_an_ehrs_calls_goes_on_and_gives_way_to_those_who_wait(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway(gateway_calls_per_ehr=8)
    simulator.fault("hang", endpoint="care_units", emr="webdoc", times=8)
    for _ in range(8):
        ask(gateway, UNITS, 0.1, no_cache=True)
    in_flight = "gateway_gate_in_flight"

    assert until(lambda: gateway.gauge(in_flight) == 2, WAITED)

    # A single permit, and a call that nobody waits for holds it.
    alone = serve_gateway(gateway_calls_per_ehr=1)
    simulator.forget()
    simulator.fault("hang", endpoint="care_units", times=1)
    assert codes(ask(alone, UNITS, 0.2)) == ["DEADLINE_EXCEEDED"]
    assert alone.gauge(in_flight) == 1
    assert codes(ask(alone, UNITS, no_cache=True)) == []
    assert until(lambda: ended(simulator, 0), WAITED)


def test_an_ehr_that_is_slower_than_attempts_answers_each_question_by_one_call(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway(gateway_attempt_seconds=0.1)
    simulator.fault("delay", endpoint="timeslots", seconds=0.2)

    for count in range(1, 13):
        assert codes(ask(gateway, SLOTS)) == []
        assert simulator.count()["timeslots"] == count

    assert "breaker" not in gateway.log.getvalue()


def test_lists_that_are_slower_than_attempts_come_to_those_who_ask_again(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway(gateway_attempt_seconds=0.1)
    simulator.fault("delay", endpoint="care_units", seconds=0.5)

    # Each of them waits twice as long as the one before.
    outcomes = [codes(ask(gateway, UNITS)) for _ in range(8)]

    assert outcomes[0] == ["DEADLINE_EXCEEDED"]
    assert outcomes[-1] == []
    assert "breaker" not in gateway.log.getvalue()


def test_an_ehr_that_hangs_for_timeslots_opens_its_breaker_as_soon_as_its_calls_are_slow(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway(gateway_attempt_seconds=0.2, gateway_calls_per_ehr=16, **CACHES_ON)
    gateway.data(UNITS)
    simulator.fault("hang", endpoint="timeslots")
    window = '(start: "2026-10-%dT06:00:00Z", end: "2026-10-%dT16:00:00Z")'

    for day in range(13, 18):
        ask(gateway, f"{{ careUnits {{ timeslots{window % (day, day)} {{ start }} }} }}", 0.4)

    assert '"upstream.breaker_opened"' in gateway.log.getvalue()
    # Half of ten calls, each one of four care units.
    assert simulator.count()["timeslots"] <= 12
    assert gateway.gauge("gateway_gate_in_flight") <= 16 // 4
