"""Documents that clients registered at any process, so that each of them is missed once, and not once a process.

Only their sealed texts are in the store, under keyed digests of their hashes: nobody can tell there what clients ask.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from cachetools import TTLCache

from gateway.shared_store.errors import StoreAwayError, StoreRefusedError
from gateway.shared_store.reads import ReadEvents, ReadOutcome, SharedRead
from gateway.shared_store.script import Script
from gateway.shared_store.sealing import Sealing
from gateway.shared_store.store import SharedStore

_CHANNEL = "documents"
_INDEX = "documents"
_KEPT_MILLISECONDS = 24 * 60 * 60 * 1_000
# All that are in the store together: an index knows their ages and sizes, and the oldest go first.
_MOST_DOCUMENTS, _MOST_BYTES = 4_096, 16 * 1024 * 1024
# A flood of hashes that nobody knows must not become one of reads.
_MOST_READS, _MOST_UNKNOWN, _UNKNOWN_SECONDS = 64, 4_096, 5.0
_MOST_TOLD, _TOLD_SECONDS = 1_024, 10.0

_FIND = Script("return redis.call('GET', KEYS[1])", only_reads=True)
# ARGV: ms that a document is kept, sealed text, its name, channel, most documents, most bytes. KEYS: document, index.
# The index has the time of each document under its name and size, and the sum of the sizes under '#': so small a time
# is before all others.
_KEEP = Script(
    """\
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[1])
redis.call('PUBLISH', ARGV[4], ARGV[3])
local now = redis.call('TIME')
local ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
local prefix = string.sub(KEYS[1], 1, -1 - #ARGV[3])
local bytes = tonumber(redis.call('ZINCRBY', KEYS[2], 0, '#'))
if redis.call('ZADD', KEYS[2], ms, ARGV[3] .. ' ' .. #ARGV[2]) == 1 then
  bytes = tonumber(redis.call('ZINCRBY', KEYS[2], #ARGV[2], '#'))
end
local oldest = redis.call('ZRANGE', KEYS[2], 1, 1, 'WITHSCORES')
while oldest[1] and (tonumber(oldest[2]) <= ms - tonumber(ARGV[1])
    or redis.call('ZCARD', KEYS[2]) - 1 > tonumber(ARGV[5]) or bytes > tonumber(ARGV[6])) do
  local name, size = string.match(oldest[1], '^(%S+) (%d+)$')
  redis.call('ZREM', KEYS[2], oldest[1])
  if name and name ~= ARGV[3] then redis.call('DEL', prefix .. name) end
  bytes = tonumber(redis.call('ZINCRBY', KEYS[2], -tonumber(size or 0), '#'))
  oldest = redis.call('ZRANGE', KEYS[2], 1, 1, 'WITHSCORES')
end
redis.call('PEXPIRE', KEYS[2], ARGV[1])
return 1
"""
)


class SharedDocuments:
    """Registered documents by their hashes; each is kept for a day, and of too many the oldest go."""

    def __init__(self, store: SharedStore, sealing: Sealing, clock: Callable[[], float], events: ReadEvents) -> None:
        self._store = store
        self._events = events
        self._sealing = sealing
        self._reads: dict[str, asyncio.Task[str | None]] = {}
        self._keeping: dict[str, asyncio.Task[None]] = {}
        self._unknown: TTLCache[str, bool] = TTLCache(_MOST_UNKNOWN, _UNKNOWN_SECONDS, timer=clock)
        self._told: TTLCache[str, bool] = TTLCache(_MOST_TOLD, _TOLD_SECONDS, timer=clock)
        store.follow(_CHANNEL, self._take_message)
        # Messages may have been missed.
        store.on_up(self._unknown.clear)

    async def find(self, sha256_hash: str) -> str | None:
        """The document that some process registered under a hash; None where none did, or nobody can tell now.

        Whoever asks for the same hash meanwhile waits for the same read.
        """
        name = self._sealing.name("document", sha256_hash)
        read = self._reads.get(name)
        if read is None:
            if name in self._unknown or len(self._reads) >= _MOST_READS or not self._store.is_up:
                return None
            read = self._reads[name] = asyncio.get_running_loop().create_task(self._read(name))
            read.add_done_callback(lambda _: self._reads.pop(name, None))
        return await asyncio.shield(read)

    def keep(self, sha256_hash: str, text: str) -> None:
        """Register a document for all processes, in the background, as far as the store is up."""
        name = self._sealing.name("document", sha256_hash)
        # A client may send each request with the document and its hash.
        if name in self._told or not self._store.is_up:
            return
        self._told[name] = True
        arguments: list[bytes | str | int] = [
            _KEPT_MILLISECONDS,
            self._sealing.seal(name, text.encode()),
            name,
            self._store.channel(_CHANNEL),
            _MOST_DOCUMENTS,
            _MOST_BYTES,
        ]
        keeping = self._keeping[name] = asyncio.get_running_loop().create_task(self._keep(name, arguments))
        keeping.add_done_callback(lambda _: self._keeping.pop(name, None))

    async def kept(self, sha256_hash: str) -> None:
        """Wait until other processes can find a document that is being kept, or nobody can tell."""
        if self._keeping:
            keeping = self._keeping.get(self._sealing.name("document", sha256_hash))
            if keeping is not None:
                await asyncio.wait({keeping})

    async def _keep(self, name: str, arguments: list[bytes | str | int]) -> None:
        # Where it fails, another client sends the document to another process.
        with suppress(StoreAwayError, StoreRefusedError):
            await self._store.run(_KEEP, [_document(name), _INDEX], arguments)

    async def _read(self, name: str) -> str | None:
        # A message that it was registered takes this away again, also where it comes before the next turn of the loop.
        self._unknown[name] = True
        try:
            sealed = (await self._store.run(_FIND, [_document(name)], [])).value
        except (StoreAwayError, StoreRefusedError):
            self._unknown.pop(name, None)
            return None
        plain = None
        if sealed is not None:
            self._unknown.pop(name, None)
            plain = self._sealing.open(name, sealed)
        self._events.shared_read(SharedRead.DOCUMENT, ReadOutcome.MISS if plain is None else ReadOutcome.HIT)
        return None if plain is None else plain.decode(errors="replace")

    def _take_message(self, message: bytes) -> None:
        """Some process registered a document: it is known from now on."""
        self._unknown.pop(message.decode("ascii", "replace"), None)


def _document(name: str) -> str:
    return f"document:{name}"
