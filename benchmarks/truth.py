"""What is right: the answer put together from Leyr's REST calls one by one, and whether an answer is that."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

import httpx
import orjson

from benchmarks.scenarios import EMR, View, Window

_MOST_BODIES = 8
_NODE_ID = re.compile(r"(?:CareUnit|Resource|HealthcareService):[^/]+(?:/[^/]+)*/([^/]+)")

Unit = Mapping[str, Any]
Slot = tuple[str | None, ...]


class WrongAnswerError(Exception):
    """A contender did not say what is so; the message says where."""


def fetch_truth(http: httpx.Client, view: View, window: Window) -> list[Unit]:
    """Ask the simulator what the answer must hold: everything by Leyr's ids, slots sorted and told once."""
    return [_unit(http, view, window, row) for row in _rows(http, "")]


def _unit(http: httpx.Client, view: View, window: Window, row: Mapping[str, Any]) -> Unit:
    path = f"/{quote(row['id'], safe='')}"
    resources = [_named(each) for each in _rows(http, f"{path}/resources")]
    slots: list[Slot] = [
        (each["start"], each["end"], each["resource_id"], each["healthcare_service_id"])
        for each in _rows(http, f"{path}/timeslots", start=window.start, end=window.end)
    ]
    if view == "whole":
        services = [_named(each) for each in _rows(http, f"{path}/healthcare-services")]
        return {**_named(row), "resources": resources, "healthcareServices": services, "timeslots": _in_order(slots)}
    owned = [{**each, "timeslots": _in_order([s for s in slots if s[2] == each["id"]])} for each in resources]
    return {**_named(row), "resources": owned}


def _rows(http: httpx.Client, path: str, **params: str) -> list[Mapping[str, Any]]:
    response = http.get(f"/api/emrs/{EMR}/care-units{path}", params=params)
    response.raise_for_status()
    rows: list[Mapping[str, Any]] = response.json()
    return rows


def _named(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": row["id"], "name": row["name"]}


def _in_order(slots: list[Slot]) -> list[Slot]:
    return sorted(set(slots), key=repr)


class Judge:
    """Looks at every answer; one that is byte for byte an earlier right one needs no second look."""

    def __init__(self, truth: Sequence[Unit]) -> None:
        self._truth = list(truth)
        self._right: list[bytes] = []

    def judge(self, status: int, body: bytes) -> None:
        """Raises WrongAnswerError."""
        if body in self._right:
            return
        if status != httpx.codes.OK:
            raise WrongAnswerError(f"status {status}: {body[:200]!r}")
        try:
            told = orjson.loads(body)
            if "errors" in told:
                raise WrongAnswerError(f"errors: {str(told['errors'])[:200]}")
            units = [_read(unit) for unit in told["data"]["careUnits"]]
        except (ValueError, LookupError, TypeError) as error:
            raise WrongAnswerError(f"no answer at all: {body[:200]!r}") from error
        if units != self._truth:
            raise WrongAnswerError(_difference(units, self._truth))
        self._right = [body, *self._right[: _MOST_BODIES - 1]]


def _read(told: Any) -> Any:
    """An answer's JSON with Leyr's ids for node ids, and slots in the truth's form."""
    match told:
        case {"start": start, "end": end, "resourceId": resource, "healthcareServiceId": service, **rest} if not rest:
            return start, end, _leyr_id(resource), _leyr_id(service)
        case dict():
            return {name: _leyr_id(value) if name == "id" else _read(value) for name, value in told.items()}
        case [{"start": _}, *_]:
            return _in_order([_read(each) for each in told])
        case list():
            return [_read(each) for each in told]
    return told


def _leyr_id(text: str | None) -> str | None:
    try:
        node = None if text is None else _NODE_ID.fullmatch(base64.b64decode(text, validate=True).decode())
    except (binascii.Error, UnicodeDecodeError):
        return text
    return unquote(node[1]) if node else text


def _difference(units: Sequence[Unit], truth: Sequence[Unit]) -> str:
    if [unit.get("id") for unit in units] != [unit["id"] for unit in truth]:
        return "the care units are not Leyr's"
    for unit, true in zip(units, truth, strict=True):
        wrong = [name for name in true if unit.get(name) != true[name]] or sorted(set(unit) - set(true))
        if wrong:
            return f"{true['id']}: {', '.join(wrong)} differ from what Leyr says"
    return "nothing that can be named"
