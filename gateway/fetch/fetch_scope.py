"""One request's scope: how fresh its data must be, what it was given, and the calls that it waits for."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import Any, NamedTuple, Protocol, TypeVar

from gateway.domain.errors import DeadlineExceeded, OperationTooLarge
from gateway.fetch.single_flight import forget_frames

T = TypeVar("T")


class CacheStatus(StrEnum):
    """Where the data of one read came from."""

    FETCHED = "fetched"
    JOINED = "joined"
    CACHED = "cached"
    STALE = "stale"


class Releasable(Protocol):
    """Something that goes on as long as somebody holds it."""

    def release(self) -> None:
        """Let go of it."""
        ...


class FetchRecord(NamedTuple):
    """One list that an answer needed; `fetched_at` is the clock's seconds when its call began.

    `subject` is the EHR's code, and where there is one the care unit, the window, the resource and the service.
    `is_overdue` says that it is stale since the last attempt to fetch it anew has failed.
    """

    endpoint: str
    subject: tuple[Any, ...]
    origin: CacheStatus
    fetched_at: float
    is_overdue: bool = False


@dataclass(slots=True)
class FetchScope:
    """Made for one request, closed with it.

    `since` is the clock's time before which nothing may have been asked for: minus infinity for whoever takes what
    is from_cache. `asked` counts what fields asked for, `reads` are what that came down to. `most_calls` is how many
    upstream calls it may make; a list that another request fetches counts as well.
    """

    started: float
    since: float = -inf
    asked: int = 0
    reads: list[FetchRecord] = field(default_factory=list)
    fresh_until: float = inf
    most_calls: float = inf
    on_waiting: Callable[[], None] | None = None
    """Called once, when the request begins to wait for upstream."""
    waited: float = 0.0
    """The seconds in which it waited for at least one call."""
    _pending: int = 0
    _waiting_since: float = 0.0
    _taken: int = 0
    _held: list[Releasable] = field(default_factory=list)
    _awaited: list[asyncio.Future[Any]] = field(default_factory=list)
    _is_closed: bool = False
    _is_late: bool = False

    @property
    def may_use_cache(self) -> bool:
        """Whether data from before the request will do."""
        return self.since == -inf

    @property
    def has_calls_left(self) -> bool:
        """Whether one more call may be made."""
        return self._taken < self.most_calls

    def take(self, calls: int = 1) -> None:
        """Count calls before they are made, all of them or none. Raises OperationTooLarge and DeadlineExceeded."""
        if self._is_late:
            raise _late()
        if self._taken + calls > self.most_calls:
            raise OperationTooLarge(
                f"The operation would take {self._taken + calls} upstream calls or more; the limit is {self.most_calls}"
            )
        self._taken += calls

    def note(self, read: FetchRecord, fresh_until: float) -> None:
        """Something was read that is fresh until then."""
        self.reads.append(read)
        self.fresh_until = min(self.fresh_until, fresh_until)

    def wait_for(self, future: asyncio.Future[T]) -> asyncio.Future[T]:
        """The future, which fails with DeadlineExceeded when the request's time is up before it is done."""
        if self._is_late:
            self._fail(future)
        elif not self._awaited and self.on_waiting is not None:
            self.on_waiting()
        self._awaited.append(future)
        if not future.done():
            if not self._pending:
                self._waiting_since = future.get_loop().time()
            self._pending += 1
            future.add_done_callback(self._landed)
        return future

    def _landed(self, future: asyncio.Future[Any]) -> None:
        self._pending -= 1
        if not self._pending:
            self.waited += future.get_loop().time() - self._waiting_since

    def expire(self) -> None:
        """The request's time is up: whatever it still waits for fails, and it makes no further call."""
        self._is_late = True
        for future in self._awaited:
            self._fail(future)

    def _fail(self, future: asyncio.Future[Any]) -> None:
        if not future.done():
            future.set_exception(_late())
            # Whoever waits gets it; where nobody does, it must not be reported as lost.
            future.exception()

    def hold(self, held: Releasable) -> None:
        """Keep a call going until the request is over."""
        if self._is_closed:
            # A request that is cancelled may leave a plan behind that goes on for a turn.
            held.release()
        else:
            self._held.append(held)

    def close(self) -> None:
        """Let go of every call; those that nobody else waits for end."""
        self._is_closed = True
        awaited, self._awaited = self._awaited, []
        for future in awaited:
            forget_frames(future)
        held, self._held = self._held, []
        for each in held:
            each.release()


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("The answer did not come in the time that the request had", retryable=True)
