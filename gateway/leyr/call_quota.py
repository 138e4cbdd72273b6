"""How many calls an EHR takes in a minute, where its profile says so: no minute has more, retries and pages included.

A call takes a turn, which may lie ahead: each turn is a minute after the one that is so many turns before it. So calls
wait in order, and one whose turn would come too late is told when to come again. Some turns are kept for bookings.

Several processes have their turns from a store. Each remembers its own too: it makes no more calls than the quota,
whatever the store says; while that is away it goes by these alone, and afterwards tells the store of them.
"""

from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from math import ceil, inf
from typing import NamedTuple, Protocol

# A minute, and the second that a call may take from its turn until Leyr has it.
_WINDOW_SECONDS, _LATEST_SECONDS = 61.0, 1.0
# With fewer calls in a minute none is kept for bookings.
_LEAST_WITH_RESERVE = 5
_MOST_TOLD = 1_000
# While no turn is left, the store is asked so often.
_SECONDS_BETWEEN_REFUSALS = 1.0
OPEN, RESERVE = 0, 1


class QuotaExhaustedError(Exception):
    """No turn comes in time; the next one is in `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class QuotaRequest:
    """A call that wants a turn: the turns of a window that are open to all and kept for bookings, and how it may wait.

    `name` is the turn's, and is another one for each.
    """

    name: str
    sizes: tuple[int, int]
    is_booking: bool
    longest_wait: float
    window: float

    @property
    def logs(self) -> tuple[int, ...]:
        """From which turns it may have one, the best first."""
        return (RESERVE, OPEN) if self.is_booking else (OPEN,)


class ToldTurn(NamedTuple):
    """A turn that this process took: from which ones, how many seconds ago, and its name."""

    log: int
    ago: float
    name: str


class SharedTurn(NamedTuple):
    """What the store says: from which turns one was given, and the seconds until it; or until the next one, if none."""

    log: int | None
    wait: float


class SharedQuota(Protocol):
    """The turns of one EHR that all processes have in common."""

    @property
    def is_up(self) -> bool:
        """Whether the store answers."""

    @property
    def prefix(self) -> str:
        """What the names of this process's turns begin with."""

    def on_up(self, callback: Callable[[], None]) -> None:
        """Call back when the store begins to answer: it may have lost what it knew."""

    async def take(self, request: QuotaRequest, told: Sequence[ToldTurn]) -> SharedTurn | None:
        """Tell what was taken without the store, and take a turn; None where the store does not answer."""

    def give_back(self, log: int, name: str) -> None:
        """Let others have a turn that was not used."""


@dataclass(slots=True)
class _Log:
    """The turns of the last minute and those ahead, in order."""

    turns: list[tuple[float, str]] = field(default_factory=list)

    def next_in(self, size: int, now: float, window: float) -> float:
        """The seconds until the next turn, where a window has so many."""
        if size <= 0:
            return inf
        return max(0.0, self.turns[-size][0] + window - now) if len(self.turns) >= size else 0.0

    def forget(self, until: float) -> None:
        """Forget what was before a time."""
        while self.turns and self.turns[0][0] <= until:
            del self.turns[0]


class Turn(NamedTuple):
    """When a call may be sent, by the clock of this process, and what gives the turn back if it is not."""

    at: float
    give_back: Callable[[], None]

    def is_past(self, now: float) -> bool:
        """Whether a call that begins now is too late for it."""
        return now > self.at + _LATEST_SECONDS


@dataclass(frozen=True, slots=True)
class QuotaConfig:
    """Of a minute's calls `booking_share` is kept for `booking_endpoints`; a minute has `window_seconds`."""

    booking_share: float = 0.1
    booking_endpoints: frozenset[str] = frozenset(
        {"appointments", "book_appointment", "change_appointment", "create_patient"}
    )
    window_seconds: float = _WINDOW_SECONDS


@dataclass(frozen=True, slots=True)
class QuotaSources:
    """How many calls an EHR takes in a minute, None where that is not limited; and its turns where they are shared."""

    per_minute: Callable[[str], int | None] = lambda _: None
    shared: Callable[[str], SharedQuota | None] = lambda _: None


class CallQuota:
    """The turns of one EHR; to be used inside one loop."""

    def __init__(self, emr: str, config: QuotaConfig, sources: QuotaSources, clock: Callable[[], float]) -> None:
        self._emr = emr
        self._clock = clock
        self._config = config
        self._per_minute = sources.per_minute
        self._shared = shared = sources.shared(emr)
        self._window = config.window_seconds
        self._logs = _Log(), _Log()
        self._numbers = count()
        # Turns that the store may not know.
        self._untold: dict[str, tuple[int, float]] = {}
        self._asked_again_at = [-inf, -inf]
        self._next_at = [-inf, -inf]
        if shared is not None:
            shared.on_up(self._tell_all)

    @property
    def is_limited(self) -> bool:
        """Whether the EHR takes only so many calls in a minute now."""
        return self._per_minute(self._emr) is not None

    async def take(self, endpoint: str, longest_wait: float) -> Turn:
        """Take a turn within so many seconds. Raises QuotaExhaustedError."""
        per_minute = self._per_minute(self._emr)
        if per_minute is None:
            return Turn(self._clock(), lambda: None)
        name = f"{'' if self._shared is None else self._shared.prefix}{next(self._numbers)}"
        is_booking = endpoint in self._config.booking_endpoints
        request = QuotaRequest(name, self._sizes(per_minute), is_booking, longest_wait, self._window)
        _, wait = self._own_next(request)
        if wait > longest_wait:
            raise QuotaExhaustedError(wait)
        if self._shared is not None and self._shared.is_up:
            self._check_refused(request)
            told = self._told()
            found = await self._shared.take(request, told)
            if found is not None:
                for each in told:
                    self._untold.pop(each.name, None)
                return self._taken_from_store(self._shared, request, found)
        return self._taken_alone(request)

    def _taken_from_store(self, shared: SharedQuota, request: QuotaRequest, found: SharedTurn) -> Turn:
        now = self._clock()
        if found.log is None:
            self._asked_again_at[request.is_booking] = now + _SECONDS_BETWEEN_REFUSALS
            self._next_at[request.is_booking] = now + found.wait
            raise QuotaExhaustedError(found.wait)
        log = found.log
        # The store may have lost what this process knows.
        at = now + max(found.wait, self._logs[log].next_in(request.sizes[log], now, request.window))
        if at > now + request.longest_wait:
            shared.give_back(log, request.name)
            raise QuotaExhaustedError(at - now)
        return self._kept(log, at, request.name)

    def _taken_alone(self, request: QuotaRequest) -> Turn:
        log, wait = self._own_next(request)
        if wait > request.longest_wait:
            raise QuotaExhaustedError(wait)
        turn = self._kept(log, self._clock() + wait, request.name)
        if self._shared is not None:
            self._untold[request.name] = log, turn.at
        return turn

    def _kept(self, log: int, at: float, name: str) -> Turn:
        """A turn that this process remembers as its own."""
        turns, shared = self._logs[log].turns, self._shared
        turn = at, name
        insort(turns, turn)

        def give_back() -> None:
            if turn in turns:
                turns.remove(turn)
            self._untold.pop(name, None)
            if shared is not None:
                shared.give_back(log, name)

        return Turn(at, give_back)

    def _own_next(self, request: QuotaRequest) -> tuple[int, float]:
        """From which of this process's own turns the next one comes, and in how many seconds."""
        now = self._clock()
        for log in self._logs:
            log.forget(now - self._window)
        waits = [(self._logs[log].next_in(request.sizes[log], now, self._window), log) for log in request.logs]
        wait, best = min(waits, key=lambda each: each[0])
        return best, wait

    def _sizes(self, per_minute: int) -> tuple[int, int]:
        """How many turns of a window are open to all and kept for bookings."""
        reserve = ceil(per_minute * self._config.booking_share) if per_minute >= _LEAST_WITH_RESERVE else 0
        return per_minute - reserve, reserve

    def _check_refused(self, request: QuotaRequest) -> None:
        """Raise QuotaExhaustedError where the store said a moment ago that there is no turn so soon."""
        now, kind = self._clock(), request.is_booking
        if now < self._asked_again_at[kind] and self._next_at[kind] > now + request.longest_wait:
            raise QuotaExhaustedError(self._next_at[kind] - now)

    def _told(self) -> Sequence[ToldTurn]:
        now = self._clock()
        self._untold = {name: (log, at) for name, (log, at) in self._untold.items() if at > now - self._window}
        return [ToldTurn(log, now - at, name) for name, (log, at) in islice(self._untold.items(), _MOST_TOLD)]

    def _tell_all(self) -> None:
        for number, log in enumerate(self._logs):
            self._untold |= {name: (number, at) for at, name in log.turns}
