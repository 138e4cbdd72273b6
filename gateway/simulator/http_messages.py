"""Requests to Leyr, and its responses and error envelope (docs pages D12-D17, leyr-api.md 6.1)."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from urllib.parse import parse_qs, unquote
from uuid import uuid4

import orjson
from starlette.types import Receive, Scope, Send


@dataclass(frozen=True, slots=True)
class Response:
    """A response to a client."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    record: Mapping[str, object] = field(default_factory=dict)
    """What the call log tells of it beside its status; nothing of a patient but Leyr's id."""

    def start(self, *, length: int | None) -> dict[str, object]:
        """Make the ASGI message that starts the response; without a length its body is sent in chunks."""
        headers = [(b"content-type", self.content_type.encode()), *self.headers]
        if length is not None:
            headers.append((b"content-length", str(length).encode()))
        return {"type": "http.response.start", "status": self.status, "headers": headers}

    async def send(self, send: Send) -> None:
        """Send the head and the body."""
        await send(self.start(length=len(self.body)))
        await send({"type": "http.response.body", "body": self.body})


_TITLES = {
    "BAD_REQUEST": "Request validation failed",
    "UNAUTHORIZED": "Unauthorized",
    "EMR_ERROR": "Internal EMR error",
    "UNKNOWN_ERROR": "Unknown error",
    "SERVICE_UNAVAILABLE": "Service unavailable",
    # No docs page shows the following three; chosen in the manner of the others.
    "NOT_FOUND": "Not found",
    "METHOD_NOT_ALLOWED": "Method not allowed",
    "TOO_MANY_REQUESTS": "Too many requests",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One of an envelope's `errors`; what the EHR itself said is null in the documentation's only sample."""

    error_code: str
    details: str
    emr_error: str | None = None

    def to_json(self) -> dict[str, object]:
        """Give Leyr's JSON."""
        return {
            "error_code": self.error_code,
            "details": self.details,
            "path": None,
            "emr_error": self.emr_error,
        }


@dataclass(eq=False)
class LeyrError(Exception):
    """An error as Leyr reports it; without problems it has no `errors`, as older samples show."""

    status: int
    code: str
    detail: str
    problems: tuple[Problem, ...] = ()
    headers: tuple[tuple[bytes, bytes], ...] = ()
    record: Mapping[str, object] = field(default_factory=dict)
    """What the call log tells of the call beside the outcome."""

    def response(self) -> Response:
        """Write the error envelope, with a fresh `instance`."""
        envelope: dict[str, object] = {
            "code": self.code,
            "status": self.status,
            "title": _TITLES[self.code],
            "type": f"https://docs.leyr.io/api/error-handling/{self.code.lower()}",
            "detail": self.detail,
            "instance": str(uuid4()),
        }
        if self.problems:
            envelope["errors"] = [problem.to_json() for problem in self.problems]
        outcome = ", ".join(problem.error_code for problem in self.problems) or self.code
        record = {**self.record, "outcome": outcome}
        return Response(orjson.dumps(envelope), self.status, headers=self.headers, record=record)


def rejected(error_code: str, details: str, emr_error: str | None = None) -> LeyrError:
    """Make a 400 with one of the error codes of docs page D12."""
    return LeyrError(400, "BAD_REQUEST", details, (Problem(error_code, details, emr_error),))


@contextmanager
def recorded_as(**record: object) -> Iterator[None]:
    """Have the call log tell more of a call that is refused within the block."""
    try:
        yield
    except LeyrError as error:
        error.record = {**record, **error.record}
        raise


def check_all(*checks: Callable[[], object]) -> None:
    """Make every check, and report what all of them reject in one envelope. Raises LeyrError."""
    problems: list[Problem] = []
    for check in checks:
        try:
            check()
        except LeyrError as error:
            if not error.problems:
                raise
            problems += error.problems
    if problems:
        raise LeyrError(400, "BAD_REQUEST", "\n".join(each.details for each in problems), tuple(problems))


def invalid(*location: str, message: str) -> LeyrError:
    """Make a 400 with Pydantic-like text but no `errors` (docs page D13)."""
    text = f"1 validation error for Request\n{' -> '.join(location)}\n  {message}"
    return LeyrError(400, "BAD_REQUEST", text)


Endpoint = Literal[
    "care_units",
    "resources",
    "resource",
    "healthcare_services",
    "timeslots",
    "appointments",
    "book_appointment",
    "change_appointment",
    "patients",
    "patient",
    "create_patient",
]
WRITES: Mapping[Endpoint, str] = {
    "book_appointment": "POST",
    "change_appointment": "PATCH",
    "create_patient": "POST",
}
"""The endpoints that write, and their methods; all others are read with GET."""
ABOUT_PATIENTS: frozenset[Endpoint | None] = frozenset((*WRITES, "appointments", "patients", "patient"))
_LISTS: dict[str, Endpoint] = {
    "resources": "resources",
    "healthcare-services": "healthcare_services",
    "timeslots": "timeslots",
    "appointments": "appointments",
    "patients": "patients",
}
_POSTS: dict[str, Endpoint] = {"appointments": "book_appointment", "patients": "create_patient"}
_ITEMS: dict[str, Endpoint] = {
    "resources": "resource",
    "appointments": "change_appointment",
    "patients": "patient",
}
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)")


def read_instant(text: str, *location: str) -> float:
    """Give a time as seconds since 1970; it must carry an offset. Raises LeyrError."""
    # Pydantic takes more forms than this one; docs page D1 promises only ISO 8601 with an offset.
    if _INSTANT.fullmatch(text):
        with suppress(ValueError, OverflowError):
            return datetime.fromisoformat(text).timestamp()
    raise invalid(*location, message="invalid datetime format (type=value_error.datetime)")


@dataclass(frozen=True, slots=True)
class Route:
    """The endpoint and the ids that a path names; no endpoint where Leyr documents none."""

    endpoint: Endpoint | None = None
    emr: str | None = None
    care_unit: str | None = None
    item: str | None = None
    """The id of one resource, appointment or patient, which may be a typed one."""

    @classmethod
    def of(cls, raw_path: str, method: str) -> "Route":
        """Parse a path, split before it is decoded because ids may hold slashes."""
        match [unquote(segment) for segment in raw_path.split("/")]:
            case ["", "api", "emrs", emr, "care-units"]:
                return cls("care_units", emr)
            case ["", "api", "emrs", emr, "care-units", unit, kind] if kind in _LISTS:
                lists = _POSTS if method == "POST" and kind in _POSTS else _LISTS
                return cls(lists[kind], emr, unit)
            case ["", "api", "emrs", emr, "care-units", unit, kind, item] if kind in _ITEMS:
                return cls(_ITEMS[kind], emr, unit, item)
            case ["", "api", "emrs", emr, "care-units", unit, *_]:
                return cls(None, emr, unit)
            case ["", "api", "emrs", emr, *_]:
                return cls(None, emr)
        return cls()

    @property
    def resource(self) -> str | None:
        """The id of the resource that the path is about."""
        return self.item if self.endpoint == "resource" else None


_MOST_BODY_BYTES = 64 * 2**10


async def read_body(receive: Receive) -> bytes:
    """Read a request's body, and give nothing of one that is too large or does not come as a whole."""
    body = bytearray()
    while len(body) <= _MOST_BODY_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)
    return b""


@dataclass(frozen=True, slots=True)
class Request:
    """A request to one of Leyr's paths."""

    method: str
    path: str
    """As received, undecoded."""
    query: str
    """As received, undecoded."""
    headers: Mapping[str, str]
    route: Route
    params: Mapping[str, list[str]]
    """The decoded query; an unencoded `+` has become a space, as URL rules have it."""
    body: bytes = b""
    """Empty where it was too large, or did not come as a whole."""
    number: int = 0
    """The number of the call in the call log."""
    resets: int = 0
    """How often the simulator had been reset when the call began."""

    @classmethod
    def of(cls, scope: Scope) -> "Request":
        """Make the request of an ASGI scope."""
        path = scope["raw_path"].decode("latin-1")
        query = scope["query_string"].decode("latin-1")
        return cls(
            method=scope["method"],
            path=path,
            query=query,
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
            route=Route.of(path, scope["method"]),
            params=parse_qs(query, keep_blank_values=True),
        )

    def value(self, name: str) -> str | None:
        """Give a query parameter that may be sent once. Raises LeyrError."""
        values = self.params.get(name, [])
        if len(values) > 1:
            raise invalid("query", name, message="only one value is permitted (type=value_error.list.max_items)")
        return values[0] if values else None

    def instant(self, name: str) -> float:
        """Give a required time as seconds since 1970; it must carry an offset. Raises LeyrError."""
        text = self.value(name)
        if text is None:
            raise invalid("query", name, message="field required (type=value_error.missing)")
        return read_instant(text, "query", name)
