"""What a key comes to, sentence by sentence."""

from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.booking.dependencies import BookingConfig
from gateway.booking.journal import JournalState
from gateway.booking.key_decision import ACTIONS, KeyAction, Worker, decide
from gateway.booking.requests import CancelRequest
from gateway.domain.booking import (
    Booked,
    BookingFailureReason,
    BookingResult,
    Cancelled,
    Refused,
    Taken,
    Unknown,
)
from gateway.domain.errors import BadUserInput, UpstreamUnavailable
from gateway.domain.patients import Patient, PatientByEmrId, PatientByLeyrId, PatientDetails
from tests.unit.booking.asking import NUMBER, TOLVAN, Reason, appointment_of, book, reason, request
from tests.unit.booking.model_ehr import UNIT, Fate, ModelDigests, slot
from tests.unit.booking.processes import Machine


def test_table_has_an_action_for_each_state_and_worker() -> None:
    assert set(ACTIONS) == {(state, worker) for state in JournalState for worker in Worker}
    assert decide(None, b"input", Worker.NOBODY) is KeyAction.BEGIN


def test_key_again_replays_its_first_outcome_without_a_call(machine: Machine) -> None:
    process = machine.process()
    first = book(machine, process, "key")

    again = book(machine, machine.process(), "key")

    assert not first.replayed
    assert again == replace(first, replayed=True)
    assert machine.ehr.calls == ["list", "book"]


def test_key_with_other_input_is_a_mismatch_that_shows_nothing(machine: Machine) -> None:
    process = machine.process()
    book(machine, process, "key")

    other = book(machine, process, "key", request(patient=NUMBER))

    assert other == BookingResult(Refused(Reason.KEY_MISMATCH))


def test_key_with_other_input_is_a_mismatch_while_the_first_is_under_way(machine: Machine) -> None:
    process = machine.process()
    first = machine.start(process, process.bookings.book("page", "key", request()))
    machine.wait(0.1)

    assert reason(book(machine, process, "key", request(slot(120))).outcome) is Reason.KEY_MISMATCH
    machine.wait(5)
    assert isinstance(first.result().outcome, Booked)


def test_keys_of_two_callers_and_of_two_steps_are_apart(machine: Machine) -> None:
    process = machine.process()
    first = book(machine, process, "key")
    other = machine.run(process, process.bookings.book("other page", "key", request(slot(120))))

    cancelled = machine.run(process, process.bookings.cancel("page", "key", CancelRequest(UNIT, appointment_of(first))))

    assert isinstance(other.outcome, Booked)
    assert isinstance(cancelled.outcome, Cancelled)


def test_former_secret_finds_what_was_kept_under_it(machine: Machine) -> None:
    first = book(machine, machine.process(), "key")
    machine.digests = ModelDigests(b"new secret", b"secret")

    assert book(machine, machine.process(), "key") == replace(first, replayed=True)
    assert reason(book(machine, machine.process(), "key", request(slot(120))).outcome) is Reason.KEY_MISMATCH


def test_one_in_flight_is_awaited_then_in_progress(machine: Machine) -> None:
    machine.config = BookingConfig(wait_seconds=3)
    machine.ehr.seconds = 10
    here, there = machine.process(), machine.process()
    first = machine.start(here, here.bookings.book("page", "key", request()))
    machine.wait(2)

    assert reason(book(machine, here, "key").outcome) is Reason.IN_PROGRESS
    assert reason(book(machine, there, "key").outcome) is Reason.IN_PROGRESS
    assert reason(first.result().outcome) is Reason.IN_PROGRESS
    machine.wait(20)
    assert isinstance(book(machine, there, "key").outcome, Booked)
    assert machine.ehr.calls.count("book") == 1


def test_work_goes_on_when_the_client_leaves(machine: Machine) -> None:
    process = machine.process()
    first = machine.start(process, process.bookings.book("page", "key", request()))
    machine.wait(0.5)
    first.cancel()
    machine.wait(5)

    result = book(machine, process, "key")
    assert isinstance(result.outcome, Booked)
    assert result.replayed


def test_claimed_by_a_dead_process_is_taken_over(machine: Machine) -> None:
    dead = machine.process()
    dead.steps_left = 5
    machine.start(dead, dead.bookings.book("page", "key", request()))
    machine.wait(1)
    machine.kill(dead)
    assert [each.state for each in machine.store.entries.values()] == [JournalState.CLAIMED]

    assert isinstance(book(machine, machine.process(), "key").outcome, Booked)


@pytest.mark.parametrize("fate", [Fate.ANSWERED, Fate.LOST_BEFORE])
def test_sent_by_a_dead_process_is_never_sent_again(machine: Machine, fate: Fate) -> None:
    machine.ehr.seconds = 4
    machine.ehr.fate = lambda: fate
    dead = machine.process()
    machine.start(dead, dead.bookings.book("page", "key", request()))
    machine.wait(1)
    machine.kill(dead)

    process = machine.process()
    assert isinstance(book(machine, process, "key").outcome, Unknown)
    machine.wait(40)
    settled = book(machine, process, "key")

    assert (
        isinstance(settled.outcome, Booked) if fate is Fate.ANSWERED else reason(settled.outcome) is Reason.NOT_BOOKED
    )
    assert machine.ehr.calls.count("book") == 1


def test_not_sent_keeps_no_key_and_may_be_tried_again(machine: Machine) -> None:
    process = machine.process()
    machine.ehr.fate = lambda: Fate.NOT_SENT
    refused = book(machine, process, "key").outcome
    assert reason(refused) is Reason.NOT_SENT
    assert isinstance(refused, Refused)
    assert refused.retryable
    assert refused.retry_after == 2.0
    assert machine.store.entries == {}

    machine.ehr.fate = lambda: Fate.ANSWERED
    assert isinstance(book(machine, process, "key", request(slot(120))).outcome, Booked)


def test_refusal_of_a_sent_call_is_kept(machine: Machine) -> None:
    process = machine.process()
    machine.ehr.fate = lambda: Fate.REFUSED
    first = book(machine, process, "key")
    machine.ehr.fate = lambda: Fate.ANSWERED

    assert reason(first.outcome) is Reason.REJECTED_BY_EHR
    assert book(machine, process, "key") == replace(first, replayed=True)


def test_forgotten_key_meets_a_past_slot_without_a_call(machine: Machine) -> None:
    process = machine.process()
    book(machine, process, "key")
    (entry,) = machine.store.entries.values()
    assert entry.expires_at == slot().start + timedelta(hours=1)
    machine.wait((entry.expires_at - machine.now()).total_seconds() + 1)
    calls = list(machine.ehr.calls)

    assert reason(book(machine, process, "key").outcome) is Reason.TIMESLOT_EXPIRED
    assert machine.ehr.calls == calls


def test_slot_beyond_the_calendar_is_bad_input(machine: Machine) -> None:
    odd = replace(slot(), start=slot().start.replace(year=9999), end=None)

    with pytest.raises(BadUserInput):
        book(machine, machine.process(), "key", request(odd))


def test_next_wish_is_tried_after_taken_only(machine: Machine) -> None:
    process = machine.process()
    book(machine, process, "other")

    assert appointment_of(book(machine, process, "key", request(slot(), slot(120)))) == "a1"
    taken = book(machine, process, "third", request(slot(), slot(120))).outcome
    assert taken == Taken((slot(), slot(120)))


def test_next_wish_is_not_tried_after_unknown(machine: Machine) -> None:
    process = machine.process()
    machine.ehr.fate = lambda: Fate.LOST_BEFORE

    assert isinstance(book(machine, process, "key", request(slot(), slot(120))).outcome, Unknown)
    machine.wait(100)
    assert reason(book(machine, process, "key", request(slot(), slot(120))).outcome) is Reason.NOT_BOOKED
    assert machine.ehr.calls.count("book") == 1


def test_details_are_found_or_made_first(machine: Machine) -> None:
    process = machine.process()
    details = PatientDetails("Tolvan", "Tolvansson")

    assert isinstance(book(machine, process, "key", request(patient=details)).outcome, Booked)
    assert machine.ehr.calls == ["patient", "list", "book"]


@pytest.mark.parametrize(
    ("fate", "expected", "kept"),
    [
        (Fate.REFUSED, Reason.PATIENT_REJECTED, 1),
        (Fate.NOT_SENT, Reason.NOT_SENT, 0),
        (Fate.LOST_AFTER, Reason.NOT_SENT, 0),
    ],
)
def test_patient_that_cannot_be_found_books_nothing(
    machine: Machine, fate: Fate, expected: BookingFailureReason, kept: int
) -> None:
    machine.ehr.fate = lambda: fate
    outcome = book(machine, machine.process(), "key", request(patient=PatientDetails("A", "B"))).outcome

    assert reason(outcome) is expected
    assert "book" not in machine.ehr.calls
    assert len(machine.store.entries) == kept


@pytest.mark.parametrize("patient", [TOLVAN, PatientDetails("Tolvan", "Tolvansson")])
def test_lost_call_is_found_at_once_where_it_landed(machine: Machine, patient: Patient) -> None:
    fates = [Fate.LOST_AFTER] if isinstance(patient, PatientByLeyrId) else [Fate.LOST_AFTER, Fate.ANSWERED]
    machine.ehr.fate = fates.pop

    assert isinstance(book(machine, machine.process(), "key", request(patient=patient)).outcome, Booked)


@pytest.mark.parametrize("patient", [NUMBER, PatientByEmrId("x")])
def test_patient_without_leyr_id_is_told_when_nothing_can_land_any_more(machine: Machine, patient: Patient) -> None:
    machine.ehr.fate = lambda: Fate.LOST_AFTER
    process = machine.process()
    asked = request(patient=patient)

    first = book(machine, process, "key", asked).outcome
    assert isinstance(first, Unknown)
    machine.wait((first.ask_again_after - machine.now()).total_seconds())
    machine.ehr.fate = lambda: Fate.ANSWERED
    assert isinstance(machine.run(process, process.bookings.outcome("page", "key")).outcome, Booked)


@pytest.mark.parametrize("seconds", [0, 20, 30])
def test_unknown_is_to_be_asked_again_as_soon_as_nothing_can_land_any_more(machine: Machine, seconds: int) -> None:
    machine.ehr.fate = lambda: Fate.LOST_BEFORE
    process = machine.process()
    lands_until = machine.now() + machine.config.landing
    book(machine, process, "key")
    machine.wait(seconds)

    again = machine.run(process, process.bookings.outcome("page", "key")).outcome

    assert isinstance(again, Unknown)
    assert timedelta(0) <= again.ask_again_after - lands_until < timedelta(seconds=1)


def test_unknown_stays_unknown_where_the_ehr_lists_nothing(machine: Machine) -> None:
    machine.ehr.lists = False
    machine.ehr.fate = lambda: Fate.LOST_AFTER
    process = machine.process()
    first = book(machine, process, "key").outcome
    machine.wait(300)

    again = machine.run(process, process.bookings.outcome("page", "key"))
    assert isinstance(first, Unknown)
    assert first.reference == "reference"
    assert isinstance(again.outcome, Unknown)
    assert machine.ehr.calls.count("book") == 1
    # That it lists nothing is found out once.
    assert machine.ehr.calls.count("list") == 1


def test_not_booked_is_said_only_when_nothing_can_land(machine: Machine) -> None:
    machine.ehr.fate = lambda: Fate.LANDS_LATE
    process = machine.process()
    assert isinstance(book(machine, process, "key").outcome, Unknown)
    machine.wait(3)
    assert isinstance(machine.run(process, process.bookings.outcome("page", "key")).outcome, Unknown)
    machine.wait(6)
    found = machine.run(process, process.bookings.outcome("page", "key"))
    assert isinstance(found.outcome, Booked)


def test_outcome_never_books(machine: Machine) -> None:
    process = machine.process()

    assert machine.run(process, process.bookings.outcome("page", "key")) is None
    dead = machine.process()
    dead.steps_left = 5
    machine.start(dead, dead.bookings.book("page", "key", request()))
    machine.wait(1)
    machine.kill(dead)
    assert reason(machine.run(process, process.bookings.outcome("page", "key")).outcome) is Reason.NOT_SENT
    assert machine.ehr.calls == []


def test_broken_journal_takes_no_booking_and_says_so(machine: Machine) -> None:
    machine.store.is_broken = True
    process = machine.process()

    assert reason(book(machine, process, "key").outcome) is Reason.NOT_SENT
    assert machine.ehr.calls == []
    with pytest.raises(UpstreamUnavailable):
        machine.run(process, process.bookings.outcome("page", "key"))


def test_outcome_that_cannot_be_written_is_told_and_written_later(machine: Machine) -> None:
    process = machine.process()
    first = machine.start(process, process.bookings.book("page", "key", request()))
    machine.wait(0.5)
    machine.store.is_broken = True
    machine.wait(3)
    told = first.result()
    again = book(machine, process, "key")

    assert isinstance(told.outcome, Booked)
    assert again == replace(told, replayed=True)
    machine.store.is_broken = False
    machine.wait(10)
    machine.kill(process)
    assert book(machine, machine.process(), "key") == replace(told, replayed=True)


def test_refusal_before_a_call_that_cannot_be_kept_is_not_told(machine: Machine) -> None:
    process, asked = machine.process(), request(patient=PatientDetails("Tolvan", "Tolvansson"))
    machine.ehr.fate = lambda: Fate.REFUSED
    machine.store.breaks_after_claim = True
    told = book(machine, process, "key", asked).outcome
    machine.store.breaks_after_claim = machine.store.is_broken = False
    machine.wait(10)

    assert reason(told) is Reason.NOT_SENT
    assert reason(book(machine, process, "key", asked).outcome) is Reason.PATIENT_REJECTED
