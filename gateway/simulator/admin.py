"""The simulator's own paths, which Leyr does not have: recorded calls, faults, behaviour, reset."""

from dataclasses import dataclass

import msgspec
import orjson
from msgspec.structs import asdict
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from gateway.simulator.behaviour import Behaviour, BehaviourRegistry
from gateway.simulator.call_log import CallLog
from gateway.simulator.ehrs import EHRS
from gateway.simulator.faults import FAULT_NAMES, Fault


@dataclass(frozen=True, slots=True)
class Admin:
    """Endpoints for tests and people; requests to them are not recorded as calls."""

    announcement: str
    call_log: CallLog
    faults: list[Fault]
    behaviour: BehaviourRegistry

    def application(self) -> Starlette:
        """Make the ASGI application of these paths."""
        return Starlette(
            routes=[
                Route("/", self._home),
                Route("/__calls", self._calls),
                Route("/__faults", self._faults, methods=["GET", "POST", "DELETE"]),
                Route("/__manners", self._list_behaviour),
                Route("/__manners/{emr}", self._change_behaviour, methods=["PATCH"]),
                Route("/__reset", self._reset, methods=["POST"]),
            ],
        )

    async def _home(self, _: Request) -> Response:
        return PlainTextResponse(self.announcement)

    async def _calls(self, request: Request) -> Response:
        calls = self.call_log.to_json(request.query_params.get("emr"))
        return Response(orjson.dumps(calls), media_type="application/json")

    async def _faults(self, request: Request) -> Response:
        match request.method:
            case "POST":
                try:
                    self.faults.append(msgspec.json.decode(await request.body(), type=Fault))
                except msgspec.DecodeError as error:
                    return _bad_request(error, f"known faults: {', '.join(FAULT_NAMES)}")
            case "DELETE":
                self.faults.clear()
        return JSONResponse({"faults": [asdict(fault) for fault in self.faults]})

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
        return JSONResponse({"total": 0})


def _bad_request(error: Exception, known: str) -> Response:
    return JSONResponse({"error": f"{error}; {known}"}, 400)
