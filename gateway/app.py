"""The composition root: every long-lived object is made and joined here."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from time import monotonic
from typing import TextIO
from uuid import uuid4

import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Mount, Route

from gateway.domain.ehr import EhrProfile
from gateway.execution.errors import ErrorFormatter
from gateway.execution.operation import Engine
from gateway.execution.projection import Projector
from gateway.http.answers import FinishedAnswers
from gateway.http.endpoint import GraphQLEndpoint
from gateway.http.explorer import Explorer, ExplorerAssets, built_explorer
from gateway.http.probes import livez, readyz
from gateway.http.shortcut import Shortcut
from gateway.leyr.client import LeyrClient
from gateway.leyr.connections import MakeConnections, PooledConnections
from gateway.leyr.transport import LeyrTransport
from gateway.logs import build_log
from gateway.schema.build import build_schema, build_views
from gateway.schema.context import AnswerLimits
from gateway.schema.loaders import Loaders
from gateway.schema.scalars import PLAIN_SCALARS
from gateway.settings import Settings
from gateway.sources.backend import SchedulingBackend
from gateway.sources.catalog import Catalog
from gateway.sources.memory import Memory
from gateway.sources.profiles import Profiles
from gateway.sources.reading import Reading
from gateway.sources.snapshots import Snapshots
from gateway.sources.steps import StepSource

_MEBIBYTE = 1024 * 1024
_GRAPHQL = "/graphql"


def create_app(
    settings: Settings,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    clock: Callable[[], float] = monotonic,
    new_reference: Callable[[], str] = lambda: str(uuid4()),
    connections: MakeConnections = PooledConnections,
    log_to: TextIO | None = None,
    notice: str = "",
) -> Starlette:
    """The gateway as an ASGI application. Raises SettingsError.

    `connections` replaces the HTTP transport, `notice` stands above GraphiQL.
    """
    log = build_log(settings.gateway_log_level, log_to or sys.stderr)
    transport = LeyrTransport(settings.leyr_base_url, *settings.credentials(), connections=connections)
    profiles = Profiles(settings.profiles(), on_learned=lambda learned: _log_learned(log, learned))
    memory = Memory(settings.gateway_cache_max_mb * _MEBIBYTE)
    explorer = Explorer(built_explorer(), notice) if settings.gateway_graphiql else None
    endpoint = GraphQLEndpoint(
        Engine(build_schema(), ErrorFormatter(log), Projector(PLAIN_SCALARS)),
        profiles=profiles,
        finished=FinishedAnswers(memory, clock),
        loaders=_loaders(settings, LeyrClient(transport, log), profiles, memory, clock),
        widest_window=settings.widest_window,
        limits=AnswerLimits(settings.gateway_max_upstream_calls, settings.gateway_max_timeslots),
        now=now,
        clock=clock,
        new_reference=new_reference,
        explorer=explorer,
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with transport:
            yield

    routes: list[BaseRoute] = [
        Route(_GRAPHQL, endpoint, methods=["GET", "POST"]),
        Route("/livez", livez),
        Route("/readyz", readyz),
    ]
    if explorer is not None:
        assets = ExplorerAssets(directory=built_explorer() / "assets", check_dir=False)
        routes.append(Mount("/graphql/assets", assets))
    middleware = [*_middleware(settings), Middleware(Shortcut, path=_GRAPHQL, to=endpoint)]
    app = Starlette(routes=routes, middleware=middleware, lifespan=lifespan)
    # A redirect would be built from the Host header, which is the client's to choose.
    app.router.redirect_slashes = False
    return app


def _loaders(
    settings: Settings, backend: SchedulingBackend, profiles: Profiles, memory: Memory, clock: Callable[[], float]
) -> Callable[[Reading], Loaders]:
    """Makes a request's loaders, over sources that all requests share."""
    catalog = Catalog(backend, lifetimes=settings.catalog_lifetimes, memory=memory, clock=clock)
    steps = StepSource(backend, profiles, Snapshots(settings.timeslots_lifetimes, memory, clock), clock)
    views = build_views()
    return lambda reading: Loaders(catalog, steps, views, reading)


def _log_learned(log: structlog.typing.FilteringBoundLogger, learned: EhrProfile) -> None:
    log.warning(
        "ehr.profile_learned",
        emr=learned.code,
        filter_policy=learned.filter_policy.value,
        action="set filter_policy for this EHR in LEYR_PROFILES, so that no call is refused first",
    )


def _middleware(settings: Settings) -> list[Middleware]:
    if not settings.gateway_cors_origins:
        return []
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.gateway_cors_origins,
        allow_methods=("GET", "POST"),
        allow_headers=("content-type", "accept"),
        max_age=3600,
    )
    return [cors]
