"""How many calls one EHR gets at a time, as it says itself by refusing some, and who waits for a permit."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from gateway.http_client.semaphore import ResizableSemaphore


@dataclass(frozen=True, slots=True)
class ConcurrencyConfig:
    """So many calls at a time, and so many that wait; what an EHR says on how long to wait counts up to a bound."""

    most: int = 64
    most_waiting: int = 1_000
    longest_pause_seconds: float = 30.0
    seconds_between_cuts: float = 1.0


_CONFIG = ConcurrencyConfig()


class AimdLimit:
    """Additive increase, multiplicative decrease, as TCP finds its share (RFC 5681, section 3.1).

    `now` and `began` are a monotonic clock's seconds.
    """

    __slots__ = ("_cut_at", "_level", "_rules", "paused_until")

    def __init__(self, rules: ConcurrencyConfig = _CONFIG) -> None:
        self._rules = rules
        self._level = float(rules.most)
        self._cut_at = -inf
        self.paused_until = -inf

    @property
    def limit(self) -> int:
        """How many calls may be in flight."""
        return int(self._level)

    def speed_up(self) -> None:
        """A call succeeded: one more at a time for every round of them."""
        if self._level < self._rules.most:
            self._level = min(self._level + 1 / self._level, self._rules.most)

    def slow_down(self, now: float, began: float, retry_after: float | None) -> None:
        """A call was refused as one too many: half as many at a time, and none for as long as was said.

        What was on its way at the last cut was sent at the old pace, so it cuts no more.
        """
        if retry_after is not None:
            self.paused_until = max(self.paused_until, now + min(retry_after, self._rules.longest_pause_seconds))
        if began >= self._cut_at and now - self._cut_at >= self._rules.seconds_between_cuts:
            self._level = max(1.0, self._level / 2)
            self._cut_at = now


class ConcurrencyLimiter:
    """Permits by ResizableSemaphore, as many as AimdLimit says; to be used inside one loop.

    `now` is `clock`'s time. The loop's own timer only wakes those that wait out a pause.
    """

    __slots__ = (
        "_aimd",
        "_changed",
        "_clock",
        "_is_paused",
        "_limit",
        "_most",
        "_most_waiting",
        "_semaphore",
        "_timer",
    )

    def __init__(
        self,
        rules: ConcurrencyConfig = _CONFIG,
        *,
        clock: Callable[[], float],
        changed: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`changed` is told each new limit."""
        self._clock = clock
        self._changed = changed
        self._most = rules.most
        self._most_waiting = rules.most_waiting
        self._aimd = AimdLimit(rules)
        self._limit = self._aimd.limit
        self._semaphore = ResizableSemaphore(self._limit)
        self._is_paused = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def limit(self) -> int:
        """How many calls may be in flight."""
        return self._limit

    @property
    def in_flight(self) -> int:
        """How many are."""
        return self._semaphore.taken

    @property
    def waiting(self) -> int:
        """How many wait for a turn."""
        return self._semaphore.waiting

    @property
    def is_full(self) -> bool:
        """Whether as many wait as may."""
        return self._semaphore.waiting >= self._most_waiting

    def pause(self, now: float) -> float:
        """Seconds until a call may begin, as the EHR wants it."""
        return max(0.0, self._aimd.paused_until - now)

    def enter(self, now: float) -> bool:
        """Take a permit, where one is free that nobody waits for."""
        if self._is_paused:
            self._adjust(now)
        return self._semaphore.take()

    async def wait(self, now: float, seconds: float) -> bool:
        """Take a permit when it is one's turn; False where there was none in time, or everybody was sent away."""
        if self._is_paused:
            self._arm(now)
        return await self._semaphore.wait(seconds)

    def leave(self) -> None:
        """Give the permit back."""
        self._semaphore.give_back()

    def send_away(self) -> None:
        """Nobody shall wait any longer."""
        self._semaphore.send_away()

    def speed_up(self, now: float) -> None:
        """A call succeeded."""
        if self._limit < self._most:
            self._aimd.speed_up()
            if self._aimd.limit != self._limit:
                self._adjust(now)

    def slow_down(self, now: float, began: float, retry_after: float | None) -> None:
        """A call was refused as one too many."""
        self._aimd.slow_down(now, began, retry_after)
        self._adjust(now)

    def _adjust(self, now: float) -> None:
        self._is_paused = now < self._aimd.paused_until
        self._semaphore.most = 0 if self._is_paused else self._aimd.limit
        if not self._is_paused:
            self._semaphore.fill()
        elif self._semaphore.waiting:
            self._arm(now)
        if self._aimd.limit != self._limit:
            self._limit = self._aimd.limit
            self._changed(self._limit)

    def _arm(self, now: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.pause(now), self._look)

    def _look(self) -> None:
        self._timer = None
        self._adjust(self._clock())
