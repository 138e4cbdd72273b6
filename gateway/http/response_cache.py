"""GraphQL responses: how they are sent, the cache of whole responses, and Cache-Control headers (RFC 9111)."""

import asyncio
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TypeAlias

from cachetools import FIFOCache
from starlette.types import Send

from gateway.domain.models import Access
from gateway.fetch.cache_budget import CacheBudget
from gateway.fetch.fetch_scope import Incomplete
from gateway.fetch.snapshots import Generation
from gateway.http.negotiation import MIN_COMPRESSED_BYTES, THREAD_BYTES, Encoding, MediaType, compressed

# A shorter body is sent as one piece: copying it costs less than a further ASGI message.
_ONE_PIECE = 256 * 1024
# What is hashed on the event loop: it takes a millisecond, a thread costs a tenth of that.
_MAX_LOOP_DIGEST_BYTES = 1024 * 1024
_OVERHEAD_BYTES = 2_000
# A key holds what its caller may see, even after the caller's token is forgotten.
_CARE_UNIT_BYTES = 250
_GENERATION_BYTES = 100
_MAX_SIGHTINGS = 4_096
# Responses that need no data of Leyr's, such as introspection, change when the gateway is replaced.
_MAX_AGE_SECONDS = 300
_SUFFIX = re.compile(r'-(?:gzip|br|zstd)"$')
_NO_STORE = ((b"cache-control", b"no-store"),)
_NO_TURNS = nullcontext()

_Body: TypeAlias = tuple[Encoding, Sequence[bytes]]

CacheKey: TypeAlias = tuple[tuple[Hashable, ...], bytes]
"""All that a response depends on: media type, method and access; and a digest of the content type and the body."""


@dataclass(slots=True)
class GraphQLResponse:
    """A response to a GraphQL request: what is sent. It is compressed at most once for each encoding."""

    status: int
    media_type: MediaType
    pieces: Sequence[bytes]
    headers: Sequence[tuple[bytes, bytes]] = ()
    fresh_until: float | None = None
    """The clock's time until which all of its data are fresh; None if it must not be cached."""
    generations: Sequence[Generation] | None = None
    """What was cached of the timeslots that it holds; None if it holds none."""
    extensions: bytes | None = None
    """The one of the pieces that holds the extensions."""
    tagged_extensions: bytes = b""
    """What the tag takes in its place: the same data, fetched anew, are no other response."""
    incomplete: Sequence[Incomplete] = ()
    """What its data lack."""
    turns: AbstractAsyncContextManager[object] = _NO_TURNS
    """Within this a thread compresses it, if it is large: a semaphore that responses share."""
    _etag: bytes = b""
    _bodies: dict[Encoding, _Body] = field(default_factory=dict)
    _compressing: dict[Encoding, asyncio.Task[_Body]] = field(default_factory=dict)

    @property
    def is_current(self) -> bool:
        """Whether no newer call has brought other timeslots than it holds."""
        return self.generations is None or all(each.is_current for each in self.generations)

    @property
    def size(self) -> int:
        """The most bytes that it may take in memory: in either encoding JSON takes less than half as many."""
        return _OVERHEAD_BYTES + 2 * sum(map(len, self.pieces))

    @property
    def etag(self) -> bytes:
        """A weak tag, since a response has one tag for all encodings."""
        if not self._etag:
            self._etag = self._made_etag()
        return self._etag

    async def prepare_etag(self) -> None:
        """Compute `etag` in a thread, if it takes long."""
        if not self._etag and self.fresh_until is not None and sum(map(len, self.pieces)) > _MAX_LOOP_DIGEST_BYTES:
            self._etag = await asyncio.to_thread(self._made_etag)

    def _made_etag(self) -> bytes:
        pieces = [self.tagged_extensions if piece is self.extensions else piece for piece in self.pieces]
        return _etag(pieces)

    async def send(self, send: Send, encoding: Encoding, headers: Sequence[tuple[bytes, bytes]] = _NO_STORE) -> None:
        """Send it as ASGI messages, with further `headers`."""
        used, pieces = self._bodies.get(encoding) or await self._body(encoding)
        all_headers = [
            (b"content-type", b"%b; charset=utf-8" % self.media_type.encode()),
            (b"content-length", b"%d" % sum(map(len, pieces))),
            *self.headers,
            *headers,
        ]
        if used is not Encoding.IDENTITY:
            all_headers.append((b"content-encoding", used.encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": all_headers})
        for number, piece in enumerate(pieces, start=1):
            await send({"type": "http.response.body", "body": piece, "more_body": number < len(pieces)})

    async def _body(self, encoding: Encoding) -> _Body:
        """The body in an encoding, made once: Starlette's GZipMiddleware compresses a kept answer each time anew."""
        size = sum(map(len, self.pieces))
        if encoding is Encoding.IDENTITY or size < MIN_COMPRESSED_BYTES:
            if size < _ONE_PIECE:
                self.pieces = [b"".join(self.pieces)]
            self._bodies[encoding] = Encoding.IDENTITY, self.pieces
        elif size >= THREAD_BYTES:
            running = self._compressing.get(encoding)
            if running is None:
                running = self._compressing[encoding] = asyncio.create_task(self._compressed_in_thread(encoding))
            # Other requests may wait for it too, so the cancellation of one must not cancel it.
            return await asyncio.shield(running)
        else:
            self._bodies[encoding] = encoding, [compressed(self.pieces, encoding)]
        return self._bodies[encoding]

    async def _compressed_in_thread(self, encoding: Encoding) -> _Body:
        try:
            async with self.turns:
                body = encoding, [await asyncio.to_thread(compressed, self.pieces, encoding)]
            self._bodies[encoding] = body
        finally:
            del self._compressing[encoding]
        return body


def _etag(pieces: Sequence[bytes]) -> bytes:
    digest = blake2b(digest_size=16)
    for piece in pieces:
        digest.update(piece)
    return b'W/"%b"' % digest.hexdigest().encode()


class ResponseCache:
    """Whole responses by request, each for as long as all its data are fresh, and as the gateway has cached them.

    A response is kept when its request comes the second time: most requests for a window that moves with the clock
    never come again.
    """

    def __init__(self, budget: CacheBudget, clock: Callable[[], float]) -> None:
        self._budget = budget
        self._clock = clock
        self._kept: dict[CacheKey, GraphQLResponse] = {}
        self._sightings: FIFOCache[int, float] = FIFOCache(_MAX_SIGHTINGS)

    def find(self, key: CacheKey) -> GraphQLResponse | None:
        """The response that is kept for a key, if it is still fresh."""
        response = self._kept.get(key)
        if response is None or response.fresh_until is None:
            return None
        if self._clock() >= response.fresh_until or not response.is_current:
            self._budget.drop(("answer", key))
            self._forget(key)
            return None
        self._budget.touch(("answer", key))
        return response

    def offer(self, key: CacheKey, response: GraphQLResponse) -> None:
        """Keep a fresh response if its request came before; else remember that the request came."""
        now, until = self._clock(), response.fresh_until
        if until is None or until <= now or not response.is_current:
            return
        if not (key in self._kept or self._is_seen_again(key, now, until)):
            return
        size = response.size + _access_bytes(key) + _GENERATION_BYTES * len(response.generations or ())
        if self._budget.keep(("answer", key), size, lambda: self._forget(key)):
            self._kept[key] = response
        else:
            self._forget(key)

    def _is_seen_again(self, key: CacheKey, now: float, fresh_until: float) -> bool:
        sighting = hash(key)
        if self._sightings.pop(sighting, now) > now:
            return True
        self._sightings[sighting] = fresh_until
        return False

    def _forget(self, key: CacheKey) -> None:
        self._kept.pop(key, None)


def _access_bytes(key: CacheKey) -> int:
    parts, _ = key
    return _CARE_UNIT_BYTES * sum(len(each.care_units or ()) for each in parts if isinstance(each, Access))


def cache_headers(response: GraphQLResponse, now: float, *, shared: bool) -> Sequence[tuple[bytes, bytes]]:
    """The Cache-Control and ETag headers of a response to GET; no cache may keep one that holds an error.

    One that holds free times has to be asked for anew each time, as newer calls may say something else. `now` is the
    time of the clock that `fresh_until` is measured with. `shared` says whether caches that serve several callers may
    keep the response.
    """
    if response.fresh_until is None:
        return _NO_STORE
    scope = b"public" if shared else b"private"
    seconds = int(min(max(response.fresh_until - now, 0), _MAX_AGE_SECONDS))
    must_ask = not seconds or response.generations is not None
    kept = b"%b, no-cache" % scope if must_ask else b"%b, max-age=%d" % (scope, seconds)
    return [(b"cache-control", kept), (b"etag", response.etag)]


def is_not_modified(response: GraphQLResponse, headers: Mapping[bytes, str]) -> bool:
    """Whether the client has this response already (`If-None-Match`: RFC 9110, 13.1.2)."""
    if_none_match = headers.get(b"if-none-match")
    if if_none_match is None or response.fresh_until is None:
        return False
    # The comparison is weak (RFC 9110, 8.8.3.2): caches on the way may have removed the `W/`. Apache's compression adds
    # a suffix to the tags that it passes on, and leaves it in those of clients.
    tags = {_SUFFIX.sub('"', each.strip().removeprefix("W/")) for each in if_none_match.split(",")}
    return "*" in tags or response.etag.decode().removeprefix("W/") in tags
