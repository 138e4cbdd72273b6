"""Timeslots that several processes share: each knows what the others ask, have been told, and have booked.

Of each care unit there is a log of events in the shared store, and what this process remembers follows it. A call of
another process is a pending read here as well: what lands meanwhile corrects it, and it lands here when somebody wants
it, or at once where something here may contradict it. So the law of order (`domain/read_order.py`) holds over all
processes, and whoever is about to call finds out first whether another process has called.

The store is asked where a care unit is met for the first time, and before a call begins. When it is away, the process
goes on alone; what the others should have heard meanwhile they are told afterwards.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any

from gateway.domain.models import CareUnitKey
from gateway.domain.pieces import InPieces
from gateway.domain.queries import Step
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import Window
from gateway.fetch.fetch_scope import ReadTime
from gateway.fetch.process_names import ProcessNames
from gateway.fetch.remote_timeslots import EVER, RemoteTimeslots, retrieve
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
    encoded,
    encoded_answer,
)
from gateway.fetch.unit_logs import RemoteCall, UnitLog, UnitLogs
from gateway.shared_store.errors import StoreAwayError, StoreRefusedError
from gateway.shared_store.event_log import (
    BEFORE_ALL,
    Appended,
    EventLogs,
    EventMessage,
    LoggedEvent,
    LogPage,
    NewEvent,
    NewValue,
    Position,
)
from gateway.shared_store.leases import Leases
from gateway.shared_store.reads import ReadEvents, ReadOutcome, SharedRead

# What a process could not say while the store was away; more than so many are said of the whole care unit.
_MOST_UNSAID = 50
# Larger answers are not shared: others ask by themselves.
_MOST_SHARED_SLOTS = 100_000
_MOST_BYTES_AT_ONCE = 256 * 1024
# A booking that is written into a long list takes some milliseconds.
_EVENTS_AT_ONCE = 2
# More events than these are heeded in pieces; so many logs are read at once where many are.
_MOST_AT_ONCE = 20
_MOST_EARLY = 1_000
# Where the store refuses what is said, as one that is full does, it is not asked again at once.
_REFUSED_SECONDS = 1.0
# Positions are whole milliseconds, and clocks differ.
_SECONDS_OF_POSITION = 0.006


class SharedTimeslots:
    """Follows the logs of the care units that this process has to do with, and writes into them."""

    def __init__(
        self,
        calls: TimeslotCalls,
        logs: EventLogs,
        leases: Leases,
        reads: ReadEvents,
        *,
        new_secret: Callable[[], bytes],
        clock: Callable[[], float],
    ) -> None:
        self._calls = calls
        self._logs = logs
        self._leases = leases
        self._reads = reads
        self._clock = clock
        self._names = ProcessNames(new_secret)
        self._units = UnitLogs(lambda care_unit: logs.sealing.name("timeslots", *care_unit), self._drop)
        self._remote = RemoteTimeslots(calls, logs, self._names, clock, on_needed=self._follow, tell=self._tell)
        self._tasks: set[asyncio.Task[None]] = set()
        self._telling: set[asyncio.Task[None]] = set()
        self._refused_until = -inf
        # How often the store went away, and messages with it.
        self._losses = 0
        logs.follow(self._take_message)
        logs.store.on_up(self._come_back)
        logs.store.on_away(self._go_alone)

    # What requests ask.

    def is_current(self, care_unit: CareUnitKey) -> bool:
        """Whether this process knows all that the others have said of a care unit, or cannot know it now."""
        if not self._logs.is_up:
            return True
        unit = self._units.known(care_unit)
        return unit is not None and not unit.is_behind and not unit.remote

    def is_settled(self, care_unit: CareUnitKey) -> bool:
        """Whether nothing that the others have brought is still to be remembered here."""
        unit = self._units.known(care_unit)
        return unit is None or unit.is_settled

    async def catch_up(self, care_unit: CareUnitKey) -> None:
        """Learn what other processes have said of a care unit, and remember what their calls brought."""
        await self._catch_up(self._units.of(care_unit))

    async def _catch_up(self, unit: UnitLog) -> None:
        with suppress(StoreAwayError, StoreRefusedError):  # then this process goes on with what it knows
            await self._read(unit)
            await self._remote.land_all(unit)

    def pending(self, care_unit: CareUnitKey) -> Sequence[RemoteRead]:
        """The calls of the others that are pending, or whose answers are not remembered here yet."""
        unit = self._units.known(care_unit)
        oldest = self._clock() - self._calls.snapshots.lifetimes.served
        found = () if unit is None else unit.remote.values()
        joinable = [each for each in found if each.is_joinable and each.read.began > oldest]
        return [RemoteRead(each.read, partial(self._outcome, each)) for each in joinable]

    async def _outcome(self, remote: RemoteCall) -> TimeslotList | None:
        unit = remote.log
        heard: Position | None = None
        try:
            while not remote.outcome.done():
                await self._read(unit)
                if remote.landed is not None:
                    await self._remote.land_all(unit)
                elif heard == unit.seen:
                    # Something was said that the log does not hold any more.
                    self._remote.lose(remote)
                elif not remote.outcome.done():
                    heard = unit.seen
                    ended = await self._leases.newer(unit.name, heard, [remote.call])
                    # What its process said before its end has been heard by now.
                    if ended and remote.landed is None:
                        self._remote.lose(remote)
                    unit.is_behind = unit.is_behind or heard == unit.seen
        except (StoreAwayError, StoreRefusedError):
            self._remote.end(remote, None)
        answer = remote.outcome.result()
        if answer is not None:
            self._tell(ReadOutcome.JOINED)
        return answer

    def position(self, care_unit: CareUnitKey) -> Position:
        """How much of what was said of a care unit is known here."""
        return self._units.of(care_unit).seen

    async def claim(
        self, care_unit: CareUnitKey, steps: Sequence[Step], reader: object, after: Position | None
    ) -> Mapping[Step, Claim] | None:
        """Say that calls begin; None where anything was said after a position, if one is given."""
        if not self._logs.is_up or self._clock() < self._refused_until:
            return {}
        unit = self._units.of(care_unit)
        name, now = self._names.of_reader(reader), self._now()
        claims = {step: Claim(care_unit, self._leases.new()) for step in steps}
        events = [
            NewEvent(encoded(Began(self._names.own, claim.call, Asked.of(step), name, now)), claim.call)
            for step, claim in claims.items()
        ]
        try:
            appended = await self._logs.append_all(unit.name, events, after=after)
        except StoreAwayError:
            # Alone, as whoever has no store; but others may have begun calls here meanwhile.
            self._tell(ReadOutcome.MISS)
            return None if after is not None else {}
        except StoreRefusedError:
            self._refused_until = self._clock() + _REFUSED_SECONDS
            self._tell(ReadOutcome.MISS)
            return None if after is not None else {}
        except asyncio.CancelledError:
            # It may have been said all the same, and nobody is to wait for it.
            for claim in claims.values():
                self.failed(claim)
            raise
        if isinstance(appended, Appended):
            for claim in claims.values():
                self._leases.hold(claim.call)
                self._tell(ReadOutcome.LED)
            return claims
        if len(appended.events) > _MOST_AT_ONCE:
            # That is to be read in pieces.
            unit.is_behind = True
        else:
            self._note_gap(unit, appended)
            self._take_events(unit, appended.events)
        return None

    # What this process says.

    def read_time(self, seconds: float) -> float:
        """A time of this process's clock, with the instant that all processes say where that is known."""
        clock = self._logs.store.clock
        return ReadTime(seconds, clock.to_server(seconds)) if clock.is_known else seconds

    def landed(self, claim: Claim | None, snapshot: Snapshot) -> "asyncio.Task[None]":
        """Say what a call has brought, or without a claim that it was made; done when the others know, if they can."""
        answer, clock, asked = snapshot.answer, self._logs.store.clock, Asked.of(snapshot.step)
        began, last = snapshot.fetched_at, answer.last_began or snapshot.fetched_at
        said_at = began.microseconds if isinstance(began, ReadTime) else clock.to_server(began)
        times = said_at, clock.to_server(last)
        unit = self._units.of(snapshot.step.care_unit)
        if claim is None:
            return self._start(self._say(unit, Landed(self._names.own, "", asked, *times, None)))
        claim.is_over = True
        value = self._logs.sealing.name("answer", claim.call) if len(answer) <= _MOST_SHARED_SLOTS else None
        event = Landed(self._names.own, claim.call, asked, *times, value)
        # Until the others can know, whoever waits for it must not take this process for dead.
        return self._start(self._say_landed(unit, event, answer), on_done=partial(self._leases.end, claim.call))

    def failed(self, claim: Claim) -> None:
        """Say that a call has brought nothing, unless it is over."""
        if claim.is_over:
            return
        claim.is_over = True
        unit = self._units.of(claim.care_unit)
        self._logs.tell(unit.name, encoded(Failed(self._names.own, claim.call)))
        self._leases.end(claim.call)

    def taken(self, step: Step) -> None:
        """Say that nothing is free any more that matches a step."""
        self._announce(self._units.of(step.care_unit), Taken(self._names.own, Asked.of(step), self._now()))

    def forgotten(self, care_unit: CareUnitKey, window: Window) -> None:
        """Say that a window has to be asked anew."""
        self._announce(self._units.of(care_unit), self._forgotten(care_unit, window))

    def _announce(self, unit: UnitLog, event: Taken | Forgotten) -> None:
        task = self._start(self._say(unit, event))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def tell_others(self) -> None:
        """Wait until all others know what was said to be taken or forgotten, or cannot be told now."""
        if self._telling:
            await asyncio.wait(set(self._telling))

    def _forgotten(self, care_unit: CareUnitKey, window: Window) -> Forgotten:
        return Forgotten(self._names.own, Asked.of(Step(care_unit, window)), self._now())

    async def _say_landed(self, unit: UnitLog, event: Landed, answer: TimeslotList) -> None:
        value = None
        if event.value is not None:
            plain = await InPieces(encoded_answer(answer))
            seal, is_long = self._logs.sealing.seal, len(plain) > _MOST_BYTES_AT_ONCE
            sealed = await asyncio.to_thread(seal, event.value, plain) if is_long else seal(event.value, plain)
            value = NewValue(event.value, b"", int(self._calls.snapshots.lifetimes.served * 1_000), sealed)
        await self._say(unit, event, value)

    async def _say(self, unit: UnitLog, event: TimeslotEvent, value: NewValue | None = None) -> None:
        """Append an event; when the store is away, the others are told later."""
        try:
            await self._logs.append(unit.name, encoded(event), value=value)
        except StoreAwayError:
            self._leave_unsaid(unit, event)
        except StoreRefusedError:
            # Where it had no room, its script has told the others all the same; where this process may not write, it
            # has told them nothing before either.
            return

    def _leave_unsaid(self, unit: UnitLog, event: TimeslotEvent) -> None:
        if isinstance(event, Landed):
            # What it brought was not written.
            event = Landed(event.by, event.call, event.asked, event.began, event.last_began, None)
        if len(unit.unsaid) >= _MOST_UNSAID:
            unit.unsaid = [self._forgotten(unit.care_unit, EVER)]
        unit.unsaid.append(event)
        if self._logs.is_up and len(unit.unsaid) == 1:
            # Too much was under way at once.
            again = partial(self._catch_up_again, unit)
            asyncio.get_running_loop().call_later(_REFUSED_SECONDS, lambda: self._start(again()))

    # What other processes say.

    def _take_message(self, message: EventMessage) -> None:
        unit = self._units.named(message.log)
        if unit is None:
            return
        if unit.reading is None:
            self._take(unit, message)
        elif len(unit.early) < _MOST_EARLY:
            unit.early.append(message)

    def _take(self, unit: UnitLog, message: EventMessage) -> None:
        if message.position == BEFORE_ALL:
            self._remote.apply(unit, message.event, is_logged=False)
        elif message.position > unit.seen and not unit.is_behind:
            # Where it is somebody else's, or follows one that was missed, the log has the truth.
            if message.previous <= unit.seen and message.event is not None:
                unit.seen = message.position
                self._remote.apply(unit, message.event)
            else:
                unit.is_behind = True
                self._follow(unit)

    def _follow(self, unit: UnitLog) -> None:
        """Read a log, since something here may contradict it."""
        self._start(self._catch_up(unit))

    async def _read(self, unit: UnitLog) -> None:
        """Read what is new in a log, once for all that wait for it. Raises StoreAwayError and StoreRefusedError."""
        if not unit.is_behind:
            return
        if unit.reading is None:
            unit.reading = asyncio.get_running_loop().create_task(self._read_log(unit))
            unit.reading.add_done_callback(retrieve)
        await asyncio.shield(unit.reading)

    async def _read_log(self, unit: UnitLog) -> None:
        losses = self._losses
        try:
            page = await self._logs.read(unit.name, unit.seen)
            self._note_gap(unit, page)
            for start in range(0, len(page.events), _EVENTS_AT_ONCE):
                if start:
                    await asyncio.sleep(0)
                self._take_events(unit, page.events[start : start + _EVENTS_AT_ONCE])
            unit.is_behind = len(unit.early) >= _MOST_EARLY or losses != self._losses
        finally:
            unit.reading = None
            early, unit.early = unit.early, []
            for message in early:
                self._take(unit, message)

    def _note_gap(self, unit: UnitLog, page: LogPage) -> None:
        """Heed that a log may have held events that this process has not seen."""
        if page.first == BEFORE_ALL:
            # It was lost, or there was none.
            unit.seen = BEFORE_ALL
            self._remote.distrust(unit)
        elif page.first > unit.seen:
            self._remote.distrust(unit, self._logs.store.clock.to_local(page.first[0] * 1_000) + _SECONDS_OF_POSITION)

    def _take_events(self, unit: UnitLog, events: Iterable[LoggedEvent]) -> None:
        for position, event in events:
            if position > unit.seen:
                unit.seen = position
                self._remote.apply(unit, event)

    # When the store comes and goes.

    def _go_alone(self) -> None:
        self._losses += 1
        for unit in self._units:
            unit.is_behind = True
            for remote in list(unit.remote.values()):
                self._remote.end(remote, None)

    def _come_back(self) -> None:
        self._start(self._catch_up_all())

    async def _catch_up_all(self) -> None:
        """Tell the others what they were not told, and hear what this process was not told, some at a time."""
        units = [each for each in self._units if each.unsaid or self._calls.remembers(each.care_unit)]
        for start in range(0, len(units), _MOST_AT_ONCE):
            await asyncio.gather(*map(self._catch_up_again, units[start : start + _MOST_AT_ONCE]))

    async def _catch_up_again(self, unit: UnitLog) -> None:
        unsaid, unit.unsaid = unit.unsaid, []
        for event in unsaid:
            await self._say(unit, event)
        await self._catch_up(unit)

    def _tell(self, outcome: ReadOutcome) -> None:
        self._reads.shared_read(SharedRead.TIMESLOTS, outcome)

    def _now(self) -> int:
        return self._logs.store.clock.to_server(self._clock())

    def _drop(self, unit: UnitLog) -> None:
        """Follow a log no longer: nobody will tell when others say something else."""
        for remote in list(unit.remote.values()):
            self._remote.end(remote, None)
        self._remote.distrust(unit)

    def _start(self, work: Coroutine[Any, Any, None], on_done: Callable[[], None] = lambda: None) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)

        def done(ended: asyncio.Task[None]) -> None:
            self._tasks.discard(ended)
            on_done()

        task.add_done_callback(done)
        return task
