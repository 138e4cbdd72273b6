"""The idle timer: one deadline and one callback at a time. The least rate: who takes enough is never dropped."""

import asyncio
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.server.timeouts import IdleTimer, LeastRate


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


RATE, PERIOD = 4_096, 30
# What the server writes in a second: mostly as much as the buffers take, and sometimes nothing or little.
writes = st.lists(st.sampled_from([0, 0, 1, 500, 20_000, 100_000, 1_000_000]), min_size=90, max_size=150)


def misses(written: list[int], *, per_second: int, round_trip: int) -> int:
    """In how many periods a client that takes so many bytes a second, each a round trip later, takes too little."""
    rate, missed = LeastRate(RATE, PERIOD), 0
    sent = acknowledged = 0
    on_their_way: list[int] = []
    for second, size in enumerate(written):
        if second and second % PERIOD == 0:
            missed += rate.is_missed(acknowledged)
        if second % PERIOD == 0:
            rate.begin(sent - acknowledged, acknowledged)
        sent += min(size, max(0, 300_000 - (sent - acknowledged)))
        on_their_way.append(sent)
        arrived = on_their_way[second - round_trip] if second >= round_trip else 0
        acknowledged = max(acknowledged, min(arrived, acknowledged + per_second))
    return missed


@given(writes, st.integers(RATE * 10 // 9, 100_000), st.integers(0, 3))
def test_a_client_above_the_least_rate_misses_nothing_whatever_the_server_writes(
    written: list[int], per_second: int, round_trip: int
) -> None:
    assert misses(written, per_second=per_second, round_trip=round_trip) == 0


@pytest.mark.parametrize(("per_second", "missed"), [(1_500, 4), (4_000, 4), (4_200, 0)])
def test_a_client_that_takes_a_little_all_the_time_misses_each_period(per_second: int, missed: int) -> None:
    # The first period begins before anything is written.
    assert misses([1_000_000] * 151, per_second=per_second, round_trip=0) == missed


def test_a_system_that_does_not_count_drops_nobody() -> None:
    rate = LeastRate(RATE, PERIOD)
    rate.begin(1_000_000, inf)

    assert not rate.is_missed(inf)
