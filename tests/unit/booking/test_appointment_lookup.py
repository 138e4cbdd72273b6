"""What may be concluded from an EHR's list about a call that was lost."""

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.booking.appointment_lookup import (
    Evidence,
    Undecided,
    booked,
    booking_query,
    change_queries,
    changed,
    digests_of,
)
from gateway.booking.journal import JournalEntry, JournalState
from gateway.domain.appointments import Appointment
from gateway.domain.booking import BookingStep, Wish
from gateway.domain.booking_answers import ListedAppointment
from tests.unit.booking.model_ehr import START, UNIT, slot

WISH = Wish(slot(), "r1", "s1")
LATER = Wish(slot(120), "r1", "s1")


def appointment(leyr_id: str = "a1", status: str = "booked", wish: Wish = WISH) -> Appointment:
    return Appointment(UNIT, leyr_id, status, wish.timeslot.start.isoformat(), None, wish.resource, wish.service)


def listed(made: Appointment | None = None, patient: str | None = "tolvan") -> ListedAppointment:
    return ListedAppointment(made or appointment(), patient)


def entry(
    *,
    patient: str | None = "tolvan",
    known: Collection[str] | None = (),
    step: BookingStep = BookingStep.BOOK,
    wish: Wish | None = WISH,
) -> JournalEntry:
    return JournalEntry(
        key=b"key",
        step=step,
        caller="page",
        input=b"input",
        state=JournalState.UNKNOWN,
        owner="p1",
        expires_at=START,
        care_unit=UNIT,
        wish=wish,
        sent_at=START,
        patient=None if patient is None else patient.encode(),
        known_appointments=None if known is None else frozenset(each.encode() for each in known),
    )


def digests(leyr_id: str) -> list[bytes]:
    return [leyr_id.encode(), b"under the former secret"]


LANDED = Evidence(digests, digests, has_landed=True)
EARLY = replace(LANDED, has_landed=False)


def test_appointment_of_the_patient_as_asked_is_the_keys() -> None:
    assert booked(entry(), [listed()], EARLY) == appointment()
    # What an EHR leaves out is not otherwise.
    bare = replace(appointment(), resource_id=None, service_id=None)
    assert booked(entry(), [listed(bare)], EARLY) == bare


def test_nothing_is_said_of_an_empty_list_before_all_has_landed() -> None:
    assert booked(entry(), [], EARLY) is Undecided.MAY_LAND
    assert booked(entry(), [], LANDED) is Undecided.NOT_THERE


@pytest.mark.parametrize(
    "other",
    [
        listed(patient="annan"),
        listed(appointment(status="cancelled")),
        listed(appointment("known before")),
        listed(appointment("another key's")),
    ],
)
def test_what_is_explained_otherwise_is_not_the_keys(other: ListedAppointment) -> None:
    evidence = replace(LANDED, others=frozenset({"another key's"}))

    assert booked(entry(known=["known before"]), [other], evidence) is Undecided.NOT_THERE
    assert booked(entry(known=["known before"]), [other, listed()], evidence) == appointment()


@pytest.mark.parametrize(
    "found",
    [
        [listed(), listed(appointment("a2"))],
        [listed(appointment(wish=LATER))],
        [listed(appointment(wish=Wish(slot(), "r2", "s1")))],
        [listed(appointment(wish=Wish(slot(), "r1", "s2")))],
        [listed(patient=None)],
    ],
)
def test_what_may_be_the_keys_or_not_stays_unknown(found: list[ListedAppointment]) -> None:
    assert booked(entry(), found, LANDED) is Undecided.NOT_CERTAIN
    assert booked(entry(known=None), found, LANDED) is Undecided.NOT_CERTAIN


def test_patient_without_leyr_id_has_the_only_new_appointment_once_all_has_landed() -> None:
    new, old = listed(patient="whoever"), listed(appointment("old"), "somebody")
    unknown = entry(patient=None, known=["old"])

    assert booked(unknown, [old, new], LANDED) == appointment()
    assert booked(unknown, [old, new], EARLY) is Undecided.NOT_CERTAIN
    assert booked(unknown, [old], LANDED) is Undecided.NOT_THERE
    assert booked(unknown, [old, new, listed(appointment("a2"), "another")], LANDED) is Undecided.NOT_CERTAIN
    # At other times and resources the clinic's work goes on.
    assert booked(unknown, [listed(appointment(wish=LATER), "whoever")], LANDED) is Undecided.NOT_THERE


def test_patient_without_leyr_id_has_none_where_it_was_not_asked_before() -> None:
    assert booked(entry(patient=None, known=None), [listed()], LANDED) is Undecided.NOT_CERTAIN
    assert booked(entry(patient=None, known=None), [], LANDED) is Undecided.NOT_THERE


def test_list_by_patient_without_patients_counts_as_of_nobody_known() -> None:
    by_patient = replace(LANDED, by_patient=True)

    assert booked(entry(), [listed(patient=None)], by_patient) == appointment()
    assert booked(entry(known=None), [listed(patient=None)], by_patient) is Undecided.NOT_CERTAIN


def test_appointment_that_another_key_of_the_patient_asked_for_does_not_leave_this_one_unknown() -> None:
    other = replace(entry(wish=LATER), key=b"other")
    stranger = replace(entry(wish=LATER, patient="annan"), key=b"other")
    found = [listed(appointment(wish=LATER))]

    assert booked(entry(), found, replace(LANDED, unsettled=[other])) is Undecided.NOT_THERE
    assert booked(entry(), found, replace(LANDED, unsettled=[stranger])) is Undecided.NOT_CERTAIN
    # As asked by both, it may be either's.
    assert booked(entry(), [listed()], replace(LANDED, unsettled=[replace(entry(), key=b"other")])) == appointment()


def test_list_by_patient_that_names_another_patient_may_name_him_by_another_id() -> None:
    by_patient = replace(LANDED, by_patient=True)

    assert booked(entry(), [listed(patient="e-tolvan")], by_patient) is Undecided.NOT_CERTAIN
    assert booked(entry(), [listed(appointment(wish=LATER), "e-tolvan")], by_patient) is Undecided.NOT_THERE
    assert booked(entry(), [listed(patient="annan")], LANDED) is Undecided.NOT_THERE


@pytest.mark.parametrize("patient", ["e-tolvan", "emr_id:e-tolvan", "emr_id:tolvan"])
def test_patient_whom_the_list_names_by_the_ehrs_id_has_the_only_new_appointment(patient: str) -> None:
    found = replace(entry(), emr_patient=b"e-tolvan")

    assert booked(found, [listed(patient=patient)], LANDED) == appointment()
    assert booked(found, [listed(patient=patient)], EARLY) is Undecided.NOT_CERTAIN
    assert booked(replace(found, known_appointments=None), [listed(patient=patient)], LANDED) is Undecided.NOT_CERTAIN
    assert booked(found, [listed(patient="annan")], LANDED) is Undecided.NOT_THERE


def test_a_list_with_rows_that_cannot_be_read_never_says_that_nothing_was_booked() -> None:
    partly = replace(LANDED, is_complete=False)

    assert booked(entry(), [], partly) is Undecided.NOT_CERTAIN
    assert booked(entry(patient=None), [listed(patient="whoever")], partly) is Undecided.NOT_CERTAIN
    assert booked(entry(), [listed()], partly) == appointment()


@pytest.mark.parametrize(
    ("rival", "expected"),
    [
        # It was there before the rival's call: it is this key's.
        (entry(known=["a1"]), appointment()),
        # It was not: it is the rival's.
        (entry(known=[]), Undecided.NOT_THERE),
        (entry(patient=None, known=[]), Undecided.NOT_THERE),
        (entry(known=None), Undecided.NOT_CERTAIN),
        # The rival's would be another patient's, or at another time.
        (entry(patient="annan", known=[]), appointment()),
        (entry(known=[], wish=LATER), appointment()),
    ],
)
def test_rival_whose_call_left_later_explains_what_came_after(
    rival: JournalEntry, expected: Appointment | Undecided
) -> None:
    assert booked(entry(), [listed()], replace(LANDED, rivals=[rival])) == expected


def test_entry_that_lacks_its_wish_is_not_certain() -> None:
    assert booked(entry(wish=None), [], LANDED) is Undecided.NOT_CERTAIN


AWAITING, CANCELLED = appointment(status="awaiting_confirmation"), appointment(status="cancelled")
MOVED = appointment(wish=LATER)
ODD = appointment(status="whatever")


@pytest.mark.parametrize(
    ("step", "before", "found", "expected"),
    [
        (BookingStep.CANCEL, appointment(), CANCELLED, CANCELLED),
        (BookingStep.CANCEL, appointment(), AWAITING, AWAITING),
        (BookingStep.CANCEL, AWAITING, AWAITING, Undecided.NOT_CERTAIN),
        (BookingStep.CANCEL, appointment(), appointment(), Undecided.NOT_THERE),
        (BookingStep.CANCEL, appointment(), None, Undecided.NOT_CERTAIN),
        (BookingStep.CONFIRM, AWAITING, appointment(), appointment()),
        (BookingStep.CONFIRM, AWAITING, CANCELLED, CANCELLED),
        (BookingStep.CONFIRM, AWAITING, AWAITING, Undecided.NOT_THERE),
        (BookingStep.CONFIRM, AWAITING, ODD, Undecided.NOT_CERTAIN),
        (BookingStep.RESCHEDULE, appointment(), MOVED, MOVED),
        (BookingStep.RESCHEDULE, appointment(), appointment(), Undecided.NOT_THERE),
        (BookingStep.RESCHEDULE, appointment(), CANCELLED, Undecided.NOT_CERTAIN),
        (BookingStep.RESCHEDULE, appointment(), appointment(wish=Wish(slot(300), "r1", "s1")), Undecided.NOT_CERTAIN),
    ],
)
def test_change_is_told_by_the_appointment(
    step: BookingStep, before: Appointment, found: Appointment | None, expected: Appointment | Undecided
) -> None:
    kept = entry(step=step, wish=LATER if step is BookingStep.RESCHEDULE else None)
    rows = [listed(appointment("another"))] + ([] if found is None else [listed(found)])

    assert changed(kept, before, rows, has_landed=True) == expected
    early = Undecided.MAY_LAND if expected is Undecided.NOT_THERE else expected
    assert changed(kept, before, rows, has_landed=False) == early


def test_question_names_the_patient_by_leyr_id_or_the_resource_and_the_time() -> None:
    by_patient, by_time = booking_query(WISH, "tolvan"), booking_query(WISH, None)

    assert (by_patient.patient_id, by_patient.resource) == ("tolvan", None)
    assert (by_time.patient_id, by_time.resource) == (None, "r1")
    assert by_time.when.start < slot().start < by_time.when.end


def test_no_id_that_may_be_a_personal_number_is_part_of_a_question() -> None:
    number = "191212121212"
    odd = Wish(slot(), number, "s1")

    assert booking_query(odd, number).patient_id is None
    assert booking_query(odd, number).resource is None
    assert [each.resource for each in change_queries(appointment(wish=odd), LATER)] == [None, "r1"]


def test_moved_appointment_is_looked_for_in_both_places_once() -> None:
    here = Wish(replace(slot(), end=slot().start + timedelta(minutes=1)), "r1", "s1")

    assert len(change_queries(appointment(wish=here), here)) == 1
    assert len(change_queries(appointment(), LATER)) == 2


def test_listed_appointments_are_kept_as_digests() -> None:
    assert digests_of([listed()], lambda leyr_id: leyr_id.encode()) == {b"a1"}
