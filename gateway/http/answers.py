"""Answers on their way out, and those that are kept to be sent again as they are."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from starlette.types import Send

from gateway.http.encoding import Encoding, encoded
from gateway.http.negotiation import MediaType
from gateway.sources.memory import Memory

# What is shorter leaves as one piece: copying it costs less than a further message.
_ONE_PIECE = 256 * 1024
_ANSWER_BYTES = 2_000
_MOST_SIGHTINGS = 4_096


@dataclass(slots=True)
class Answer:
    """A response to a GraphQL request; compressed at most once for each encoding, however often it is sent."""

    status: int
    media_type: MediaType
    pieces: Sequence[bytes]
    headers: Sequence[tuple[bytes, bytes]] = ()
    _encoded: dict[Encoding, tuple[Encoding, list[bytes]]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The bytes that it takes, all encodings together."""
        kept = [self.pieces, *(pieces for _, pieces in self._encoded.values())]
        return _ANSWER_BYTES + sum(len(piece) for pieces in kept for piece in pieces)

    async def send(self, send: Send, encoding: Encoding) -> None:
        """Send it as ASGI messages."""
        if encoding not in self._encoded:
            used, pieces = await encoded(self.pieces, encoding)
            if sum(map(len, pieces)) < _ONE_PIECE:
                pieces = [b"".join(pieces)]
            self._encoded[encoding] = used, pieces
        used, pieces = self._encoded[encoding]
        headers = [
            (b"content-type", b"%b; charset=utf-8" % self.media_type.encode()),
            (b"content-length", b"%d" % sum(map(len, pieces))),
            (b"cache-control", b"no-store"),
            (b"vary", b"accept, accept-encoding"),
            *self.headers,
        ]
        if used is not Encoding.IDENTITY:
            headers.append((b"content-encoding", used.encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        for number, piece in enumerate(pieces, start=1):
            await send({"type": "http.response.body", "body": piece, "more_body": number < len(pieces)})


class FinishedAnswers:
    """Whole answers to requests that come again, as long as all their data are fresh.

    An answer is kept when its request comes the second time: most requests of a window that moves with the clock
    never do. A key holds everything that an answer depends on: the request as it was written, and who asks.
    """

    def __init__(self, memory: Memory, clock: Callable[[], float]) -> None:
        self._memory = memory
        self._clock = clock
        self._kept: dict[Hashable, tuple[Answer, float]] = {}
        self._sightings: dict[int, float] = {}

    def find(self, key: Hashable) -> Answer | None:
        """The answer that is kept for a key, where it is still fresh."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        answer, fresh_until = kept
        if self._clock() >= fresh_until:
            self._memory.drop(("answer", key))
            self._forget(key)
            return None
        self._memory.used(("answer", key))
        return answer

    def offer(self, key: Hashable, answer: Answer, fresh_until: float) -> None:
        """Keep an answer, if there is reason to think that it will be asked for again before it is stale."""
        now = self._clock()
        if fresh_until <= now:
            return
        sighting = hash(key)
        seen_until = self._sightings.pop(sighting, 0.0)
        if seen_until <= now:
            if len(self._sightings) >= _MOST_SIGHTINGS:
                del self._sightings[next(iter(self._sightings))]
            self._sightings[sighting] = fresh_until
            return
        if self._memory.keep(("answer", key), answer.size, lambda: self._forget(key)):
            self._kept[key] = answer, fresh_until

    def _forget(self, key: Hashable) -> None:
        self._kept.pop(key, None)
