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
from typing import Any

from gateway.domain.models import CareUnitKey
from gateway.domain.queries import Step
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import Window
from gateway.fetch.fetch_scope import ReadTime
from gateway.fetch.process_names import ProcessNames
from gateway.fetch.remote_timeslots import EVER, RemoteTimeslots
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
    LogPage,
    NewEvent,
    NewValue,
    Position,
)
from gateway.shared_store.leases import Leases
from gateway.shared_store.reads import ReadEvents, ReadOutcome, SharedRead

# What a process could not say while the store was away; more than so many are said of the whole care unit.
_MOST_UNSAID = 50
# Older events are of no use, since all that began before them is.
_KEPT_MILLISECONDS = 60_000
# Larger answers are not shared: others ask by themselves.
_MOST_SHARED_SLOTS = 100_000
_MOST_SLOTS_AT_ONCE = 5_000


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

    async def catch_up(self, care_unit: CareUnitKey) -> None:
        """Learn what other processes have said of a care unit, and remember what their calls brought."""
        unit = self._units.of(care_unit)
        with suppress(StoreAwayError, StoreRefusedError):  # then this process goes on with what it knows
            await self._read(unit)
            await self._remote.land_all(unit)

    def pending(self, care_unit: CareUnitKey) -> Sequence[RemoteRead]:
        """The pending calls of the others."""
        unit = self._units.known(care_unit)
        found = () if unit is None else unit.remote.values()
        return [RemoteRead(each.read, partial(self._outcome, each)) for each in found if each.is_joinable]

    async def _outcome(self, remote: RemoteCall) -> TimeslotList | None:
        unit = remote.log
        try:
            while not remote.outcome.done():
                await self._read(unit)
                if remote.landed is not None:
                    await self._remote.land_all(unit)
                elif not remote.outcome.done():
                    ended = await self._leases.newer(unit.name, unit.seen, [remote.call])
                    # What its process said before its end has been heard by now.
                    if ended and remote.landed is None:
                        self._remote.lose(remote)
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
        if not self._logs.is_up:
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
        except (StoreAwayError, StoreRefusedError):
            # Alone, as whoever has no store.
            self._tell(ReadOutcome.MISS)
            return {}
        except asyncio.CancelledError:
            # It may have been said all the same.
            for claim in claims.values():
                self.failed(claim)
            raise
        if isinstance(appended, Appended):
            for claim in claims.values():
                self._leases.hold(claim.call)
                self._tell(ReadOutcome.LED)
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
        event = Landed(self._names.own, claim.call, Asked.of(snapshot.step), said_at, clock.to_server(last), value)
        # Until the others can know, whoever waits for it must not take this process for dead.
        said = self._say(self._units.of(claim.care_unit), event, event.asked, value, answer)
        self._start(said, on_done=partial(self._leases.end, claim.call))

    def failed(self, claim: Claim) -> None:
        """Say that a call has brought nothing."""
        unit = self._units.of(claim.care_unit)
        self._logs.tell(unit.name, encoded(Failed(self._names.own, claim.call)))
        self._leases.end(claim.call)

    def taken(self, step: Step) -> None:
        """Say that nothing is free any more that matches a step."""
        asked = Asked.of(step)
        self._announce(self._units.of(step.care_unit), Taken(self._names.own, asked, self._now()), asked)

    def forgotten(self, care_unit: CareUnitKey, window: Window) -> None:
        """Say that a window has to be asked anew."""
        self._forget(self._units.of(care_unit), [Asked.of(Step(care_unit, window))])

    def _forget(self, unit: UnitLog, windows: Iterable[Asked]) -> None:
        for asked in windows:
            self._announce(unit, Forgotten(self._names.own, asked, self._now()), asked)

    def _announce(self, unit: UnitLog, event: TimeslotEvent, asked: Asked) -> None:
        task = self._start(self._say(unit, event, asked))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def tell_others(self) -> None:
        """Wait until all others know what was said to be taken or forgotten, or cannot be told now."""
        if self._telling:
            await asyncio.wait(set(self._telling))

    async def _say(
        self,
        unit: UnitLog,
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
            await self._logs.append(unit.name, encoded(event), value=written)
        except StoreAwayError:
            self._leave_unsaid(unit, asked)
        except StoreRefusedError:
            # Where it had no room, its script has told the others all the same; where this process may not write, it
            # has told them nothing before either.
            return

    def _leave_unsaid(self, unit: UnitLog, asked: Asked) -> None:
        if len(unit.unsaid) >= _MOST_UNSAID:
            unit.unsaid = [Asked.of(Step(unit.care_unit, EVER))]
        else:
            unit.unsaid.append(asked)

    # What other processes say.

    def _take_message(self, message: EventMessage) -> None:
        unit = self._units.named(message.log)
        if unit is None:
            return
        if unit.reading is not None:
            unit.early.append(message)
        else:
            self._take(unit, message)

    def _take(self, unit: UnitLog, message: EventMessage) -> None:
        if message.position == BEFORE_ALL:
            self._remote.apply(unit, self._logs.opened(message), is_logged=False)
        elif message.position > unit.seen and not unit.is_behind:
            if message.previous <= unit.seen:
                unit.seen = message.position
                self._remote.apply(unit, self._logs.opened(message))
            else:
                unit.is_behind = True
                self._follow(unit)

    def _follow(self, unit: UnitLog) -> None:
        """Read a log, since something here may contradict it."""
        self._start(self.catch_up(unit.care_unit))

    async def _read(self, unit: UnitLog) -> None:
        """Read what is new in a log, once for all that wait for it. Raises StoreAwayError and StoreRefusedError."""
        if not unit.is_behind:
            return
        if unit.reading is None:
            unit.reading = asyncio.get_running_loop().create_task(self._read_log(unit))
            unit.reading.add_done_callback(_retrieve)
        await asyncio.shield(unit.reading)

    async def _read_log(self, unit: UnitLog) -> None:
        try:
            page = await self._logs.read(unit.name, unit.seen)
            unit.is_behind = False
            self._take_page(unit, page)
        finally:
            unit.reading = None
            early, unit.early = unit.early, []
            for message in early:
                self._take(unit, message)

    def _take_page(self, unit: UnitLog, page: LogPage) -> None:
        known_until = unit.seen[0]
        if known_until and page.first > unit.seen and page.server_time // 1_000 - known_until < _KEPT_MILLISECONDS:
            # Events are gone that this process has not seen.
            self._remote.distrust(unit)
        for position, event in page.events:
            if position > unit.seen:
                unit.seen = position
                self._remote.apply(unit, event)

    # When the store comes and goes.

    def _go_alone(self) -> None:
        for unit in self._units:
            unit.is_behind = True
            for remote in list(unit.remote.values()):
                self._remote.end(remote, None)

    def _come_back(self) -> None:
        for unit in self._units:
            unsaid, unit.unsaid = unit.unsaid, []
            self._forget(unit, unsaid)
            if unsaid or self._calls.remembers(unit.care_unit):
                self._follow(unit)

    # How.

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


def _retrieve(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        task.exception()
