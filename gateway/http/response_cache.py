"""GraphQL responses: sent, kept to be sent again, and what they tell caches on their way (RFC 9111)."""

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TypeAlias

from starlette.types import Send

from gateway.fetch.cache_budget import CacheBudget
from gateway.http.compression import Encoding, compressed, is_worth_it, takes_long
from gateway.http.negotiation import MediaType

# What is shorter leaves as one piece: copying it costs less than a further message.
_ONE_PIECE = 256 * 1024
_ANSWER_BYTES = 2_000
_MOST_SIGHTINGS = 4_096


_NOT_KEPT = ((b"cache-control", b"no-store"),)

_Body: TypeAlias = tuple[Encoding, Sequence[bytes]]

# What a request is answered by: what its head asks for and who asks, and a digest of its content type and body.
CacheKey: TypeAlias = tuple[Hashable, bytes]


@dataclass(slots=True)
class GraphQLResponse:
    """A response to a GraphQL request; compressed at most once for each encoding, however often it is sent."""

    status: int
    media_type: MediaType
    pieces: Sequence[bytes]
    headers: Sequence[tuple[bytes, bytes]] = ()
    fresh_until: float | None = None
    """The clock's time until which all of its data are fresh; None where it must not be kept."""
    _etag: bytes = b""
    _bodies: dict[Encoding, _Body] = field(default_factory=dict)
    _compressing: dict[Encoding, asyncio.Task[_Body]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The bytes that it may come to take: in either encoding JSON takes less than half as many."""
        return _ANSWER_BYTES + 2 * sum(map(len, self.pieces))

    @property
    def etag(self) -> bytes:
        """A weak tag, since an answer has one for all encodings."""
        if not self._etag:
            digest = blake2b(digest_size=16)
            for piece in self.pieces:
                digest.update(piece)
            self._etag = b'W/"%b"' % digest.hexdigest().encode()
        return self._etag

    async def send(self, send: Send, encoding: Encoding, headers: Sequence[tuple[bytes, bytes]] = _NOT_KEPT) -> None:
        """Send it as ASGI messages; `headers` are those of this one response."""
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
        size = sum(map(len, self.pieces))
        if encoding is Encoding.IDENTITY or not is_worth_it(size):
            if size < _ONE_PIECE:
                self.pieces = [b"".join(self.pieces)]
            self._bodies[encoding] = Encoding.IDENTITY, self.pieces
        elif takes_long(size):
            running = self._compressing.get(encoding)
            if running is None:
                running = self._compressing[encoding] = asyncio.create_task(self._compressed_beside(encoding))
            # Others may wait for the same; whoever came first must not take it along.
            return await asyncio.shield(running)
        else:
            self._bodies[encoding] = encoding, [compressed(self.pieces, encoding)]
        return self._bodies[encoding]

    async def _compressed_beside(self, encoding: Encoding) -> _Body:
        try:
            body = encoding, [await asyncio.to_thread(compressed, self.pieces, encoding)]
            self._bodies[encoding] = body
        finally:
            del self._compressing[encoding]
        return body


class ResponseCache:
    """Whole answers to requests that come again, as long as all their data are fresh.

    An answer is kept when its request comes the second time: most requests of a window that moves with the clock
    never do. A key holds everything that an answer depends on: the request as it was written, and who asks.
    """

    def __init__(self, memory: CacheBudget, clock: Callable[[], float]) -> None:
        self._memory = memory
        self._clock = clock
        self._kept: dict[CacheKey, tuple[GraphQLResponse, float]] = {}
        self._sightings: dict[int, float] = {}

    def find(self, key: CacheKey) -> GraphQLResponse | None:
        """The answer that is kept for a key, where it is still fresh."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        answer, fresh_until = kept
        if self._clock() >= fresh_until:
            self._memory.drop(("answer", key))
            self._forget(key)
            return None
        self._memory.touch(("answer", key))
        return answer

    def offer(self, key: CacheKey, answer: GraphQLResponse, fresh_until: float) -> None:
        """Keep an answer, if there is reason to think that it will be asked for again before it is stale."""
        now = self._clock()
        if fresh_until <= now or not (key in self._kept or self._is_seen_again(key, now, fresh_until)):
            return
        if self._memory.keep(("answer", key), answer.size, lambda: self._forget(key)):
            self._kept[key] = answer, fresh_until
        else:
            self._forget(key)

    def _is_seen_again(self, key: CacheKey, now: float, fresh_until: float) -> bool:
        sighting = hash(key)
        if self._sightings.pop(sighting, now) > now:
            return True
        if len(self._sightings) >= _MOST_SIGHTINGS:
            del self._sightings[next(iter(self._sightings))]
        self._sightings[sighting] = fresh_until
        return False

    def _forget(self, key: CacheKey) -> None:
        self._kept.pop(key, None)


# Answers that need no data of Leyr's, such as introspection, change when the gateway is replaced.
_LONGEST_SECONDS = 300


class CacheControl:
    """Tells for how long answers are fresh, from what they were made of; `clock` is the one of the data's ages.

    `shared` says whether caches that serve several callers may keep them.
    """

    def __init__(self, clock: Callable[[], float], *, shared: bool) -> None:
        self._clock = clock
        self._scope = b"public" if shared else b"private"

    def headers(self, answer: GraphQLResponse) -> list[tuple[bytes, bytes]]:
        """The headers of an answer to GET; one that holds an error is not to be kept at all."""
        if answer.fresh_until is None:
            return [(b"cache-control", b"no-store")]
        seconds = int(min(max(answer.fresh_until - self._clock(), 0), _LONGEST_SECONDS))
        kept = b"%b, max-age=%d" % (self._scope, seconds) if seconds else b"%b, no-cache" % self._scope
        return [(b"cache-control", kept), (b"etag", answer.etag)]


def is_known(answer: GraphQLResponse, headers: Mapping[bytes, str]) -> bool:
    """Whether the client has this very answer already (`If-None-Match`: RFC 9110, 13.1.2)."""
    asked = headers.get(b"if-none-match")
    if asked is None or answer.fresh_until is None:
        return False
    # The comparison is weak (RFC 9110, 8.8.3.2): caches on the way may have left out the mark.
    tags = {each.strip().removeprefix("W/") for each in asked.split(",")}
    return "*" in tags or answer.etag.decode().removeprefix("W/") in tags
