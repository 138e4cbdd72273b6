"""What a caller may see: EHRs, and care units within them."""

from dataclasses import dataclass

from gateway.domain.models import CareUnitKey


@dataclass(frozen=True, slots=True)
class Access:
    """Equal where callers may see the same; None stands for all there are.

    Where both are given, a care unit must be named and its EHR too.
    """

    emrs: frozenset[str] | None = None
    care_units: frozenset[CareUnitKey] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether everything may be seen."""
        return self.emrs is None and self.care_units is None

    def sees_emr(self, code: str) -> bool:
        """Whether an EHR may be seen, or at least one of its care units."""
        if self.emrs is not None and code not in self.emrs:
            return False
        return self.care_units is None or any(key.emr == code for key in self.care_units)

    def sees(self, care_unit: CareUnitKey) -> bool:
        """Whether a care unit, and whatever belongs to it, may be seen."""
        if self.emrs is not None and care_unit.emr not in self.emrs:
            return False
        return self.care_units is None or care_unit in self.care_units


EVERYTHING = Access()
