"""The Mutation type, and the root fields of queries that are about a caller's own appointments."""

from typing import Annotated, Any, TypeAlias, cast

import strawberry

from gateway.domain.appointments import Support
from gateway.domain.errors import NotFound, NotSupported
from gateway.schema.appointment import Appointment
from gateway.schema.booking_input import (
    BookAppointmentInput,
    CancelAppointmentInput,
    ConfirmAppointmentInput,
    RescheduleAppointmentInput,
)
from gateway.schema.booking_result import (
    BookAppointmentResult,
    CancelAppointmentResult,
    ConfirmAppointmentResult,
    RescheduleAppointmentResult,
    result_of,
)
from gateway.schema.context import Info
from gateway.schema.lookahead import FINDS, OwnCalls

_Input: TypeAlias = BookAppointmentInput | ConfirmAppointmentInput | CancelAppointmentInput | RescheduleAppointmentInput
_WHAT = strawberry.argument(description="What to do, and the key that it is done by once.")


@strawberry.type(
    description="Where every mutation starts. One follows the other, and a client that leaves does not end it."
)
class Mutation:
    """The mutations; each is null only with an error."""

    @strawberry.mutation(
        description=(
            "Book an appointment, at most once for a key. Null comes with an error: the input is refused, or the "
            "caller may not book or may not name the patient so; nothing was sent then."
        ),
        metadata={FINDS: OwnCalls(2, each=4, of="timeslotIds")},
    )
    async def book_appointment(
        self,
        info: Info,
        input: Annotated[BookAppointmentInput, _WHAT],  # noqa: A002 # GraphQL's name
    ) -> BookAppointmentResult | None:
        """Book."""
        return cast("BookAppointmentResult", await _asked(info, input))

    @strawberry.mutation(
        description=(
            "Confirm a booking or a cancellation by the code that the patient was sent. Null comes with an error: the "
            "input is refused, or the caller may not book; nothing was sent then."
        ),
        metadata={FINDS: OwnCalls(2)},
    )
    async def confirm_appointment(
        self,
        info: Info,
        input: Annotated[ConfirmAppointmentInput, _WHAT],  # noqa: A002 # as before
    ) -> ConfirmAppointmentResult | None:
        """Confirm."""
        return cast("ConfirmAppointmentResult", await _asked(info, input))

    @strawberry.mutation(
        description=(
            "Cancel an appointment. Null comes with an error: the input is refused, or the caller may not book; "
            "nothing was sent then."
        ),
        metadata={FINDS: OwnCalls(2)},
    )
    async def cancel_appointment(
        self,
        info: Info,
        input: Annotated[CancelAppointmentInput, _WHAT],  # noqa: A002 # as before
    ) -> CancelAppointmentResult | None:
        """Cancel."""
        return cast("CancelAppointmentResult", await _asked(info, input))

    @strawberry.mutation(
        description=(
            "Move an appointment to another time. Null comes with an error: the input is refused, or the caller may "
            "not book; nothing was sent then."
        ),
        metadata={FINDS: OwnCalls(5)},
    )
    async def reschedule_appointment(
        self,
        info: Info,
        input: Annotated[RescheduleAppointmentInput, _WHAT],  # noqa: A002 # as before
    ) -> RescheduleAppointmentResult | None:
        """Move."""
        return cast("RescheduleAppointmentResult", await _asked(info, input))


async def _asked(info: Info, asked: _Input) -> Any:
    """What an input comes to, as a member of its mutation's union. Raises domain errors."""
    request = await asked.request(info.context)
    return result_of(await info.context.bookings.ask(asked.idempotency_key, request), info.context)


async def load_outcome(info: Info, key: str) -> BookAppointmentResult | None:
    """What became of the booking with a key. Raises domain errors."""
    bookings = info.context.bookings
    bookings.check_may_book()
    info.context.loaders.never_keep()
    found = await bookings.outcome(key)
    member: BookAppointmentResult | None = None if found is None else result_of(found, info.context)
    return member


async def load_appointment(info: Info, appointment_id: str) -> Appointment:
    """An appointment of the caller as the EHR lists it now. Raises domain errors."""
    context, bookings = info.context, info.context.bookings
    bookings.check_may_book()
    context.loaders.never_keep()
    found, service = bookings.opened(appointment_id), bookings.service.bookings
    if found is None or service is None:
        raise NotFound("The id names no appointment of this caller")
    if context.profiles.of_unit(found.care_unit).capabilities.list_appointments is Support.NO:
        raise NotSupported("This EHR does not list appointments")
    appointment = await service.appointment(found.care_unit, found.leyr_id)
    if appointment is None:
        raise NotFound("The EHR does not list this appointment any more")
    return Appointment.of(appointment, context)
