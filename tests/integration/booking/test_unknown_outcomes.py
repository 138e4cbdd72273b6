"""Calls whose outcome is lost: looked up, never sent again, and denied only when nothing can land any more."""

from typing import Any

import pytest

from tests.harness import Clock, Simulator
from tests.integration.booking.ehr import Ehr, SimulatorClock
from tests.integration.booking.page import OLA, TOLVAN, Page, new_key

LANDED_SECONDS = 120.0
LATE_SECONDS = 7.0
NUMBER = {"nationalNumber": {"country": "SE", "number": "191212121212"}}


def struck(simulator: Simulator, fault: str, endpoint: str = "book_appointment", **more: Any) -> None:
    simulator.fault(fault, endpoint=endpoint, times=1, **more)


@pytest.mark.parametrize("fault", ["cut", "emr_error_500", "cut_mid_body", "truncated_json", "bad_gateway_html"])
@pytest.mark.parametrize("patient", [TOLVAN, NUMBER])
def test_a_booking_that_was_made_is_found(
    page: Page, simulator: Simulator, clock: Clock, fault: str, patient: dict[str, Any]
) -> None:
    slot, key = page.slots()[0], new_key()
    struck(simulator, fault)

    answer = page.book(slot, patient=patient, idempotencyKey=key)
    if answer["__typename"] == "BookingOutcomeUnknown":
        assert (answer["reason"], "appointment" in answer) == ("OUTCOME_UNKNOWN", False)
        clock.seconds += LANDED_SECONDS
        answer = page.book(slot, patient=patient, idempotencyKey=key)

    ehr = Ehr(simulator, "webdoc")
    assert answer["__typename"] == "AppointmentBooked", answer
    assert [each["id"] for each in ehr.appointments()] == [answer["appointment"]["leyrId"]]
    assert len(ehr.writes()) == 1


@pytest.mark.parametrize("asks", ["again", "outcome"])
@pytest.mark.parametrize("patient", [TOLVAN, NUMBER])
def test_a_booking_that_was_not_made_is_denied_when_nothing_can_land_any_more(
    page: Page, simulator: Simulator, clock: Clock, patient: dict[str, Any], asks: str
) -> None:
    slot, key = page.slots()[0], new_key()
    struck(simulator, "cut", write="skipped")

    first = page.book(slot, patient=patient, idempotencyKey=key)
    soon = page.outcome(key)
    clock.seconds += LANDED_SECONDS
    answer = page.outcome(key) if asks == "outcome" else page.book(slot, patient=patient, idempotencyKey=key)

    assert soon is not None
    assert answer is not None
    assert first["__typename"] == soon["__typename"] == "BookingOutcomeUnknown"
    assert (answer["__typename"], answer["reason"]) == ("BookingRefused", "NOT_BOOKED")
    ehr = Ehr(simulator, "webdoc")
    assert (ehr.appointments(), len(ehr.writes())) == ([], 1)
    assert page.book(slot, patient=patient)["__typename"] == "AppointmentBooked"


@pytest.mark.parametrize("patient", [TOLVAN, NUMBER])
def test_a_booking_that_lands_late_is_never_denied(
    page: Page, simulator: Simulator, clock: Clock, simulator_clock: SimulatorClock, patient: dict[str, Any]
) -> None:
    slot, key = page.slots()[0], new_key()
    struck(simulator, "cut", write="late", seconds=LATE_SECONDS)
    early = [page.book(slot, patient=patient, idempotencyKey=key), page.outcome(key)]

    simulator_clock.seconds += LATE_SECONDS
    clock.seconds += LANDED_SECONDS
    answer = page.outcome(key)

    assert [each and each["__typename"] for each in early] == ["BookingOutcomeUnknown"] * 2
    assert answer is not None
    assert answer["__typename"] == "AppointmentBooked"
    assert [each["id"] for each in Ehr(simulator, "webdoc").appointments()] == [answer["appointment"]["leyrId"]]
    assert answer["appointment"]["id"] == page.book(slot, patient=patient, idempotencyKey=key)["appointment"]["id"]


def test_an_ehr_that_lists_nothing_leaves_it_unknown_and_is_not_told_again(
    page: Page, simulator: Simulator, clock: Clock
) -> None:
    anita, slot, key = Ehr(simulator, "anitasystems"), page.slots("anitasystems")[0], new_key()
    struck(simulator, "cut", write="skipped")

    answers = [page.book(slot, patient=OLA, idempotencyKey=key)]
    clock.seconds += LANDED_SECONDS
    answers += [page.book(slot, patient=OLA, idempotencyKey=key), page.outcome(key) or {}]

    assert [each["__typename"] for each in answers] == ["BookingOutcomeUnknown"] * 3
    assert len(anita.writes()) == 1


def test_after_an_unknown_outcome_the_next_wish_is_not_tried(page: Page, simulator: Simulator) -> None:
    first, second, *_ = page.slots()
    struck(simulator, "cut", write="skipped")

    answer = page.book(first, second)

    assert answer["__typename"] == "BookingOutcomeUnknown"
    assert len(Ehr(simulator, "webdoc").writes()) == 1


def test_a_cancellation_that_was_cut_after_the_call_is_found_and_not_sent_again(
    page: Page, simulator: Simulator
) -> None:
    appointment, key = page.book(page.slots()[0])["appointment"]["id"], new_key()
    struck(simulator, "cut", "change_appointment")

    answer = page.cancel(appointment, idempotencyKey=key)

    assert answer["__typename"] == "AppointmentCancelled"
    assert page.cancel(appointment, idempotencyKey=key) == {**answer, "replayed": True}
    assert len(Ehr(simulator, "webdoc").writes("change_appointment")) == 1


def test_what_was_refused_before_it_left_keeps_no_key(page: Page, simulator: Simulator) -> None:
    slot, key = page.slots()[0], new_key()
    struck(simulator, "too_many_requests_bare")

    refused = page.book(slot, idempotencyKey=key)
    answer = page.book(slot, idempotencyKey=key)

    assert (refused["reason"], refused["retryable"], refused["replayed"]) == ("NOT_SENT", True, False)
    assert answer["__typename"] == "AppointmentBooked"
    assert [call["outcome"] for call in Ehr(simulator, "webdoc").writes()] == ["not_written", "booked"]
