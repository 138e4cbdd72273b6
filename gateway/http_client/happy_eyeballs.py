"""Happy Eyeballs (RFC 8305): in which order the addresses of a host are tried, and when each attempt begins."""

from collections import deque
from collections.abc import Iterable, Sequence
from math import inf
from typing import NamedTuple

# The last of so many begins after two seconds.
_MOST_ADDRESSES = 8


class Address(NamedTuple):
    """An IP address as text, and its family as the module `socket` numbers them."""

    host: str
    family: int


def in_order(addresses: Iterable[Address]) -> tuple[Address, ...]:
    """At most eight addresses, one of each family in turn (section 4); else each keeps its place, and comes once."""
    families: dict[int, deque[Address]] = {}
    for address in dict.fromkeys(addresses):
        families.setdefault(address.family, deque()).append(address)
    ordered: list[Address] = []
    while families and len(ordered) < _MOST_ADDRESSES:
        for family in list(families):
            ordered.append(families[family].popleft())
            if not families[family]:
                del families[family]
    return tuple(ordered[:_MOST_ADDRESSES])


class Race:
    """Attempts to connect, of which the first to succeed wins: one begins when the last failed or after a delay.

    `now` is a monotonic clock's seconds.
    """

    def __init__(self, addresses: Sequence[Address], delay_seconds: float) -> None:
        self._left = deque(addresses)
        self._delay_seconds = delay_seconds
        self._running = 0
        self._next_at = -inf

    @property
    def is_lost(self) -> bool:
        """Whether no attempt runs and none is left."""
        return not self._running and not self._left

    def begin(self, now: float) -> Address | None:
        """The address of the attempt that begins now; None where none is due."""
        if not self._left or now < self._next_at:
            return None
        self._running += 1
        self._next_at = now + self._delay_seconds
        return self._left.popleft()

    def failed(self) -> None:
        """An attempt failed, so the next one is due at once."""
        self._running -= 1
        self._next_at = -inf

    def wait_seconds(self, now: float) -> float | None:
        """The time until the next attempt is due; None where none is left."""
        return max(0.0, self._next_at - now) if self._left else None
