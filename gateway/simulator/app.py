"""The simulator as one ASGI application, and its settings."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from math import inf
from random import Random

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.simulator.admin import Admin
from gateway.simulator.appointments import Schedules
from gateway.simulator.behaviour import Behaviour, BehaviourRegistry
from gateway.simulator.calendar import World
from gateway.simulator.call_log import Call, CallLog
from gateway.simulator.clinics import rng
from gateway.simulator.ehrs import EHRS
from gateway.simulator.fault_responses import send_response
from gateway.simulator.faults import Fault, FaultQueue, UnknownFaultError
from gateway.simulator.http_messages import ABOUT_PATIENTS, WRITES, LeyrError, Request, Response, read_body
from gateway.simulator.late_writes import LateWrites
from gateway.simulator.leyr_api import LeyrApi


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatorSettings:
    """A simulator's data and behaviour; equal settings give equal answers in every process."""

    seed: int = 1
    today: date
    """The first of the 60 days that have free times."""
    scale: int = 1
    """Multiplies the resources of each care unit, and so the slots; care units stay, services grow slowly."""
    care_units: int | None = None
    """How many care units each EHR has; without it a few, from three to six."""
    latency_ms: float = 150
    """Milliseconds before an answer, for EHRs whose behaviour says nothing else; 0 turns latency off."""
    client_id: str = "simulator"
    client_secret: str = field(default="simulator", repr=False)
    behaviour: Mapping[str, Behaviour] = field(default_factory=dict)
    """Behaviour at start, by EHR code."""

    def __post_init__(self) -> None:
        if self.scale < 1:
            raise ValueError("scale must be at least 1")
        if self.care_units is not None and self.care_units < 1:
            raise ValueError("care_units must be at least 1")
        if not 0 <= self.latency_ms < inf:
            raise ValueError("latency_ms must be a number that is not negative")
        if unknown := sorted(set(self.behaviour) - set(EHRS)):
            raise ValueError(f"no such EHR: {', '.join(unknown)}; known are {', '.join(EHRS)}")

    @property
    def emrs(self) -> tuple[str, ...]:
        """The codes of the simulated EHRs, webdoc first."""
        return tuple(EHRS)


def announcement(settings: SimulatorSettings) -> str:
    """Say that this is a simulator, for the terminal and for `GET /`, so that nobody takes it for Leyr."""
    return (
        "This is a simulator of Leyr, not Leyr. It was built from Leyr's public documentation, not from\n"
        "Leyr's code. What the documentation leaves open was chosen, on purpose the less convenient way,\n"
        "and can be switched (GET /__manners, PATCH /__manners/{emr}). All clinics and people are invented.\n"
        "GET /__appointments shows what is booked, and the codes that patients would get.\n"
        f"EHRs: {', '.join(settings.emrs)}. Seed {settings.seed}, scale {settings.scale}, "
        f"60 days from {settings.today.isoformat()}, latency {settings.latency_ms:g} ms.\n"
    )


def create_simulator(
    settings: SimulatorSettings,
    *,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], float] = time.time,
    random: Random | None = None,
) -> ASGIApp:
    """Make a simulator.

    `clock` dates the recorded calls and says when late writes are made, `random` varies the latency, `now` tells what
    is past.
    """
    behaviour = BehaviourRegistry(settings.behaviour, settings.latency_ms)
    world = World(seed=settings.seed, scale=settings.scale, today=settings.today, care_units=settings.care_units)
    schedules = Schedules(settings.seed)
    api = LeyrApi((settings.client_id, settings.client_secret), world, behaviour, now, schedules)
    calls = _Calls(api, LateWrites(clock))
    call_log = CallLog(clock)
    faults = FaultQueue(settings.seed)
    admin = Admin(announcement(settings), call_log, faults, behaviour, schedules, calls.late_writes, calls.reset)
    admin_application = admin.application()
    latency_random = random or rng(settings.seed, "latency")

    async def simulator(scope: Scope, receive: Receive, send: Send) -> None:
        """Answer Leyr's paths, without Starlette for speed, and the simulator's own."""
        if scope["type"] != "http" or scope["path"] == "/" or scope["path"].startswith("/__"):
            calls.late_writes.make_due()
            await admin_application(scope, receive, send)
            return
        request = Request.of(scope)
        with call_log.recorded(request) as call:
            try:
                fault = faults.take(request)
            except UnknownFaultError as error:
                call["status"] = 400
                await Response(str(error).encode(), 400, "text/plain; charset=utf-8").send(send)
                return
            if request.route.endpoint in WRITES:
                call.update(fault=fault and fault.fault, write=fault.effect if fault else "done")
                request = replace(request, number=call["number"], resets=calls.resets, body=await read_body(receive))
            if request.route.emr in EHRS:
                await _wait(behaviour[request.route.emr], latency_random)
            if fault is not None and fault.is_slow_write(request):
                await asyncio.sleep(fault.seconds)
                fault = None
            response = calls.respond(request, fault, call)
            call["status"] = await send_response(response, fault, receive, send)

    return simulator


# What is under way when a test ends must not be booked in the next one.
_RESET = LeyrError(503, "SERVICE_UNAVAILABLE", "The simulator was reset meanwhile")


@dataclass(slots=True)
class _Calls:
    """Has calls answered, and the writes of those that have a fault made when the fault says so."""

    api: LeyrApi
    late_writes: LateWrites
    resets: int = 0

    def reset(self) -> None:
        """Forget what was written and what would be, also by calls that have begun."""
        self.resets += 1
        self.late_writes.clear()
        self.api.reset()

    def respond(self, request: Request, fault: Fault | None, call: Call) -> Response:
        """Give the right response, or an empty one where nothing is written before the fault's own is sent."""
        self.late_writes.make_due()
        if request.route.endpoint in WRITES and request.resets != self.resets:
            return _RESET.response()
        if fault is None or fault.effect == "done" or request.route.endpoint not in WRITES:
            return self._make(request, call)
        if fault.effect == "late":
            call["outcome"] = "waits"
            self.late_writes.add(fault.seconds, lambda: self._make(request, call))
        else:
            call["outcome"] = "not_written"
        return Response(b"")

    def _make(self, request: Request, call: Call) -> Response:
        response = self.api.respond(request)
        if request.route.endpoint in ABOUT_PATIENTS:
            call.update(response.record)
        return response


async def _wait(behaviour: Behaviour, random: Random) -> None:
    if behaviour.latency_ms:
        jitter = random.uniform(-behaviour.latency_jitter, behaviour.latency_jitter)
        await asyncio.sleep(behaviour.latency_ms / 1000 * (1 + jitter))
