"""The endpoints for patients (E10 to E12): search by name, one by its id, and one found or else created."""

import re
from dataclasses import dataclass

import orjson

from gateway.simulator.behaviour import Behaviour, BehaviourRegistry
from gateway.simulator.ehrs import Operation
from gateway.simulator.http_messages import Endpoint, LeyrError, Request, Response, check_all, recorded_as, rejected
from gateway.simulator.json_body import JsonBody
from gateway.simulator.patients import MOST_PATIENTS, PatientDetails, PatientRegister, Patients
from gateway.simulator.personal_numbers import CHECKS, digits_of
from gateway.simulator.typed_ids import find_patient

_PHONE = re.compile(r"\+?\d(?:[ -]?\d){6,14}")
_OPERATIONS: dict[Endpoint | None, Operation] = {
    "patients": "search_patients",
    "patient": "get_patient",
    "create_patient": "create_patient",
}


@dataclass(frozen=True, slots=True)
class PatientsApi:
    """Answers the calls about patients."""

    behaviour: BehaviourRegistry
    patients: Patients

    def respond(self, request: Request, emr: str, care_unit: str) -> Response:
        """Answer a call to a care unit that exists. Raises LeyrError."""
        behaviour, register = self.behaviour[emr], self.patients.of(emr, care_unit)
        operation = _OPERATIONS[request.route.endpoint]
        with recorded_as(operation=operation):
            if operation in (behaviour.unsupported or ()):
                raise rejected("NOT_SUPPORTED", "This EMR does not support this operation")
            match operation:
                case "search_patients":
                    return _search(request, register, behaviour)
                case "get_patient":
                    patient = find_patient(register, behaviour, request.route.item or "")
                    record = {"operation": operation, "outcome": "found", "patient": patient.id}
                    body = patient.to_json(optional_fields=behaviour.optional_fields)
                    return Response(orjson.dumps(body), record=record)
                case _:
                    return _create(request, register, behaviour)


def _search(request: Request, register: PatientRegister, behaviour: Behaviour) -> Response:
    first, last = request.value("first_name"), request.value("last_name")
    if not (first or last):
        raise rejected("MISSING_REQUIRED_FIELD", "Missing first or last name")
    found = [
        patient.to_json(optional_fields=behaviour.optional_fields)
        for patient in register
        if (not first or patient.details.first_name.casefold() == first.casefold())
        and (not last or patient.details.last_name.casefold() == last.casefold())
    ]
    body = orjson.dumps({"items": found} if behaviour.wrapped_lists else found)
    return Response(body, record={"operation": "search_patients", "outcome": "listed"})


def _create(request: Request, register: PatientRegister, behaviour: Behaviour) -> Response:
    """Give the patient whom the details are about, made now where there was none (docs page D4)."""
    body = JsonBody(request.body)
    details = PatientDetails(
        body.text("first_name"),
        body.text("last_name"),
        body.optional_text("external_id"),
        body.texts("phones"),
        body.texts("emails"),
    )
    check_all(lambda: _check_number(details, behaviour), lambda: _check_phone(details, behaviour))
    patient = register.same(details)
    outcome = "created" if patient is None else "found"
    if patient is None and len(register) >= MOST_PATIENTS:
        raise LeyrError(503, "SERVICE_UNAVAILABLE", "The simulator holds as many patients as it can")
    patient = patient or register.create(details)
    return Response(
        orjson.dumps(patient.to_json(optional_fields=behaviour.optional_fields)),
        behaviour.created_status,
        record={"operation": "create_patient", "outcome": outcome, "patient": patient.id},
    )


def _check_number(details: PatientDetails, behaviour: Behaviour) -> None:
    is_valid = CHECKS.get(behaviour.required_patient_detail or "")
    if is_valid is None:
        return
    if details.external_id is None:
        raise rejected("MISSING_REQUIRED_FIELD", "Missing external_id")
    if not is_valid(digits_of(details.external_id)):
        raise rejected("BAD_INPUT", "The external_id is not a valid number")


def _check_phone(details: PatientDetails, behaviour: Behaviour) -> None:
    if behaviour.required_patient_detail != "phone":
        return
    if not details.phones:
        raise rejected("MISSING_REQUIRED_FIELD", "Missing phones")
    if not any(map(_PHONE.fullmatch, details.phones)):
        raise rejected("BAD_INPUT", "None of the phones is a telephone number")
