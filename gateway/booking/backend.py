"""What booking needs from outside: calls that write, and the free times that others are shown."""

from typing import Protocol

from gateway.domain.appointments import TimeRange
from gateway.domain.booking import Wish
from gateway.domain.booking_answers import AppointmentList, FoundPatient, PatientAnswer, WriteAnswer
from gateway.domain.ids import TimeslotId
from gateway.domain.models import CareUnitKey
from gateway.domain.patients import Patient, PatientDetails


class AppointmentBackend(Protocol):
    """Leyr's calls about appointments and patients; each is made once and is not cancelled when a client leaves.

    What can go wrong is an answer, since a booking has to say which it was.
    """

    async def book(self, wish: Wish, patient: Patient | FoundPatient, comment: str | None) -> WriteAnswer:
        """`POST …/appointments` (leyr-api 2.7). Details are not taken: the patient is found or made before."""

    async def find_or_make_patient(self, care_unit: CareUnitKey, details: PatientDetails) -> PatientAnswer:
        """`POST …/patients` (leyr-api 2.9), which gives an existing patient instead of a second one."""

    async def confirm(self, care_unit: CareUnitKey, appointment: str, code: str) -> WriteAnswer:
        """`PATCH …/appointments/{id}` with the code."""

    async def cancel(self, care_unit: CareUnitKey, appointment: str, comment: str | None) -> WriteAnswer:
        """`PATCH …/appointments/{id}` with the status `cancelled`."""

    async def reschedule(
        self, care_unit: CareUnitKey, appointment: str, wish: Wish, comment: str | None
    ) -> WriteAnswer:
        """`PATCH …/appointments/{id}` with a resource and a time."""

    async def appointments(
        self, care_unit: CareUnitKey, when: TimeRange, *, resource: str | None = None, patient_id: str | None = None
    ) -> AppointmentList:
        """`GET …/appointments` (leyr-api 2.6), by Leyr's ids only. Raises domain errors."""


class FreeTimes(Protocol):
    """The free times as everybody sees them, which bookings change."""

    async def is_free(self, wanted: TimeslotId) -> bool:
        """Whether Leyr lists a timeslot as free, asked by a call that begins now. Raises domain errors."""

    def taken(self, care_unit: CareUnitKey, resource: str | None, service: str | None, when: TimeRange) -> None:
        """A write or a refusal showed that a time is gone: nothing that began before may show it as free again."""

    def changed(self, care_unit: CareUnitKey, when: TimeRange) -> None:
        """What is free at a time is not known any more, such as after a cancellation: it is asked again."""

    async def tell_others(self) -> None:
        """Wait until other processes know of it too, or cannot be told now."""
