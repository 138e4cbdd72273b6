"""The names by which processes know each other, and each other's requests."""

from collections.abc import Callable

from cachetools import LRUCache

_MOST_READERS = 10_000
_DIGITS = 12


class ProcessNames:
    """The name of this process, those of the requests that read here, and what stands for those of others here."""

    def __init__(self, new_secret: Callable[[], bytes]) -> None:
        self._new_secret = new_secret
        self._own = ""
        self._number = 0
        self._names: LRUCache[object, str] = LRUCache(_MOST_READERS)
        self._readers: LRUCache[str, object] = LRUCache(_MOST_READERS)

    @property
    def own(self) -> str:
        """The name of this process."""
        # Not earlier, since a process may be forked after this was made.
        if not self._own:
            self._own = self._new_secret().hex()[:_DIGITS]
        return self._own

    def of_reader(self, reader: object) -> str:
        """The name of what stands for a request."""
        found = self._names.get(reader)
        if found is None:
            self._number += 1
            found = self._names[reader] = f"{self.own}{self._number:x}"
        return found

    def reader(self, name: str) -> object:
        """What stands here for a request of another process, the same each time as long as it is remembered."""
        found = self._readers.get(name)
        if found is None:
            found = self._readers[name] = object()
        return found
