"""Clients that send or read slowly are dropped in time, and others are served meanwhile."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from itertools import cycle, islice
from urllib.parse import urlsplit

import pytest

from gateway.server.request_head import ConnectionLimits
from gateway.server.serving import listening_socket, serve_in_thread
from tests.harness import ERROR_BODY
from tests.stand_ins.echo_application import Echo
from tests.stand_ins.raw_client import RawConnection

SECONDS = 1.0
# On a busy machine all takes longer, but not as long as the time that a server gives unless told otherwise.
IN_TIME = ConnectionLimits().receive_seconds - 1
LIMITS = ConnectionLimits(receive_seconds=SECONDS, keep_alive_seconds=0.5)
GET = b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"
LARGE = GET.replace(b"one", b"large")
HUGE = GET.replace(b"one", b"huge")


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def url(echo: Echo) -> Iterator[str]:
    with serve_in_thread(echo, listening_socket("127.0.0.1", 0), error_body=ERROR_BODY, limits=LIMITS) as url:
        yield url


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    parts = urlsplit(url)
    # A client whose own buffers are full takes no more.
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1_024)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def read_all(reader: asyncio.StreamReader) -> bytes:
    answer = b""
    # What is sent after the answer meets a connection that is gone.
    with suppress(ConnectionResetError):
        while piece := await reader.read(4_096):
            answer += piece
    return answer


async def dribble(url: str, start: bytes, piece: bytes) -> bytes:
    """Send a start and then a piece at a time until the server ends it; what it answered."""
    async with connected(url) as (reader, writer):
        writer.write(start)
        answer = asyncio.ensure_future(read_all(reader))
        while not answer.done():
            if piece:
                writer.write(piece)
            await asyncio.wait([answer], timeout=0.05)
        return await answer


async def never_read(url: str, request: bytes) -> bytes:
    """Ask and read nothing until the server ends it."""
    with RawConnection(url, buffer=65_536).send(request) as wire:
        while not wire.is_dropped():  # noqa: ASYNC110 # nobody tells of what happens to a socket that is not read
            await asyncio.sleep(0.02)
    return b""


SLOW: list[Callable[[str], Awaitable[bytes]]] = [
    lambda url: dribble(url, b"GET /one HTTP/1.1\r\nHost: a\r\nX-A: ", b"a"),
    lambda url: dribble(url, POST, b"a"),
    lambda url: dribble(url, b"", b""),
    lambda url: dribble(url, b"\r\n", b"\r\n"),
]
STATUS = [b"HTTP/1.1 408", b"HTTP/1.1 408", b"", b""]


async def test_slow_clients_are_dropped_while_others_are_served(url: str, echo: Echo) -> None:
    started = time.monotonic()

    async def timed(ends: Awaitable[bytes]) -> tuple[bytes, float]:
        return await ends, time.monotonic() - started

    async def served() -> int:
        answers = 0
        async with connected(url) as (reader, writer):
            while time.monotonic() - started < SECONDS:
                writer.write(GET)
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200")
                await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
                answers += 1
                await asyncio.sleep(0.01)
        return answers

    slow = [asyncio.ensure_future(timed(client(url))) for client in islice(cycle(SLOW), 200)]
    stuck = [asyncio.ensure_future(timed(never_read(url, each))) for each in [LARGE, HUGE] * 3]
    answers = await served()

    for index, (answer, seconds) in enumerate(await asyncio.gather(*slow)):
        assert answer.startswith(STATUS[index % len(SLOW)])
        assert SECONDS - 0.1 < seconds < IN_TIME
    assert all(seconds < IN_TIME for _, seconds in await asyncio.gather(*stuck))
    # Those who ask again and again wait for their answers, and not for the slow ones.
    assert answers > 2
    assert sorted(set(echo.broken_off)) == ["/one"]
    assert len(echo.broken_off) == 50


def test_an_answer_that_is_read_slowly_is_sent_whole(url: str, echo: Echo) -> None:
    def read(request: bytes) -> tuple[int, int]:
        with RawConnection(url, buffer=65_536) as wire:
            wire.send(request)
            slowly = 0
            for _ in range(12):
                time.sleep(SECONDS / 5)
                slowly += len(wire.socket.recv(40_000))
            whole = slowly
            while whole < echo.pieces * 65_536 and (data := wire.socket.recv(1_000_000)):
                whole += len(data)
            return slowly, whole

    with ThreadPoolExecutor() as threads:
        for slowly, whole in threads.map(read, [LARGE, HUGE]):
            assert slowly < echo.pieces * 65_536 / 2
            assert whole >= echo.pieces * 65_536


def trickled(url: str, *, piece: int, pause: float) -> tuple[int, int]:
    """Read a large answer in pieces, until it is whole or the server ends it: how many reads, how many bytes."""
    reads = taken = 0
    with RawConnection(url, buffer=8_192).send(LARGE) as wire, suppress(ConnectionResetError):
        while not wire.is_dropped() and (data := wire.socket.recv(piece)):
            reads, taken = reads + 1, taken + len(data)
            time.sleep(pause)
    return reads, taken


def test_a_client_that_takes_a_little_all_the_time_is_dropped(echo: Echo) -> None:
    bound = listening_socket("127.0.0.1", 0)
    limits = replace(LIMITS, send_bytes_per_second=200_000.0)
    with serve_in_thread(echo, bound, error_body=ERROR_BODY, limits=limits) as url:
        reads, taken = trickled(url, piece=8_000, pause=0.1)

    # It took something in each of three seconds, so that it was not dropped for taking nothing.
    assert reads > 3 * SECONDS
    assert taken < 3 * SECONDS * 200_000 + 100_000


def test_a_client_above_the_least_rate_gets_its_answer_whole(echo: Echo) -> None:
    bound = listening_socket("127.0.0.1", 0)
    echo.pieces = 8
    limits = replace(LIMITS, send_bytes_per_second=20_000.0)
    with serve_in_thread(echo, bound, error_body=ERROR_BODY, limits=limits) as url:
        _, taken = trickled(url, piece=25_000, pause=0.1)

    assert taken >= echo.pieces * 65_536


@pytest.mark.parametrize("requests", [1, 3])
def test_a_connection_is_closed_when_no_next_request_comes(url: str, requests: int) -> None:
    with RawConnection(url) as wire:
        wire.send(GET * requests)
        assert [wire.answer().status for _ in range(requests)] == [200] * requests
        before = time.monotonic()

        assert wire.ends()
        assert time.monotonic() - before < IN_TIME


def test_the_time_of_a_request_begins_with_its_first_byte(echo: Echo) -> None:
    bound = listening_socket("127.0.0.1", 0)
    with (
        serve_in_thread(echo, bound, error_body=ERROR_BODY, limits=replace(LIMITS, keep_alive_seconds=30)) as url,
        RawConnection(url) as wire,
    ):
        for _ in range(2):
            time.sleep(0.4)
            assert wire.send(GET[:10]).send(GET[10:]).answer().status == 200

        time.sleep(0.3)
        before = time.monotonic()
        wire.send(GET[:10])
        assert wire.answer().status == 408
        assert SECONDS - 0.1 < time.monotonic() - before < IN_TIME


def test_an_answer_before_the_body_does_not_keep_the_connection(url: str) -> None:
    with RawConnection(url) as wire:
        before = time.monotonic()
        assert wire.send(POST.replace(b"/one", b"/early")).answer().status == 200

        assert wire.ends()
        assert time.monotonic() - before < IN_TIME
    with RawConnection(url) as wire:
        assert wire.send(POST.replace(b"/one", b"/early")).answer().status == 200
        assert wire.send(b"a" * 100 + GET).answer().status == 200


def test_client_that_waits_for_the_server_is_not_timed_out(url: str, echo: Echo) -> None:
    # The second request's body is not read before the first is answered.
    body = b"a" * 3_000_000
    with RawConnection(url, buffer=65_536) as wire:
        wire.send(GET.replace(b"/one", b"/waiting"))
        wire.send(b"POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body))
        wire.socket.settimeout(0.2)
        sent = 0
        with suppress(TimeoutError):
            while sent < len(body):
                sent += wire.socket.send(body[sent : sent + 65_536])
        assert sent < len(body)
        time.sleep(SECONDS * 1.2)
        echo.released.set()
        wire.socket.settimeout(10)
        wire.send(body[sent:])

        assert wire.answer().json()["path"] == "/waiting"
        assert wire.answer().json()["size"] == len(body)


def test_stopping_finishes_what_is_in_flight_and_closes_what_is_idle(echo: Echo) -> None:
    with ExitStack() as stack, ThreadPoolExecutor() as threads:
        with serve_in_thread(echo, listening_socket("127.0.0.1", 0), error_body=ERROR_BODY) as url:
            idle, unused, busy = (stack.enter_context(RawConnection(url, buffer=65_536)) for _ in range(3))
            assert idle.send(GET).answer().status == 200
            busy.send(LARGE + GET)
            busy.socket.recv(1, socket.MSG_PEEK)
            closed = threads.submit(lambda: [each.ends() for each in (idle, unused)])
            stopped = time.monotonic()
            # It stops while the answers are still being read.
            answers = threads.submit(lambda: [busy.answer() for _ in range(2) if closed.result()])
        seconds = time.monotonic() - stopped
        large, one = answers.result()
        ended = busy.ends()

    assert len(large.body) == echo.pieces * 65_536
    assert one.json()["path"] == "/one"
    assert closed.result() == [True, True]
    assert ended
    assert seconds < ConnectionLimits().receive_seconds


def test_requests_of_a_disconnected_client_are_not_run(
    url: str, echo: Echo, capsys: pytest.CaptureFixture[str]
) -> None:
    with RawConnection(url, buffer=65_536) as wire:
        wire.send(LARGE + GET)
        wire.socket.recv(1, socket.MSG_PEEK)
    while echo.ended != ["/large"]:
        time.sleep(0.01)

    assert echo.called == ["/large"]
    assert capsys.readouterr().err == ""


def test_connections_beyond_the_limit_are_dropped(echo: Echo) -> None:
    bound = listening_socket("127.0.0.1", 0)
    with (
        ExitStack() as stack,
        serve_in_thread(echo, bound, error_body=ERROR_BODY, limits=ConnectionLimits(connections=3)) as url,
    ):
        first, second, third, beyond = (stack.enter_context(RawConnection(url)) for _ in range(4))
        assert beyond.ends()
        assert [each.send(GET).answer().status for each in (first, second, third)] == [200] * 3

        first.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert first.answer().status == 200
        assert first.ends()
        assert stack.enter_context(RawConnection(url)).send(GET).answer().status == 200


def test_a_connection_beyond_the_limit_takes_the_place_of_the_one_that_was_idle_for_longest(echo: Echo) -> None:
    bound = listening_socket("127.0.0.1", 0)
    limits = ConnectionLimits(connections=3, keep_alive_seconds=3_600)
    with ExitStack() as stack, serve_in_thread(echo, bound, error_body=ERROR_BODY, limits=limits) as url:
        first, second, third = (stack.enter_context(RawConnection(url)) for _ in range(3))
        assert [each.send(GET).answer().status for each in (first, second, third, first)] == [200] * 4
        # It has begun a request, so it is not idle.
        second.send(GET[:10])

        beyond = stack.enter_context(RawConnection(url))

        assert beyond.send(GET).answer().status == 200
        assert third.ends()
        assert second.send(GET[10:]).answer().status == 200
        assert first.send(GET).answer().status == 200


FEW_DESCRIPTORS = """
import resource
from gateway.server.request_head import ConnectionLimits
from gateway.server.serving import listening_socket, serve, url_of
from tests.stand_ins.echo_application import Echo

resource.setrlimit(resource.RLIMIT_NOFILE, (32, 200))
bound = listening_socket("127.0.0.1", 0)
print(url_of(bound), flush=True)
serve(Echo(), bound, limits=ConnectionLimits(receive_seconds=1))
"""


def test_more_clients_than_file_descriptors_do_not_stop_the_server() -> None:
    command = [sys.executable, "-c", FEW_DESCRIPTORS]
    with ExitStack() as stack, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        before = time.monotonic()
        clients = [stack.enter_context(RawConnection(url)) for _ in range(120)]
        # With a soft limit of 32 there would be fewer.
        assert sum(not each.is_dropped() for each in clients) > 50
        assert all(each.ends() for each in clients)
        assert time.monotonic() - before < IN_TIME
        assert stack.enter_context(RawConnection(url)).send(GET).answer().status == 200
        process.terminate()
    assert process.returncode == 0
