"""The care units, people and kinds of visit of an EHR, invented from the seed."""

import math
from dataclasses import dataclass
from random import Random

from gateway.simulator.ehrs import Ehr


def rng(*name: object) -> Random:
    """Make the random number generator of this name; the same name always gives the same numbers."""
    # Random's text seeds go through SHA-512, so they do not depend on PYTHONHASHSEED.
    return Random("/".join(str(part) for part in name))  # noqa: S311 # invents clinics, guards nothing


_WITHOUT_EMR_ID = 0.15
_ROOMS_EVERY = 7
_NAMELESS_NUMBER = 2


@dataclass(frozen=True, slots=True)
class CareUnit:
    """A place where care is given."""

    id: str
    emr_id: str | None
    name: str

    def to_json(self) -> dict[str, object]:
        """Give Leyr's JSON, with one field that Leyr does not document."""
        return {"id": self.id, "emr_id": self.emr_id, "name": self.name, "x_simulated": True}


@dataclass(frozen=True, slots=True)
class HealthcareService:
    """A kind of visit."""

    id: str
    emr_id: str | None
    name: str
    minutes: int

    def to_json(self) -> dict[str, object]:
        """Give Leyr's JSON; the length is not in it, since no documentation shows such a field."""
        return {"id": self.id, "emr_id": self.emr_id, "name": self.name, "x_simulated": True}


@dataclass(frozen=True, slots=True)
class Resource:
    """A person or a room that can be booked."""

    id: str
    emr_id: str | None
    names: dict[str, str]
    """The name's fields in the JSON: `name`, first and last name, or none."""
    hsa_id: str | None
    services: tuple[HealthcareService, ...]

    def to_json(self) -> dict[str, object]:
        """Give Leyr's JSON; the undocumented field holds the HSA id where there is one."""
        return {"id": self.id, "emr_id": self.emr_id, **self.names, "x_simulated": self.hsa_id or True}


@dataclass(frozen=True, slots=True)
class Clinic:
    """Everything in a care unit except its times."""

    unit: CareUnit
    resources: tuple[Resource, ...]
    services: tuple[HealthcareService, ...]


def invent_care_units(ehr: Ehr, seed: int, wanted: int | None = None) -> tuple[CareUnit, ...]:
    """Invent the care units of an EHR, as many as are wanted."""
    random = rng(seed, ehr.code, "care units")
    count = random.randint(*ehr.care_units) if wanted is None else wanted
    known = random.sample(ehr.country.places, min(count, len(ehr.country.places)))
    turns = (divmod(number, len(known)) for number in range(count))
    places = [f"{known[index]} {turn + 1}" if turn else known[index] for turn, index in turns]
    return tuple(
        CareUnit(
            ehr.make_id("care_unit", "", number, random),
            invent_emr_id(ehr, "cu", number, random),
            f"{place} {random.choice(ehr.country.clinic_words).lower()}",
        )
        for number, place in enumerate(places, 1)
    )


def invent_clinic(ehr: Ehr, unit: CareUnit, seed: int, scale: int, *, first: bool) -> Clinic:
    """Invent the resources and services of a care unit; `first` marks the EHR's first care unit."""
    random = rng(seed, ehr.code, unit.id, "staff")
    services = _invent_services(ehr, unit, random, round(random.randint(3, 8) * math.sqrt(scale)))
    count = random.randint(4, 12) * scale
    resources = tuple(
        Resource(
            ehr.make_id("resource", unit.id, number, random),
            invent_emr_id(ehr, "re", number, random),
            {}
            if ehr.has_nameless_resource and first and number == _NAMELESS_NUMBER
            else _invent_names(ehr, number, random),
            f"SE2321000131-E{random.randrange(10**12):012d}" if ehr.hsa_ids else None,
            tuple(random.sample(services, random.randint(2, min(4, len(services))))),
        )
        for number in range(1, count + 1)
    )
    return Clinic(unit, resources, services)


def _invent_services(ehr: Ehr, unit: CareUnit, random: Random, count: int) -> tuple[HealthcareService, ...]:
    visits = random.sample(ehr.country.visits, len(ehr.country.visits))
    services = []
    for number in range(1, count + 1):
        turn, index = divmod(number - 1, len(visits))
        name, minutes = visits[index]
        identifier = ehr.make_id("service", unit.id, number, random)
        emr_id = invent_emr_id(ehr, "hs", number, random)
        services.append(HealthcareService(identifier, emr_id, f"{name} {turn + 1}" if turn else name, minutes))
    return tuple(services)


def _invent_names(ehr: Ehr, number: int, random: Random) -> dict[str, str]:
    first, last = random.choice(ehr.country.first_names), random.choice(ehr.country.last_names)
    if ehr.split_names:
        return {"first_name": first, "last_name": last}
    if number % _ROOMS_EVERY == 0:
        return {"name": f"{ehr.country.room_word} {number}"}
    return {"name": f"{first} {last}"}


def invent_emr_id(ehr: Ehr, kind: str, number: int, random: Random) -> str | None:
    """Invent the EHR's own id of something, which some things have none of."""
    # The letters keep it apart from every Leyr id, which docs page D1 tells clients to send instead.
    if random.random() < _WITHOUT_EMR_ID:
        return None
    return f"{ehr.code[:3]}.{kind}.{number}{random.randrange(10**6):06d}"
