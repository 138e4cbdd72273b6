"""Large bodies are counted until their responses are let go, and no more are taken than fit."""

import asyncio
import gc
from collections import Counter

import pytest
import uvloop

from gateway.http_client.connection import BodyBudget, BodyBudgetError, HttpConnection
from tests.unit.http_client.scripted_server import MEBIBYTE, Server, answering, pool, sized

LARGE = 4 * MEBIBYTE


def test_a_budget_takes_what_fits_and_gets_it_back() -> None:
    budget = BodyBudget(10)

    assert budget.take(6)
    assert not budget.take(5)
    budget.give(6)
    assert budget.take(10)
    assert budget.held == 10


async def test_a_body_is_counted_as_long_as_its_response_is_held() -> None:
    async with Server(answering(sized(b"x" * LARGE))) as server, pool(server) as connections:
        response = await connections.get("/a", max_bytes=2 * LARGE)
        assert LARGE / 2 < connections._bodies.held <= LARGE  # noqa: SLF001 # what is counted is nobody else's to see

        assert len(response.body) == LARGE
        del response
        # The loop's own handle that wakes the test holds the response until its next turn.
        await asyncio.sleep(0)
        gc.collect()
        assert connections._bodies.held == 0  # noqa: SLF001 # as before


async def test_bodies_beyond_the_budget_fail_and_those_within_are_whole() -> None:
    scripts = [answering(sized(b"x" * LARGE)) for _ in range(8)]
    async with Server(*scripts) as server, pool(server) as connections:
        connections._bodies.most = 2 * LARGE + LARGE // 2  # noqa: SLF001 # smaller than it is shipped
        calls = (connections.get("/a", max_bytes=2 * LARGE) for _ in range(8))
        found = await asyncio.gather(*calls, return_exceptions=True)

        failed = [each for each in found if isinstance(each, BodyBudgetError)]
        whole = [each for each in found if not isinstance(each, BaseException)]
        assert len(failed) + len(whole) == 8
        assert failed
        assert len(whole) <= 2
        assert all(len(each.body) == LARGE for each in whole)
        found.clear()
        whole.clear()
        await asyncio.sleep(0)
        gc.collect()
        assert connections._bodies.held == 0  # noqa: SLF001 # as before


@pytest.mark.parametrize("size", [0, 1, 200 * 1024])
async def test_small_bodies_are_not_counted(size: int) -> None:
    async with Server(answering(sized(b"x" * size))) as server, pool(server) as connections:
        response = await connections.get("/a", max_bytes=LARGE)

        assert len(response.body) == size
        assert connections._bodies.held == 0  # noqa: SLF001 # as before


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_long_body_gives_others_their_turn_between_two_reads(
    monkeypatch: pytest.MonkeyPatch, is_chunked: bool
) -> None:
    reads, turn = Counter[int](), 0
    received = HttpConnection.data_received

    def read(self: HttpConnection, data: bytes) -> None:
        reads[turn] += 1
        received(self, data)

    monkeypatch.setattr(HttpConnection, "data_received", read)

    async def run() -> None:
        def count() -> None:
            nonlocal turn
            turn += 1
            loop.call_soon(count)

        loop = asyncio.get_running_loop()
        loop.call_soon(count)
        body = sized(b"x" * 2 * LARGE)
        if is_chunked:
            body = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * LARGE + b"0\r\n\r\n"
        async with Server(answering(body)) as server, pool(server) as connections:
            response = await connections.get("/a", max_bytes=2 * LARGE)
            assert len(response.body) == (LARGE if is_chunked else 2 * LARGE)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())

    assert sum(reads.values()) > 10
    # Reads may be short, so several of them may take no more time than a long one.
    assert max(reads.values()) <= 4
