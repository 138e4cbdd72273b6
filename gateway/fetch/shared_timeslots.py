"""Timeslots that several processes share: each knows what the others ask, have been told, and have booked.

Of each care unit there is a log of events in the shared store, and what this process remembers follows it. A call of
another process is a pending read here as well: what lands meanwhile corrects it, and it lands here when somebody wants
it, or at once where something here may contradict it. So the law of order (`domain/read_order.py`) holds over all
processes, and whoever is about to call finds out first whether another process has called.

The store is asked where a care unit is met for the first time, and before a call begins. When it is away, the process
goes on alone; what the others should have heard meanwhile they are told afterwards.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from cachetools import LRUCache

from gateway.domain.models import CareUnitKey
from gateway.domain.queries import Step
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import Window
from gateway.fetch.fetch_scope import ReadTime
from gateway.fetch.pending_reads import PendingRead
from gateway.fetch.shared_reads import Claim, RemoteRead
from gateway.fetch.snapshots import Snapshot
from gateway.fetch.timeslot_calls import TimeslotCalls
from gateway.fetch.timeslot_events import (
    Asked,
    Began,
    Failed,
    Forgotten,
    Landed,
    Taken,
    TimeslotEvent,
    decoded,
    decoded_answer,
    encoded,
    encoded_answer,
)
from gateway.shared_store.errors import StoreAwayError, StoreRefusedError
from gateway.shared_store.event_log import (
    BEFORE_ALL,
    Appended,
    EventLogs,
    EventMessage,
    LogPage,
    NewEvent,
    NewValue,
    Position,
)
from gateway.shared_store.leases import Leases

_MOST_UNITS = 10_000
_MOST_READERS = 10_000
# Of one care unit: calls that are pending, or landed and not looked at.
_MOST_REMOTE = 1_000
_REMOTE_SECONDS = 60.0
# What a process could not say while the store was away; more than so many are said of the whole care unit.
_MOST_UNSAID = 50
_TOKEN_DIGITS = 12
# Older ones are of no use, since all that began before them is.
_KEPT_MILLISECONDS = 60_000
# Larger ones are not shared: others ask by themselves.
_MOST_SHARED_SLOTS = 100_000
_MOST_SLOTS_AT_ONCE = 5_000
# What two processes mean by one instant differs by less: in doubt a time counts as taken.
_CLOCKS_DIFFER = 0.005
_EVER = Window(datetime.fromisoformat("0001-01-02T00:00:00+00:00"), datetime.fromisoformat("9999-12-30T00:00:00+00:00"))


@dataclass(slots=True, eq=False)
class _Remote(RemoteRead):
    landed: Landed | None = None

    @property
    def is_joinable(self) -> bool:
        """Whether it is pending, and nothing says that what it asks has to be asked anew."""
        read = self.read
        return self.landed is None and not any(before > read.began for _, before in read.forgotten)


@dataclass(slots=True, eq=False)
class _Unit:
    """What is known of a care unit's log: the events up to `seen`."""

    care_unit: CareUnitKey
    log: str
    seen: Position = BEFORE_ALL
    is_behind: bool = True
    remote: dict[str, _Remote] = field(default_factory=dict)
    reading: "asyncio.Task[None] | None" = None
    early: list[EventMessage] = field(default_factory=list)
    """Messages that came while the log was read."""
    unsaid: list[Asked] = field(default_factory=list)
    landing: asyncio.Lock = field(default_factory=asyncio.Lock)


class SharedTimeslots:
    """Follows the logs of the care units that this process has to do with, and writes into them."""

    def __init__(
        self,
        calls: TimeslotCalls,
        logs: EventLogs,
        leases: Leases,
        new_secret: Callable[[], bytes],
        clock: Callable[[], float],
    ) -> None:
        self._calls = calls
        self._logs = logs
        self._leases = leases
        self._new_secret = new_secret
        self._clock = clock
        self._process = ""
        self._units: OrderedDict[CareUnitKey, _Unit] = OrderedDict()
        self._by_log: dict[str, _Unit] = {}
        self._readers: LRUCache[str, object] = LRUCache(_MOST_READERS)
        self._names: LRUCache[object, str] = LRUCache(_MOST_READERS)
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._telling: set[asyncio.Task[None]] = set()
        logs.follow(self._take_message)
        logs.store.on_up(self._come_back)
        logs.store.on_away(self._go_alone)

    # What requests ask.

    def is_current(self, care_unit: CareUnitKey) -> bool:
        """Whether this process knows all that the others have said of a care unit, or cannot know it now."""
        if not self._logs.is_up:
            return True
        unit = self._units.get(care_unit)
        return unit is not None and not unit.is_behind and not unit.remote

    async def catch_up(self, care_unit: CareUnitKey) -> None:
        """Learn what other processes have said of a care unit, and remember what their calls brought."""
        unit = self._unit(care_unit)
        with suppress(StoreAwayError, StoreRefusedError):  # then this process goes on with what it knows
            await self._read(unit)
            await self._land_all(unit)

    def pending(self, care_unit: CareUnitKey) -> Sequence[RemoteRead]:
        """The pending calls of other processes for a care unit."""
        unit = self._units.get(care_unit)
        return [] if unit is None else [each for each in unit.remote.values() if each.is_joinable]

    async def outcome(self, remote: RemoteRead) -> TimeslotList | None:
        """What a call of another process brings, remembered here too; None where it fails, or nobody can tell."""
        unit = self._unit(remote.read.step.care_unit)
        try:
            while not remote.outcome.done():
                await self._read(unit)
                if isinstance(remote, _Remote) and remote.landed is not None:
                    await self._land_all(unit)
                elif not remote.outcome.done():
                    ended = await self._leases.newer(unit.log, unit.seen, [remote.call])
                    # What it said before its end has been heard by now.
                    if ended and isinstance(remote, _Remote) and remote.landed is None:
                        self._lose(remote)
        except (StoreAwayError, StoreRefusedError):
            self._end(remote, None)
        return remote.outcome.result()

    def position(self, care_unit: CareUnitKey) -> Position:
        """How much of what was said of a care unit is known here."""
        return self._unit(care_unit).seen

    async def claim(
        self, care_unit: CareUnitKey, steps: Sequence[Step], reader: object, after: Position | None
    ) -> Mapping[Step, Claim] | None:
        """Say that calls begin; None where anything was said after a position, if one is given."""
        if not self._logs.is_up:
            return {}
        unit = self._unit(care_unit)
        name, now = self._reader_name(reader), self._now()
        claims = {step: Claim(care_unit, self._leases.new()) for step in steps}
        events = [
            NewEvent(encoded(Began(self._own, claim.call, Asked.of(step), name, now)), claim.call)
            for step, claim in claims.items()
        ]
        try:
            appended = await self._logs.append_all(unit.log, events, after=after)
        except (StoreAwayError, StoreRefusedError):
            # Alone, as whoever has no store.
            return {}
        if isinstance(appended, Appended):
            for claim in claims.values():
                self._leases.hold(claim.call)
            return claims
        self._take_page(unit, appended)
        return None

    # What this process says.

    def read_time(self, seconds: float) -> float:
        """A time of this process's clock, with the instant that all processes say where that is known."""
        clock = self._logs.store.clock
        return ReadTime(seconds, clock.to_server(seconds)) if clock.is_known else seconds

    def landed(self, claim: Claim | None, snapshot: Snapshot) -> None:
        """Say what a call has brought; without a claim the others are told that it was made."""
        if claim is None:
            self.forgotten(snapshot.step.care_unit, snapshot.step.window)
            return
        answer, clock = snapshot.answer, self._logs.store.clock
        began, last = snapshot.fetched_at, answer.last_began or snapshot.fetched_at
        said_at = began.microseconds if isinstance(began, ReadTime) else clock.to_server(began)
        is_shared = len(answer) <= _MOST_SHARED_SLOTS
        value = self._logs.sealing.name("answer", claim.call) if is_shared else None
        event = Landed(self._own, claim.call, Asked.of(snapshot.step), said_at, clock.to_server(last), value)
        # Until the others can know, whoever waits for it must not take this process for dead.
        said = self._say(self._unit(claim.care_unit), event, event.asked, value, answer)
        self._start(said, on_done=partial(self._leases.end, claim.call))

    def failed(self, claim: Claim) -> None:
        """Say that a call has brought nothing."""
        unit = self._unit(claim.care_unit)
        self._logs.tell(unit.log, encoded(Failed(self._own, claim.call)))
        self._leases.end(claim.call)

    def taken(self, step: Step) -> None:
        """Say that nothing is free any more that matches a step."""
        asked = Asked.of(step)
        self._tell(self._unit(step.care_unit), Taken(self._own, asked, self._now()), asked)

    def forgotten(self, care_unit: CareUnitKey, window: Window) -> None:
        """Say that a window has to be asked anew."""
        self._forget(self._unit(care_unit), [Asked.of(Step(care_unit, window))])

    def _forget(self, unit: _Unit, windows: Iterable[Asked]) -> None:
        for asked in windows:
            self._tell(unit, Forgotten(self._own, asked, self._now()), asked)

    def _tell(self, unit: _Unit, event: TimeslotEvent, asked: Asked) -> None:
        task = self._start(self._say(unit, event, asked))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def tell_others(self) -> None:
        """Wait until all others know what was said to be taken or forgotten, or cannot be told now."""
        if self._telling:
            await asyncio.wait(set(self._telling))

    async def _say(
        self,
        unit: _Unit,
        event: TimeslotEvent,
        asked: Asked,
        value: str | None = None,
        answer: TimeslotList | None = None,
    ) -> None:
        """Append an event; when the store is away, the others are told later that they have to ask anew."""
        written = None
        if value is not None and answer is not None:
            is_long = len(answer) > _MOST_SLOTS_AT_ONCE
            plain = await asyncio.to_thread(encoded_answer, answer) if is_long else encoded_answer(answer)
            written = NewValue(value, plain, int(self._calls.snapshots.lifetimes.served * 1_000))
        try:
            await self._logs.append(unit.log, encoded(event), value=written)
        except StoreAwayError:
            self._leave_unsaid(unit, asked)
        except StoreRefusedError:
            # Where it had no room, its script has told the others all the same; where this process may not write, it
            # has told them nothing before either.
            return

    def _leave_unsaid(self, unit: _Unit, asked: Asked) -> None:
        if len(unit.unsaid) >= _MOST_UNSAID:
            unit.unsaid = [Asked.of(Step(unit.care_unit, _EVER))]
        else:
            unit.unsaid.append(asked)

    # What other processes say.

    def _take_message(self, message: EventMessage) -> None:
        unit = self._by_log.get(message.log)
        if unit is None:
            return
        if unit.reading is not None:
            unit.early.append(message)
        else:
            self._take(unit, message)

    def _take(self, unit: _Unit, message: EventMessage) -> None:
        if message.position == BEFORE_ALL:
            self._apply(unit, self._logs.opened(message), is_logged=False)
        elif message.position > unit.seen and not unit.is_behind:
            if message.previous <= unit.seen:
                unit.seen = message.position
                self._apply(unit, self._logs.opened(message))
            else:
                unit.is_behind = True
                self._follow(unit)

    def _follow(self, unit: _Unit) -> None:
        """Read a log, since something here may contradict it."""
        self._start(self.catch_up(unit.care_unit))

    async def _read(self, unit: _Unit) -> None:
        """Read what is new in a log, once for all that wait for it. Raises StoreAwayError and StoreRefusedError."""
        if not unit.is_behind:
            return
        if unit.reading is None:
            unit.reading = asyncio.get_running_loop().create_task(self._read_log(unit))
            unit.reading.add_done_callback(_retrieve)
        await asyncio.shield(unit.reading)

    async def _read_log(self, unit: _Unit) -> None:
        try:
            page = await self._logs.read(unit.log, unit.seen)
            unit.is_behind = False
            self._take_page(unit, page)
        finally:
            unit.reading = None
            early, unit.early = unit.early, []
            for message in early:
                self._take(unit, message)

    def _take_page(self, unit: _Unit, page: LogPage) -> None:
        known_until = unit.seen[0]
        if known_until and page.first > unit.seen and page.server_time // 1_000 - known_until < _KEPT_MILLISECONDS:
            # Events are gone that this process has not seen.
            self._calls.overtake(Step(unit.care_unit, _EVER), self._clock())
        for position, event in page.events:
            if position > unit.seen:
                unit.seen = position
                self._apply(unit, event)

    def _apply(self, unit: _Unit, data: bytes | None, *, is_logged: bool = True) -> None:
        event = None if data is None else decoded(data)
        if event is None:
            # Whatever it said, nothing that was asked before can be relied on.
            self._calls.overtake(Step(unit.care_unit, _EVER), self._clock())
        elif event.by != self._own or isinstance(event, Taken | Forgotten):
            # Of its own calls this process knows all; what it said of bookings is also about calls that it learns of.
            with suppress(ValueError, OverflowError):  # a window that is none, which no process of ours writes
                self._apply_event(unit, event, is_logged=is_logged)

    def _apply_event(self, unit: _Unit, event: TimeslotEvent, *, is_logged: bool) -> None:
        clock = self._logs.store.clock
        doubt = 0.0 if event.by == self._own else _CLOCKS_DIFFER
        match event:
            case Began():
                if is_logged:
                    self._begin_remote(unit, event, clock.to_local(event.at))
            case Landed():
                self._land_remote(unit, event)
            case Failed():
                remote = unit.remote.get(event.call)
                if remote is not None:
                    self._end(remote, None)
            case Taken():
                at = clock.to_local(event.at) + doubt
                self._calls.overwrite_at(event.asked.step(unit.care_unit), TimeslotList(), at)
            case Forgotten():
                at = clock.to_local(event.at) + doubt
                self._calls.forget_before(unit.care_unit, event.asked.step(unit.care_unit).window, at)

    def _begin_remote(self, unit: _Unit, event: Began, began: float) -> None:
        step = event.asked.step(unit.care_unit)
        reader = self._readers.get(event.reader)
        if reader is None:
            reader = self._readers[event.reader] = object()
        read = PendingRead(step, reader, began)
        self._drop_old(unit)
        unit.remote[event.call] = _Remote(event.call, read, asyncio.get_running_loop().create_future())
        self._calls.follow(read)

    def _drop_old(self, unit: _Unit) -> None:
        """Forget calls that nobody here waited for, and whose answers are of no use any more."""
        oldest = self._clock() - _REMOTE_SECONDS
        for remote in list(unit.remote.values()):
            if remote.read.began >= oldest and len(unit.remote) < _MOST_REMOTE:
                break
            self._lose(remote)

    def _land_remote(self, unit: _Unit, event: Landed) -> None:
        remote = unit.remote.get(event.call)
        began = self._logs.store.clock.to_local(event.began)
        if remote is None or event.value is None:
            # A newer answer than some here, which cannot be had.
            self._calls.overtake(event.asked.step(unit.care_unit), began)
            if remote is not None:
                self._end(remote, None)
            return
        remote.landed = event
        if self._calls.may_contradict(remote.read):
            self._follow(unit)

    async def _land_all(self, unit: _Unit) -> None:
        """Remember what calls of other processes have brought. Raises StoreAwayError and StoreRefusedError."""
        async with unit.landing:
            while waiting := [each for each in unit.remote.values() if each.landed is not None]:
                await self._land_each(waiting)

    async def _land_each(self, waiting: Sequence[_Remote]) -> None:
        oldest = self._clock() - self._calls.snapshots.lifetimes.served
        # What is too old to be remembered may still be newer than what is under way.
        fresh = [each for each in waiting if each.read.began > oldest or self._calls.may_contradict(each.read)]
        for remote in set(waiting).difference(fresh):
            self._end(remote, None)
        names = [each.landed.value for each in fresh if each.landed is not None and each.landed.value is not None]
        values = await self._logs.values(names)
        for remote, value in zip(fresh, values, strict=True):
            if remote.landed is not None and not remote.outcome.done():
                await self._land(remote, remote.landed, value)

    async def _land(self, remote: RemoteRead, event: Landed, value: bytes | None) -> None:
        read, clock = remote.read, self._logs.store.clock
        began = ReadTime(clock.to_local(event.began), event.began)
        answer = None if value is None else await _decoded(value)
        if answer is not None:
            answer.began, answer.last_began = began, clock.to_local(event.last_began)
            answer = await read.corrected(answer, began)
        if answer is None:
            self._calls.overtake(read.step, began)
        else:
            self._calls.land(Snapshot(read.step, answer, began, read.reader, arrived_at=self._clock()), read)
        self._end(remote, answer)

    def _end(self, remote: RemoteRead, answer: TimeslotList | None) -> None:
        """Let go of a call of another process, and let those go on that wait for it."""
        unit = self._units.get(remote.read.step.care_unit)
        if unit is not None:
            unit.remote.pop(remote.call, None)
        self._calls.unfollow(remote.read)
        if not remote.outcome.done():
            remote.outcome.set_result(answer)

    # When the store comes and goes.

    def _lose(self, remote: RemoteRead) -> None:
        """Let go of a call whose process is gone, or that nobody can tell of: what it brought may have been shown."""
        step = remote.read.step
        if self._logs.is_up:
            self._calls.overtake(step, remote.read.began)
        self._end(remote, None)

    def _go_alone(self) -> None:
        for unit in self._units.values():
            unit.is_behind = True
            for remote in list(unit.remote.values()):
                self._end(remote, None)

    def _come_back(self) -> None:
        for unit in self._units.values():
            unsaid, unit.unsaid = unit.unsaid, []
            self._forget(unit, unsaid)
            if unsaid or self._calls.remembers(unit.care_unit):
                self._follow(unit)

    # Names.

    @property
    def _own(self) -> str:
        # Not earlier, since a process may be forked after this was made.
        if not self._process:
            self._process = self._new_secret().hex()[:_TOKEN_DIGITS]
        return self._process

    def _token(self) -> str:
        self._number += 1
        return f"{self._own}{self._number:x}"

    def _reader_name(self, reader: object) -> str:
        found = self._names.get(reader)
        if found is None:
            found = self._names[reader] = self._token()
        return found

    def _now(self) -> int:
        return self._logs.store.clock.to_server(self._clock())

    def _unit(self, care_unit: CareUnitKey) -> _Unit:
        unit = self._units.get(care_unit)
        if unit is not None:
            self._units.move_to_end(care_unit)
            return unit
        unit = self._units[care_unit] = _Unit(care_unit, self._logs.sealing.name("timeslots", *care_unit))
        self._by_log[unit.log] = unit
        while len(self._units) > _MOST_UNITS:
            _, oldest = self._units.popitem(last=False)
            del self._by_log[oldest.log]
            for remote in list(oldest.remote.values()):
                self._end(remote, None)
            # Nobody would tell when others say something else.
            self._calls.overtake(Step(oldest.care_unit, _EVER), self._clock())
        return unit

    def _start(self, work: Coroutine[Any, Any, None], on_done: Callable[[], None] = lambda: None) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)

        def done(ended: asyncio.Task[None]) -> None:
            self._tasks.discard(ended)
            on_done()

        task.add_done_callback(done)
        return task


async def _decoded(value: bytes) -> TimeslotList | None:
    return decoded_answer(value)


def _retrieve(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        task.exception()
