"""An upstream whose answers hold a personal number wherever one can be."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from gateway.http_client.connection import Response
from tests.security.planting import digits_of

_JSON = (b"content-type", b"application/json")
_CODES = ("EMR_ERROR", "BAD_REQUEST", "UNKNOWN_ERROR", "SERVICE_UNAVAILABLE", "UNAUTHORIZED")
_STATUSES = (400, 401, 403, 404, 409, 422, 429, 500, 502, 503)


@dataclass(frozen=True)
class Said:
    """One answer."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = (_JSON,)


@dataclass
class Talkative:
    """An ASGI application that says one thing, to everyone or to all but those who ask for care units."""

    answer: Said = field(default_factory=lambda: Said(200, b"[]"))
    care_units: Said | None = None
    calls: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self.calls.append(f"{scope['raw_path'].decode()}?{scope['query_string'].decode()}")
        said = self.care_units if self.care_units and scope["path"].endswith("/care-units") else self.answer
        await send({"type": "http.response.start", "status": said.status, "headers": list(said.headers)})
        await send({"type": "http.response.body", "body": said.body})


def failures(number: str) -> Iterator[Said]:
    """Answers of which none is what the gateway needs."""
    head = _headers(number)
    for status in _STATUSES:
        yield Said(status, orjson.dumps(_problem(status, number, number)), head)
        yield Said(status, f"<h1>{number}</h1>".encode(), ((b"content-type", f"text/html; p={number}".encode()),))
    for code in _CODES:
        yield Said(400, orjson.dumps(_problem(400, code, number)), head)
    items: list[Any] = [
        number, int(digits_of(number)), [number], [[number]], {number: number}, {"items": number},
        {"items": {number: 1}}, {"data": [number]}, [{"id": number, "name": {number: number}, "start": [number]}],
        [{number: number}, number], [{"id": int(digits_of(number)), "start": int(digits_of(number))}],
    ]  # fmt: skip
    for item in items:
        yield Said(200, orjson.dumps(item), head)
    for text in (number, f'[{{"id": "{number}", "start": "{number}"', f"<p>{number}</p>", f'[{{"{number}": }}]'):
        yield Said(200, text.encode(), head)
    yield Said(200, number.encode(), (_JSON, (b"content-encoding", b"gzip")))
    yield Said(200, number.encode(), (_JSON, (b"content-encoding", number.encode())))
    yield Said(302, number.encode(), ((b"location", f"https://{number}.example/{number}".encode()),))


def care_units(leyr_id: str, name: str) -> Said:
    """A list of one."""
    return Said(200, orjson.dumps([{"id": leyr_id, "name": name}]))


def _headers(number: str) -> tuple[tuple[bytes, bytes], ...]:
    names = (b"x-request-id", b"www-authenticate", b"set-cookie", b"server", b"etag", b"x-patient", b"traceparent")
    return (_JSON, (b"retry-after", digits_of(number).encode()), *((name, number.encode()) for name in names))


def _problem(status: int, code: str, number: str) -> dict[str, object]:
    error = {"error_code": number, "details": number, "path": number, "emr_error": {number: number}}
    texts = dict.fromkeys(("title", "type", "detail", "instance", number), number)
    return {"code": code, "status": status, **texts, "errors": [error, number]}


@dataclass
class Failing:
    """HttpClient on which every call fails with the error that is set."""

    error: Exception = field(default_factory=Exception)

    def __call__(self, _url: str, _headers: Mapping[str, str]) -> "Failing":
        return self

    async def get(self, _target: str, **_: object) -> Response:
        raise self.error

    async def close(self) -> None:
        return


def errors(number: str) -> Iterator[Exception]:
    """Errors with the number in their text, their arguments or what they come from."""
    for kind in (ValueError, KeyError, OSError, RuntimeError, ConnectionError, TimeoutError, RecursionError):
        yield kind(number)
    yield UnicodeDecodeError("utf-8", number.encode(), 0, 1, number)
    yield ExceptionGroup(number, [ValueError(number)])
    yield type(f"Of{digits_of(number)}", (Exception,), {"__str__": lambda _: str(1 // 0)})()
    noted = LookupError("noted")
    noted.add_note(number)
    yield noted
    caused = ArithmeticError("caused")
    caused.__cause__ = ValueError(number)
    yield caused
