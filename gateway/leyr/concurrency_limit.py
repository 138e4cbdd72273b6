"""How many calls to one EHR run at a time; the others wait."""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from math import inf

from gateway.http_client.semaphore import ResizableSemaphore


@dataclass(frozen=True, slots=True)
class ConcurrencyConfig:
    """How many calls may run and wait at most, how long an EHR may pause them, and how often the limit decreases."""

    max_concurrency: int = 64
    max_waiting: int = 1_000
    max_pause_seconds: float = 30.0
    seconds_between_decreases: float = 1.0


class ConcurrencyLimiter:
    """Permits of a ResizableSemaphore, none of them during a pause; to be used inside one loop.

    Their number follows additive increase, multiplicative decrease, as TCP finds its share (RFC 5681, section 3.1).
    `now` and `began` are times of `clock`. The loop's own timer only ends a pause that calls wait for.
    """

    def __init__(
        self, config: ConcurrencyConfig, *, clock: Callable[[], float], on_change: Callable[[int], None]
    ) -> None:
        """`on_change` gets each new limit."""
        self._clock = clock
        self._on_change = on_change
        self._config = config
        self.limit = config.max_concurrency
        """How many calls may be in flight."""
        # The limit with the fractions by which it grows.
        self._level = float(config.max_concurrency)
        self._decreased_at = -inf
        self._paused_until = -inf
        self._semaphore = ResizableSemaphore(self.limit)
        # The semaphore's own methods rather than wrappers, since every call releases a permit.
        self.release = self._semaphore.release
        self.reject_waiting = self._semaphore.reject_waiting
        self._is_paused = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def in_flight(self) -> int:
        """How many permits are in use."""
        return self._semaphore.in_use

    @property
    def waiting(self) -> int:
        """How many calls wait for a permit."""
        return self._semaphore.waiting

    def may_wait(self, caller: Hashable) -> bool:
        """Whether a further call may wait: where the queue is full, a call of the caller with the most may leave it."""
        return self._semaphore.waiting < self._config.max_waiting or self._semaphore.make_room(caller)

    def pause_seconds(self, now: float) -> float:
        """Seconds until a call may begin, as the EHR asked for."""
        return max(0.0, self._paused_until - now)

    def try_acquire(self, now: float) -> bool:
        """Take a permit if one is free; none is free while others wait."""
        if self._is_paused:
            self._adjust(now)
        return self._semaphore.try_acquire()

    async def acquire(self, now: float, timeout_seconds: float, caller: Hashable = None) -> bool | None:
        """Wait for a permit, in turn with other callers; False where none came in time, or `reject_waiting` was called.

        None where the call had to leave a full queue.
        """
        if self._is_paused:
            self._schedule_resume(now)
        return await self._semaphore.acquire(timeout_seconds, caller)

    def succeeded(self, now: float) -> None:
        """After a success: the limit grows by one for as many successes as it has calls."""
        if self._level < self._config.max_concurrency:
            self._level = min(self._level + 1 / self._level, self._config.max_concurrency)
            if int(self._level) != self.limit:
                self._adjust(now)

    def longest_pause(self, retry_after: float) -> float:
        """The seconds that an upstream asked to be left alone for, up to the longest that it is."""
        return min(retry_after, self._config.max_pause_seconds)

    def rate_limited(self, now: float, began: float, retry_after: float | None) -> None:
        """After a call that was rate limited: halve the limit, and pause for as long as the response said.

        A call that began before the last decrease was sent under the old limit, so it does not halve the new one.
        """
        if retry_after is not None:
            self._paused_until = max(self._paused_until, now + self.longest_pause(retry_after))
        if began >= self._decreased_at and now - self._decreased_at >= self._config.seconds_between_decreases:
            self._level = max(1.0, self._level / 2)
            self._decreased_at = now
        self._adjust(now)

    def _adjust(self, now: float) -> None:
        limit = int(self._level)
        self._is_paused = now < self._paused_until
        self._semaphore.limit = 0 if self._is_paused else limit
        if not self._is_paused:
            self._semaphore.wake_waiting()
        elif self._semaphore.waiting:
            self._schedule_resume(now)
        if limit != self.limit:
            self.limit = limit
            self._on_change(limit)

    def _schedule_resume(self, now: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.pause_seconds(now), self._resume)

    def _resume(self) -> None:
        self._timer = None
        self._adjust(self._clock())
