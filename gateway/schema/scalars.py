"""The scalars: instants with an offset, days of the calendar, and local times of day."""

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from typing import NewType, TypeVar

from graphql import GraphQLError, StringValueNode, ValueNode
from strawberry import scalar
from strawberry.types.scalar import ScalarDefinition

T = TypeVar("T")
DateTime = NewType("DateTime", str)
"""An instant on its way out: the EHR's own text, checked when it was read."""


PLAIN_SCALARS = frozenset({"DateTime"})
"""The scalars whose Python value is the text that leaves."""


def scalar_map() -> Mapping[object, ScalarDefinition]:
    """The Python types that are scalars: DateTime is aware datetimes as arguments, and the EHR's text in answers."""
    date_time = scalar(
        name="DateTime",
        description=(
            "An instant as RFC 3339 text with an offset, such as `2026-12-01T09:00:00+01:00`. Text without an "
            "offset is refused. Answers keep the offset that the EHR gave: compare instants, never strings."
        ),
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339#section-5.6",
        serialize=_write,
        parse_value=parse_date_time,
        parse_literal=_literal(parse_date_time),
    )
    local_date = scalar(
        name="Date",
        description=(
            "A day of the calendar in a named time zone, as RFC 3339 full-date text such as `2026-12-01`. It has no "
            "offset and no fixed length: a day may last 23 or 25 hours."
        ),
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339#section-5.6",
        serialize=date.isoformat,
        parse_value=parse_date,
        parse_literal=_literal(parse_date),
    )
    local_time = scalar(
        name="LocalTime",
        description=(
            "A time of day on local clocks, as `HH:MM` or `HH:MM:SS` without an offset, from `00:00` to `23:59:59`."
        ),
        serialize=time.isoformat,
        parse_value=parse_local_time,
        parse_literal=_literal(parse_local_time),
    )
    return {datetime: date_time, DateTime: date_time, date: local_date, time: local_time}


def parse_date_time(value: object) -> datetime:
    """Read a client's text. Raises GraphQLError, which says what is wrong without quoting the text."""
    if not isinstance(value, str) or not _FORM.fullmatch(value):
        raise GraphQLError(
            "A DateTime is RFC 3339 text with an offset, such as 2026-12-01T09:00:00+01:00 or 2026-12-01T08:00:00Z"
        )
    try:
        moment = datetime.fromisoformat(value.upper())
    except ValueError:
        raise GraphQLError("This DateTime names a day or a time that does not exist") from None
    # Room on both sides, so that no change of time zone leaves the calendar.
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise GraphQLError(f"A DateTime lies in the years {_FIRST_YEAR} to {_LAST_YEAR}")
    return moment


def parse_date(value: object) -> date:
    """Read a client's text. Raises GraphQLError, as `parse_date_time` does."""
    if not isinstance(value, str) or not _DATE_FORM.fullmatch(value):
        raise GraphQLError("A Date is RFC 3339 full-date text, such as 2026-12-01")
    try:
        day = date.fromisoformat(value)
    except ValueError:
        raise GraphQLError("This Date names a day that does not exist") from None
    if not _FIRST_YEAR <= day.year <= _LAST_YEAR:
        raise GraphQLError(f"A Date lies in the years {_FIRST_YEAR} to {_LAST_YEAR}")
    return day


def parse_local_time(value: object) -> time:
    """Read a client's text. Raises GraphQLError, as `parse_date_time` does."""
    if not isinstance(value, str) or not _TIME_FORM.fullmatch(value):
        raise GraphQLError("A LocalTime is a time of day without an offset, such as 09:00 or 09:00:00")
    try:
        return time.fromisoformat(value)
    except ValueError:
        raise GraphQLError("This LocalTime names a time that does not exist") from None


def _literal(parse: Callable[[object], T]) -> Callable[..., T]:
    """The parser of a literal in a document: where it is refused, the error names its place."""

    def parse_literal(node: ValueNode, _: object = None) -> T:
        try:
            return parse(node.value if isinstance(node, StringValueNode) else None)
        except GraphQLError as error:
            raise GraphQLError(error.message, node) from None

    return parse_literal


def _write(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a DateTime leaves as the text that the EHR gave")
    return value


_FIRST_YEAR, _LAST_YEAR = 1900, 9000
_DATE_FORM = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME_FORM = re.compile(r"\d\d:\d\d(:\d\d)?", re.ASCII)
_FORM = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
