"""How many requests are answered at a time.

Only work counts: a connection that sends nothing, a body that is still arriving, and a probe take no place. Answers
that clients are slow to take count by their bytes.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.domain.errors import Overloaded

_MOST_UNSENT_BYTES = 512 * 1024 * 1024
_RETRY_SECONDS = 1.0


class ConcurrencyLimit:
    """Lets so many through at a time; whoever comes beyond is turned away at once, since waiting helps nobody."""

    def __init__(self, most: int, most_unsent_bytes: int = _MOST_UNSENT_BYTES) -> None:
        self._most = most
        self._most_unsent_bytes = most_unsent_bytes
        self.inside = 0
        self.unsent_bytes = 0
        self._place = _Place(self)

    def passed(self) -> "_Place":
        """A context manager around the work; entering it raises Overloaded."""
        return self._place

    def enter(self) -> None:
        """Take a place. Raises Overloaded."""
        if self.inside >= self._most or self.unsent_bytes >= self._most_unsent_bytes:
            raise Overloaded("The gateway is busy; try again", retryable=True, retry_after=_RETRY_SECONDS)
        self.inside += 1

    def leave(self) -> None:
        """Give the place back."""
        self.inside -= 1

    @contextmanager
    def sending(self, size: int) -> Iterator[None]:
        """An answer of so many bytes is on its way."""
        self.unsent_bytes += size
        try:
            yield
        finally:
            self.unsent_bytes -= size


class _Place:
    """One for all, since it keeps nothing: a generator for each request would cost a microsecond more."""

    __slots__ = ("_concurrency_limit",)

    def __init__(self, concurrency_limit: ConcurrencyLimit) -> None:
        self._concurrency_limit = concurrency_limit

    def __enter__(self) -> None:
        self._concurrency_limit.enter()

    def __exit__(self, *_: object) -> None:
        self._concurrency_limit.leave()
