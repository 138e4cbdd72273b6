"""LeyrTransport: what it sends to Leyr, and which errors it raises."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from pydantic import SecretStr

from gateway.domain.errors import (
    DeadlineExceeded,
    GatewayError,
    Overloaded,
    UpstreamAnswerTooLarge,
    UpstreamInvalidAnswer,
    UpstreamUnavailable,
)
from gateway.http_client.connection import Response
from gateway.http_client.pool import PoolTimeoutError
from gateway.leyr.call_events import AttemptError, CallResult
from gateway.leyr.client import LeyrTransport
from gateway.leyr.error_mapping import retry_after
from tests.unit.http_client.scripted_server import Server, answering, chunked, sized
from tests.unit.leyr.mock_http_client import mock_http_client
from tests.unit.leyr.test_error_mapping import NOW

MEBIBYTE = 1024 * 1024
SECRET = "s3cret-of-the-test"


class FakeLeyr:
    """Leyr's end of the connection: sends `respond()` and keeps the requests."""

    def __init__(self, respond: Callable[[], httpx.Response] | None = None) -> None:
        self.requests: list[httpx.Request] = []
        self._respond = respond or (lambda: httpx.Response(200, content=b"[]"))

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self._respond()

    async def get(
        self, target: str = "/x", *, base_url: str = "https://leyr.example/api", timeout_seconds: float = 5
    ) -> Response:
        transport = LeyrTransport(
            base_url, "client-1", SecretStr(SECRET), connections=mock_http_client(httpx.MockTransport(self.handle))
        )
        async with transport:
            return await transport.get(target, timeout_seconds=timeout_seconds)


def raising(error: Exception) -> Callable[[], httpx.Response]:
    def respond() -> httpx.Response:
        raise error

    return respond


async def streamed(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_both_credential_headers_and_the_content_type_are_sent() -> None:
    leyr = FakeLeyr()

    await leyr.get()

    headers = leyr.requests[0].headers
    assert headers["x-leyr-client-id"] == "client-1"
    assert headers["x-leyr-client-secret"] == SECRET
    assert headers["content-type"] == "application/json"
    assert headers["host"] == "leyr.example"
    assert leyr.requests[0].method == "GET"


@pytest.mark.parametrize(
    ("base_url", "sent"),
    [
        ("https://leyr.example", "https://leyr.example/a%2Fb?c=%2B"),
        ("https://leyr.example/", "https://leyr.example/a%2Fb?c=%2B"),
        ("https://leyr.example/api", "https://leyr.example/api/a%2Fb?c=%2B"),
        ("https://leyr.example/api/", "https://leyr.example/api/a%2Fb?c=%2B"),
        ("http://127.0.0.1:8123/sim/api", "http://127.0.0.1:8123/sim/api/a%2Fb?c=%2B"),
    ],
)
async def test_the_target_is_appended_to_the_base_url(base_url: str, sent: str) -> None:
    leyr = FakeLeyr()

    await leyr.get("/a%2Fb?c=%2B", base_url=base_url)

    url = leyr.requests[0].url
    assert f"{url.scheme}://{url.netloc.decode()}{url.raw_path.decode()}" == sent


@pytest.mark.parametrize(("status", "ok"), [(200, True), (204, True), (299, True), (304, False), (400, False)])
async def test_is_success_holds_for_any_2xx(status: int, *, ok: bool) -> None:
    response = await FakeLeyr(lambda: httpx.Response(status, content=b"[]")).get()

    assert (response.status, response.is_success) == (status, ok)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    leyr = FakeLeyr(lambda: httpx.Response(status, headers={"location": "https://elsewhere.example/"}))

    response = await leyr.get()

    assert response.status == status
    assert len(leyr.requests) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("7", 7.0),
        ("99999999", 3600.0),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
        ("Wed, 21 Oct 2026 07:28:20 GMT", 20.0),
    ],
)
async def test_retry_after_is_read_in_whole_seconds_or_as_a_date_and_ignored_in_other_forms(
    header: str | None, seconds: float | None
) -> None:
    headers = httpx.Headers() if header is None else httpx.Headers({b"retry-after": header.encode()})

    response = await FakeLeyr(lambda: httpx.Response(429, headers=headers)).get()

    assert retry_after(response, NOW) == seconds


async def test_a_body_of_ten_mebibytes_is_read() -> None:
    response = await FakeLeyr(
        lambda: httpx.Response(200, content=streamed(b"x" * MEBIBYTE * 5, b"x" * MEBIBYTE * 5))
    ).get()

    assert len(response.body) == 10 * MEBIBYTE


async def test_body_limit_can_be_set() -> None:
    server_body = b"[" + b" " * 2 * MEBIBYTE + b"]"
    leyr = FakeLeyr(lambda: httpx.Response(200, content=server_body))
    client = mock_http_client(httpx.MockTransport(leyr.handle))
    for most, fits in ((len(server_body), True), (len(server_body) - 1, False)):
        transport = LeyrTransport("https://leyr.example", "c", SecretStr("s"), connections=client, max_body_bytes=most)
        async with transport:
            if fits:
                assert len((await transport.get("/x", timeout_seconds=5)).body) == most
            else:
                with pytest.raises(UpstreamAnswerTooLarge):
                    await transport.get("/x", timeout_seconds=5)


async def test_a_larger_body_is_invalid_and_not_read_to_its_end() -> None:
    sent = 0

    async def long() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 30 * MEBIBYTE:
            sent += MEBIBYTE
            yield b"x" * MEBIBYTE

    with pytest.raises(UpstreamInvalidAnswer, match="larger"):
        await FakeLeyr(lambda: httpx.Response(200, content=long())).get()

    assert sent == 11 * MEBIBYTE


async def test_the_size_limit_counts_decompressed_bytes() -> None:
    bomb = gzip.compress(b"x" * 20 * MEBIBYTE)
    headers = {"content-encoding": "gzip"}

    with pytest.raises(UpstreamInvalidAnswer, match="larger"):
        await FakeLeyr(lambda: httpx.Response(200, headers=headers, content=streamed(bomb))).get()

    assert len(bomb) < MEBIBYTE


async def test_a_compressed_body_is_read() -> None:
    headers = {"content-encoding": "gzip"}

    response = await FakeLeyr(
        lambda: httpx.Response(200, headers=headers, content=streamed(gzip.compress(b"[1]")))
    ).get()

    assert response.body == b"[1]"


async def test_a_body_that_is_not_in_its_content_encoding_is_invalid() -> None:
    headers = {"content-encoding": "gzip"}

    with pytest.raises(UpstreamInvalidAnswer, match="decompressed"):
        await FakeLeyr(lambda: httpx.Response(200, headers=headers, content=streamed(b"no gzip"))).get()


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError(f"no route with {SECRET}"),
        httpx.ConnectTimeout("slow"),
        httpx.ReadError("broken"),
        httpx.RemoteProtocolError("odd"),
        ConnectionResetError("gone"),
    ],
)
async def test_a_broken_connection_means_unavailable_and_shows_nothing(error: Exception) -> None:
    with pytest.raises(AttemptError) as failure:
        await FakeLeyr(raising(error)).get()

    assert failure.value.result is CallResult.UNREACHABLE
    assert isinstance(failure.value.error, UpstreamUnavailable)
    assert failure.value.error.retryable
    assert SECRET not in repr(failure.value) + repr(failure.value.error)
    assert failure.value.__suppress_context__


async def test_a_pool_timeout_means_overloaded() -> None:
    with pytest.raises(AttemptError) as failure:
        await FakeLeyr(raising(PoolTimeoutError("all in use"))).get()

    assert failure.value.result is CallResult.NO_CONNECTION
    assert isinstance(failure.value.error, Overloaded)
    assert failure.value.error.retryable


async def test_a_connection_that_breaks_inside_the_body_means_unavailable() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"["
        raise httpx.ReadError("broken")

    with pytest.raises(AttemptError) as failure:
        await FakeLeyr(lambda: httpx.Response(200, content=broken())).get()

    assert failure.value.result is CallResult.UNREACHABLE


async def test_a_timeout_before_the_response_means_deadline_exceeded() -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        return httpx.Response(200)

    transport = LeyrTransport(
        "https://leyr.example", "c", SecretStr(SECRET), connections=mock_http_client(httpx.MockTransport(never))
    )
    async with transport:
        with pytest.raises(AttemptError) as failure:
            await transport.get("/x", timeout_seconds=0.02)

    assert failure.value.result is CallResult.TIMED_OUT
    assert isinstance(failure.value.error, DeadlineExceeded)
    assert failure.value.error.retryable


async def test_a_timeout_inside_the_body_means_timed_out() -> None:
    async def dripping() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.005)
            yield b" "

    with pytest.raises(AttemptError) as failure:
        await FakeLeyr(lambda: httpx.Response(200, content=dripping())).get(timeout_seconds=0.03)

    assert failure.value.result is CallResult.TIMED_OUT


async def test_a_transport_that_is_not_open_raises_no_gateway_error() -> None:
    transport = LeyrTransport("https://leyr.example", "c", SecretStr(SECRET))

    with pytest.raises(RuntimeError, match="not open") as fault:
        await transport.get("/x", timeout_seconds=1)

    assert not isinstance(fault.value, GatewayError)


async def test_a_transport_that_was_closed_can_be_opened_again() -> None:
    leyr = FakeLeyr()
    connections = mock_http_client(httpx.MockTransport(leyr.handle))
    transport = LeyrTransport("https://leyr.example", "c", SecretStr(SECRET), connections=connections)

    for _ in range(2):
        async with transport:
            await transport.get("/x", timeout_seconds=5)

    assert len(leyr.requests) == 2


@pytest.mark.parametrize("size", [0, MEBIBYTE])
async def test_a_byte_order_mark_before_json_is_read_past(size: int) -> None:
    body = b"[" + b" " * size + b"]"
    marked = b"\xef\xbb\xbf" + body
    async with Server(answering(sized(marked)), answering(chunked([marked[:2], marked[2:9], marked[9:]]))) as server:
        for _ in range(2):
            async with LeyrTransport(server.url, "client-1", SecretStr(SECRET)) as transport:
                assert (await transport.get("/x", timeout_seconds=30)).body == body
