"""What an EHR's list of appointments says about a call whose outcome was lost, and what may be concluded from it.

An appointment counts as the one that a key booked only where nothing else explains it: it was not listed before the
call, it is no other key's, and it is of the same patient at the very time and resource. Where the patient's Leyr id is
not known, a single new appointment at that time and resource counts, once nothing of the call can land any more. That
nothing was booked is said only then, too. All else stays unknown.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TypeAlias

from gateway.booking.journal import JournalEntry
from gateway.domain.appointments import Appointment, AppointmentStatus, TimeRange
from gateway.domain.booking import BookingStep, Wish
from gateway.domain.booking_answers import ListedAppointment
from gateway.domain.personal_numbers import may_hide_a_personal_number
from gateway.domain.timeslots import instant

# What an EHR booked otherwise than asked begins on the same day, as a rule.
_AROUND = timedelta(hours=12)
_AROUND_WITHOUT_RESOURCE = timedelta(hours=2)


class Undecided(StrEnum):
    """Why a look-up settles nothing yet, or that it settles that there is no trace of the call."""

    NOT_THERE = "not there"
    """Nothing that the call asked for is there, and nothing of it can land any more."""
    MAY_LAND = "may land"
    """Nothing is there, but the call may still land."""
    NOT_CERTAIN = "not certain"
    """Something is there that may be the call's or not."""


Verdict: TypeAlias = Appointment | Undecided


@dataclass(frozen=True, slots=True)
class LookupQuery:
    """A question to the EHR's list of appointments."""

    when: TimeRange
    resource: str | None = None
    patient_id: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known beside the EHR's list.

    `digests` are those of an appointment, `patient_digests` those of a patient, by Leyr's ids and under every accepted
    secret. `others` are the appointments of other keys; `rivals` are other keys whose calls for the same time left
    later, when nothing of this one's could land any more, and are not settled; `unsettled` are all other keys of about
    the time that are not. `by_patient` says whether the list was
    asked for the patient's alone, `has_landed` whether it was asked when nothing of the call could land any more, and
    `is_complete` whether all of it could be read.
    """

    digests: Callable[[str], Collection[bytes]]
    patient_digests: Callable[[str], Collection[bytes]]
    others: Collection[str] = ()
    rivals: Sequence[JournalEntry] = ()
    unsettled: Sequence[JournalEntry] = ()
    by_patient: bool = False
    has_landed: bool = False
    is_complete: bool = True


def booking_query(wish: Wish, patient_id: str | None) -> LookupQuery:
    """The question that shows what a booking came to: by Leyr's id of the patient, or by the resource and the time."""
    when = time_of(wish)
    if patient_id is not None and not may_hide_a_personal_number(patient_id):
        return LookupQuery(_around(when, _AROUND), patient_id=patient_id)
    return _by_time(when, wish.resource)


def change_queries(before: Appointment, wish: Wish | None) -> Sequence[LookupQuery]:
    """The questions that show an appointment where it was, and where a move may have put it."""
    where_it_was = _by_time(time_of_appointment(before), before.resource_id)
    if wish is None:
        return (where_it_was,)
    moved = _by_time(time_of(wish), wish.resource)
    return tuple(dict.fromkeys((where_it_was, moved)))


def _by_time(when: TimeRange, resource: str | None) -> LookupQuery:
    # Questions are URLs, in which no id may stand that may be a personal number.
    if resource is None or may_hide_a_personal_number(resource):
        return LookupQuery(_around(when, _AROUND_WITHOUT_RESOURCE))
    return LookupQuery(_around(when, _AROUND), resource=resource)


def time_of(wish: Wish) -> TimeRange:
    """When a wish takes its resource's time."""
    return TimeRange.of(wish.timeslot.start, wish.timeslot.end)


def time_of_appointment(appointment: Appointment) -> TimeRange:
    """When an appointment does."""
    return TimeRange.of(instant(appointment.start), None if appointment.end is None else instant(appointment.end))


def digests_of(listed: Iterable[ListedAppointment], digest: Callable[[str], bytes]) -> frozenset[bytes]:
    """What is kept of the appointments that were listed before a call."""
    return frozenset(digest(each.appointment.leyr_id) for each in listed)


def booked(entry: JournalEntry, listed: Iterable[ListedAppointment], evidence: Evidence) -> Verdict:
    """What the list says about a booking: its appointment, or that there is none, or nothing."""
    if entry.wish is None:
        return Undecided.NOT_CERTAIN
    same, unsaid, elsewhere = _sorted_out(entry, entry.wish, listed, evidence)
    if len(same) == 1:
        return same[0]
    if same or elsewhere or not evidence.is_complete:
        # Two that fit, or one that the EHR may have booked otherwise than asked, or that is in no row that can be read.
        return Undecided.NOT_CERTAIN
    if not unsaid:
        return Undecided.NOT_THERE if evidence.has_landed else Undecided.MAY_LAND
    is_only_new_one = len(unsaid) == 1 and entry.known_appointments is not None
    return unsaid[0] if is_only_new_one and evidence.has_landed else Undecided.NOT_CERTAIN


def _sorted_out(
    entry: JournalEntry, wish: Wish, listed: Iterable[ListedAppointment], evidence: Evidence
) -> tuple[list[Appointment], list[Appointment], list[Appointment]]:
    """The unexplained appointments: as asked and the patient's; as asked, of a patient unknown; and what may be his."""
    same: list[Appointment] = []
    unsaid: list[Appointment] = []
    elsewhere: list[Appointment] = []
    for each in listed:
        appointment = each.appointment
        if appointment.status is AppointmentStatus.CANCELLED or appointment.leyr_id in evidence.others:
            continue
        if not (entry.known_appointments or frozenset()).isdisjoint(evidence.digests(appointment.leyr_id)):
            continue
        is_a_rivals = _is_a_rivals(each, evidence)
        if is_a_rivals:
            continue
        is_as_asked = _is_as_asked(appointment, wish)
        if not is_as_asked and _is_as_another_asked(each, evidence):
            continue
        is_of_patient = _is_of_patient(entry, each, evidence)
        if is_a_rivals is None and is_as_asked:
            elsewhere.append(appointment)
        elif is_of_patient:
            (same if is_as_asked else elsewhere).append(appointment)
        elif is_of_patient is None and is_as_asked:
            # What was listed before the call were the patient's alone, so another's may have been there.
            is_new = entry.patient is None or evidence.by_patient or _is_named_by_ehr(entry, each, evidence)
            (unsaid if is_new else elsewhere).append(appointment)
        elif evidence.by_patient and is_as_asked:
            # The EHR was asked for the patient's alone, and may list them under another id.
            elsewhere.append(appointment)
    return same, unsaid, elsewhere


def _is_of_patient(entry: JournalEntry, listed: ListedAppointment, evidence: Evidence) -> bool | None:
    """Whether an appointment is of a key's patient; None where that is not known."""
    if entry.patient is None or listed.patient_id is None:
        return None
    if entry.patient in evidence.patient_digests(listed.patient_id):
        return True
    # Another patient's Leyr id may be the same text.
    return None if _is_named_by_ehr(entry, listed, evidence) else False


def _is_named_by_ehr(entry: JournalEntry, listed: ListedAppointment, evidence: Evidence) -> bool:
    """Whether an appointment is of whom the EHR itself calls so (leyr-api 3.2), as lists may instead of Leyr's id."""
    if listed.patient_id is None:
        return False
    digests = evidence.patient_digests(listed.patient_id.removeprefix("emr_id:"))
    return any(each in digests for each in (entry.emr_patient, entry.patient))


def _is_as_another_asked(listed: ListedAppointment, evidence: Evidence) -> bool:
    """Whether an appointment is what another key of the same patient asked for, that is not settled either."""
    return any(
        other.wish is not None
        and _is_as_asked(listed.appointment, other.wish)
        and _is_of_patient(other, listed, evidence) is True
        for other in evidence.unsettled
    )


def _is_a_rivals(listed: ListedAppointment, evidence: Evidence) -> bool | None:
    """Whether an appointment was not there yet when a rival's call left; None where that is not known."""
    digests = evidence.digests(listed.appointment.leyr_id)
    for rival in evidence.rivals:
        is_of_patient = _is_of_patient(rival, listed, evidence)
        if is_of_patient is False or rival.wish is None or not _is_as_asked(listed.appointment, rival.wish):
            continue
        has_told = rival.known_appointments is not None and (rival.patient is None or listed.patient_id is not None)
        if not has_told:
            return None
        if (rival.known_appointments or frozenset()).isdisjoint(digests):
            return True
    return False


def changed(
    entry: JournalEntry, before: Appointment, listed: Iterable[ListedAppointment], *, has_landed: bool
) -> Verdict:
    """What the list says about a confirmation, a cancellation or a move of an appointment that was known before."""
    found = next((each.appointment for each in listed if each.appointment.leyr_id == before.leyr_id), None)
    if found is None:
        # EHRs may leave out what is cancelled, or give what waits for a code another id.
        return Undecided.NOT_CERTAIN
    unchanged = Undecided.NOT_THERE if has_landed else Undecided.MAY_LAND
    match entry.step:
        case BookingStep.CANCEL:
            return _cancelled(before, found, unchanged)
        case BookingStep.CONFIRM:
            return _confirmed(found, unchanged)
        case _:
            return _moved(entry, before, found, unchanged)


def _cancelled(before: Appointment, found: Appointment, unchanged: Undecided) -> Verdict:
    if found.status is AppointmentStatus.CANCELLED:
        return found
    if found.status is AppointmentStatus.AWAITING_CONFIRMATION:
        # It may have waited before, for the code of its booking.
        return found if before.status is AppointmentStatus.BOOKED else Undecided.NOT_CERTAIN
    return unchanged


def _confirmed(found: Appointment, unchanged: Undecided) -> Verdict:
    if found.status is AppointmentStatus.AWAITING_CONFIRMATION:
        return unchanged
    return Undecided.NOT_CERTAIN if found.status is AppointmentStatus.UNKNOWN else found


def _moved(entry: JournalEntry, before: Appointment, found: Appointment, unchanged: Undecided) -> Verdict:
    if found.status is AppointmentStatus.CANCELLED or entry.wish is None:
        return Undecided.NOT_CERTAIN
    if _is_as_asked(found, entry.wish, service=False):
        return found
    is_where_it_was = instant(found.start) == instant(before.start) and found.resource_id == before.resource_id
    return unchanged if is_where_it_was else Undecided.NOT_CERTAIN


def _is_as_asked(appointment: Appointment, wish: Wish, *, service: bool = True) -> bool:
    return (
        instant(appointment.start) == wish.timeslot.start
        and (None in (appointment.resource_id, wish.resource) or appointment.resource_id == wish.resource)
        and (not service or None in (appointment.service_id, wish.service) or appointment.service_id == wish.service)
    )


def _around(when: TimeRange, room: timedelta) -> TimeRange:
    try:
        return TimeRange(when.start - room, when.end + room)
    except OverflowError:
        return when
