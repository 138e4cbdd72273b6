"""What mutations about appointments come to, as GraphQL's types: successes and failures, each with its interface."""

from datetime import timedelta
from enum import Enum
from typing import Annotated, Any, TypeAlias

import strawberry

from gateway.domain import booking
from gateway.domain.booking import BookingResult, Refused
from gateway.domain.ids import TimeslotId
from gateway.schema.alternatives import load_alternatives
from gateway.schema.appointment import Appointment, AppointmentDeviation
from gateway.schema.context import Context, Info
from gateway.schema.loaders import READS, Reads
from gateway.schema.scalars import DateTime
from gateway.schema.timeslot import Timeslot


@strawberry.enum(
    description=(
        "Why there is no appointment as asked, or why it is not known whether there is one. New reasons may come: take "
        "one that you do not know as `retryable` says."
    )
)
class BookingFailureReason(Enum):
    """The values by their names."""

    TIMESLOT_TAKEN = strawberry.enum_value("TIMESLOT_TAKEN", description="The time is not free any more.")
    TIMESLOT_AMBIGUOUS = strawberry.enum_value(
        "TIMESLOT_AMBIGUOUS",
        description="Several timeslots are meant: name the resource and the healthcare service, with a new key.",
    )
    TIMESLOT_EXPIRED = strawberry.enum_value("TIMESLOT_EXPIRED", description="The time is past.")
    PATIENT_REJECTED = strawberry.enum_value(
        "PATIENT_REJECTED", description="The EHR does not take what was said of the patient."
    )
    PATIENT_ALREADY_BOOKED = strawberry.enum_value(
        "PATIENT_ALREADY_BOOKED", description="The patient has an appointment that excludes this one."
    )
    REJECTED_BY_EHR = strawberry.enum_value("REJECTED_BY_EHR", description="The EHR refuses for a reason of its own.")
    NOT_SUPPORTED = strawberry.enum_value(
        "NOT_SUPPORTED", description="The EHR cannot do this, or the gateway is not set up to do it."
    )
    NOT_SENT = strawberry.enum_value(
        "NOT_SENT", description="Nothing was sent to the EHR; the same may be tried again, with the same key."
    )
    NOT_BOOKED = strawberry.enum_value(
        "NOT_BOOKED", description="An answer was lost, and it is certain by now that nothing was done."
    )
    IN_PROGRESS = strawberry.enum_value(
        "IN_PROGRESS", description="A request with this key is still being worked on; ask again with the same key."
    )
    KEY_MISMATCH = strawberry.enum_value(
        "KEY_MISMATCH", description="The key was used for something else, of which nothing is told; take a new one."
    )
    OUTCOME_UNKNOWN = strawberry.enum_value(
        "OUTCOME_UNKNOWN", description="It was sent, and it is not known what became of it; never take a new key."
    )
    CODE_WRONG = strawberry.enum_value("CODE_WRONG", description="The code is wrong; try another with a new key.")
    TOO_MANY_ATTEMPTS = strawberry.enum_value(
        "TOO_MANY_ATTEMPTS", description="Too many wrong codes: this appointment is not confirmed here any more."
    )
    ALREADY_CANCELLED = strawberry.enum_value("ALREADY_CANCELLED", description="The appointment was cancelled before.")
    APPOINTMENT_NOT_FOUND = strawberry.enum_value(
        "APPOINTMENT_NOT_FOUND", description="The id names no appointment of this caller."
    )
    OTHER = strawberry.enum_value("OTHER", description="None of these; `problems` may say more.")


# For developers: constant, so that nothing of an EHR or of a patient can stand in them.
_MESSAGES = {
    BookingFailureReason.TIMESLOT_TAKEN: "None of the timeslots is free any more",
    BookingFailureReason.TIMESLOT_AMBIGUOUS: "Name the resource and the healthcare service, with a new idempotencyKey",
    BookingFailureReason.TIMESLOT_EXPIRED: "The timeslot is past",
    BookingFailureReason.PATIENT_REJECTED: "The EHR does not take what was said of the patient",
    BookingFailureReason.PATIENT_ALREADY_BOOKED: "The patient has an appointment that excludes this one",
    BookingFailureReason.REJECTED_BY_EHR: "The EHR refuses for a reason of its own",
    BookingFailureReason.NOT_SUPPORTED: "The EHR cannot do this, or the gateway is not set up to do it",
    BookingFailureReason.NOT_SENT: "Nothing was sent; send the same again, with the same idempotencyKey",
    BookingFailureReason.NOT_BOOKED: "An answer was lost, and nothing was done; take a new idempotencyKey",
    BookingFailureReason.IN_PROGRESS: "This is being worked on; send the same again, with the same idempotencyKey",
    BookingFailureReason.KEY_MISMATCH: "The idempotencyKey was used for something else; take a new one",
    BookingFailureReason.OUTCOME_UNKNOWN: "The outcome is not known; ask again with the same idempotencyKey",
    BookingFailureReason.CODE_WRONG: "The code is wrong; send another one with a new idempotencyKey",
    BookingFailureReason.TOO_MANY_ATTEMPTS: "Too many wrong codes were sent for this appointment",
    BookingFailureReason.ALREADY_CANCELLED: "The appointment was cancelled before",
    BookingFailureReason.APPOINTMENT_NOT_FOUND: "The id names no appointment of this caller",
    BookingFailureReason.OTHER: "It was not done; `problems` may say why",
}


@strawberry.interface(description="The EHR has done what was asked.")
class BookingSuccess:
    """What all successes have."""

    appointment: Appointment = strawberry.field(description="The appointment as it is now.")
    replayed: bool = strawberry.field(
        description="Whether this is the outcome of an earlier request with the same idempotency key."
    )


@strawberry.interface(
    description="What was asked is not done, or is not known to be. New types may come, so ask for this interface too."
)
class BookingFailure:
    """What all failures have."""

    reason: BookingFailureReason = strawberry.field(description="Why, for programs.")
    message: str = strawberry.field(description="Why, for developers: the same text for a reason, never for patients.")
    reference: str | None = strawberry.field(
        description="What to quote to Leyr's support. Null where Leyr gave nothing to quote."
    )
    retryable: bool = strawberry.field(
        description="Whether the same request, with the same idempotency key, may come to something else."
    )
    retry_after_seconds: float | None = strawberry.field(
        description="In how many seconds that makes sense. Null where it makes none, or is not known."
    )
    replayed: bool = strawberry.field(
        description="Whether this is the outcome of an earlier request with the same idempotency key."
    )


@strawberry.type(description="The EHR has the appointment: newly booked, confirmed, or moved.")
class AppointmentBooked(BookingSuccess):
    """Booked."""

    deviations: list[AppointmentDeviation] = strawberry.field(
        description="What the EHR booked otherwise than asked; show the appointment, and not what was asked."
    )


@strawberry.type(
    description="The EHR has sent the patient a code, and does what was asked when `confirmAppointment` gives it."
)
class AppointmentAwaitingConfirmation(BookingSuccess):
    """Awaiting a code."""


@strawberry.type(description="The appointment is cancelled.")
class AppointmentCancelled(BookingSuccess):
    """Cancelled."""


@strawberry.type(description="None of the timeslots that were asked for is free any more; nothing was booked.")
class TimeslotTaken(BookingFailure):
    """Taken."""

    wanted: strawberry.Private[tuple[TimeslotId, ...]]

    @strawberry.field(
        description=(
            "Free times of the same healthcare service in the fortnight around the first wish: those of its resource, "
            "the nearest in time first, then those of others. Null comes with an error."
        ),
        metadata={READS: Reads.TIMESLOTS},
    )
    async def alternatives(
        self, info: Info, first: Annotated[int, strawberry.argument(description="At most so many, up to 100.")] = 5
    ) -> list[Timeslot] | None:
        """What is free instead."""
        return await load_alternatives(info, self.wanted, first)


@strawberry.type(description="One of the reasons that Leyr gives.")
class BookingProblem:
    """A problem."""

    code: str = strawberry.field(description="Leyr's code, such as `INVALID_COMMENT_LENGTH`; new ones may come.")
    input_field: str | None = strawberry.field(
        description="The field of the input that it is about, such as `comment`. Null where that is not known."
    )


@strawberry.type(description="It is certain that nothing was done.")
class BookingRefused(BookingFailure):
    """Refused."""

    problems: list[BookingProblem] = strawberry.field(
        description="All reasons that Leyr gives, by their codes; `[]` where it gives none."
    )


@strawberry.type(
    description=(
        "A call was sent to the EHR and it is not known what became of it. Ask again with the same key, by "
        "`bookingOutcome` or by the same request: that never books a second time."
    )
)
class BookingOutcomeUnknown(BookingFailure):
    """Unknown."""

    ask_again_after: DateTime = strawberry.field(description="The instant from which asking again makes sense.")


BookAppointmentResult: TypeAlias = Annotated[
    AppointmentBooked | AppointmentAwaitingConfirmation | TimeslotTaken | BookingRefused | BookingOutcomeUnknown,
    strawberry.union("BookAppointmentResult", description="What became of a booking. New members may come."),
]
ConfirmAppointmentResult: TypeAlias = Annotated[
    AppointmentBooked | AppointmentCancelled | BookingRefused | BookingOutcomeUnknown,
    strawberry.union("ConfirmAppointmentResult", description="What became of a confirmation. New members may come."),
]
CancelAppointmentResult: TypeAlias = Annotated[
    AppointmentCancelled | AppointmentAwaitingConfirmation | BookingRefused | BookingOutcomeUnknown,
    strawberry.union("CancelAppointmentResult", description="What became of a cancellation. New members may come."),
]
RescheduleAppointmentResult: TypeAlias = Annotated[
    AppointmentBooked | AppointmentAwaitingConfirmation | TimeslotTaken | BookingRefused | BookingOutcomeUnknown,
    strawberry.union("RescheduleAppointmentResult", description="What became of a move. New members may come."),
]


def result_of(found: BookingResult, context: Context) -> Any:
    """The member of the unions that an outcome is; those of a step are those that its union has."""
    replayed = found.replayed
    match found.outcome:
        case booking.Booked(appointment, deviations):
            shown = [AppointmentDeviation[each.name] for each in deviations]
            return AppointmentBooked(
                appointment=Appointment.of(appointment, context), replayed=replayed, deviations=shown
            )
        case booking.AwaitingConfirmation(appointment):
            return AppointmentAwaitingConfirmation(appointment=Appointment.of(appointment, context), replayed=replayed)
        case booking.Cancelled(appointment):
            return AppointmentCancelled(appointment=Appointment.of(appointment, context), replayed=replayed)
        case booking.Taken(wanted, reference):
            taken = _failure(Refused(booking.BookingFailureReason.TIMESLOT_TAKEN, reference=reference), replayed)
            return TimeslotTaken(**taken, wanted=wanted)
        case booking.Unknown(ask_again_after, reference):
            seconds = max(timedelta(0), ask_again_after - context.now).total_seconds()
            reason = booking.BookingFailureReason.OUTCOME_UNKNOWN
            unknown = Refused(reason, reference=reference, retryable=True, retry_after=seconds)
            at = DateTime(ask_again_after.isoformat())
            return BookingOutcomeUnknown(**_failure(unknown, replayed), ask_again_after=at)
        case Refused(problems=problems) as refused:
            shown_problems = [BookingProblem(code=each.code, input_field=each.input_field) for each in problems]
            return BookingRefused(**_failure(refused, replayed), problems=shown_problems)


def _failure(refused: Refused, replayed: bool) -> dict[str, Any]:  # noqa: FBT001 # as the result has it
    reason = BookingFailureReason[refused.reason.name]
    return {
        "reason": reason,
        "message": _MESSAGES[reason],
        "reference": refused.reference,
        "retryable": refused.retryable,
        "retry_after_seconds": refused.retry_after,
        "replayed": replayed,
    }
