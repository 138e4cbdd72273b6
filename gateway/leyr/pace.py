"""How many calls an EHR gets at a time, as it says itself by refusing some."""

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True)
class GateRules:
    """So many calls at a time, and so many that wait; what an EHR says on how long to wait counts up to a bound."""

    most: int = 64
    most_waiting: int = 1_000
    longest_pause_seconds: float = 30.0
    seconds_between_cuts: float = 1.0


_RULES = GateRules()


class Pace:
    """Additive increase, multiplicative decrease, as TCP finds its share (RFC 5681, section 3.1).

    `now` and `began` are a monotonic clock's seconds.
    """

    __slots__ = ("_cut_at", "_level", "_rules", "paused_until")

    def __init__(self, rules: GateRules = _RULES) -> None:
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
