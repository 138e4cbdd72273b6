"""Booking with several workers: they share the journal's file, and what one seals another opens."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.server.serving import listening_socket, serve_in_thread
from gateway.simulator import SimulatorSettings, create_simulator
from tests.harness import CLIENT_ID, CLIENT_SECRET, Simulator, no_certificates
from tests.integration.booking.page import SLOTS, TOLVAN, new_key
from tests.integration.workers.conftest import SeveralWorkers

AT_ONCE = 16
BOOK = """mutation($input: BookAppointmentInput!) {
  bookAppointment(input: $input) {
    __typename ... on BookingSuccess { appointment { id leyrId } replayed } ... on BookingFailure { reason }
  }
}"""
CANCEL = """mutation($input: CancelAppointmentInput!) {
  cancelAppointment(input: $input) { __typename ... on BookingFailure { reason } }
}"""


@pytest.fixture(scope="module")
def simulator_server() -> Iterator[Simulator]:
    """A simulator of today, since the workers' time is the machine's."""
    settings = SimulatorSettings(
        today=datetime.now(UTC).date(), latency_ms=20, client_id=CLIENT_ID, client_secret=CLIENT_SECRET
    )
    with (
        serve_in_thread(create_simulator(settings), listening_socket("127.0.0.1", 0)) as url,
        httpx.Client(base_url=url, timeout=30, verify=no_certificates()) as http,
    ):
        yield Simulator(url, settings.emrs, http)


@pytest.fixture
def serving(serve: Callable[..., SeveralWorkers], tmp_path: Path) -> SeveralWorkers:
    return serve(
        2,
        GATEWAY_JOURNAL=str(tmp_path / "journal.sqlite"),
        GATEWAY_BOOKING_SECRET="a secret of the tests' own for bookings",
        GATEWAY_ANONYMOUS_BOOKING="on",
    )


def asked(client: httpx.Client, query: str, **variables: Any) -> Any:
    answer = client.post("/graphql", json={"query": query, "variables": variables}).json()
    assert "errors" not in answer, answer["errors"]
    return answer["data"]


def test_a_key_is_booked_once_through_all_workers_and_its_id_is_good_at_each(
    serving: SeveralWorkers, simulator: Simulator
) -> None:
    days = (datetime.now(UTC) + timedelta(days=each) for each in (2, 12))
    window = dict(zip(("start", "end"), (each.isoformat() for each in days), strict=True))
    with closing(serving.client_of(1)) as first, closing(serving.client_of(2)) as second:
        slots = asked(first, SLOTS, emr="webdoc", **window)["careUnits"][0]["timeslots"]
        wish = {"timeslotIds": [slots[0]["id"]], "patient": TOLVAN, "idempotencyKey": new_key()}

        def book(client: httpx.Client) -> Any:
            return asked(client, BOOK, input=wish)["bookAppointment"]

        with ThreadPoolExecutor(AT_ONCE) as pool:
            outcomes = list(pool.map(book, [first, second] * (AT_ONCE // 2)))
        booked = [each["appointment"] for each in outcomes]
        cancelled = asked(second, CANCEL, input={"appointmentId": booked[0]["id"], "idempotencyKey": new_key()})

    assert simulator.count()["book_appointment"] == 1
    assert {each["leyrId"] for each in booked} == {booked[0]["leyrId"]}
    assert Counter(each["replayed"] for each in outcomes) == {False: 1, True: AT_ONCE - 1}
    assert {each["id"] for each in booked} == {booked[0]["id"]}, "sealed with one secret"
    assert cancelled["cancelAppointment"]["__typename"] == "AppointmentCancelled"
