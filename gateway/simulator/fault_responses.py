"""What is sent for a fault in place of the right response: another one, a broken one, or none."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

import orjson
from starlette.types import Receive, Send

from gateway.simulator.faults import Fault
from gateway.simulator.http_messages import LeyrError, Response

_HUGE_BYTES = 64 * 2**20
_OK, _REDIRECTION = 200, 300

# Made to look like an EHR's raw message with a national number in it, which must never reach a client.
# The number is that of the documentation's own test person.
_EMR_DETAIL = '{"message": "Access denied for patient 191212121212 Tolvan Tolvansson", "ehr": "internal-node-7"}'
_HTML = b"<!doctype html><html><head><title>%s</title></head><body><h1>%s</h1><hr>nginx</body></html>"
_Items = list[dict[str, object]]


def _html(status: int, text: bytes) -> Response:
    return Response(_HTML % (text, text), status, "text/html")


_RESPONSES: Mapping[str, Response | LeyrError] = {
    "service_unavailable": LeyrError(503, "SERVICE_UNAVAILABLE", "The service is temporarily unavailable"),
    "too_many_requests": LeyrError(429, "TOO_MANY_REQUESTS", "Too many requests", headers=((b"retry-after", b"1"),)),
    "too_many_requests_bare": LeyrError(429, "TOO_MANY_REQUESTS", "Too many requests"),
    # Docs page D15: the status is the EHR's own, the code says that the EHR failed.
    "emr_error_401": LeyrError(401, "EMR_ERROR", _EMR_DETAIL),
    "emr_error_429": LeyrError(429, "EMR_ERROR", _EMR_DETAIL),
    "emr_error_500": LeyrError(500, "EMR_ERROR", _EMR_DETAIL),
    # Docs page D16 shows UNKNOWN_ERROR with status 401.
    "unknown_error": LeyrError(401, "UNKNOWN_ERROR", "Unexpected: 191212121212"),
    "bad_gateway_html": _html(502, b"502 Bad Gateway"),
    "html_200": _html(200, b"Welcome"),
    "unauthorized_html": _html(401, b"401 Authorization Required"),
    "malformed_json": Response(b'[{"id": "1", name: oops}]'),
    "empty_list": Response(b"[]"),
    "object_body": Response(b'{"message": "this is no list", "count": 3}'),
    "redirect": Response(b"", 302, "text/plain", ((b"location", b"https://elsewhere.invalid/api/emrs"),)),
}


def _faulty_response(fault: Fault, right: Response) -> Response:
    """Make the response that is sent in place of the right one."""
    if fault.fault in _RESPONSES:
        response = _RESPONSES[fault.fault]
        return response.response() if isinstance(response, LeyrError) else response
    if not _OK <= right.status < _REDIRECTION:
        return right
    match fault.fault:
        case "truncated_json":
            return replace(right, body=right.body[: len(right.body) // 2] or b"[")
        case "wrong_types":
            return _with_changed_items(right, _wrong_types)
        case "item_without_id":
            return _with_changed_items(right, _without_ids)
    return right


def _with_changed_items(right: Response, change: Callable[[_Items], _Items]) -> Response:
    match orjson.loads(right.body):
        case {"items": list(items)}:
            changed: object = {"items": change(items)}
        case dict(item):
            changed = change([item])[0]
        case items:
            changed = change(items)
    return replace(right, body=orjson.dumps(changed))


def _wrong_types(items: _Items) -> _Items:
    wrong = {"id": {"value": 12345}, "name": {"text": "a name"}, "start": 1764576000, "resource_id": ["R1"]}
    items = items or [{"id": "", "start": ""}]
    return [{field: wrong.get(field, value) for field, value in item.items()} for item in items]


def _without_ids(items: _Items) -> _Items:
    """Take the mandatory field from the first item: `id`, or `start` of a slot, which has no id."""
    if not items:
        return [{"name": "without id"}]
    first = {field: value for field, value in items[0].items() if field not in ("id", "start")}
    return [first, *items[1:]]


_DRIPS = 20
_CHUNK_BYTES = 2**20
_LONGEST_HANG_SECONDS = 600


async def send_response(right: Response, fault: Fault | None, receive: Receive, send: Send) -> int | None:
    """Send the right response, or what the fault makes of it; give the status that was sent, if any."""
    if fault is None:
        await right.send(send)
        return right.status
    match fault.fault:
        case "hang":
            await _hang(receive)
            return None
        case "cut":
            await _cut(send)
            return None
        case "cut_mid_body":
            await _cut_mid_body(right, send)
        case "drip":
            await _drip(right, fault.seconds, send)
        case "huge_list":
            await _send_huge_list(right, send)
        case _:
            if fault.fault == "delay":
                await asyncio.sleep(fault.seconds)
            right = _faulty_response(fault, right)
            await right.send(send)
    return right.status


async def _hang(receive: Receive) -> None:
    try:
        async with asyncio.timeout(_LONGEST_HANG_SECONDS):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return


async def _cut(send: Send) -> None:
    """Close the connection before the first byte of the response.

    ASGI has no message for this. But a server that was given a header with a line break must refuse it, and then can
    neither send these headers nor a second set, so uvicorn (with both of its HTTP parsers) closes the connection.
    """
    start = {"type": "http.response.start", "status": 200, "headers": [(b"x-simulator-cut", b"\r\n")]}
    try:
        await send(start)
    except Exception:  # noqa: BLE001 # each server and parser refuses with another class
        return


async def _cut_mid_body(right: Response, send: Send) -> None:
    """Close the connection after half of the promised body; uvicorn logs an incomplete response."""
    await send(right.start(length=len(right.body) + 1))
    await send({"type": "http.response.body", "body": right.body[: len(right.body) // 2], "more_body": True})


async def _drip(right: Response, seconds: float, send: Send) -> None:
    await send(right.start(length=len(right.body)))
    size = max(1, -(-len(right.body) // _DRIPS))
    for begin in range(0, len(right.body), size):
        await asyncio.sleep(seconds / _DRIPS)
        piece = right.body[begin : begin + size]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _send_huge_list(right: Response, send: Send) -> None:
    """Send the items of the right list again and again, 64 MiB of them."""
    inside = right.body[right.body.find(b"[") + 1 : right.body.rfind(b"]")] or b'{"id":"1","start":"x"}'
    chunk = (inside + b",") * max(1, _CHUNK_BYTES // len(inside))
    await send(right.start(length=None))
    await send({"type": "http.response.body", "body": b"[", "more_body": True})
    sent = 0
    while sent < _HUGE_BYTES:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        sent += len(chunk)
    await send({"type": "http.response.body", "body": inside + b"]"})
