"""A budget for what an engine caches, as small as one can be."""

from collections.abc import Callable, Hashable


class Budget:
    """Counts entries, and has the least recently used evicted."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.entries: dict[Hashable, tuple[int, Callable[[], object]]] = {}

    @property
    def bytes(self) -> int:
        return sum(size for size, _ in self.entries.values())

    def keep(self, name: Hashable, size: int, on_evict: Callable[[], object]) -> bool:
        self.drop(name)
        if size > self.most_bytes:
            return False
        self.entries[name] = size, on_evict
        while self.bytes > self.most_bytes:
            _, evict = self.entries.pop(next(iter(self.entries)))
            evict()
        return True

    def touch(self, name: Hashable) -> None:
        if name in self.entries:
            self.entries[name] = self.entries.pop(name)

    def drop(self, name: Hashable) -> None:
        self.entries.pop(name, None)
