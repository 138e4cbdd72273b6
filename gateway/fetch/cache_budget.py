"""What is from_cache, all of it within one bound of bytes: the least recently used goes first."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import NamedTuple

# After a call failed, the next refresh waits, so that a sick EHR is not asked by every request.
SECONDS_BETWEEN_REFRESHES = 5.0


class Lifetimes(NamedTuple):
    """For how many seconds data counts as fresh, and for how many more it may be served while it is fetched anew."""

    fresh: float
    stale: float

    @property
    def served(self) -> float:
        """The age up to which data may be served at all."""
        return self.fresh + self.stale if self.fresh else 0.0


class CacheBudget:
    """Counts the bytes of what others keep, and tells them what to forget."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._kept: OrderedDict[Hashable, tuple[int, Callable[[], None]]] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, name: Hashable, size: int, forget: Callable[[], None]) -> bool:
        """Make room for something of `size` bytes; False where it is too large to be kept at all.

        `forget` is called when it has to go. What is kept under the same name is dropped without that call.
        """
        self.drop(name)
        if size > self._most:
            return False
        self._kept[name] = size, forget
        self.bytes += size
        while self.bytes > self._most:
            _, (freed, forget_oldest) = self._kept.popitem(last=False)
            self.bytes -= freed
            forget_oldest()
        return True

    def used(self, name: Hashable) -> None:
        """Something was used just now."""
        if name in self._kept:
            self._kept.move_to_end(name)

    def drop(self, name: Hashable) -> None:
        """Something is no longer kept."""
        size, _ = self._kept.pop(name, (0, None))
        self.bytes -= size
