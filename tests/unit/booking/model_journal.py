"""A journal in memory that several processes of a test share; a process dies at any step that a test says."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from gateway.booking.appointment_lookup import time_of
from gateway.booking.journal import Hold, JournalEntry, JournalState, JournalUnavailableError
from gateway.domain.appointments import Appointment
from gateway.domain.booking import AwaitingConfirmation, Booked, Cancelled
from gateway.domain.models import CareUnitKey

T = TypeVar("T")


@dataclass
class Store:
    """What all processes share. While it is `broken` nothing is written; while it is `deaf` it writes, and says no."""

    now: Callable[[], datetime]
    entries: dict[bytes, JournalEntry] = field(default_factory=dict)
    holds: dict[bytes, tuple[Hold, str]] = field(default_factory=dict)
    attempts: dict[bytes, int] = field(default_factory=dict)
    alive: set[str] = field(default_factory=set)
    is_broken: bool = False
    is_deaf: bool = False
    breaks_after_claim: bool = False

    def find(self, key: bytes) -> JournalEntry | None:
        entry = self.entries.get(key)
        return None if entry is None or entry.expires_at <= self.now() else entry


class ModelJournal:
    def __init__(self, store: Store, owner: str, on_step: Callable[[], bool] = lambda: False) -> None:
        self._store = store
        self._owner = owner
        self._on_step = on_step
        store.alive.add(owner)

    @property
    def owner(self) -> str:
        return self._owner

    async def claim(self, entry: JournalEntry) -> JournalEntry | None:
        await self._step()
        kept = self._store.find(entry.key)
        if kept is not None:
            is_left = kept.state is JournalState.CLAIMED and kept.owner not in self._store.alive
            if not (is_left and kept.input == entry.input):
                return await self._stepped(kept)
        self._store.entries[entry.key] = replace(entry, state=JournalState.CLAIMED, owner=self._owner)
        await self._written(None)
        self._store.is_broken |= self._store.breaks_after_claim
        return None

    async def write(self, entry: JournalEntry) -> bool:
        await self._step()
        kept = self._store.find(entry.key)
        if kept is None or kept.owner != self._owner:
            return await self._stepped(False)  # noqa: FBT003 # the answer
        self._store.entries[entry.key] = replace(entry, owner=self._owner)
        return await self._written(True)  # noqa: FBT003 # the answer

    async def find(self, key: bytes) -> JournalEntry | None:
        await self._step()
        return await self._stepped(self._store.find(key))

    async def take_over(self, entry: JournalEntry) -> JournalEntry | None:
        await self._step()
        kept = self._store.find(entry.key)
        if kept is None or kept.state is JournalState.DONE:
            return await self._stepped(None)
        is_left = kept.owner == self._owner or kept.owner not in self._store.alive
        if kept.state is not JournalState.UNKNOWN and not is_left:
            return await self._stepped(None)
        state = JournalState.UNKNOWN if kept.state is JournalState.SENT else kept.state
        taken = self._store.entries[entry.key] = replace(kept, state=state, owner=self._owner)
        return await self._written(taken)

    async def release(self, key: bytes) -> None:
        await self._step()
        kept = self._store.find(key)
        if kept is not None and kept.owner == self._owner and kept.state is JournalState.CLAIMED:
            del self._store.entries[key]
            self._store.holds.pop(key, None)
        await self._written(None)

    async def is_alive(self, owner: str) -> bool:
        await self._step()
        return await self._stepped(owner in self._store.alive)

    async def hold(self, hold: Hold) -> bool:
        await self._step()
        store = self._store
        others = [each for key, (each, owner) in store.holds.items() if key != hold.key and self._is_held(each, owner)]
        if any(each.meets(hold) for each in others):
            return await self._stepped(False)  # noqa: FBT003 # the answer
        store.holds[hold.key] = hold, self._owner
        return await self._written(True)  # noqa: FBT003 # the answer

    def _is_held(self, hold: Hold, owner: str) -> bool:
        entry = self._store.find(hold.key)
        if hold.until <= self._store.now() or entry is None or entry.state is JournalState.DONE:
            return False
        return owner in self._store.alive or entry.state is not JournalState.CLAIMED

    async def let_go(self, key: bytes) -> None:
        await self._step()
        self._store.holds.pop(key, None)
        await self._written(None)

    async def unsettled(self, hold: Hold) -> Sequence[JournalEntry]:
        await self._step()
        found = [
            each
            for each in self._store.entries.values()
            if each.key != hold.key and each.state in {JournalState.SENT, JournalState.UNKNOWN} and _meets(each, hold)
        ]
        return await self._stepped(found)

    async def was_asked(self, hold: Hold) -> bool:
        await self._step()
        others = [each for each in self._store.entries.values() if each.key != hold.key]
        return await self._stepped(
            any(each.state is not JournalState.CLAIMED and _meets(each, hold) for each in others)
        )

    async def known(self, care_unit: CareUnitKey, appointments: Collection[str]) -> Mapping[str, Appointment]:
        await self._step()
        found = {}
        for entry in list(self._store.entries.values()):
            if isinstance(entry.outcome, Booked | AwaitingConfirmation | Cancelled):
                appointment = entry.outcome.appointment
                if appointment.care_unit == care_unit and appointment.leyr_id in appointments:
                    found[appointment.leyr_id] = appointment
        return await self._stepped(found)

    async def count_attempt(self, appointment: bytes, expires_at: datetime) -> int:
        await self._step()
        assert expires_at > self._store.now()
        count = self._store.attempts[appointment] = self._store.attempts.get(appointment, 0) + 1
        return await self._written(count)

    async def attempts(self, appointment: bytes) -> int:
        await self._step()
        return await self._stepped(self._store.attempts.get(appointment, 0))

    async def close(self) -> None:
        self._store.alive.discard(self._owner)

    async def _step(self) -> None:
        """A moment before something is done."""
        await self._pass()
        if self._store.is_broken:
            raise JournalUnavailableError("broken")

    async def _stepped(self, found: T) -> T:
        """A moment after something was read."""
        await self._pass()
        return found

    async def _written(self, found: T) -> T:
        """A moment after something was written."""
        await self._pass()
        if self._store.is_deaf:
            raise JournalUnavailableError("written, perhaps")
        return found

    async def _pass(self) -> None:
        await asyncio.sleep(0)
        if self._owner in self._store.alive and self._on_step():
            self._store.alive.discard(self._owner)
            # Nothing of a dead process goes on.
            await asyncio.get_running_loop().create_future()
        if self._owner not in self._store.alive:
            raise JournalUnavailableError("dead")


def _meets(entry: JournalEntry, hold: Hold) -> bool:
    if entry.wish is None:
        return False
    wanted = Hold(entry.key, entry.wish.timeslot.care_unit, hold.until, entry.wish.resource, time_of(entry.wish))
    return wanted.meets(hold)
