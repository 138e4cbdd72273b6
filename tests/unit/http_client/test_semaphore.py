"""ResizableSemaphore are handed out in order, and none is ever lost."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.http_client.semaphore import ResizableSemaphore
from tests.unit.leyr.virtual_time import clock, run

ACTIONS = ("come", "come", "come", "finish", "cancel", "widen", "narrow", "turn", "send away", "pass time")
actions = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 1_000)), max_size=80)


class Crowd:
    """Whoever comes, waits, and leaves, by number."""

    def __init__(self, most: int) -> None:
        self.places = ResizableSemaphore(most)
        self.visits: list[asyncio.Task[None]] = []
        self.inside: list[int] = []
        self.entered: list[int] = []
        self.waited: list[int] = []
        self.unlucky: set[int] = set()
        self.over: dict[int, asyncio.Event] = {}

    def come(self) -> None:
        number = len(self.visits)
        self.over[number] = asyncio.Event()
        self.visits.append(asyncio.create_task(self._visit(number)))

    async def _visit(self, number: int) -> None:
        if not self.places.take():
            if not await self.places.wait(10):
                self.unlucky.add(number)
                return
            self.waited.append(number)
        try:
            self.entered.append(number)
            self.inside.append(number)
            await self.over[number].wait()
        finally:
            self.inside.remove(number)
            self.places.give_back()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


def act(crowd: Crowd, action: str, number: int) -> None:
    match action:
        case "come":
            crowd.come()
        case "finish" if crowd.inside:
            crowd.over[crowd.inside[number % len(crowd.inside)]].set()
        case "cancel" if crowd.visits:
            crowd.visits[number % len(crowd.visits)].cancel()
        case "widen" | "narrow":
            crowd.places.most = number % 4 if action == "narrow" else 4 + number % 4
            crowd.places.fill()
        case "send away":
            crowd.places.send_away()


@settings(deadline=None, max_examples=300)
@given(actions=actions, most=st.integers(1, 5))
def test_whoever_is_cancelled_whenever_no_place_is_lost(actions: list[tuple[str, int]], most: int) -> None:
    async def scene() -> None:
        crowd = Crowd(most)
        for action, number in actions:
            act(crowd, action, number)
            if action in {"come", "turn"}:
                await asyncio.sleep(0)
            elif action == "pass time":
                await asyncio.sleep(number % 12)
            assert crowd.places.taken <= 8
            assert len(crowd.inside) <= crowd.places.taken
        await crowd.settle()
        assert crowd.places.taken == len(crowd.inside)
        assert not crowd.places.waiting or crowd.places.taken >= crowd.places.most
        # Who is handed a place enters a turn later; whoever finds another one free in that turn overtakes nobody.
        assert crowd.waited == sorted(crowd.waited)

        for over in crowd.over.values():
            over.set()
        crowd.places.most = 5
        crowd.places.fill()
        await asyncio.gather(*crowd.visits, return_exceptions=True)
        assert (crowd.places.taken, crowd.places.waiting) == (0, 0)
        assert all(crowd.places.take() for _ in range(5))

    run(scene())


def in_a_crowd(most: int) -> Callable[[Callable[[Crowd], Any]], Callable[[], None]]:
    def decorate(scene: Callable[[Crowd], Any]) -> Callable[[], None]:
        async def play() -> None:
            await scene(Crowd(most))

        return lambda: run(play())

    return decorate


@in_a_crowd(most=2)
async def test_who_comes_later_does_not_overtake(crowd: Crowd) -> None:
    for _ in range(4):
        crowd.come()
    await crowd.settle()
    crowd.over[0].set()
    await asyncio.sleep(0)
    # The place is already the third's, though it has not noticed yet.
    assert not crowd.places.take()
    crowd.over[1].set()
    await crowd.settle()
    assert crowd.inside == [2, 3]
    for number in (2, 3):
        crowd.over[number].set()
    await crowd.settle()


@in_a_crowd(most=1)
async def test_who_is_cancelled_with_a_place_in_hand_passes_it_on(crowd: Crowd) -> None:
    for _ in range(3):
        crowd.come()
    await crowd.settle()
    crowd.visits[0].cancel()
    await asyncio.sleep(0)
    assert crowd.places.taken == 1
    crowd.visits[1].cancel()
    await crowd.settle()

    assert crowd.entered == [0, 2]
    crowd.over[2].set()
    await crowd.settle()
    assert crowd.places.taken == 0


@in_a_crowd(most=1)
async def test_nobody_waits_longer_than_they_said(crowd: Crowd) -> None:
    crowd.come()
    await crowd.settle()
    began = clock()
    assert not await crowd.places.wait(3)
    assert clock() - began == pytest.approx(3)
    assert crowd.places.waiting == 0
    crowd.over[0].set()
    await crowd.settle()


@in_a_crowd(most=1)
async def test_all_that_wait_can_be_sent_away(crowd: Crowd) -> None:
    for _ in range(5):
        crowd.come()
    await crowd.settle()
    crowd.places.send_away()
    await crowd.settle()

    assert crowd.unlucky == {1, 2, 3, 4}
    crowd.over[0].set()
    await crowd.settle()
    assert crowd.places.take()
