"""The arguments that `availability` fields share, and what they ask for."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from enum import Enum
from typing import Annotated, Any, TypeAlias, TypeVar

import strawberry
from strawberry import UNSET

from gateway.domain import availability as domain
from gateway.domain.availability import ALL_FREE_TIMES, AvailabilityRequest
from gateway.schema.timeslot import given

T = TypeVar("T")


@strawberry.enum(description="A day of the week on local calendars. FHIR R4: DaysOfWeek.")
class Weekday(Enum):
    """The days in the order of Python's weekday()."""

    MONDAY = strawberry.enum_value(0, description="Monday, the first day of the week by ISO 8601.")
    TUESDAY = strawberry.enum_value(1, description="Tuesday.")
    WEDNESDAY = strawberry.enum_value(2, description="Wednesday.")
    THURSDAY = strawberry.enum_value(3, description="Thursday.")
    FRIDAY = strawberry.enum_value(4, description="Friday.")
    SATURDAY = strawberry.enum_value(5, description="Saturday.")
    SUNDAY = strawberry.enum_value(6, description="Sunday.")


@strawberry.input(
    description=(
        "Whole local days that follow each other. What has begun when the request is answered is not free in them."
    )
)
class DayRange:
    """Local days."""

    from_: date | None = strawberry.field(
        name="from",
        default=UNSET,
        description="The first day, in the care unit's zone or in `timeZone`. Today when left out.",
    )
    count: int = strawberry.field(default=30, description="How many days, at least 1; the gateway sets the most.")


@strawberry.input(
    description=(
        "A half-open stretch of time: a slot belongs to it by its `start`. It is taken as it is, also where it is past."
    )
)
class InstantRange:
    """Instants."""

    start: datetime = strawberry.field(description="The first instant.")
    end: datetime = strawberry.field(
        description="The first instant after the range, so not part of it. One that is not after `start` is refused."
    )


@strawberry.input(
    one_of=True,
    description="Exactly one: local days, or instants. Where the range is left out, it is 30 local days from today.",
)
class AvailabilityRange:
    """Either of them."""

    days: strawberry.Maybe[DayRange] = strawberry.field(description="Whole local days, such as those of a month.")
    instants: strawberry.Maybe[InstantRange] = strawberry.field(description="From one instant until another.")


@strawberry.input(
    description=(
        "A part of each local day, half-open; what `availability` calls local is the care unit's zone, or `timeZone`. "
        "Where `to` is earlier than `from`, it lies on the next day, so that 22:00 to 06:00 is a night."
    )
)
class TimeOfDayRange:
    """Local times of day."""

    from_: time = strawberry.field(name="from", description="The first local time.")
    to: time = strawberry.field(
        description="The first local time that is not part of it. It may not be equal to `from`."
    )


@strawberry.input(
    description=(
        "Which free times are meant: those that pass all that is given. An empty list lets nothing pass; what is left "
        "out or null lets all pass."
    )
)
class AvailabilityFilter:
    """The filter as clients write it."""

    resource_ids: list[strawberry.ID] | None = strawberry.field(
        default=UNSET,
        description=(
            "Only of these resources: node ids, and below a care unit `leyrId`s too. Ids of care units that are not "
            "asked are ignored."
        ),
    )
    healthcare_service_ids: list[strawberry.ID] | None = strawberry.field(
        default=UNSET,
        description=(
            "Only for these services: node ids, and below a care unit `leyrId`s too. Ids of care units that are not "
            "asked are ignored."
        ),
    )
    healthcare_service_names: list[str] | None = strawberry.field(
        default=UNSET,
        description=(
            "Only for services of these names, whatever their case and the spaces around them. Ids of services differ "
            "between care units, names reach over several."
        ),
    )
    weekdays: list[Weekday] | None = strawberry.field(
        default=UNSET, description="Only what begins on these local days of the week."
    )
    time_of_day: TimeOfDayRange | None = strawberry.field(
        default=UNSET, description="Only what begins in this part of the local day."
    )
    minimum_notice_minutes: int | None = strawberry.field(
        default=UNSET,
        description="Only what begins so many minutes after the request is answered, or later. It may not be negative.",
    )
    minimum_duration_minutes: int | None = strawberry.field(
        default=UNSET,
        description=(
            "Only what lasts so many minutes or longer; a slot whose end the EHR does not give is left out. It may not "
            "be negative."
        ),
    )


Range: TypeAlias = Annotated[
    AvailabilityRange | None,
    strawberry.argument(
        description="The days or the instants that are asked about. 30 local days from today when left out."
    ),
]
TimeZone: TypeAlias = Annotated[
    str | None,
    strawberry.argument(
        description=(
            "The IANA name of the zone whose days, weekdays and times of day are meant, such as `Europe/Stockholm`. "
            "Each care unit's own when left out."
        )
    ),
]
Filter: TypeAlias = Annotated[
    AvailabilityFilter | None,
    strawberry.argument(description="Which of the free times are meant. All when left out."),
]


def requested_of_units(care_unit_ids: Sequence[str], **asked: Any) -> AvailabilityRequest:  # noqa: ARG001 # it names the care units, and asks nothing of them
    """The same where care units are named beside. Raises BadUserInput."""
    return requested(**asked)


def requested(
    range: AvailabilityRange | None = UNSET,  # noqa: A002 # GraphQL's name
    time_zone: str | None = UNSET,
    filter: AvailabilityFilter | None = UNSET,  # noqa: A002 # as before
) -> AvailabilityRequest:
    """What the arguments ask for. Raises BadUserInput."""
    return AvailabilityRequest(_range(given(range)), given(time_zone), _filter(given(filter)))


def _range(asked: AvailabilityRange | None) -> domain.DayRange | domain.InstantRange | None:
    if asked is None:
        return None
    if asked.days:
        days = asked.days.value
        return domain.DayRange(given(days.from_), days.count)
    if asked.instants:
        instants = asked.instants.value
        return domain.InstantRange(instants.start, instants.end)
    return None


def _filter(asked: AvailabilityFilter | None) -> domain.AvailabilityFilter:
    if asked is None:
        return ALL_FREE_TIMES
    hours, weekdays = given(asked.time_of_day), given(asked.weekdays)
    return domain.AvailabilityFilter(
        _listed(asked.resource_ids),
        _listed(asked.healthcare_service_ids),
        _listed(asked.healthcare_service_names),
        None if weekdays is None else frozenset(list(Weekday).index(each) for each in weekdays),
        None if hours is None else domain.TimeOfDayRange(hours.from_, hours.to),
        _minutes(asked.minimum_notice_minutes),
        _minutes(asked.minimum_duration_minutes),
    )


def _listed(values: Sequence[T] | None) -> tuple[T, ...] | None:
    found = given(values)
    return None if found is None else tuple(found)


def _minutes(minutes: int | None) -> timedelta | None:
    found = given(minutes)
    return None if found is None else timedelta(minutes=found)
