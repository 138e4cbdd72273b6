"""The journal in the store that processes of several machines share.

What is compared on the server is there as keyed digests and times; all else is sealed. What another process wrote as
sent is dated by the server's clock, so that machines need not agree about the time of day.
"""

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, NamedTuple, Self

from cachetools import LRUCache

from gateway.booking import journal_scripts as scripts
from gateway.booking.appointment_lookup import time_of
from gateway.booking.journal import Hold, JournalEntry, JournalState, JournalUnavailableError
from gateway.booking.journal_codec import UnreadableEntryError, decoded, encoded
from gateway.booking.journal_session import JournalSession, milliseconds
from gateway.domain.appointments import Appointment, TimeRange
from gateway.domain.booking import AwaitingConfirmation, Booked, Cancelled
from gateway.domain.models import CareUnitKey
from gateway.shared_store.script import Script

_NAME_BYTES, _TOKEN_BYTES = 24, 12
_MOST_UNSETTLED = 100
_ASKED_AT_ONCE = 200
_MOST_TRIES = 5
# About a kilobyte each.
_MOST_WRITTEN_AGAIN = 2_000


class _Kept(NamedTuple):
    """What the server says of an entry."""

    owner: bytes
    state: bytes
    sent: bytes
    sealed: bytes


class SharedJournal:
    """See `Journal`. An async context manager, entered after the store; it waits a moment for that, and no longer.

    `new_owner` gives 32 random hexadecimal digits; `observe` is told how many seconds each operation took.
    """

    def __init__(
        self,
        session: JournalSession,
        new_owner: Callable[[], str],
        *,
        observe: Callable[[float], None] = lambda _: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._session, self._new_owner = session, new_owner
        self._observe, self._clock = observe, clock
        self._claimed: set[bytes] = set()
        self._holding: set[bytes] = set()
        self._written_last: LRUCache[bytes, JournalEntry] = LRUCache(_MOST_WRITTEN_AGAIN)
        session.write_again = self._write_again

    async def __aenter__(self) -> Self:
        await self._session.start(self._new_owner())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def owner(self) -> str:
        """The name of this process in entries."""
        return self._session.owner

    @property
    def names(self) -> bytes:
        """What the names of callers are made with; the journal keeps it over rotations of secrets."""
        return self._session.names

    async def claim(self, entry: JournalEntry) -> JournalEntry | None:
        """See `Journal.claim`."""
        own = replace(entry, state=JournalState.CLAIMED, owner=self.owner)
        written = self._written(own)
        for _ in range(_MOST_TRIES):
            value, time = await self._run(scripts.CLAIM, *written)
            if value is None:
                break
            kept = self._entry(_name(own.key), value, time)
            is_left = kept.state is JournalState.CLAIMED and kept.owner != own.owner and kept.input == own.input
            if not is_left or await self.is_alive(kept.owner):
                return kept
            if (await self._run(scripts.TAKE_OVER, *written, kept.owner, kept.state))[0]:
                break
        else:
            raise JournalUnavailableError("others change the entry all the time")
        self._claimed.add(own.key)
        return None

    async def write(self, entry: JournalEntry) -> bool:
        """See `Journal.write`. What is held for the key has to be held still before a call leaves.

        What became of a call is also written by the process that sent it where others took over, and do not know.
        """
        own, needs_hold = replace(entry, owner=self.owner), int(entry.key in self._holding)
        value, _ = await self._run(scripts.WRITE, *self._written(own), needs_hold, self._session.life_ms, 0)
        if value:
            self._written_last.pop(own.key, None)
            self._written_last[own.key] = own
        if value and own.state is not JournalState.CLAIMED:
            self._claimed.discard(own.key)
        if value and own.state is JournalState.DONE:
            self._holding.discard(own.key)
        return bool(value)

    async def find(self, key: bytes) -> JournalEntry | None:
        """See `Journal.find`."""
        value, time = await self._run(scripts.FIND, _name(key))
        return None if value is None else self._entry(_name(key), value, time)

    async def take_over(self, entry: JournalEntry) -> JournalEntry | None:
        """See `Journal.take_over`."""
        kept = await self.find(entry.key)
        if kept is None or kept.state is JournalState.DONE:
            return None
        state = JournalState.UNKNOWN if kept.state is JournalState.SENT else kept.state
        taken = replace(kept, state=state, owner=self.owner)
        value, _ = await self._run(scripts.TAKE_OVER, *self._written(taken), kept.owner, kept.state)
        if value and state is JournalState.CLAIMED:
            self._claimed.add(entry.key)
        return taken if value else None

    async def release(self, key: bytes) -> None:
        """See `Journal.release`."""
        await self._run(scripts.RELEASE, _name(key))
        self._claimed.discard(key)
        self._holding.discard(key)

    async def is_alive(self, owner: str) -> bool:
        """See `Journal.is_alive`."""
        return bool((await self._run(scripts.IS_ALIVE, owner))[0])

    async def hold(self, hold: Hold) -> bool:
        """See `Journal.hold`."""
        first, last = _times(hold.when)
        appointment = "" if hold.appointment is None else self._tag("appointment", *hold.care_unit, hold.appointment)
        place = self._unit(hold.care_unit), self._resource(hold.care_unit, hold.resource)
        arguments = _name(hold.key), milliseconds(hold.until), *place, first, last, appointment
        value, _ = await self._run(scripts.HOLD, *arguments)
        if value:
            self._holding.add(hold.key)
        return bool(value)

    async def let_go(self, key: bytes) -> None:
        """See `Journal.let_go`."""
        self._holding.discard(key)
        await self._run(scripts.LET_GO, _name(key))

    async def unsettled(self, hold: Hold) -> Sequence[JournalEntry]:
        """See `Journal.unsettled`; the latest hundred."""
        if hold.when is None:
            return ()
        value, time = await self._run(scripts.UNSETTLED, *self._meeting(hold, hold.when), _MOST_UNSETTLED)
        return [self._entry(name.decode(), kept, time) for *kept, name in value]

    async def was_asked(self, hold: Hold) -> bool:
        """See `Journal.was_asked`. For a day after something was lost, everything may have been."""
        if hold.when is None:
            return False
        value, _ = await self._run(scripts.WAS_ASKED, *self._meeting(hold, hold.when), scripts.DAY_MS)
        return bool(value)

    async def known(self, care_unit: CareUnitKey, appointments: Collection[str]) -> Mapping[str, Appointment]:
        """See `Journal.known`."""
        found: dict[str, Appointment] = {}
        asked = list(dict.fromkeys(appointments))
        for first in range(0, len(asked), _ASKED_AT_ONCE):
            tags = [self._tag("appointment", *care_unit, each) for each in asked[first : first + _ASKED_AT_ONCE]]
            value, time = await self._run(scripts.KNOWN, *tags)
            for *kept, name in value:
                appointment = _appointment_of(self._entry(name.decode(), kept, time))
                if appointment is not None:
                    found[appointment.leyr_id] = appointment
        return found

    async def count_attempt(self, appointment: bytes, expires_at: datetime) -> int:
        """See `Journal.count_attempt`."""
        arguments = _name(appointment), milliseconds(expires_at), self._token()
        return int((await self._run(scripts.COUNT_ATTEMPT, *arguments))[0])

    async def attempts(self, appointment: bytes) -> int:
        """See `Journal.attempts`."""
        return int((await self._run(scripts.ATTEMPTS, _name(appointment)))[0])

    async def close(self) -> None:
        """See `Journal.close`."""
        # Where it cannot be written, others find that this process is dead, and take over.
        with suppress(JournalUnavailableError):
            for key in list(self._claimed):
                await self.release(key)
        await self._session.close()

    async def _write_again(self) -> None:
        """Write what this process wrote last, after the store has lost something; others' entries are left alone."""
        for entry in list(self._written_last.values()):
            if entry.state is not JournalState.CLAIMED:
                await self._run(scripts.WRITE, *self._written(entry), 0, self._session.life_ms, 1)

    async def _run(self, script: Script, *arguments: bytes | str | int) -> tuple[Any, int]:
        began = self._clock()
        try:
            return await self._session.run(script, *arguments)
        finally:
            self._observe(self._clock() - began)

    def _written(self, entry: JournalEntry) -> Sequence[bytes | str | int]:
        """An entry as the scripts take it."""
        name, unit, resource, when = _name(entry.key), "", "", None
        if entry.wish is not None:
            care_unit, when = entry.wish.timeslot.care_unit, time_of(entry.wish)
            unit, resource = self._unit(care_unit), self._resource(care_unit, entry.wish.resource)
        outcome = _appointment_of(entry)
        appointment = "" if outcome is None else self._tag("appointment", *outcome.care_unit, outcome.leyr_id)
        return (
            *(name, entry.state, milliseconds(entry.expires_at), int(entry.sent_at is not None), unit, resource),
            *(*_times(when), appointment, self._token(), self._session.seal(name, encoded(entry))),
        )

    def _entry(self, name: str, value: Sequence[bytes], server_time: int) -> JournalEntry:
        """An entry as the server has it. Raises JournalUnavailableError where nobody with this secret wrote it."""
        kept = _Kept(*value)
        try:
            entry = decoded(self._session.open(name, kept.sealed) or b"")
            sent = int(kept.sent) if kept.sent else None
        except (UnreadableEntryError, ValueError):
            raise JournalUnavailableError("an entry cannot be read") from None
        if (entry.owner.encode(), entry.state.encode()) != (kept.owner, kept.state):
            raise JournalUnavailableError("an entry is not as it was written")
        if sent is None or entry.sent_at is None:
            return entry
        # Clocks of machines may differ: whichever says that it was sent later decides when nothing can land any more.
        age = timedelta(milliseconds=max(0.0, server_time / 1_000 - sent))
        return replace(entry, sent_at=max(entry.sent_at, self._session.now() - age))

    def _meeting(self, hold: Hold, when: TimeRange) -> Iterator[str]:
        unit, resource = self._unit(hold.care_unit), self._resource(hold.care_unit, hold.resource)
        yield from (unit, _name(hold.key), *_times(when), resource)

    def _unit(self, care_unit: CareUnitKey) -> str:
        return self._tag("care unit", *care_unit)

    def _resource(self, care_unit: CareUnitKey, resource: str | None) -> str:
        return "" if resource is None else self._tag("resource", *care_unit, resource)

    def _tag(self, purpose: str, *parts: str) -> str:
        return self._session.tags.name(purpose, *parts)

    def _token(self) -> bytes:
        return self._session.new_secret()[:_TOKEN_BYTES]


def _name(key: bytes) -> str:
    """The name of a key, which is a keyed digest already."""
    return urlsafe_b64encode(hashlib.sha256(key).digest()[:_NAME_BYTES]).decode()


def _times(when: TimeRange | None) -> tuple[str, str]:
    return ("", "") if when is None else (str(milliseconds(when.start)), str(milliseconds(when.end)))


def _appointment_of(entry: JournalEntry) -> Appointment | None:
    if entry.state is JournalState.DONE and isinstance(entry.outcome, Booked | AwaitingConfirmation | Cancelled):
        return entry.outcome.appointment
    return None
