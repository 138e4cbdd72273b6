"""Responses of an upstream, and errors of the gateway, that hold a personal number wherever one can be."""

from collections.abc import Iterator
from typing import Any

import orjson

from tests.security.personal_numbers_in_requests import digits_of
from tests.stand_ins.canned_application import CannedResponse

_JSON = (b"content-type", b"application/json")
_CODES = ("EMR_ERROR", "BAD_REQUEST", "UNKNOWN_ERROR", "SERVICE_UNAVAILABLE", "UNAUTHORIZED")
_STATUSES = (400, 401, 403, 404, 409, 422, 429, 500, 502, 503)


def failures(number: str) -> Iterator[CannedResponse]:
    """Responses of which none is what the gateway needs."""
    head = _headers(number)
    for status in _STATUSES:
        yield CannedResponse(status, orjson.dumps(_problem(status, number, number)), head)
        yield CannedResponse(
            status, f"<h1>{number}</h1>".encode(), ((b"content-type", f"text/html; p={number}".encode()),)
        )
    for code in _CODES:
        yield CannedResponse(400, orjson.dumps(_problem(400, code, number)), head)
    items: list[Any] = [
        number, int(digits_of(number)), [number], [[number]], {number: number}, {"items": number},
        {"items": {number: 1}}, {"data": [number]}, [{"id": number, "name": {number: number}, "start": [number]}],
        [{number: number}, number], [{"id": int(digits_of(number)), "start": int(digits_of(number))}],
    ]  # fmt: skip
    for item in items:
        yield CannedResponse(200, orjson.dumps(item), head)
    for text in (number, f'[{{"id": "{number}", "start": "{number}"', f"<p>{number}</p>", f'[{{"{number}": }}]'):
        yield CannedResponse(200, text.encode(), head)
    yield CannedResponse(200, number.encode(), (_JSON, (b"content-encoding", b"gzip")))
    yield CannedResponse(200, number.encode(), (_JSON, (b"content-encoding", number.encode())))
    yield CannedResponse(302, number.encode(), ((b"location", f"https://{number}.example/{number}".encode()),))


def care_units(leyr_id: str, name: str) -> CannedResponse:
    """A list of one."""
    return CannedResponse(200, orjson.dumps([{"id": leyr_id, "name": name}]))


def _headers(number: str) -> tuple[tuple[bytes, bytes], ...]:
    names = (b"x-request-id", b"www-authenticate", b"set-cookie", b"server", b"etag", b"x-patient", b"traceparent")
    return (_JSON, (b"retry-after", digits_of(number).encode()), *((name, number.encode()) for name in names))


def _problem(status: int, code: str, number: str) -> dict[str, object]:
    error = {"error_code": number, "details": number, "path": number, "emr_error": {number: number}}
    texts = dict.fromkeys(("title", "type", "detail", "instance", number), number)
    return {"code": code, "status": status, **texts, "errors": [error, number]}


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
