"""HttpClient: which connections calls use and when these are closed, against a server on the loopback interface."""

import asyncio
import ssl
from time import monotonic

import pytest

from tests.unit.http_client.conftest import ClientType
from tests.unit.http_client.scripted_server import (
    MAX_BYTES,
    OK,
    RESPONSE,
    Peer,
    Script,
    Server,
    answering,
    bodies,
    chunked,
    closing_after,
    opened,
    silent,
    sized,
    until,
)


async def unfinished(peer: Peer) -> None:
    """Begins a body that ends with the connection, and does not end it."""
    await peer.request()
    await peer.send(OK + b"\r\n[1]")
    await peer.abandoned()


@pytest.mark.parametrize(
    "response",
    [
        RESPONSE,
        chunked([b"[1]"], trailers=b"a: b\r\n"),
    ],
)
async def test_consecutive_calls_share_a_connection(client: ClientType, response: bytes) -> None:
    async with Server(answering(response)) as server, opened(client, server) as connections:
        assert await bodies(connections, 5) == [b"[1]"] * 5

    assert server.connections == 1


@pytest.mark.parametrize(
    "response",
    [
        sized(b"[1]", b"connection: close"),
        chunked([b"[1]"], b"Connection: x, Close"),
        b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\n[1]",
    ],
)
async def test_a_connection_that_the_server_will_close_is_not_used_again(client: ClientType, response: bytes) -> None:
    async with Server(answering(response)) as server, opened(client, server) as connections:
        assert await bodies(connections, 3) == [b"[1]"] * 3

    assert server.connections == 3


@pytest.mark.parametrize("more", [b"H", b"HTT", b"x", sized(b"[2]"), sized(b"[2]") + b"H", OK, OK + b"\r\n[2]"])
async def test_bytes_after_a_response_close_the_connection_and_change_no_response(
    client: ClientType, more: bytes
) -> None:
    scripts = answering(RESPONSE + more), answering(RESPONSE, more), answering(RESPONSE)
    async with Server(*scripts) as server, opened(client, server) as connections:
        assert await bodies(connections, 1) == [b"[1]"]
        assert await bodies(connections, 1) == [b"[1]"]
        await until(lambda: server.open == 0)
        assert await bodies(connections, 2) == [b"[1]"] * 2

    assert server.connections == 3


async def test_idle_connections_beyond_max_keepalive_connections_are_closed(client: ClientType) -> None:
    async with (
        Server(answering(RESPONSE)) as server,
        opened(client, server, max_keepalive_connections=3) as connections,
    ):
        await asyncio.gather(*(connections.get("/", max_bytes=MAX_BYTES) for _ in range(10)))
        await until(lambda: server.open == 3)
        await asyncio.gather(*(connections.get("/", max_bytes=MAX_BYTES) for _ in range(3)))

    assert server.connections == 10


async def test_a_connection_that_was_idle_beyond_its_expiry_is_not_used(client: ClientType) -> None:
    async with Server(answering(RESPONSE)) as server, opened(client, server, keepalive_expiry_seconds=0) as connections:
        await bodies(connections, 3)
        await until(lambda: server.open == 1)

    assert server.connections == 3


async def test_expired_idle_connections_are_closed_while_another_is_used(client: ClientType) -> None:
    async with (
        Server(answering(RESPONSE)) as server,
        opened(client, server, keepalive_expiry_seconds=0.2) as connections,
    ):
        await asyncio.gather(*(connections.get("/", max_bytes=MAX_BYTES) for _ in range(3)))
        async with asyncio.timeout(20):
            while server.open > 1:
                await bodies(connections, 1)
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("reset", [False, True])
async def test_a_connection_that_was_closed_while_idle_is_replaced(client: ClientType, reset: bool) -> None:
    async with Server(closing_after(RESPONSE, reset=reset)) as server, opened(client, server) as connections:
        for _ in range(3):
            await bodies(connections, 1)
            await until(lambda: server.open == 0)

    assert server.connections == len(server.heads) == 3


async def once_then_close(peer: Peer) -> None:
    """Responds to one request, and closes the connection upon the next."""
    await peer.request()
    await peer.send(RESPONSE)
    await peer.request()


async def once_then_reset(peer: Peer) -> None:
    await once_then_close(peer)
    peer.drop(reset=True)


async def once_then_break(peer: Peer) -> None:
    await once_then_close(peer)
    await peer.send(b"H")


@pytest.mark.parametrize("script", [once_then_close, once_then_reset])
async def test_a_call_on_a_stale_connection_is_sent_again_on_a_new_one(client: ClientType, script: Script) -> None:
    async with Server(script, answering(RESPONSE)) as server, opened(client, server) as connections:
        assert await bodies(connections, 2) == [b"[1]"] * 2

    assert (server.connections, len(server.heads)) == (2, 3)


@pytest.mark.parametrize(
    ("scripts", "responses", "sent"),
    [
        ([closing_after()], 0, (1, 1)),
        ([once_then_close, closing_after()], 1, (2, 3)),
        ([once_then_break, answering(RESPONSE)], 1, (1, 2)),
    ],
    ids=["on a new connection", "for the second time", "inside its response"],
)
async def test_a_call_whose_connection_breaks_otherwise_is_not_sent_again(
    client: ClientType, scripts: list[Script], responses: int, sent: tuple[int, int]
) -> None:
    async with Server(*scripts) as server, opened(client, server) as connections:
        await bodies(connections, responses)
        with pytest.raises(ConnectionError, match="broke"):
            await bodies(connections, 1)

    assert (server.connections, len(server.heads)) == sent


async def test_redirects_are_not_followed_and_cookies_not_kept(client: ClientType) -> None:
    moved = sized(b"", b"location: https://elsewhere.example/", b"set-cookie: a=b").replace(b"200 OK", b"302 Found")
    async with Server(answering(moved)) as server, opened(client, server) as connections:
        found = [await connections.get("/", max_bytes=MAX_BYTES) for _ in range(2)]

    assert [response.status for response in found] == [302, 302]
    assert len(server.heads) == 2
    assert all(b"cookie" not in head for head in server.heads)


async def test_a_request_is_written_after_the_instant_that_its_response_names(client: ClientType) -> None:
    arrived = []

    async def noting(peer: Peer) -> None:
        while await peer.request():
            arrived.append(monotonic())
            await asyncio.sleep(0.01)
            await peer.send(RESPONSE)

    begun = []
    async with Server(noting) as server, opened(client, server) as connections:
        found = []
        for _ in range(3):
            begun.append(monotonic())
            found.append(await connections.get("/", max_bytes=MAX_BYTES))

    for response, begin, arrival in zip(found, begun, arrived, strict=True):
        assert begin <= response.sent_at <= arrival


async def test_the_instant_of_a_request_that_is_sent_again_is_that_of_the_second_time(client: ClientType) -> None:
    arrived = []

    async def noting(peer: Peer) -> None:
        await peer.request()
        arrived.append(monotonic())
        await peer.send(RESPONSE)

    async with Server(once_then_close, noting) as server, opened(client, server) as connections:
        await bodies(connections, 1)
        again = await connections.get("/", max_bytes=MAX_BYTES)

    assert server.connections == 2
    assert again.sent_at <= arrived[0]


async def test_a_refused_connection_raises_os_error(client: ClientType) -> None:
    async with Server(silent) as server:
        pass

    async with opened(client, server) as connections:
        with pytest.raises(OSError, match=r"refused|Connect"):
            await bodies(connections, 1)


async def echoing(peer: Peer) -> None:
    """Responds with the target, after a delay that depends on it."""
    while head := await peer.request():
        target = head.split()[1]
        await asyncio.sleep(int(target[1:]) % 7 / 1000)
        await peer.send(sized(target))


async def test_concurrent_calls_get_their_own_responses(client: ClientType) -> None:
    async with Server(echoing) as server, opened(client, server) as connections:
        for _ in range(2):
            responses = await asyncio.gather(*(connections.get(f"/{n}", max_bytes=MAX_BYTES) for n in range(100)))
            assert [response.body for response in responses] == [b"/%d" % n for n in range(100)]

    assert server.connections == 100


async def test_cancelled_calls_close_their_connections_and_block_no_other_call(client: ClientType) -> None:
    async with (
        Server(*[silent, unfinished] * 100, answering(RESPONSE)) as server,
        opened(client, server) as connections,
    ):
        calls = [asyncio.create_task(connections.get("/", max_bytes=MAX_BYTES)) for _ in range(200)]
        await until(lambda: len(server.heads) == 200)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await until(lambda: server.open == 0)

        assert await bodies(connections, 20) == [b"[1]"] * 20

    assert server.connections == 201


@pytest.mark.parametrize("secure", [False, True])
async def test_a_call_may_be_cancelled_at_any_moment(
    client: ClientType, tls: ssl.SSLContext, trust: ssl.SSLContext, secure: bool
) -> None:
    for turns in range(30):
        async with (
            Server(answering(RESPONSE), tls=tls if secure else None) as server,
            opened(client, server, tls=trust) as connections,
        ):
            call = asyncio.create_task(connections.get("/", max_bytes=MAX_BYTES))
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)

            assert await bodies(connections, 2) == [b"[1]"] * 2


async def test_a_call_after_close_fails(client: ClientType) -> None:
    async with Server(answering(RESPONSE)) as server, opened(client, server) as connections:
        await bodies(connections, 1)
        await connections.close()
        with pytest.raises(OSError, match="closed"):
            await bodies(connections, 1)

    assert server.connections == 1


async def once(peer: Peer) -> None:
    """Responds to the first request only."""
    await closing_after(RESPONSE)(peer)
    await silent(peer)


@pytest.mark.parametrize(("script", "answered"), [(silent, 0), (unfinished, 0), (once, 20)])
async def test_close_fails_the_calls_that_run(client: ClientType, script: Script, answered: int) -> None:
    async with Server(script) as server, opened(client, server) as connections:
        await asyncio.gather(*(connections.get("/", max_bytes=MAX_BYTES) for _ in range(answered)))
        calls = [asyncio.create_task(connections.get("/", max_bytes=MAX_BYTES)) for _ in range(20)]
        await until(lambda: len(server.heads) == answered + 20)
        await connections.close()
        endings = await asyncio.gather(*calls, return_exceptions=True)
        await until(lambda: server.open == 0)

    assert all(isinstance(ending, OSError) for ending in endings)
    assert server.connections == 20


async def test_close_fails_the_calls_that_are_about_to_connect(client: ClientType) -> None:
    async with Server(answering(RESPONSE)) as server, opened(client, server) as connections:
        call = asyncio.create_task(connections.get("/", max_bytes=MAX_BYTES))
        await asyncio.sleep(0)
        await connections.close()
        with pytest.raises(OSError, match="closed"):
            await call

    assert server.heads == []


@pytest.mark.parametrize(
    "bad", ["\r", "\n", "\r\nx: y", " ", " HTTP/1.1\r\n\r\nGET /", "\t", "\0", "\x7f", "é", "\u2028"]
)
async def test_a_target_that_is_not_percent_encoded_is_not_sent(client: ClientType, bad: str) -> None:
    async with Server(answering(RESPONSE)) as server, opened(client, server) as connections:
        for target in (f"/a{bad}", f"/a{bad}b"):
            with pytest.raises(ValueError, match="percent-encoded"):
                await connections.get(target, max_bytes=MAX_BYTES)

    assert server.connections == 0


@pytest.mark.parametrize("bad", ["a\r\nb: c", "a\n", "a\0", "é"])
def test_a_header_that_would_not_stay_within_its_line_raises_without_quoting_it(client: ClientType, bad: str) -> None:
    for headers in ({bad: "value"}, {"name": bad}):
        with pytest.raises(ValueError, match="cannot be sent") as failure:
            client("http://127.0.0.1", headers)
        assert bad not in str(failure.value)


async def test_a_tls_connection_is_kept_alive(client: ClientType, tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    async with Server(answering(RESPONSE), tls=tls) as server, opened(client, server, tls=trust) as connections:
        assert await bodies(connections, 3) == [b"[1]"] * 3

    assert server.connections == 1


# asyncio's own loop tells its protocols of a closed connection where there was none.
@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})], ids=["uvloop"])
async def test_a_close_delimited_body_over_tls_is_whole_only_after_close_notify(
    client: ClientType, tls: ssl.SSLContext, trust: ssl.SSLContext
) -> None:
    whole = closing_after(OK + b"\r\n[1]")

    async def broken(peer: Peer) -> None:
        await whole(peer)
        peer.drop()

    async with Server(whole, broken, tls=tls) as server, opened(client, server, tls=trust) as connections:
        assert await bodies(connections, 1) == [b"[1]"]
        with pytest.raises(ConnectionError, match="broke"):
            await bodies(connections, 1)


@pytest.mark.parametrize(("host", "trusting"), [("127.0.0.1", False), ("localhost", True)])
async def test_a_server_without_the_right_certificate_gets_no_request(
    client: ClientType, tls: ssl.SSLContext, trust: ssl.SSLContext, host: str, trusting: bool
) -> None:
    async with Server(answering(RESPONSE), tls=tls) as server:
        server.url = server.url.replace("127.0.0.1", host)
        async with opened(client, server, tls=trust if trusting else None) as connections:
            with pytest.raises(OSError, match=r"CERTIFICATE_VERIFY_FAILED|tls_untrusted"):
                await bodies(connections, 1)

    assert server.heads == []
