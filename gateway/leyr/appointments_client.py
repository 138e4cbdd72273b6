"""Leyr's endpoints for appointments and patients; what writes is sent once, and goes on when its client leaves.

Numbers of persons travel in bodies only: every URL is made of Leyr's ids, and one that may hold a number is refused.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from functools import partial
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote
from zoneinfo import ZoneInfo

import orjson

from gateway.domain.appointments import TimeRange
from gateway.domain.booking import BookingFailureReason, Refused, Wish
from gateway.domain.booking_answers import (
    AppointmentList,
    FoundPatient,
    Lost,
    NotSent,
    PatientAnswer,
    WriteAnswer,
)
from gateway.domain.errors import BadUserInput
from gateway.domain.ids import is_usable
from gateway.domain.models import CareUnitKey
from gateway.domain.patients import (
    Country,
    NationalNumber,
    Patient,
    PatientByEmrId,
    PatientByLeyrId,
    PatientDetails,
)
from gateway.domain.personal_numbers import may_hide_a_personal_number
from gateway.http_client.connection import Response
from gateway.leyr.call_events import AttemptError, CallResult, result_of
from gateway.leyr.client import WRITES, LeyrTransport
from gateway.leyr.error_mapping import error_for, read_error_envelope
from gateway.leyr.resilience import UpstreamPolicies
from gateway.leyr.write_answers import found_patient, listed_appointments, written

T = TypeVar("T")
_Send: TypeAlias = Callable[..., Coroutine[Any, Any, Response]]
"""Sends a request; takes `timeout_seconds`. Raises AttemptError."""
_Read: TypeAlias = Callable[..., T]
"""Says what a response means; takes it and `now`."""

_LIST, (_BOOK, _CHANGE, _PATIENT) = "appointments", WRITES
_PREFIXES: Mapping[Country, str] = {
    Country.SE: "se_personal_number",
    Country.NO: "no_personal_number",
    Country.GB: "nhs_number",
}


class AppointmentsClient:
    """Lists, books, confirms, cancels and moves appointments, and finds or makes patients; see AppointmentBackend.

    An attempt to write may take `seconds`, and has none after it.
    """

    def __init__(
        self,
        transport: LeyrTransport,
        policies: UpstreamPolicies,
        now: Callable[[], datetime],
        zone_of: Callable[[CareUnitKey], ZoneInfo],
        seconds: float = 20.0,
    ) -> None:
        """`now` is the time of day, for responses that name a date; instants are sent with the offset of `zone_of`."""
        self._transport = transport
        self._policies = policies
        self._now = now
        self._zone_of = zone_of
        self._seconds = seconds
        self._writes: set[asyncio.Task[Any]] = set()

    async def book(self, wish: Wish, patient: Patient | FoundPatient, comment: str | None) -> WriteAnswer:
        """`POST …/appointments` (leyr-api 2.7)."""
        named = _patient_id(patient)
        if named is None:
            return Refused(BookingFailureReason.PATIENT_REJECTED)
        care_unit = wish.timeslot.care_unit
        body = {**self._time(wish), "patient_id": named, "healthcare_service_id": wish.service, "comment": comment}
        read = partial(written, care_unit=care_unit, asked_start=body["start"])
        send = partial(self._transport.send, "POST", f"{_path(care_unit)}/appointments", _json(body))
        return await self._write(care_unit, _BOOK, send, read)

    async def find_or_make_patient(self, care_unit: CareUnitKey, details: PatientDetails) -> PatientAnswer:
        """`POST …/patients` (leyr-api 2.9), which gives an existing patient instead of a second one."""
        number = details.national_number
        body: dict[str, object] = {
            "first_name": details.first_name,
            "last_name": details.last_name,
            "external_id": None if number is None else number.number,
            "phones": list(details.phones) or None,
            "emails": list(details.emails) or None,
        }
        send = partial(self._transport.send, "POST", f"{_path(care_unit)}/patients", _json(body))
        return await self._write(care_unit, _PATIENT, send, found_patient)

    async def confirm(self, care_unit: CareUnitKey, appointment: str, code: str) -> WriteAnswer:
        """`PATCH …/appointments/{id}` with the code (leyr-api 8.3); an input that the EHR rejects is the code."""
        answer = await self._change(care_unit, appointment, {"confirmation": {"code": code}}, None)
        if isinstance(answer, Refused) and [each.code for each in answer.problems] == ["BAD_INPUT"]:
            return Refused(BookingFailureReason.CODE_WRONG, answer.problems, answer.reference)
        return answer

    async def cancel(self, care_unit: CareUnitKey, appointment: str, comment: str | None) -> WriteAnswer:
        """`PATCH …/appointments/{id}` with the status `cancelled` (leyr-api 8.5)."""
        return await self._change(care_unit, appointment, {"status": "cancelled", "comment": comment}, None)

    async def reschedule(
        self, care_unit: CareUnitKey, appointment: str, wish: Wish, comment: str | None
    ) -> WriteAnswer:
        """`PATCH …/appointments/{id}` with a resource and a time (leyr-api 8.4)."""
        body = {**self._time(wish), "comment": comment}
        return await self._change(care_unit, appointment, body, body["start"])

    async def appointments(
        self, care_unit: CareUnitKey, when: TimeRange, *, resource: str | None = None, patient_id: str | None = None
    ) -> AppointmentList:
        """`GET …/appointments` (leyr-api 2.6). Raises domain errors."""
        zone = self._zone_of(care_unit)
        query = {
            "start": _in_zone(when.start, zone),
            "end": _in_zone(when.end, zone),
            "resource_id": resource,
            "patient_id": patient_id,
        }
        given = {name: value for name, value in query.items() if value is not None}
        if any(may_hide_a_personal_number(value) for value in (resource, patient_id) if value is not None):
            raise BadUserInput("Appointments cannot be listed by an id that may be a personal number")
        target = f"{_path(care_unit)}/appointments?" + "&".join(
            f"{name}={quote(text, safe='')}" for name, text in given.items()
        )

        async def attempt(timeout_seconds: float) -> Response:
            response = await self._transport.get(target, timeout_seconds=timeout_seconds)
            self._raise_failed(response)
            return response

        return listed_appointments(await self._policies.of(care_unit.emr).call(_LIST, attempt), care_unit)

    async def close(self) -> None:
        """Wait for the writes that were begun; each ends within its time."""
        while self._writes:
            await asyncio.wait(self._writes)

    def _time(self, wish: Wish) -> dict[str, Any]:
        """The time and the resource of a wish; the names are those of leyr-api 2.7 and 2.8."""
        slot = wish.timeslot
        zone = self._zone_of(slot.care_unit)
        end = None if slot.end is None else _in_zone(slot.end, zone)
        return {"start": _in_zone(slot.start, zone), "end": end, "resource_id": wish.resource}

    async def _change(
        self, care_unit: CareUnitKey, appointment: str, body: Mapping[str, object], start: str | None
    ) -> WriteAnswer:
        if not is_usable(appointment):
            return Refused(BookingFailureReason.APPOINTMENT_NOT_FOUND)
        read = partial(written, care_unit=care_unit, asked_start=start)
        target = f"{_path(care_unit)}/appointments/{quote(appointment, safe='')}"
        return await self._write(care_unit, _CHANGE, partial(self._transport.send, "PATCH", target, _json(body)), read)

    async def _write(self, care_unit: CareUnitKey, endpoint: str, send: _Send, read: _Read[T]) -> T | NotSent | Lost:
        """Send something once, also where whoever waits for it is cancelled meanwhile."""
        # From here on: in the journal it has just been written that it leaves.
        began = self._policies.of(care_unit.emr).now()
        return await asyncio.shield(self._spawn(self._sent(care_unit, endpoint, send, read, began)))

    def _spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.get_running_loop().create_task(work)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        return task

    async def _sent(
        self, care_unit: CareUnitKey, endpoint: str, send: _Send, read: _Read[T], began: float
    ) -> T | NotSent | Lost:
        answers: list[Response] = []

        async def attempt(timeout_seconds: float) -> None:
            response = await send(timeout_seconds=timeout_seconds)
            answers.append(response)
            self._raise_failed(response)

        try:
            await self._policies.of(care_unit.emr).call_once(endpoint, attempt, self._seconds, began)
        except AttemptError as failed:
            if not answers:
                return Lost() if failed.result in _MAY_HAVE_ARRIVED else NotSent(failed.error.retry_after)
        return read(answers[0], now=self._now())

    def _raise_failed(self, response: Response) -> None:
        """Raise AttemptError for a response outside 2xx, so that breaker and limiter know of it."""
        if not response.is_success:
            error = error_for(response, read_error_envelope(response), self._now())
            raise AttemptError(error, result_of(error, response.status))


_MAY_HAVE_ARRIVED = frozenset({CallResult.TIMED_OUT, CallResult.CUT_SHORT, CallResult.LOST, CallResult.INVALID_ANSWER})


def _json(body: Mapping[str, object]) -> bytes:
    """The fields that have a value."""
    return orjson.dumps({name: value for name, value in body.items() if value is not None})


def _in_zone(instant: datetime, zone: ZoneInfo) -> str:
    """An instant with the offset of a zone, or with its own at the end of the calendar."""
    try:
        return instant.astimezone(zone).isoformat()
    except OverflowError:
        return instant.isoformat()


def _patient_id(patient: Patient | FoundPatient) -> str | None:
    """A patient's id as bodies name it (leyr-api 3.2); None where it is of another kind than it was given as."""
    match patient:
        case NationalNumber(country, number):
            return f"{_PREFIXES[country]}:{number}"
        case PatientByEmrId(emr_id):
            return f"emr_id:{emr_id}"
        case PatientByLeyrId(leyr_id):
            return None if ":" in leyr_id else leyr_id
        case FoundPatient(patient_id):
            return patient_id
        case PatientDetails():
            return None


def _path(care_unit: CareUnitKey) -> str:
    return f"/emrs/{quote(care_unit.emr, safe='')}/care-units/{quote(care_unit.care_unit, safe='')}"
