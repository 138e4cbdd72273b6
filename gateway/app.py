"""The composition root: every long-lived object is made and joined here."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_bytes
from time import monotonic
from typing import TextIO
from uuid import uuid4

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount, Route

from gateway.domain.ehr_profile import EhrProfile
from gateway.doorway import callers_of, trusted_documents_of
from gateway.execution.errors import ErrorFormatter
from gateway.execution.limits import DocumentLimits
from gateway.execution.operation import Engine
from gateway.execution.projection import Projector
from gateway.fetch.backend import SchedulingBackend
from gateway.fetch.cache_budget import CacheBudget
from gateway.fetch.catalog import Catalog
from gateway.fetch.fetch_scope import FetchScope
from gateway.fetch.profiles import Profiles
from gateway.fetch.snapshots import Snapshots
from gateway.fetch.timeslot_calls import TimeslotCalls
from gateway.http.answers import FinishedAnswers
from gateway.http.callers.rates import RateLimits
from gateway.http.cross_site import NamedOrigins
from gateway.http.doorkeeper import Doorkeeper
from gateway.http.endpoint import GraphQLEndpoint
from gateway.http.explorer import Explorer, ExplorerAssets, built_explorer
from gateway.http.freshness import Freshness
from gateway.http.probes import livez, readyz
from gateway.http.readiness import Readiness
from gateway.http.refusals import elsewhere
from gateway.http.requests import RequestLimits, RequestReader
from gateway.http.runner import Runner
from gateway.http.shortcut import Shortcut
from gateway.http.stored_documents import StoredDocuments
from gateway.http.trail import RequestLog
from gateway.http.turnstile import Turnstile
from gateway.http_client.pool import ConnectionPool, HttpClientFactory
from gateway.leyr.call_events import CallEventsFanOut, LoggedCallEvents
from gateway.leyr.client import LeyrClient, LeyrTransport
from gateway.leyr.concurrency_limit import ConcurrencyConfig
from gateway.leyr.resilience import PolicyConfig, PolicyDependencies, UpstreamPolicies
from gateway.logs import asyncio_handler, build_log
from gateway.metrics.metrics import Metrics
from gateway.metrics.states import States
from gateway.schema.build import build_schema, build_views
from gateway.schema.context import AnswerLimits
from gateway.schema.loaders import Loaders
from gateway.schema.scalars import PLAIN_SCALARS
from gateway.settings import Settings
from gateway.tracing.traces import Traces

_MEBIBYTE = 1024 * 1024
_GRAPHQL = "/graphql"
# What pages of named origins may send beside what browsers let everyone send.
_CLIENT_HEADERS = (
    "apollo-require-preflight",
    "authorization",
    "cache-control",
    "content-type",
    "graphql-require-preflight",
    "if-none-match",
    "traceparent",
    "x-api-key",
    "x-apollo-operation-name",
    "x-gateway-deadline",
    "x-gateway-explain",
    "x-request-id",
    "x-requested-with",
)


def create_app(  # noqa: PLR0913 # time, chance and I/O, each by name
    settings: Settings,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    clock: Callable[[], float] = monotonic,
    new_reference: Callable[[], str] = lambda: str(uuid4()),
    new_secret: Callable[[], bytes] = lambda: token_bytes(32),
    connections: HttpClientFactory = ConnectionPool,
    log_to: TextIO | None = None,
    metrics: Metrics | None = None,
    traces: Traces | None = None,
    readiness: Readiness | None = None,
    notice: str = "",
) -> Starlette:
    """The gateway as an ASGI application. Raises SettingsError.

    `connections` replaces the HTTP transport, `metrics` counts, `traces` tells, `readiness` is the server's, `notice`
    stands above GraphiQL.
    """
    log = build_log(settings.gateway_log_level, log_to or sys.stderr)
    readiness = readiness or Readiness()
    outside = _Outside(now, clock, new_reference, new_secret, connections, log, metrics, traces, readiness)
    policies = _policies(settings, outside)
    transport = LeyrTransport(settings.leyr_base_url, *settings.credentials(), connections=connections)
    explorer = Explorer(built_explorer(), notice) if settings.gateway_graphiql else None
    callers = callers_of(settings, log=log, connections=connections, new_secret=new_secret, now=now, clock=clock)
    doorkeeper = Doorkeeper(callers, RateLimits(clock))
    endpoint = _endpoint(settings, outside, transport, policies, doorkeeper, explorer)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_exception_handler(asyncio_handler(outside.log))
        async with transport:
            yield
        await doorkeeper.close()

    middleware = [*_middleware(settings), Middleware(Shortcut, path=_GRAPHQL, to=endpoint)]
    handlers = {HTTPException: elsewhere(new_reference)}
    routes = _routes(settings, policies, readiness, explorer)
    app = Starlette(routes=routes, middleware=middleware, lifespan=lifespan, exception_handlers=handlers)
    # A redirect would be built from the Host header, which is the client's to choose.
    app.router.redirect_slashes = False
    return app


def _routes(
    settings: Settings, policies: UpstreamPolicies, readiness: Readiness, explorer: Explorer | None
) -> list[BaseRoute]:
    ready = readyz(settings.leyr_emrs, policies.snapshot, readiness)
    routes: list[BaseRoute] = [Route("/livez", livez), Route("/readyz", ready)]
    if explorer is not None:
        assets = ExplorerAssets(directory=built_explorer() / "assets", check_dir=False)
        routes.append(Mount("/graphql/assets", assets))
    return routes


@dataclass(frozen=True, slots=True)
class _Outside:
    """Time, chance, I/O and the log, as they were handed in."""

    now: Callable[[], datetime]
    clock: Callable[[], float]
    new_reference: Callable[[], str]
    new_secret: Callable[[], bytes]
    connections: HttpClientFactory
    log: structlog.typing.FilteringBoundLogger
    metrics: Metrics | None
    traces: Traces | None
    readiness: Readiness


def _policies(settings: Settings, outside: _Outside) -> UpstreamPolicies:
    rules = PolicyConfig(
        deadline_seconds=settings.gateway_deadline_seconds,
        attempt_seconds=min(settings.gateway_attempt_seconds, settings.gateway_deadline_seconds),
        gate=ConcurrencyConfig(most=settings.gateway_calls_per_ehr),
    )
    observers = [each.upstream for each in (outside.metrics, outside.traces) if each is not None]
    return UpstreamPolicies(rules, PolicyDependencies(LoggedCallEvents(outside.log, CallEventsFanOut(observers))))


def _endpoint(  # noqa: PLR0917 # the root joins so much
    settings: Settings,
    outside: _Outside,
    transport: LeyrTransport,
    policies: UpstreamPolicies,
    doorkeeper: Doorkeeper,
    explorer: Explorer | None,
) -> GraphQLEndpoint:
    clock, log = outside.clock, outside.log
    profiles = Profiles(settings.profiles(), on_learned=lambda learned: _log_learned(log, learned))
    memory = CacheBudget(settings.gateway_cache_max_mb * _MEBIBYTE)
    turnstile = Turnstile(settings.gateway_max_concurrent_requests)
    if outside.metrics is not None:
        outside.metrics.watch(
            States(
                conditions=policies.snapshot,
                cache_bytes=lambda: memory.bytes,
                cache_most_bytes=settings.gateway_cache_max_mb * _MEBIBYTE,
                requests_inside=lambda: turnstile.inside,
                is_ready=lambda: not outside.readiness.is_stopping,
            )
        )
    runner = Runner(
        _engine(settings, log),
        documents=StoredDocuments(trusted_documents_of(settings)),
        profiles=profiles,
        loaders=_loaders(settings, LeyrClient(transport, log, policies), profiles, memory, clock),
        widest_window=settings.widest_window,
        limits=AnswerLimits(
            settings.gateway_max_upstream_calls, settings.gateway_max_timeslots, settings.gateway_deadline_seconds
        ),
        now=outside.now,
        clock=clock,
    )
    return GraphQLEndpoint(
        runner,
        reader=RequestReader(_request_limits(settings)),
        doorkeeper=doorkeeper,
        finished=FinishedAnswers(memory, clock),
        turnstile=turnstile,
        freshness=Freshness(clock, shared=settings.gateway_auth == "anonymous"),
        log=RequestLog(log),
        clock=clock,
        new_reference=outside.new_reference,
        digest_key=outside.new_secret(),
        explorer=explorer,
        tally=outside.metrics,
        spans=None if outside.traces is None else outside.traces.operations,
    )


def _request_limits(settings: Settings) -> RequestLimits:
    return RequestLimits(
        settings.gateway_max_body_bytes, settings.gateway_max_json_depth, settings.gateway_max_integer_digits
    )


def _engine(settings: Settings, log: structlog.typing.FilteringBoundLogger) -> Engine:
    introspection = settings.gateway_introspection
    limits = DocumentLimits(
        tokens=settings.gateway_max_tokens,
        depth=settings.gateway_max_depth,
        aliases=settings.gateway_max_aliases,
        root_fields=settings.gateway_max_root_fields,
        directives=settings.gateway_max_directives,
        selections=settings.gateway_max_selections,
        integer_digits=settings.gateway_max_integer_digits,
        value_depth=settings.gateway_max_json_depth,
    )
    errors = ErrorFormatter(log, settings.gateway_max_errors, suggestions=introspection)
    return Engine(build_schema(), errors, Projector(PLAIN_SCALARS), limits, introspection=introspection)


def _loaders(
    settings: Settings, backend: SchedulingBackend, profiles: Profiles, memory: CacheBudget, clock: Callable[[], float]
) -> Callable[[FetchScope], Loaders]:
    """Makes a request's loaders, over sources that all requests share."""
    catalog = Catalog(backend, lifetimes=settings.catalog_lifetimes, memory=memory, clock=clock)
    steps = TimeslotCalls(backend, profiles, Snapshots(settings.timeslots_lifetimes, memory, clock), clock)
    views = build_views()
    return lambda scope: Loaders(catalog, steps, views, scope)


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
        NamedOrigins,
        allow_origins=settings.gateway_cors_origins,
        allow_methods=("GET", "POST"),
        allow_headers=_CLIENT_HEADERS,
        expose_headers=("etag", "retry-after", "x-request-id"),
        max_age=3600,
    )
    return [cors]
