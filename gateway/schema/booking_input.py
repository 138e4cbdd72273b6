"""The inputs of mutations, and the requests that they are."""

from collections.abc import Sequence
from enum import Enum

import strawberry
from strawberry import UNSET

from gateway.booking.requests import BookRequest, CancelRequest, ConfirmRequest, RescheduleRequest
from gateway.domain import patients
from gateway.domain.booking import Wish, checked_code, checked_comment
from gateway.domain.errors import BadUserInput
from gateway.domain.ids import NodeType, TimeslotId, leyr_id_within
from gateway.domain.models import CareUnitKey
from gateway.domain.patients import NationalNumber, Patient, PatientByEmrId, PatientByLeyrId, PatientDetails
from gateway.schema.context import Context
from gateway.schema.timeslot import given

_MOST_WISHES = 5
# Beyond them lies what no diary holds, and windows around it would leave the calendar.
_FIRST_YEAR, _LAST_YEAR = 1900, 9000
_KEY = (
    "Made by the client for this one thing to do, such as a new UUID: 16 to 255 visible ASCII characters. Sent again, "
    "it gives the first outcome, and nothing is done twice."
)
_COMMENT = "Goes into the EHR, as a variable only. None when left out; the EHR may limit its length."


@strawberry.enum(description="A country that gives its people national numbers. FHIR R4: the system of an Identifier.")
class Country(Enum):
    """The countries by ISO 3166-1."""

    SE = strawberry.enum_value("SE", description="Sweden: personal and coordination numbers.")
    NO = strawberry.enum_value("NO", description="Norway: personal and D numbers.")
    GB = strawberry.enum_value("GB", description="Great Britain: NHS numbers.")


@strawberry.input(description="A national identity number, whose form and check digits are looked at before any call.")
class NationalNumberInput:
    """The number as people write it."""

    country: Country = strawberry.field(description="The country that gave the number.")
    number: str = strawberry.field(
        description=(
            "10 or 12 digits in Sweden, 11 in Norway, 10 in Great Britain; single spaces, hyphens and Sweden's plus "
            "sign may stand between them."
        )
    )

    def read(self, context: Context) -> NationalNumber:
        """The number. Raises BadUserInput."""
        return NationalNumber.read(patients.Country[self.country.name], self.number, context.now.date())


@strawberry.input(description="Who a patient is, for an EHR that finds or makes it. FHIR R4: Patient.")
class PatientDetailsInput:
    """The details."""

    first_name: str = strawberry.field(description="The first name, up to 100 characters.")
    last_name: str = strawberry.field(description="The last name, up to 100 characters.")
    national_number: NationalNumberInput | None = strawberry.field(
        default=UNSET, description="The national number, which some EHRs want. None when left out."
    )
    phones: list[str] | None = strawberry.field(
        default=UNSET, description="Up to 5 telephone numbers, such as `+46701740605`. None when left out."
    )
    emails: list[str] | None = strawberry.field(
        default=UNSET, description="Up to 5 e-mail addresses. None when left out."
    )

    def read(self, context: Context) -> PatientDetails:
        """The details. Raises BadUserInput."""
        number = given(self.national_number)
        return PatientDetails.read(
            self.first_name,
            self.last_name,
            None if number is None else number.read(context),
            phones=given(self.phones) or (),
            emails=given(self.emails) or (),
        )


@strawberry.input(
    one_of=True,
    description=(
        "Exactly one way to name a patient; `capabilities.patientBy` says which the EHR knows, and the gateway which a "
        "caller may use. All of it in variables: a document that holds literals here is refused."
    ),
)
class PatientInput:
    """One of them."""

    leyr_id: strawberry.Maybe[strawberry.ID] = strawberry.field(description="Leyr's own id of the patient.")
    emr_id: strawberry.Maybe[strawberry.ID] = strawberry.field(description="The EHR's id of the patient.")
    national_number: strawberry.Maybe[NationalNumberInput] = strawberry.field(
        description="The national number of a patient whom the EHR has."
    )
    details: strawberry.Maybe[PatientDetailsInput] = strawberry.field(
        description="Who it is; the EHR finds the patient, or makes a new one."
    )

    def read(self, context: Context) -> Patient:
        """The patient. Raises BadUserInput."""
        if self.leyr_id:
            return PatientByLeyrId.read(self.leyr_id.value)
        if self.emr_id:
            return PatientByEmrId.read(self.emr_id.value)
        if self.national_number:
            return self.national_number.value.read(context)
        if self.details:
            return self.details.value.read(context)
        raise BadUserInput("patient: name the patient in exactly one way")


@strawberry.input(description="What to book, and for whom.")
class BookAppointmentInput:
    """A booking."""

    idempotency_key: str = strawberry.field(description=_KEY)
    timeslot_ids: list[strawberry.ID] = strawberry.field(
        description=(
            "1 to 5 timeslots of one care unit in order of preference: the next is tried only when it is certain that "
            "the one before is taken."
        )
    )
    resource_id: strawberry.ID | None = strawberry.field(
        default=UNSET,
        description=(
            "The resource, by its node id or its `leyrId`, where a timeslot names none. None when left out; it may not "
            "differ from one that a timeslot names."
        ),
    )
    healthcare_service_id: strawberry.ID | None = strawberry.field(
        default=UNSET,
        description=(
            "The healthcare service, by its node id or its `leyrId`, where a timeslot names none. None when left out; "
            "it may not differ from one that a timeslot names."
        ),
    )
    patient: PatientInput = strawberry.field(description="For whom, as a variable only.")
    comment: str | None = strawberry.field(default=UNSET, description=_COMMENT)

    async def request(self, context: Context) -> BookRequest:
        """What it asks, by a caller that may ask it, before anything is booked. Raises domain errors."""
        context.bookings.check_may_book()
        patient = self.patient.read(context)
        context.bookings.check_may_name(patient)
        wishes = _wishes(context, self.timeslot_ids, given(self.resource_id), given(self.healthcare_service_id))
        comment = _comment(context, wishes[0].timeslot.care_unit, self.comment)
        await _confirm(context, wishes)
        return BookRequest(wishes, patient, comment)


@strawberry.input(description="The code by which a patient confirms a booking or a cancellation.")
class ConfirmAppointmentInput:
    """A confirmation."""

    idempotency_key: str = strawberry.field(description=_KEY)
    appointment_id: strawberry.ID = strawberry.field(description="The `id` of the appointment that awaits a code.")
    code: str = strawberry.field(description="The code that the patient was sent, as a variable only.")

    async def request(self, context: Context) -> ConfirmRequest | None:
        """What it asks; None where the id was not given to the caller. Raises domain errors."""
        context.bookings.check_may_book()
        code, found = checked_code(self.code), context.bookings.opened(self.appointment_id)
        return None if found is None else ConfirmRequest(found.care_unit, found.leyr_id, code)


@strawberry.input(description="Which appointment to cancel.")
class CancelAppointmentInput:
    """A cancellation."""

    idempotency_key: str = strawberry.field(description=_KEY)
    appointment_id: strawberry.ID = strawberry.field(description="The `id` of the appointment.")
    comment: str | None = strawberry.field(default=UNSET, description=_COMMENT)

    async def request(self, context: Context) -> CancelRequest | None:
        """What it asks; None where the id was not given to the caller. Raises domain errors."""
        context.bookings.check_may_book()
        found = context.bookings.opened(self.appointment_id)
        if found is None:
            return None
        return CancelRequest(found.care_unit, found.leyr_id, _comment(context, found.care_unit, self.comment))


@strawberry.input(description="Which appointment to move, and where to.")
class RescheduleAppointmentInput:
    """A move."""

    idempotency_key: str = strawberry.field(description=_KEY)
    appointment_id: strawberry.ID = strawberry.field(description="The `id` of the appointment.")
    timeslot_id: strawberry.ID = strawberry.field(description="A free timeslot of the same care unit.")
    comment: str | None = strawberry.field(default=UNSET, description=_COMMENT)

    async def request(self, context: Context) -> RescheduleRequest | None:
        """What it asks; None where the id was not given to the caller. Raises domain errors."""
        context.bookings.check_may_book()
        found, (wish,) = context.bookings.opened(self.appointment_id), _wishes(context, [self.timeslot_id])
        if found is None:
            return None
        if wish.timeslot.care_unit != found.care_unit:
            raise BadUserInput("timeslotId: the timeslot belongs to another care unit than the appointment")
        comment = _comment(context, found.care_unit, self.comment)
        await _confirm(context, (wish,))
        return RescheduleRequest(found.care_unit, found.leyr_id, wish, comment)


def refuse_literal(owner: str | None, name: str) -> str | None:
    """Why literals are refused in an argument, or in an input field or a default of an input type."""
    is_private = name in _PRIVATE and (owner, name) != _CODE_OF_AN_EHR
    return "Data of a patient, codes and comments may stand in variables only" if is_private else None


_TYPES = ("PatientInput", "NationalNumberInput", "PatientDetailsInput")
_FIELDS = ("nationalNumber", "details", "number", "country", "firstName", "lastName", "phones", "emails")
# Documents that are not valid are kept too, so names count wherever they stand.
_PRIVATE = frozenset({"patient", "leyrId", "emrId", "code", "comment", *_FIELDS, *_TYPES})
_CODE_OF_AN_EHR = "emr", "code"


def _wishes(
    context: Context, texts: Sequence[str], resource: str | None = None, service: str | None = None
) -> tuple[Wish, ...]:
    """The timeslots of these ids. Raises BadUserInput and Forbidden."""
    if not 1 <= len(texts) <= _MOST_WISHES:
        raise BadUserInput(f"timeslotIds: from 1 to {_MOST_WISHES} of them")
    timeslots = list(dict.fromkeys(_timeslot(context, text) for text in texts))
    care_unit = timeslots[0].care_unit
    if any(each.care_unit != care_unit for each in timeslots):
        raise BadUserInput("timeslotIds: they belong to several care units; pass those of one")
    owners = (
        None if resource is None else leyr_id_within(resource, NodeType.RESOURCE, care_unit),
        None if service is None else leyr_id_within(service, NodeType.HEALTHCARE_SERVICE, care_unit),
    )
    for each in timeslots:
        if any(
            None not in (wanted, own) and wanted != own
            for wanted, own in zip(owners, (each.resource, each.service), strict=True)
        ):
            raise BadUserInput("A timeslot names another resource or healthcare service than the input does")
    return Wish.all_of(timeslots, *owners)


def _timeslot(context: Context, text: str) -> TimeslotId:
    found = context.named(text)
    if not isinstance(found, TimeslotId):
        raise BadUserInput(f"This is the id of a {found.type}; pass the id of a Timeslot")
    if not _FIRST_YEAR <= found.start.year <= _LAST_YEAR:
        raise BadUserInput(f"A timeslot lies in the years {_FIRST_YEAR} to {_LAST_YEAR}")
    return found


def _comment(context: Context, care_unit: CareUnitKey, comment: str | None) -> str | None:
    capabilities = context.profiles.of_unit(care_unit).capabilities
    return checked_comment(given(comment), capabilities.maximum_comment_length)


async def _confirm(context: Context, wishes: Sequence[Wish]) -> None:
    """Wait for the lists that must hold ids that may be somebody's personal number, before they leave in a URL."""
    await context.nodes.confirm_care_unit(wishes[0].timeslot.care_unit)
    for wish in wishes:
        query, unconfirmed = context.queries.of_owners(wish.timeslot.care_unit, wish.resource, wish.service)
        if query is not None and unconfirmed is not None:
            await context.loaders.confirm_ids_exist(query, unconfirmed)
