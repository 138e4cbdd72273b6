"""The patients of each care unit: a few well-known synthetic people from the start, and those created since."""

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.simulator.clinics import invent_emr_id, rng
from gateway.simulator.ehrs import EHRS, NORWAY
from gateway.simulator.personal_numbers import digits_of

MOST_PATIENTS = 50_000
"""In one care unit."""


@dataclass(frozen=True, slots=True)
class PatientDetails:
    """What is told of a patient; the external id is the national number."""

    first_name: str
    last_name: str
    external_id: str | None = None
    phones: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()

    def identity(self) -> tuple[object, ...]:
        """Give what makes two patients the same one: the number, or else the names with how to reach them."""
        if self.external_id is not None:
            return (digits_of(self.external_id),)
        names = (self.first_name.casefold(), self.last_name.casefold())
        return (*names, frozenset(self.phones), frozenset(self.emails))


@dataclass(frozen=True, slots=True)
class Patient:
    """A patient of one care unit."""

    id: str
    emr_id: str | None
    care_unit: str
    details: PatientDetails

    def to_json(self, *, optional_fields: bool) -> dict[str, object]:
        """Give Leyr's JSON; `optional_fields` adds what the documentation shows only in requests."""
        details = self.details
        documented: dict[str, object] = {
            "id": self.id,
            "emr_id": self.emr_id,
            "first_name": details.first_name,
            "last_name": details.last_name,
            "care_unit_id": self.care_unit,
        }
        if not optional_fields:
            return documented
        told = {"external_id": details.external_id, "phones": details.phones, "emails": details.emails}
        return {**documented, **told, "x_simulated": True}


# The documentation's own test people (docs page D7) and Norway's name for anybody; the telephone number is one of those
# that Sweden's regulator keeps free for fiction.
_SWEDES = (
    PatientDetails("Tolvan", "Tolvansson", "191212121212", ("+46701740605",), ("tolvan.tolvansson@example.com",)),
)
_NORWEGIANS = (
    PatientDetails("Ola", "Nordmann", "26258605879", (), ("ola.nordmann@example.com",)),
    PatientDetails("Kari", "Nordmann", None, (), ("kari.nordmann@example.com",)),
)


class PatientRegister:
    """The patients of one care unit."""

    def __init__(self, emr: str, care_unit: str, seed: int) -> None:
        self._ehr, self._care_unit = EHRS[emr], care_unit
        self._random = rng(seed, emr, care_unit, "patients")
        self._by_id: dict[str, Patient] = {}
        self._by_emr_id: dict[str, Patient] = {}
        self._by_number: dict[str, Patient] = {}
        self._by_identity: dict[tuple[object, ...], Patient] = {}
        for details in _NORWEGIANS if self._ehr.country is NORWAY else _SWEDES:
            self.create(details)

    def __iter__(self) -> Iterator[Patient]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def by_id(self, identifier: str) -> Patient | None:
        """Find a patient by Leyr's id."""
        return self._by_id.get(identifier)

    def by_emr_id(self, identifier: str) -> Patient | None:
        """Find a patient by the EHR's id."""
        return self._by_emr_id.get(identifier)

    def by_number(self, number: str) -> Patient | None:
        """Find a patient by the national number."""
        return self._by_number.get(digits_of(number))

    def same(self, details: PatientDetails) -> Patient | None:
        """Find the patient whom these details are about."""
        return self._by_identity.get(details.identity())

    def create(self, details: PatientDetails) -> Patient:
        """Add a patient; callers have looked whether it is there."""
        number = len(self._by_id) + 1
        identifier = self._ehr.make_id("patient", self._care_unit, number, self._random)
        emr_id = invent_emr_id(self._ehr, "pa", number, self._random)
        patient = Patient(identifier, emr_id, self._care_unit, details)
        self._by_id[identifier] = self._by_identity[details.identity()] = patient
        if emr_id is not None:
            self._by_emr_id[emr_id] = patient
        if details.external_id is not None:
            self._by_number[digits_of(details.external_id)] = patient
        return patient


class Patients:
    """The registers of all care units, opened when they are first asked for."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._registers: dict[tuple[str, str], PatientRegister] = {}

    def of(self, emr: str, care_unit: str) -> PatientRegister:
        """Give the register of a care unit; callers have checked that it exists."""
        if (emr, care_unit) not in self._registers:
            self._registers[emr, care_unit] = PatientRegister(emr, care_unit, self._seed)
        return self._registers[emr, care_unit]

    def clear(self) -> None:
        """Forget everybody who was not there from the start."""
        self._registers.clear()
