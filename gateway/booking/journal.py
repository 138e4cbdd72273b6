"""The journal of idempotency keys: what was asked with each, how far it came, and what became of it.

It holds no personal data: keys and inputs are keyed digests. Each state is written durably before the step that it
names, so that after a crash nobody has to guess: what is CLAIMED was never sent, what is SENT may have been.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from gateway.domain.appointments import Appointment, TimeRange
from gateway.domain.booking import BookingStep, Outcome, Wish
from gateway.domain.models import CareUnitKey


class JournalState(StrEnum):
    """How far the request with a key came."""

    CLAIMED = "claimed"
    """Nothing was sent, or what was sent was refused for certain and the next wish is not sent yet."""
    SENT = "sent"
    """A call is about to leave, or has left."""
    DONE = "done"
    """The outcome is certain."""
    UNKNOWN = "unknown"
    """A call was sent, and its outcome is not known."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """What is kept of one key.

    `key` is a keyed digest of the caller's name, the step and the client's key; `input` one of the canonical input.
    `owner` is the process that works on it. Of what was sent, `wish` says which timeslot, `appointment` which one is
    changed (Leyr's id), `sent_at` when, and `patient` is a keyed digest of the EHR and Leyr's patient id, where that
    was known, `emr_patient` the same of the EHR's own id; `known_appointments` are digests of those that the EHR listed
    for the time before, None where it did not list any.
    """

    key: bytes
    step: BookingStep
    caller: str
    input: bytes
    state: JournalState
    owner: str
    expires_at: datetime
    care_unit: CareUnitKey
    wish: Wish | None = None
    appointment: str | None = None
    sent_at: datetime | None = None
    patient: bytes | None = None
    known_appointments: frozenset[bytes] | None = None
    outcome: Outcome | None = None
    emr_patient: bytes | None = None

    def unsent(self) -> "JournalEntry":
        """The same before anything was sent."""
        nothing = replace(self, state=JournalState.CLAIMED, wish=None, appointment=None, sent_at=None)
        return replace(nothing, patient=None, emr_patient=None, known_appointments=None)


@dataclass(frozen=True, slots=True)
class Hold:
    """What a key has for itself for a while: a time of a resource, where None stands for all, or an appointment."""

    key: bytes
    care_unit: CareUnitKey
    until: datetime
    resource: str | None = None
    when: TimeRange | None = None
    appointment: str | None = None

    def meets(self, other: "Hold") -> bool:
        """Whether two keys may not have both at the same time."""
        if self.care_unit != other.care_unit:
            return False
        if self.appointment is not None and self.appointment == other.appointment:
            return True
        if self.when is None or other.when is None or not self.when.overlaps(other.when):
            return False
        return self.resource is None or other.resource in {None, self.resource}


class JournalUnavailableError(Exception):
    """The journal cannot be written or read now: full, read-only, locked for too long, or gone."""


class Journal(Protocol):
    """A durable store; each method is atomic over all processes that share it. Raises JournalUnavailableError.

    What is past its `expires_at` is not given any more.
    """

    @property
    def owner(self) -> str:
        """The name of this process in entries."""

    async def claim(self, entry: JournalEntry) -> JournalEntry | None:
        """Write a CLAIMED entry where there is none of its key, and give None; else give the one that is there.

        One that is CLAIMED by a process that is dead is replaced where its input is the same, and None given.
        """

    async def write(self, entry: JournalEntry) -> bool:
        """Replace the entry of the same key that this process owns; False where another process owns it now."""

    async def find(self, key: bytes) -> JournalEntry | None:
        """The entry of a key."""

    async def take_over(self, entry: JournalEntry) -> JournalEntry | None:
        """Make this process the owner of an entry that is UNKNOWN, or whose owner is dead; None where it is neither.

        What was SENT by a dead process is UNKNOWN from then on.
        """

    async def release(self, key: bytes) -> None:
        """Forget an entry that this process owns and that was not sent."""

    async def is_alive(self, owner: str) -> bool:
        """Whether the process that works on an entry lives."""

    async def hold(self, hold: Hold) -> bool:
        """Hold something for a key, in place of what it held; False where another key's hold meets it.

        A hold is void once `until` is past, the key's entry is DONE, or its process is dead and sent nothing that may
        still land. It ends with `release` too, and need not be durable.
        """

    async def let_go(self, key: bytes) -> None:
        """End the hold of a key."""

    async def unsettled(self, hold: Hold) -> Sequence[JournalEntry]:
        """The entries of other keys, SENT or UNKNOWN, whose wish meets a hold, however long ago they held it."""

    async def was_asked(self, hold: Hold) -> bool:
        """Whether a call of another key was for a wish that meets a hold, whatever became of it."""

    async def known(self, care_unit: CareUnitKey, appointments: Collection[str]) -> Mapping[str, Appointment]:
        """Those of some appointments, by Leyr's ids, that the outcomes of keys hold, as the latest of them has each."""

    async def count_attempt(self, appointment: bytes, expires_at: datetime) -> int:
        """Count a wrong code for an appointment's digest, over restarts; gives how many there were."""

    async def attempts(self, appointment: bytes) -> int:
        """How many wrong codes there were."""

    async def close(self) -> None:
        """Release what this process owns that was not sent, and close the store."""
