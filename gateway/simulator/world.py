"""All simulated data, made when it is first asked for and then kept; its size is bounded by the settings."""

from datetime import date
from zoneinfo import ZoneInfo

from gateway.simulator.calendar import Calendar, free_times
from gateway.simulator.clinics import CareUnit, Clinic, found_care_units, staff_clinic
from gateway.simulator.ehrs import EHRS


class World:
    """Every EHR's clinics and free times; whoever asks has checked the EHR and the care unit."""

    def __init__(self, *, seed: int, scale: int, today: date) -> None:
        self._seed, self._scale, self._today = seed, scale, today
        self._care_units: dict[str, dict[str, CareUnit]] = {}
        self._clinics: dict[tuple[str, str], Clinic] = {}
        self._calendars: dict[tuple[str, str], Calendar] = {}

    def care_units(self, emr: str) -> dict[str, CareUnit]:
        """Give an EHR's care units by id, in Leyr's pending."""
        if emr not in self._care_units:
            units = found_care_units(EHRS[emr], self._seed)
            self._care_units[emr] = {unit.id: unit for unit in units}
        return self._care_units[emr]

    def clinic(self, emr: str, care_unit: str) -> Clinic:
        """Give the people and visits of a care unit."""
        key = emr, care_unit
        if key not in self._clinics:
            units = self.care_units(emr)
            first = next(iter(units)) == care_unit
            self._clinics[key] = staff_clinic(EHRS[emr], units[care_unit], self._seed, self._scale, first=first)
        return self._clinics[key]

    def calendar(self, emr: str, care_unit: str) -> Calendar:
        """Give the free times of a care unit."""
        key = emr, care_unit
        if key not in self._calendars:
            zone = ZoneInfo(EHRS[emr].country.zone)
            clinic = self.clinic(emr, care_unit)
            slots = free_times(clinic, zone, self._today, (self._seed, emr, care_unit))
            self._calendars[key] = Calendar(slots, zone)
        return self._calendars[key]
