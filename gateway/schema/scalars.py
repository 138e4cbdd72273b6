"""The DateTime scalar: an instant with an offset, in RFC 3339 text."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import NewType

from graphql import GraphQLError, StringValueNode, ValueNode
from strawberry import scalar
from strawberry.types.scalar import ScalarDefinition

DateTime = NewType("DateTime", str)
"""An instant on its way out: the EHR's own text, checked when it was read."""


PLAIN_SCALARS = frozenset({"DateTime"})
"""The scalars whose Python value is the text that leaves."""


def scalar_map() -> Mapping[object, ScalarDefinition]:
    """The Python types that are DateTime: aware datetimes as arguments, the EHR's text in answers."""
    date_time = scalar(
        name="DateTime",
        description=(
            "An instant as RFC 3339 text with an offset, such as `2026-12-01T09:00:00+01:00`. Text without an "
            "offset is refused. Answers keep the offset that the EHR gave: compare instants, never strings."
        ),
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339#section-5.6",
        serialize=_write,
        parse_value=parse_date_time,
        parse_literal=_parse_literal,
    )
    return {datetime: date_time, DateTime: date_time}


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


def _parse_literal(node: ValueNode, _: object = None) -> datetime:
    try:
        return parse_date_time(node.value if isinstance(node, StringValueNode) else None)
    except GraphQLError as error:
        raise GraphQLError(error.message, node) from None


def _write(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a DateTime leaves as the text that the EHR gave")
    return value


_FIRST_YEAR, _LAST_YEAR = 1900, 9000
_FORM = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
