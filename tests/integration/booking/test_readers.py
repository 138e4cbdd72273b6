"""Readers of all sorts beside bookings: none who asks after a booking's answer is shown the time that was booked."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx

from tests.harness import CACHES_ON, Gateway, Simulator, no_certificates

UNITS = '{ careUnits(emr: "webdoc") { id timeslots(first: 40) { id start resource { id } healthcareService { id } } } }'
BOOK = "mutation($input: BookAppointmentInput!) { bookAppointment(input: $input) { __typename } }"
PATIENT = {"details": {"firstName": "Tolvan", "lastName": "Tolvansson"}}
SHAPES = [
    '{ careUnits(emr: "webdoc") { timeslots { id } } }',
    "query($unit: ID!) { careUnit(id: $unit) { timeslots(first: 50) { id } } }",
    "query($unit: ID!) { careUnit(id: $unit) { resources { timeslots { id } } } }",
    "query($unit: ID!, $resource: ID) { careUnit(id: $unit) { timeslots(resourceId: $resource) { id } } }",
    "query($unit: ID!, $end: DateTime) { careUnit(id: $unit) { timeslots(end: $end) { id } } }",
    "query($unit: ID!) { careUnit(id: $unit) { healthcareServices { timeslots { id } } } }",
]


class Reader:
    """Asks the same again and again, by POST or by GET with the ETag of the answer before."""

    def __init__(self, http: httpx.AsyncClient, document: str, variables: dict[str, Any], *, by_get: bool) -> None:
        self._http = http
        self._variables = {name: each for name, each in variables.items() if f"${name}" in document}
        self._document = document
        self._by_get = by_get
        self._etag, self._body = "", ""

    async def read(self) -> str:
        if not self._by_get:
            response = await self._http.post("/graphql", json={"query": self._document, "variables": self._variables})
            return response.text
        query = urlencode({"query": self._document, "variables": json.dumps(self._variables)})
        headers = {"x-requested-with": "test", **({"if-none-match": self._etag} if self._etag else {})}
        response = await self._http.get(f"/graphql?{query}", headers=headers)
        if response.status_code != 304:
            self._etag, self._body = response.headers.get("etag", ""), response.text
        return self._body


async def test_no_reader_is_shown_a_booked_time(
    simulator: Simulator, serve_gateway: Callable[..., Gateway], tmp_path: Path
) -> None:
    gateway = serve_gateway(
        **CACHES_ON,
        gateway_journal=tmp_path / "journal.sqlite",
        gateway_booking_secret="a secret of booking with 32 characters",
        gateway_anonymous_booking=True,
    )
    unit = next(each for each in gateway.data(UNITS)["careUnits"] if len(each["timeslots"]) >= 40)
    wanted = unit["timeslots"][:32:4]
    # Calls that began before a booking come back after it.
    simulator.fault("delay", endpoint="timeslots", seconds=0.3, share=0.5, seed=3)
    booked: list[str] = []
    seen, is_over = 0, asyncio.Event()

    async def go_on(reader: Reader) -> None:
        nonlocal seen
        while not is_over.is_set():
            gone = list(booked)
            shown = await reader.read()
            assert '"data"' in shown, shown
            seen += wanted[-1]["id"] in shown
            assert not [each for each in gone if each in shown]
            await asyncio.sleep(0.01)

    async with httpx.AsyncClient(base_url=gateway.url, timeout=60, verify=no_certificates()) as http:
        variables = {
            "unit": unit["id"], "resource": wanted[0]["resource"]["id"], "end": unit["timeslots"][-1]["start"],
        }  # fmt: skip
        readers = [Reader(http, SHAPES[number % 6], variables, by_get=number % 4 < 2) for number in range(20)]
        work = [asyncio.create_task(go_on(each)) for each in readers]
        for slot in wanted[:-1]:
            await asyncio.sleep(0.2)
            given = {"idempotencyKey": str(uuid4()), "timeslotIds": [slot["id"]], "patient": PATIENT}
            answer = await http.post("/graphql", json={"query": BOOK, "variables": {"input": given}})
            assert answer.json()["data"]["bookAppointment"]["__typename"] == "AppointmentBooked", answer.text
            booked.append(slot["id"])
        await asyncio.sleep(0.4)
        is_over.set()
        await asyncio.gather(*work)
    # They were shown what is still free.
    assert seen
