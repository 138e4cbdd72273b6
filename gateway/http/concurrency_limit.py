"""Load shedding: how many requests are answered at a time.

Only work counts: an idle connection, a body that is still arriving and a probe count nothing. Responses to slow clients
count by their bytes.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.domain.errors import Overloaded

_MAX_UNSENT_BYTES = 512 * 1024 * 1024
_RETRY_SECONDS = 1.0


class ConcurrencyLimit:
    """A context manager around the work on a request; entering it raises Overloaded when the limit is reached.

    A request beyond the limit is rejected at once, since waiting would help no client.
    """

    def __init__(self, limit: int, max_unsent_bytes: int = _MAX_UNSENT_BYTES) -> None:
        self._limit = limit
        self._max_unsent_bytes = max_unsent_bytes
        self.active = 0
        self.unsent_bytes = 0

    def __enter__(self) -> None:
        if self.active >= self._limit or self.unsent_bytes >= self._max_unsent_bytes:
            raise Overloaded("The gateway is busy; try again", retryable=True, retry_after=_RETRY_SECONDS)
        self.active += 1

    def __exit__(self, *_: object) -> None:
        self.active -= 1

    @contextmanager
    def sending(self, size: int) -> Iterator[None]:
        """Count a response of `size` bytes while it is being sent."""
        self.unsent_bytes += size
        try:
            yield
        finally:
            self.unsent_bytes -= size
