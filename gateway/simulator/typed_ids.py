"""Ids that may begin with their type, as `emr_id:abc` (docs pages D7 and D8), and whom or what they name."""

from typing import get_args

from gateway.simulator.behaviour import Behaviour
from gateway.simulator.clinics import Clinic, Resource
from gateway.simulator.ehrs import EHRS, PatientIdType
from gateway.simulator.http_messages import rejected
from gateway.simulator.patients import Patient, PatientRegister

# Docs page D8 names these id types; only webdoc knows more than the first one.
_RESOURCE_ID_TYPES = ("emr_id", "hsa_id", "se_personal_number", "no_personal_number")


def find_resource(clinic: Clinic, emr: str, typed_id: str) -> Resource:
    """Find a resource by Leyr's id or a typed one. Raises LeyrError."""
    kind, colon, value = typed_id.partition(":")
    if colon and kind in _RESOURCE_ID_TYPES[1:] and not EHRS[emr].hsa_ids:
        raise rejected("PATIENT_ID_LOOKUP_TYPE_NOT_SUPPORTED", "This EMR cannot look up by this type of id")
    for resource in clinic.resources:
        known = {("emr_id", resource.emr_id), ("hsa_id", resource.hsa_id)}
        if resource.id == typed_id or (colon and (kind, value) in known):
            return resource
    raise rejected("INVALID_RESOURCE_ID", "The resource id is not valid")


def find_patient(register: PatientRegister, behaviour: Behaviour, typed_id: str) -> Patient:
    """Find a patient by a plain id or a typed one. Raises LeyrError."""
    patient = _plain_patient(register, behaviour, typed_id) or _typed_patient(register, behaviour, typed_id)
    if patient is None:
        raise rejected("INVALID_PATIENT_ID", "The patient id is not valid")
    return patient


def _plain_patient(register: PatientRegister, behaviour: Behaviour, identifier: str) -> Patient | None:
    found = register.by_emr_id(identifier)
    if found is None and behaviour.plain_patient_ids == "leyr_or_emr":
        return register.by_id(identifier)
    return found


def _typed_patient(register: PatientRegister, behaviour: Behaviour, typed_id: str) -> Patient | None:
    kind, colon, value = typed_id.partition(":")
    if not colon:
        return None
    if kind not in get_args(PatientIdType):
        raise rejected("INVALID_PATIENT_ID_TYPE", "There is no such type of patient id")
    if kind not in (behaviour.patient_id_types or ()):
        raise rejected("PATIENT_ID_LOOKUP_TYPE_NOT_SUPPORTED", "This EMR cannot look up by this type of id")
    return register.by_emr_id(value) if kind == "emr_id" else register.by_number(value)
