"""A client that disconnects while its request waits."""

import asyncio
from collections.abc import Iterator

import pytest
from starlette.types import Message

from gateway.fetch.fetch_scope import FetchScope
from gateway.http.request_context import ClientDisconnectedError, RequestTimeout

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
    with RequestTimeout(reading, server.receive, 60, asyncio.Semaphore(2)):
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
