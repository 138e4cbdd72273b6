"""Connections over an httpx transport, so that tests of the core answer requests without a socket."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import httpx

from gateway.leyr.connections import Connections, Reply, UnreadableBodyError


class _HttpxReply:
    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._response = response

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.aiter_bytes():
                yield chunk
        except httpx.DecodingError:
            raise UnreadableBodyError from None
        except httpx.HTTPError as error:
            raise ConnectionError(type(error).__name__) from None


class HttpxConnections:
    def __init__(self, transport: httpx.AsyncBaseTransport, headers: Mapping[str, str]) -> None:
        self._transport = transport
        self._headers = headers

    @asynccontextmanager
    async def open(self, url: str) -> AsyncIterator[Reply]:
        try:
            response = await self._transport.handle_async_request(httpx.Request("GET", url, headers=self._headers))
        except httpx.HTTPError as error:
            raise ConnectionError(type(error).__name__) from None
        try:
            yield _HttpxReply(response)
        finally:
            await response.aclose()

    async def close(self) -> None:
        await self._transport.aclose()


def through(transport: httpx.AsyncBaseTransport) -> Callable[[Mapping[str, str]], Connections]:
    """What LeyrTransport takes for `connections`."""
    return lambda headers: HttpxConnections(transport, headers)
