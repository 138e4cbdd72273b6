"""The simulated EHRs: their codes, countries, invented names, ids and peculiarities."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal
from uuid import UUID

FilterPolicy = Literal["none_required", "any_one", "resource", "service", "both"]
"""Which filters the timeslots call demands."""
Operation = Literal[
    "list_appointments", "book", "update", "cancel", "confirm", "search_patients", "get_patient", "create_patient"
]
"""What can be done with appointments and patients; leyr-api.md 5.2 says who can do what."""
PatientIdType = Literal["emr_id", "se_personal_number", "no_personal_number", "nhs_number"]
"""How a patient can be named (docs pages D3 and D7)."""
PatientDetail = Literal["se_personal_number", "no_personal_number", "nhs_number", "phone", "nothing"]
"""What a new patient must bring beside the names."""


@dataclass(frozen=True, slots=True)
class Country:
    """A country's time zone, and the words for what is invented there."""

    zone: str
    first_names: tuple[str, ...]
    last_names: tuple[str, ...]
    places: tuple[str, ...]
    clinic_words: tuple[str, ...]
    room_word: str
    visits: tuple[tuple[str, int], ...]
    """Kinds of visit with their length in minutes."""


def _with_minutes(*visits: str) -> tuple[tuple[str, int], ...]:
    return tuple(zip(visits, (30, 20, 20, 10, 15, 20, 45, 45, 60, 30, 30, 15), strict=True))


SWEDEN = Country(
    zone="Europe/Stockholm",
    first_names=(
        *("Åsa", "Björn", "Cecilia", "David", "Elin", "Fredrik", "Gunilla", "Håkan", "Ingrid", "Jörgen"),
        *("Karin", "Lars", "Märta", "Nils", "Olof", "Petra", "Rickard", "Sara", "Tove", "Ulf"),
    ),
    last_names=(
        *("Almgård", "Björkslätt", "Dalvik", "Ekmarker", "Furuhäll", "Granås", "Hedtorp", "Isholm"),
        *("Källstig", "Lindåker", "Myrvall", "Norrby", "Oxhage", "Rönnkvist", "Sjötorp", "Ängsmark"),
    ),
    places=("Åkersberga", "Ängby", "Höjden", "Norrtull", "Sjöstaden", "Strömmen", "Västerort", "Öresund"),
    clinic_words=("Vårdcentral", "Läkargrupp", "Husläkarmottagning", "Hälsocentral"),
    room_word="Rum",
    visits=_with_minutes(
        *("Läkarbesök, nybesök", "Läkarbesök, återbesök", "Sjuksköterskebesök", "Vaccination", "Provtagning"),
        *("Videobesök", "Hälsokontroll", "Samtal med kurator", "Fysioterapi, första besök"),
        *("Fysioterapi, uppföljning", "Barnmorskebesök", "Hudkontroll"),
    ),
)

NORWAY = Country(
    zone="Europe/Oslo",
    first_names=(
        *("Åse", "Bjørn", "Camilla", "Dag", "Eirik", "Frøydis", "Guro", "Håvard", "Ingvild", "Jørn"),
        *("Kjersti", "Leif", "Marit", "Nora", "Øystein", "Pål", "Ragnhild", "Sindre", "Torunn", "Vegard"),
    ),
    last_names=(
        *("Aasgård", "Bjørkli", "Dalsmo", "Eikhaug", "Furusæter", "Granlien", "Heggdal", "Isnes"),
        *("Kvernmo", "Lyngås", "Myrseth", "Nordbø", "Østvang", "Rønningdal", "Sjøvik", "Tårnes"),
    ),
    places=("Åsen", "Bekkelia", "Fjordgata", "Grønnåsen", "Havna", "Nordstranda", "Skansen", "Øvrebyen"),
    clinic_words=("Legesenter", "Helsehus", "Klinikk", "Legekontor"),
    room_word="Rom",
    visits=_with_minutes(
        *("Legetime, ny pasient", "Legetime, kontroll", "Sykepleiertime", "Vaksinasjon", "Blodprøve"),
        *("Videokonsultasjon", "Helseattest", "Psykologsamtale", "Fysioterapi, første time"),
        *("Fysioterapi, oppfølging", "Svangerskapskontroll", "Føflekksjekk"),
    ),
)


Kind = Literal["care_unit", "resource", "service", "appointment", "patient"]

IdFormat = Callable[[Kind, str, int, Random], str]
"""Makes the id of the n-th (from 1) thing of a kind; the text is the id of its care unit."""

_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTWXYZabcdefghijkmnopqrstuvwxyz"
_AWKWARD_UNITS = ("avd/1", "avd 2", "åsen å3", "avd#4", "avd%2F5", "a..b")


def levelled_ids(kind: Kind, _unit: str, number: int, _random: Random) -> str:
    """Webdoc's: `L0_1` for units (docs page D1), and people numbered anew in each unit."""
    letter, first = {
        "care_unit": ("L0_", 0),
        "resource": ("R", 0),
        "service": ("B", 1000),
        "appointment": ("A", 70_000),
        "patient": ("P", 300),
    }[kind]
    return f"{letter}{first + number}"


def tokens(_kind: Kind, _unit: str, _number: int, random: Random) -> str:
    """Kaddio's: 17 letters and digits (docs page D20)."""
    return "".join(random.choices(_ALPHABET, k=17))


def long_numbers(_kind: Kind, _unit: str, _number: int, random: Random) -> str:
    """Cliniko's: numbers too long for a JavaScript number, written as text."""
    return str(random.randrange(10**18, 9 * 10**18))


def composed_ids(kind: Kind, unit: str, number: int, random: Random) -> str:
    """TakeCare's: unit `10`, and `10-991890000019` for what belongs to it (docs page D22)."""
    if kind == "care_unit":
        return str(number * 10)
    prefix = {"resource": 991, "service": 402, "appointment": 733, "patient": 118}[kind]
    return f"{unit}-{prefix}{number:04d}{random.randrange(10**5):05d}"


def hexadecimal_ids(kind: Kind, _unit: str, number: int, random: Random) -> str:
    """Anita's: `L0_1` for units (docs page D23), 24 hexadecimal digits for the rest."""
    return f"L0_{number}" if kind == "care_unit" else f"{random.getrandbits(96):024x}"


def uuids(_kind: Kind, _unit: str, _number: int, random: Random) -> str:
    """Konfidens': UUIDs."""
    return str(UUID(int=random.getrandbits(128), version=4))


def small_numbers(_kind: Kind, _unit: str, number: int, _random: Random) -> str:
    """Pridok's: 1, 2, 3 for units, and again for the people and the services of each unit."""
    return str(number)


def awkward_ids(kind: Kind, _unit: str, number: int, _random: Random) -> str:
    """Physica's: what a careless client breaks in a URL."""
    if kind == "care_unit":
        turn, index = divmod(number - 1, len(_AWKWARD_UNITS))
        return f"{_AWKWARD_UNITS[index]} {turn + 1}" if turn else _AWKWARD_UNITS[index]
    word = {"resource": "stol", "service": "time", "appointment": "avtale", "patient": "pasient"}[kind]
    styles = ("{w}/{n}", "{w} {n}", "{w}å{n}", "{w}#{n}", "{w}%2F{n}", "{w}..{n}", "{w}+{n}", "{w}?{n}&x=1")
    return styles[(number - 1) % len(styles)].format(w=word, n=number)


@dataclass(frozen=True, slots=True)
class Ehr:
    """One EHR behind Leyr, as far as its answers show it."""

    code: str
    country: Country
    make_id: IdFormat
    filter_policy: FilterPolicy = "none_required"
    care_units: tuple[int, int] = (3, 6)
    """Fewest and most care units."""
    split_names: bool = False
    """Resources carry first_name and last_name instead of name."""
    hsa_ids: bool = False
    """Resources can be looked up by HSA id (docs page D8)."""
    has_nameless_resource: bool = False
    """The first care unit has a resource without any name."""
    unsupported: tuple[Operation, ...] = ()
    """What is answered with NOT_SUPPORTED; what the documentation leaves open is supported."""
    checks_timeslots: bool = True
    """A time that is not free cannot be booked."""
    needs_codes: bool = False
    """Booking and cancelling are confirmed by a code that the patient gets (docs pages D10, D11)."""
    patient_id_types: tuple[PatientIdType, ...] = ("emr_id",)
    """Docs page D7; Konfidens is newer than its table."""
    required_patient_detail: PatientDetail = "nothing"
    """Docs pages D22 to D24."""


_SWEDISH: tuple[PatientIdType, ...] = ("emr_id", "se_personal_number")
_NORWEGIAN: tuple[PatientIdType, ...] = ("emr_id", "no_personal_number")

EHRS = {
    ehr.code: ehr
    for ehr in (
        Ehr("webdoc", SWEDEN, levelled_ids, care_units=(4, 4), hsa_ids=True, patient_id_types=_SWEDISH),
        Ehr(
            "kaddio",
            SWEDEN,
            tokens,
            has_nameless_resource=True,
            unsupported=("update", "cancel"),
            patient_id_types=_SWEDISH,
        ),
        Ehr("cliniko", NORWAY, long_numbers, split_names=True, checks_timeslots=False),
        Ehr(
            "takecare",
            SWEDEN,
            composed_ids,
            "any_one",
            patient_id_types=_SWEDISH,
            required_patient_detail="se_personal_number",
        ),
        Ehr(
            "anitasystems",
            NORWAY,
            hexadecimal_ids,
            "any_one",
            unsupported=("list_appointments", "search_patients", "get_patient"),
            needs_codes=True,
            required_patient_detail="phone",
        ),
        Ehr(
            "konfidens",
            NORWAY,
            uuids,
            "any_one",
            patient_id_types=_NORWEGIAN,
            required_patient_detail="no_personal_number",
        ),
        Ehr("pridok", NORWAY, small_numbers),
        Ehr("physica", NORWAY, awkward_ids, care_units=(6, 6)),
    )
}
