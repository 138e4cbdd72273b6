"""Gateways that share a store, over HTTP: lists are called for once, first answers take no call, instants are equal."""

import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

import httpx
import pytest

from gateway.domain.ids import care_unit_id
from gateway.domain.models import CareUnitKey
from tests.harness import CACHES_ON, PATIENT, Gateway, Simulator
from tests.stores import Store, running_store

UNIT = care_unit_id(CareUnitKey("webdoc", "L0_1"))
QUERY = f'{{ careUnit(id: "{UNIT}") {{ name resources {{ name }} healthcareServices {{ name }} }} }}'
LISTS = {"care_units": 1, "resources": 1, "healthcare_services": 1}
EXPLAIN = {"x-gateway-explain": "1"}

Start = Callable[[int], list[Gateway]]


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with running_store() as running:
        yield running


def joined(serve_gateway: Callable[..., Gateway], store: Store, count: int, **settings: Any) -> list[Gateway]:
    """So many gateways whose store is up."""
    given = {**CACHES_ON, **PATIENT, "gateway_shared_url": store.url, **settings}
    gateways = [serve_gateway(**given) for _ in range(count)]
    until = monotonic() + 20
    while not all(each.gauge("gateway_shared_store_up") for each in gateways):
        assert monotonic() < until
        sleep(0.01)
    return gateways


@pytest.fixture
def start(serve_gateway: Callable[..., Gateway], store: Store) -> Start:
    """Starts gateways that share what nobody else shares."""
    prefix = f"{uuid4()}:"
    return lambda count: joined(serve_gateway, store, count, gateway_shared_prefix=prefix)


def ask(gateway: Gateway, query: str = QUERY) -> httpx.Response:
    response = gateway.http.post("/graphql", json={"query": query}, headers=EXPLAIN)
    assert "errors" not in response.json(), response.text
    return response


def ask_all(gateways: Sequence[Gateway], *, times: int = 1) -> list[httpx.Response]:
    """The answers of gateways that are asked at the same time."""
    with ThreadPoolExecutor(len(gateways) * times) as threads:
        return list(threads.map(ask, [*gateways] * times))


def report(response: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = response.json()["extensions"]["gateway"]
    return found


def test_gateways_that_are_asked_at_the_same_time_call_once_for_each_list(start: Start, simulator: Simulator) -> None:
    gateways = start(3)
    simulator.fault("delay", seconds=0.5, times=3)

    answers = ask_all(gateways, times=2)

    assert simulator.count() == LISTS
    assert len({str(each.json()["data"]) for each in answers}) == 1
    assert len({report(each)["catalogAsOf"] for each in answers}) == 1
    origins = Counter[str]()
    for each in answers:
        origins.update({name: report(each)[name] for name in ("fetched", "joined", "shared", "cached", "stale")})
    assert origins["fetched"] == 3
    assert origins["shared"] == 6
    assert origins.total() == 18


def test_a_new_gateways_first_answer_takes_no_call_and_has_the_same_instant_and_etag(
    start: Start, simulator: Simulator
) -> None:
    (first,) = start(1)
    fetched = ask(first)
    sleep(0.3)
    (second,) = start(1)

    shared = ask(second)

    assert simulator.count() == LISTS
    assert (report(shared)["shared"], report(shared)["planned"]) == (3, 3)
    assert report(shared)["catalogAsOf"] == report(fetched)["catalogAsOf"]
    assert report(shared)["ageSeconds"] >= 0.3
    assert second.gauge("gateway_reads_total") == 3
    asked, own = {"query": QUERY}, {"x-requested-with": "test"}
    tags = [each.http.get("/graphql", params=asked, headers=own).headers["etag"] for each in (first, second)]
    assert tags[0] == tags[1]
    assert second.http.get("/graphql", params=asked, headers={**own, "if-none-match": tags[0]}).status_code == 304
    assert simulator.count() == LISTS


def test_answers_of_free_times_have_equal_instants_and_etags(start: Start, simulator: Simulator) -> None:
    days = "availability(range: { days: { count: 7 } }) { asOf days { date timeslotCount } }"
    query = f'{{ careUnit(id: "{UNIT}") {{ name {days} }} }}'
    gateways = start(3)

    answers = [ask(each, query) for each in gateways]

    assert simulator.count()["timeslots"] == 1
    assert len({report(each)["timeslotsAsOf"] for each in answers}) == 1
    assert len({str(each.json()["data"]) for each in answers}) == 1
    asked, own = {"query": query}, {"x-requested-with": "test"}
    assert len({each.http.get("/graphql", params=asked, headers=own).headers["etag"] for each in gateways}) == 1


def test_no_cache_calls_anew_and_the_others_give_what_it_brought(start: Start, simulator: Simulator) -> None:
    gateways = start(2)
    ask_all(gateways)
    body = {"query": QUERY}
    anew = gateways[0].http.post("/graphql", json=body, headers={**EXPLAIN, "cache-control": "no-cache"})

    assert report(anew)["fetched"] == 3
    assert simulator.count().total() == 6
    until = monotonic() + 10
    while report(ask(gateways[1]))["catalogAsOf"] != report(anew)["catalogAsOf"]:
        assert monotonic() < until
    assert simulator.count().total() == 6


def test_a_call_that_fails_at_one_gateway_fails_no_request_of_another(start: Start, simulator: Simulator) -> None:
    gateways = start(3)
    simulator.fault("unknown_error", endpoint="resources", times=1)

    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(lambda each: each.ask(QUERY), gateways))

    # The one whose call failed says so, or nobody does where it was tried again.
    assert sum("errors" in each for each in answers) <= 1
    assert simulator.count()["resources"] <= 2


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_store_that_goes_away_in_the_middle_delays_no_answer(
    number: signal.Signals, serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    with running_store() as store:
        gateways = joined(serve_gateway, store, 3)
        simulator.fault("delay", seconds=1, times=9)
        with ThreadPoolExecutor(3) as threads:
            asked = [threads.submit(ask, each) for each in gateways]
            while simulator.count().total() < 3:
                sleep(0.01)
            store.signal(number)
            answers = [each.result() for each in asked]

        assert len({str(each.json()["data"]) for each in answers}) == 1
        # The care units had landed before.
        assert sum(report(each)["fetched"] for each in answers) == simulator.count().total() == 7
        assert simulator.count().total() <= 9
        # And after that each is alone.
        assert [report(ask(each))["cached"] for each in gateways] == [3, 3, 3]


def test_nothing_of_a_list_is_to_be_seen_in_the_store(start: Start, store: Store) -> None:
    (gateway,) = start(1)
    answer = ask(gateway).json()["data"]["careUnit"]
    sleep(0.2)
    names = [answer["name"], *(each["name"] for each in answer["resources"]), "webdoc", "L0_1", "care_units"]
    found = b""
    for key in store.command("KEYS", "*").split(b"\r\n"):
        if b":" in key:
            found += key + store.command("GET", key.decode()) + store.command("XRANGE", key.decode(), "-", "+")

    assert b":value:" in found
    assert [each for each in names if each.encode() in found] == []
