"""A booking page: a caller of the gateway that looks at free times, books, confirms and cancels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.harness import Gateway
from tests.integration.booking.ehr import NORWEGIAN_NUMBER, SWEDISH_NUMBER, WINDOW

Answer = dict[str, Any]
Slot = dict[str, Any]
_ANSWER = """{
  __typename
  ... on BookingSuccess { appointment { id leyrId status start end resource { leyrId } } replayed }
  ... on BookingFailure { reason message reference retryable retryAfterSeconds replayed }
  ... on BookingRefused { problems { code inputField } }
  ... on BookingOutcomeUnknown { askAgainAfter }
}"""
_BOOKED = _ANSWER.replace("{\n", "{\n  ... on AppointmentBooked { deviations }\n", 1)
_STEPS = {step: f"{step.capitalize()}AppointmentInput!" for step in ("book", "confirm", "cancel", "reschedule")}
SLOTS = """query($emr: String!, $start: DateTime!, $end: DateTime!) {
  careUnits(emr: $emr) {
    id timeslots(start: $start, end: $end) { id start end resourceId resource { leyrId } healthcareServiceId }
  }
}"""
ALTERNATIVES = """mutation($input: BookAppointmentInput!) {
  bookAppointment(input: $input) {
    __typename ... on TimeslotTaken { alternatives(first: 5) { id start resourceId healthcareServiceId } }
  }
}"""
TOLVAN: Mapping[str, Any] = {
    "details": {
        "firstName": "Tolvan",
        "lastName": "Tolvansson",
        "nationalNumber": {"country": "SE", "number": SWEDISH_NUMBER},
        "phones": ["+46701740605"],
    }
}
OLA: Mapping[str, Any] = {
    "details": {
        "firstName": "Ola",
        "lastName": "Nordmann",
        "nationalNumber": {"country": "NO", "number": NORWEGIAN_NUMBER},
        "phones": ["+4790000000"],
    }
}
_keys = count(1)


def new_key() -> str:
    """An idempotency key that no other test uses."""
    return f"key-of-tests-{next(_keys):08d}"


@dataclass(frozen=True)
class Page:
    """A caller with an API key."""

    gateway: Gateway
    headers: Mapping[str, str] = field(default_factory=dict)

    def ask(self, query: str, **variables: Any) -> Answer:
        """The whole answer."""
        body = {"query": query, "variables": variables}
        answer: Answer = self.gateway.http.post("/graphql", json=body, headers=self.headers).json()
        return answer

    def do(self, step: str, **given: Any) -> Answer:
        """What a mutation answers; there must be no errors."""
        answer_of = _ANSWER if step == "cancel" else _BOOKED
        query = f"mutation($input: {_STEPS[step]}) {{ answer: {step}Appointment(input: $input) {answer_of} }}"
        given.setdefault("idempotencyKey", new_key())
        answer = self.ask(query, input=given)
        assert "errors" not in answer, answer["errors"]
        return dict(answer["data"]["answer"])

    def book(self, *slots: Slot, patient: Mapping[str, Any] = TOLVAN, **more: Any) -> Answer:
        """Book the first of some times that is free."""
        return self.do("book", timeslotIds=[each["id"] for each in slots], patient=patient, **more)

    def cancel(self, appointment_id: str, **more: Any) -> Answer:
        """Cancel an appointment."""
        return self.do("cancel", appointmentId=appointment_id, **more)

    def confirm(self, appointment_id: str, code: str, **more: Any) -> Answer:
        """Send a code."""
        return self.do("confirm", appointmentId=appointment_id, code=code, **more)

    def outcome(self, key: str) -> Answer | None:
        """What became of a booking."""
        answer = self.ask(f"query($key: String!) {{ answer: bookingOutcome(idempotencyKey: $key) {_BOOKED} }}", key=key)
        assert "errors" not in answer, answer["errors"]
        found: Answer | None = answer["data"]["answer"]
        return found

    def slots(self, emr: str = "webdoc", window: Mapping[str, str] = WINDOW) -> Sequence[Slot]:
        """The free times of the EHR's first care unit, of which none overlaps another one of its resource."""
        answer = self.ask(SLOTS, emr=emr, **window)
        assert "errors" not in answer, answer["errors"]
        ends: dict[str, str] = {}
        found = []
        for each in answer["data"]["careUnits"][0]["timeslots"]:
            if ends.get(each["resourceId"], "") <= each["start"]:
                ends[each["resourceId"]] = each["end"]
                found.append(each)
        return found
