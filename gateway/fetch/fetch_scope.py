"""One request's fetch scope: how fresh its data must be, what it read, and the calls that it waits for."""

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import reduce
from math import inf
from typing import Any, NamedTuple, Self, TypeVar

from gateway.domain.errors import DeadlineExceeded, GatewayError, OperationTooLarge, RateLimited
from gateway.domain.models import CareUnitKey
from gateway.domain.timeslots import TimeslotList
from gateway.fetch.single_flight import DetachedCalls, SharedCall, forget_frames
from gateway.fetch.snapshots import Generation

T = TypeVar("T")


class CacheStatus(StrEnum):
    """Where the data of one read came from."""

    FETCHED = "fetched"
    JOINED = "joined"
    SHARED = "shared"
    """Another process fetched it, and kept it in the store that they share."""
    CACHED = "cached"
    STALE = "stale"


class IncompleteReason(StrEnum):
    """Why an answer may lack something that an EHR has, without an error."""

    ROWS_DROPPED = "rows_dropped"
    """Rows of a list that cannot be used; the count is theirs."""
    OUTSIDE_EVERY_FILTER = "outside_every_filter"
    """Lists that cannot hold what lies outside of every filter that they were asked with; the count is theirs."""


@dataclass(frozen=True, slots=True)
class Incomplete:
    """How much an answer lacks of the lists of one endpoint and EHR."""

    endpoint: str
    emr: str
    reason: IncompleteReason
    count: int


class ReadTime(float):
    """When a list was requested of Leyr: seconds of this process's clock, with the instant that all processes say.

    Two of them are in the order of their instants, so that of some lists all processes find the same one the oldest.
    Arithmetic gives plain seconds again.
    """

    __slots__ = ("microseconds",)

    def __new__(cls, seconds: float, microseconds: int) -> Self:
        """`microseconds` are those since 1970, by the clock that the processes share."""
        made = super().__new__(cls, seconds)
        made.microseconds = microseconds
        return made

    microseconds: int

    def __lt__(self, other: float) -> bool:
        return self.microseconds < other.microseconds if isinstance(other, ReadTime) else super().__lt__(other)

    def __gt__(self, other: float) -> bool:
        return self.microseconds > other.microseconds if isinstance(other, ReadTime) else super().__gt__(other)

    def __le__(self, other: float) -> bool:
        return not self > other

    def __ge__(self, other: float) -> bool:
        return not self < other


def earlier(one: float, other: float) -> float:
    """The earlier of two times; of two ReadTimes the one that all processes take for it, as near as they may be."""
    if isinstance(one, ReadTime) and isinstance(other, ReadTime):
        return one if one.microseconds <= other.microseconds else other
    return min(one, other)


def earliest(times: Iterable[float | None]) -> float | None:
    """The earliest of some times in the same way; None where there are none."""
    return reduce(earlier, found) if (found := [each for each in times if each is not None]) else None


class FetchRecord(NamedTuple):
    """One list that an answer needed; `fetched_at` is the clock's seconds when its call began.

    `subject` is the EHR's code, and where there is one the care unit, the window, the resource and the service.
    `is_overdue` says that it is stale and that the last attempt to fetch it anew has failed.
    """

    endpoint: str
    subject: tuple[Any, ...]
    origin: CacheStatus
    fetched_at: float
    is_overdue: bool = False


@dataclass(slots=True)
class FetchScope:
    """Made for one request, closed with it.

    `since` is the clock's time before which no data may have been requested: minus infinity where cached data will
    do. `asked` counts the lists that fields asked for, `reads` are the distinct ones. `most_calls` is how many
    upstream calls the request may make; joining another request's call counts as well. `catalog_as_of` and
    `timeslots_as_of` are when the oldest list of each kind that was used was requested, infinity where none was.
    """

    started: float
    since: float = -inf
    reader: object = field(default_factory=object)
    """Stands for the request where what it read is told from what others read."""
    generations: dict[CareUnitKey, Generation] = field(default_factory=dict)
    """What was cached of the timeslots of each care unit when the request first asked for them."""
    asked: int = 0
    reads: list[FetchRecord] = field(default_factory=list)
    fresh_until: float = inf
    catalog_as_of: float = inf
    timeslots_as_of: float = inf
    most_calls: float = inf
    most_slots: float = inf
    most_list_bytes: float = inf
    on_waiting: Callable[[], None] | None = None
    """Called once, when the request begins to wait for upstream."""
    on_ehr: Callable[[str], None] = lambda _: None
    """Called with an EHR's code, before the request begins to wait for a call to that EHR."""
    take_calls: Callable[[int], None] | None = None
    """Called with the number of calls that are about to be made. Raises RateLimited."""
    is_leaving: Callable[[], bool] | None = None
    """Whether its client may be gone, so that no further call is begun for it."""
    is_kept: bool = True
    """Whether its answer may be kept for others, or for later."""
    is_outdated: bool = False
    """When it is closed: whether newer calls say something else than what the request has read."""
    detached: DetachedCalls | None = None
    """Where its calls go on when its deadline is over; None where they end with it."""
    waited: float = 0.0
    """The seconds in which it waited for at least one call."""
    _pending: int = 0
    _waiting_since: float = 0.0
    _asked_anew: set[CareUnitKey] = field(default_factory=set)
    _calls: int = 0
    _slots: int = 0
    _list_bytes: int = 0
    _counted: set[object] = field(default_factory=set)
    _used: list[TimeslotList | SharedCall[TimeslotList]] = field(default_factory=list)
    _incomplete: dict[tuple[str, str, IncompleteReason, Hashable], int] = field(default_factory=dict)
    _held: list[SharedCall[Any]] = field(default_factory=list)
    _awaited: list[asyncio.Future[Any]] = field(default_factory=list)
    _is_closed: bool = False
    _is_overdue: bool = False
    _expired: Callable[[], GatewayError] | None = None

    def use(self, source: "TimeslotList | SharedCall[TimeslotList]") -> None:
        """Note timeslots, or the call that will bring them, that the request's answer is made of."""
        self._used.append(source)

    @property
    def is_expired(self) -> bool:
        """Whether the request's time is over."""
        return self._expired is not None

    @property
    def calls(self) -> int:
        """How many upstream calls were counted."""
        return self._calls

    def renewed(self) -> "FetchScope":
        """A scope for the same request, which is answered once more from what was read meanwhile."""
        return FetchScope(
            self.started,
            self.since,
            self.reader,
            most_calls=self.most_calls,
            most_slots=self.most_slots,
            on_ehr=self.on_ehr,
            take_calls=self.take_calls,
            is_leaving=self.is_leaving,
            detached=self.detached,
            waited=self.waited,
            _calls=self._calls,
        )

    def ask_anew(self, care_unit: CareUnitKey) -> None:
        """Take no timeslots of a care unit that were requested before this request began.

        So that one answer does not contradict itself, this is said before any of them is read.
        """
        self._asked_anew.add(care_unit)

    @property
    def asks_anew(self) -> bool:
        """Whether some care unit's timeslots are asked anew, so that the answer may be kept by nobody."""
        return bool(self._asked_anew)

    def since_of(self, care_unit: CareUnitKey) -> float:
        """The clock's time before which no timeslots of a care unit may have been requested."""
        return self.started if care_unit in self._asked_anew else self.since

    @property
    def has_calls_left(self) -> bool:
        """Whether one more call may be made."""
        return self._calls < self.most_calls

    def count_calls(self, calls: int = 1, *, joined: int = 0) -> None:
        """Count calls before they are made, all of them or none; those that are `joined` others have made.

        Raises OperationTooLarge, RateLimited and DeadlineExceeded.
        """
        if self._expired is not None:
            raise self._expired()
        if calls > joined and self.is_leaving is not None and self.is_leaving():
            raise _client_leaves()
        self.count_further_calls(calls, joined=joined)

    def count_further_calls(self, calls: int, *, joined: int = 0) -> None:
        """Count the calls that a call turned out to take, also after the request's time, as others may wait for them.

        Raises OperationTooLarge and RateLimited.
        """
        if self._calls + calls > self.most_calls:
            raise OperationTooLarge(
                f"The operation would take {self._calls + calls} upstream calls or more; the limit is {self.most_calls}"
            )
        if self.take_calls is not None and calls > joined:
            self.take_calls(calls - joined)
        self._calls += calls

    def begin_call(self) -> None:
        """Take a call that was counted as joined and is made after all. Raises RateLimited and DeadlineExceeded."""
        if self.is_leaving is not None and self.is_leaving():
            raise _client_leaves()
        if self.take_calls is not None:
            self.take_calls(1)

    def may_refresh(self) -> bool:
        """Count the call of a refresh, which nothing waits for; False where it may not be made."""
        if self._expired is not None or not self.has_calls_left:
            return False
        try:
            self.count_calls()
        except (RateLimited, DeadlineExceeded):
            return False
        return True

    def check_calls(self, calls: int) -> None:
        """Refuse what takes so many calls by itself, were nothing cached. Raises OperationTooLarge."""
        if calls > self.most_calls:
            raise OperationTooLarge(
                f"The operation would take {calls} upstream calls or more; the limit is {self.most_calls}"
            )

    def count_slots(self, call: object, slots: int) -> None:
        """Count the slots of a call that the request uses, once; where they are too many, end the request's time."""
        if call not in self._counted:
            self._counted.add(call)
            self._slots += slots
            if self._slots > self.most_slots:
                self._end_as_too_large(
                    f"The operation would read {self._slots} timeslots or more; the limit is {self.most_slots:.0f}: "
                    "ask for a shorter window, or for fewer care units"
                )

    def count_list(self, call: object, size: int) -> None:
        """Count the bytes of a list that a call brought, once; where they are too many, end the request's time."""
        if call not in self._counted:
            self._counted.add(call)
            self._list_bytes += size
            if self._list_bytes > self.most_list_bytes:
                self._end_as_too_large(
                    f"The operation would read lists of {self._list_bytes} bytes or more; the limit is "
                    f"{self.most_list_bytes:.0f}: ask for fewer care units"
                )

    def _end_as_too_large(self, message: str) -> None:
        """End the request's time, and its calls: what they bring would only be held until its answer is written."""
        if self._expired is None:
            self.expire(lambda: OperationTooLarge(message))
            self._release_all()

    def record(self, read: FetchRecord, fresh_until: float) -> None:
        """Record a read, and until when its data is fresh."""
        self.reads.append(read)
        self.fresh_until = min(self.fresh_until, fresh_until)

    def correct(self, place: int, read: FetchRecord, fresh_until: float) -> None:
        """Record what became of the read at a place of `reads`, once that is known."""
        self.reads[place] = read
        self.fresh_until = min(self.fresh_until, fresh_until)

    def report_incomplete(
        self, endpoint: str, emr: str, reason: IncompleteReason, subject: Hashable, count: int
    ) -> None:
        """Report that a list is incomplete, such as a call's answer; each `subject` counts once for a reason."""
        self._incomplete.setdefault((endpoint, emr, reason, subject), count)

    @property
    def incomplete(self) -> Sequence[Incomplete]:
        """What was reported, in order."""
        if not self._incomplete:
            return ()
        counts: Counter[tuple[str, str, IncompleteReason]] = Counter()
        for (endpoint, emr, reason, _), count in self._incomplete.items():
            counts[endpoint, emr, reason] += count
        return [Incomplete(*where, counts[where]) for where in sorted(counts)]

    def wait_for(self, future: asyncio.Future[T]) -> asyncio.Future[T]:
        """The same future, which fails with DeadlineExceeded if the request expires before it is done."""
        if self._expired is not None:
            self._fail(future, self._expired())
        elif not self._awaited and self.on_waiting is not None:
            self.on_waiting()
        self._awaited.append(future)
        if not future.done():
            if not self._pending:
                self._waiting_since = future.get_loop().time()
            self._pending += 1
            future.add_done_callback(self._count_waited)
        return future

    def _count_waited(self, future: asyncio.Future[Any]) -> None:
        self._pending -= 1
        if not self._pending:
            self.waited += future.get_loop().time() - self._waiting_since

    def expire(self, error: Callable[[], GatewayError] | None = None) -> None:
        """End the request's time: every pending future fails, with `error` if given, and no further call is made.

        Without an error its deadline is over, and its calls go on; where it ends for another reason they do not.
        """
        if self._expired is None:
            self._is_overdue = error is None
        self._expired = error or _deadline_exceeded
        for future in self._awaited:
            self._fail(future, self._expired())

    def _fail(self, future: asyncio.Future[Any], error: GatewayError) -> None:
        if not future.done():
            future.set_exception(error)
            # Marks it as retrieved: asyncio must not report it as lost where nobody waits.
            future.exception()

    def release_on_close(self, call: SharedCall[Any]) -> None:
        """Hold an acquired call until the request is closed."""
        if self._is_closed:
            # A request that is cancelled may leave a plan behind that goes on for a turn of the loop.
            self._release(call)
        else:
            self._held.append(call)

    def close(self) -> None:
        """Release every call; those that no other request waits for are cancelled, unless the deadline was over."""
        self._is_closed = True
        found = (each if isinstance(each, TimeslotList) else each.answer for each in self._used)
        self.is_outdated = any(each is not None and each.is_outdated for each in found)
        self._used.clear()
        awaited, self._awaited = self._awaited, []
        for future in awaited:
            future.cancel()
            forget_frames(future)
        self._release_all()

    def _release_all(self) -> None:
        held, self._held = self._held, []
        for call in held:
            self._release(call)

    def _release(self, call: SharedCall[Any]) -> None:
        call.release(self.detached if self._is_overdue else None)


def _client_leaves() -> DeadlineExceeded:
    return DeadlineExceeded("The client closed its side of the connection, so no further call is begun for it")


def _deadline_exceeded() -> DeadlineExceeded:
    return DeadlineExceeded("The answer did not come in the time that the request had", retryable=True)
