"""Each fault of a write, and what the client says of it: never more than the EHR's own schedule confirms."""

from asyncio import gather
from typing import Any

import pytest

from gateway.domain.appointments import Appointment, AppointmentStatus
from gateway.domain.booking import Refused
from gateway.domain.booking_answers import FoundPatient, Lost, NotSent, SlotRefused
from tests.harness import NOW, nobody_listens
from tests.integration.booking.ehr import Ehr, SimulatorClock
from tests.integration.booking.leyr.conftest import ClientFactory

OPEN = (
    *("cut", "service_unavailable", "emr_error_500", "unknown_error", "bad_gateway_html", "html_200"),
    *("malformed_json", "empty_list", "object_body", "redirect"),
)
"""What says nothing of the write, whatever became of it."""
BROKEN = ("truncated_json", "cut_mid_body", "wrong_types", "huge_list")
"""Answers of a write that was made, of which nothing can be read."""
REFUSALS = {
    "too_many_requests": NotSent,
    "too_many_requests_bare": NotSent,
    "emr_error_429": NotSent,
    "unauthorized_html": NotSent,
    "emr_error_401": Refused,
}
"""What says that nothing was done, and is to be believed."""
LATE_SECONDS = 7.0


def struck(ehr: Ehr, fault: str, endpoint: str = "book_appointment", **more: Any) -> None:
    ehr.simulator.fault(fault, emr=ehr.emr, endpoint=endpoint, times=1, **more)


@pytest.mark.parametrize("write", ["done", "skipped", "late"])
@pytest.mark.parametrize("fault", OPEN)
async def test_a_booking_whose_answer_says_nothing_is_lost_whatever_became_of_it(
    webdoc: Ehr, client_of: ClientFactory, simulator_clock: SimulatorClock, fault: str, write: str
) -> None:
    wish = webdoc.wishes()[0]
    async with client_of() as client:
        patient = await client.find_or_make_patient(webdoc.unit, webdoc.details)
        assert isinstance(patient, FoundPatient)
        struck(webdoc, fault, write=write, seconds=LATE_SECONDS)
        answer = await client.book(wish, patient, None)

    assert isinstance(answer, Lost)
    assert len(webdoc.writes()) == 1
    assert len(webdoc.appointments()) == (write == "done")
    simulator_clock.seconds += LATE_SECONDS
    assert len(webdoc.appointments()) == (write != "skipped")


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_booking_whose_answer_is_broken_is_lost_and_made(
    webdoc: Ehr, client_of: ClientFactory, fault: str
) -> None:
    wish = webdoc.wishes()[0]
    async with client_of() as client:
        patient = await client.find_or_make_patient(webdoc.unit, webdoc.details)
        assert isinstance(patient, FoundPatient)
        struck(webdoc, fault)
        answer = await client.book(wish, patient, None)

    assert isinstance(answer, Lost)
    assert [each["status"] for each in webdoc.appointments()] == ["booked"]


@pytest.mark.parametrize("fault", ["hang", "delay", "drip"])
async def test_a_booking_that_takes_too_long_is_lost_and_made(
    webdoc: Ehr, client_of: ClientFactory, fault: str
) -> None:
    wish = webdoc.wishes()[0]
    async with client_of() as client:
        patient = await client.find_or_make_patient(webdoc.unit, webdoc.details)
    assert isinstance(patient, FoundPatient)
    struck(webdoc, fault, seconds=1.5)
    async with client_of(seconds=0.3) as client:
        answer = await client.book(wish, patient, None)

    assert isinstance(answer, Lost)
    assert len(webdoc.appointments()) == len(webdoc.writes()) == 1


@pytest.mark.parametrize("fault", [("delay", "late"), ("delay", "done"), ("drip", "done")])
async def test_a_slow_answer_is_waited_for(webdoc: Ehr, client_of: ClientFactory, fault: tuple[str, str]) -> None:
    wish = webdoc.wishes()[0]
    async with client_of() as client:
        patient = await client.find_or_make_patient(webdoc.unit, webdoc.details)
        assert isinstance(patient, FoundPatient)
        struck(webdoc, fault[0], write=fault[1], seconds=0.05)
        answer = await client.book(wish, patient, None)

    assert isinstance(answer, Appointment)
    assert answer.leyr_id == webdoc.appointments()[0]["id"]


@pytest.mark.parametrize("fault", REFUSALS)
async def test_a_refusal_is_told_and_nothing_is_booked(webdoc: Ehr, client_of: ClientFactory, fault: str) -> None:
    wish = webdoc.wishes()[0]
    async with client_of() as client:
        patient = await client.find_or_make_patient(webdoc.unit, webdoc.details)
        assert isinstance(patient, FoundPatient)
        struck(webdoc, fault)
        answer = await client.book(wish, patient, None)

        assert isinstance(answer, REFUSALS[fault])
        assert webdoc.appointments() == []
        assert isinstance(await client.book(wish, patient, None), Appointment)


async def test_the_second_of_two_who_want_one_time_is_refused(webdoc: Ehr, client_of: ClientFactory) -> None:
    wish = webdoc.wishes()[0]
    async with client_of() as client:
        patient = await client.find_or_make_patient(webdoc.unit, webdoc.details)
        assert isinstance(patient, FoundPatient)
        answers = await gather(*(client.book(wish, patient, None) for _ in range(10)))

    (booked,) = (each for each in answers if isinstance(each, Appointment))
    assert [type(each) for each in answers].count(SlotRefused) == 9
    assert [each["id"] for each in webdoc.appointments()] == [booked.leyr_id]


async def test_a_server_that_nobody_can_connect_to_was_sent_nothing(webdoc: Ehr, client_of: ClientFactory) -> None:
    wish = webdoc.wishes()[0]
    with nobody_listens() as url:
        async with client_of(url=url) as client:
            assert isinstance(await client.book(wish, FoundPatient("P301"), None), NotSent)

    assert webdoc.writes() == []


@pytest.mark.parametrize(("fault", "write"), [("cut", "done"), ("cut", "skipped"), ("service_unavailable", "late")])
async def test_a_cancellation_that_is_cut_is_lost_and_made_once(
    webdoc: Ehr, client_of: ClientFactory, simulator_clock: SimulatorClock, fault: str, write: str
) -> None:
    wish = webdoc.wishes()[0]
    async with client_of() as client:
        patient = await client.find_or_make_patient(webdoc.unit, webdoc.details)
        assert isinstance(patient, FoundPatient)
        booked = await client.book(wish, patient, None)
        assert isinstance(booked, Appointment)
        struck(webdoc, fault, "change_appointment", write=write, seconds=LATE_SECONDS)
        answer = await client.cancel(webdoc.unit, booked.leyr_id, None)

    assert isinstance(answer, Lost)
    simulator_clock.seconds += LATE_SECONDS
    assert [each["status"] for each in webdoc.appointments()] == ["booked" if write == "skipped" else "cancelled"]
    assert len(webdoc.writes("change_appointment")) == 1


@pytest.mark.parametrize("fault", ["cut", "service_unavailable", "truncated_json"])
async def test_a_patient_who_was_made_without_an_answer_is_found(
    webdoc: Ehr, client_of: ClientFactory, fault: str
) -> None:
    async with client_of() as client:
        struck(webdoc, fault, "create_patient")
        assert isinstance(await client.find_or_make_patient(webdoc.unit, webdoc.details), Lost)
        assert isinstance(await client.find_or_make_patient(webdoc.unit, webdoc.details), FoundPatient)

    assert len({call["patient"] for call in webdoc.writes("create_patient")}) == 1


async def test_an_answer_is_an_appointment_only_where_the_ehr_has_it_so(webdoc: Ehr, client_of: ClientFactory) -> None:
    wish = webdoc.wishes()[0]
    async with client_of() as client:
        patient = await client.find_or_make_patient(webdoc.unit, webdoc.details)
        assert isinstance(patient, FoundPatient)
        answer = await client.book(wish, patient, None)

    assert isinstance(answer, Appointment)
    (held,) = webdoc.appointments()
    assert answer.status is AppointmentStatus.BOOKED
    assert (answer.leyr_id, answer.resource_id, answer.service_id) == (
        held["id"],
        held["resource_id"],
        held["healthcare_service_id"],
    )
    assert wish.timeslot.start > NOW
