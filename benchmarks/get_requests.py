"""The HTTP that the benchmarks' upstreams speak: requests without a body, on connections that are kept."""

import asyncio
from abc import ABC, abstractmethod
from typing import cast

HEAD_END = b"\r\n\r\n"
# Bytes of answers that a client has not read yet.
_MOST_WAITING_BYTES = 2**26


class GetRequests(asyncio.Protocol, ABC):
    """One connection: `respond` gets the head of each request that is complete, and writes to `transport`."""

    def __init__(self) -> None:
        self._begun = b""

    @abstractmethod
    def respond(self, request: bytes) -> None:
        """Answer a request, now or later."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a client."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=_MOST_WAITING_BYTES)

    def data_received(self, data: bytes) -> None:
        """Respond to every request that is complete."""
        *requests, self._begun = (self._begun + data).split(HEAD_END)
        for request in requests:
            self.respond(request)
