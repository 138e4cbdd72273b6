"""How many calls to one EHR run at a time; the others wait, and those that nobody waits for give way to them.

It is the gateway's own, since the semaphores of asyncio and anyio neither find their limit nor know fair shares.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable
from contextvars import Context
from dataclasses import dataclass
from math import inf
from typing import Any
from weakref import WeakSet

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

    @property
    def shortage(self) -> int:
        """How many permits those that wait lack, a pause aside."""
        return self._semaphore.waiting - max(0, self.limit - self._semaphore.in_use)

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
            loop = asyncio.get_running_loop()
            # It outlives the request that runs now, so it must not hold what that one keeps in its context.
            self._timer = loop.call_later(self.pause_seconds(now), self._resume, context=Context())

    def _resume(self) -> None:
        self._timer = None
        self._adjust(self._clock())


# One of so many permits may be held by calls that nobody waits for.
_PERMITS_PER_DETACHED = 4


class DetachedCalls:
    """The calls to one EHR that go on although nobody waits for them, since their answers are of use to later requests.

    They hold at most a quarter of the limit, and one at least. Where that is full, a call of the caller with the most
    gives way to one of a caller that would not have as many; else the new one is refused. The oldest give way to calls
    that wait for a permit. A call is known by its task, and must hold a permit: one that was not sent is no loss.
    From one attempt to the next, as for a further page, it stays detached, and waits for no permit.
    """

    def __init__(self, limiter: ConcurrencyLimiter) -> None:
        self._limiter = limiter
        self._running: dict[asyncio.Task[Any], Hashable] = {}
        # In the order in which they were detached.
        self._detached: dict[asyncio.Task[Any], Hashable] = {}
        self._of_caller: Counter[Hashable] = Counter()
        # Those that were cancelled and still hold their permits.
        self._ending: set[asyncio.Task[Any]] = set()
        # Those whose attempt ended, and which may make another one: for the next page, or for half of the window.
        self._between_attempts: WeakSet[asyncio.Task[Any]] = WeakSet()

    def __len__(self) -> int:
        return len(self._detached)

    def __contains__(self, task: object) -> bool:
        return task in self._detached

    def begin(self, caller: Hashable) -> None:
        """The call of this task, and of a caller, got its permit; if nobody waits for it, it may have to end."""
        task = _current_task()
        self._running[task] = caller
        if task in self._between_attempts:
            self._between_attempts.discard(task)
            if not self.detach(task):
                task.cancel()

    def end(self) -> None:
        """The call of this task is about to release its permit."""
        task = _current_task()
        del self._running[task]
        self._ending.discard(task)
        is_detached = task in self._detached
        self.attach(task)
        if is_detached:
            self._between_attempts.add(task)

    def may_wait(self) -> bool:
        """Whether the call of this task may wait for a permit: not where nobody waits for it."""
        return not self._between_attempts or _current_task() not in self._between_attempts

    def detach(self, task: "asyncio.Task[Any]") -> bool:
        """Let a call go on; False where the one who asks must cancel it."""
        if task not in self._running:
            return False
        caller = self._running[task]
        if not self._has_room(caller):
            self._ending.add(task)
            return False
        self._detached[task] = caller
        self._of_caller[caller] += 1
        # Two turns later, when those that waited for the same requests as it have left.
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: loop.call_soon(self.make_room))
        return True

    def attach(self, task: "asyncio.Task[Any]") -> None:
        """Somebody waits for a call again, or it ended."""
        self._between_attempts.discard(task)
        if task in self._detached:
            caller = self._detached.pop(task)
            self._of_caller[caller] -= 1
            if not self._of_caller[caller]:
                del self._of_caller[caller]

    def make_room(self, coming: int = 0) -> None:
        """Cancel the oldest, for those that wait for a permit and so many that are about to; and what is too many."""
        while self._detached and (
            self._limiter.shortage + coming > len(self._ending) or len(self._detached) > self._most
        ):
            self._cancel(next(iter(self._detached)))

    def cancel_all(self) -> "list[asyncio.Task[Any]]":
        """Cancel every call that nobody waits for; they end a turn of the loop later."""
        cancelled = list(self._detached)
        for task in cancelled:
            self._cancel(task)
        between = [task for task in self._between_attempts if not task.done()]
        for task in between:
            task.cancel()
        return cancelled + between

    @property
    def _most(self) -> int:
        return max(1, self._limiter.limit // _PERMITS_PER_DETACHED)

    def _has_room(self, caller: Hashable) -> bool:
        if len(self._detached) < self._most:
            return True
        [(other, most)] = self._of_caller.most_common(1)
        if most <= self._of_caller[caller] + 1:
            return False
        self._cancel(next(task for task, each in self._detached.items() if each == other))
        return True

    def _cancel(self, task: "asyncio.Task[Any]") -> None:
        self.attach(task)
        self._ending.add(task)
        task.cancel()


def _current_task() -> "asyncio.Task[Any]":
    # No frame of a call keeps its task: with an error that keeps the frames, that would be a cycle.
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a call is made outside a task")
    return task
