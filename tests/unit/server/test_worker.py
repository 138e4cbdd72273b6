"""The channel between a parent and a worker, and what a fork lets go of."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.server.worker import Channel, let_go, open_descriptors

TOLD = [b"one", b"", b"three" * 1_000, b"4"]


async def connected(on_told: Callable[[bytes], None]) -> tuple[Channel, socket.socket]:
    ours, theirs = socket.socketpair()
    channel = Channel(on_told)
    await asyncio.get_running_loop().create_connection(lambda: channel, sock=ours)
    theirs.settimeout(0)
    return channel, theirs


def framed(told: bytes) -> bytes:
    return len(told).to_bytes(4, "big") + told


async def asked(theirs: socket.socket) -> bytes:
    """What the worker is asked now."""
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(theirs, 100), 10)


@given(st.lists(st.integers(1, 5_100), max_size=10))
def test_answers_arrive_whole_however_they_are_cut(cuts: Sequence[int]) -> None:
    heard: list[bytes] = []
    channel, data = Channel(heard.append), b"".join(map(framed, TOLD))

    for start, end in zip((0, *sorted(cuts)), (*sorted(cuts), len(data)), strict=True):
        channel.data_received(data[start:end])

    assert heard == [each for each in TOLD if each], "an empty answer says nothing"


async def test_each_who_asks_waits_for_an_answer_from_after_the_question() -> None:
    heard: list[bytes] = []
    channel, theirs = await connected(heard.append)
    first, second = (asyncio.ensure_future(channel.ask()) for _ in range(2))
    assert await asked(theirs) == b"??"

    theirs.send(framed(b"a"))
    await first
    assert not second.done()
    theirs.send(framed(b"b"))
    await second

    assert heard == [b"a", b"b"]
    channel.close()
    theirs.close()


async def test_a_worker_that_does_not_answer_is_not_asked_ever_more() -> None:
    channel, theirs = await connected(lambda _: None)
    waiting = [asyncio.ensure_future(channel.ask()) for _ in range(10)]
    assert await asked(theirs) == b"??"

    theirs.send(framed(b"a") + framed(b"b"))
    await asyncio.gather(*waiting)
    channel.close()
    theirs.close()


@pytest.mark.parametrize("end", [lambda theirs: theirs.close(), lambda theirs: theirs.send(b"\xff" * 5)])
async def test_nobody_waits_for_a_worker_that_ended_or_says_too_much(end: Callable[[socket.socket], object]) -> None:
    channel, theirs = await connected(lambda _: None)
    waiting: Awaitable[None] = asyncio.ensure_future(channel.ask())
    await asked(theirs)

    end(theirs)
    await asyncio.wait_for(waiting, 10)
    await asyncio.wait_for(channel.ask(), 10)
    theirs.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_fork_lets_go_of_a_port_and_keeps_its_descriptor() -> None:
    kept = open_descriptors()
    ours, theirs = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        child = os.fork()
        if not child:
            let_go({*kept, theirs.fileno()})
            theirs.send(b"let go")
            theirs.recv(1)
            os._exit(0 if listener.fileno() in open_descriptors() else 1)
    with ours, theirs:
        assert ours.recv(6) == b"let go"
        # The child still runs.
        socket.create_server(("127.0.0.1", port)).close()
        ours.send(b".")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
