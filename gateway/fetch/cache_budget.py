"""One bound of bytes for everything cached: the least recently used entry is evicted first."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
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
    """Counts the bytes of cached entries, which their owners keep, and tells an owner when to evict one.

    Owners charge what an entry takes in memory: its texts, what is made of it, and the entry here.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._entries: OrderedDict[Hashable, tuple[int, Callable[[], object]]] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: Hashable) -> bool:
        return name in self._entries

    def keep(self, name: Hashable, size: int, on_evict: Callable[[], object]) -> bool:
        """Make room for an entry of `size` bytes; False where it is too large to be kept at all.

        `on_evict` is called when it has to go. An entry of the same name is dropped without that call.
        """
        self.drop(name)
        if size > self._most:
            return False
        self._entries[name] = size, on_evict
        self.bytes += size
        while self.bytes > self._most:
            _, (freed, evict_oldest) = self._entries.popitem(last=False)
            self.bytes -= freed
            evict_oldest()
        return True

    def touch(self, name: Hashable) -> None:
        """Count an entry as the most recently used."""
        if name in self._entries:
            self._entries.move_to_end(name)

    def drop(self, name: Hashable) -> None:
        """Stop counting an entry."""
        size, _ = self._entries.pop(name, (0, None))
        self.bytes -= size


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """How long data is cached, within which budget and by which clock (in seconds).

    `new_derived` makes the `derived` of a cached list, given how many bytes it may take; by default there is none.
    """

    lifetimes: Lifetimes
    budget: CacheBudget
    clock: Callable[[], float]
    new_derived: Callable[[int], object] = lambda _: None
