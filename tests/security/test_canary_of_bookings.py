"""A patient's number, name and comment that go through a real booking come out nowhere, and are kept nowhere."""

import gc
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import pytest
from prometheus_client import generate_latest

from gateway.telemetry.metrics import Metrics
from tests.harness import Simulator
from tests.security.leak_search import Watched, gateway_caches, holds_the_number, watched
from tests.security.personal_numbers_in_requests import post

NUMBER = "191212121212"
CANARIES = ("Canarytolvan", "Canarytolvansson", "canary-comment", "canary@example.com", "+46701740680")
PATIENTS: Mapping[str, Mapping[str, Any]] = {
    "number": {"nationalNumber": {"country": "SE", "number": "19121212-1212"}},
    "details": {
        "details": {
            "firstName": CANARIES[0],
            "lastName": CANARIES[1],
            "nationalNumber": {"country": "SE", "number": NUMBER},
            "phones": [CANARIES[4]],
            "emails": [CANARIES[3]],
        }
    },
}
ANSWER = "{ __typename ... on BookingSuccess { appointment { id } } ... on BookingFailure { message reason } }"
SLOTS = '{ careUnits(emr: "webdoc") { timeslots(first: 60) { id resourceId } } }'
FAULTS = (None, "cut", "emr_error_500", "service_unavailable", "malformed_json")


def texts_in(roots: list[object]) -> Iterator[str]:
    """Every text and all bytes that can be reached; code itself is left out."""
    seen: dict[int, object] = {}
    waiting = list(roots)
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, ModuleType | type | CodeType | FrameType):
            continue
        seen[id(found)] = found
        if isinstance(found, str):
            yield found
        elif isinstance(found, bytes | bytearray):
            yield found.decode("latin-1")
        elif isinstance(found, FunctionType):
            waiting += [found.__closure__, found.__defaults__, found.__kwdefaults__]
        else:
            waiting += gc.get_referents(found)


def book_under_faults(gateway: Watched, simulator: Simulator, patient: Mapping[str, Any]) -> None:
    """Book once for each fault, ask again, and cancel what was booked without one."""
    free = gateway.send(post(SLOTS)).json()["data"]["careUnits"][0]["timeslots"]
    # Of one resource each: nobody waits for another's lost call.
    slots = list({each["resourceId"]: each["id"] for each in free}.values())
    for number, fault in enumerate(FAULTS):
        if fault is not None:
            simulator.fault(fault, endpoint="book_appointment", times=1)
        asked = {"idempotencyKey": f"canary-key-of-tests-{number}", "comment": CANARIES[2]}
        given = {**asked, "timeslotIds": [slots[number]], "patient": patient}
        booking = f"mutation($i: BookAppointmentInput!) {{ answer: bookAppointment(input: $i) {ANSWER} }}"
        answers = [gateway.send(post(booking, variables={"i": given})).json()["data"]["answer"] for _ in range(2)]
        assert not holds_the_number(str(answers))
        if fault is None:
            assert answers[0]["__typename"] == "AppointmentBooked"
            given = {**asked, "appointmentId": answers[0]["appointment"]["id"]}
            cancelling = f"mutation($i: CancelAppointmentInput!) {{ cancelAppointment(input: $i) {ANSWER} }}"
            gateway.send(post(cancelling, variables={"i": given}))


@pytest.mark.parametrize("kind", PATIENTS)
def test_nothing_of_a_patient_comes_out_of_a_booking_or_is_kept(
    kind: str,
    simulator: Simulator,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = Metrics(("webdoc",))
    journal = {
        "gateway_journal": tmp_path / "journal.sqlite",
        "gateway_booking_secret": "a secret of bookings with enough characters",
    }
    with watched(
        simulator.url, ("webdoc",), simulator.calls, capfd, caplog, journal, bookings=None, metrics=metrics
    ) as gateway:
        book_under_faults(gateway, simulator, PATIENTS[kind])
        assert gateway.look_everywhere() == []
        gc.collect()
        # As it is or with its hyphen; the search for every spelling takes too long for all texts.
        whole = texts_in([gateway.app, *gateway_caches()])
        kept = [text for text in whole if NUMBER in text.replace("-", "") or any(each in text for each in CANARIES)]
        said = gateway.log.getvalue() + generate_latest(metrics).decode()
        files = b"".join(each.read_bytes() for each in tmp_path.rglob("*") if each.is_file()).decode("latin-1")
        named = [
            (canary, place)
            for place, text in {"log": said, "journal": files, "upstream": str(simulator.calls())}.items()
            for canary in CANARIES
            if canary in text
        ]

    assert kept == []
    assert named == []
    assert not holds_the_number(said)
    assert NUMBER not in files
