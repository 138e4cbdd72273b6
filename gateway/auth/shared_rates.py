"""What callers took at all processes together: each process's token buckets, lowered to what is left for the fleet.

A bucket decides at once, by what this process knows. Every 200 ms, or a moment after a good part of one was taken, the
process tells the store what its callers took, and hears what all of them took.

For each bucket the store keeps one instant of its own clock, when the bucket will be full again (the generic cell rate
algorithm). What is taken moves it on by the seconds that the refill of so much takes, whatever the caller's rate is.
What a process tells counts as taken 0.3 s ago, before all that is told later: else a bucket that seemed full in between
would have lost that refill.

So a caller within its rate and burst is never refused, whatever processes it asks, as long as a round is at the store
within 0.3 s. And `k` processes give a caller at most `r * (T + 0.3 + 2 * k * d) + k * b` in any `T` seconds, for a rate
`r`, a burst `b`, and `d` seconds from one round's answer to the next one's: what they give too much at first is owed,
and is not given later. While the store is away, each goes by its own buckets, and nothing is owed for that time.
"""

import asyncio
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from math import ceil
from typing import Protocol, Self, TypeAlias

from gateway.shared_store.errors import StoreAwayError, StoreRefusedError
from gateway.shared_store.script import Script
from gateway.shared_store.sealing import Sealing
from gateway.shared_store.store import SharedStore

ROUND_SECONDS = 0.2
_SECONDS_BETWEEN_ROUNDS = 0.02
# A round begins sooner where so large a part of what is left in a bucket was taken since the last one.
_URGENT_SHARE = 1 / 8
# What is told counts as taken so long ago, or when the first of it was, where that is longer.
TOLD_WITHIN_SECONDS = 0.3
_LONGEST_AGE_SECONDS = 1.0
# Callers of one script, of one round, and of all that wait; those beyond wait, or have this process's bucket alone.
_MOST_OF_SCRIPT, _MOST_OF_ROUND, _MOST_WAITING = 250, 1_000, 10_000
_MICROSECONDS = 1_000_000
# A bucket that is further from full than so many bursts and an hour is no bucket of ours.
_MOST_BURSTS, _SECONDS_PER_HOUR = 1_000, 3_600

# ARGV: for each bucket the microseconds that its refill takes longer, and those since it was taken.
# KEYS: buckets. Gives the microseconds until each is full.
_TAKE = Script(
    """\
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local found = {}
for i, key in ipairs(KEYS) do
  local full_at = math.max(tonumber(redis.call('GET', key) or '') or 0, now - tonumber(ARGV[2 * i]))
  full_at = full_at + tonumber(ARGV[2 * i - 1])
  found[i] = math.max(0, full_at - now)
  -- One that is full just now is kept too: what comes next may have been taken before.
  local kept = math.ceil((full_at - now) / 1000) + KEPT
  if kept > 0 then
    redis.call('SET', key, string.format('%.0f', full_at), 'PX', string.format('%.0f', kept))
  else
    redis.call('DEL', key)
  end
end
return found
""".replace("KEPT", str(int(_LONGEST_AGE_SECONDS * 1_000)))
)

Note: TypeAlias = Callable[[Hashable, float, float, float, float], None]
"""Is told the bucket from which something was taken, how much, what is left, its refill a second and its burst."""


class Buckets(Protocol):
    """Token buckets of this process, which can be lowered."""

    def lower(self, key: Hashable, per_second: float, burst: float, full_at: float) -> None:
        """Let a bucket be full at a time of the clock, if that is later than it would be full by itself."""


@dataclass(slots=True)
class _Taken:
    """What was taken from a bucket since the last round, as seconds of its refill."""

    buckets: Buckets
    since: float
    per_second: float = 1.0
    burst: float = 1.0
    seconds: float = 0.0


class SharedRates:
    """Tells the store what was taken, and the buckets what is left. An async context manager, which runs the rounds."""

    def __init__(self, store: SharedStore, sealing: Sealing, clock: Callable[[], float]) -> None:
        self._store = store
        self._sealing = sealing
        self._clock = clock
        self._taken: dict[tuple[str, Hashable], _Taken] = {}
        self._is_anything_taken = asyncio.Event()
        self._is_urgent = asyncio.Event()
        self._rounds: asyncio.Task[None] | None = None
        store.on_away(self._taken.clear)

    def __len__(self) -> int:
        return len(self._taken)

    def joined(self, kind: str, buckets: Buckets) -> Note:
        """Share buckets that all processes know by the same kind and keys; the result is to be told what is taken."""

        def note(key: Hashable, tokens: float, left: float, per_second: float, burst: float) -> None:
            taken = self._noted((kind, key), buckets)
            if taken is None:
                return
            taken.per_second, taken.burst = per_second, burst
            taken.seconds += tokens / per_second
            if taken.seconds * per_second >= left * _URGENT_SHARE:
                self._is_urgent.set()

        return note

    def _noted(self, bucket: tuple[str, Hashable], buckets: Buckets) -> _Taken | None:
        """Where to count what is taken from a bucket; None where the process goes by its own alone."""
        taken = self._taken.get(bucket)
        if taken is None and self._store.is_up and len(self._taken) < _MOST_WAITING:
            taken = self._taken[bucket] = _Taken(buckets, self._clock())
            self._is_anything_taken.set()
        return taken

    async def __aenter__(self) -> Self:
        self._rounds = asyncio.get_running_loop().create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._rounds is not None:
            self._rounds.cancel()
            await asyncio.wait({self._rounds})
            # What was taken last is to be known to those that go on.
            await self.reconcile()

    async def _run(self) -> None:
        while True:
            await self._is_anything_taken.wait()
            with suppress(TimeoutError):  # nothing is urgent, so it is the next round's turn
                async with asyncio.timeout(ROUND_SECONDS):
                    await self._is_urgent.wait()
            self._is_urgent.clear()
            try:
                await self.reconcile()
            except Exception as error:  # noqa: BLE001 # what ends this task would leave each process to itself for good
                context = {"message": "a round of shared rates failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)
            await asyncio.sleep(_SECONDS_BETWEEN_ROUNDS)

    async def reconcile(self) -> None:
        """One round: tell what was taken since the last one, and lower the buckets to what is left."""
        waiting = list(islice(self._taken.items(), _MOST_OF_ROUND))
        for bucket, _ in waiting:
            del self._taken[bucket]
        if not self._taken:
            self._is_anything_taken.clear()
        parts = [waiting[start : start + _MOST_OF_SCRIPT] for start in range(0, len(waiting), _MOST_OF_SCRIPT)]
        await asyncio.gather(*map(self._reconcile, parts))

    async def _reconcile(self, part: "list[tuple[tuple[str, Hashable], _Taken]]") -> None:
        now = self._clock()
        arguments: list[bytes | str | int] = []
        for _, taken in part:
            age = min(max(TOLD_WITHIN_SECONDS, now - taken.since), _LONGEST_AGE_SECONDS)
            # Rounded in favour of the caller.
            arguments += int(taken.seconds * _MICROSECONDS), ceil(age * _MICROSECONDS)
        try:
            result = await self._store.run(_TAKE, [self._name(bucket) for bucket, _ in part], arguments)
        except (StoreAwayError, StoreRefusedError):
            # Each process goes by its own buckets; what was taken so is not owed later.
            return
        found = result.value if isinstance(result.value, list) else []
        for (bucket, taken), micros in zip(part, found, strict=False):
            most = _MOST_BURSTS * taken.burst / taken.per_second + _SECONDS_PER_HOUR
            if isinstance(micros, int) and 0 <= micros <= most * _MICROSECONDS:
                since = self._taken.get(bucket)
                full_at = result.sent + micros / _MICROSECONDS + (0.0 if since is None else since.seconds)
                taken.buckets.lower(bucket[1], taken.per_second, taken.burst, full_at)

    def _name(self, bucket: tuple[str, Hashable]) -> str:
        """The bucket's name in the store; callers are names, or the bytes of addresses and digests."""
        kind, key = bucket
        text = f"b{key.hex()}" if isinstance(key, bytes) else f"s{key}"
        return f"rate:{self._sealing.name('rate', kind, text)}"
