"""One attempt at what a request asks: what is found out before, the one call that writes, and what its answer means."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from gateway.booking.appointment_lookup import booking_query, digests_of, time_of, time_of_appointment
from gateway.booking.dependencies import BookingDependencies
from gateway.booking.journal import Hold, JournalEntry, JournalState, JournalUnavailableError
from gateway.booking.lookups import Lookups
from gateway.booking.outcomes import not_sent, of_booked, of_changed
from gateway.booking.requests import (
    BookingRequest,
    BookRequest,
    CancelRequest,
    ChangeRequest,
    ConfirmRequest,
    Digests,
    RescheduleRequest,
    leyr_id_of,
)
from gateway.booking.turns import Turn
from gateway.domain.appointments import Appointment, AppointmentStatus, Support
from gateway.domain.booking import (
    AwaitingConfirmation,
    Booked,
    BookingFailureReason,
    Cancelled,
    Outcome,
    Refused,
    Taken,
    Unknown,
    Wish,
)
from gateway.domain.booking_answers import FoundPatient, Lost, NotSent, SlotRefused, WriteAnswer
from gateway.domain.errors import GatewayError, NotSupported
from gateway.domain.models import CareUnitKey
from gateway.domain.patients import Patient, PatientDetails

MOST_CODES = 5
_ATTEMPTS_KEPT = timedelta(days=7)
_SECONDS_UNTIL_NEXT_TURN = 5.0
# How an EHR says that a code is wrong is not known (leyr-api 8.3): it may be any of these, or a server's error.
_OF_A_CODE = {BookingFailureReason.CODE_WRONG, BookingFailureReason.REJECTED_BY_EHR, BookingFailureReason.OTHER}


class NotSentError(Exception):
    """Nothing was sent, whatever the journal says."""

    def __init__(self, retry_after: float | None = None) -> None:
        super().__init__("nothing was sent")
        self.retry_after = retry_after


class Attempt:
    """What one request does under a key that this process has claimed.

    After `run` it is `lost` where a call was sent and nobody knows what became of it; its turn then goes on until
    `end`. `was_called` says whether Leyr was told anything that a key has to be kept for.
    """

    def __init__(self, dependencies: BookingDependencies, lookups: Lookups, entry: JournalEntry) -> None:
        self._needs = dependencies
        self._lookups = lookups
        self._turn: Turn | None = None
        self.entry = entry
        self.lost: Lost | None = None
        self.was_called = False
        self.patient_id: str | None = None
        self._emr_patient: str | None = None
        self.wrong_codes: list[bytes] = []
        """Digests of appointments whose wrong codes could not be counted yet."""

    async def run(self, request: BookingRequest) -> Outcome | None:
        """Do what is asked; None where it is lost. Raises NotSentError and JournalUnavailableError before a call.

        The request is not kept: an attempt whose call was lost may be there for a minute.
        """
        self.patient_id = leyr_id_of(request)
        try:
            match request:
                case BookRequest():
                    outcome = await self._book(request)
                case ConfirmRequest() | CancelRequest() | RescheduleRequest():
                    outcome = await self._change(request)
        except (NotSentError, JournalUnavailableError):
            await self.end()
            raise
        except BaseException:
            await self._leave()
            raise
        if self.lost is None:
            await self.end()
        return outcome

    async def end(self) -> None:
        """Let others have their turn."""
        turn, self._turn = self._turn, None
        if turn is not None:
            await self._needs.turns.end(turn)

    async def _leave(self) -> None:
        """Go on without this attempt; what it may have sent is still held against other processes."""
        if self.entry.state is not JournalState.SENT:
            await self.end()
        elif self._turn is not None:
            self._needs.turns.leave(self._turn)

    async def hold_until(self, until: datetime) -> None:
        """Keep the turn until nothing of the call can land any more."""
        if self._turn is not None:
            # As it was made it lasts twice as long as a call may take to land.
            with suppress(JournalUnavailableError):
                await self._needs.turns.extend(self._turn, until)

    async def _book(self, request: BookRequest) -> Outcome | None:
        patients: dict[CareUnitKey, Patient | FoundPatient] = {}
        for wish in request.wishes:
            if wish.timeslot.start <= self._needs.now():
                continue
            care_unit = wish.timeslot.care_unit
            if care_unit not in patients:
                found = await self._patient(care_unit, request.patient)
                if isinstance(found, Refused):
                    return found
                patients[care_unit] = found
            if self.entry.state is JournalState.SENT:
                # It was refused for certain, before others at its time look up what became of it.
                self.entry = self.entry.unsent()
                if not await self._needs.journal.write(self.entry):
                    raise NotSentError
            await self.end()
            outcome = await self._book_one(request, wish, patients[care_unit])
            if not isinstance(outcome, Taken):
                return outcome
        if not self.was_called:
            return Refused(BookingFailureReason.TIMESLOT_EXPIRED)
        return Taken(tuple(each.timeslot for each in request.wishes))

    async def _patient(self, care_unit: CareUnitKey, patient: Patient) -> Patient | FoundPatient | Refused:
        """The patient as a booking names them: details are found or made first, which may be repeated."""
        if not isinstance(patient, PatientDetails):
            return patient
        answer = await self._needs.backend.find_or_make_patient(care_unit, patient)
        match answer:
            case FoundPatient():
                self.patient_id, self._emr_patient = answer.leyr_id, answer.emr_id
                return answer
            case Refused():
                self.was_called = True
                return answer
            case NotSent():
                return not_sent(answer.retry_after)
            case Lost():
                return replace(not_sent(), reference=answer.reference)

    async def _book_one(self, request: BookRequest, wish: Wish, patient: Patient | FoundPatient) -> Outcome | None:
        needs, care_unit = self._needs, wish.timeslot.care_unit
        turn = await self._take_turn(wish, None)
        self.was_called = True
        if turn.is_gone:
            return Taken((wish.timeslot,))
        is_alone = await self._settle_others(turn)
        listing = asyncio.ensure_future(self._known_appointments(wish))
        try:
            if not await self._is_still_free(turn, wish):
                return Taken((wish.timeslot,))
            known = await listing
        finally:
            listing.cancel()
        if known is None and (not is_alone or self._needs_list(care_unit)):
            # Should the call be lost, what it brings could not be told from what others' have left.
            raise NotSentError
        patients = [
            None if each is None else needs.digests.digest("patient", care_unit.emr, each)
            for each in (self.patient_id, self._emr_patient)
        ]
        await self._write_as_sent(wish=wish, patients=patients, known_appointments=known)
        answer = await needs.backend.book(wish, patient, request.comment)
        return self._of_slot(answer, wish)

    def _needs_list(self, care_unit: CareUnitKey) -> bool:
        """Whether a booking waits until the EHR lists appointments again, as its patient is known by nothing else."""
        return self.patient_id is None and self._needs.surely_lists_appointments(care_unit)

    async def _take_turn(self, wish: Wish | None, appointment: str | None) -> Turn:
        """Wait until no other of our clients is at the same time or appointment. Raises NotSentError."""
        needs, config = self._needs, self._needs.config
        care_unit = self.entry.care_unit if wish is None else wish.timeslot.care_unit
        when, resource = (None, None) if wish is None else (time_of(wish), wish.resource)
        until = needs.now() + 2 * config.landing + timedelta(seconds=config.turn_seconds)
        hold = Hold(self.entry.key, care_unit, until, resource, when, appointment)
        slot = None if wish is None else wish.timeslot
        try:
            self._turn = await needs.turns.take(hold, slot, config.turn_seconds)
        except TimeoutError:
            raise NotSentError(_SECONDS_UNTIL_NEXT_TURN) from None
        return self._turn

    async def _settle_others(self, turn: Turn) -> bool:
        """Look up what other keys left unknown at the same time; False where some of it stays so.

        The first that stays so is enough, since each look-up of an EHR that fails may take long.
        """
        needs = self._needs
        if needs.lists_appointments(turn.hold.care_unit):
            for entry in await needs.journal.unsettled(turn.hold):
                outcome = await self._lookups.resolve(entry, None)
                if outcome is None or isinstance(outcome, Unknown):
                    return False
        return True

    async def _is_still_free(self, turn: Turn, wish: Wish) -> bool:
        """Whether a slot is free, asked anew where others were before us, or the EHR would give it twice.

        Who comes when others are done has not had to wait for them. Raises NotSentError and JournalUnavailableError.
        """
        needs = self._needs
        checks = needs.capabilities(wish.timeslot.care_unit).checks_timeslots
        is_first = not turn.had_to_wait and not await needs.journal.was_asked(turn.hold)
        if is_first and checks is not Support.NO:
            return True
        since = asyncio.get_running_loop().time()
        try:
            is_free = await needs.free_times.is_free(wish.timeslot)
        except GatewayError as error:
            raise NotSentError(error.retry_after) from error
        if not is_free:
            needs.turns.tell_gone(turn, since)
        return is_free

    async def _known_appointments(self, wish: Wish) -> frozenset[bytes] | None:
        """What the EHR lists just before the call; None where it does not."""
        needs, care_unit = self._needs, wish.timeslot.care_unit
        if not needs.lists_appointments(care_unit):
            return None
        query = booking_query(wish, self.patient_id)
        try:
            async with asyncio.timeout(needs.config.list_seconds):
                listed = await needs.backend.appointments(
                    care_unit, query.when, resource=query.resource, patient_id=query.patient_id
                )
        except NotSupported:
            needs.unlisted.add(care_unit.emr)
            return None
        except (GatewayError, TimeoutError):
            return None
        needs.listed.add(care_unit.emr)
        return digests_of(listed.items, lambda leyr_id: needs.digests.digest("appointment", *care_unit, leyr_id))

    async def _change(self, request: ChangeRequest) -> Outcome | None:
        needs = self._needs
        wish = request.wish if isinstance(request, RescheduleRequest) else None
        turn = await self._take_turn(wish, request.appointment)
        if wish is not None and turn.is_gone:
            self.was_called = True
            return Taken((wish.timeslot,))
        known = await needs.journal.known(request.care_unit, [request.appointment])
        before = known.get(request.appointment)
        refusal = await self._needless(request, before)
        if refusal is not None:
            return refusal
        if wish is not None and not await self._is_still_free(turn, wish):
            self.was_called = True
            return Taken((wish.timeslot,))
        await self._write_as_sent(wish=wish, appointment=request.appointment)
        self.was_called = True
        match request:
            case ConfirmRequest():
                answer = await needs.backend.confirm(request.care_unit, request.appointment, request.code)
                return await self._of_code(request, answer, before)
            case CancelRequest():
                answer = await needs.backend.cancel(request.care_unit, request.appointment, request.comment)
                return self._of_change(answer, before)
            case RescheduleRequest():
                answer = await needs.backend.reschedule(
                    request.care_unit, request.appointment, request.wish, request.comment
                )
                outcome = self._of_slot(answer, request.wish)
                if outcome is None or isinstance(outcome, Booked | AwaitingConfirmation):
                    self._forget(before)
                return outcome

    async def _needless(self, request: ChangeRequest, before: Appointment | None) -> Refused | None:
        """Why no call is needed: the outcome is known."""
        if isinstance(request, ConfirmRequest):
            digests = attempts_digests(self._needs.digests, request)
            tried = [await self._needs.journal.attempts(each) for each in digests]
            return Refused(BookingFailureReason.TOO_MANY_ATTEMPTS) if sum(tried) >= MOST_CODES else None
        if before is not None and before.status is AppointmentStatus.CANCELLED:
            return Refused(BookingFailureReason.ALREADY_CANCELLED)
        return None

    async def _write_as_sent(
        self,
        *,
        wish: Wish | None,
        appointment: str | None = None,
        patients: Sequence[bytes | None] = (None, None),
        known_appointments: frozenset[bytes] | None = None,
    ) -> None:
        """Write durably that a call is about to leave. Raises NotSentError and JournalUnavailableError."""
        sent_at, clock = self._needs.now(), asyncio.get_running_loop().time
        began = clock()
        self.entry = replace(
            self.entry,
            state=JournalState.SENT,
            wish=wish,
            appointment=appointment,
            sent_at=sent_at,
            patient=patients[0],
            emr_patient=patients[1],
            known_appointments=known_appointments,
        )
        landed_at = sent_at + self._needs.config.landing
        if (self._turn is not None and self._turn.hold.until < landed_at) or not await self._needs.journal.write(
            self.entry
        ):
            raise NotSentError
        took = max(self._needs.now() - sent_at, timedelta(seconds=clock() - began))
        if took > self._needs.config.latest_start:
            # It would land later than whoever looks it up thinks.
            raise NotSentError

    def _of_slot(self, answer: WriteAnswer, wish: Wish) -> Outcome | None:
        """What a booking or a move came to, and what is free then. Raises NotSentError."""
        times, slot = self._needs.free_times, wish.timeslot
        match answer:
            case Appointment() if answer.status is not AppointmentStatus.CANCELLED:
                return of_booked(answer, wish, times)
            case SlotRefused():
                times.taken(slot.care_unit, wish.resource, wish.service, time_of(wish))
                return Taken((slot,), answer.reference)
            case Refused() | NotSent():
                return self._refused(answer)
            case _:
                times.changed(slot.care_unit, time_of(wish))
                self.lost = answer if isinstance(answer, Lost) else Lost()
                return None

    def _of_change(self, answer: WriteAnswer, before: Appointment | None) -> Outcome | None:
        """What a cancellation or a confirmation came to. Raises NotSentError."""
        match answer:
            case Appointment() if (outcome := of_changed(self.entry.step, answer)) is not None:
                if isinstance(outcome, Cancelled):
                    self._forget(answer)
                    self._forget(before)
                return outcome
            case Refused() | NotSent():
                return self._refused(answer)
            case SlotRefused():
                return Refused(BookingFailureReason.OTHER, reference=answer.reference)
            case _:
                self._forget(before)
                self.lost = answer if isinstance(answer, Lost) else Lost()
                return None

    async def _of_code(
        self, request: ConfirmRequest, answer: WriteAnswer, before: Appointment | None
    ) -> Outcome | None:
        outcome = self._of_change(answer, before)
        if outcome is not None and not (isinstance(outcome, Refused) and outcome.reason in _OF_A_CODE):
            return outcome
        digest, *former = attempts_digests(self._needs.digests, request)
        journal = self._needs.journal
        try:
            tried = await journal.count_attempt(digest, self.attempts_expire_at)
            tried += sum([await journal.attempts(each) for each in former])
        except JournalUnavailableError:
            self.wrong_codes.append(digest)
            return outcome
        if outcome is None or outcome.reason is not BookingFailureReason.CODE_WRONG or tried < MOST_CODES:
            return outcome
        return replace(outcome, reason=BookingFailureReason.TOO_MANY_ATTEMPTS)

    @property
    def attempts_expire_at(self) -> datetime:
        """Until when wrong codes are counted."""
        return max(self.entry.expires_at, self._needs.now() + _ATTEMPTS_KEPT)

    def _refused(self, answer: Refused | NotSent) -> Refused:
        return not_sent(answer.retry_after) if isinstance(answer, NotSent) else answer

    def _forget(self, appointment: Appointment | None) -> None:
        if appointment is not None:
            self._needs.free_times.changed(appointment.care_unit, time_of_appointment(appointment))


def attempts_digests(digests: Digests, request: ConfirmRequest) -> Sequence[bytes]:
    """Under what the wrong codes for an appointment are counted."""
    return digests.digests("attempts", *request.care_unit, request.appointment)
