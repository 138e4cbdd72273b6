"""Requests to Leyr, and its responses and error envelope (docs pages D12-D17, leyr-api.md 6.1)."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from urllib.parse import parse_qs, unquote
from uuid import uuid4

import orjson
from starlette.types import Scope, Send


@dataclass(frozen=True, slots=True)
class Response:
    """A response to a client."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()

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


@dataclass(eq=False)
class LeyrError(Exception):
    """An error as Leyr reports it; without an error code it has no `errors`, as older samples show."""

    status: int
    code: str
    detail: str
    error_code: str | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()

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
        if self.error_code is not None:
            envelope["errors"] = [
                {"error_code": self.error_code, "details": self.detail, "path": None, "emr_error": None}
            ]
        return Response(orjson.dumps(envelope), self.status, headers=self.headers)


def rejected(error_code: str, details: str) -> LeyrError:
    """Make a 400 with one of the error codes of docs page D12."""
    return LeyrError(400, "BAD_REQUEST", details, error_code)


def invalid(*location: str, message: str) -> LeyrError:
    """Make a 400 with Pydantic-like text but no `errors` (docs page D13)."""
    text = f"1 validation error for Request\n{' -> '.join(location)}\n  {message}"
    return LeyrError(400, "BAD_REQUEST", text)


Endpoint = Literal["care_units", "resources", "resource", "healthcare_services", "timeslots"]
_LISTS: dict[str, Endpoint] = {
    "resources": "resources",
    "healthcare-services": "healthcare_services",
    "timeslots": "timeslots",
}
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)")


@dataclass(frozen=True, slots=True)
class Route:
    """The endpoint and the ids that a path names; no endpoint where Leyr documents none."""

    endpoint: Endpoint | None = None
    emr: str | None = None
    care_unit: str | None = None
    resource: str | None = None

    @classmethod
    def of(cls, raw_path: str) -> "Route":
        """Parse a path, split before it is decoded because ids may hold slashes."""
        match [unquote(segment) for segment in raw_path.split("/")]:
            case ["", "api", "emrs", emr, "care-units"]:
                return cls("care_units", emr)
            case ["", "api", "emrs", emr, "care-units", unit, kind] if kind in _LISTS:
                return cls(_LISTS[kind], emr, unit)
            case ["", "api", "emrs", emr, "care-units", unit, "resources", resource]:
                return cls("resource", emr, unit, resource)
            case ["", "api", "emrs", emr, "care-units", unit, *_]:
                return cls(None, emr, unit)
            case ["", "api", "emrs", emr, *_]:
                return cls(None, emr)
        return cls()


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
            route=Route.of(path),
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
        # Pydantic takes more forms than this one; docs page D1 promises only ISO 8601 with an offset.
        if _INSTANT.fullmatch(text):
            with suppress(ValueError, OverflowError):
                return datetime.fromisoformat(text).timestamp()
        raise invalid("query", name, message="invalid datetime format (type=value_error.datetime)")
