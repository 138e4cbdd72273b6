"""Responses as ASGI messages, and the cache of whole responses."""

import asyncio
import gc
import gzip
import sys
import tracemalloc
from collections.abc import MutableMapping
from typing import Any

import pytest

from gateway.domain.models import Access, CareUnitKey
from gateway.fetch.cache_budget import CacheBudget
from gateway.http.negotiation import Encoding, MediaType
from gateway.http.response_cache import CacheKey, GraphQLResponse, ResponseCache

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LONG = [b'{"data":', b'"0123456789"' * 200, b"}"]
VERY_LONG = [b'"%032d",' % number for number in range(12_000)]


class Client:
    """Puts together what an answer sends."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.pieces: list[bytes] = []
        self.is_complete = False

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
        else:
            self.pieces.append(message["body"])
            self.is_complete = not message.get("more_body", False)

    @property
    def body(self) -> bytes:
        """What the client makes of the body."""
        body = b"".join(self.pieces)
        assert self.is_complete
        assert int(self.headers[b"content-length"]) == len(body)
        match self.headers.get(b"content-encoding"):
            case b"gzip":
                return gzip.decompress(body)
            case b"zstd":
                return zstd.decompress(body)
            case _:
                return body


def answer(pieces: list[bytes] | None = None) -> GraphQLResponse:
    return GraphQLResponse(200, MediaType.JSON, LONG if pieces is None else pieces)


async def sent(given: GraphQLResponse, encoding: Encoding) -> Client:
    client = Client()
    await given.send(client, encoding)
    return client


@pytest.mark.parametrize("pieces", [LONG, VERY_LONG, [b"{}"], [b"1" * 1023], [b"1" * 1024]])
@pytest.mark.parametrize("encoding", Encoding)
async def test_a_response_is_the_same_in_every_encoding(encoding: Encoding, pieces: list[bytes]) -> None:
    given = answer(pieces)
    whole = b"".join(pieces)

    once, again = await sent(given, encoding), await sent(given, encoding)

    assert once.body == again.body == whole
    assert once.headers == again.headers
    used = Encoding.IDENTITY if len(whole) < 1024 else encoding
    assert once.headers.get(b"content-encoding", b"identity") == used.encode()
    assert once.headers[b"content-type"] == b"application/json; charset=utf-8"
    assert len(once.pieces) < len(pieces) or len(whole) > 256 * 1024 or len(pieces) == 1


async def test_a_response_keeps_its_status_and_headers() -> None:
    client = await sent(GraphQLResponse(405, MediaType.GRAPHQL_RESPONSE, [b"{}"], [(b"allow", b"POST")]), Encoding.GZIP)

    assert client.status == 405
    assert client.headers[b"allow"] == b"POST"
    assert client.headers[b"content-type"] == b"application/graphql-response+json; charset=utf-8"


@pytest.mark.parametrize("pieces", [LONG, VERY_LONG])
async def test_a_response_is_compressed_once_for_each_encoding(pieces: list[bytes]) -> None:
    given = answer(pieces)

    clients = await asyncio.gather(*(sent(given, Encoding.ZSTD) for _ in range(20)))

    assert len({id(client.pieces[0]) for client in clients}) == 1


async def test_a_cancelled_send_does_not_cancel_the_compression_for_others() -> None:
    given = answer(VERY_LONG)
    leaving, staying = (asyncio.create_task(sent(given, Encoding.GZIP)) for _ in range(2))
    await asyncio.sleep(0)

    leaving.cancel()

    assert (await staying).body == b"".join(VERY_LONG)


@pytest.mark.parametrize("pieces", [LONG, VERY_LONG])
async def test_a_response_takes_at_most_its_counted_size(pieces: list[bytes]) -> None:
    given = answer(pieces)
    counted = given.size

    bodies = [await sent(given, encoding) for encoding in Encoding]

    assert sum(len(piece) for client in bodies for piece in client.pieces) < counted


class CacheUnderTest:
    """A response cache with a clock that the test controls."""

    def __init__(self, most_bytes: int = 1_000_000) -> None:
        self.now = 100.0
        self.memory = CacheBudget(most_bytes)
        self.finished = ResponseCache(self.memory, lambda: self.now)

    def offer(self, key: CacheKey, given: GraphQLResponse, *, fresh: float = 15) -> None:
        given.fresh_until = self.now + fresh
        self.finished.offer(key, given)


def key(body: bytes = b"query", head: str = "json") -> CacheKey:
    return (head,), body


def test_a_response_is_cached_when_its_request_comes_the_second_time() -> None:
    world, first, second = CacheUnderTest(), answer(), answer()

    world.offer(key(), first)
    assert world.finished.find(key()) is None
    world.offer(key(), second)

    assert world.finished.find(key()) is second


@pytest.mark.parametrize("other", [key(b"another"), key(head="graphql")])
def test_another_key_gets_another_response(other: CacheKey) -> None:
    world = CacheUnderTest()
    world.offer(key(), answer())
    world.offer(key(), answer())

    assert world.finished.find(other) is None


def test_a_stale_response_is_dropped_from_the_cache() -> None:
    world = CacheUnderTest()
    world.offer(key(), answer())
    world.offer(key(), answer())
    world.now += 15

    assert world.finished.find(key()) is None
    assert world.memory.bytes == 0


def test_a_request_repeated_after_its_response_is_stale_counts_as_the_first() -> None:
    world = CacheUnderTest()
    world.offer(key(), answer())

    world.now += 15
    world.offer(key(), answer())

    assert world.finished.find(key()) is None
    assert world.memory.bytes == 0


def test_a_response_that_is_stale_already_is_not_cached() -> None:
    world = CacheUnderTest()

    for _ in range(3):
        world.offer(key(), answer(), fresh=0)

    assert world.finished.find(key()) is None


def test_a_newer_response_replaces_the_cached_one() -> None:
    world, newer = CacheUnderTest(), answer()
    world.offer(key(), answer())
    world.offer(key(), answer())

    world.offer(key(), newer)

    assert world.finished.find(key()) is newer


def test_a_newer_response_that_is_too_large_drops_the_cached_one() -> None:
    world = CacheUnderTest(20_000)
    world.offer(key(), answer())
    world.offer(key(), answer())

    world.offer(key(), answer(VERY_LONG))

    assert world.finished.find(key()) is None
    assert world.memory.bytes == 0


def test_cached_responses_stay_within_the_budget() -> None:
    world = CacheUnderTest(100_000)

    for number in range(2_000):
        for _ in range(2):
            world.offer(key(b"%d" % number), answer([b"{}"]))

    kept = [number for number in range(2_000) if world.finished.find(key(b"%d" % number))]
    assert 1 < len(kept) <= 100_000 / 2_000
    assert kept[-1] == 1_999
    assert 0 < world.memory.bytes <= 100_000


def test_requests_seen_once_are_forgotten_after_many_others() -> None:
    world = CacheUnderTest()
    world.offer(key(b"first"), answer())

    for number in range(5_000):
        world.offer(key(b"%d" % number), answer())
    world.offer(key(b"first"), answer())

    assert world.finished.find(key(b"first")) is None


@pytest.mark.parametrize("pieces", [[b"{}"], LONG])
@pytest.mark.parametrize("units", [0, 300])
def test_a_response_is_charged_for_about_what_it_takes_with_its_key(pieces: list[bytes], units: int) -> None:
    world = CacheUnderTest(100_000_000)

    def fill(numbers: range) -> None:
        for number in numbers:
            seen = frozenset(CareUnitKey("webdoc", f"unit-{number}-{each}") for each in range(units))
            digest = b"%064d" % number
            for _ in range(2):
                own = answer([bytes(bytearray(piece)) for piece in pieces])
                world.offer(((MediaType.JSON, True, Access(care_units=seen)), digest), own)
            asyncio.run(sent(own, Encoding.IDENTITY))

    fill(range(-5, 0))
    gc.collect()
    before = world.memory.bytes
    tracemalloc.start()
    fill(range(50))
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # Each encoding that was not asked for yet is charged too.
    assert 0.8 < (world.memory.bytes - before) / size < 2.3
