"""What goes back instead of the right answer when a fault strikes."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import orjson

from gateway.simulator.answers import Answer
from gateway.simulator.faults import Fault
from gateway.simulator.problems import Problem

HUGE_BYTES = 64 * 2**20
_OK, _REDIRECTION = 200, 300

# Made to look like an EHR's raw message with a national number in it, which must never reach a client.
# The number is that of the documentation's own test person.
_EMR_DETAIL = '{"message": "Access denied for patient 191212121212 Tolvan Tolvansson", "ehr": "internal-node-7"}'
_HTML = b"<!doctype html><html><head><title>%s</title></head><body><h1>%s</h1><hr>nginx</body></html>"


_Items = list[dict[str, object]]


def _html(status: int, text: bytes) -> Answer:
    return Answer(_HTML % (text, text), status, "text/html")


def _emr_error(status: int) -> Answer:
    # Docs page D15: the status is the EHR's own, the code says that it is the EHR's trouble.
    return Problem(status, "EMR_ERROR", _EMR_DETAIL).answer()


def _too_many(*headers: tuple[bytes, bytes]) -> Answer:
    return Problem(429, "TOO_MANY_REQUESTS", "Too many requests").answer(*headers)


_INSTEAD: Mapping[str, Callable[[], Answer]] = {
    "service_unavailable": lambda: Problem(
        503, "SERVICE_UNAVAILABLE", "The service is temporarily unavailable"
    ).answer(),
    "too_many_requests": lambda: _too_many((b"retry-after", b"1")),
    "too_many_requests_bare": _too_many,
    "emr_error_401": lambda: _emr_error(401),
    "emr_error_429": lambda: _emr_error(429),
    "emr_error_500": lambda: _emr_error(500),
    # Docs page D16 shows UNKNOWN_ERROR with status 401.
    "unknown_error": lambda: Problem(401, "UNKNOWN_ERROR", "Unexpected: 191212121212").answer(),
    "bad_gateway_html": lambda: _html(502, b"502 Bad Gateway"),
    "html_200": lambda: _html(200, b"Welcome"),
    "unauthorized_html": lambda: _html(401, b"401 Authorization Required"),
    "malformed_json": lambda: Answer(b'[{"id": "1", name: oops}]'),
    "empty_list": lambda: Answer(b"[]"),
    "object_body": lambda: Answer(b'{"message": "this is no list", "count": 3}'),
    "redirect": lambda: Answer(b"", 302, "text/plain", ((b"location", b"https://elsewhere.invalid/api/emrs"),)),
}


def troubled(fault: Fault, right: Answer) -> Answer:
    """Give what the client gets in place of the right answer."""
    if fault.fault in _INSTEAD:
        return _INSTEAD[fault.fault]()
    if not _OK <= right.status < _REDIRECTION:
        return right
    match fault.fault:
        case "truncated_json":
            return replace(right, body=right.body[: len(right.body) // 2] or b"[")
        case "wrong_types":
            return _retold(right, _wrong_types)
        case "item_without_id":
            return _retold(right, _without_ids)
        case _:
            return right


def _retold(right: Answer, change: Callable[[_Items], _Items]) -> Answer:
    content = orjson.loads(right.body)
    match content:
        case {"items": list(items)}:
            changed: object = {"items": change(items)}
        case dict():
            changed = change([content])[0]
        case _:
            changed = change(content)
    return replace(right, body=orjson.dumps(changed))


def _wrong_types(items: _Items) -> _Items:
    wrong = {"id": 12345, "name": {"text": "a name"}, "start": 1764576000, "resource_id": ["R1"]}
    return [
        {field: wrong.get(field, value) for field, value in item.items()} for item in items or [{"id": "", "start": ""}]
    ]


def _without_ids(items: _Items) -> _Items:
    """Take the mandatory field from the first item: `id`, or `start` of a slot, which has no id."""
    if not items:
        return [{"name": "without id"}]
    first = {field: value for field, value in items[0].items() if field not in ("id", "start")}
    return [first, *items[1:]]
