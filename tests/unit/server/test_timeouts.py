"""The idle timer: one deadline and one callback at a time, however often it is started again."""

import asyncio

import pytest

from gateway.server.timeouts import IdleTimer


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def fired() -> list[str]:
    return []


async def test_a_later_start_replaces_deadline_and_callback(fired: list[str]) -> None:
    timer = IdleTimer(asyncio.get_running_loop())
    timer.start(0.01, lambda: fired.append("first"))
    timer.start(60, lambda: fired.append("second"))

    await asyncio.sleep(0.05)

    assert fired == []
    timer.cancel()


async def test_an_earlier_start_brings_the_deadline_forward(fired: list[str]) -> None:
    timer = IdleTimer(asyncio.get_running_loop())
    timer.start(60, lambda: fired.append("first"))
    timer.start(0.01, lambda: fired.append("second"))

    await asyncio.sleep(0.1)

    assert fired == ["second"]


async def test_a_cancelled_timer_calls_nothing_and_can_be_started_again(fired: list[str]) -> None:
    timer = IdleTimer(asyncio.get_running_loop())
    timer.start(0.01, lambda: fired.append("first"))
    timer.cancel()

    await asyncio.sleep(0.05)
    assert fired == []
    timer.start(0.01, lambda: fired.append("second"))
    await asyncio.sleep(0.1)
    assert fired == ["second"]
