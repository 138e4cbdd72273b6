"""What a load costs: 200 callers of one turn, a task each, are told through aiodataloader or by own futures."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import uvloop
from aiodataloader import DataLoader

_LOADS = 200

Load = Callable[[int], Awaitable[int]]


def _batched() -> Load:
    async def batch(keys: list[int]) -> list["asyncio.Future[int]"]:
        values = [asyncio.get_running_loop().create_future() for _ in keys]
        for key, value in zip(keys, values, strict=True):
            value.set_result(key)
        return values

    batches = DataLoader(batch, cache=False)

    async def load(key: int) -> int:
        return await (await batches.load(key))

    return load


def _own_futures() -> Load:
    loop = asyncio.get_running_loop()
    asked: dict[int, asyncio.Future[int]] = {}

    def fetch() -> None:
        for key, value in asked.items():
            value.set_result(key)

    async def load(key: int) -> int:
        if not asked:
            loop.call_soon(fetch)
        asked[key] = loop.create_future()
        return await asked[key]

    return load


def _nothing() -> Load:
    async def load(key: int) -> int:
        return key

    return load


async def _together(made: Callable[[], Load]) -> list[int]:
    load = made()
    return await asyncio.gather(*(load(key) for key in range(_LOADS)))


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as made:
        yield made


@pytest.mark.parametrize("made", [_batched, _own_futures, _nothing], ids=["aiodataloader", "own futures", "the tasks"])
def test_loads(benchmark: Callable[..., Any], runner: asyncio.Runner, made: Callable[[], Load]) -> None:
    found = benchmark(lambda: runner.run(_together(made)))

    assert found == list(range(_LOADS))
