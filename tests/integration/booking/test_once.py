"""One key is one booking: whoever sends it, wherever, however often, whether its client stays or leaves."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.harness import NOW, Clock, Simulator
from tests.integration.booking.conftest import BOOKING_SECRET, Serve, key_of
from tests.integration.booking.ehr import Ehr
from tests.integration.booking.page import TOLVAN, Page, new_key
from tests.stores import Store, running_store

HEADERS = {"authorization": f"Bearer {key_of('page')}"}
OTHER_SECRET = "another secret of the tests' own for bookings"


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    with running_store("--appendonly", "yes") as store:
        yield store


@pytest.fixture(params=["file", "store"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    if request.param == "file":
        return {"gateway_journal": tmp_path / "journal.sqlite"}
    server: Store = request.getfixturevalue("server")
    place = {"gateway_shared_url": server.url, "gateway_shared_prefix": f"{uuid4().hex}:"}
    return {"gateway_journal": "shared", **place, "gateway_shared_timeout_ms": 2_000}


def test_one_key_sent_many_times_at_once_to_two_gateways_is_one_booking(
    page: Page, serve_booking: Serve, simulator: Simulator
) -> None:
    # A read of another process is not corrected, so both ask anew.
    pages, slot, key = (page, Page(serve_booking(), HEADERS)), page.slots()[0], new_key()

    def send(number: int) -> Any:
        return pages[number % 2].book(slot, idempotencyKey=key)

    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(send, range(24)))

    ehr = Ehr(simulator, "webdoc")
    assert {each["__typename"] for each in answers} == {"AppointmentBooked"}
    assert {each["appointment"]["leyrId"] for each in answers} == {ehr.appointments()[0]["id"]}
    assert [each["replayed"] for each in answers].count(False) == 1
    assert len(ehr.writes()) == 1


def test_a_booking_goes_on_when_its_client_leaves(page: Page, simulator: Simulator) -> None:
    slot, key = page.slots()[0], new_key()
    simulator.fault("delay", endpoint="book_appointment", write="late", seconds=0.5, times=1)
    given = {"idempotencyKey": key, "timeslotIds": [slot["id"]], "patient": TOLVAN}
    query = "mutation($input: BookAppointmentInput!) { bookAppointment(input: $input) { __typename } }"

    with pytest.raises(httpx.ReadTimeout):
        page.gateway.http.post(
            "/graphql", json={"query": query, "variables": {"input": given}}, headers=HEADERS, timeout=0.2
        )

    answer = page.outcome(key)
    assert answer is not None
    assert answer["__typename"] == "AppointmentBooked"
    assert len(Ehr(simulator, "webdoc").writes()) == 1


def test_a_new_secret_knows_the_keys_and_the_ids_of_the_former_one(serve_booking: Serve, simulator: Simulator) -> None:
    before = Page(serve_booking(), HEADERS)
    slot, key = before.slots()[0], new_key()
    first = before.book(slot, idempotencyKey=key)
    secrets = {"gateway_booking_secret": OTHER_SECRET, "gateway_booking_secret_former": BOOKING_SECRET}
    after = Page(serve_booking(**secrets), HEADERS)

    again = after.book(slot, idempotencyKey=key)
    cancelled = after.cancel(first["appointment"]["id"])

    assert (again["__typename"], again["replayed"]) == ("AppointmentBooked", True)
    assert again["appointment"]["leyrId"] == first["appointment"]["leyrId"]
    assert cancelled["__typename"] == "AppointmentCancelled"
    assert len(Ehr(simulator, "webdoc").writes()) == 1


def test_a_key_outlives_the_gateway(serve_booking: Serve, simulator: Simulator) -> None:
    page = Page(serve_booking(), HEADERS)
    slot, key = page.slots()[0], new_key()
    simulator.fault("cut", endpoint="book_appointment", times=1)
    first = page.book(slot, idempotencyKey=key)

    other = Page(serve_booking(), HEADERS)
    found = other.outcome(key)

    assert found is not None
    assert found["__typename"] == first["__typename"] == "AppointmentBooked"
    assert found["appointment"]["leyrId"] == first["appointment"]["leyrId"]
    assert len(Ehr(simulator, "webdoc").writes()) == 1


def test_a_key_that_is_forgotten_meets_a_time_that_is_past(page: Page, clock: Clock, simulator: Simulator) -> None:
    slot, key = page.slots()[0], new_key()
    page.book(slot, idempotencyKey=key)
    clock.seconds += timedelta(days=30).total_seconds()

    answer = page.book(slot, idempotencyKey=key)

    assert NOW + timedelta(days=30) == clock.now()
    assert (answer["__typename"], answer["reason"]) == ("BookingRefused", "TIMESLOT_EXPIRED")
    assert len(Ehr(simulator, "webdoc").writes()) == 1


@pytest.mark.parametrize(
    "spoil", [lambda key: key[:15], lambda key: key + " ", lambda key: key * 20, lambda key: key + "\u00e5"]
)
def test_a_key_that_is_none_is_refused_before_any_call(
    page: Page, simulator: Simulator, spoil: Callable[[str], str]
) -> None:
    slot = page.slots()[0]
    before = len(simulator.calls())
    given = {"idempotencyKey": spoil(new_key()), "timeslotIds": [slot["id"]], "patient": TOLVAN}

    answer = page.ask(
        "mutation($input: BookAppointmentInput!) { bookAppointment(input: $input) { __typename } }", input=given
    )

    assert answer["data"] == {"bookAppointment": None}
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["BAD_USER_INPUT"]
    assert len(simulator.calls()) == before
