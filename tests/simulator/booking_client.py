"""A client that books at the simulator, and reads what its tests judge by."""

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import quote

import httpx

WINDOW = {"start": "2026-03-01T00:00:00+01:00", "end": "2026-03-22T00:00:00+01:00"}
TOLVAN = {"first_name": "Tolvan", "last_name": "Tolvansson", "external_id": "191212121212"}
OLA = {"first_name": "Ola", "last_name": "Nordmann", "external_id": "26258605879", "phones": ["+4790000000"]}
Slot = dict[str, Any]


@dataclass
class TimeOfTests:
    """A simulator's clock and time of day, which stand still until a test moves them."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> float:
        return datetime.fromisoformat("2026-03-02T06:00:00+01:00").timestamp() + self.seconds


@dataclass(frozen=True)
class BookingClient:
    """Calls the first care unit of an EHR, webdoc where none is named."""

    http: httpx.Client
    emr: str = "webdoc"

    def at(self, emr: str) -> "BookingClient":
        return BookingClient(self.http, emr)

    @property
    def base(self) -> str:
        units = _care_units(str(self.http.base_url), self.emr)
        return f"/api/emrs/{self.emr}/care-units/{quote(units[0]['id'], safe='')}"

    def switch(self, **switches: object) -> None:
        answer = self.http.patch(f"/__manners/{self.emr}", json=switches)
        assert answer.status_code == 200, answer.text

    def fault(self, fault: str, **where: object) -> None:
        answer = self.http.post("/__faults", json={"fault": fault, **where})
        assert answer.status_code == 200, answer.text

    def timeslots(self) -> list[Slot]:
        """Every free time, without what is listed twice."""
        self.switch(filter_policy="none_required")
        answer = self.http.get(f"{self.base}/timeslots", params=WINDOW).json()
        slots = {tuple(slot[name] for name in ("start", "end", "resource_id", "healthcare_service_id")): slot
                 for slot in answer}  # fmt: skip
        return [slots[key] for key in sorted(slots)]

    def lonely_timeslot(self) -> Slot:
        """A free time that its resource has for one service only."""
        slots = self.timeslots()
        times = [(slot["start"], slot["resource_id"]) for slot in slots]
        return next(slot for slot, time in zip(slots, times, strict=True) if times.count(time) == 1)

    def patient(self, **details: object) -> str:
        """Leyr's id of a patient, created where there was none."""
        person = {**(TOLVAN if self.emr in ("webdoc", "kaddio", "takecare") else OLA), **details}
        answer = self.http.post(f"{self.base}/patients", json=person)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def post(self, slot: Slot, patient: str | None = None, **changes: object) -> httpx.Response:
        """Book a time; a change to None leaves a field out."""
        fields = {
            **{name: slot[name] for name in ("start", "end", "resource_id", "healthcare_service_id")},
            "patient_id": patient or self.patient(),
            **changes,
        }
        body = {name: value for name, value in fields.items() if value is not None}
        return self.http.post(f"{self.base}/appointments", json=body)

    def book(self, slot: Slot, patient: str | None = None, **changes: object) -> dict[str, Any]:
        """The appointment for a time."""
        answer = self.post(slot, patient, **changes)
        assert answer.status_code == 200, answer.text
        (appointment,) = answer.json()
        return dict(appointment)

    def patch(self, appointment_id: str, **body: object) -> httpx.Response:
        return self.http.patch(f"{self.base}/appointments/{quote(appointment_id, safe='')}", json=body)

    def confirm(self, appointment_id: str, code: str) -> httpx.Response:
        return self.patch(appointment_id, confirmation={"code": code})

    def listed(self, **params: str) -> list[dict[str, Any]]:
        answer = self.http.get(f"{self.base}/appointments", params=params)
        assert answer.status_code == 200, answer.text
        return list(answer.json())

    def booked(self) -> list[dict[str, Any]]:
        """What the EHR really holds, cancelled appointments too."""
        return list(self.http.get("/__appointments", params={"emr": self.emr}).json()["appointments"])

    def attempts(self, *endpoints: str) -> list[dict[str, Any]]:
        """The recorded calls that book, or those of other endpoints."""
        if not endpoints:
            return list(self.http.get("/__calls", params={"endpoint": "book_appointment"}).json()["calls"])
        return [call for call in self.http.get("/__calls").json()["calls"] if call["endpoint"] in endpoints]


@cache
def _care_units(url: str, emr: str) -> list[dict[str, str]]:
    headers = {"x-leyr-client-id": "simulator", "x-leyr-client-secret": "simulator"}
    return list(httpx.get(f"{url}/api/emrs/{emr}/care-units", headers=headers).json())


def error_codes(answer: httpx.Response) -> list[str]:
    """The error codes of a refusal in Leyr's envelope."""
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (400, 400, "BAD_REQUEST")
    assert all(error["path"] is None for error in problem["errors"])
    return [error["error_code"] for error in problem["errors"]]
