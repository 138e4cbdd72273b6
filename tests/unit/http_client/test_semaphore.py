"""ResizableSemaphore: permits are handed out in order, and none is ever lost."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.http_client.semaphore import ResizableSemaphore
from tests.unit.leyr.virtual_time import clock, run

ACTIONS = ("start", "start", "start", "finish", "cancel", "grow", "shrink", "turn", "reject waiting", "pass time")
actions = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 1_000)), max_size=80)


class PermitHolders:
    """Tasks that acquire a permit, hold it until told to finish, and release it; each has a number."""

    def __init__(self, limit: int) -> None:
        self.semaphore = ResizableSemaphore(limit)
        self.tasks: list[asyncio.Task[None]] = []
        self.holding: list[int] = []
        self.acquired: list[int] = []
        self.waited: list[int] = []
        self.rejected: set[int] = set()
        self.may_finish: dict[int, asyncio.Event] = {}

    def start(self) -> None:
        number = len(self.tasks)
        self.may_finish[number] = asyncio.Event()
        self.tasks.append(asyncio.create_task(self._hold(number)))

    async def _hold(self, number: int) -> None:
        if not self.semaphore.try_acquire():
            if not await self.semaphore.acquire(10):
                self.rejected.add(number)
                return
            self.waited.append(number)
        try:
            self.acquired.append(number)
            self.holding.append(number)
            await self.may_finish[number].wait()
        finally:
            self.holding.remove(number)
            self.semaphore.release()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


def act(holders: PermitHolders, action: str, number: int) -> None:
    match action:
        case "start":
            holders.start()
        case "finish" if holders.holding:
            holders.may_finish[holders.holding[number % len(holders.holding)]].set()
        case "cancel" if holders.tasks:
            holders.tasks[number % len(holders.tasks)].cancel()
        case "grow" | "shrink":
            holders.semaphore.limit = number % 4 if action == "shrink" else 4 + number % 4
            holders.semaphore.wake_waiting()
        case "reject waiting":
            holders.semaphore.reject_waiting()


@settings(deadline=None, max_examples=300)
@given(actions=actions, limit=st.integers(1, 5))
def test_no_permit_is_lost_whichever_tasks_are_cancelled_at_whatever_moment(
    actions: list[tuple[str, int]], limit: int
) -> None:
    async def scenario() -> None:
        holders = PermitHolders(limit)
        for action, number in actions:
            act(holders, action, number)
            if action in {"start", "turn"}:
                await asyncio.sleep(0)
            elif action == "pass time":
                await asyncio.sleep(number % 12)
            assert holders.semaphore.in_use <= 8
            assert len(holders.holding) <= holders.semaphore.in_use
        await holders.settle()
        assert holders.semaphore.in_use == len(holders.holding)
        assert not holders.semaphore.waiting or holders.semaphore.in_use >= holders.semaphore.limit
        # A waiter runs a turn after it was given its permit; a task that finds one free meanwhile overtakes none.
        assert holders.waited == sorted(holders.waited)

        for event in holders.may_finish.values():
            event.set()
        holders.semaphore.limit = 5
        holders.semaphore.wake_waiting()
        await asyncio.gather(*holders.tasks, return_exceptions=True)
        assert (holders.semaphore.in_use, holders.semaphore.waiting) == (0, 0)
        assert all(holders.semaphore.try_acquire() for _ in range(5))

    run(scenario())


def with_holders(limit: int) -> Callable[[Callable[[PermitHolders], Any]], Callable[[], None]]:
    def decorate(scenario: Callable[[PermitHolders], Any]) -> Callable[[], None]:
        async def play() -> None:
            await scenario(PermitHolders(limit))

        return lambda: run(play())

    return decorate


@with_holders(limit=2)
async def test_try_acquire_fails_once_a_waiter_was_given_the_free_permit(holders: PermitHolders) -> None:
    for _ in range(4):
        holders.start()
    await holders.settle()
    holders.may_finish[0].set()
    await asyncio.sleep(0)
    # The permit is already the third task's, which has not run since.
    assert not holders.semaphore.try_acquire()
    holders.may_finish[1].set()
    await holders.settle()
    assert holders.holding == [2, 3]
    for number in (2, 3):
        holders.may_finish[number].set()
    await holders.settle()


@with_holders(limit=1)
async def test_a_waiter_that_is_cancelled_after_it_was_given_a_permit_passes_it_on(holders: PermitHolders) -> None:
    for _ in range(3):
        holders.start()
    await holders.settle()
    holders.tasks[0].cancel()
    await asyncio.sleep(0)
    assert holders.semaphore.in_use == 1
    holders.tasks[1].cancel()
    await holders.settle()

    assert holders.acquired == [0, 2]
    holders.may_finish[2].set()
    await holders.settle()
    assert holders.semaphore.in_use == 0


@with_holders(limit=1)
async def test_acquire_returns_false_after_its_timeout(holders: PermitHolders) -> None:
    holders.start()
    await holders.settle()
    began = clock()
    assert not await holders.semaphore.acquire(3)
    assert clock() - began == pytest.approx(3)
    assert holders.semaphore.waiting == 0
    holders.may_finish[0].set()
    await holders.settle()


@with_holders(limit=1)
async def test_reject_waiting_makes_every_pending_acquire_return_false(holders: PermitHolders) -> None:
    for _ in range(5):
        holders.start()
    await holders.settle()
    holders.semaphore.reject_waiting()
    await holders.settle()

    assert holders.rejected == {1, 2, 3, 4}
    holders.may_finish[0].set()
    await holders.settle()
    assert holders.semaphore.try_acquire()


@with_holders(limit=1)
async def test_keys_get_permits_in_turn_however_many_wait_for_one(holders: PermitHolders) -> None:
    semaphore, got = holders.semaphore, list[str]()

    async def wait_for(key: str) -> None:
        assert await semaphore.acquire(10, key)
        got.append(key)
        semaphore.release()

    assert semaphore.try_acquire()
    tasks = [asyncio.create_task(wait_for(key)) for key in "aaaaabcbc"]
    await holders.settle()
    assert semaphore.waiting == 9
    tasks[1].cancel()
    await asyncio.sleep(0)
    semaphore.release()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert "".join(got) == "abcabcaa"
    assert (semaphore.in_use, semaphore.waiting) == (0, 0)


@with_holders(limit=0)
async def test_room_is_made_by_the_newest_waiter_of_the_key_with_the_most(holders: PermitHolders) -> None:
    semaphore = holders.semaphore
    loud = [asyncio.create_task(semaphore.acquire(10, "loud")) for _ in range(4)]
    await holders.settle()

    assert not semaphore.make_room("loud")
    assert semaphore.make_room("quiet")
    await holders.settle()
    assert [each.done() for each in loud] == [False, False, False, True]
    assert loud[3].result() is None
    quiet = [asyncio.create_task(semaphore.acquire(10, "quiet")) for _ in range(2)]
    await holders.settle()
    # It would have as many as the other then.
    assert not semaphore.make_room("quiet")
    assert semaphore.waiting == 5
    semaphore.reject_waiting()
    assert await asyncio.gather(*loud[:3], *quiet) == [False] * 5
    assert not semaphore.make_room("quiet")
