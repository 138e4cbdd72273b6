"""What other processes say of timeslots, done to what is remembered and under way here.

A call of another process is a pending read here as well: what lands meanwhile corrects it, and it lands here when
somebody wants it, or at once where something here may contradict it.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice
from math import inf

from gateway.domain.pieces import InPieces
from gateway.domain.queries import Step
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import Window
from gateway.fetch.fetch_scope import ReadTime
from gateway.fetch.pending_reads import PendingRead
from gateway.fetch.process_names import ProcessNames
from gateway.fetch.snapshots import Snapshot
from gateway.fetch.timeslot_calls import TimeslotCalls
from gateway.fetch.timeslot_events import (
    Began,
    Failed,
    Forgotten,
    Landed,
    Taken,
    TimeslotEvent,
    decoded,
    decoded_answer,
)
from gateway.fetch.unit_logs import RemoteCall, UnitLog
from gateway.shared_store.event_log import EventLogs
from gateway.shared_store.reads import ReadOutcome

# Calls that are pending, or landed and not looked at; so many are looked at when a further one is heard of.
_MOST_REMOTE = 5_000
_MOST_DROPPED = 100
_REMOTE_SECONDS = 60.0
# What two processes mean by one instant differs by less: in doubt a time counts as taken.
_CLOCKS_DIFFER = 0.005
EVER = Window(datetime.fromisoformat("0001-01-02T00:00:00+00:00"), datetime.fromisoformat("9999-12-30T00:00:00+00:00"))


class RemoteTimeslots:
    """Lands, corrects and forgets as events say; `on_needed` is called with a log whose landings are needed here."""

    def __init__(
        self,
        calls: TimeslotCalls,
        logs: EventLogs,
        names: ProcessNames,
        clock: Callable[[], float],
        *,
        on_needed: Callable[[UnitLog], None],
        tell: Callable[[ReadOutcome], None],
    ) -> None:
        self._calls = calls
        self._logs = logs
        self._names = names
        self._clock = clock
        self._on_needed = on_needed
        self._tell = tell
        # Those of all care units, in the order in which they were heard of.
        self._remote: dict[str, RemoteCall] = {}

    def distrust(self, log: UnitLog, before: float = inf) -> None:
        """Ask anew whatever was asked before an instant, or until now: what others said since is not known."""
        self._calls.overtake(Step(log.care_unit, EVER), min(before, self._clock()))

    def apply(self, log: UnitLog, data: bytes | None, *, is_logged: bool = True) -> None:
        """Heed an event of a log, None where it cannot be read; of one that `is_logged` not, a message alone tells."""
        event = None if data is None else decoded(data)
        if event is None:
            # Whatever it said, nothing that was asked before can be relied on.
            self.distrust(log)
        elif event.by != self._names.own or isinstance(event, Taken | Forgotten):
            # Of its own calls this process knows all; what it said of bookings is also about calls that it learns of.
            with suppress(ValueError, OverflowError):  # a window that is none, which no process of ours writes
                self._apply_event(log, event, is_logged=is_logged)

    def _apply_event(self, log: UnitLog, event: TimeslotEvent, *, is_logged: bool) -> None:
        clock = self._logs.store.clock
        doubt = 0.0 if event.by == self._names.own else _CLOCKS_DIFFER
        match event:
            case Began():
                if is_logged:
                    self._begin(log, event, clock.to_local(event.at))
            case Landed():
                self._note_landed(log, event)
            case Failed():
                remote = log.remote.get(event.call)
                if remote is not None:
                    self.end(remote, None)
            case Taken():
                at = clock.to_local(event.at) + doubt
                self._calls.overwrite_at(event.asked.step(log.care_unit), TimeslotList(), at)
            case Forgotten():
                at = clock.to_local(event.at) + doubt
                self._calls.forget_before(log.care_unit, event.asked.step(log.care_unit).window, at)

    def _begin(self, log: UnitLog, event: Began, began: float) -> None:
        if event.call in self._remote:
            # Somebody wrote it once more.
            return
        read = PendingRead(event.asked.step(log.care_unit), self._names.reader(event.reader), began)
        self._drop_old()
        remote = RemoteCall(event.call, read, log, asyncio.get_running_loop().create_future())
        log.remote[event.call] = self._remote[event.call] = remote
        self._calls.follow(read)

    def _drop_old(self) -> None:
        """Forget calls that nobody here waited for, and whose answers are of no use any more."""
        oldest = self._clock() - _REMOTE_SECONDS
        for remote in list(islice(self._remote.values(), _MOST_DROPPED)):
            if remote.read.began >= oldest and len(self._remote) < _MOST_REMOTE:
                break
            self.lose(remote)

    def _note_landed(self, log: UnitLog, event: Landed) -> None:
        remote = log.remote.get(event.call)
        if remote is None or event.value is None:
            # A newer answer than some here, which cannot be had.
            last_began = self._logs.store.clock.to_local(event.last_began)
            self._calls.overtake(event.asked.step(log.care_unit), last_began)
            if remote is not None:
                self.end(remote, None)
            return
        remote.landed = event
        if self._calls.may_contradict(remote.read):
            # Its own requests may have been answered by now.
            self._calls.snapshots.end_generation(log.care_unit)
            self._on_needed(log)

    async def land_all(self, log: UnitLog) -> None:
        """Remember what calls of other processes have brought. Raises StoreAwayError and StoreRefusedError."""
        if any(each.landed is not None for each in log.remote.values()):
            if log.landing is None:
                log.landing = asyncio.get_running_loop().create_task(self._land_all(log))
                log.landing.add_done_callback(retrieve)
            # Whoever waits may be cancelled; what corrects an answer is used up by that.
            await asyncio.shield(log.landing)

    async def _land_all(self, log: UnitLog) -> None:
        try:
            while waiting := [each for each in log.remote.values() if each.landed is not None]:
                await self._land_each(waiting)
        finally:
            log.landing = None

    async def _land_each(self, waiting: Sequence[RemoteCall]) -> None:
        oldest = self._clock() - self._calls.snapshots.lifetimes.served
        # What is too old to be remembered may still be newer than what is under way.
        fresh = [each for each in waiting if each.read.began > oldest or self._calls.may_contradict(each.read)]
        for remote in set(waiting).difference(fresh):
            self.end(remote, None)
        names = [each.landed.value for each in fresh if each.landed is not None and each.landed.value is not None]
        values = await self._logs.values(names)
        for remote, value in zip(fresh, values, strict=True):
            if remote.landed is not None and not remote.outcome.done():
                await self._land(remote, remote.landed, value)

    async def _land(self, remote: RemoteCall, event: Landed, value: bytes | None) -> None:
        read, clock = remote.read, self._logs.store.clock
        began, last_began = ReadTime(clock.to_local(event.began), event.began), clock.to_local(event.last_began)
        answer = None if value is None else await InPieces(decoded_answer(value))
        if answer is not None:
            answer.began, answer.last_began = began, last_began
            answer = await read.corrected(answer, began)
        if answer is None:
            self._calls.overtake(read.step, last_began)
        else:
            self._tell(ReadOutcome.HIT)
            self._calls.land(Snapshot(read.step, answer, began, read.reader, arrived_at=self._clock()), read)
        self.end(remote, answer)

    def end(self, remote: RemoteCall, answer: TimeslotList | None) -> None:
        """Let go of a call of another process, and let those go on that wait for it."""
        remote.log.remote.pop(remote.call, None)
        self._remote.pop(remote.call, None)
        self._calls.unfollow(remote.read)
        if not remote.outcome.done():
            remote.outcome.set_result(answer)

    def lose(self, remote: RemoteCall) -> None:
        """Let go of a call whose process is gone, or that nobody can tell of: what it brought may have been shown."""
        step = remote.read.step
        if self._logs.is_up:
            self._calls.overtake(step, remote.read.began)
        self.end(remote, None)


def retrieve(task: "asyncio.Task[None]") -> None:
    """Take note of how a task failed that nobody may wait for any more; those who wait are told."""
    if not task.cancelled():
        task.exception()
