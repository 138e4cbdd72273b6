"""A client that disconnects while its request waits."""

import asyncio
from collections.abc import Iterator

import pytest
from starlette.types import Message

from gateway.domain.errors import DeadlineExceeded
from gateway.fetch.fetch_scope import FetchScope
from gateway.http.request_context import ClientDisconnectedError, RequestTimeout
from gateway.http_client.semaphore import ResizableSemaphore

WHOLE: Message = {"type": "http.request", "body": b"", "more_body": False}
MORE: Message = {"type": "http.request", "body": b"x", "more_body": True}
GONE: Message = {"type": "http.disconnect"}


class Server:
    """Says what it is given, and then nothing more."""

    def __init__(self, messages: Iterator[Message]) -> None:
        self._messages = messages
        self.said = 0

    async def receive(self) -> Message:
        for message in self._messages:
            self.said += 1
            assert self.said < 1_000, "it is asked again and again"
            return message
        await asyncio.get_running_loop().create_future()
        raise AssertionError


async def waits_long(server: Server) -> None:
    """A request whose upstream call takes longer than the gateway goes on without a look at the client."""
    reading = FetchScope(0.0)
    upstream = asyncio.ensure_future(asyncio.sleep(0.3))
    with RequestTimeout(reading, server.receive, 60, ResizableSemaphore(2)):
        await reading.wait_for(upstream)


@pytest.mark.parametrize("before", [[], [WHOLE], [MORE, WHOLE], [MORE, MORE, MORE, WHOLE]])
async def test_a_disconnected_client_cancels_its_request(before: list[Message]) -> None:
    with pytest.raises(ClientDisconnectedError):
        await waits_long(Server(iter([*before, GONE])))


async def test_a_connected_client_gets_its_response() -> None:
    await waits_long(Server(iter([WHOLE])))


async def test_messages_after_a_whole_request_are_ignored() -> None:
    server = Server(iter(lambda: WHOLE, None))

    await waits_long(server)

    assert server.said == 2


async def test_a_caller_with_many_large_answers_leaves_another_its_turn() -> None:
    server, writing, written = Server(iter(())), ResizableSemaphore(2), list[str]()

    async def write(caller: str) -> None:
        with RequestTimeout(FetchScope(0.0), server.receive, 60, writing, caller) as timeout:
            for _ in range(3):
                await timeout.pause()
            written.append(caller)

    await asyncio.gather(*(write("first") for _ in range(20)), write("second"))

    assert "second" in written[:5]
    assert len(written) == 21
    assert writing.in_use == 0


async def test_a_large_answer_that_gets_no_turn_in_time_ends_with_its_deadline() -> None:
    server, writing = Server(iter(())), ResizableSemaphore(1)
    assert writing.try_acquire()

    with (
        pytest.raises(DeadlineExceeded),
        RequestTimeout(FetchScope(0.0), server.receive, -1.9, writing) as timeout,
    ):
        await timeout.pause()

    assert writing.in_use == 1
