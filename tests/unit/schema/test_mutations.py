"""Mutations about appointments: each outcome as its type, and what is refused before anything is asked."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from gateway.booking.requests import BookRequest, CancelRequest, ConfirmRequest, RescheduleRequest
from gateway.domain.appointments import Appointment, AppointmentDeviation, BookingRights, PatientIdentification
from gateway.domain.booking import (
    AwaitingConfirmation,
    Booked,
    BookingFailureReason,
    BookingProblem,
    BookingResult,
    Cancelled,
    Outcome,
    Refused,
    Taken,
    Unknown,
)
from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.ids import NodeType, TimeslotId, TimeslotIds, node_id
from gateway.domain.models import Access, CareUnitKey, Timeslot
from gateway.domain.patients import NationalNumber, PatientByLeyrId, PatientDetails
from gateway.schema.context import OperationLimits
from tests.unit.schema.graph import NOW, Graph
from tests.unit.schema.scripted_bookings import KEY, SECRET, ScriptedBookings, bookings_of, service_of
from tests.unit.schema.world import Unit, World

CLINIC, OTHER = CareUnitKey("model", "L0_1"), CareUnitKey("model", "L0_2")
START = NOW + timedelta(hours=9)
SLOT = Timeslot(START.isoformat(), (START + timedelta(minutes=20)).isoformat(), "r1", "s1")
SLOT_ID = TimeslotIds(CLINIC)(SLOT)
WANTED = TimeslotId(CLINIC, START, START + timedelta(minutes=20), "r1", "s1")
APPOINTMENT = Appointment(CLINIC, "a1", "booked", SLOT.start, SLOT.end, "r1", "s1")
DETAILS = {"details": {"firstName": "Tolvan", "lastName": "Tolvansson"}}
SHOWN = "__typename ... on BookingSuccess { replayed appointment { id leyrId status statusRaw start end } } "
SHOWN += "... on BookingFailure { reason message reference retryable retryAfterSeconds replayed } "
BOOK = f"""mutation($input: BookAppointmentInput!) {{ bookAppointment(input: $input) {{ {SHOWN}
  ... on AppointmentBooked {{ deviations }} ... on BookingRefused {{ problems {{ code inputField }} }}
  ... on BookingOutcomeUnknown {{ askAgainAfter }} }} }}"""


class Page:
    """A caller, its graph, and what its bookings come to."""

    def __init__(self, outcome: Outcome, *, caller: str = "page", **rights: Any) -> None:
        self.world = World({CLINIC: Unit(), OTHER: Unit()})
        self.graph = Graph(self.world, [EhrProfile("model", "Model")])
        self.scripted = ScriptedBookings(outcome)
        self.graph.bookings = bookings_of(service_of(self.scripted), caller, **rights)

    async def book(self, **changed: Any) -> Any:
        given = {"idempotencyKey": KEY, "timeslotIds": [SLOT_ID], "patient": DETAILS, **changed}
        return await self.graph.ask(BOOK, input=given)

    async def booked(self, **changed: Any) -> dict[str, Any]:
        answer = await self.book(**changed)
        assert answer.errors == []
        found: dict[str, Any] = answer.data["bookAppointment"]
        return found

    @property
    def requests(self) -> list[Any]:
        return [request for _, _, request in self.scripted.asked]


async def test_a_booking_is_shown_with_what_differs() -> None:
    page = Page(Booked(APPOINTMENT, (AppointmentDeviation.START, AppointmentDeviation.RESOURCE)))

    found = await page.booked(comment=" hello ")

    assert found["__typename"] == "AppointmentBooked"
    assert found["deviations"] == ["START", "RESOURCE"]
    assert found["replayed"] is False
    shown = found["appointment"]
    assert (shown["leyrId"], shown["status"], shown["statusRaw"]) == ("a1", "BOOKED", "booked")
    assert SECRET.open(shown["id"], "page") is not None
    (request,) = page.requests
    assert isinstance(request, BookRequest)
    assert (request.patient, request.comment) == (PatientDetails("Tolvan", "Tolvansson"), "hello")
    assert [each.timeslot for each in request.wishes] == [WANTED]


@pytest.mark.parametrize(
    ("outcome", "typename"),
    [
        (AwaitingConfirmation(APPOINTMENT), "AppointmentAwaitingConfirmation"),
        (Taken((WANTED,), "ref"), "TimeslotTaken"),
        (Unknown(NOW + timedelta(seconds=30), "ref"), "BookingOutcomeUnknown"),
        *((Refused(each), "BookingRefused") for each in BookingFailureReason),
    ],
)
async def test_each_outcome_is_a_member_of_the_union(outcome: Outcome, typename: str) -> None:
    page = Page(outcome)
    page.scripted.is_replayed = True

    found = await page.booked()

    assert (found["__typename"], found["replayed"]) == (typename, True)
    if isinstance(outcome, Refused):
        assert found["reason"] == outcome.reason.name
        assert found["message"]


async def test_all_of_leyrs_reasons_are_problems() -> None:
    problems = (BookingProblem("INVALID_COMMENT_LENGTH", "comment"), BookingProblem("MISSING_REQUIRED_FIELD"))
    page = Page(Refused(BookingFailureReason.PATIENT_REJECTED, problems, "ref", retryable=False))

    found = await page.booked()

    assert found["problems"] == [
        {"code": "INVALID_COMMENT_LENGTH", "inputField": "comment"},
        {"code": "MISSING_REQUIRED_FIELD", "inputField": None},
    ]
    assert (found["reference"], found["retryable"]) == ("ref", False)


async def test_an_unknown_outcome_says_when_to_ask_again() -> None:
    found = await Page(Unknown(NOW + timedelta(seconds=30))).booked()

    assert datetime.fromisoformat(found["askAgainAfter"]) == NOW + timedelta(seconds=30)
    assert (found["reason"], found["retryable"], found["retryAfterSeconds"]) == ("OUTCOME_UNKNOWN", True, 30.0)


@pytest.mark.parametrize(
    ("patient", "read"),
    [
        ({"leyrId": "p1"}, PatientByLeyrId("p1")),
        ({"nationalNumber": {"country": "SE", "number": "121212-1212"}}, None),
    ],
)
async def test_a_patient_is_read(patient: dict[str, Any], read: PatientByLeyrId | None) -> None:
    page = Page(Booked(APPOINTMENT))

    await page.booked(patient=patient)

    (request,) = page.requests
    expected = read or NationalNumber.read(request.patient.country, "201212121212", NOW.date())
    assert request.patient == expected


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"idempotencyKey": "short"}, "idempotencyKey"),
        ({"timeslotIds": []}, "timeslotIds"),
        ({"timeslotIds": [SLOT_ID] * 6}, "timeslotIds"),
        ({"timeslotIds": ["x"]}, "not a node id"),
        ({"timeslotIds": [node_id(NodeType.RESOURCE, CLINIC, "r1")]}, "pass the id of a Timeslot"),
        ({"timeslotIds": [SLOT_ID, TimeslotIds(OTHER)(SLOT)]}, "several care units"),
        ({"resourceId": "r2"}, "another resource"),
        ({"resourceId": node_id(NodeType.RESOURCE, OTHER, "r1")}, "another care unit"),
        ({"comment": "x" * 3_000}, "comment"),
        ({"patient": {"nationalNumber": {"country": "SE", "number": "19121212-1213"}}}, "nationalNumber"),
        ({"patient": {"leyrId": "se_personal_number:191212121212"}}, "leyrId"),
        ({"patient": {}}, "exactly one"),
        ({"patient": {"leyrId": "p1", "emrId": "p1"}}, "xactly one"),
    ],
)
async def test_a_malformed_input_is_refused_before_anything_is_asked(changed: dict[str, Any], words: str) -> None:
    page = Page(Booked(APPOINTMENT))

    answer = await page.book(**changed)

    assert answer.codes == {"BAD_USER_INPUT"}
    assert any(words in each for each in answer.messages), answer.messages
    assert "1213" not in answer.text
    assert (page.requests, page.world.calls) == ([], [])


async def test_owners_that_a_timeslot_does_not_name_are_the_clients() -> None:
    page = Page(Booked(APPOINTMENT))
    bare = TimeslotIds(CLINIC)(Timeslot(SLOT.start, SLOT.end))

    await page.booked(timeslotIds=[bare], resourceId=node_id(NodeType.RESOURCE, CLINIC, "r1"), healthcareServiceId="s1")

    (wish,) = page.requests[0].wishes
    assert (wish.resource, wish.service, wish.timeslot.resource) == ("r1", "s1", None)


async def test_ids_that_may_be_personal_numbers_have_to_be_listed_before_they_leave() -> None:
    page = Page(Booked(APPOINTMENT))
    odd = TimeslotIds(CLINIC)(Timeslot(SLOT.start, SLOT.end, "191212121212", "s1"))

    answer = await page.book(timeslotIds=[odd])

    assert answer.codes == {"NOT_FOUND"}
    assert page.requests == []


@pytest.mark.parametrize(
    ("rights", "is_forbidden"),
    [
        (BookingRights(), True),
        (BookingRights(may_book=True), False),
        (BookingRights(may_book=True, patient_by=frozenset({PatientIdentification.LEYR_ID})), True),
    ],
)
async def test_who_may_not_book_or_name_a_patient_so_is_told_before_anything_is_asked(
    rights: BookingRights, *, is_forbidden: bool
) -> None:
    page = Page(Booked(APPOINTMENT), rights=rights)

    answer = await page.book()

    assert answer.codes == ({"FORBIDDEN"} if is_forbidden else set())
    assert (page.requests == []) is is_forbidden


async def test_a_care_unit_that_the_caller_may_not_see_is_not_booked() -> None:
    page = Page(Booked(APPOINTMENT))
    page.graph.bookings = bookings_of(service_of(page.scripted))

    answer = await page.graph.ask(
        BOOK,
        Access(care_units=frozenset({OTHER})),
        input={"idempotencyKey": KEY, "timeslotIds": [SLOT_ID], "patient": DETAILS},
    )

    assert answer.codes == {"FORBIDDEN"}
    assert page.requests == []


async def test_what_the_rate_refuses_is_not_sent_and_says_when_unless_its_key_is_known() -> None:
    page = Page(Booked(APPOINTMENT))
    page.graph.bookings = bookings_of(service_of(page.scripted, lambda *_: 7.0))

    found = await page.booked()

    assert (found["reason"], found["retryable"], found["retryAfterSeconds"]) == ("NOT_SENT", True, 7.0)
    assert page.requests == []
    page.scripted.known[f"page {KEY}"] = BookingResult(Booked(APPOINTMENT))
    assert (await page.booked())["__typename"] == "AppointmentBooked"


async def test_without_a_journal_nothing_is_booked() -> None:
    page = Page(Booked(APPOINTMENT))
    page.graph.bookings = bookings_of(service_of(None))

    found = await page.booked()

    assert (found["reason"], found["problems"]) == (
        "NOT_SUPPORTED",
        [{"code": "BOOKING_IS_NOT_CONFIGURED", "inputField": None}],
    )


async def test_an_appointment_is_changed_by_its_sealed_id() -> None:
    page = Page(Cancelled(APPOINTMENT))
    sealed = page.graph.bookings.seal(APPOINTMENT) if page.graph.bookings else ""
    text = """mutation($id: ID!, $key: String!, $code: String!, $slot: ID!) {
      cancel: cancelAppointment(input: {idempotencyKey: $key, appointmentId: $id}) { __typename }
      confirm: confirmAppointment(input: {idempotencyKey: $key, appointmentId: $id, code: $code}) { __typename }
      move: rescheduleAppointment(input: {idempotencyKey: $key, appointmentId: $id, timeslotId: $slot}) { __typename }
    }"""

    answer = await page.graph.ask(text, id=sealed, key=KEY, code=" 123 ", slot=SLOT_ID)

    assert answer.data is not None
    assert answer.data["cancel"] == answer.data["confirm"] == {"__typename": "AppointmentCancelled"}
    cancel, confirm, move = page.requests
    assert cancel == CancelRequest(CLINIC, "a1")
    assert confirm == ConfirmRequest(CLINIC, "a1", "123")
    assert isinstance(move, RescheduleRequest)


@pytest.mark.parametrize("caller", ["page", "other page"])
async def test_any_other_id_is_not_found_before_any_call(caller: str) -> None:
    page = Page(Cancelled(APPOINTMENT), caller="other page")
    mine = bookings_of(service_of(None), caller).seal(APPOINTMENT)
    guess = mine if caller == "page" else f"{mine[:-1]}{'a' if mine[-1] != 'a' else 'b'}"
    text = """mutation($id: ID!, $key: String!) {
      cancelAppointment(input: {idempotencyKey: $key, appointmentId: $id}) { ... on BookingFailure { reason } }
    }"""

    answer = await page.graph.ask(text, id=guess, key=KEY)

    assert answer.data == {"cancelAppointment": {"reason": "APPOINTMENT_NOT_FOUND"}}
    assert (page.requests, page.world.calls) == ([], [])


async def test_the_outcome_of_a_booking_is_its_callers_and_is_not_kept() -> None:
    page = Page(Booked(APPOINTMENT))
    page.scripted.known[f"page {KEY}"] = BookingResult(Booked(APPOINTMENT), replayed=True)
    text = "query($key: String!) { bookingOutcome(idempotencyKey: $key) { __typename } }"

    found = await page.graph.ask(text, key=KEY)
    unknown = await page.graph.ask(text, key=f"{KEY}-other")

    assert found.data == {"bookingOutcome": {"__typename": "AppointmentBooked"}}
    assert (unknown.data, unknown.errors) == ({"bookingOutcome": None}, [])
    assert not found.reading.is_kept


async def test_an_appointment_is_read_with_its_owners_from_the_lists() -> None:
    page = Page(Booked(APPOINTMENT))
    sealed = page.graph.bookings.seal(APPOINTMENT) if page.graph.bookings else ""
    text = (
        "query($id: ID!) { appointment(id: $id) { leyrId careUnit { name } resource { id } healthcareService { id } } }"
    )

    found = await page.graph.ask(text, id=sealed)
    strange = await page.graph.ask(text, id=f"{sealed}aa")

    assert found.data == {
        "appointment": {
            "leyrId": "a1",
            "careUnit": {"name": "<care unit  of L0_1 in model>"},
            "resource": {"id": node_id(NodeType.RESOURCE, CLINIC, "r1")},
            "healthcareService": {"id": node_id(NodeType.HEALTHCARE_SERVICE, CLINIC, "s1")},
        }
    }
    assert strange.codes == {"NOT_FOUND"}
    assert page.scripted.read == [(CLINIC, "a1")]
    assert not found.reading.is_kept


async def test_a_booking_has_an_answer_where_lists_cannot_be_had() -> None:
    page = Page(Booked(Appointment(CareUnitKey("model", "gone"), "a1", "new state", SLOT.start)))
    text = BOOK.replace("leyrId status", "careUnit { id name } resource { id } status")

    answer = await page.graph.ask(text, input={"idempotencyKey": KEY, "timeslotIds": [SLOT_ID], "patient": DETAILS})

    assert answer.errors == []
    assert answer.data is not None
    shown = answer.data["bookAppointment"]["appointment"]
    assert (shown["careUnit"]["name"], shown["resource"], shown["status"], shown["statusRaw"]) == (
        "gone",
        None,
        "UNKNOWN",
        "new state",
    )


async def test_alternatives_are_of_the_same_service_the_nearest_of_its_resource_first() -> None:
    page = Page(Taken((WANTED,)))
    text = """mutation($input: BookAppointmentInput!) { bookAppointment(input: $input) {
      ... on TimeslotTaken { alternatives(first: 3) { start resource { leyrId } healthcareService { leyrId } } } } }"""
    page.world.units[CLINIC] = Unit(services=("s1",))

    answer = await page.graph.ask(text, input={"idempotencyKey": KEY, "timeslotIds": [SLOT_ID], "patient": DETAILS})

    assert answer.errors == []
    assert answer.data is not None
    found = answer.data["bookAppointment"]["alternatives"]
    days = [(datetime.fromisoformat(each["start"]) - START).days for each in found]
    assert [(day, each["resource"]["leyrId"]) for day, each in zip(days, found, strict=True)] == [
        (1, "r1"),
        (2, "r1"),
        (0, "r2"),
    ]


@pytest.mark.parametrize(("unit", "first", "code"), [("gone", 5, "NOT_FOUND"), ("L0_1", -1, "BAD_USER_INPUT")])
async def test_alternatives_that_cannot_be_had_are_null_with_an_error(unit: str, first: int, code: str) -> None:
    page = Page(Taken((TimeslotId(CareUnitKey("model", unit), START, None, "r1", "s1"),)))
    more = f"... on TimeslotTaken {{ alternatives(first: {first}) {{ id }} }} ... on AppointmentBooked"
    text = BOOK.replace("... on AppointmentBooked", more)

    answer = await page.graph.ask(text, input={"idempotencyKey": KEY, "timeslotIds": [SLOT_ID], "patient": DETAILS})

    assert answer.data is not None
    assert answer.data["bookAppointment"]["alternatives"] is None
    assert answer.data["bookAppointment"]["reason"] == "TIMESLOT_TAKEN"
    assert answer.codes == {code}


async def test_a_mutations_own_calls_are_counted_before_it_runs() -> None:
    page = Page(Booked(APPOINTMENT))
    given = {"idempotencyKey": KEY, "timeslotIds": [SLOT_ID] * 2, "patient": DETAILS}

    refused = await page.graph.ask(BOOK, limits=OperationLimits(9), input=given)
    passed = await page.graph.ask(BOOK, limits=OperationLimits(10), input=given)

    assert refused.codes == {"OPERATION_TOO_LARGE"}
    assert passed.errors == []
    assert len(page.requests) == 1


async def test_capabilities_are_the_profiles() -> None:
    page = Page(Booked(APPOINTMENT))

    answer = await page.graph.ask("{ emrs { capabilities { book patientBy } careUnits { capabilities { cancel } } } }")

    (emr,) = (answer.data or {})["emrs"]
    assert emr["capabilities"] == {
        "book": "UNKNOWN",
        "patientBy": ["LEYR_ID", "EMR_ID", "NATIONAL_NUMBER", "DETAILS"],
    }
    assert emr["careUnits"][0] == {"capabilities": {"cancel": "UNKNOWN"}}
