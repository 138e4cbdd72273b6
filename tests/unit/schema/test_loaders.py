"""Loads of timeslots: one batch a turn, early answers early, and nothing left of what was cancelled."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from aiodataloader import DataLoader

from gateway.domain.ehr_profile import EhrProfile, FilterPolicy
from gateway.domain.models import CareUnitKey
from gateway.domain.queries import Step, TimeslotQuery
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import Window
from gateway.fetch.fetch_scope import FetchScope
from gateway.fetch.single_flight import SharedCall
from gateway.schema.loaders import Loaders
from tests.unit.schema.graph import NOW, Graph
from tests.unit.schema.world import Unit, World

UNIT = CareUnitKey("one", "u")
OF_A_LOAD = (asyncio.Future, DataLoader, Loaders, FetchScope, SharedCall)


class SlowWorld(World):
    """Timeslots come when their gate is opened: each resource has its own."""

    def __init__(self) -> None:
        super().__init__({UNIT: Unit()})
        self.gates = {"r1": asyncio.Event(), "r2": asyncio.Event()}

    async def timeslots(self, step: Step) -> TimeslotList:
        await self.gates[step.resource or "r1"].wait()
        return await super().timeslots(step)


def query(resource: str | None = None, days: int = 5) -> TimeslotQuery:
    return TimeslotQuery(UNIT, Window(NOW, NOW + timedelta(days=days)), resource)


def loaders(world: World, policy: FilterPolicy = FilterPolicy.NONE_REQUIRED) -> Loaders:
    return Graph(world, [EhrProfile("one", "One", filter_policy=policy)]).context().loaders


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@dataclass
class Left:
    """What loads have left since it was made; the collector is off meanwhile."""

    before: list[Any]

    def objects(self) -> list[Any]:
        found = [each for each in gc.get_objects() if issubclass(type(each), OF_A_LOAD) and each not in self.before]
        # Servers that other tests share go on in threads of their own.
        loop = asyncio.get_running_loop()
        return [each for each in found if not isinstance(each, asyncio.Future) or each.get_loop() is loop]


@pytest.fixture
async def left() -> AsyncIterator[Left]:
    gc.disable()
    # What is frozen is not listed.
    gc.collect()
    gc.freeze()
    yield Left([])
    gc.unfreeze()
    gc.enable()


async def test_a_batch_that_lasts_and_is_cancelled_leaves_its_waiters_hanging() -> None:
    """What aiodataloader does as of 0.4.3, and why no batch of ours awaits an answer."""
    call: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()

    async def long_batch(_: list[str]) -> list[str]:
        return await call

    batches = DataLoader(long_batch, cache=False)
    caller, other = batches.load("a"), batches.load("b")
    await turns(10)
    caller.cancel()
    call.cancel()
    await turns(10)

    assert not other.done()


@pytest.mark.parametrize("after", range(12))
async def test_no_load_hangs_whenever_its_request_is_closed(after: int) -> None:
    tasks = asyncio.all_tasks()
    asked = loaders(SlowWorld())
    waiting = [asyncio.ensure_future(asked.timeslots(query(each))) for each in ("r1", "r2", None)]

    await turns(after)
    asked.close()
    await turns(10)

    assert all(each.done() for each in waiting)
    assert asyncio.all_tasks() == tasks


async def test_ten_thousand_cancelled_loads_leave_nothing(left: Left) -> None:
    graph = Graph(SlowWorld(), [EhrProfile("one", "One")])
    left.before = left.objects()

    async def one_request(after: int) -> None:
        asked = graph.context().loaders
        loads = [asyncio.ensure_future(asked.timeslots(query("r1", days=1 + each))) for each in range(100)]
        await turns(after)
        for each in loads:
            each.cancel()
        await turns(after % 3)
        asked.close()
        for each in loads:
            with suppress(asyncio.CancelledError):
                await each

    for number in range(100):
        await one_request(number % 12)
    await turns(10)

    assert left.objects() == []


async def test_what_one_turn_asks_is_one_call() -> None:
    world = World({UNIT: Unit()})
    asked = loaders(world)

    found = await asyncio.gather(*(asked.timeslots(query(each)) for each in ("r1", "r2", None, "r1")))

    assert world.counts()["timeslots"] == 1
    assert [len(each) for each in found] == [3, 3, 6, 3]


async def test_an_early_answer_waits_for_no_other_of_its_batch() -> None:
    world = SlowWorld()
    asked = loaders(world, FilterPolicy.RESOURCE)
    early, late = (asyncio.ensure_future(asked.timeslots(query(each))) for each in ("r1", "r2"))
    await turns(20)

    world.gates["r1"].set()
    await early

    assert not late.done()
    world.gates["r2"].set()
    assert {slot.resource_id for slot in (await late).slots} == {"r2"}
