"""The simulator as one ASGI application, put together."""

import asyncio
import time
from collections.abc import Callable
from random import Random

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.simulator.admin import Admin
from gateway.simulator.behaviour import Behaviour, BehaviourRegistry, settle
from gateway.simulator.call_log import CallLog
from gateway.simulator.clinics import rng
from gateway.simulator.ehrs import EHRS
from gateway.simulator.faults import FaultQueue, UnknownFaultError, deliver
from gateway.simulator.http_messages import Request, Response
from gateway.simulator.leyr_api import LeyrApi
from gateway.simulator.settings import SimulatorSettings, announcement
from gateway.simulator.world import World


def create_simulator(
    settings: SimulatorSettings,
    *,
    clock: Callable[[], float] = time.monotonic,
    random: Random | None = None,
) -> ASGIApp:
    """Make a simulator; `clock` dates the recorded calls, `random` varies the latency."""
    behaviour = BehaviourRegistry(
        {
            emr: settle(settings.behaviour.get(emr, Behaviour()), ehr.filter_policy, settings.latency_ms)
            for emr, ehr in EHRS.items()
        }
    )
    world = World(seed=settings.seed, scale=settings.scale, today=settings.today)
    call_log, faults = CallLog(clock), FaultQueue()
    return Simulator(
        api=LeyrApi(settings, world, behaviour),
        behaviour=behaviour,
        call_log=call_log,
        faults=faults,
        admin=Admin(announcement(settings), call_log, faults, behaviour).application(),
        random=random or rng(settings.seed, "latency"),
    )


class Simulator:
    """Leyr's paths, answered directly for speed, beside the simulator's own."""

    def __init__(
        self,
        *,
        api: LeyrApi,
        behaviour: BehaviourRegistry,
        call_log: CallLog,
        faults: FaultQueue,
        admin: ASGIApp,
        random: Random,
    ) -> None:
        self._api = api
        self._behaviour = behaviour
        self._call_log = call_log
        self._faults = faults
        self._admin = admin
        self._random = random

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http" or scope["path"] == "/" or scope["path"].startswith("/__"):
            await self._admin(scope, receive, send)
        else:
            await self._play_leyr(Request.of(scope), receive, send)

    async def _play_leyr(self, request: Request, receive: Receive, send: Send) -> None:
        with self._call_log.recorded(request) as call:
            try:
                fault = self._faults.take(request)
            except UnknownFaultError as error:
                call.status = 400
                await Response(str(error).encode(), 400, "text/plain; charset=utf-8").send(send)
                return
            await self._wait(request.route.emr)
            call.status = await deliver(self._api.answer(request), fault, receive, send)

    async def _wait(self, emr: str | None) -> None:
        if emr not in EHRS:
            return
        behaviour = self._behaviour[emr]
        if behaviour.latency_ms:
            swing = self._random.uniform(-behaviour.latency_jitter, behaviour.latency_jitter)
            await asyncio.sleep(behaviour.latency_ms / 1000 * (1 + swing))
