"""How often something happened lately."""

_SLOTS = 10


class RollingCount:
    """A count of the last `seconds`, which forgets a tenth of them at a time."""

    __slots__ = ("_counts", "_slot", "_total", "_width")

    def __init__(self, seconds: float) -> None:
        self._width = seconds / _SLOTS
        self._counts = [0] * _SLOTS
        self._slot = 0
        self._total = 0

    def add(self, now: float) -> None:
        """It happened once more."""
        slot = int(now / self._width)
        if slot != self._slot:
            self._forget(slot)
        self._counts[self._slot % _SLOTS] += 1
        self._total += 1

    def total(self, now: float) -> int:
        """How often it happened."""
        self._forget(int(now / self._width))
        return self._total

    def clear(self) -> None:
        """It never happened."""
        self._counts = [0] * _SLOTS
        self._total = 0

    def _forget(self, slot: int) -> None:
        passed = slot - self._slot
        if passed <= 0:
            return
        for each in range(self._slot + 1, self._slot + 1 + min(passed, _SLOTS)):
            self._total -= self._counts[each % _SLOTS]
            self._counts[each % _SLOTS] = 0
        self._slot = slot
