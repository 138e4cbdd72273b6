"""AppointmentsClient over real HTTP: what is sent, once, and what each answer means for what was asked."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import pytest
from pydantic import SecretStr

from gateway.domain.appointments import Appointment, TimeRange
from gateway.domain.booking import BookingFailureReason as Reason
from gateway.domain.booking import BookingProblem, Refused, Wish
from gateway.domain.booking_answers import (
    AppointmentList,
    FoundPatient,
    ListedAppointment,
    Lost,
    NotSent,
    SlotRefused,
    WriteAnswer,
)
from gateway.domain.errors import BadUserInput
from gateway.domain.ids import TimeslotId
from gateway.domain.models import CareUnitKey
from gateway.domain.patients import (
    Country,
    NationalNumber,
    Patient,
    PatientByEmrId,
    PatientByLeyrId,
    PatientDetails,
)
from gateway.domain.window import time_zone
from gateway.http_client.httpx2_client import Httpx2Client
from gateway.leyr.appointments_client import AppointmentsClient
from gateway.leyr.client import LeyrTransport
from gateway.leyr.resilience import PolicyConfig, PolicyDependencies, UpstreamPolicies
from tests.unit.http_client.scripted_server import Peer, Server, until

UNIT = CareUnitKey("webdoc", "L0/1")
START = datetime(2026, 12, 1, 8, tzinfo=UTC)
WISH = Wish(TimeslotId(UNIT, START, START + timedelta(minutes=20), "r1", None), "r1", "s1")
PATIENT = PatientByLeyrId("p-1")
NOW = datetime(2026, 11, 30, tzinfo=UTC)
REFERENCE = "6f1c8f0e-2f0b-4d3e-9d63-0a6d6f1f3b11"
BOOKED = {"id": "a1", "status": "booked", "start": "2026-12-01T09:00:00+01:00", "patient_id": "p-1", "x": 1}
APPOINTMENT = Appointment(UNIT, "a1", "booked", "2026-12-01T09:00:00+01:00")


class Leyr:
    """Answers each request with a status and a body, and keeps what came."""

    def __init__(self, status: int = 200, body: Any = BOOKED, *, headers: bytes = b"", cut: int | None = None) -> None:
        self.requests: list[tuple[str, str, Any]] = []
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._answer = b"HTTP/1.1 %d x\r\n%bcontent-length: %d\r\n\r\n%b" % (status, headers, len(text), text)
        self._cut = cut

    async def __call__(self, peer: Peer) -> None:
        head = (await peer.request()).decode()
        method, target, _ = head.split(" ", 2)
        length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0] or 0)
        body = await peer._reader.readexactly(length)  # noqa: SLF001 # the stand-in reads heads only
        self.requests.append((method, target, json.loads(body) if body else None))
        await peer.send(self._answer[: self._cut])


@asynccontextmanager
async def client_of(
    url: str, seconds: float = 20, clock: Callable[[], float] = monotonic
) -> AsyncIterator[AppointmentsClient]:
    transport = LeyrTransport(f"{url}/api", "id", SecretStr("secret"), writes=Httpx2Client)
    policies = UpstreamPolicies(PolicyConfig(), PolicyDependencies(clock=clock))
    zone = time_zone("Europe/Stockholm")
    async with asyncio.timeout(30), transport:
        client = AppointmentsClient(transport, policies, lambda: NOW, lambda _: zone, seconds)
        yield client
        await client.close()


async def asked(leyr: Leyr, work: Callable[[AppointmentsClient], Coroutine[Any, Any, Any]]) -> Any:
    async with Server(leyr) as server, client_of(server.url) as client:
        return await work(client)


async def book(leyr: Leyr, patient: Patient | FoundPatient = PATIENT, comment: str | None = None) -> WriteAnswer:
    answer: WriteAnswer = await asked(leyr, lambda client: client.book(WISH, patient, comment))
    return answer


def envelope(code: str = "BAD_REQUEST", *details: str, emr_error: Any = None) -> dict[str, Any]:
    errors = [{"error_code": each, "details": "secret text", "path": None, "emr_error": emr_error} for each in details]
    return {"code": code, "status": 400, "detail": "secret text", "instance": REFERENCE, "errors": errors}


async def test_a_booking_is_one_post_with_the_slots_times_where_the_care_unit_lies() -> None:
    leyr = Leyr()

    assert await book(leyr, comment="Hello") == APPOINTMENT
    body = {
        "start": "2026-12-01T09:00:00+01:00",
        "end": "2026-12-01T09:20:00+01:00",
        "patient_id": "p-1",
        "resource_id": "r1",
        "healthcare_service_id": "s1",
        "comment": "Hello",
    }
    assert leyr.requests == [("POST", "/api/emrs/webdoc/care-units/L0%2F1/appointments", body)]


@pytest.mark.parametrize(
    ("patient", "named"),
    [
        (PatientByLeyrId("p-1"), "p-1"),
        (PatientByEmrId("abc"), "emr_id:abc"),
        (NationalNumber(Country.SE, "191212121212"), "se_personal_number:191212121212"),
        (NationalNumber(Country.NO, "26258605879"), "no_personal_number:26258605879"),
        (NationalNumber(Country.GB, "9434765919"), "nhs_number:9434765919"),
        (FoundPatient("p-2"), "p-2"),
    ],
)
async def test_patients_are_named_in_the_body_alone(patient: Patient | FoundPatient, named: str) -> None:
    leyr = Leyr()
    await book(leyr, patient)

    ((_, target, body),) = leyr.requests
    assert body["patient_id"] == named
    assert named not in target


@pytest.mark.parametrize("patient", [PatientByLeyrId("se_personal_number:191212121212"), PatientDetails("A", "B")])
async def test_a_patient_of_another_kind_than_said_is_refused_before_any_call(patient: Patient) -> None:
    leyr = Leyr()

    assert await book(leyr, patient) == Refused(Reason.PATIENT_REJECTED)
    assert leyr.requests == []


@pytest.mark.parametrize(
    "body",
    [BOOKED, [BOOKED], [BOOKED, {"id": "other"}], {"data": [BOOKED]}, {**BOOKED, "id": "a1", "end": 7, "start": None}],
)
@pytest.mark.parametrize("status", [200, 201, 202])
async def test_an_appointment_comes_as_an_object_or_in_a_list_with_any_success(status: int, body: Any) -> None:
    assert await book(Leyr(status, body)) == APPOINTMENT


@pytest.mark.parametrize("body", [[], {}, None, b"", b"<html>", [{"status": "booked"}], b'{"id": "a1"', {"id": None}])
async def test_a_success_that_names_no_appointment_leaves_the_outcome_open(body: Any) -> None:
    assert await book(Leyr(200, body)) == Lost()


@pytest.mark.parametrize(
    ("status", "body", "answer"),
    [
        (400, envelope("BAD_REQUEST", "NO_TIMESLOTS_AVAILABLE"), SlotRefused(REFERENCE)),
        (400, envelope("BAD_REQUEST", "AMBIGUOUS_TIMESLOTS"), (Reason.TIMESLOT_AMBIGUOUS, "timeslotIds")),
        (400, envelope("BAD_REQUEST", "INVALID_PATIENT_ID"), (Reason.PATIENT_REJECTED, "patient")),
        (400, envelope("BAD_REQUEST", "INVALID_COMMENT_LENGTH"), (Reason.REJECTED_BY_EHR, "comment")),
        (400, envelope("BAD_REQUEST", "NOT_SUPPORTED"), (Reason.NOT_SUPPORTED, None)),
        (501, envelope("BAD_REQUEST", "NOT_SUPPORTED"), (Reason.NOT_SUPPORTED, None)),
        (400, envelope("BAD_REQUEST", "PATIENT_ID_LOOKUP_TYPE_NOT_SUPPORTED"), (Reason.NOT_SUPPORTED, "patient")),
        (400, envelope("BAD_REQUEST", "SOMETHING_NEW"), (Reason.OTHER, None)),
        (400, envelope("BAD_REQUEST", "BAD_INPUT"), (Reason.REJECTED_BY_EHR, None)),
        (409, envelope("EMR_ERROR"), Refused(Reason.REJECTED_BY_EHR, reference=REFERENCE)),
        (401, envelope("EMR_ERROR"), Refused(Reason.REJECTED_BY_EHR, reference=REFERENCE)),
        (400, b"<html>", Refused(Reason.OTHER)),
        (401, envelope("UNAUTHORIZED"), NotSent()),
        (403, b"<html>", NotSent()),
        (429, envelope("EMR_ERROR"), NotSent(7.0)),
        (429, b"", NotSent(7.0)),
        (500, envelope("EMR_ERROR"), Lost(REFERENCE)),
        (401, envelope("UNKNOWN_ERROR"), Lost(REFERENCE)),
        (503, envelope("SERVICE_UNAVAILABLE"), Lost(REFERENCE)),
        (502, b"<html>", Lost()),
        (408, b"", Lost()),
        (302, b"", Lost()),
    ],
)
async def test_each_refusal_says_whether_it_is_certain(status: int, body: Any, answer: Any) -> None:
    leyr = Leyr(status, body, headers=b"retry-after: 7\r\n")
    found = await book(leyr)

    if isinstance(answer, tuple):
        reason, field = answer
        (code,) = (each["error_code"] for each in body["errors"])
        answer = Refused(reason, (BookingProblem(code, field),), REFERENCE)
    assert found == answer
    assert "secret" not in repr(found)
    assert len(leyr.requests) == 1


async def test_two_refusals_are_two_problems() -> None:
    two = envelope("BAD_REQUEST", "NO_TIMESLOTS_AVAILABLE", "INVALID_PATIENT_ID")
    problems = (
        BookingProblem("NO_TIMESLOTS_AVAILABLE", "timeslotIds"),
        BookingProblem("INVALID_PATIENT_ID", "patient"),
    )

    assert await book(Leyr(400, two)) == Refused(Reason.PATIENT_REJECTED, problems, REFERENCE)


@pytest.mark.parametrize("code", ["BAD_INPUT", "NO_TIMESLOTS_AVAILABLE"])
@pytest.mark.parametrize("emr_error", ["PATIENT_ALREADY_BOOKED", {"status": 1, "code": "PATIENT_ALREADY_BOOKED"}])
async def test_a_patient_who_is_booked_already_is_told_before_all_else(code: str, emr_error: Any) -> None:
    found = await book(Leyr(400, envelope("BAD_REQUEST", code, emr_error=emr_error)))

    assert isinstance(found, Refused)
    assert (found.reason, found.retryable) == (Reason.PATIENT_ALREADY_BOOKED, False)


async def test_codes_that_are_none_are_left_out() -> None:
    found = await book(
        Leyr(400, envelope("BAD_REQUEST", "Patient 191212121212", "A191212121212", "A" * 65, "BAD_INPUT", "BAD_INPUT"))
    )

    assert found == Refused(Reason.REJECTED_BY_EHR, (BookingProblem("BAD_INPUT"),), REFERENCE)


@pytest.mark.parametrize("changed", [{"id": ""}, {"id": ".."}, {"id": "x" * 5_000}, {"id": None}])
async def test_an_appointment_that_could_not_be_named_later_leaves_the_outcome_open(changed: dict[str, Any]) -> None:
    assert await book(Leyr(body={**BOOKED, **changed})) == Lost()


@pytest.mark.parametrize("start", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00"])
async def test_a_start_beyond_the_calendar_is_none(start: str) -> None:
    when = TimeRange(START, START + timedelta(minutes=20))
    body = {**BOOKED, "start": start}

    assert await book(Leyr(body=body)) == APPOINTMENT
    assert await asked(Leyr(body=body), lambda client: client.cancel(UNIT, "a1", None)) == Lost()
    listed = await asked(Leyr(body=[body]), lambda client: client.appointments(UNIT, when))
    assert listed == AppointmentList([], is_complete=False)


async def test_a_slot_that_ends_at_the_end_of_the_calendar_is_booked() -> None:
    end = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    wish, leyr = Wish(TimeslotId(UNIT, START, end, "r1", "s1"), "r1", "s1"), Leyr()

    assert await asked(leyr, lambda client: client.book(wish, PATIENT, None)) == APPOINTMENT
    assert leyr.requests[0][2]["end"] == "9999-12-31T23:59:59+00:00"


@pytest.mark.parametrize("cut", [0, 20, 60, -1])
async def test_an_answer_that_is_cut_leaves_the_outcome_open_and_nothing_is_sent_again(cut: int) -> None:
    leyr = Leyr(cut=cut)

    assert await book(leyr) == Lost()
    assert len(leyr.requests) == 1


async def test_without_a_server_nothing_was_sent() -> None:
    async with Server(Leyr()) as server:
        url = server.url
    async with client_of(url) as client:
        assert isinstance(await client.book(WISH, PATIENT, None), NotSent)


async def test_without_an_answer_in_time_the_outcome_is_open() -> None:
    async def silent(peer: Peer) -> None:
        await peer.abandoned()

    async with Server(silent) as server, client_of(server.url, 0.2) as client:
        assert await client.book(WISH, PATIENT, None) == Lost()


async def test_an_ehr_that_fails_again_and_again_is_left_alone_and_nothing_is_sent() -> None:
    leyr = Leyr(500, b"")
    async with Server(leyr) as server, client_of(server.url) as client:
        found = [await client.book(WISH, PATIENT, None) for _ in range(40)]

    assert found[0] == Lost()
    last = found[-1]
    assert isinstance(last, NotSent)
    assert last.retry_after
    assert found.count(Lost()) == len(leyr.requests) < 40


async def test_a_booking_goes_on_when_whoever_waits_for_it_leaves() -> None:
    release, leyr = asyncio.Event(), Leyr()

    async def script(peer: Peer) -> None:
        await release.wait()
        await leyr(peer)

    async with Server(script) as server, client_of(server.url) as client:
        task = asyncio.create_task(client.book(WISH, PATIENT, None))
        await until(lambda: server.open == 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        release.set()
        await client.close()

    assert len(leyr.requests) == 1


async def test_changes_are_patches_of_one_appointment() -> None:
    leyr = Leyr(body={**BOOKED, "status": "cancelled"})
    found = await asked(leyr, lambda client: client.cancel(UNIT, "a/1", "ill"))
    await asked(leyr, lambda client: client.confirm(UNIT, "a/1", "123456"))
    moved = Wish(WISH.timeslot, "r2", None)
    await asked(leyr, lambda client: client.reschedule(UNIT, "a/1", moved, None))

    assert found == Appointment(UNIT, "a1", "cancelled", APPOINTMENT.start)
    assert {(method, target) for method, target, _ in leyr.requests} == {
        ("PATCH", "/api/emrs/webdoc/care-units/L0%2F1/appointments/a%2F1")
    }
    time = {"start": "2026-12-01T09:00:00+01:00", "end": "2026-12-01T09:20:00+01:00", "resource_id": "r2"}
    assert [body for _, _, body in leyr.requests] == [
        {"status": "cancelled", "comment": "ill"},
        {"confirmation": {"code": "123456"}},
        time,
    ]


async def test_an_input_that_is_rejected_when_confirming_is_the_code() -> None:
    leyr = Leyr(400, envelope("BAD_REQUEST", "BAD_INPUT"))
    found = await asked(leyr, lambda client: client.confirm(UNIT, "a1", "000000"))

    assert found == Refused(Reason.CODE_WRONG, (BookingProblem("BAD_INPUT"),), REFERENCE)


async def test_patients_are_found_or_made_by_their_details() -> None:
    leyr = Leyr(body={"id": 17, "emr_id": "e", "first_name": "Tolvan"})
    details = PatientDetails("Tolvan", "Tolvansson", NationalNumber(Country.SE, "191212121212"), ("+46701740605",))
    found = await asked(leyr, lambda client: client.find_or_make_patient(UNIT, details))

    assert found == FoundPatient("17", "17", "e")
    body = {
        "first_name": "Tolvan",
        "last_name": "Tolvansson",
        "external_id": "191212121212",
        "phones": ["+46701740605"],
    }
    assert leyr.requests == [("POST", "/api/emrs/webdoc/care-units/L0%2F1/patients", body)]


async def test_a_patient_whom_the_ehr_rejects_is_refused_with_its_reasons() -> None:
    leyr = Leyr(400, envelope("BAD_REQUEST", "BAD_INPUT", "MISSING_REQUIRED_FIELD"))
    found = await asked(leyr, lambda client: client.find_or_make_patient(UNIT, PatientDetails("A", "B")))

    problems = (BookingProblem("BAD_INPUT"), BookingProblem("MISSING_REQUIRED_FIELD"))
    assert found == Refused(Reason.PATIENT_REJECTED, problems, REFERENCE)


async def test_appointments_are_listed_by_time_and_leyrs_ids() -> None:
    leyr = Leyr(body=[BOOKED, {**BOOKED, "id": "a2", "start": None}, {"id": None}])
    when = TimeRange(START, START + timedelta(minutes=20))
    found = await asked(leyr, lambda client: client.appointments(UNIT, when, resource="r1"))

    assert found == AppointmentList([ListedAppointment(APPOINTMENT, "p-1")], is_complete=False)
    query = "start=2026-12-01T09%3A00%3A00%2B01%3A00&end=2026-12-01T09%3A20%3A00%2B01%3A00&resource_id=r1"
    assert leyr.requests == [("GET", f"/api/emrs/webdoc/care-units/L0%2F1/appointments?{query}", None)]


@pytest.mark.parametrize(
    ("body", "headers", "is_complete"),
    [
        ([BOOKED], b"", True),
        ({"items": [BOOKED], "total": 1, "next": None}, b"", True),
        ([BOOKED, {**BOOKED, "start": "tomorrow"}], b"", False),
        ([BOOKED, {**BOOKED, "id": None}], b"", False),
        ({"items": [BOOKED], "next": "https://leyr.example/2"}, b"", False),
        ({"items": [BOOKED], "total": 2}, b"", False),
        ([BOOKED], b'link: </2>; rel="next"\r\n', False),
        ([BOOKED], b"x-total-pages: 2\r\n", False),
    ],
)
async def test_a_list_of_appointments_says_whether_it_is_all(body: Any, headers: bytes, is_complete: bool) -> None:
    when = TimeRange(START, START + timedelta(minutes=20))
    found = await asked(Leyr(body=body, headers=headers), lambda client: client.appointments(UNIT, when))

    assert found == AppointmentList([ListedAppointment(APPOINTMENT, "p-1")], is_complete=is_complete)


async def test_appointments_are_never_listed_by_what_may_be_a_persons_number() -> None:
    leyr = Leyr(body=[])
    when = TimeRange(START, START + timedelta(minutes=20))

    with pytest.raises(BadUserInput):
        await asked(leyr, lambda client: client.appointments(UNIT, when, patient_id="191212121212"))
    assert leyr.requests == []


async def test_process_that_is_stopped_for_longer_than_a_call_takes_does_not_make_it_any_more() -> None:
    leyr, times = Leyr(), iter([100.0])

    def clock() -> float:
        # From where it is asked to book on, it was stopped.
        return next(times, 121.0)

    async with Server(leyr) as server, client_of(server.url, clock=clock) as client:
        assert isinstance(await client.book(WISH, PATIENT, None), NotSent)
    assert leyr.requests == []
