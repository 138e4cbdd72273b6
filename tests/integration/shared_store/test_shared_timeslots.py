"""Timeslots over several gateways that share a store: as one gateway would answer, with its calls."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import Any

import pytest

from tests.harness import CACHES_ON, Gateway, Simulator
from tests.stores import Store

ServeGateway = Callable[..., Gateway]
WEEK = """
query Week($start: DateTime!, $end: DateTime!) {
  careUnits(emr: "webdoc") { leyrId timeslots(start: $start, end: $end) { start resource { leyrId } } }
}
"""
FROM, TO = "2026-10-12T06:00:00Z", "2026-10-16T06:00:00Z"


@pytest.fixture
def fleet(store: Store, serve_gateway: ServeGateway) -> Callable[..., list[Gateway]]:
    def start(count: int, **settings: Any) -> list[Gateway]:
        gateways = [serve_gateway(**{**CACHES_ON, "gateway_shared_url": store.url, **settings}) for _ in range(count)]
        for each in gateways:
            is_up(each)
        return gateways

    return start


def is_up(gateway: Gateway) -> None:
    for _ in range(500):
        if any(line["event"] == "shared_store.up" for line in gateway.lines()):
            return
        sleep(0.01)
    raise AssertionError(gateway.lines())


def test_timeslots_asked_at_one_gateway_are_at_the_next_without_a_call(
    fleet: Callable[..., list[Gateway]], simulator: Simulator
) -> None:
    first, second = fleet(2)
    variables = {"start": FROM, "end": TO}

    answer = first.data(WEEK, **variables)
    sleep(0.1)
    calls = simulator.count()
    again = second.data(WEEK, **variables)

    assert again == answer
    assert calls["timeslots"] > 0
    assert simulator.count()["timeslots"] == calls["timeslots"]


def test_timeslots_asked_at_four_gateways_at_once_take_the_calls_of_one(
    fleet: Callable[..., list[Gateway]], simulator: Simulator
) -> None:
    gateways = fleet(4)
    simulator.behaviour("webdoc", latency_ms=200)
    variables = {"start": FROM, "end": TO}

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda each: each.data(WEEK, **variables), gateways))

    assert all(each == answers[0] for each in answers)
    assert simulator.count()["timeslots"] == len(answers[0]["careUnits"])


def test_all_gateways_say_the_same_instants_of_timeslots_though_their_clocks_differ(
    fleet: Callable[..., list[Gateway]], simulator: Simulator
) -> None:
    """The gateways' time of day stands still from their first request on, so that each takes another one for now."""
    first, second = fleet(2)
    query = """query($start: DateTime!, $end: DateTime!) {
      careUnits(emr: "webdoc") { availability(range: {instants: {start: $start, end: $end}}) { asOf } }
    }"""
    variables = {"start": FROM, "end": TO}

    def instants(gateway: Gateway) -> Any:
        answer = gateway.ask(query, **variables)
        assert "errors" not in answer
        return answer["data"], answer["extensions"]

    first.ask(query, **variables)
    sleep(0.1)
    second.ask("{ emrs { code } }")
    calls = simulator.count()

    assert instants(second) == instants(first)
    assert simulator.count() == calls
