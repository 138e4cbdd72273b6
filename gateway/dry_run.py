"""The upstream calls that a query would make, found by executing it on an upstream that only records them.

So the plan is the gateway's own, down to the URL. The upstream lists the ids that the query names, and placeholders
such as `{care_unit_id}` for what else Leyr would list, as many of each as the caller assumes. Only the timeslots that
the query names are free.
"""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import orjson
from starlette.applications import Starlette
from starlette.types import Message

from gateway.app import create_app
from gateway.booking.requests import BookRequest, CancelRequest, ConfirmRequest, RescheduleRequest
from gateway.domain.appointments import Appointment, PatientIdentification
from gateway.domain.booking import Booked, BookingResult, BookingStep, Cancelled
from gateway.domain.errors import GatewayError
from gateway.domain.ids import AnyNodeId, EmrId, NodeId, NodeType, TimeslotId, parse_node_id
from gateway.domain.models import CareUnitKey
from gateway.domain.patients import PatientDetails
from gateway.http_client.connection import Response
from gateway.settings import Settings

_PATH = re.compile(r"/emrs/(?P<emr>[^/?]+)/care-units(/(?P<unit>[^/?]+)/(?P<kind>[a-z-]+))?(\?.*)?")
# The query comes from the operator, not from a client of the gateway.
_WITHOUT_AUTHENTICATION = {
    "gateway_auth": "anonymous",
    "gateway_documents": None,
    "gateway_documents_only": False,
    "gateway_journal": None,
    "gateway_shared_url": None,
    "gateway_anonymous_booking": True,
    "gateway_anonymous_patient_by": tuple(each.lower() for each in PatientIdentification),
}
_NO_TIME = "1970-01-01T00:00:00Z"
_NODE_ID = re.compile(r"[A-Za-z0-9+/]{12,}={0,2}")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many of each to assume where the query does not name them."""

    care_units: int = 1
    resources: int = 1
    healthcare_services: int = 1


@dataclass(frozen=True, slots=True)
class DryRun:
    """The outcome of a dry run: the calls, and the messages of the query's errors."""

    calls: Mapping[str, int]
    """How many calls each URL has, its placeholders alike, in the order in which they start.

    Before one that changes something stands its method.
    """
    errors: tuple[str, ...]

    @property
    def total(self) -> int:
        """How many calls there are."""
        return sum(self.calls.values())


def dry_run(
    settings: Settings, document: str, variables: Mapping[str, Any], operation_name: str | None, sizes: Sizes
) -> DryRun:
    """Execute an operation without any call to Leyr. Raises SettingsError."""
    client = _RecordingClient(_node_ids(f"{document} {json.dumps(variables)}"), sizes)
    planned = settings.model_copy(update=_WITHOUT_AUTHENTICATION)
    app = create_app(planned, connections=lambda *_: client, bookings=_RecordingBookings(client.targets))
    body = {"query": document, "variables": dict(variables), "operationName": operation_name}
    response = asyncio.run(_post(app, json.dumps(body).encode()))
    errors = tuple(str(error["message"]) for error in response.get("errors", ()))
    return DryRun(Counter(_without_numbers(target) for target in client.targets), errors)


class _RecordingClient:
    """An HTTP client that answers lists with the named ids and with placeholders, and timeslots with the named ones."""

    def __init__(self, node_ids: Iterable[AnyNodeId], sizes: Sizes) -> None:
        self.targets: list[str] = []
        self._node_ids = tuple(node_ids)
        self._sizes = sizes

    async def get(self, target: str, *, max_bytes: int, timeout_seconds: float = 60.0) -> Response:  # noqa: ARG002 # HttpClient's signature
        # In the next turn of the loop, as a real response would come: calls of one turn are planned together.
        await asyncio.sleep(0)
        match = _PATH.fullmatch(target)
        if match is None:
            return Response(404, {}, b"{}")
        self.targets.append(unquote(target))
        emr, unit = unquote(match["emr"]), match["unit"] and unquote(match["unit"])
        if match["kind"] == "timeslots":
            return Response(200, {}, orjson.dumps(list(self._timeslots(CareUnitKey(emr, unit)))))
        return Response(200, {}, orjson.dumps([{"id": each} for each in self._ids(emr, unit, match["kind"])]))

    async def close(self) -> None:
        """Nothing was opened."""

    def _timeslots(self, care_unit: CareUnitKey) -> Iterator[dict[str, Any]]:
        for node in self._node_ids:
            if isinstance(node, TimeslotId) and node.care_unit == care_unit:
                yield {
                    "start": node.start,
                    "end": node.end,
                    "resource_id": node.resource,
                    "healthcare_service_id": node.service,
                }

    def _ids(self, emr: str, unit: str | None, kind: str | None) -> Iterator[str]:
        in_emr = [node for node in self._node_ids if node.emr == emr and not isinstance(node, EmrId)]
        in_unit = [node for node in in_emr if node.care_unit.care_unit == unit]
        match kind:
            case None:
                yield from dict.fromkeys(node.care_unit.care_unit for node in in_emr)
                yield from _placeholders("care_unit_id", self._sizes.care_units)
            case "resources":
                yield from _named(in_unit, NodeType.RESOURCE)
                yield from _placeholders("resource_id", self._sizes.resources)
            case "healthcare-services":
                yield from _named(in_unit, NodeType.HEALTHCARE_SERVICE)
                yield from _placeholders("healthcare_service_id", self._sizes.healthcare_services)


class _RecordingBookings:
    """Books and changes nothing, and notes what would be sent for it if all goes well, its look-ups left out."""

    def __init__(self, targets: list[str]) -> None:
        self._targets = targets

    async def book(self, caller: str, key: str, request: BookRequest) -> BookingResult:  # noqa: ARG002 # as all have it
        """See `Bookings`."""
        slot = request.wishes[0].timeslot
        if isinstance(request.patient, PatientDetails):
            self._note("POST", request.care_unit, "patients")
        self._note("POST", request.care_unit, "appointments")
        end = None if slot.end is None else slot.end.isoformat()
        owners = request.wishes[0].resource, request.wishes[0].service
        booked = Appointment(request.care_unit, "{appointment_id}", "booked", slot.start.isoformat(), end, *owners)
        return BookingResult(Booked(booked))

    async def confirm(self, caller: str, key: str, request: ConfirmRequest) -> BookingResult:  # noqa: ARG002 # as before
        """See `Bookings`."""
        return self._changed(request)

    async def cancel(self, caller: str, key: str, request: CancelRequest) -> BookingResult:  # noqa: ARG002 # as before
        """See `Bookings`."""
        return self._changed(request)

    async def reschedule(self, caller: str, key: str, request: RescheduleRequest) -> BookingResult:  # noqa: ARG002 # as before
        """See `Bookings`."""
        return self._changed(request)

    async def outcome(self, caller: str, key: str) -> BookingResult | None:  # noqa: ARG002 # as before
        """See `Bookings`."""
        return None

    async def knows(self, caller: str, step: BookingStep, key: str) -> bool:  # noqa: ARG002 # as before
        """See `Bookings`."""
        return False

    async def appointment(self, care_unit: CareUnitKey, leyr_id: str) -> Appointment | None:  # noqa: ARG002 # as before
        """See `Bookings`."""
        return None

    def _changed(self, request: ConfirmRequest | CancelRequest | RescheduleRequest) -> BookingResult:
        self._note("PATCH", request.care_unit, f"appointments/{request.appointment}")
        return BookingResult(Cancelled(Appointment(request.care_unit, request.appointment, "cancelled", _NO_TIME)))

    def _note(self, method: str, care_unit: CareUnitKey, path: str) -> None:
        self._targets.append(f"{method} /emrs/{care_unit.emr}/care-units/{care_unit.care_unit}/{path}")


def _named(nodes: Iterable[NodeId | TimeslotId], node_type: NodeType) -> Iterator[str]:
    """The Leyr ids of a type that nodes are or name."""
    for node in nodes:
        if isinstance(node, NodeId):
            leyr_id = node.leyr_id if node.type is node_type else None
        else:
            leyr_id = node.resource if node_type is NodeType.RESOURCE else node.service
        if leyr_id is not None:
            yield leyr_id


def _placeholders(name: str, count: int) -> Iterator[str]:
    return (f"{{{name}}}" if number == 1 else f"{{{name} {number}}}" for number in range(1, count + 1))


def _without_numbers(target: str) -> str:
    """Make all placeholders of a kind alike."""
    return re.sub(r"\{(\w+) \d+\}", r"{\1}", target)


def _node_ids(text: str) -> Iterator[AnyNodeId]:
    for candidate in _NODE_ID.findall(text):
        with suppress(GatewayError):  # it only looks like a node id
            yield parse_node_id(candidate)


async def _post(app: Starlette, body: bytes) -> dict[str, Any]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"accept", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/graphql", "query_string": b"", "headers": headers}
    async with app.router.lifespan_context(app):
        await app(scope, receive, send)
    response: dict[str, Any] = orjson.loads(b"".join(message.get("body", b"") for message in sent))
    return response
