"""The scalars, enums and inputs of the booking schema."""

from datetime import date
from enum import Enum
from typing import Any, NewType, cast

import strawberry
from strawberry import UNSET

LocalTime = NewType("LocalTime", str)
Day = NewType("Day", str)


def _refused(value: Any) -> str:
    if not isinstance(value, str) or ":" not in value:
        raise ValueError("a time has a colon")
    return value


def _shown(value: Any) -> str:
    if value == "refused":
        raise ValueError("no time to show")
    return str(value)


LOCAL_TIME = strawberry.scalar(name="LocalTime", serialize=_shown, parse_value=_refused)
DAY = strawberry.scalar(name="Day", serialize=str, parse_value=date.fromisoformat)


@strawberry.enum
class Weekday(Enum):
    MONDAY = 1
    SUNDAY = 7


@strawberry.enum
class Reason(Enum):
    TAKEN = "taken"
    LATE = "late"


@strawberry.input
class TimeOfDay:
    from_: LocalTime = strawberry.field(name="from")
    to: LocalTime = cast("LocalTime", "23:59")


@strawberry.input
class Days:
    begin: Day | None = None
    count: int = 30


@strawberry.input
class Instants:
    start: LocalTime
    end: LocalTime | None = UNSET


@strawberry.input(one_of=True)
class Range:
    days: strawberry.Maybe[Days]
    instants: strawberry.Maybe[Instants]


@strawberry.input
class Filter:
    ids: list[strawberry.ID] | None = UNSET
    weekdays: list[Weekday] | None = UNSET
    favourite: Weekday = Weekday.MONDAY
    time: TimeOfDay | None = None
    others: list[TimeOfDay] = strawberry.field(default_factory=lambda: [TimeOfDay(from_=LocalTime("07:00"))])
    note: strawberry.Maybe[str | None]
    least: int = 5
