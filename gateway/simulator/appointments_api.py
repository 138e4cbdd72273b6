"""The endpoints for appointments (E6 to E8): listing, booking, and moving, cancelling or confirming one.

Leyr has no idempotency and no reservation: a repeated call is a second attempt, and the first of two that want one time
gets it.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC
from functools import partial

import orjson

from gateway.simulator.appointments import MOST_APPOINTMENTS, Appointment, Schedules
from gateway.simulator.behaviour import Behaviour, BehaviourRegistry
from gateway.simulator.booking import FreeTimes, WantedTime
from gateway.simulator.calendar import World, time_zone
from gateway.simulator.clinics import HealthcareService
from gateway.simulator.ehrs import EHRS, Operation
from gateway.simulator.http_messages import (
    LeyrError,
    Request,
    Response,
    check_all,
    invalid,
    read_instant,
    recorded_as,
    rejected,
)
from gateway.simulator.json_body import JsonBody
from gateway.simulator.patients import Patient, PatientRegister, Patients
from gateway.simulator.typed_ids import find_patient, find_resource


@dataclass(frozen=True, slots=True)
class AppointmentsApi:
    """Answers the calls about appointments; `now` gives the seconds since 1970."""

    world: World
    behaviour: BehaviourRegistry
    schedules: Schedules
    patients: Patients
    now: Callable[[], float]

    def respond(self, request: Request, emr: str, care_unit: str) -> Response:
        """Answer a call to a care unit that exists. Raises LeyrError."""
        operation = _operation(request)
        free_times = FreeTimes(
            self.world.clinic(emr, care_unit),
            self.world.calendar(emr, care_unit),
            self.schedules.of(emr, care_unit),
            self.behaviour[emr],
        )
        unit = _Appointments(emr, free_times, self.patients.of(emr, care_unit), self.now)
        with recorded_as(operation=operation):
            if operation in (free_times.behaviour.unsupported or ()):
                raise rejected("NOT_SUPPORTED", "This EMR does not support this operation")
            match operation:
                case "list_appointments":
                    return unit.list(request)
                case "book":
                    return unit.book(request)
                case "cancel":
                    return unit.cancel(request)
                case "confirm":
                    return unit.confirm(request)
                case _:
                    return unit.update(request)


def _operation(request: Request) -> Operation:
    match request.route.endpoint:
        case "appointments":
            return "list_appointments"
        case "book_appointment":
            return "book"
    body = JsonBody(request.body)
    if "confirmation" in body:
        return "confirm"
    status = body.optional_text("status")
    if status not in (None, "cancelled"):
        raise invalid("body", "status", message="unexpected value; permitted: 'cancelled' (type=value_error.const)")
    return "update" if status is None else "cancel"


@dataclass(frozen=True, slots=True)
class _Appointments:
    """The appointments of one care unit."""

    emr: str
    free_times: FreeTimes
    register: PatientRegister
    now: Callable[[], float]

    def list(self, request: Request) -> Response:
        behaviour = self.free_times.behaviour
        patient_id, resource_id = request.value("patient_id"), request.value("resource_id")
        start, end = (
            None if text is None else read_instant(text, "query", name)
            for name, text in (("start", request.value("start")), ("end", request.value("end")))
        )
        patient = None if patient_id is None else find_patient(self.register, behaviour, patient_id)
        resource = self._resource_id(resource_id)
        found = [
            self._json(each)
            for each in reversed([*self.free_times.schedule])
            if patient in (None, each.patient)
            and resource in (None, each.time.resource_id)
            and (start is None or start <= each.time.start)
            and (end is None or each.time.start < end)
            and (behaviour.lists_cancelled or each.status != "cancelled")
        ]
        body = orjson.dumps({"items": found} if behaviour.wrapped_lists else found, option=orjson.OPT_UTC_Z)
        record = {"operation": "list_appointments", "outcome": "listed", "patient": patient and patient.id}
        return Response(body, record=record)

    def book(self, request: Request) -> Response:
        body = JsonBody(request.body)
        start, end, patient_id = body.instant("start"), body.instant("end"), body.text("patient_id")
        resource_id, service_id = body.optional_text("resource_id"), body.optional_text("healthcare_service_id")
        comment = body.optional_text("comment")
        behaviour, schedule = self.free_times.behaviour, self.free_times.schedule
        check_all(
            partial(find_patient, self.register, behaviour, patient_id),
            partial(self._resource_id, resource_id),
            partial(_check_service, self.free_times.clinic.services, service_id),
            partial(_check_comment, behaviour, comment),
        )
        if len(schedule) >= MOST_APPOINTMENTS:
            raise LeyrError(503, "SERVICE_UNAVAILABLE", "The simulator holds as many appointments as it can")
        patient = find_patient(self.register, behaviour, patient_id)
        wanted = WantedTime(start, end, self._resource_id(resource_id), service_id)
        choose = partial(self.free_times.choose, wanted)
        with recorded_as(patient=patient.id):
            check_all(choose, partial(self._check_overlap, patient, wanted))
        appointment = schedule.book(
            patient, choose(), comment=comment, call=request.number, needs_code=bool(behaviour.booking_needs_code)
        )
        created = self._json(appointment)
        answer = [created] if behaviour.booking_answer == "list" else created
        return _response(appointment, "book", answer, status=behaviour.created_status)

    def update(self, request: Request) -> Response:
        body, appointment = JsonBody(request.body), self._find(request)
        comment = body.optional_text("comment")
        _check_comment(self.free_times.behaviour, comment)
        with _recorded_as(appointment):
            if appointment.status == "cancelled":
                raise rejected("BAD_INPUT", "The appointment is cancelled")
            self._move(appointment, body)
        appointment.comment = appointment.comment if comment is None else comment
        return _response(appointment, "update", self._json(appointment))

    def _move(self, appointment: Appointment, body: JsonBody) -> None:
        if ("start" in body) != ("end" in body):
            raise invalid("body", message="start and end go together (type=value_error)")
        present = appointment.time
        start, end = (body.instant("start"), body.instant("end")) if "start" in body else present[:2]
        resource_id = self._resource_id(body.optional_text("resource_id")) or present.resource_id
        if (start, end, resource_id) != present[:3]:
            wanted = WantedTime(start, end, resource_id, present.service_id)
            self.free_times.schedule.move(appointment, self.free_times.choose(wanted, but=appointment))

    def cancel(self, request: Request) -> Response:
        appointment, comment = self._find(request), JsonBody(request.body).optional_text("comment")
        behaviour, schedule = self.free_times.behaviour, self.free_times.schedule
        _check_comment(behaviour, comment)
        if appointment.status == "cancelled" and behaviour.cancelling_twice == "refused":
            with _recorded_as(appointment):
                raise rejected("BAD_INPUT", "The appointment is cancelled already")
        if appointment.status == "cancelled":
            return _response(appointment, "cancel", self._json(appointment))
        appointment.comment = appointment.comment if comment is None else comment
        appointment.cancelled_by.append(request.number)
        if not behaviour.cancelling_needs_code:
            schedule.cancel(appointment)
            return _response(appointment, "cancel", self._json(appointment))
        # Docs page D10: the answer has a new id, and that is the one to confirm.
        new = schedule.ask_to_cancel(appointment)
        return _response(
            appointment, "cancel", {**self._json(appointment), "id": new, "status": "awaiting_confirmation"}
        )

    def confirm(self, request: Request) -> Response:
        code = JsonBody(request.body).inner("confirmation").text("code")
        schedule, behaviour = self.free_times.schedule, self.free_times.behaviour
        identifier = request.route.item or ""
        cancelling = schedule.find_by_cancellation(identifier)
        appointment = cancelling or self._find(request)
        awaited = appointment.cancellation if cancelling else appointment.booking
        with _recorded_as(appointment):
            if awaited is None and not (behaviour.booking_needs_code or behaviour.cancelling_needs_code):
                raise rejected("NOT_SUPPORTED", "This EMR does not confirm appointments")
            if awaited is None:
                raise rejected("BAD_INPUT", "The appointment awaits no confirmation")
            if awaited.code != code:
                raise rejected("BAD_INPUT", "The code is not valid")
        if cancelling:
            schedule.cancel(appointment)
            return _response(appointment, "confirm", {**self._json(appointment), "id": identifier})
        schedule.confirm_booking(appointment, new_id=behaviour.confirming_changes_id)
        return _response(appointment, "confirm", self._json(appointment))

    def _find(self, request: Request) -> Appointment:
        appointment = self.free_times.schedule.find(request.route.item or "")
        if appointment is None:
            raise rejected("INVALID_APPOINTMENT_ID", "The appointment id is not valid")
        return appointment

    def _resource_id(self, typed_id: str | None) -> str | None:
        return None if typed_id is None else find_resource(self.free_times.clinic, self.emr, typed_id).id

    def _check_overlap(self, patient: Patient, wanted: WantedTime) -> None:
        if self.free_times.behaviour.patient_overlaps == "refused" and self.free_times.schedule.has(
            patient, wanted.start, wanted.end
        ):
            # No documentation shows how an EHR says this; only the EHR's own word tells it from another BAD_INPUT.
            details = "The patient has an appointment at this time already"
            raise rejected("BAD_INPUT", details, emr_error="PATIENT_ALREADY_BOOKED")

    def _json(self, appointment: Appointment) -> dict[str, object]:
        behaviour = self.free_times.behaviour
        zone = UTC if behaviour.time_format == "utc" else time_zone(EHRS[self.emr].country.zone)
        now = self.now() if behaviour.completes_past else None
        return appointment.to_json(zone, now=now, optional_fields=behaviour.optional_fields)


def _response(appointment: Appointment, operation: Operation, answer: object, status: int = 200) -> Response:
    record = {
        "operation": operation,
        "outcome": appointment.status,
        "patient": appointment.patient.id,
        "appointment": appointment.id,
    }
    return Response(orjson.dumps(answer, option=orjson.OPT_UTC_Z), status, record=record)


def _recorded_as(appointment: Appointment) -> AbstractContextManager[None]:
    return recorded_as(patient=appointment.patient.id, appointment=appointment.id)


def _check_service(services: Sequence[HealthcareService], service_id: str | None) -> None:
    if service_id is not None and all(service.id != service_id for service in services):
        raise rejected("INVALID_HEALTHCARE_SERVICE_ID", "The healthcare service id is not valid")


def _check_comment(behaviour: Behaviour, comment: str | None) -> None:
    if comment is not None and len(comment) > behaviour.longest_comment:
        details = f"The comment must not be longer than {behaviour.longest_comment} characters"
        raise rejected("INVALID_COMMENT_LENGTH", details)
