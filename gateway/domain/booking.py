"""What a booking, a confirmation, a cancellation or a move may come to, as the journal keeps it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from gateway.domain.appointments import Appointment, AppointmentDeviation
from gateway.domain.errors import BadUserInput
from gateway.domain.ids import TimeslotId


class BookingFailureReason(StrEnum):
    """Why there is no appointment as asked, or not known to be one."""

    TIMESLOT_TAKEN = "TIMESLOT_TAKEN"
    TIMESLOT_AMBIGUOUS = "TIMESLOT_AMBIGUOUS"
    TIMESLOT_EXPIRED = "TIMESLOT_EXPIRED"
    PATIENT_REJECTED = "PATIENT_REJECTED"
    PATIENT_ALREADY_BOOKED = "PATIENT_ALREADY_BOOKED"
    REJECTED_BY_EHR = "REJECTED_BY_EHR"
    NOT_SUPPORTED = "NOT_SUPPORTED"
    NOT_SENT = "NOT_SENT"
    NOT_BOOKED = "NOT_BOOKED"
    IN_PROGRESS = "IN_PROGRESS"
    KEY_MISMATCH = "KEY_MISMATCH"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    CODE_WRONG = "CODE_WRONG"
    TOO_MANY_ATTEMPTS = "TOO_MANY_ATTEMPTS"
    ALREADY_CANCELLED = "ALREADY_CANCELLED"
    APPOINTMENT_NOT_FOUND = "APPOINTMENT_NOT_FOUND"
    OTHER = "OTHER"


class BookingStep(StrEnum):
    """What a client asks for, which is the scope of its idempotency keys beside its name."""

    BOOK = "book"
    CONFIRM = "confirm"
    CANCEL = "cancel"
    RESCHEDULE = "reschedule"


@dataclass(frozen=True, slots=True)
class Booked:
    """The EHR has the appointment: newly booked, confirmed, or moved."""

    appointment: Appointment
    deviations: tuple[AppointmentDeviation, ...] = ()


@dataclass(frozen=True, slots=True)
class AwaitingConfirmation:
    """The EHR has the booking or the cancellation, and wants the code that it sent to the patient."""

    appointment: Appointment


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The appointment is cancelled."""

    appointment: Appointment


@dataclass(frozen=True, slots=True)
class Taken:
    """None of the timeslots is free any more; `wanted` are those that were asked for, in order of preference."""

    wanted: tuple[TimeslotId, ...]
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class BookingProblem:
    """One of Leyr's reasons by its code (leyr-api 6.3), and the input field that it speaks of, where that is known."""

    code: str
    input_field: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """It is certain that nothing was booked, confirmed, cancelled or moved; texts of Leyr's are not passed on."""

    reason: BookingFailureReason
    problems: tuple[BookingProblem, ...] = ()
    reference: str | None = None
    retryable: bool = False
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """A call was sent, and it is not known what became of it; looking it up makes sense after `ask_again_after`."""

    ask_again_after: datetime
    reference: str | None = None


Outcome: TypeAlias = Booked | AwaitingConfirmation | Cancelled | Taken | Refused | Unknown
KEYLESS = frozenset(
    {BookingFailureReason.NOT_SENT, BookingFailureReason.IN_PROGRESS, BookingFailureReason.KEY_MISMATCH}
)
"""The reasons that are no outcome of a sent call: the journal keeps no key for them."""


@dataclass(frozen=True, slots=True)
class BookingResult:
    """An outcome; `replayed` says that it is the one of an earlier request with the same key."""

    outcome: Outcome
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Wish:
    """A timeslot that may be booked, with the owners that the client names where the slot names none."""

    timeslot: TimeslotId
    resource: str | None
    service: str | None

    @classmethod
    def all_of(
        cls, timeslots: Sequence[TimeslotId], resource: str | None = None, service: str | None = None
    ) -> "tuple[Wish, ...]":
        """The wishes for several timeslots, in order of preference."""
        return tuple(cls(each, each.resource or resource, each.service or service) for each in timeslots)


_SHORTEST_KEY, _LONGEST_KEY, _LONGEST_COMMENT, _LONGEST_CODE = 16, 255, 2_000, 64
_VISIBLE = re.compile(r"[\x21-\x7e]+")
# A comment may have lines; halves of surrogate pairs are no text.
_NO_TEXT = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\ud800-\\udfff]")


def checked_idempotency_key(text: str) -> str:
    """The key, if it has the form of one. Raises BadUserInput."""
    if not _SHORTEST_KEY <= len(text) <= _LONGEST_KEY or not _VISIBLE.fullmatch(text):
        raise BadUserInput(
            f"idempotencyKey: a key has {_SHORTEST_KEY} to {_LONGEST_KEY} visible ASCII characters; make a new UUID "
            "for each thing to do, and send it again for the same"
        )
    return text


def checked_code(text: str) -> str:
    """The code that a patient was sent, without the spaces around it. Raises BadUserInput."""
    found = text.strip()
    if len(found) > _LONGEST_CODE or not _VISIBLE.fullmatch(found):
        raise BadUserInput(f"code: a code has 1 to {_LONGEST_CODE} visible ASCII characters")
    return found


def checked_comment(text: str | None, longest: int | None) -> str | None:
    """The comment without the spaces around it, None where it is empty; `longest` is the EHR's own limit.

    Raises BadUserInput.
    """
    found = (text or "").strip()
    most = _LONGEST_COMMENT if longest is None else min(longest, _LONGEST_COMMENT)
    if len(found) > most:
        raise BadUserInput(f"comment: it has {len(found)} characters; the limit here is {most}")
    if _NO_TEXT.search(found):
        raise BadUserInput("comment: it holds control characters")
    return found or None
