"""The simulator's own paths, which Leyr does not have: recorded calls, appointments, faults, behaviour, reset."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

import msgspec
import orjson
from msgspec.structs import asdict
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from gateway.simulator.appointments import Appointment, Schedules
from gateway.simulator.behaviour import Behaviour, BehaviourRegistry
from gateway.simulator.call_log import CallLog
from gateway.simulator.ehrs import EHRS
from gateway.simulator.faults import FAULT_NAMES, Fault, FaultQueue
from gateway.simulator.late_writes import LateWrites


@dataclass(frozen=True, slots=True)
class Admin:
    """Endpoints for tests and people; requests to them are not recorded as calls."""

    announcement: str
    call_log: CallLog
    faults: FaultQueue
    behaviour: BehaviourRegistry
    schedules: Schedules
    late_writes: LateWrites
    reset_leyr: Callable[[], None]

    def application(self) -> Starlette:
        """Make the ASGI application of these paths."""
        return Starlette(
            routes=[
                Route("/", self._home),
                Route("/__calls", self._calls),
                Route("/__appointments", self._appointments),
                Route("/__faults", self._faults, methods=["GET", "POST", "DELETE"]),
                Route("/__manners", self._list_behaviour),
                Route("/__manners/{emr}", self._change_behaviour, methods=["PATCH"]),
                Route("/__reset", self._reset, methods=["POST"]),
            ],
        )

    async def _home(self, _: Request) -> Response:
        return PlainTextResponse(self.announcement)

    async def _calls(self, request: Request) -> Response:
        calls = self.call_log.to_json(*(request.query_params.get(name) for name in ("emr", "endpoint")))
        return Response(orjson.dumps(calls), media_type="application/json")

    async def _appointments(self, request: Request) -> Response:
        emr, unit = (request.query_params.get(name) for name in ("emr", "care_unit"))
        shown = [
            {"emr": code, "care_unit": care_unit, **_shown(appointment)}
            for (code, care_unit), schedule in self.schedules.items()
            if emr in (None, code) and unit in (None, care_unit)
            for appointment in schedule
        ]
        body = orjson.dumps({"appointments": shown, "late_writes": len(self.late_writes)}, option=orjson.OPT_UTC_Z)
        return Response(body, media_type="application/json")

    async def _faults(self, request: Request) -> Response:
        match request.method:
            case "POST":
                try:
                    self.faults.add(msgspec.json.decode(await request.body(), type=Fault))
                except msgspec.DecodeError as error:
                    return _bad_request(error, f"known faults: {', '.join(FAULT_NAMES)}")
            case "DELETE":
                self.faults.clear()
        return JSONResponse({"faults": self.faults.to_json()})

    async def _list_behaviour(self, _: Request) -> Response:
        return JSONResponse({emr: asdict(behaviour) for emr, behaviour in self.behaviour.items()})

    async def _change_behaviour(self, request: Request) -> Response:
        emr = request.path_params["emr"]
        if emr not in EHRS:
            return JSONResponse({"error": f"no such EHR; known: {', '.join(EHRS)}"}, 400)
        try:
            changed = self.behaviour.change(emr, await request.body())
        except msgspec.DecodeError as error:
            return _bad_request(error, f"known switches: {', '.join(Behaviour.__struct_fields__)}")
        return JSONResponse(asdict(changed))

    async def _reset(self, _: Request) -> Response:
        self.call_log.clear()
        self.faults.clear()
        self.behaviour.restore()
        self.reset_leyr()
        return JSONResponse({"total": 0})


def _shown(appointment: Appointment) -> dict[str, object]:
    """Show an appointment for judging what was booked; its patient is Leyr's id, its comment a digest."""
    time, comment = appointment.time, appointment.comment
    return {
        "id": appointment.id,
        "status": appointment.status,
        "start": datetime.fromtimestamp(time.start, UTC),
        "end": datetime.fromtimestamp(time.end, UTC),
        "resource_id": time.resource_id,
        "healthcare_service_id": time.service_id,
        "patient_id": appointment.patient.id,
        "comment_sha256": None if comment is None else sha256(comment.encode()).hexdigest(),
        "code": appointment.booking and appointment.booking.code,
        "cancellation": appointment.cancellation,
        "booked_by_call": appointment.call,
        "cancelled_by_calls": appointment.cancelled_by,
    }


def _bad_request(error: Exception, known: str) -> Response:
    return JSONResponse({"error": f"{error}; {known}"}, 400)
