"""Callers' rates over several gateways: what one gave, the others know, and each goes on alone without the store."""

import asyncio
from collections.abc import Callable, Sequence
from hashlib import sha256
from itertools import cycle, islice
from os import urandom
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
import structlog

from gateway.auth.rate_limit import BookingRates, TokenBuckets
from gateway.auth.shared_rates import SharedRates
from gateway.shared_store.address import StoreAddress
from gateway.shared_store.connection import ServerConnection
from gateway.shared_store.sealing import Sealing
from gateway.shared_store.store import SharedStore, StoreConfig
from gateway.telemetry.shared_store_log import SharedStoreEvents
from tests.harness import Gateway, Simulator
from tests.integration.shared_store.fleet import fleet, heard
from tests.stores import Store, running_store

BURST = 100
# So slow that nothing is refilled while a test runs.
SLOW = 0.001
KEYS = "\n".join(
    f'[{name}]\nkey_sha256 = ["{sha256(name.encode()).hexdigest()}"]\n'
    f"rate_per_second = {SLOW}\nburst = {burst}\ncalls_per_minute = {calls}\n"
    for name, burst, calls in (("one", BURST, 10_000), ("other", BURST, 10_000), ("calls", 10_000, 2 * BURST))
)
PLAIN, CALLING = "{ emrs { code } }", '{ emr(code: "webdoc") { careUnits { name } } }'

Serve = Callable[..., Gateway]


@pytest.fixture
def four(serve_gateway: Serve, store: Store, tmp_path: Path) -> Sequence[Gateway]:
    return of_callers(serve_gateway, store, tmp_path)


def of_callers(serve_gateway: Serve, store: Store, folder: Path) -> Sequence[Gateway]:
    keys = folder / "keys.toml"
    keys.write_text(KEYS)
    return fleet(serve_gateway, store, 4, gateway_auth="api-keys", gateway_api_keys=keys)


def granted(gateways: Sequence[Gateway], caller: str, requests: int, query: str = PLAIN) -> int:
    """How many requests of a caller are answered that ask the gateways in turn, without haste."""
    found = 0
    for place, each in enumerate(islice(cycle(gateways), requests)):
        response = each.http.post("/graphql", json={"query": query}, headers={"x-api-key": caller})
        is_refused = response.status_code == 429 or "errors" in response.json()
        if is_refused:
            assert response.json()["errors"][0]["extensions"]["code"] == "RATE_LIMITED"
        found += not is_refused
        if place % 8 == 7:
            sleep(0.02)
    return found


def test_four_gateways_together_give_a_caller_at_most_a_fifth_more_than_one(four: Sequence[Gateway]) -> None:
    assert BURST <= granted(four, "one", 4 * BURST) <= 1.2 * BURST


def test_a_caller_that_asks_one_of_four_gateways_gets_its_whole_rate(four: Sequence[Gateway]) -> None:
    assert granted(four[:1], "one", BURST + 20) == BURST
    assert granted(four[:1], "other", BURST + 20) == BURST


def test_calls_to_leyr_are_counted_over_all_gateways(four: Sequence[Gateway], simulator: Simulator) -> None:
    assert BURST <= granted(four, "calls", 2 * BURST, CALLING) <= 1.2 * BURST
    assert BURST <= simulator.count()["care_units"] <= 1.2 * BURST


def test_a_refused_caller_is_told_when_all_gateways_would_let_it(four: Sequence[Gateway]) -> None:
    granted(four, "one", 4 * BURST)
    waits = []
    for each in four:
        response = each.http.post("/graphql", json={"query": PLAIN}, headers={"x-api-key": "one"})
        assert response.status_code == 429
        waits.append(int(response.headers["retry-after"]))
    # A token takes so long, and those that were given too much are owed.
    assert all(1 / SLOW - 60 <= each <= (0.2 * BURST + 1) / SLOW for each in waits)


def test_without_the_store_each_gateway_goes_by_its_own_buckets(serve_gateway: Serve, tmp_path: Path) -> None:
    with running_store() as store:
        four = of_callers(serve_gateway, store, tmp_path)
        assert granted(four, "one", 40) == 40
        store.kill()
        for each in four:
            heard(each, "shared_store.away")

        assert granted(four, "other", 2 * BURST) == 2 * BURST
        # What the others gave of this one's bucket while there was a store may be known or not.
        assert 4 * BURST - 160 <= granted(four, "one", 4 * BURST) <= 4 * BURST - 40


def test_nothing_in_the_store_names_a_caller_and_what_is_full_again_is_gone(
    four: Sequence[Gateway], store: Store
) -> None:
    granted(four, "one", 8)
    for _ in range(500):
        names = store.command("KEYS", "*rate:*").decode().split()[2::2]
        if names:
            break
        sleep(0.01)

    assert len(names) == 1
    assert "one" not in names[0].rpartition(":")[2].split("-")
    assert int(store.command("PTTL", names[0])[1:]) > 0


@pytest.mark.anyio
async def test_the_script_counts_as_token_buckets_do(store: Store) -> None:
    shared_store = SharedStore(
        StoreConfig(StoreAddress(path=str(store.socket)), timeout_seconds=5),
        SharedStoreEvents(quiet()),
        connect=ServerConnection.open,
        clock=monotonic,
        new_secret=lambda: urandom(32),
        chance=lambda: 0.5,
    )
    processes = [SharedRates(shared_store, Sealing(b"secret", (), lambda: urandom(32)), monotonic) for _ in range(2)]
    first, second = (TokenBuckets(monotonic, sharing=each) for each in processes)
    patients = [BookingRates(monotonic, 5, sharing=each) for each in processes]
    up = asyncio.Event()
    shared_store.on_up(up.set)
    async with shared_store:
        await asyncio.wait_for(up.wait(), 10)
        assert [first.take("a", SLOW, 10) for _ in range(4)] == [0.0] * 4
        assert [second.take("a", SLOW, 10) for _ in range(3)] == [0.0] * 3
        assert patients[0].take("page", "key", 100, b"patient") == 0.0
        for each in (*processes, *processes):
            await each.reconcile()
        second.take("a", SLOW, 10)
        await processes[1].reconcile()
        # Seven were taken before this one.
        assert [second.take("a", SLOW, 10) for _ in range(3)] == [0.0, 0.0, pytest.approx(1 / SLOW, abs=60)]
        patients[1].take("page", "key", 100, b"patient")
        await processes[1].reconcile()
        taken = [patients[1].take("page", f"key {number}", 100, b"patient") for number in range(4)]
        assert taken[:3] == [0.0] * 3
        assert taken[3] > 0
        # So little at a time that the bucket is as good as full after each round, as what was told may be 0.3 s old.
        for buckets, shared in [(first, processes[0]), (second, processes[1])] * 30:
            assert buckets.take("c", 5, 100) == 0.0
            await shared.reconcile()
        assert sum(first.take("c", 5, 100) == 0.0 for _ in range(100)) < 60
        for name in store.command("KEYS", "*rate:*").decode().split()[2::2]:
            store.command("SET", name, "no number")
        second.take("b", SLOW, 10)
        await processes[1].reconcile()
        assert [second.take("b", SLOW, 10) for _ in range(9)] == [0.0] * 9


def quiet() -> Any:
    return structlog.get_logger(wrapper_class=structlog.make_filtering_bound_logger(50))
