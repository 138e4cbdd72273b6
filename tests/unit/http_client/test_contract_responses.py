"""HttpClient: the response or error for the bytes that a server sends, whatever they are and however they come."""

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.http_client.connection import BodyTooLargeError, Response
from gateway.http_client.content_encoding import ContentDecodingError
from tests.unit.http_client.conftest import ClientType
from tests.unit.http_client.scripted_server import (
    OK,
    Peer,
    Script,
    Server,
    answering,
    chunked,
    closing_after,
    endless,
    sized,
)

MEBIBYTE = 1024 * 1024
packed = partial(gzip.compress, mtime=0)
GZIPPED = b"content-encoding: gzip"
PLAIN = b'["what can be compressed, compressed, compressed"]'
# Sixteen kibibytes that become sixteen mebibytes.
BOMB = packed(bytes(16 * MEBIBYTE))


async def read(client: ClientType, script: Script, *, max_bytes: int = MEBIBYTE) -> Response:
    async with Server(script) as server, asyncio.timeout(30):
        connections = client(server.url, {})
        try:
            return await connections.get("/", max_bytes=max_bytes)
        finally:
            await connections.close()


async def test_without_a_proxy_nobody_else_can_ask_for_its_login(client: ClientType) -> None:
    asking = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"

    assert (await read(client, answering(asking))).status == 407


RESPONSES = {
    "of a length": (sized(b"[1]"), 200, b"[1]"),
    "in chunks": (chunked([b"[1", b",2]"]), 200, b"[1,2]"),
    "in no chunks": (chunked([]), 200, b""),
    "in chunks with extensions": (OK + b"transfer-encoding: Chunked\r\n\r\n3;a=b\r\n[1]\r\n0;c\r\n\r\n", 200, b"[1]"),
    "in chunks with trailers": (chunked([b"[1]"], trailers=b"a: b\r\nc: d\r\n"), 200, b"[1]"),
    "without content": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 100\r\n\r\n", 304, b""),
    "after continue": (b"HTTP/1.1 100 Continue\r\n\r\n" + sized(b"[1]"), 200, b"[1]"),
    "after hints": (b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 2 + chunked([b"[1]"]), 200, b"[1]"),
    "that offers an upgrade": (sized(b"[1]", b"upgrade: h2", b"connection: upgrade"), 200, b"[1]"),
    "of an older protocol": (b"HTTP/1.0 404 Not Found\r\ncontent-length: 2\r\n\r\n{}", 404, b"{}"),
    "compressed": (chunked([packed(PLAIN)], GZIPPED), 200, PLAIN),
    "compressed in members": (sized(packed(PLAIN[:9]) + packed(b"") + packed(PLAIN[9:]), GZIPPED), 200, PLAIN),
    "compressed and padded": (sized(packed(PLAIN) + bytes(20), GZIPPED), 200, PLAIN),
    "with bare line feeds": (sized(b"[1]", b"a: b").replace(b"\r\n", b"\n"), 200, b"[1]"),
    "with a folded header": (sized(packed(PLAIN), b"content-encoding:\r\n gzip"), 200, PLAIN),
}


@pytest.mark.parametrize("name", RESPONSES)
async def test_a_response_is_the_same_wherever_its_bytes_are_split(client: ClientType, name: str) -> None:
    response, status, body = RESPONSES[name]
    splits = [
        [response],
        *([response[:at], response[at:]] for at in range(1, len(response))),
        [bytes([b]) for b in response],
    ]
    left = iter(splits)

    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.send(*next(left))

    async with Server(script) as server:
        connections = client(server.url, {})
        responses = [await connections.get("/", max_bytes=len(body)) for _ in splits]
        await connections.close()

    assert {(response.status, bytes(response.body)) for response in responses} == {(status, body)}


@pytest.mark.parametrize("start", [OK, b"HTTP/1.0 200 OK\r\n", OK + b"connection: close\r\n"])
async def test_a_close_delimited_body_ends_with_the_connection(client: ClientType, start: bytes) -> None:
    assert (await read(client, closing_after(start + b"\r\n[1", b",2", b"]"))).body == b"[1,2]"
    assert (await read(client, closing_after(start + b"\r\n"))).body == b""


@pytest.mark.parametrize("name", ["x-gzip", " GZip ", "gzip", "deflate", "identity", "IDENTITY", ""])
async def test_a_body_is_decompressed(client: ClientType, name: str) -> None:
    field = b"content-encoding: " + name.encode()
    body = packed(PLAIN) if "gzip" in name.lower() else zlib.compress(PLAIN) if name == "deflate" else PLAIN

    for script in (
        answering(sized(body, field)),
        answering(chunked([body[:1], body[1:5], body[5:]], field)),
        closing_after(OK + field + b"\r\n\r\n", body),
    ):
        assert (await read(client, script)).body == PLAIN


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate", b"br"])
async def test_the_content_encoding_of_an_empty_body_does_not_matter(client: ClientType, encoding: bytes) -> None:
    field = b"content-encoding: " + encoding
    for response in (sized(b"", field), chunked([], field), b"HTTP/1.1 204 No Content\r\n%b\r\n\r\n" % field):
        assert (await read(client, answering(response))).body == b""


MISNAMED = {
    "in an encoding that is unknown": (b"br", PLAIN),
    "encoded twice": (b"gzip, gzip", packed(packed(PLAIN))),
    "not encoded, in place of gzip": (b"gzip", PLAIN),
    "not encoded, in place of deflate": (b"deflate", PLAIN),
    "with a byte behind": (b"gzip", packed(PLAIN) + b"["),
    "with a member behind its padding": (b"gzip", packed(PLAIN) + bytes(9) + packed(PLAIN)),
    "whose second member is none": (b"gzip", packed(PLAIN) + zlib.compress(PLAIN)),
    "of two parts that deflate has not": (b"deflate", zlib.compress(PLAIN) * 2),
    "of more members than anybody writes": (b"gzip", packed(b"") * 1001),
    "with a wrong checksum": (b"gzip", packed(PLAIN)[:-8] + bytes(8)),
}


@pytest.mark.parametrize("name", MISNAMED)
async def test_a_body_that_is_not_in_its_content_encoding_raises_content_decoding_error(
    client: ClientType, name: str
) -> None:
    encoding, body = MISNAMED[name]
    field = b"content-encoding: " + encoding

    for script in (
        answering(sized(body, field)),
        answering(chunked([body[:-1], body[-1:]], field)),
        closing_after(OK + field + b"\r\n\r\n" + body),
    ):
        with pytest.raises(ContentDecodingError):
            await read(client, script)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_truncated_compressed_body_raises_content_decoding_error(client: ClientType, encoding: str) -> None:
    body = packed(PLAIN) if encoding == "gzip" else zlib.compress(PLAIN)
    for length in range(1, len(body)):
        with pytest.raises(ContentDecodingError):
            await read(client, answering(sized(body[:length], b"content-encoding: " + encoding.encode())))


@pytest.mark.parametrize("size", [1, 300_000])
async def test_a_body_of_max_bytes_is_read_and_one_byte_more_is_too_large(client: ClientType, size: int) -> None:
    body = b"x" * size
    for script in (
        answering(sized(body)),
        answering(chunked([body[:1], body[1:]])),
        answering(sized(packed(body), GZIPPED)),
        closing_after(OK + b"\r\n" + body),
    ):
        assert (await read(client, script, max_bytes=size)).body == body
        with pytest.raises(BodyTooLargeError):
            await read(client, script, max_bytes=size - 1)


CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
FLOODS = {
    "what a bomb becomes": (answering(sized(BOMB, GZIPPED)), BodyTooLargeError),
    "what many bombs become": (answering(sized(packed(b"") + BOMB * 9, GZIPPED)), BodyTooLargeError),
    "what members become together": (answering(sized(packed(bytes(300)) * 4, GZIPPED)), BodyTooLargeError),
    "members that hold nothing": (endless(OK + GZIPPED + b"\r\n\r\n", packed(b"") * 900), ContentDecodingError),
    "padding": (endless(OK + GZIPPED + b"\r\n\r\n" + packed(b"[]"), bytes(60_000)), ConnectionError),
    "a body": (endless(OK + b"\r\n", b"x" * 60_000), BodyTooLargeError),
    "chunks": (endless(CHUNKED, b"1\r\nx\r\n" * 10_000), BodyTooLargeError),
    "empty blocks": (endless(OK + GZIPPED + b"\r\n\r\n" + BOMB[:10], b"\0\0\0\xff\xff" * 9_000), ConnectionError),
    "a chunk's extension": (endless(CHUNKED + b"1;", b"x" * 60_000), ConnectionError),
    "a header": (endless(OK + b"x: ", b"x" * 60_000), ConnectionError),
    "headers": (endless(OK, b"a: b\r\n" * 10_000), ConnectionError),
    "informational responses": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2_000), ConnectionError),
    "a trailer": (endless(CHUNKED + b"0\r\na: ", b"x" * 60_000), ConnectionError),
    "trailers": (endless(CHUNKED + b"0\r\n", b"a: b\r\n" * 10_000), ConnectionError),
}


@contextmanager
def little_memory() -> Iterator[None]:
    """What is done within takes less than a mebibyte, the server's part included."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MEBIBYTE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", FLOODS)
async def test_an_endless_response_fails_with_little_memory(client: ClientType, name: str) -> None:
    script, error = FLOODS[name]
    with little_memory(), pytest.raises(error):
        await read(client, script, max_bytes=1000)


async def test_a_body_in_tiny_chunks_takes_little_more_memory_than_its_size(client: ClientType) -> None:
    script = answering(CHUNKED, *([b"2\r\nxy\r\n" * 500] * 100), b"0\r\n\r\n")
    with little_memory():
        await read(client, script, max_bytes=100_000)


BROKEN = {
    "another protocol's": closing_after(b"SSH-2.0-OpenSSH_9.9\r\n"),
    "without a status": answering(b"HTTP/1.1 OK\r\n\r\n"),
    "of two lengths": answering(OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\n[]"),
    "of a chunk without a length": answering(CHUNKED + b"no number\r\n"),
    "an upgrade": answering(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n\0"),
    "an upgrade to nothing": closing_after(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    "informational only": closing_after(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "nothing": closing_after(),
    "half a status": closing_after(b"HTTP/1.1 20"),
    "short of its length": closing_after(sized(b"[1]")[:-1]),
    "short of its last chunk": closing_after(chunked([b"[1]"])[:-1]),
    "reset before its end": closing_after(sized(b"[1]")[:-1], reset=True),
    "reset where the connection is its end": closing_after(OK + b"\r\n[1", reset=True),
    "reset where the connection is its end, before its first byte": closing_after(OK + b"\r\n", reset=True),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_malformed_or_incomplete_response_raises_connection_error(client: ClientType, name: str) -> None:
    with pytest.raises(ConnectionError, match=r"not HTTP|broke"):
        await read(client, BROKEN[name])


async def test_header_names_are_in_lower_case_and_the_last_of_several_counts(client: ClientType) -> None:
    response = await read(client, answering(sized(b"", b"Retry-After: 1", b"RETRY-AFTER:  2 ", b"x-name: caf\xe9")))

    assert response.headers == {"retry-after": "2", "x-name": "café", "content-length": "0"}


async def test_informational_responses_trailers_and_later_responses_add_no_headers(client: ClientType) -> None:
    for response in (
        b"HTTP/1.1 103 Early Hints\r\nretry-after: 1\r\n\r\n" + chunked([]),
        chunked([], trailers=b"retry-after: 1\r\n"),
        chunked([]) + sized(b"", b"retry-after: 1"),
    ):
        assert (await read(client, answering(response))).headers == {"transfer-encoding": "chunked"}


@st.composite
def pieces(draw: st.DrawFn, whole: bytes) -> list[bytes]:
    cuts = sorted(draw(st.sets(st.integers(0, len(whole)), max_size=8)))
    return [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


@st.composite
def responses(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A body, and the pieces in which the response with it comes."""
    body = draw(st.binary(max_size=300))
    coded, fields = body, []
    if draw(st.booleans()):
        coded, fields = b"".join(map(packed, draw(pieces(body)))) + bytes(draw(st.integers(0, 20))), [GZIPPED]
    trailers = draw(st.sampled_from([b"", b"a: b\r\n"]))
    by_length = draw(st.booleans())
    response = sized(coded, *fields) if by_length else chunked(draw(pieces(coded)), *fields, trailers=trailers)
    return body, draw(pieces(response))


@settings(deadline=None)
@given(cases=st.lists(responses(), min_size=1, max_size=10))
def test_responses_do_not_depend_on_how_the_network_splits_them(
    client: ClientType, cases: list[tuple[bytes, list[bytes]]]
) -> None:
    async def responses() -> list[Response]:
        left = iter(cases)

        async def script(peer: Peer) -> None:
            while await peer.request():
                await peer.send(*next(left)[1])

        async with Server(script) as server:
            connections = client(server.url, {})
            read = [await connections.get("/", max_bytes=300) for _ in cases]
            await connections.close()
            assert server.connections == 1
            return read

    assert [(response.status, response.body) for response in asyncio.run(responses())] == [
        (200, body) for body, _ in cases
    ]
