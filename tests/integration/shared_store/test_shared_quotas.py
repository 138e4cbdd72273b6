"""An EHR's quota of calls a minute, over several gateways, without the store, and with stale data meanwhile."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from os import urandom
from pathlib import Path
from time import monotonic

import pytest

from gateway.leyr.call_quota import CallQuota, QuotaConfig, QuotaExhaustedError, QuotaSources, Turn
from gateway.leyr.shared_quotas import SharedQuotas
from gateway.shared_store.address import StoreAddress
from gateway.shared_store.connection import ServerConnection
from gateway.shared_store.errors import AwayReason
from gateway.shared_store.sealing import Sealing
from gateway.shared_store.store import SharedStore, StoreConfig
from tests.harness import CACHES_ON, Clock, Gateway, Simulator
from tests.integration.shared_store.fleet import fleet, heard
from tests.stores import Store, running_store

QUOTA = 12
UNITS = '{ emr(code: "webdoc") { careUnits { name } } }'
TIMES = '{ emr(code: "webdoc") { careUnits { timeslots(first: 1) { start } } } }'
MICROSECONDS = 1_000_000
MINUTE = 60 * MICROSECONDS

Serve = Callable[..., Gateway]


def limited(folder: Path, quota: int = QUOTA) -> dict[str, Path]:
    profiles = folder / "profiles.toml"
    profiles.write_text(f"[webdoc]\ncalls_per_minute = {quota}\n")
    return {"leyr_profiles": profiles}


def answered(gateways: Sequence[Gateway], requests: int) -> int:
    """How many of some requests, each of one call, are answered by gateways that are asked in turn."""
    found = 0
    for each in islice(cycle(gateways), requests):
        answer = each.ask(UNITS)
        if "errors" in answer:
            (error,) = answer["errors"]
            told = error["extensions"]
            assert (told["code"], told["retryable"], told["origin"]) == ("UPSTREAM_RATE_LIMITED", True, "gateway")
            assert 0 < told["retryAfter"] <= 61
        found += "errors" not in answer
    return found


def test_gateways_together_make_no_more_calls_than_the_quota(
    serve_gateway: Serve, store: Store, simulator: Simulator, tmp_path: Path
) -> None:
    gateways = fleet(serve_gateway, store, 3, **limited(tmp_path))

    assert answered(gateways, 4 * QUOTA) == QUOTA
    assert simulator.count().total() == QUOTA


def test_retries_count_as_calls(serve_gateway: Serve, store: Store, simulator: Simulator, tmp_path: Path) -> None:
    gateways = fleet(serve_gateway, store, 2, **limited(tmp_path))
    simulator.fault("service_unavailable", emr="webdoc", times=2)

    answered(gateways, 2 * QUOTA)

    assert simulator.count().total() == QUOTA


def test_without_the_store_each_gateway_has_the_quota_and_knows_its_own_calls(
    serve_gateway: Serve, simulator: Simulator, tmp_path: Path
) -> None:
    with running_store() as store:
        gateways = fleet(serve_gateway, store, 3, **limited(tmp_path))
        assert answered(gateways, 2 * QUOTA) == QUOTA
        store.kill()
        for each in gateways:
            heard(each, "shared_store.away")

        assert answered(gateways, 4 * QUOTA) == 2 * QUOTA
        assert simulator.count().total() == 3 * QUOTA


def test_what_is_remembered_is_served_while_no_call_is_left(
    serve_gateway: Serve, simulator: Simulator, tmp_path: Path
) -> None:
    serve_gateway(**CACHES_ON).data(TIMES)
    calls = simulator.count().total()
    simulator.forget()
    clock = Clock()
    gateway = serve_gateway(clock=clock, **CACHES_ON, **limited(tmp_path, calls))
    first = gateway.data(TIMES)

    clock.seconds += 20
    assert gateway.data(TIMES) == first
    gateway.settle()
    assert simulator.count().total() == calls
    clock.seconds += 20
    errors = gateway.ask(TIMES)["errors"]
    assert {each["extensions"]["code"] for each in errors} == {"UPSTREAM_RATE_LIMITED"}
    assert simulator.count().total() == calls


class Quiet:
    def store_up(self) -> None:
        """Nobody is told."""

    def store_away(self, reason: AwayReason) -> None:
        """Nobody is told."""

    def store_refused(self, kind: str) -> None:
        raise AssertionError(kind)

    def store_garbage(self) -> None:
        raise AssertionError("garbage")


@pytest.mark.anyio
async def test_the_turns_of_many_processes_are_never_more_than_the_quota_in_a_minute(store: Store) -> None:
    processes = [
        SharedStore(
            StoreConfig(StoreAddress(path=str(store.socket)), timeout_seconds=5),
            Quiet(),
            connect=ServerConnection.open,
            clock=monotonic,
            new_secret=lambda: urandom(32),
            chance=lambda: 0.5,
        )
        for _ in range(4)
    ]
    sealing = Sealing(b"secret", (), lambda: urandom(32))
    quotas, up = [], list[asyncio.Event]()
    for each in processes:
        shared = SharedQuotas(each, sealing, lambda: urandom(32))
        sources = QuotaSources(lambda _: QUOTA, shared.of)
        quotas.append(CallQuota("canary", QuotaConfig(), sources, monotonic))
        up.append(asyncio.Event())
        each.on_up(up[-1].set)
        await each.__aenter__()
    try:
        async with asyncio.timeout(10):
            for event in up:
                await event.wait()
        # Turns lie minutes ahead, so that none is waited for.
        turns = await asyncio.gather(*(taken(quotas[place % 4], place) for place in range(15 * QUOTA)))
        names, times = scores(store)
        assert len(times) == len(turns) == 15 * QUOTA
        assert most_in_a_minute(times) == QUOTA
        assert "canary" not in names
        for turn in turns[::3]:
            turn.give_back()
        again = await asyncio.gather(*(taken(quotas[place % 4], place) for place in range(QUOTA)))
        assert most_in_a_minute(scores(store)[1]) <= QUOTA
        assert len(again) == QUOTA
        for quota in quotas:
            with pytest.raises(QuotaExhaustedError):
                await quota.take("timeslots", 1.0)
    finally:
        for each in processes:
            await each.__aexit__()


async def taken(quota: CallQuota, number: int) -> Turn:
    return await quota.take("book_appointment" if number % 5 == 0 else "timeslots", 10_000.0)


def scores(store: Store) -> tuple[str, list[float]]:
    """The names of what is in the store, and the times of all turns in microseconds."""
    names = store.command("KEYS", "*quota*").decode().split()[2::2]
    found = [store.command("ZRANGE", name, "0", "-1", "WITHSCORES").decode().split()[2::2] for name in names]
    return " ".join(names), sorted(float(each) for texts in found for each in texts[1::2])


def most_in_a_minute(times: Sequence[float]) -> int:
    return max(sum(start <= each < start + MINUTE for each in times) for start in times)
