"""Connections to Leyr over HTTP: the only importer of the HTTP client, and the seam that tests replace.

aiohttp is asked directly: measured on one machine, a call costs 0.09 ms of CPU so, and 0.24 ms through httpx's
request and response types with aiohttp beneath them; httpx's own pool costs a multiple of both.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from ssl import create_default_context
from typing import Protocol, TypeAlias

import aiohttp
from yarl import URL

_CONNECT_SECONDS = 5.0
_CHUNK_BYTES = 64 * 1024


class UnreadableBodyError(Exception):
    """The body is not in the content encoding that its headers name."""


class Reply(Protocol):
    """An answer whose body is still to be read; header names are lower-case."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body, decompressed, a piece at a time. Raises OSError and UnreadableBodyError."""
        ...


class Connections(Protocol):
    """Sends GET requests with headers that were given once. Redirects are not followed."""

    def open(self, url: str) -> AbstractAsyncContextManager[Reply]:
        """Ask for a URL that is percent-encoded already. Raises OSError."""
        ...

    async def close(self) -> None:
        """Give the sockets back."""
        ...


MakeConnections: TypeAlias = Callable[[Mapping[str, str]], Connections]


class _AiohttpReply:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._content = response.content

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._content.iter_chunked(_CHUNK_BYTES):
                yield chunk
        except aiohttp.ClientError as error:
            raise _as_promised(error) from None


class PooledConnections:
    """Kept-alive connections of aiohttp; to be made inside the running loop."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        # How many calls run at once is for the client to say, an EHR at a time.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=create_default_context()),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
        )

    @asynccontextmanager
    async def open(self, url: str) -> AsyncIterator[Reply]:
        """Ask for a URL that is percent-encoded already. Raises OSError."""
        try:
            response = await self._session.get(URL(url, encoded=True), allow_redirects=False)
        except aiohttp.ClientError as error:
            raise _as_promised(error) from None
        async with response:
            yield _AiohttpReply(response)

    async def close(self) -> None:
        """Give the sockets back."""
        await self._session.close()


def _as_promised(error: aiohttp.ClientError) -> OSError | UnreadableBodyError:
    # The text may hold the URL, so it is left behind.
    cause = error.__cause__
    unreadable = isinstance(error, aiohttp.ClientPayloadError) and isinstance(
        cause, aiohttp.http_exceptions.ContentEncodingError
    )
    return UnreadableBodyError() if unreadable else ConnectionError(type(error).__name__)
