"""Entries of the journal for tests, of every shape."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from gateway.booking.journal import Hold, JournalEntry, JournalState
from gateway.domain.appointments import Appointment, AppointmentDeviation, TimeRange
from gateway.domain.booking import (
    AwaitingConfirmation,
    Booked,
    BookingFailureReason,
    BookingProblem,
    BookingStep,
    Cancelled,
    Refused,
    Taken,
    Unknown,
    Wish,
)
from gateway.domain.ids import TimeslotId
from gateway.domain.models import CareUnitKey

NOW = datetime(2026, 11, 30, 8, tzinfo=UTC)
UNIT = CareUnitKey("webdoc", "L0_1")
SLOT = TimeslotId(UNIT, NOW + timedelta(days=1), NOW + timedelta(days=1, minutes=20), "r1", None)

HOUR = timedelta(hours=1)
WHEN, LATER, LAST = (TimeRange(NOW + number * HOUR, NOW + (number + 1) * HOUR) for number in range(3))


def entry(key: bytes = b"key", given: bytes = b"input") -> JournalEntry:
    """An entry that nothing was sent for."""
    expires = NOW + timedelta(days=2)
    return JournalEntry(key, BookingStep.BOOK, "page", given, JournalState.CLAIMED, "", expires, UNIT)


def sent(of: JournalEntry) -> JournalEntry:
    """The same when its call is about to leave."""
    return replace(of, state=JournalState.SENT, wish=Wish(SLOT, "r1", "s1"), sent_at=NOW, patient=b"digest")


def done(of: JournalEntry) -> JournalEntry:
    """The same with an outcome."""
    return replace(of, state=JournalState.DONE, outcome=Booked(Appointment(UNIT, "a1", "booked", "2026-12-01T09:00Z")))


def hold(
    key: bytes, resource: str | None = "r1", when: TimeRange | None = WHEN, appointment: str | None = None
) -> Hold:
    """What a key has for an hour."""
    return Hold(key, UNIT, NOW + HOUR, resource, when, appointment)


_texts = st.text(st.characters(codec="utf-8"), max_size=20)
_optional = st.none() | _texts
_instants = st.datetimes(timezones=st.just(UTC))
_units = st.builds(CareUnitKey, _texts, _texts)
_slots = st.builds(TimeslotId, _units, _instants, st.none() | _instants, _optional, _optional)
_appointments = st.builds(Appointment, _units, _texts, _texts, _texts, _optional, _optional, _optional)
_problems = st.lists(st.builds(BookingProblem, _texts, _optional), max_size=2).map(tuple)
_floats = st.none() | st.floats(0, 1e6)
_outcomes = st.one_of(
    st.builds(Booked, _appointments, st.lists(st.sampled_from(AppointmentDeviation), max_size=2).map(tuple)),
    st.builds(AwaitingConfirmation, _appointments),
    st.builds(Cancelled, _appointments),
    st.builds(Taken, st.lists(_slots, max_size=2).map(tuple), _optional),
    st.builds(Refused, st.sampled_from(BookingFailureReason), _problems, _optional, st.booleans(), _floats),
    st.builds(Unknown, _instants, _optional),
)
_digests = st.binary(max_size=32)
entries = st.builds(
    JournalEntry,
    key=_digests,
    step=st.sampled_from(BookingStep),
    caller=_texts,
    input=_digests,
    state=st.sampled_from(JournalState),
    owner=_texts,
    expires_at=_instants,
    care_unit=_units,
    wish=st.none() | st.builds(Wish, _slots, _optional, _optional),
    appointment=_optional,
    sent_at=st.none() | _instants,
    patient=st.none() | _digests,
    known_appointments=st.none() | st.frozensets(_digests, max_size=3),
    outcome=st.none() | _outcomes,
    emr_patient=st.none() | _digests,
)
"""Any entry."""
