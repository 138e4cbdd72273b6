"""HttpClient over an httpx transport, so that tests respond to requests without a socket."""

import asyncio
from collections.abc import Callable, Mapping

import httpx

from gateway.http_client.connection import BodyTooLargeError, Response
from gateway.http_client.content_encoding import ContentDecodingError
from gateway.http_client.pool import HttpClient


class MockHttpClient:
    def __init__(self, transport: httpx.AsyncBaseTransport, base_url: str, headers: Mapping[str, str]) -> None:
        self._transport = transport
        self._base_url = base_url
        self._headers = headers

    async def get(self, target: str, *, max_bytes: int, timeout_seconds: float = 60.0) -> Response:
        async with asyncio.timeout(timeout_seconds):
            return await self._send(target, max_bytes)

    async def _send(self, target: str, max_bytes: int) -> Response:
        request = httpx.Request("GET", self._base_url + target, headers=self._headers)
        try:
            response = await self._transport.handle_async_request(request)
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > max_bytes:
                    raise BodyTooLargeError
        except httpx.DecodingError:
            raise ContentDecodingError from None
        except httpx.HTTPError as error:
            raise ConnectionError(type(error).__name__) from None
        return Response(response.status_code, response.headers, body)

    async def close(self) -> None:
        await self._transport.aclose()


def mock_http_client(transport: httpx.AsyncBaseTransport) -> Callable[[str, Mapping[str, str]], HttpClient]:
    """An HttpClientFactory, as LeyrTransport takes it for `connections`."""
    return lambda base_url, headers: MockHttpClient(transport, base_url, headers)
