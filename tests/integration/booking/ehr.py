"""What the simulator's EHRs hold and were asked, as tests of booking judge by it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from gateway.domain.appointments import TimeRange
from gateway.domain.booking import Wish
from gateway.domain.ids import TimeslotId
from gateway.domain.models import CareUnitKey
from gateway.domain.patients import Country, NationalNumber, PatientDetails
from tests.harness import Simulator

WINDOW = {"start": "2026-10-13T00:00:00+02:00", "end": "2026-10-24T00:00:00+02:00"}
SWEDISH_NUMBER, NORWEGIAN_NUMBER = "191212121212", "26258605879"
TOLVAN = PatientDetails("Tolvan", "Tolvansson", NationalNumber(Country.SE, SWEDISH_NUMBER), ("+46701740605",))
OLA = PatientDetails("Ola", "Nordmann", NationalNumber(Country.NO, NORWEGIAN_NUMBER), ("+4790000000",))
_SWEDISH_EHRS = ("webdoc", "kaddio", "takecare")


@dataclass
class SimulatorClock:
    """The simulator's clock, which stands still until a test moves it."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


@dataclass(frozen=True)
class Ehr:
    """The first care unit of one EHR."""

    simulator: Simulator
    emr: str

    @property
    def unit(self) -> CareUnitKey:
        return CareUnitKey(self.emr, self._rows(f"/emrs/{self.emr}/care-units")[0]["id"])

    @property
    def details(self) -> PatientDetails:
        """Somebody whom the EHR takes as a patient."""
        return TOLVAN if self.emr in _SWEDISH_EHRS else OLA

    def wishes(self) -> list[Wish]:
        """The free times, in order, of which none overlaps another one of its resource."""
        unit = self.unit
        self.simulator.behaviour(self.emr, filter_policy="none_required")
        path = f"/emrs/{self.emr}/care-units/{quote(unit.care_unit, safe='')}/timeslots"
        found: list[Wish] = []
        ends: dict[str, datetime] = {}
        for row in sorted(self._rows(path, **WINDOW), key=lambda each: (each["start"], each["end"])):
            start, end = datetime.fromisoformat(row["start"]), datetime.fromisoformat(row["end"])
            resource, service = row["resource_id"], row["healthcare_service_id"]
            if resource not in ends or ends[resource] <= start:
                ends[resource] = end
                found.append(Wish(TimeslotId(unit, start, end, resource, service), resource, service))
        return found

    def appointments(self) -> list[dict[str, Any]]:
        """What is booked in this EHR, cancelled appointments too."""
        shown = self.simulator.http.get("/__appointments", params={"emr": self.emr}).json()
        return list(shown["appointments"])

    def code(self) -> str:
        """The code that the patient of the only appointment got."""
        (appointment,) = self.appointments()
        return str((appointment["cancellation"] or appointment)["code"])

    def writes(self, endpoint: str = "book_appointment") -> list[dict[str, Any]]:
        """The calls that wrote."""
        params = {"emr": self.emr, "endpoint": endpoint}
        return list(self.simulator.http.get("/__calls", params=params).json()["calls"])

    def _rows(self, path: str, **params: str) -> list[dict[str, Any]]:
        match self.simulator.rest(path, **params):
            case {"items": list(rows)}:
                return rows
            case rows:
                return list(rows)


def when(wish: Wish) -> TimeRange:
    """The time of a wish."""
    return TimeRange.of(wish.timeslot.start, wish.timeslot.end)
