"""What is unknown about an EHR behind Leyr, as switches; each default is the harder choice for a client."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from gateway.simulator.ehrs import EHRS, Ehr, FilterPolicy, Operation, PatientDetail, PatientIdType


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, cache_hash=True):
    """How one EHR behaves; None in `latency_ms` means the simulator's default, in `OF_THE_EHR` the EHR's own."""

    filter_policy: FilterPolicy | None = None
    """Which filters the timeslots call demands."""
    longest_window_days: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """A longer window is answered with 400 BAD_INPUT."""
    takes_past: bool = True
    """`false`: a window that begins more than a minute ago is answered with 400 BAD_INPUT."""
    resource_ids: Literal["named", "null"] = "named"
    """`null`: slots do not name their resource, though filtering by it works."""
    service_ids: Literal["named", "null"] = "named"
    """`null`: slots do not name their service, though filtering by it works."""
    time_format: Literal["local", "utc"] = "local"
    """Local offsets, or UTC written with `Z`."""
    empty_answer: Literal["list", "error"] = "list"
    """`error`: nothing free is answered with 400 NO_TIMESLOTS_AVAILABLE."""
    membership: Literal["inside", "by_start"] = "inside"
    """A slot belongs to a window that holds all of it, or to one that holds its start (end excluded)."""
    wrapped_lists: bool = False
    """Lists come as `{"items": [...]}`."""
    ignores_filters: bool = False
    """Slots of all resources and services are returned whatever the filters say."""
    latency_ms: Annotated[float, msgspec.Meta(ge=0)] | None = None
    """Milliseconds before an answer; None means the simulator's own."""
    latency_jitter: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.3
    """Share of the latency by which it varies up and down."""

    unsupported: tuple[Operation, ...] | None = None
    """What is answered with 400 NOT_SUPPORTED."""
    checks_timeslots: bool | None = None
    """`false`: every time can be booked, free or not, and by several; it is gone from the free times all the same."""
    capacity: Annotated[int, msgspec.Meta(ge=1)] = 1
    """How many appointments a timeslot has room for."""
    books_other: Literal["start", "end", "resource", "service"] | None = None
    """What is booked otherwise than asked: the next free start, five minutes more, another resource or service."""
    patient_overlaps: Literal["accepted", "refused"] = "accepted"
    """`refused`: a patient who has an appointment at the time is told so, with 400 BAD_INPUT."""
    booking_answer: Literal["list", "object"] = "list"
    """Booking is answered with a list of one (docs page D2), or an object (D11)."""
    created_status: Literal[200, 201] = 200
    """The status of a successful POST."""
    optional_fields: bool = True
    """`false`: appointments and patients have only fields that the documentation shows, so no resource, for example."""
    longest_comment: Annotated[int, msgspec.Meta(ge=0)] = 200
    """A longer comment is answered with 400 INVALID_COMMENT_LENGTH."""
    lists_cancelled: bool = True
    """Cancelled appointments stay in the list of appointments."""
    completes_past: bool = False
    """Booked appointments that have ended are shown as `completed`."""
    booking_needs_code: bool | None = None
    """A booking is `awaiting_confirmation` until its code is sent; `GET /__appointments` shows it."""
    cancelling_needs_code: bool | None = None
    """Cancelling gives a new id, which awaits confirmation; the appointment stays booked until then."""
    confirming_changes_id: bool = True
    """A booking that is confirmed gets a new id, and its former one is not known any more."""
    cancelling_twice: Literal["refused", "accepted"] = "refused"
    """`refused`: cancelling what is cancelled is answered with 400 BAD_INPUT; `accepted`: like the first time."""
    patient_id_types: tuple[PatientIdType, ...] | None = None
    """Which types of patient ids are known; others are answered with 400 PATIENT_ID_LOOKUP_TYPE_NOT_SUPPORTED."""
    plain_patient_ids: Literal["leyr_or_emr", "emr"] = "leyr_or_emr"
    """What a patient id without a type may be; by docs page D7 it is the EHR's."""
    required_patient_detail: PatientDetail | None = None
    """What a new patient must bring: missing is MISSING_REQUIRED_FIELD, wrong is BAD_INPUT."""


OF_THE_EHR = (
    "filter_policy",
    "unsupported",
    "checks_timeslots",
    "booking_needs_code",
    "cancelling_needs_code",
    "patient_id_types",
    "required_patient_detail",
)
"""The switches whose default is what the documentation tells of each EHR."""


class BehaviourRegistry(dict[str, Behaviour]):
    """The behaviour of every EHR by its code, changeable while the simulator runs."""

    def __init__(self, at_start: Mapping[str, Behaviour], latency_ms: float) -> None:
        self._at_start = {
            code: _completed(at_start.get(code, Behaviour()), _default(ehr, latency_ms)) for code, ehr in EHRS.items()
        }
        super().__init__(self._at_start)

    def change(self, emr: str, patch: bytes) -> Behaviour:
        """Lay a JSON object of switches over an EHR's behaviour; raises msgspec.DecodeError."""
        switches = msgspec.json.decode(patch, type=dict[str, object])
        changed = msgspec.convert({**msgspec.structs.asdict(self[emr]), **switches}, Behaviour)
        self[emr] = _completed(changed, self._at_start[emr])
        return self[emr]

    def restore(self) -> None:
        """Go back to the behaviour of start-up."""
        self.update(self._at_start)


def _default(ehr: Ehr, latency_ms: float) -> Behaviour:
    return Behaviour(
        filter_policy=ehr.filter_policy,
        latency_ms=latency_ms,
        unsupported=ehr.unsupported,
        checks_timeslots=ehr.checks_timeslots,
        booking_needs_code=ehr.needs_codes,
        cancelling_needs_code=ehr.needs_codes,
        patient_id_types=ehr.patient_id_types,
        required_patient_detail=ehr.required_patient_detail,
    )


def _completed(behaviour: Behaviour, default: Behaviour) -> Behaviour:
    missing = [name for name in (*OF_THE_EHR, "latency_ms") if getattr(behaviour, name) is None]
    return msgspec.structs.replace(behaviour, **{name: getattr(default, name) for name in missing})
