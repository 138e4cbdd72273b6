"""Several gateways behind nginx that share a store are one gateway: to Leyr, and to their clients."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from random import Random
from time import monotonic
from typing import Any

import httpx
import pytest

from tests.harness import Simulator
from tests.integration.booking.page import TOLVAN, new_key
from tests.integration.fleet.conftest import (
    AVAILABILITY,
    LIMITED,
    Client,
    Fleet,
    Start,
    at_once,
    key_of,
    midnight,
    serves,
    shared_with,
    until,
)
from tests.stores import Store

MOST_CALLS = 1.3
MOST_GRANTED, SECONDS_OF_RATE = 1.2, 4
REQUESTS, CLIENTS = 120, 4
MONTH = (1, 31)
BOOK = """mutation($input: BookAppointmentInput!) {
  bookAppointment(input: $input) { __typename ... on BookingFailure { reason } }
}"""
SHORT = """query($unit: ID!, $start: DateTime!, $end: DateTime!) {
  careUnit(id: $unit) { timeslots(start: $start, end: $end) { id } }
}"""


def storm(client: Client, units: Sequence[str], requests: int = REQUESTS) -> list[Any]:
    """What a page got of care units and windows that came in any order; one of ten readers wants it anew."""
    chance = Random(7)  # noqa: S311 # the cases of a test
    work: list[Callable[[], Any]] = []
    for _ in range(requests):
        unit, first = chance.choice(units), chance.randrange(1, 20)
        anew = {"cache-control": "no-cache"} if chance.random() < 0.1 else {}
        work.append(partial(client.page, unit, (first, first + 7), **anew))
    return at_once(work, CLIENTS)


def without_instants(answers: Sequence[Any]) -> list[Any]:
    """Answers, without when they were read."""
    for each in answers:
        assert each["availability"].pop("asOf")
    return list(answers)


def test_a_storm_over_all_processes_takes_the_calls_and_gives_the_answers_of_one(
    fleet: Fleet, simulator: Simulator
) -> None:
    units = [unit for emr in ("webdoc", "physica") for unit in fleet.alone.units(emr)]
    simulator.http.post("/__reset")

    expected = without_instants(storm(fleet.alone, units))
    calls_of_one = simulator.count().total()
    simulator.http.post("/__reset")
    answers = without_instants(storm(fleet.nginx, units))
    calls = simulator.count().total()

    assert answers == expected
    assert calls_of_one > len(units)
    assert calls <= MOST_CALLS * calls_of_one, (calls, calls_of_one)


def test_workers_of_one_port_that_share_take_the_calls_of_one(
    fleet: Fleet, start: Start, store: Store, simulator: Simulator
) -> None:
    workers = serves(start("--workers", "3", **shared_with(store)))
    until(lambda: len(workers.serving.lines("shared_store.up")) == 3)
    units = fleet.alone.units("pridok")
    simulator.http.post("/__reset")

    expected = without_instants(storm(fleet.alone, units, REQUESTS // 2))
    calls_of_one = simulator.count().total()
    simulator.http.post("/__reset")
    answers = without_instants(storm(workers.client, units, REQUESTS // 2))

    assert answers == expected
    assert simulator.count().total() <= MOST_CALLS * calls_of_one
    assert len({line["worker"] for line in workers.serving.lines("operation.answered")}) > 1


def page_by_get(client: Client, unit: str, **headers: str) -> httpx.Response:
    variables = f'{{"unit": "{unit}", "start": "{midnight(1)}", "end": "{midnight(31)}"}}'
    params = {"query": AVAILABILITY, "variables": variables}
    own = {**key_of(client.caller), "x-requested-with": "test", **headers}
    return client.http.get("/graphql", params=params, headers=own)


def test_all_processes_say_the_same_instants_and_entity_tags(fleet: Fleet, simulator: Simulator) -> None:
    (unit, *_) = fleet.nginx.units("kaddio")

    first = page_by_get(fleet.nginx, unit)
    calls = simulator.count()
    answers = [page_by_get(each, unit) for each in fleet.clients]

    assert len({each.json()["data"]["careUnit"]["availability"]["asOf"] for each in answers}) == 1
    assert len({str(each.json()["extensions"]) for each in answers}) == 1
    assert {each.headers["etag"] for each in answers} == {first.headers["etag"]}
    assert {each.content for each in answers} == {first.content}
    again = [page_by_get(fleet.nginx, unit, **{"if-none-match": first.headers["etag"]}) for _ in range(8)]
    assert {each.status_code for each in again} == {304}
    assert len({each.headers["x-by"] for each in again}) == len(fleet.processes)
    assert simulator.count() == calls


def test_a_new_process_gives_its_first_answer_without_a_call(fleet: Fleet, start: Start, simulator: Simulator) -> None:
    (unit, *_) = fleet.nginx.units("cliniko")
    expected = fleet.nginx.page(unit, MONTH)
    new = serves(start(**fleet.shared))
    new.said("shared_store.up")
    calls = simulator.count()

    assert new.client.page(unit, MONTH) == expected
    assert simulator.count() == calls


def shown(fleet: Fleet, unit: str, slot: str) -> list[bool]:
    """Which processes show a time as free."""
    return [slot in ids(each.page(unit, MONTH)) for each in fleet.clients]


def book(client: Client, slot: str) -> None:
    wish = {"timeslotIds": [slot], "patient": TOLVAN, "idempotencyKey": new_key()}
    assert client.data(BOOK, input=wish)["bookAppointment"]["__typename"] == "AppointmentBooked"


def ids(page: Any) -> set[str]:
    return {each["id"] for each in page["timeslots"]}


@pytest.mark.parametrize(("is_slow", "emr"), [(False, "webdoc"), (True, "kaddio")])
def test_a_booking_at_one_process_is_seen_at_all_others_before_it_is_answered(
    fleet: Fleet, store: Store, simulator: Simulator, is_slow: bool, emr: str
) -> None:
    unit = fleet.nginx.units(emr)[1]
    before = at_once([partial(each.page, unit, MONTH) for each in fleet.clients], CLIENTS)
    for number, client in enumerate(fleet.clients):
        free = min(set.intersection(*map(ids, before)))
        if is_slow:
            # The server takes no write for so long, and tells nobody anything.
            store.command("CLIENT", "PAUSE", "500", "WRITE")
        book(client, free)
        others = [each for each in fleet.clients if each is not client]

        before = at_once([partial(each.page, unit, MONTH) for each in others], len(others))

        assert [number for each in before if free in ids(each)] == []
    assert simulator.count()["timeslots"] == 1


def test_what_one_process_reads_anew_is_heeded_by_what_the_others_remember(fleet: Fleet, simulator: Simulator) -> None:
    unit = fleet.nginx.units("webdoc")[2]
    (before, *_) = at_once([partial(each.page, unit, MONTH) for each in fleet.clients], CLIENTS)
    for client, slot in zip(fleet.clients, before["timeslots"][::20], strict=False):
        # Nobody tells the fleet of it.
        book(fleet.alone, slot["id"])
        window = {"start": slot["start"], "end": slot["end"]}
        anew = client.data(SHORT, headers={"cache-control": "no-cache"}, unit=unit, **window)

        assert slot["id"] not in {each["id"] for each in anew["careUnit"]["timeslots"]}
        assert shown(fleet, unit, slot["id"]) == [False] * len(fleet.clients)
    assert simulator.count()["timeslots"] == 1 + len(fleet.clients)


def by_hash(client: Client, document: str, *, registers: bool) -> httpx.Response:
    digest = sha256(document.encode()).hexdigest()
    body = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": digest}}}
    headers = {"content-type": "application/json", **key_of(client.caller)}
    return client.http.post("/graphql", json={**body, "query": document} if registers else body, headers=headers)


def test_documents_that_clients_register_are_missed_once_each(fleet: Fleet) -> None:
    def ask(document: str) -> int:
        """How often a client that asks by the hash first has to send a document."""
        misses = 0
        for _ in range(12):
            answer = by_hash(fleet.nginx, document, registers=False).json()
            if "errors" in answer:
                assert answer["errors"][0]["extensions"]["code"] == "PERSISTED_QUERY_NOT_FOUND"
                misses += 1
                answer = by_hash(fleet.nginx, document, registers=True).json()
            assert answer["data"] == {"emrs": [{"code": each} for each in fleet.emrs]}
        return misses

    documents = [f"query Client{number} {{ emrs {{ code }} }}" for number in range(20)]

    assert at_once([partial(ask, each) for each in documents], CLIENTS) == [1] * len(documents)


def test_all_processes_together_give_a_caller_its_rate(fleet: Fleet) -> None:
    client, (rate, burst) = replace(fleet.nginx, caller="limited"), LIMITED
    began = monotonic()

    def ask() -> Counter[int]:
        statuses = Counter[int]()
        while monotonic() - began < SECONDS_OF_RATE:
            statuses[client.post("{ __typename }").status_code] += 1
        return statuses

    statuses = sum(at_once([ask] * CLIENTS, CLIENTS), Counter[int]())
    took = monotonic() - began

    assert statuses.keys() <= {200, 429}
    # A slow machine may ask for less than the rate.
    assert min(statuses.total(), rate * SECONDS_OF_RATE) <= statuses[200] <= MOST_GRANTED * (rate * took + burst)


def test_the_users_rights_are_enough(fleet: Fleet, store: Store) -> None:
    """Whatever the tests before made the processes do."""
    assert store.command("ACL", "LOG") == b"*0\r\n"
    for each in fleet.processes:
        assert [line["event"] for line in each.serving.lines() if line["level"] == "warning"] == ["journal.not_on_disk"]
