"""Writes that reach the EHR some time after their call: each is made before the first thing that could show it."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

MOST_WAITING = 10_000


class LateWrites:
    """Writes under way, made in the order of their times by whoever looks next, so that no timer is needed."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, seconds: float, write: Callable[[], object]) -> None:
        """Have a write made in so many seconds; the first of very many is made at once."""
        heappush(self._waiting, (self._clock() + seconds, next(self._numbers), write))
        if len(self._waiting) > MOST_WAITING:
            self._make_first()

    def make_due(self) -> None:
        """Make every write whose time has come."""
        while self._waiting and self._waiting[0][0] <= self._clock():
            self._make_first()

    def clear(self) -> None:
        """Forget every write that has not been made."""
        self._waiting.clear()

    def _make_first(self) -> None:
        _, _, write = heappop(self._waiting)
        write()
