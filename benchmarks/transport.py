"""What ten calls upstream cost by the client that makes them: `python -m benchmarks.transport`.

The gateway's own pool, aiohttp asked directly, the gateway's client over httpx2, and the clients of httpx2 and of httpx
each make the calls of a small graph together, again and again, against the upstream of the benchmarks.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime

import aiohttp
import httpx
import httpx2
import uvloop
from yarl import URL

from benchmarks.contenders import CREDENTIALS, ROOT, clean_environment
from benchmarks.processes import pinned, processors, running
from gateway.http_client.httpx2_client import Httpx2Client
from gateway.http_client.pool import ConnectionPool, HttpClient

_HEADERS = dict(zip(("x-leyr-client-id", "x-leyr-client-secret"), CREDENTIALS, strict=True))
_MAX_BYTES = 10 * 2**20
_ROUNDS = 600
_UNIT = "/api/emrs/webdoc/care-units/L0_"
_WINDOW = "start=2026-01-01T00%3A00%3A00Z&end=2026-01-02T00%3A00%3A00Z"
_TARGETS = (
    "/api/emrs/webdoc/care-units",
    *(
        f"{_UNIT}{unit}/{kind}"
        for unit in (1, 2, 3)
        for kind in ("resources", "healthcare-services", f"timeslots?{_WINDOW}")
    ),
)

Get = Callable[[str], Awaitable[object]]


@asynccontextmanager
async def _of_gateway(connections: HttpClient) -> AsyncIterator[Get]:
    try:
        yield lambda target: connections.get(target, max_bytes=_MAX_BYTES)
    finally:
        await connections.close()


def _own(url: str) -> AbstractAsyncContextManager[Get]:
    return _of_gateway(ConnectionPool(url, _HEADERS))


def _over_httpx2(url: str) -> AbstractAsyncContextManager[Get]:
    return _of_gateway(Httpx2Client(url, _HEADERS))


@asynccontextmanager
async def _aiohttp(url: str) -> AsyncIterator[Get]:
    connector = aiohttp.TCPConnector(limit=0)
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, headers=_HEADERS, cookie_jar=jar) as http:

        async def get(target: str) -> bytes:
            async with http.get(URL(url + target, encoded=True), allow_redirects=False) as response:
                return await response.read()

        yield get


@asynccontextmanager
async def _httpx2(url: str) -> AsyncIterator[Get]:
    async with httpx2.AsyncClient(base_url=url, headers=_HEADERS, timeout=30) as http:
        yield http.get


@asynccontextmanager
async def _httpx(url: str) -> AsyncIterator[Get]:
    async with httpx.AsyncClient(base_url=url, headers=_HEADERS, timeout=30) as http:
        yield http.get


_CLIENTS: dict[str, Callable[[str], AbstractAsyncContextManager[Get]]] = {
    "own pool": _own,
    "aiohttp": _aiohttp,
    "over httpx2": _over_httpx2,
    "httpx2": _httpx2,
    "httpx": _httpx,
}


async def _milliseconds(get: Get) -> float:
    """Processor time of one round of calls."""

    async def together() -> None:
        await asyncio.gather(*(asyncio.ensure_future(get(target)) for target in _TARGETS))

    for _ in range(20):
        await together()
    before = time.process_time()
    for _ in range(_ROUNDS):
        await together()
    return (time.process_time() - before) / _ROUNDS * 1000


async def _measure(url: str) -> None:
    for name, opened in _CLIENTS.items():
        async with opened(url) as get:
            print(f"{name:12} {await _milliseconds(get):6.3f} ms of CPU for {len(_TARGETS)} calls")


def main() -> None:
    """Start the upstream, measure, stop it."""
    own, other = processors() or (None, None)
    command = [sys.executable, "-m", "benchmarks.upstream", "--today", datetime.now(UTC).date().isoformat()]
    with running(command, clean_environment(ROOT), ROOT, other) as server, pinned(own):
        uvloop.run(_measure(server.url))


if __name__ == "__main__":
    main()
