"""What generated queries are made of, and what every answer to one must be.

Schemathesis loads this file in an environment of its own, so nothing of the gateway can be imported here.
"""

from datetime import datetime, timedelta, timezone
from typing import Any

import schemathesis  # type: ignore[import-not-found] # it is installed beside this environment, not in it
from hypothesis import strategies as st
from schemathesis.graphql import nodes  # type: ignore[import-not-found] # as above

CLIENTS_FAULTS = frozenset({"BAD_USER_INPUT", "NOT_FOUND", "OPERATION_TOO_LARGE"})
_zones = st.integers(-24, 24).map(lambda halves: timezone(timedelta(minutes=30 * halves)))
# Days around the simulated present: windows of any length, or none, and on both sides of a change of the clock.
_instants = st.datetimes(datetime(2026, 10, 1), datetime(2027, 2, 1), timezones=_zones)  # noqa: DTZ001 # aware by `timezones`
schemathesis.graphql.scalar("DateTime", _instants.map(lambda instant: nodes.String(instant.isoformat())))
schemathesis.graphql.scalar("Date", _instants.map(lambda instant: nodes.String(instant.date().isoformat())))
schemathesis.graphql.scalar("LocalTime", _instants.map(lambda instant: nodes.String(instant.strftime("%H:%M"))))


@schemathesis.check
def only_clients_are_at_fault(_: Any, response: Any, case: Any) -> None:
    """An answer is GraphQL over HTTP, and what went wrong is neither the gateway's nor the simulated Leyr's fault."""
    assert response.status_code in {200, 400, 413}, response.status_code
    assert response.headers["content-type"][0].partition(";")[0] == "application/json"
    answer = response.json()
    assert answer.keys() <= {"data", "errors", "extensions"}
    assert answer.get("data") or answer["errors"]
    for error in answer.get("errors", ()):
        assert error["extensions"]["code"] in CLIENTS_FAULTS, error
        assert error["extensions"].keys() == {"code", "retryable", "reference", "origin"}
    assert case is not None


# Documents hold literals, which those of patients may not be; and keys and appointments have to be known.
_OF_BOOKING = ("Mutation.", "Query.bookingOutcome", "Query.appointment")


@schemathesis.check
class EveryRootFieldGaveData:
    """Queries that are all refused would show nothing; those about bookings are, as they are generated."""

    def __init__(self) -> None:
        self._asked: set[str] = set()
        self._answered: set[str] = set()

    def after_response(self, _: Any, response: Any, case: Any) -> None:
        """Remember which root field an answer holds data of."""
        if case.operation.label.startswith(_OF_BOOKING):
            return
        self._asked.add(case.operation.label)
        if any((response.json().get("data") or {}).values()):
            self._answered.add(case.operation.label)

    def after_run(self, _: Any) -> None:
        """None must be missing."""
        assert self._asked == self._answered, sorted(self._asked - self._answered)
