"""Connections to Leyr: credentials, time limits and the size limit of an answer."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeAlias

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from pydantic import SecretStr

from gateway.domain.errors import DeadlineExceeded, UpstreamInvalidAnswer, UpstreamUnavailable

_LARGEST_BODY = 10 * 1024 * 1024
_CONNECT_SECONDS = 5.0


Connections: TypeAlias = Callable[[], httpx.AsyncBaseTransport]
"""Makes the transport, inside the running loop; tests hand in another."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, body, and how many seconds to wait where the upstream said so."""

    status: int
    body: bytes
    retry_after: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the status is any of 2xx; which ones Leyr uses is unknown (leyr-api 2.1)."""
        return 200 <= self.status < 300  # noqa: PLR2004 # the bounds of HTTP's success class


class LeyrTransport:
    """Sends reads to Leyr with both credential headers; owns the connections until it is closed."""

    def __init__(
        self,
        base_url: str,
        client_id: str,
        client_secret: SecretStr,
        *,
        connections: Connections | None = None,
    ) -> None:
        self._base_url = httpx.URL(base_url.rstrip("/"))
        # Both headers go together, and the quickstarts send the content type with reads too (docs page D1).
        self._headers = httpx.Headers(
            {
                "host": self._base_url.netloc.decode("ascii"),
                "x-leyr-client-id": client_id,
                "x-leyr-client-secret": client_secret.get_secret_value(),
                "content-type": "application/json",
                "accept": "application/json",
                "user-agent": "leyr-graphql-gateway",
            }
        )
        self._make_connections = connections or _pooled_connections
        self._connections: httpx.AsyncBaseTransport | None = None

    async def __aenter__(self) -> Self:
        self._connections = self._make_connections()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connections is not None:
            await self._connections.aclose()
            self._connections = None

    async def get(self, target: str, *, within: timedelta) -> Answer:
        """Read a percent-encoded path and query below the base URL. Redirects are not followed.

        Raises DeadlineExceeded, UpstreamUnavailable, or UpstreamInvalidAnswer for a body that is too large or
        cannot be decompressed.
        """
        try:
            async with asyncio.timeout(within.total_seconds()):
                return await self._send(target)
        except TimeoutError:
            raise DeadlineExceeded("Leyr did not answer in time", retryable=True) from None
        except httpx.DecodingError:
            raise UpstreamInvalidAnswer("Leyr's answer cannot be decompressed") from None
        except (httpx.HTTPError, aiohttp.ClientError, OSError):
            # The cause's text may hold the URL, so it stays out of the chain.
            raise UpstreamUnavailable("Leyr cannot be reached", retryable=True) from None

    async def _send(self, target: str) -> Answer:
        if self._connections is None:
            raise RuntimeError("the transport is not open")
        raw_path = self._base_url.raw_path.rstrip(b"/") + target.encode("ascii")
        request = httpx.Request(
            "GET",
            self._base_url.copy_with(raw_path=raw_path),
            headers=self._headers,
            extensions={"timeout": {"connect": _CONNECT_SECONDS}},
        )
        response = await self._connections.handle_async_request(request)
        try:
            body = await _read(response)
        finally:
            await response.aclose()
        return Answer(response.status_code, body, _seconds(response.headers.get("retry-after")))


async def _read(response: httpx.Response) -> bytes:
    chunks = []
    size = 0
    async for chunk in response.aiter_bytes():
        chunks.append(chunk)
        size += len(chunk)
        if size > _LARGEST_BODY:
            raise UpstreamInvalidAnswer("Leyr's answer is larger than the gateway reads")
    return b"".join(chunks)


def _seconds(retry_after: str | None) -> float | None:
    """The header's delay; its date form is left alone, since it depends on the upstream's clock."""
    if retry_after is None or not retry_after.isascii() or not retry_after.isdigit():
        return None
    return min(float(retry_after), 3600.0)


def _pooled_connections() -> httpx.AsyncBaseTransport:
    # How many calls run at once is for the client to say, an EHR at a time.
    # httpx's own pool costs a multiple in CPU a call and can leave slots stuck after cancelled requests.
    def session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=httpx.create_ssl_context()),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    return AiohttpTransport(client=session)
