"""Looking up what became of a call, and reading an appointment: one question at a time for each key."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial

from gateway.booking.appointment_lookup import (
    Evidence,
    LookupQuery,
    Undecided,
    Verdict,
    booked,
    booking_query,
    change_queries,
    changed,
    time_of,
    time_of_appointment,
)
from gateway.booking.dependencies import BookingDependencies
from gateway.booking.journal import Hold, JournalEntry, JournalState, JournalUnavailableError
from gateway.booking.outcomes import done, of_booked, of_changed
from gateway.domain.appointments import Appointment
from gateway.domain.booking import (
    BookingFailureReason,
    BookingStep,
    Outcome,
    Refused,
    Unknown,
    Wish,
)
from gateway.domain.booking_answers import AppointmentList, ListedAppointment
from gateway.domain.errors import GatewayError, NotSupported, UpstreamInvalidAnswer
from gateway.domain.models import CareUnitKey

_SOON = timedelta(seconds=30)
_WHERE_NOT_LISTED = timedelta(hours=1)


class Lookups:
    """The look-ups of a process; `on_settled` is called with the key of each that found out."""

    def __init__(self, dependencies: BookingDependencies, on_settled: Callable[[bytes], None]) -> None:
        self._needs = dependencies
        self._on_settled = on_settled
        self._under_way: dict[bytes, asyncio.Task[Outcome | None]] = {}

    async def resolve(
        self, entry: JournalEntry, patient_id: str | None, seconds: float | None = None
    ) -> Outcome | None:
        """What became of what a key sent; None where the journal says it meanwhile, or another process is at it.

        `patient_id` is Leyr's, where the one who asks names the patient so. Raises JournalUnavailableError, and
        TimeoutError for who waits so many seconds; the look-up goes on for others.
        """
        task = self._under_way.get(entry.key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._resolve(entry, patient_id))
            self._under_way[entry.key] = task
            task.add_done_callback(partial(self._on_done, entry.key))
        # Not the task's own await, which would be cancelled with a look-up that ends as the process stops.
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise TimeoutError
        return Unknown(self._needs.now() + _SOON) if task.cancelled() else task.result()

    async def read(self, care_unit: CareUnitKey, leyr_id: str) -> Appointment | None:
        """An appointment as the EHR lists it now; None where it lists none. Raises domain errors.

        Raises JournalUnavailableError.
        """
        if not self._needs.lists_appointments(care_unit):
            raise NotSupported("The EHR does not list appointments")
        known = (await self._needs.journal.known(care_unit, [leyr_id])).get(leyr_id)
        if known is None:
            return None
        listed = await self._listed(care_unit, change_queries(known, None))
        found = next((each.appointment for each in listed.items if each.appointment.leyr_id == leyr_id), None)
        if found is None and not listed.is_complete:
            raise UpstreamInvalidAnswer("The EHR's list of appointments cannot be read in full")
        return found

    async def close(self) -> None:
        """End the look-ups that are under way: whoever asks later begins anew."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _on_done(self, key: bytes, task: "asyncio.Task[Outcome | None]") -> None:
        del self._under_way[key]
        if not task.cancelled():
            task.exception()

    async def _resolve(self, entry: JournalEntry, patient_id: str | None) -> Outcome | None:
        taken = await self._needs.journal.take_over(entry)
        if taken is None or taken.state is not JournalState.UNKNOWN or taken.sent_at is None:
            return None
        now = self._needs.now()
        landed_at = taken.sent_at + self._needs.config.landing
        try:
            verdict = await self._verdict(taken, patient_id, has_landed=now >= landed_at)
        except NotSupported:
            return Unknown(now + _WHERE_NOT_LISTED)
        except GatewayError:
            return Unknown(landed_at if landed_at > now else now + _SOON)
        outcome = self._outcome(taken, verdict)
        await self._needs.free_times.tell_others()
        if outcome is None:
            return Unknown(landed_at if landed_at > now else now + _SOON)
        return await self._settled(taken, outcome)

    async def _settled(self, entry: JournalEntry, outcome: Outcome) -> Outcome | None:
        try:
            if not await self._needs.journal.write(done(entry, outcome)):
                return None
        except JournalUnavailableError:
            # It is certain all the same, and whoever looks it up again finds the same.
            return outcome
        self._on_settled(entry.key)
        return outcome

    async def _verdict(self, entry: JournalEntry, patient_id: str | None, *, has_landed: bool) -> Verdict:
        """What the EHR's list says. Raises domain errors and JournalUnavailableError."""
        care_unit = entry.care_unit if entry.wish is None else entry.wish.timeslot.care_unit
        if not self._needs.lists_appointments(care_unit):
            raise NotSupported("The EHR does not list appointments")
        if entry.step is BookingStep.BOOK and entry.wish is not None:
            query = booking_query(entry.wish, patient_id)
            listed = await self._listed(care_unit, [query])
            evidence = await self._evidence(entry, entry.wish, query, listed)
            is_by_patient = query.patient_id is not None
            return booked(entry, listed.items, replace(evidence, by_patient=is_by_patient, has_landed=has_landed))
        if entry.appointment is None:
            return Undecided.NOT_CERTAIN
        before = (await self._needs.journal.known(care_unit, [entry.appointment])).get(entry.appointment)
        if before is None:
            return Undecided.NOT_CERTAIN
        listed = await self._listed(care_unit, change_queries(before, entry.wish))
        return changed(entry, before, listed.items, has_landed=has_landed)

    async def _evidence(self, entry: JournalEntry, wish: Wish, query: LookupQuery, listed: AppointmentList) -> Evidence:
        digests, journal, care_unit = self._needs.digests, self._needs.journal, wish.timeslot.care_unit
        others = await journal.known(care_unit, [each.appointment.leyr_id for each in listed.items])
        held = Hold(entry.key, care_unit, self._needs.now(), wish.resource, time_of(wish))
        sent_at = entry.sent_at or self._needs.now()
        unsettled = await journal.unsettled(held)
        return Evidence(
            lambda leyr_id: digests.digests("appointment", *care_unit, leyr_id),
            lambda leyr_id: digests.digests("patient", care_unit.emr, leyr_id),
            frozenset(others),
            [each for each in unsettled if each.sent_at is not None and each.sent_at > sent_at],
            await journal.unsettled(replace(held, resource=None, when=query.when)),
            is_complete=listed.is_complete,
        )

    async def _listed(self, care_unit: CareUnitKey, queries: Sequence[LookupQuery]) -> AppointmentList:
        found: dict[str, ListedAppointment] = {}
        is_complete = True
        for query in queries:
            try:
                listed = await self._needs.backend.appointments(
                    care_unit, query.when, resource=query.resource, patient_id=query.patient_id
                )
            except NotSupported:
                self._needs.unlisted.add(care_unit.emr)
                raise
            self._needs.listed.add(care_unit.emr)
            found.update((each.appointment.leyr_id, each) for each in listed.items)
            is_complete = is_complete and listed.is_complete
        return AppointmentList(list(found.values()), is_complete=is_complete)

    def _outcome(self, entry: JournalEntry, verdict: Verdict) -> Outcome | None:
        match verdict:
            case Undecided.NOT_THERE:
                return Refused(BookingFailureReason.NOT_BOOKED)
            case Appointment() if entry.step in {BookingStep.BOOK, BookingStep.RESCHEDULE} and entry.wish is not None:
                return of_booked(verdict, entry.wish, self._needs.free_times)
            case Appointment():
                self._needs.free_times.changed(verdict.care_unit, time_of_appointment(verdict))
                return of_changed(entry.step, verdict)
            case _:
                return None
