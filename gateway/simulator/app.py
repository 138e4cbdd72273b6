"""The simulator as one ASGI application, put together."""

import asyncio
import time
from collections.abc import Callable
from random import Random

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.simulator.admin import Admin
from gateway.simulator.announcement import announcement
from gateway.simulator.answers import Answer
from gateway.simulator.chance import chance
from gateway.simulator.delivery import deliver
from gateway.simulator.ehrs import EHRS
from gateway.simulator.faults import FaultBox, UnknownFaultError
from gateway.simulator.journal import Journal
from gateway.simulator.leyr import LeyrApi
from gateway.simulator.manners import Manners, MannersBook, settle
from gateway.simulator.requests import Request
from gateway.simulator.settings import SimulatorSettings
from gateway.simulator.universe import Universe


def create_simulator(
    settings: SimulatorSettings,
    *,
    clock: Callable[[], float] = time.monotonic,
    random: Random | None = None,
) -> ASGIApp:
    """Make a simulator; `clock` dates the recorded calls, `random` varies the latency."""
    manners = MannersBook(
        {
            emr: settle(settings.manners.get(emr, Manners()), ehr.filter_policy, settings.latency_ms)
            for emr, ehr in EHRS.items()
        }
    )
    universe = Universe(seed=settings.seed, scale=settings.scale, today=settings.today)
    journal, faults = Journal(clock), FaultBox()
    return Simulator(
        api=LeyrApi(settings, universe, manners),
        manners=manners,
        journal=journal,
        faults=faults,
        admin=Admin(announcement(settings), journal, faults, manners).application(),
        random=random or chance(settings.seed, "latency"),
    )


class Simulator:
    """Leyr's paths, answered directly for speed, beside the simulator's own."""

    def __init__(
        self,
        *,
        api: LeyrApi,
        manners: MannersBook,
        journal: Journal,
        faults: FaultBox,
        admin: ASGIApp,
        random: Random,
    ) -> None:
        self._api = api
        self._manners = manners
        self._journal = journal
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
        with self._journal.recorded(request) as call:
            try:
                fault = self._faults.take(request)
            except UnknownFaultError as error:
                call.status = 400
                await Answer(str(error).encode(), 400, "text/plain; charset=utf-8").send(send)
                return
            await self._wait(request.route.emr)
            call.status = await deliver(self._api.answer(request), fault, receive, send)

    async def _wait(self, emr: str | None) -> None:
        if emr not in EHRS:
            return
        manners = self._manners[emr]
        if manners.latency_ms:
            swing = self._random.uniform(-manners.latency_jitter, manners.latency_jitter)
            await asyncio.sleep(manners.latency_ms / 1000 * (1 + swing))
