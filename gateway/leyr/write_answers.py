"""What Leyr's answers to calls that write mean: done, refused for certain, or not known.

Only a refusal by Leyr or by the EHR is certain (leyr-api 6.1 to 6.4). A server's error, a body that cannot be read, and
Leyr's "unknown error" say nothing of whether the write was made. No text of an answer is passed on.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import TypeVar

import msgspec

from gateway.domain.appointments import Appointment
from gateway.domain.booking import BookingFailureReason, BookingProblem, Refused
from gateway.domain.booking_answers import (
    AppointmentList,
    FoundPatient,
    ListedAppointment,
    Lost,
    NotSent,
    PatientAnswer,
    SlotRefused,
    WriteAnswer,
)
from gateway.domain.errors import UpstreamInvalidAnswer
from gateway.domain.ids import is_usable
from gateway.domain.models import CareUnitKey
from gateway.domain.personal_numbers import has_many_digits
from gateway.domain.pieces import whole
from gateway.domain.timeslots import instant
from gateway.http_client.connection import Response
from gateway.leyr.decoding import Decoded, ListDecoder
from gateway.leyr.error_mapping import ErrorEnvelope, read_error_envelope, retry_after
from gateway.leyr.paging import paging_of

_Row = TypeVar("_Row", bound=msgspec.Struct)

_MOST_ROWS = 10_000
_FIRST_YEAR, _LAST_YEAR = 1900, 9000
_Reason = BookingFailureReason
_is_code = re.compile(r"[A-Z][A-Z0-9_]{0,63}").fullmatch
_SAYS_ALREADY_BOOKED = re.compile(r"ALREADY_BOOKED|DOUBLE_BOOK|DUPLICATE_(?:APPOINTMENT|BOOKING)").search


class _AppointmentRow(msgspec.Struct, frozen=True, gc=False):
    id: str
    status: str | None = None
    start: str | None = None
    end: str | None = None
    resource_id: str | None = None
    healthcare_service_id: str | None = None
    patient_id: str | None = None


class _PatientRow(msgspec.Struct, frozen=True, gc=False):
    id: str
    emr_id: str | None = None


_APPOINTMENTS = ListDecoder(_AppointmentRow, "id", max_items=_MOST_ROWS, instants=("start", "end"))
_PATIENTS = ListDecoder(_PatientRow, "id", max_items=_MOST_ROWS)


def written(response: Response, care_unit: CareUnitKey, asked_start: str | None, now: datetime) -> WriteAnswer:
    """What a booking or a change of an appointment came to; `asked_start` stands in where the answer names none."""
    if not response.is_success:
        return refusal(response, now)
    row = _only(_APPOINTMENTS, response)
    if row is None or not is_usable(row.id) or not (start := _start_of(row) or asked_start):
        return Lost()
    return _appointment(care_unit, row, start)


def found_patient(response: Response, now: datetime) -> PatientAnswer:
    """Whom an EHR found or made; the id that bookings name is Leyr's."""
    if not response.is_success:
        answer = refusal(response, now)
        if isinstance(answer, SlotRefused):
            return Refused(_Reason.PATIENT_REJECTED, reference=answer.reference)
        if isinstance(answer, Refused) and answer.reason in {_Reason.REJECTED_BY_EHR, _Reason.OTHER}:
            return replace(answer, reason=_Reason.PATIENT_REJECTED)
        return answer
    row = _only(_PATIENTS, response)
    return Lost() if row is None else FoundPatient(row.id, row.id, row.emr_id)


def listed_appointments(response: Response, care_unit: CareUnitKey) -> AppointmentList:
    """The appointments of a list, without rows that cannot be read or say no time. Raises domain errors.

    Such a row, or a further page, may be any appointment, so that the list does not tell that there is none.
    """
    found = _decoded(_APPOINTMENTS, response.body).require_usable()
    items = [
        ListedAppointment(_appointment(care_unit, row, start), row.patient_id)
        for row in found.items
        if (start := _start_of(row)) is not None
    ]
    rows, paging = len(found.items) + found.dropped, paging_of(found, response)
    has_more = paging.is_cut_off or paging.next_link is not None or paging.total > rows or paging.pages > 1
    return AppointmentList(items, is_complete=len(items) == rows and not has_more)


def refusal(response: Response, now: datetime) -> SlotRefused | Refused | NotSent | Lost:
    """What a response outside 2xx says of a call that writes.

    An EHR's own 4xx is a refusal (leyr-api 8.2: the second of two who want one time may get it); 429 comes before any
    work, and the same may be sent again.
    """
    envelope, status = read_error_envelope(response), response.status
    reasons = _reasons(envelope)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return NotSent(retry_after(response, now))
    if _is_open(envelope, status, reasons):
        return Lost(envelope.reference)
    if envelope.code != "EMR_ERROR":
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            # The gateway's own credentials, or a firewall: nobody looked at what was asked.
            return NotSent()
        if set(envelope.details) == {"NO_TIMESLOTS_AVAILABLE"} and _Reason.PATIENT_ALREADY_BOOKED not in reasons:
            return SlotRefused(envelope.reference)
    reason = next((each for each in _PRECEDENCE if each in reasons), None) or _by_status(envelope, status)
    return Refused(reason, _problems(envelope), envelope.reference)


def _is_open(envelope: ErrorEnvelope, status: int, reasons: Collection[BookingFailureReason]) -> bool:
    """Whether it is not known if the write was made."""
    if status == HTTPStatus.NOT_IMPLEMENTED and _Reason.NOT_SUPPORTED in reasons:
        return False
    is_late = status == HTTPStatus.REQUEST_TIMEOUT or status < HTTPStatus.BAD_REQUEST
    return (
        is_late
        or status >= HTTPStatus.INTERNAL_SERVER_ERROR
        or envelope.code in {"UNKNOWN_ERROR", "SERVICE_UNAVAILABLE"}
    )


def _by_status(envelope: ErrorEnvelope, status: int) -> BookingFailureReason:
    if envelope.code == "EMR_ERROR":
        return _Reason.REJECTED_BY_EHR
    return _Reason.APPOINTMENT_NOT_FOUND if status == HTTPStatus.NOT_FOUND else _Reason.OTHER


def _reasons(envelope: ErrorEnvelope) -> set[BookingFailureReason]:
    found = {_BY_CODE[code] for code in envelope.details if code in _BY_CODE}
    if any(_SAYS_ALREADY_BOOKED(code) for code in (*envelope.details, *envelope.emr_errors)):
        found.add(_Reason.PATIENT_ALREADY_BOOKED)
    return found


def _problems(envelope: ErrorEnvelope) -> tuple[BookingProblem, ...]:
    """Each detailed code once, in order; what is no code may be text that must not be passed on."""
    codes = dict.fromkeys(each for each in envelope.details if _is_code(each) and not has_many_digits(each))
    return tuple(BookingProblem(code, _INPUT_FIELDS.get(code)) for code in codes)


def _only(decoder: "ListDecoder[_Row]", response: Response) -> "_Row | None":
    """The object of an answer, which is one by itself or the first of a list (leyr-api 2.7); None for anything else."""
    body = bytes(response.body.strip())
    for text in (b"[%b]" % body, body) if body.startswith(b"{") else (body,):
        try:
            items = _decoded(decoder, text).items
        except (UpstreamInvalidAnswer, UnicodeDecodeError):
            continue
        if items:
            return items[0]
    return None


def _decoded(decoder: "ListDecoder[_Row]", body: bytes | bytearray) -> "Decoded[_Row]":
    return decoder.decode_simply(body) or whole(decoder.decode_page(body))


def _start_of(row: _AppointmentRow) -> str | None:
    """When an appointment begins; None where it does not say so, or lies beyond what calendars hold."""
    is_in_calendar = row.start is not None and _FIRST_YEAR <= instant(row.start).year <= _LAST_YEAR
    return row.start if is_in_calendar else None


def _appointment(care_unit: CareUnitKey, row: _AppointmentRow, start: str) -> Appointment:
    return Appointment(care_unit, row.id, row.status or "", start, row.end, row.resource_id, row.healthcare_service_id)


_BY_CODE: Mapping[str, BookingFailureReason] = {
    "INVALID_PATIENT_ID": _Reason.PATIENT_REJECTED,
    "PATIENT_ID_LOOKUP_TYPE_NOT_SUPPORTED": _Reason.NOT_SUPPORTED,
    "INVALID_PATIENT_ID_TYPE": _Reason.NOT_SUPPORTED,
    "INVALID_APPOINTMENT_ID": _Reason.APPOINTMENT_NOT_FOUND,
    "NOT_SUPPORTED": _Reason.NOT_SUPPORTED,
    "AMBIGUOUS_TIMESLOTS": _Reason.TIMESLOT_AMBIGUOUS,
    "NO_TIMESLOTS_AVAILABLE": _Reason.TIMESLOT_TAKEN,
    "BAD_INPUT": _Reason.REJECTED_BY_EHR,
    "INVALID_COMMENT_LENGTH": _Reason.REJECTED_BY_EHR,
    "MAX_ITEMS_EXCEEDED": _Reason.REJECTED_BY_EHR,
}
_PRECEDENCE = (
    _Reason.PATIENT_ALREADY_BOOKED,
    _Reason.NOT_SUPPORTED,
    _Reason.APPOINTMENT_NOT_FOUND,
    _Reason.PATIENT_REJECTED,
    _Reason.TIMESLOT_AMBIGUOUS,
    _Reason.TIMESLOT_TAKEN,
    _Reason.REJECTED_BY_EHR,
)
"""Which reason is told where there are several: what no other time and no other input would change goes first."""
_INPUT_FIELDS: Mapping[str, str] = {
    "INVALID_PATIENT_ID": "patient",
    "PATIENT_ID_LOOKUP_TYPE_NOT_SUPPORTED": "patient",
    "INVALID_PATIENT_ID_TYPE": "patient",
    "INVALID_RESOURCE_ID": "resourceId",
    "INVALID_HEALTHCARE_SERVICE_ID": "healthcareServiceId",
    "INVALID_APPOINTMENT_ID": "appointmentId",
    "INVALID_COMMENT_LENGTH": "comment",
    "NO_TIMESLOTS_AVAILABLE": "timeslotIds",
    "AMBIGUOUS_TIMESLOTS": "timeslotIds",
}
