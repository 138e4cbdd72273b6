"""The calls that the simulator received, without their credentials, for tests that state upstream calls."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from gateway.simulator.http_messages import Request

_MOST_CALLS = 20_000
_SECRET_HEADERS = ("x-leyr-client-id", "x-leyr-client-secret", "authorization", "cookie")
"""Shown as `present`. Leyr documents only the first two; a client should not send the others."""
_SHOWN_HEADERS = ("content-type", "accept", "x-leyr-standard")


Call = dict[str, object]
"""One call in the JSON of `/__calls`; its `status` and `ended_at` are null until its response is sent."""


class CallLog:
    """Counts of all calls, and the most recent 20 000 in full."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._calls: deque[Call] = deque(maxlen=_MOST_CALLS)
        self._counts: Counter[tuple[str | None, str]] = Counter()
        self._in_flight: Counter[str | None] = Counter()
        self._max_in_flight: dict[str | None, int] = {}

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

    def to_json(self, emr: str | None = None) -> dict[str, object]:
        """Give the JSON of `/__calls`, for one EHR or for all."""
        by_endpoint: Counter[str] = Counter()
        for (called_emr, endpoint), count in self._counts.items():
            if emr in (None, called_emr):
                by_endpoint[endpoint] += count
        return {
            "total": by_endpoint.total(),
            "calls": [call for call in self._calls if emr in (None, call["emr"])],
            "by_endpoint": dict(by_endpoint),
            "max_in_flight": {code: most for code, most in self._max_in_flight.items() if code is not None},
        }

    def clear(self) -> None:
        """Forget every call; those in flight are no longer counted."""
        self._calls.clear()
        self._counts.clear()
        self._max_in_flight.clear()
        self._in_flight = Counter()


def _shown_headers(headers: Mapping[str, str]) -> dict[str, str]:
    shown = {name: headers[name] for name in _SHOWN_HEADERS if name in headers}
    return shown | {name: "present" for name in _SECRET_HEADERS if name in headers}
