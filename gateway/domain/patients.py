"""Patients as a client names them. Nothing here is ever logged, kept, or shown in an error."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from gateway.domain.appointments import PatientIdentification


class Country(StrEnum):
    """The countries whose national numbers Leyr knows (leyr-api 3.2)."""

    SE = "SE"
    NO = "NO"
    GB = "GB"


@dataclass(frozen=True, slots=True)
class NationalNumber:
    """A national identity number: 12 digits in Sweden, 11 in Norway, 10 in Great Britain, without separators."""

    country: Country
    number: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PatientByLeyrId:
    """A patient whom Leyr lists."""

    leyr_id: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PatientByEmrId:
    """A patient whom the EHR lists."""

    emr_id: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PatientDetails:
    """A patient whom the EHR finds, or makes (leyr-api 2.9)."""

    first_name: str = field(repr=False)
    last_name: str = field(repr=False)
    national_number: NationalNumber | None = field(default=None, repr=False)
    phones: tuple[str, ...] = field(default=(), repr=False)
    emails: tuple[str, ...] = field(default=(), repr=False)


Patient: TypeAlias = PatientByLeyrId | PatientByEmrId | NationalNumber | PatientDetails


def identification(patient: Patient) -> PatientIdentification:
    """In which way a patient is named."""
    match patient:
        case PatientByLeyrId():
            return PatientIdentification.LEYR_ID
        case PatientByEmrId():
            return PatientIdentification.EMR_ID
        case NationalNumber():
            return PatientIdentification.NATIONAL_NUMBER
        case PatientDetails():
            return PatientIdentification.DETAILS
