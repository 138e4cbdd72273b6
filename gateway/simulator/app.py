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
from gateway.simulator.call_log import CallLog
from gateway.simulator.clinics import rng
from gateway.simulator.ehrs import EHRS
from gateway.simulator.fault_responses import send_response
from gateway.simulator.faults import Fault, UnknownFaultError, take_fault
from gateway.simulator.http_messages import ABOUT_PATIENTS, WRITES, Request, Response, read_body
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

    `clock` dates the recorded calls, `random` varies the latency, `now` tells what is past.
    """
    behaviour = BehaviourRegistry(settings.behaviour, settings.latency_ms)
    world = World(seed=settings.seed, scale=settings.scale, today=settings.today, care_units=settings.care_units)
    schedules = Schedules(settings.seed)
    api = LeyrApi((settings.client_id, settings.client_secret), world, behaviour, now, schedules)
    call_log = CallLog(clock)
    faults: list[Fault] = []
    admin = Admin(announcement(settings), call_log, faults, behaviour, schedules, api.reset)
    admin_application = admin.application()
    latency_random = random or rng(settings.seed, "latency")

    async def simulator(scope: Scope, receive: Receive, send: Send) -> None:
        """Answer Leyr's paths, without Starlette for speed, and the simulator's own."""
        if scope["type"] != "http" or scope["path"] == "/" or scope["path"].startswith("/__"):
            await admin_application(scope, receive, send)
            return
        request = Request.of(scope)
        with call_log.recorded(request) as call:
            try:
                fault = take_fault(faults, request)
            except UnknownFaultError as error:
                call["status"] = 400
                await Response(str(error).encode(), 400, "text/plain; charset=utf-8").send(send)
                return
            if request.route.endpoint in WRITES:
                request = replace(request, body=await read_body(receive), number=call["number"])
            if request.route.emr in EHRS:
                await _wait(behaviour[request.route.emr], latency_random)
            response = api.respond(request)
            if request.route.endpoint in ABOUT_PATIENTS:
                call.update(response.record)
            call["status"] = await send_response(response, fault, receive, send)

    return simulator


async def _wait(behaviour: Behaviour, random: Random) -> None:
    if behaviour.latency_ms:
        jitter = random.uniform(-behaviour.latency_jitter, behaviour.latency_jitter)
        await asyncio.sleep(behaviour.latency_ms / 1000 * (1 + jitter))
