"""Key sets from files and over HTTP: limits, and the reasons of failures."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.auth.caller import AuthSettingsError
from gateway.auth.jwks import KeyFile, KeySource, KeyUrl, UnusableKeysError, key_source
from gateway.http_client.httpx2_client import Httpx2Client
from tests.unit.http_client.scripted_server import Script, Server, answering

BODY = b'{"keys":[]}'
LARGEST = 256 * 1024


def answer(status: bytes = b"200 OK", body: bytes = BODY, *headers: bytes) -> Script:
    lines = [b"HTTP/1.1 " + status, b"content-length: %d" % len(body), *headers]
    return answering(b"\r\n".join(lines) + b"\r\n\r\n" + body)


@asynccontextmanager
async def opened(place: str) -> AsyncIterator[KeySource]:
    source = key_source(place, Httpx2Client)
    try:
        yield source
    finally:
        await source.close()


async def failure(source: KeySource) -> str:
    with pytest.raises(UnusableKeysError) as refusal:
        await source.fetch()
    return str(refusal.value)


async def test_a_key_file_is_read_for_each_fetch(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    async with opened(str(path)) as source:
        assert isinstance(source, KeyFile)
        assert await failure(source) == "the file cannot be read: No such file or directory"
        path.write_bytes(BODY)
        assert await source.fetch() == BODY
        path.write_bytes(b" " * LARGEST)
        assert len(await source.fetch()) == LARGEST
        path.write_bytes(b" " * (LARGEST + 1))
        assert await failure(source) == "it is larger than 262144 bytes"


async def test_an_invalid_path_is_a_failure() -> None:
    assert await failure(key_source("canary\0", Httpx2Client)) == "the file cannot be read: its path is not one"


async def test_a_key_url_is_requested_with_its_path_and_query() -> None:
    async with Server(answer()) as server, opened(f"{server.url}/a/keys?p=%20b") as source:
        assert isinstance(source, KeyUrl)
        assert await source.fetch() == BODY
        assert await source.fetch() == BODY
    [first, _] = server.heads
    assert first.startswith(b"GET /a/keys?p=%20b HTTP/1.1\r\n")
    assert b"\r\naccept: application/jwk-set+json, application/json\r\n" in first


async def test_a_key_url_without_a_path_requests_the_root() -> None:
    async with Server(answer()) as server, opened(server.url.replace("http", "HTTP", 1)) as source:
        assert await source.fetch() == BODY
    assert server.heads[0].startswith(b"GET / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (answer(b"404 Not Found"), "the answer has status 404"),
        (answer(b"302 Found", b"", b"location: /elsewhere"), "the answer has status 302"),
        (answer(body=b" " * (LARGEST + 1)), "it is larger than 262144 bytes"),
        (answer(b"200 OK", b"canary", b"content-encoding: gzip"), "the answer is not in the encoding that it names"),
        (answering(b"canary\r\n\r\n"), "no connection: not_http"),
    ],
)
async def test_an_unusable_response_is_a_failure(script: Script, reason: str) -> None:
    async with Server(script) as server, opened(server.url) as source:
        assert await failure(source) == reason


async def test_an_unreachable_server_is_a_failure() -> None:
    async with Server(answer()) as server:
        url = server.url
    async with opened(url) as source:
        assert await failure(source) == "no connection: refused"


async def test_an_impossible_host_name_is_a_failure() -> None:
    async with opened(f"http://{'a' * 64}.example/") as source:
        assert (await failure(source)).startswith("no connection: ")


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "https:///keys",
        "https:keys",
        "https://user:canary@issuer.example/",
        "https://issuer.example:0/",
        "https://issuer.example:99999/",
        "https://issuer.example:canary/",
        "https://[canary/",
        "https://issuer.example/#canary",
        "https://issuer.example/can ary",
        "https://issuer.example/canary\n",
        "https://issuer.example/å-canary",
        "https://issuer.exåmple/canary",
        "ftp://issuer.example/canary",
        "file:///canary",
    ],
)
def test_an_unusable_key_url_is_refused(url: str) -> None:
    with pytest.raises(AuthSettingsError) as refusal:
        key_source(url, Httpx2Client)

    assert "canary" not in str(refusal.value)
