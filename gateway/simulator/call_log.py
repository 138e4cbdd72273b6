"""The calls that the simulator received, for tests that state upstream calls.

Credentials are not in it, and a patient is shown by Leyr's id alone: names and every other id are stars.
"""

import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, unquote_plus

from gateway.simulator.http_messages import ABOUT_PATIENTS, WRITES, Request

_MOST_CALLS = 20_000
_MOST_WRITES = 100_000
_SECRET_HEADERS = ("x-leyr-client-id", "x-leyr-client-secret", "authorization", "cookie")
"""Shown as `present`. Leyr documents only the first two; a client should not send the others."""
_SHOWN_HEADERS = ("content-type", "accept", "x-leyr-standard")
_PERSONAL_PARAMETERS = ("patient_id", "first_name", "last_name", "external_id")
_ID_TYPE = re.compile(r"([a-z_]+):")
# Numbers of doctors too, and on paths that Leyr does not have.
_NUMBER_TYPE = re.compile(r"((?:se|no)_personal_number|nhs_number):")
_WORDS_NEAR_PERSONS = ("patient", "_number", "_name", "external_id")

Call = dict[str, Any]
"""One call in the JSON of `/__calls`; its `status` and `ended_at` are null until its response is sent.

Calls about appointments and patients also have `number`, `operation`, Leyr's ids of `patient` and `appointment` where
they are known, `outcome` (the appointment's status, what was done, or the error codes; `waits` and `not_written` where
a fault keeps the write back), `fault`, and `write`: what the fault made of the write.
"""


class CallLog:
    """Counts of all calls, and the most recent 20 000 in full; of those that write, 100 000."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._calls: deque[Call] = deque(maxlen=_MOST_CALLS)
        self._writes: deque[Call] = deque(maxlen=_MOST_WRITES)
        self._counts: Counter[tuple[str | None, str]] = Counter()
        self._in_flight: Counter[str | None] = Counter()
        self._max_in_flight: dict[str | None, int] = {}
        self._number = 0

    @contextmanager
    def recorded(self, request: Request) -> Iterator[Call]:
        """Record a call from its arrival to its end."""
        route = request.route
        emr, endpoint = route.emr, route.endpoint or "unknown"
        call: Call = {
            "method": request.method,
            "path": request.path,
            "query": request.query,
            "endpoint": endpoint,
            "emr": emr,
            "care_unit": route.care_unit,
            "resource": route.resource,
            # A parameter sent twice shows as a list, since Leyr documents none that may be.
            "params": {name: values[0] if len(values) == 1 else values for name, values in request.params.items()},
            "status": None,
            "headers": _shown_headers(request.headers),
            "started_at": self._clock(),
            "ended_at": None,
        }
        if endpoint in ABOUT_PATIENTS or any(word in request.path + request.query for word in _WORDS_NEAR_PERSONS):
            call |= _without_persons(request)
        if endpoint in ABOUT_PATIENTS:
            self._number += 1
            call |= {"number": self._number, "outcome": None}
        if endpoint in WRITES:
            self._writes.append(call)
        in_flight = self._in_flight
        self._calls.append(call)
        self._counts[emr, endpoint] += 1
        in_flight[emr] += 1
        self._max_in_flight[emr] = max(self._max_in_flight.get(emr, 0), in_flight[emr])
        try:
            yield call
        finally:
            in_flight[emr] -= 1
            call["ended_at"] = self._clock()

    def to_json(self, emr: str | None = None, endpoint: str | None = None) -> dict[str, object]:
        """Give the JSON of `/__calls`, for one EHR or for all; the calls alone also for one endpoint."""
        by_endpoint: Counter[str] = Counter()
        for (called_emr, called), count in self._counts.items():
            if emr in (None, called_emr):
                by_endpoint[called] += count
        return {
            "total": by_endpoint.total(),
            "calls": [
                call
                for call in (self._writes if endpoint in WRITES else self._calls)
                if emr in (None, call["emr"]) and endpoint in (None, call["endpoint"])
            ],
            "by_endpoint": dict(by_endpoint),
            "max_in_flight": {code: most for code, most in self._max_in_flight.items() if code is not None},
        }

    def clear(self) -> None:
        """Forget every call; those in flight are no longer counted."""
        self._calls.clear()
        self._writes.clear()
        self._counts.clear()
        self._max_in_flight.clear()
        self._in_flight = Counter()
        self._number = 0


def _shown_headers(headers: Mapping[str, str]) -> dict[str, str]:
    shown = {name: headers[name] for name in _SHOWN_HEADERS if name in headers}
    return shown | {name: "present" for name in _SECRET_HEADERS if name in headers}


def _without_persons(request: Request) -> Call:
    """Give what a call log shows of a request's URL that may name a person."""
    segments = request.path.split("/")
    before = ["", *segments]
    pairs = (pair.partition("=") for pair in request.query.split("&"))
    return {
        "path": "/".join(
            _starred(segment, _ID_TYPE) if former == "patients" else _starred(segment, _NUMBER_TYPE, segment)
            for former, segment in zip(before, segments, strict=False)
        ),
        "query": "&".join(name + equals + _shown_value(unquote_plus(name), value) for name, equals, value in pairs),
        "params": {
            name: _shown_value(name, values[0]) if len(values) == 1 else [_shown_value(name, each) for each in values]
            for name, values in request.params.items()
        },
        "resource": request.route.resource and _starred(request.route.resource, _NUMBER_TYPE, request.route.resource),
    }


def _shown_value(name: str, value: str) -> str:
    return _starred(value, _ID_TYPE) if name in _PERSONAL_PARAMETERS else _starred(value, _NUMBER_TYPE, value)


def _starred(text: str, id_type: re.Pattern[str], other: str = "*") -> str:
    """Show only the type of an id, or `other` where it has none."""
    found = id_type.match(unquote(text))
    return f"{found[1]}:*" if found else other
