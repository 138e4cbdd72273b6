"""Several gateways behind nginx that share a store are one gateway: to Leyr, and to their clients."""

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any

import httpx

from tests.harness import Simulator
from tests.integration.booking.page import TOLVAN, new_key
from tests.integration.fleet.conftest import AVAILABILITY, Client, Fleet, Start, at_once, key_of, midnight, serves, shared_with
from tests.stores import Store

MOST_CALLS = 1.3
REQUESTS, CLIENTS = 120, 4
MONTH = (1, 31)


def storm(client: Client, units: Sequence[str]) -> list[Any]:
    """What a page got of care units and windows that came in any order; one of ten readers wants it anew."""
    chance = Random(7)
    work: list[Callable[[], Any]] = []
    for _ in range(REQUESTS):
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
    fleet: Fleet, start: Start, simulator: Simulator
) -> None:
    alone = serves(start()).client
    units = [unit for emr in ("webdoc", "physica") for unit in alone.units(emr)]
    simulator.http.post("/__reset")

    expected = without_instants(storm(alone, units))
    calls_of_one = simulator.count().total()
    simulator.http.post("/__reset")
    answers = without_instants(storm(fleet.nginx, units))
    calls = simulator.count().total()

    assert answers == expected
    assert calls_of_one > len(units)
    assert calls <= MOST_CALLS * calls_of_one, (calls, calls_of_one)


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

    instants = {(each.json()["data"]["careUnit"]["availability"]["asOf"], str(each.json()["extensions"])) for each in answers}
    assert len(instants) == 1
    assert {each.headers["etag"] for each in answers} == {first.headers["etag"]}
    assert {each.content for each in answers} == {first.content}
    again = [page_by_get(fleet.nginx, unit, **{"if-none-match": first.headers["etag"]}) for _ in range(8)]
    assert {each.status_code for each in again} == {304}
    assert len({each.headers["x-by"] for each in again}) == len(fleet.processes)
    assert simulator.count() == calls


def test_a_new_process_gives_its_first_answer_without_a_call(start: Start, store: Store, simulator: Simulator) -> None:
    shared = shared_with(store)
    former = serves(start(**shared))
    former.said("shared_store.up")
    (unit, *_) = former.client.units("webdoc")
    expected = former.client.page(unit, MONTH)
    former.serving.stop()
    calls = simulator.count()
    new = serves(start(**shared))
    new.said("shared_store.up")

    assert new.client.page(unit, MONTH) == expected
    assert simulator.count() == calls
