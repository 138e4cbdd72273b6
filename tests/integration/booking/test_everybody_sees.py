"""After a booking no answer to anybody shows its time, whatever was asked, kept or under way before."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx
import pytest

from tests.harness import CACHES_ON, Simulator
from tests.integration.booking.conftest import Serve, key_of
from tests.integration.booking.ehr import WINDOW
from tests.integration.booking.page import Page, Slot

SHOWN = "fragment shown on Timeslot { id start end resourceId healthcareServiceId }"
WINDOWS: Sequence[Mapping[str, str]] = (
    WINDOW,
    {"start": "2026-10-12T08:00:00+02:00", "end": "2026-10-20T00:00:00+02:00"},
)
BOOKINGS = 4


class Read(NamedTuple):
    """What a reader asks, time and again."""

    query: str
    variables: Mapping[str, Any]
    by_get: bool = False


@dataclass
class Reader:
    """A client that remembers the entity tag of what it was answered, as browsers do."""

    page: Page
    read: Read
    tag: str | None = None
    body: str = field(default="", repr=False)

    def look(self) -> str:
        """The answer's text, which a 304 says is the one of before."""
        http, headers = self.page.gateway.http, dict(self.page.headers)
        if not self.read.by_get:
            body = {"query": self.read.query, "variables": self.read.variables}
            return self._text(http.post("/graphql", json=body, headers=headers))
        if self.tag is not None:
            headers["if-none-match"] = self.tag
        params = {"query": self.read.query, "variables": json.dumps(self.read.variables)}
        response = http.get("/graphql", params=params, headers={**headers, "x-apollo-operation-name": "r"})
        if response.status_code == httpx.codes.NOT_MODIFIED:
            return self.body
        self.tag = response.headers.get("etag")
        return self._text(response)

    def _text(self, response: httpx.Response) -> str:
        assert response.status_code == httpx.codes.OK, response.text
        assert "errors" not in response.json(), response.text
        self.body = response.text
        return self.body


UNIT = "query r($id: ID!, $start: DateTime!, $end: DateTime!%s) { careUnit(id: $id) { %s } } " + SHOWN
WITHIN = "timeslots(start: $start, end: $end%s) { ...shown }"
WHOLE = 'query r($start: DateTime!, $end: DateTime!) { careUnits(emr: "webdoc") { %s } } ' % (WITHIN % "") + SHOWN
ONE = UNIT % ("", WITHIN % "" + " resources { %s }" % (WITHIN % ""))
OF_RESOURCE = UNIT % (", $of: ID", WITHIN % ", resourceId: $of")
OF_SERVICE = UNIT % (", $of: ID", WITHIN % ", healthcareServiceId: $of")
AVAILABLE = (
    """query r($id: ID!) {
  careUnit(id: $id) {
    availability(range: {days: {from: "2026-10-12", count: 14}}) {
      timeslots(first: 500) { nodes { ...shown } } days { times(first: 200) { timeslots { ...shown } } }
    }
  }
} """
    + SHOWN
)


def reads(unit: str, slot: Slot) -> list[Read]:
    """Twenty ways of asking that show a time which is free."""
    found = []
    for window in (*WINDOWS, {"start": slot["start"], "end": "2026-10-24T00:00:00+02:00"}):
        given = {"id": unit, **window}
        found += [Read(WHOLE, window), Read(WHOLE, window, by_get=True)]
        found += [Read(ONE, given), Read(ONE, given, by_get=True)]
        found.append(Read(OF_RESOURCE, {**given, "of": slot["resourceId"]}))
        found.append(Read(OF_SERVICE, {**given, "of": slot["healthcareServiceId"]}, by_get=True))
    return [*found, Read(AVAILABLE, {"id": unit}), Read(AVAILABLE, {"id": unit}, by_get=True)]


@pytest.fixture(params=["caches on", "caches off"])
def cached_page(serve_booking: Serve, request: pytest.FixtureRequest) -> Page:
    """On a clock that goes on: reads and bookings have an order only by their instants."""
    settings = CACHES_ON if request.param == "caches on" else {}
    return Page(serve_booking(**settings), {"authorization": f"Bearer {key_of('page')}"})


def test_no_reader_is_shown_a_time_that_was_booked(cached_page: Page, simulator: Simulator) -> None:
    page = cached_page
    unit = page.ask('{ careUnits(emr: "webdoc") { id } }')["data"]["careUnits"][0]["id"]
    with ThreadPoolExecutor(21) as pool:
        for number in range(BOOKINGS):
            slot = page.slots()[5 * number]
            readers = [Reader(page, each) for each in reads(unit, slot)]
            before = list(pool.map(Reader.look, readers))
            assert [reader.read for reader, text in zip(readers, before, strict=True) if slot["id"] not in text] == []
            slow = _read_slowly(pool, page, simulator, unit, slot)

            assert page.book(slot)["__typename"] == "AppointmentBooked"

            under_way = [each for each in slow if not each.done()]
            simulator.http.delete("/__faults").raise_for_status()
            after = list(pool.map(Reader.look, readers))
            assert [reader.read for reader, text in zip(readers, after, strict=True) if slot["id"] in text] == []
            assert [text for each in under_way if slot["id"] in (text := each.result(30))] == []
            late = list(pool.map(Reader.look, readers))
            assert [reader.read for reader, text in zip(readers, late, strict=True) if slot["id"] in text] == []


def _read_slowly(
    pool: ThreadPoolExecutor, page: Page, simulator: Simulator, unit: str, slot: Slot
) -> "list[Future[str]]":
    """Begin two reads that end after what comes next: one of a time of which a part is kept, and one of nothing kept.

    Leyr makes its lists for them now.
    """
    simulator.fault("delay", endpoint="timeslots", emr="webdoc", seconds=0.5)
    calls = simulator.count().total()
    # Until a day that no other window holds.
    window = {
        "start": slot["start"],
        "end": f"2026-11-{1 + calls % 9:02d}T00:{calls % 60:02d}:00+01:00",
    }
    anew = Page(page.gateway, {**page.headers, "cache-control": "no-cache"})
    readers = [Reader(each, Read(ONE, {"id": unit, **window})) for each in (page, anew)]
    answers = [pool.submit(reader.look) for reader in readers]
    simulator.arrived(calls + 1)
    return answers


def test_a_cancelled_time_is_what_the_ehr_says(cached_page: Page) -> None:
    page = cached_page
    slot = page.slots()[0]
    appointment = page.book(slot)["appointment"]["id"]
    assert slot["id"] not in {each["id"] for each in page.slots()}

    page.cancel(appointment)
    assert slot["id"] in {each["id"] for each in page.slots()}


def test_a_time_that_is_taken_is_shown_to_nobody_any_more(cached_page: Page, simulator: Simulator) -> None:
    page = cached_page
    slot, *_ = page.slots()
    resource = slot["resource"]["leyrId"]
    shown = page.ask("query($id: ID!) { timeslot(id: $id) { resourceId healthcareService { leyrId } } }", id=slot["id"])
    service = shown["data"]["timeslot"]["healthcareService"]["leyrId"]
    _book_elsewhere(simulator, slot, resource, service)

    answer = page.book(slot)
    free = {each["id"] for each in page.slots()}

    assert (answer["__typename"], answer["reason"]) == ("TimeslotTaken", "TIMESLOT_TAKEN")
    assert slot["id"] not in free


def _book_elsewhere(simulator: Simulator, slot: Slot, resource: str, service: str) -> None:
    """Book past the gateway, as a receptionist does."""
    headers = {"x-leyr-client-id": "simulator", "x-leyr-client-secret": "simulator-secret-canary"}
    base = "/api/emrs/webdoc/care-units/L0_1"
    body = {
        "start": slot["start"],
        "end": slot["end"],
        "resource_id": resource,
        "healthcare_service_id": service,
        "patient_id": "se_personal_number:191212121212",
    }
    response = simulator.http.post(f"{base}/appointments", json=body, headers=headers)
    assert response.status_code == 200, response.text
