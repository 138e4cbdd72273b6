"""Many clients want one time at the same moment: as many get it as there is room for, and the others hear so."""

import asyncio
from collections import Counter
from uuid import uuid4

import httpx
import pytest

from tests.harness import Simulator
from tests.integration.booking.conftest import Serve, key_of
from tests.integration.booking.ehr import Ehr
from tests.integration.booking.page import Page

RACERS = 40
BOOK = """mutation($input: BookAppointmentInput!) {
  answer: bookAppointment(input: $input) { __typename ... on BookingFailure { reason retryable } }
}"""


async def raced(urls: list[str], timeslot_id: str) -> Counter[str]:
    """What so many clients are told, each of them with a key and a patient of its own."""
    headers = {"authorization": f"Bearer {key_of('page')}"}
    async with httpx.AsyncClient(headers=headers, timeout=60, trust_env=False) as http:

        async def racer(number: int) -> str:
            details = {"firstName": "Lopp", "lastName": f"Loppsson {number}", "phones": [f"+479200000{number:02d}"]}
            given = {"idempotencyKey": str(uuid4()), "timeslotIds": [timeslot_id], "patient": {"details": details}}
            body = {"query": BOOK, "variables": {"input": given}}
            answer = (await http.post(f"{urls[number % len(urls)]}/graphql", json=body)).json()
            return str(answer["data"]["answer"]["__typename"])

        return Counter(await asyncio.gather(*map(racer, range(RACERS))))


@pytest.mark.parametrize(
    ("emr", "room"), [("webdoc", 1), ("cliniko", 1), ("pridok", 3)], ids=["checks", "accepts everything", "takes three"]
)
async def test_one_time_is_given_as_often_as_there_is_room(
    page: Page, serve_booking: Serve, simulator: Simulator, emr: str, room: int
) -> None:
    simulator.behaviour(emr, capacity=room)
    slot = page.slots(emr)[0]
    urls = [page.gateway.url, serve_booking().url]

    told = await raced(urls, slot["id"])

    assert told == {"AppointmentBooked": room, "TimeslotTaken": RACERS - room}
    ehr = Ehr(simulator, emr)
    assert len(ehr.appointments()) == room
    assert [call["outcome"] for call in ehr.writes()].count("booked") == room


def test_times_that_overlap_at_one_resource_are_not_both_given_by_an_ehr_that_accepts_everything(
    page: Page, simulator: Simulator
) -> None:
    answer = page.ask(
        """query($start: DateTime!, $end: DateTime!) {
          careUnits(emr: "cliniko") { timeslots(start: $start, end: $end) { id start end resourceId } }
        }""",
        start="2026-10-13T00:00:00+02:00",
        end="2026-11-10T00:00:00+01:00",
    )
    slots = answer["data"]["careUnits"][0]["timeslots"]
    first, second = next(
        (one, other)
        for number, one in enumerate(slots)
        for other in slots[number + 1 : number + 60]
        if one["resourceId"] == other["resourceId"] and other["start"] < one["end"]
    )

    answers = [page.book(first), page.book(second)]

    assert [each["__typename"] for each in answers] == ["AppointmentBooked", "TimeslotTaken"]
    assert len(Ehr(simulator, "cliniko").appointments()) == 1
