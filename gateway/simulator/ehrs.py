"""The EHRs that the simulator plays: their codes, countries, ids and peculiarities."""

from dataclasses import dataclass

from gateway.simulator.identifiers import (
    Mint,
    awkward,
    composed,
    hexadecimal,
    levelled,
    long_numbers,
    small_numbers,
    tokens,
    uuids,
)
from gateway.simulator.manners import FilterPolicy
from gateway.simulator.names import NORWAY, SWEDEN, Country


@dataclass(frozen=True, slots=True)
class Ehr:
    """One EHR behind Leyr, as far as its answers show it."""

    code: str
    country: Country
    mint: Mint
    filter_policy: FilterPolicy = "none_required"
    care_units: tuple[int, int] = (3, 6)
    """Fewest and most care units."""
    split_names: bool = False
    """Resources carry first_name and last_name instead of name."""
    hsa_ids: bool = False
    """Resources can be looked up by HSA id (docs page D8)."""
    nameless: bool = False
    """The first care unit has a resource without any name."""


EHRS = {
    ehr.code: ehr
    for ehr in (
        Ehr("webdoc", SWEDEN, levelled, care_units=(4, 4), hsa_ids=True),
        Ehr("kaddio", SWEDEN, tokens, nameless=True),
        Ehr("cliniko", NORWAY, long_numbers, split_names=True),
        Ehr("takecare", SWEDEN, composed, "any_one"),
        Ehr("anitasystems", NORWAY, hexadecimal, "any_one"),
        Ehr("konfidens", NORWAY, uuids, "any_one"),
        Ehr("pridok", NORWAY, small_numbers),
        Ehr("physica", NORWAY, awkward, care_units=(6, 6)),
    )
}
