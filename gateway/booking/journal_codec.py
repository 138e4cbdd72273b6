"""Entries of the journal as bytes and back; what another version wrote in another form is refused, not guessed."""

from collections.abc import Mapping
from datetime import datetime

from msgspec import MsgspecError, Raw, Struct
from msgspec.json import decode, encode

from gateway.booking.journal import JournalEntry, JournalState
from gateway.domain.booking import (
    AwaitingConfirmation,
    Booked,
    BookingStep,
    Cancelled,
    Outcome,
    Refused,
    Taken,
    Unknown,
    Wish,
)
from gateway.domain.models import CareUnitKey

_OUTCOMES: Mapping[str, type[Outcome]] = {
    each.__name__: each for each in (Booked, AwaitingConfirmation, Cancelled, Taken, Refused, Unknown)
}


class UnreadableEntryError(Exception):
    """What is kept is no entry of this version's; the message quotes nothing of it."""


class _Tagged(Struct, array_like=True, frozen=True):
    """An outcome behind the name of its type."""

    kind: str
    value: Raw

    @classmethod
    def of(cls, outcome: Outcome) -> "_Tagged":
        return cls(type(outcome).__name__, Raw(encode(outcome)))

    @property
    def outcome(self) -> Outcome:
        return decode(self.value, type=_OUTCOMES[self.kind])


class _Kept(Struct, frozen=True):
    """An entry as it is kept."""

    key: bytes
    step: BookingStep
    caller: str
    input: bytes
    state: JournalState
    owner: str
    expires_at: datetime
    care_unit: CareUnitKey
    wish: Wish | None
    appointment: str | None
    sent_at: datetime | None
    patient: bytes | None
    known_appointments: tuple[bytes, ...] | None
    outcome: _Tagged | None
    emr_patient: bytes | None = None


def encoded(entry: JournalEntry) -> bytes:
    """An entry as JSON."""
    return encode(
        _Kept(
            key=entry.key,
            step=entry.step,
            caller=entry.caller,
            input=entry.input,
            state=entry.state,
            owner=entry.owner,
            expires_at=entry.expires_at,
            care_unit=entry.care_unit,
            wish=entry.wish,
            appointment=entry.appointment,
            sent_at=entry.sent_at,
            patient=entry.patient,
            known_appointments=None if entry.known_appointments is None else tuple(sorted(entry.known_appointments)),
            outcome=None if entry.outcome is None else _Tagged.of(entry.outcome),
            emr_patient=entry.emr_patient,
        )
    )


def decoded(data: bytes) -> JournalEntry:
    """The entry that was encoded. Raises UnreadableEntryError."""
    try:
        kept = decode(data, type=_Kept)
        return JournalEntry(
            key=kept.key,
            step=kept.step,
            caller=kept.caller,
            input=kept.input,
            state=kept.state,
            owner=kept.owner,
            expires_at=kept.expires_at,
            care_unit=kept.care_unit,
            wish=kept.wish,
            appointment=kept.appointment,
            sent_at=kept.sent_at,
            patient=kept.patient,
            known_appointments=None if kept.known_appointments is None else frozenset(kept.known_appointments),
            outcome=None if kept.outcome is None else kept.outcome.outcome,
            emr_patient=kept.emr_patient,
        )
    except (MsgspecError, KeyError, UnicodeDecodeError) as error:
        raise UnreadableEntryError(type(error).__name__) from None
