"""HttpConnection beside aiohttp's and httpx's clients: what both read is read, and what neither reads is refused."""

import gzip
from functools import partial

import aiohttp
import httpx
import pytest

from gateway.http_client.content_encoding import ContentDecodingError
from gateway.http_client.pool import ConnectionPool
from tests.unit.http_client.scripted_server import OK, Server, closing_after, sized

packed = partial(gzip.compress, mtime=0)
BODY = b'["what can be compressed, compressed, compressed"]'
GZIPPED = b"content-encoding: gzip"
CHUNKED = OK + b"transfer-encoding: chunked\r\n"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)

RESPONSES = {
    "plain": sized(BODY),
    "with bare line feeds": sized(BODY, b"x-a: b").replace(b"\r\n", b"\n"),
    "with some bare line feeds": sized(BODY, b"x-a: b\nx-b: c"),
    "with bare line feeds at the head's end": sized(BODY).replace(b"\r\n\r\n", b"\n\n"),
    "with bare line feeds before chunks": CHUNKED.replace(b"\r\n", b"\n") + b"\n" + CHUNKS,
    "with bare line feeds in chunks": CHUNKED + b"\r\n" + CHUNKS.replace(b"\r\n", b"\n"),
    "with bare carriage returns": sized(BODY, b"x-a: b").replace(b"\r\n", b"\r"),
    "with spaces after a chunk's length": CHUNKED + b"\r\n" + CHUNKS.replace(b"\r\n[", b"  \r\n["),
    "with a folded header": sized(BODY, b"x-a: one\r\n two"),
    "with a folded header and bare line feeds": sized(BODY, b"x-a: one\n two"),
    "with a header folded before its value": sized(BODY, b"x-a:\r\n two"),
    "with a folded content encoding": sized(packed(BODY), b"content-encoding:\r\n gzip"),
    "with a folded length": OK + b"content-length:\r\n %d\r\n\r\n" % len(BODY) + BODY,
    "with a length folded in two": OK + b"content-length: 5\r\n 0\r\n\r\n" + BODY,
    "with a folded transfer encoding": OK + b"transfer-encoding:\r\n chunked\r\n\r\n" + CHUNKS,
    "with two lengths": sized(BODY, b"content-length: 3"),
    "with a space before the colon": sized(BODY, b"x-a : b"),
    "with a carriage return in a header": sized(BODY, b"x-a: a\rb"),
    "in UTF-8 for a content encoding": sized(BODY, b"Content-Encoding: UTF-8"),
    "in no content encoding": sized(BODY, b"content-encoding: none"),
    "in the identity": sized(BODY, b"content-encoding: Identity"),
    "in gzip": sized(packed(BODY), GZIPPED),
    "in gzip with an empty member": sized(packed(BODY) + packed(b""), GZIPPED),
    "in gzip that is none": sized(BODY, GZIPPED),
}


async def read_by_aiohttp(url: str) -> bytes | None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as client:
        try:
            async with client.get(url) as response:
                return await response.read()
        except (aiohttp.ClientError, TimeoutError):
            return None


async def read_by_httpx(url: str) -> bytes | None:
    async with httpx.AsyncClient(timeout=1, trust_env=False) as client:
        try:
            return (await client.get(url)).content
        except httpx.HTTPError:
            return None


async def read(url: str) -> bytes | None:
    connections = ConnectionPool(url, {})
    try:
        return bytes((await connections.get("/", max_bytes=10_000, timeout_seconds=1)).body)
    except (OSError, ContentDecodingError):
        return None
    finally:
        await connections.close()


@pytest.mark.parametrize("name", RESPONSES)
async def test_a_response_is_read_if_and_only_if_other_clients_read_it(name: str) -> None:
    async with Server(closing_after(RESPONSES[name])) as server:
        ours, theirs = await read(server.url), {await read_by_aiohttp(server.url), await read_by_httpx(server.url)}

    assert theirs == {ours}
    assert ours in (BODY, None)


# aiohttp reads the first and refuses the second; httpx reads the second, and of the first nothing but a beginning.
@pytest.mark.parametrize("body", [packed(BODY[:20]) + packed(BODY[20:]), packed(BODY) + bytes(512)])
async def test_gzip_of_several_members_or_with_padding_is_read_as_whole_as_either_client_reads_it(body: bytes) -> None:
    async with Server(closing_after(sized(body, GZIPPED))) as server:
        ours, theirs = await read(server.url), {await read_by_aiohttp(server.url), await read_by_httpx(server.url)}

    assert ours == BODY
    assert BODY in theirs


async def test_the_lines_of_a_folded_header_are_one_value() -> None:
    async with Server(closing_after(sized(BODY, b"link: </a>;\r\n rel=next"))) as server:
        connections = ConnectionPool(server.url, {})
        response = await connections.get("/", max_bytes=1000)
        await connections.close()
        async with httpx.AsyncClient(trust_env=False) as client:
            theirs = (await client.get(server.url)).headers["link"]

    assert response.headers["link"] == theirs == "</a>; rel=next"
