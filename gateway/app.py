"""The composition root: every long-lived object is made and joined here."""

import asyncio
import logging
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from random import random
from secrets import token_bytes
from time import monotonic
from typing import TYPE_CHECKING, TextIO
from uuid import uuid4

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from gateway.auth.caller import AnonymousCallers, proxy_networks
from gateway.auth.rate_limit import Limit, RateLimits, RateSharing, Reached
from gateway.booking.caller_bookings import Bookings
from gateway.booking_composition import Booking, Upstream
from gateway.client_composition import httpx2_client, leyr_transport
from gateway.configuration import Configuration, configuration_of, rate_of, verifier_of
from gateway.engine.document_limits import DocumentLimits
from gateway.engine.engine import Engine
from gateway.engine.lazy_list import FragmentCache
from gateway.fetch.backend import SchedulingBackend
from gateway.fetch.cache_budget import CacheBudget, CacheConfig
from gateway.fetch.catalog import Catalog
from gateway.fetch.fetch_scope import FetchScope
from gateway.fetch.single_flight import DetachedCalls
from gateway.fetch.snapshots import Snapshots
from gateway.fetch.timeslot_calls import TimeslotCalls
from gateway.http.concurrency_limit import ConcurrencyLimit, UnsentBytes
from gateway.http.csrf import AllowedOrigins, Origins
from gateway.http.endpoint import DirectRoute, GraphQLEndpoint, SchemaEndpoint
from gateway.http.error_responses import ErrorFormatter, http_exception_handler
from gateway.http.graphiql import GraphiQLAssets, built_graphiql, graphiql_page
from gateway.http.health import livez, readyz
from gateway.http.requests import RequestReader
from gateway.http.response_cache import ResponseCache
from gateway.http.runner import Runner
from gateway.http_client.pool import HttpClientFactory
from gateway.leyr.call_events import CallEventsFanOut, LoggedCallEvents
from gateway.leyr.call_quota import QuotaConfig, QuotaSources
from gateway.leyr.client import LeyrClient, LeyrTransport
from gateway.leyr.concurrency_limit import ConcurrencyConfig
from gateway.leyr.resilience import PolicyConfig, PolicyDependencies, UpstreamPolicies
from gateway.log_stream import LogStream
from gateway.logging import asyncio_handler, build_log
from gateway.schema.context import OperationLimits
from gateway.schema.node import Nodes
from gateway.schema.query import engine_config, execution_limits, node_types, sdl, shared_schema
from gateway.server.protocol import Readiness
from gateway.settings import Settings
from gateway.signals import ignore_signals, remembered_signals, take_signals
from gateway.telemetry.metrics import Gauges, Metrics
from gateway.telemetry.request_log import RequestLog
from gateway.telemetry.shared_store_log import SharedStoreEvents
from gateway.telemetry.traces import Traces
from gateway.time_and_chance import TimeAndChance

if TYPE_CHECKING:
    from gateway.shared_composition import Shared

_MEBIBYTE = 1024 * 1024
_READ_TIMESLOTS = 500_000
_MIN_QUEUE = 1_000
# Of the calls that an EHR takes in a minute, where anything is booked.
_BOOKING_SHARE = 0.1
_utc_now = partial(datetime.now, UTC)
_GRAPHQL = "/graphql"


def create_app(  # noqa: PLR0913 # time, chance and I/O, each by name
    settings: Settings,
    *,
    now: Callable[[], datetime] = _utc_now,
    clock: Callable[[], float] = monotonic,
    new_reference: Callable[[], object] = uuid4,
    new_secret: Callable[[], bytes] = lambda: token_bytes(32),
    chance: Callable[[], float] = random,
    connections: HttpClientFactory | None = None,
    log_to: TextIO | LogStream | None = None,
    metrics: Metrics | None = None,
    traces: Traces | None = None,
    readiness: Readiness | None = None,
    bookings: Bookings | None = None,
    notice: str = "",
    takes_signals: bool = False,
) -> Starlette:
    """The gateway as an ASGI application. Raises SettingsError.

    `connections` replaces all HTTP clients, `metrics` counts, `traces` tells, `readiness` is the server's, `bookings`
    books, `notice` stands above GraphiQL. With `takes_signals`, in the main thread only, SIGHUP has files read again.
    """
    log = build_log(settings.gateway_log_level, log_to or sys.stderr)
    readiness = readiness or Readiness()
    memory = CacheBudget(settings.gateway_cache_max_mb * _MEBIBYTE)
    keys_over = connections or partial(httpx2_client, settings)
    store_events = SharedStoreEvents(log, None if metrics is None else metrics.shared)
    outside = TimeAndChance(clock, new_secret, chance)
    shared = _shared(settings, store_events, outside)
    booking = Booking.of(settings, outside, bookings, now, metrics, shared, log)
    names = booking.naming_secret(new_secret)
    verifier = verifier_of(settings, log=log, connections=keys_over, names=names, now=now, clock=clock)
    configuration = configuration_of(settings, log, verifier, memory, None if shared is None else shared.documents)
    dependencies = _Dependencies(
        settings, now, clock, new_reference, new_secret, log, metrics, traces, readiness, memory, configuration, booking
    )
    dependencies = replace(dependencies, shared=shared)
    policies = _policies(dependencies, has_quotas=connections is None)
    transport = leyr_transport(settings, connections)
    sources = _sources(dependencies, LeyrClient(transport, log, policies, now, clock))
    if connections is None:
        booking = booking.over(Upstream(transport, policies, *sources), settings, now, clock)
        dependencies = replace(dependencies, booking=booking)
    graphiql = _graphiql(settings, configuration, notice)
    endpoint = _endpoint(dependencies, sources, policies, graphiql)
    signals = remembered_signals() if takes_signals else None
    lifespan = partial(_lifespan, configuration, transport, policies, booking, shared, signals)
    return _application(dependencies, _routes(settings, readiness, graphiql, endpoint), endpoint, lifespan)


def _shared(settings: Settings, events: SharedStoreEvents, outside: TimeAndChance) -> "Shared | None":
    if settings.store_address is None:
        return None
    # Most processes share nothing, and spare the memory and the start time.
    from gateway.shared_composition import Shared  # noqa: PLC0415 # as said above

    return Shared.of(settings, settings.store_address, events, outside)


def _application(
    dependencies: "_Dependencies",
    routes: list[BaseRoute],
    endpoint: GraphQLEndpoint,
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]],
) -> Starlette:
    app = Starlette(
        routes=routes,
        middleware=[*_middleware(dependencies.settings), Middleware(DirectRoute, path=_GRAPHQL, to=endpoint)],
        lifespan=lifespan,
        exception_handlers={HTTPException: http_exception_handler(dependencies.new_reference)},
    )
    # A redirect would be built from the Host header, which is the client's to choose.
    app.router.redirect_slashes = False
    app.state.configuration = dependencies.configuration  # which a parent of workers reads again
    return app


def _graphiql(settings: Settings, configuration: Configuration, notice: str) -> Response | None:
    if not settings.gateway_graphiql:
        return None
    zone = configuration.profiles.default.time_zone.key
    return graphiql_page(built_graphiql(), notice, auth=settings.gateway_auth, time_zone=zone)


@asynccontextmanager
async def _lifespan(  # noqa: PLR0917 # what lives as long as the application
    configuration: Configuration,
    transport: LeyrTransport,
    policies: UpstreamPolicies,
    booking: Booking,
    shared: "Shared | None",
    signals: set[int] | None,
    _: Starlette,
) -> AsyncIterator[None]:
    log, verifier = configuration.log, configuration.verifier
    asyncio.get_running_loop().set_exception_handler(asyncio_handler(log))
    if signals is not None:
        take_signals(signals, log, configuration)
    async with transport, shared or nullcontext():
        async with booking:
            if verifier is not None:
                await verifier.start()
            yield
        # Bookings that are under way at the end still make calls.
        await policies.close()
    if verifier is not None:
        await verifier.close()
    if signals is not None:
        ignore_signals()


def _routes(
    settings: Settings, readiness: Readiness, graphiql: Response | None, endpoint: GraphQLEndpoint
) -> list[BaseRoute]:
    # Without the EHRs, since strangers may ask: those are told on the metrics' port.
    ready = readyz(lambda: readiness.is_stopping)
    routes: list[BaseRoute] = [Route("/livez", livez), Route("/readyz", ready)]
    if settings.gateway_schema:
        schema = SchemaEndpoint(endpoint, sdl())
        routes.append(Route("/schema.graphql", schema, methods=["GET"]))
    if graphiql is not None:
        assets = GraphiQLAssets(directory=built_graphiql() / "assets", check_dir=False)
        routes.append(Mount("/graphql/assets", assets))
    return routes


@dataclass(frozen=True, slots=True)
class _Dependencies:
    """The settings, time, chance, I/O and the log, as they were handed in."""

    settings: Settings
    now: Callable[[], datetime]
    clock: Callable[[], float]
    new_reference: Callable[[], object]
    new_secret: Callable[[], bytes]
    log: structlog.typing.FilteringBoundLogger
    metrics: Metrics | None
    traces: Traces | None
    readiness: Readiness
    memory: CacheBudget
    configuration: Configuration
    booking: Booking
    shared: "Shared | None" = None
    current_caller: ContextVar[Hashable] = field(default_factory=lambda: ContextVar("gateway.caller", default=None))

    @property
    def rate_sharing(self) -> RateSharing | None:
        """What lets all processes share callers' rates; None where they share nothing."""
        return None if self.shared is None else self.shared.rates


def _policies(dependencies: _Dependencies, *, has_quotas: bool) -> UpstreamPolicies:
    """The policies of all EHRs; without their quotas where Leyr is not called."""
    settings = dependencies.settings
    # Who sets a longer deadline, and nothing else, means its calls too.
    call_seconds = max(settings.gateway_call_seconds, settings.gateway_deadline_seconds)
    rules = PolicyConfig(
        deadline_seconds=settings.gateway_deadline_seconds,
        call_seconds=call_seconds,
        attempt_seconds=min(settings.gateway_attempt_seconds, call_seconds),
        concurrency=ConcurrencyConfig(
            max_concurrency=settings.gateway_calls_per_ehr,
            # All calls of one operation have room in the queue.
            max_waiting=max(_MIN_QUEUE, settings.gateway_max_upstream_calls),
        ),
        quota=QuotaConfig(booking_share=0.0 if settings.gateway_journal is None else _BOOKING_SHARE),
    )
    others = (dependencies.metrics, None if dependencies.traces is None else dependencies.traces.upstream)
    events = CallEventsFanOut([LoggedCallEvents(dependencies.log), *(each for each in others if each is not None)])
    profiles, shared = dependencies.configuration.profiles, dependencies.shared
    quotas = QuotaSources(
        lambda emr: profiles.of(emr).calls_per_minute if has_quotas else None,
        lambda emr: None if shared is None else shared.quotas.of(emr),
    )
    return UpstreamPolicies(rules, PolicyDependencies(events, caller=dependencies.current_caller.get, quotas=quotas))


def _endpoint(
    dependencies: _Dependencies,
    sources: tuple[Catalog, TimeslotCalls],
    policies: UpstreamPolicies,
    graphiql: Response | None,
) -> GraphQLEndpoint:
    settings, clock, log, memory = dependencies.settings, dependencies.clock, dependencies.log, dependencies.memory
    reached: Reached = Counter(dict.fromkeys(Limit, 0))
    concurrency_limit = ConcurrencyLimit(settings.gateway_max_concurrent_requests, reached)
    if dependencies.metrics is not None:
        dependencies.metrics.watch(
            Gauges(
                health=policies.health,
                cache_bytes=lambda: memory.bytes,
                cache_max_bytes=settings.gateway_cache_max_mb * _MEBIBYTE,
                active_requests=lambda: concurrency_limit.active,
                limits_reached=lambda: reached,
                is_ready=lambda: not dependencies.readiness.is_stopping,
            )
        )
    request_log = RequestLog(log)
    traces = dependencies.traces
    # A request without faults is logged as information.
    listeners = (request_log if log.is_enabled_for(logging.INFO) else None, dependencies.metrics, traces)
    return GraphQLEndpoint(
        runner=_runner(dependencies, partial(Nodes, *sources, node_types()), policies, reached),
        reader=RequestReader(
            settings.gateway_max_body_bytes, settings.gateway_max_json_depth, settings.gateway_max_integer_digits
        ),
        verifier=dependencies.configuration.verifier,
        anonymous=AnonymousCallers(
            rate_of(settings), proxy_networks(settings.gateway_trusted_proxies), settings.anonymous_rights
        ),
        rate_limits=RateLimits(clock, reached=reached, sharing=dependencies.rate_sharing),
        cache=ResponseCache(memory, clock),
        concurrency_limit=concurrency_limit,
        unsent_bytes=UnsentBytes(settings.gateway_max_unsent_mb * _MEBIBYTE, reached),
        current_caller=dependencies.current_caller,
        clock=clock,
        new_reference=dependencies.new_reference,
        digest_key=dependencies.new_secret(),
        graphiql=graphiql,
        origins=Origins(settings.gateway_cors_origins),
        on_started=None if traces is None else traces.started,
        on_finished=[each.finished for each in listeners if each is not None],
        on_fault=request_log.fault,
    )


def _runner(
    dependencies: _Dependencies,
    loaders: Callable[[FetchScope], Nodes],
    detached: DetachedCalls,
    reached: Reached,
) -> Runner:
    settings, clock = dependencies.settings, dependencies.clock
    return Runner(
        engine=_engine(settings, dependencies.memory),
        errors=ErrorFormatter(dependencies.log, settings.gateway_max_errors),
        documents=dependencies.configuration.documents,
        profiles=dependencies.configuration.profiles,
        loaders=loaders,
        detached=detached,
        widest_window=settings.widest_window,
        limits=OperationLimits(
            settings.gateway_max_upstream_calls,
            settings.gateway_deadline_seconds,
            max(_READ_TIMESLOTS, 2 * settings.gateway_max_timeslots),
        ),
        caches_timeslots=settings.gateway_cache_timeslots_seconds > 0,
        now=dependencies.now,
        clock=clock,
        booking=dependencies.booking.service(
            settings, dependencies.log, dependencies.metrics, clock, reached, sharing=dependencies.rate_sharing
        ),
    )


def _engine(settings: Settings, memory: CacheBudget) -> Engine:
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
    return Engine(
        shared_schema(),
        engine_config(
            limits,
            execution_limits(
                settings.gateway_max_work,
                settings.gateway_max_answer_mb * _MEBIBYTE,
                settings.gateway_max_list_items,
                settings.gateway_max_timeslots,
            ),
            max_errors=settings.gateway_max_errors,
            introspection=settings.gateway_introspection,
            budget=memory,
        ),
    )


def _sources(dependencies: _Dependencies, backend: SchedulingBackend) -> tuple[Catalog, TimeslotCalls]:
    """What all requests read from."""
    settings, clock, memory = dependencies.settings, dependencies.clock, dependencies.memory
    share = None if dependencies.shared is None else dependencies.shared.lists()
    catalog = Catalog(backend, CacheConfig(settings.catalog_lifetimes, memory, clock, FragmentCache), share)
    snapshots = Snapshots(CacheConfig(settings.timeslots_lifetimes, memory, clock, FragmentCache))
    calls = TimeslotCalls(backend, dependencies.configuration.profiles, snapshots, clock)
    if dependencies.shared is not None:
        dependencies.shared.share(calls)
    return catalog, calls


def _middleware(settings: Settings) -> list[Middleware]:
    if not settings.gateway_cors_origins:
        return []
    return [Middleware(AllowedOrigins, origins=Origins(settings.gateway_cors_origins))]
