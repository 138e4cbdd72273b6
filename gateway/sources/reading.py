"""One request's reading: how fresh its data must be, what it was given, and the calls that it waits for."""

from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import Any, Protocol

from gateway.domain.errors import OperationTooLarge


class Origin(StrEnum):
    """Where the data of one read came from."""

    FETCHED = "fetched"
    JOINED = "joined"
    CACHED = "cached"
    STALE = "stale"


class Held(Protocol):
    """Something that goes on as long as somebody holds it."""

    def release(self) -> None:
        """Let go of it."""
        ...


@dataclass(frozen=True, slots=True)
class Read:
    """One list that an answer needed; `fetched_at` is the clock's seconds when its call began.

    `subject` is the EHR's code, and where there is one the care unit, the window, the resource and the service.
    """

    endpoint: str
    subject: tuple[Any, ...]
    origin: Origin
    fetched_at: float


@dataclass(slots=True)
class Reading:
    """Made for one request, closed with it.

    `since` is the clock's time before which nothing may have been asked for: minus infinity for whoever takes what
    is remembered. `asked` counts what fields asked for, `reads` are what that came down to. `most_calls` is how many
    upstream calls it may make; a list that another request fetches counts as well.
    """

    started: float
    since: float = -inf
    asked: int = 0
    reads: list[Read] = field(default_factory=list)
    fresh_until: float = inf
    most_calls: float = inf
    _taken: int = 0
    _held: list[Held] = field(default_factory=list)
    _is_closed: bool = False

    @property
    def may_remember(self) -> bool:
        """Whether data from before the request will do."""
        return self.since == -inf

    @property
    def has_calls_left(self) -> bool:
        """Whether one more call may be made."""
        return self._taken < self.most_calls

    def take(self, calls: int = 1) -> None:
        """Count calls before they are made, all of them or none. Raises OperationTooLarge."""
        if self._taken + calls > self.most_calls:
            raise OperationTooLarge(
                f"The operation would take {self._taken + calls} upstream calls or more; the limit is {self.most_calls}"
            )
        self._taken += calls

    def note(self, read: Read, fresh_until: float) -> None:
        """Something was read that is fresh until then."""
        self.reads.append(read)
        self.fresh_until = min(self.fresh_until, fresh_until)

    def hold(self, held: Held) -> None:
        """Keep a call going until the request is over."""
        if self._is_closed:
            # A request that is cancelled may leave a plan behind that goes on for a turn.
            held.release()
        else:
            self._held.append(held)

    def close(self) -> None:
        """Let go of every call; those that nobody else waits for end."""
        self._is_closed = True
        held, self._held = self._held, []
        for each in held:
            each.release()
