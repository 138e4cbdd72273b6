"""The gate in front of one EHR: who calls it now, and who waits for a turn."""

import asyncio
from collections.abc import Callable

from gateway.leyr.pace import GateRules, Pace
from gateway.leyr.places import Places

_RULES = GateRules()


class Gate:
    """Permits by Places, as many as Pace says; to be used inside one loop.

    `now` is `clock`'s time. The loop's own timer only wakes those that wait out a pause.
    """

    __slots__ = ("_changed", "_clock", "_is_paused", "_limit", "_most", "_most_waiting", "_pace", "_places", "_timer")

    def __init__(
        self, rules: GateRules = _RULES, *, clock: Callable[[], float], changed: Callable[[int], None] = lambda _: None
    ) -> None:
        """`changed` is told each new limit."""
        self._clock = clock
        self._changed = changed
        self._most = rules.most
        self._most_waiting = rules.most_waiting
        self._pace = Pace(rules)
        self._limit = self._pace.limit
        self._places = Places(self._limit)
        self._is_paused = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def limit(self) -> int:
        """How many calls may be in flight."""
        return self._limit

    @property
    def in_flight(self) -> int:
        """How many are."""
        return self._places.taken

    @property
    def waiting(self) -> int:
        """How many wait for a turn."""
        return self._places.waiting

    @property
    def is_full(self) -> bool:
        """Whether as many wait as may."""
        return self._places.waiting >= self._most_waiting

    def pause(self, now: float) -> float:
        """Seconds until a call may begin, as the EHR wants it."""
        return max(0.0, self._pace.paused_until - now)

    def enter(self, now: float) -> bool:
        """Take a permit, where one is free that nobody waits for."""
        if self._is_paused:
            self._adjust(now)
        return self._places.take()

    async def wait(self, now: float, seconds: float) -> bool:
        """Take a permit when it is one's turn; False where there was none in time, or everybody was sent away."""
        if self._is_paused:
            self._arm(now)
        return await self._places.wait(seconds)

    def leave(self) -> None:
        """Give the permit back."""
        self._places.give_back()

    def send_away(self) -> None:
        """Nobody shall wait any longer."""
        self._places.send_away()

    def speed_up(self, now: float) -> None:
        """A call succeeded."""
        if self._limit < self._most:
            self._pace.speed_up()
            if self._pace.limit != self._limit:
                self._adjust(now)

    def slow_down(self, now: float, began: float, retry_after: float | None) -> None:
        """A call was refused as one too many."""
        self._pace.slow_down(now, began, retry_after)
        self._adjust(now)

    def _adjust(self, now: float) -> None:
        self._is_paused = now < self._pace.paused_until
        self._places.most = 0 if self._is_paused else self._pace.limit
        if not self._is_paused:
            self._places.fill()
        elif self._places.waiting:
            self._arm(now)
        if self._pace.limit != self._limit:
            self._limit = self._pace.limit
            self._changed(self._limit)

    def _arm(self, now: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.pause(now), self._look)

    def _look(self) -> None:
        self._timer = None
        self._adjust(self._clock())
