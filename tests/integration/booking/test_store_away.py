"""Bookings while the store of their journal is away: nothing is begun, and what was begun is told and written."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import Any

import pytest

from tests.harness import Clock, Gateway, Simulator
from tests.integration.booking.conftest import Serve, key_of
from tests.integration.booking.ehr import Ehr
from tests.integration.booking.page import Page, new_key
from tests.stores import Store, running_store

HEADERS = {"authorization": f"Bearer {key_of('page')}"}


@pytest.fixture
def server() -> Iterator[Store]:
    with running_store("--appendonly", "yes", "--appendfsync", "always") as store:
        yield store


@pytest.fixture
def journal(server: Store) -> dict[str, Any]:
    return {"gateway_journal": "shared", "gateway_shared_url": server.url, "gateway_shared_timeout_ms": 2_000}


def events(gateway: Gateway) -> list[str]:
    return [json.loads(line)["event"] for line in gateway.log.getvalue().splitlines()]


def until(condition: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if condition():
            return
        sleep(0.01)
    raise AssertionError("it did not happen")


def test_nothing_is_begun_before_the_store_is_back(
    serve_booking: Serve, clock: Clock, simulator: Simulator, server: Store
) -> None:
    page = Page(serve_booking(clock=clock), HEADERS)
    first, second, *_ = page.slots()
    booked = page.book(first)
    server.kill()
    until(lambda: "shared_store.away" in events(page.gateway))
    before = simulator.count()
    key, appointment = new_key(), booked["appointment"]["id"]
    answers = [
        page.book(second, idempotencyKey=key),
        page.cancel(appointment),
        page.confirm(appointment, "0000"),
        page.do("reschedule", appointmentId=appointment, timeslotId=second["id"]),
    ]

    assert {each["reason"] for each in answers} == {"NOT_SENT"}
    assert all(each["retryable"] for each in answers)
    (error,) = page.ask("query($key: String!) { bookingOutcome(idempotencyKey: $key) { __typename } }", key=key)[
        "errors"
    ]
    assert error["extensions"]["retryable"]
    assert simulator.count() == before
    server.start()
    until(lambda: events(page.gateway).count("journal.opened") == 2)
    # Others may know more than a store that was started again, and have a moment to tell.
    assert page.book(second, idempotencyKey=key)["reason"] == "NOT_SENT"
    clock.seconds += 10
    assert page.book(second, idempotencyKey=key)["__typename"] == "AppointmentBooked"


def test_call_that_was_under_way_is_told_and_known_to_others_once_the_store_is_back(
    serve_booking: Serve, simulator: Simulator, server: Store
) -> None:
    page, other = Page(serve_booking(), HEADERS), Page(serve_booking(), HEADERS)
    slot, key, ehr = page.slots()[0], new_key(), Ehr(simulator, "webdoc")
    simulator.fault("delay", endpoint="book_appointment", seconds=1.0, times=1)
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(page.book, slot, idempotencyKey=key)
        until(lambda: len(ehr.writes()) == 1)
        server.kill()
        answer = under_way.result()
    assert answer["__typename"] == "AppointmentBooked"

    server.start()
    until(lambda: events(other.gateway).count("journal.opened") == 2)
    again = other.book(slot, idempotencyKey=key)
    assert (again["replayed"], again["appointment"]["leyrId"]) == (True, answer["appointment"]["leyrId"])
    assert len(ehr.writes()) == 1
