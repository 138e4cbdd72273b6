"""How each EHR's ids look; on purpose as different as those seen in Leyr's documentation, or worse."""

from collections.abc import Callable
from random import Random
from typing import Literal
from uuid import UUID

Kind = Literal["care_unit", "resource", "service"]

Mint = Callable[[Kind, str, int, Random], str]
"""Makes the id of the n-th (from 1) thing of a kind; the text is the id of its care unit."""

_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTWXYZabcdefghijkmnopqrstuvwxyz"
_AWKWARD_UNITS = ("avd/1", "avd 2", "åsen å3", "avd#4", "avd%2F5", "a..b")


def levelled(kind: Kind, unit: str, number: int, random: Random) -> str:
    """Webdoc's: `L0_1` for units (docs page D1), and people numbered anew in each unit."""
    del unit, random
    return {"care_unit": f"L0_{number}", "resource": f"R{number}", "service": f"B{1000 + number}"}[kind]


def tokens(kind: Kind, unit: str, number: int, random: Random) -> str:
    """Kaddio's: 17 letters and digits (docs page D20)."""
    del kind, unit, number
    return "".join(random.choices(_ALPHABET, k=17))


def long_numbers(kind: Kind, unit: str, number: int, random: Random) -> str:
    """Cliniko's: numbers too long for a JavaScript number, written as text."""
    del kind, unit, number
    return str(random.randrange(10**18, 9 * 10**18))


def composed(kind: Kind, unit: str, number: int, random: Random) -> str:
    """TakeCare's: unit `10`, and `10-991890000019` for what belongs to it (docs page D22)."""
    if kind == "care_unit":
        return str(number * 10)
    return f"{unit}-{991 if kind == 'resource' else 402}{number:04d}{random.randrange(10**5):05d}"


def hexadecimal(kind: Kind, unit: str, number: int, random: Random) -> str:
    """Anita's: `L0_1` for units (docs page D23), 24 hexadecimal digits for the rest."""
    del unit
    return f"L0_{number}" if kind == "care_unit" else f"{random.getrandbits(96):024x}"


def uuids(kind: Kind, unit: str, number: int, random: Random) -> str:
    """Konfidens': UUIDs."""
    del kind, unit, number
    return str(UUID(int=random.getrandbits(128), version=4))


def small_numbers(kind: Kind, unit: str, number: int, random: Random) -> str:
    """Pridok's: 1, 2, 3 for units, and again for the people and the services of each unit."""
    del kind, unit, random
    return str(number)


def awkward(kind: Kind, unit: str, number: int, random: Random) -> str:
    """Physica's: whatever a careless client breaks in a URL."""
    del unit, random
    if kind == "care_unit":
        return _AWKWARD_UNITS[number - 1]
    word = {"resource": "stol", "service": "time"}[kind]
    styles = ("{w}/{n}", "{w} {n}", "{w}å{n}", "{w}#{n}", "{w}%2F{n}", "{w}..{n}", "{w}+{n}", "{w}?{n}&x=1")
    return styles[(number - 1) % len(styles)].format(w=word, n=number)
