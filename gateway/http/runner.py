"""Runs the operation of an admitted request, and makes its response."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from math import inf
from typing import Any

import orjson
from graphql import OperationType

from gateway.booking.caller_bookings import BookingService, CallerBookings
from gateway.domain.errors import DeadlineExceeded, OperationTooLarge, UnknownDocument
from gateway.domain.window import Window
from gateway.engine.engine import Engine, Operation, Result
from gateway.engine.errors import MutationNotAllowedError
from gateway.fetch.fetch_scope import CacheStatus, FetchRecord, FetchScope, ReadTime
from gateway.fetch.profiles import Profiles
from gateway.fetch.single_flight import DetachedCalls
from gateway.http.concurrency_limit import RequestPermit
from gateway.http.error_responses import ErrorFormatter, HttpError
from gateway.http.negotiation import MediaType
from gateway.http.persisted_documents import PersistedDocuments
from gateway.http.request_context import RequestContext, RequestTimeout
from gateway.http.requests import GraphQLRequest
from gateway.http.response_cache import GraphQLResponse
from gateway.http_client.semaphore import ResizableSemaphore
from gateway.schema.context import Context, OperationLimits
from gateway.schema.node import Nodes

# While one runs, newer calls may land again, some hundred a second where many ask.
_MOST_RUNS = 8
_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class GraphQLResult:
    """What an operation came to: the JSON of `data` in pieces, and the errors as clients see them.

    `data` is None where no field ran. `errors_omitted` is the least number of further errors. `document_hash` is the
    SHA-256 of the document in hexadecimal digits; `operation_type` is None if no operation could be chosen.
    """

    data: Sequence[bytes] | None
    errors: Sequence[dict[str, Any]] = ()
    errors_omitted: int = 0
    document_hash: str = ""
    operation_type: str | None = None

    @classmethod
    def of(cls, result: Result, errors: ErrorFormatter, reference: str) -> "GraphQLResult":
        """Format the errors of the engine's result; `reference` is the request id."""
        formatted: Sequence[dict[str, Any]] = ()
        omitted = result.errors_omitted
        if result.errors:
            formatted, omitted = errors.formatted(result.errors, reference, omitted)
        return cls(result.data, formatted, omitted, result.document_hash, result.operation_type)

    def pieces(self, extensions: bytes | None = None) -> list[bytes]:
        """The JSON of the whole response in pieces; `extensions` is the JSON of an object with the key `gateway`."""
        if self.errors_omitted:
            given = {} if extensions is None else orjson.loads(extensions)
            report = {**given.get("gateway", {}), "errorsOmitted": self.errors_omitted}
            extensions = orjson.dumps({**given, "gateway": report})
        made = [b"{"]
        if self.data is not None:
            made += (b'"data":', *self.data, b",")
        if self.errors:
            made += (b'"errors":', orjson.dumps(self.errors), b",")
        if extensions is not None:
            made += (b'"extensions":', extensions, b",")
        if made[-1] == b",":
            made.pop()
        return [*made, b"}"]


class ReadInstants:
    """Says as instants when lists were requested: RFC 3339 text in UTC, in milliseconds.

    The difference between the clock and the time of day is taken once, so the same list always has the same instant.
    Of a ReadTime all processes say the same.
    """

    def __init__(self) -> None:
        self._epoch: float | None = None
        # The lists of one answer are those of many others.
        self._text = lru_cache(maxsize=1_024, typed=True)(self._written)
        self._alone = lru_cache(maxsize=1_024, typed=True)(partial(self._with_report, {}))

    def extensions(self, report: Mapping[str, Any], scope: FetchScope, epoch: float) -> bytes | None:
        """The JSON of `extensions`, None if it would be empty; `epoch` counts the first time only.

        A report gets beside it when the oldest list of each kind that was used was requested.
        """
        self._begin(epoch)
        if report:
            return self._with_report(report, scope.timeslots_as_of, scope.catalog_as_of)
        return self._alone(scope.timeslots_as_of, scope.catalog_as_of)

    def text(self, epoch: float, seconds: float) -> str:
        """The instant of the clock's seconds."""
        self._begin(epoch)
        return self._text(seconds)

    def _begin(self, epoch: float) -> None:
        if self._epoch is None:
            self._epoch = epoch

    def _with_report(self, report: Mapping[str, Any], timeslots_as_of: float, catalog_as_of: float) -> bytes | None:
        found = dict(report)
        if timeslots_as_of != inf:
            found["timeslotsAsOf"] = self._text(timeslots_as_of)
        if catalog_as_of != inf:
            found["catalogAsOf"] = self._text(catalog_as_of)
        return orjson.dumps({"gateway": found}) if found else None

    def _written(self, seconds: float) -> str:
        if isinstance(seconds, ReadTime):
            since_1970 = seconds.microseconds / _MICROSECONDS
        else:
            since_1970 = (self._epoch or 0.0) + seconds
        instant = datetime.fromtimestamp(round(since_1970, 3), UTC)
        return f"{instant.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Runner:
    """Runs operations; each gets its own loaders and its own time of now."""

    engine: Engine
    errors: ErrorFormatter
    documents: PersistedDocuments
    profiles: Profiles
    loaders: Callable[[FetchScope], Nodes]
    detached: DetachedCalls
    widest_window: timedelta
    limits: OperationLimits
    now: Callable[[], datetime]
    clock: Callable[[], float]
    booking: BookingService | None = None
    instants: ReadInstants = field(default_factory=ReadInstants)
    caches_timeslots: bool = True
    # One large response at a time: more threads would leave the event loop's too little of the processors.
    compressing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    writing: ResizableSemaphore = field(default_factory=lambda: ResizableSemaphore(2))

    async def run(self, request: GraphQLRequest, context: RequestContext, permit: RequestPermit) -> GraphQLResponse:
        """Run the operation and fill in the request's record. Raises HttpError and ClientDisconnectedError."""
        record = context.record
        try:
            operation = self._operation(request)
        except UnknownDocument as error:
            document = await self.documents.shared_text(request, self.engine.can_read)
            if document is None:
                # Apollo's clients send the document along when a response with status 200 says so.
                raise HttpError(_request_error_status(context.media_type), error) from None
            operation = Operation(document, request.operation_name, request.variables)
        try:
            executed, scope, epoch = await self._executed(operation, context, permit)
        except DeadlineExceeded as error:
            raise HttpError(503, error) from None
        except MutationNotAllowedError:
            raise HttpError(405, "Send mutations by POST", ((b"allow", b"POST"),)) from None
        await self.documents.told(request)
        result = GraphQLResult.of(executed, self.errors, record.ids.request_id)
        record.lists_needed, record.upstream_seconds = scope.asked, scope.waited
        if scope.reads:
            record.reads = Counter([read.origin for read in scope.reads])
        return self._response(result, scope, context, epoch)

    def _response(
        self, result: GraphQLResult, scope: FetchScope, context: RequestContext, epoch: float
    ) -> GraphQLResponse:
        """Make the response, and fill in the request's record; `epoch` is the instant of the clock's zero."""
        record = context.record
        record.operation_type, record.document_hash = result.operation_type, result.document_hash
        record.codes = [error["extensions"]["code"] for error in result.errors]
        extensions, tagged = None, b""
        # Extensions are about data, so a result without data has none.
        if result.data is not None:
            record.outcome = "partial" if result.errors else "ok"
            record.incomplete = scope.incomplete
            report = fetch_report(scope, self.clock(), explain=context.explain)
            extensions = self.instants.extensions(report, scope, epoch)
            tagged = orjson.dumps(report) if report else b""
        response = GraphQLResponse(_status(result, context.media_type), context.media_type, result.pieces(extensions))
        response.extensions, response.tagged_extensions = extensions, tagged
        if not result.errors and not context.explain and _may_be_kept(result, scope):
            response.fresh_until = scope.fresh_until
            response.generations = tuple(scope.generations.values()) or None
        response.turns, response.incomplete = self.compressing, record.incomplete
        return response

    async def _executed(
        self, operation: Operation, context: RequestContext, permit: RequestPermit
    ) -> tuple[Result, FetchScope, float]:
        """Execute an operation; gives the result, what was read for it, and the instant of the clock's zero.

        A query is executed again where calls that landed meanwhile say something else than what it read: other answers
        may have shown that already. As a rule all of it is in the cache then; where it is not, that is done once.
        """
        started, now = self.clock(), self.now()
        scope = FetchScope(started, started) if context.bypass_cache else FetchScope(started)
        scope.on_ehr, scope.take_calls, permit.scope = permit.wait_for, context.take_calls, scope
        scope.detached, scope.is_leaving = self.detached, context.is_leaving
        seconds = min(context.timeout_seconds, self.limits.seconds)
        with RequestTimeout(
            scope, context.receive, seconds, self.writing, context.caller, context.check_unsent
        ) as timeout:
            for run in range(_MOST_RUNS):
                calls = scope.calls
                executed = await self._execute(operation, context, permit, timeout, now)
                is_query = executed.operation_type == OperationType.QUERY.value
                if not (is_query and scope.is_outdated and self.caches_timeslots) or scope.is_expired:
                    break
                if run and scope.calls > calls:
                    break
                permit.scope = scope = scope.renewed()
                timeout.use(scope)
        return executed, scope, now.timestamp() - started

    async def _execute(
        self,
        operation: Operation,
        context: RequestContext,
        permit: RequestPermit,
        turns: RequestTimeout,
        now: datetime,
    ) -> Result:
        nodes = self.loaders(turns.scope)
        # Whole seconds: what an EHR makes of fractions is unknown, and no booking page needs them.
        resolver_context = Context(
            nodes,
            self.profiles,
            now.replace(microsecond=0),
            self.widest_window,
            context.access,
            self.limits,
            partial(self.instants.text, now.timestamp() - turns.scope.started),
            self._bookings(context),
        )
        try:
            return await self.engine.execute(
                operation,
                resolver_context,
                queries_only=not context.is_post,
                turns=turns,
                on_chosen=partial(_protect_mutation, turns, permit),
            )
        finally:
            nodes.close()

    def _bookings(self, context: RequestContext) -> CallerBookings | None:
        sender = context.sender
        if self.booking is None or sender is None:
            return None
        return CallerBookings(sender.name, sender.rights, sender.rate.bookings_per_minute, context.access, self.booking)

    def _operation(self, request: GraphQLRequest) -> Operation:
        """Raises UnknownDocument, and HttpError where the document may not be run."""
        document = request.query
        if document is None or request.document_id or request.sha256 or self.documents.only_trusted:
            document = self.documents.text(request, self.engine.can_read, self.engine.finds_valid)
        return Operation(document, request.operation_name, request.variables)


def _protect_mutation(timeout: RequestTimeout, permit: RequestPermit, kind: OperationType) -> None:
    """Neither a client that leaves nor load ends a mutation: what it does may be half done."""
    timeout.outlives_client = permit.is_protected = kind is OperationType.MUTATION
    if timeout.outlives_client:
        timeout.scope.is_leaving = None


def _may_be_kept(result: GraphQLResult, scope: FetchScope) -> bool:
    """A mutation runs each time that it is sent, and whoever asks for an appointment or for one free time means now.

    A failure is tried anew by the next request, whether it is told as an error or as data.
    """
    return result.operation_type == OperationType.QUERY.value and scope.is_kept and not scope.asks_anew


def _status(result: GraphQLResult, media_type: MediaType) -> int:
    if result.data is not None:
        return 200
    # Not for an invalid document, which GraphQL over HTTP answers by 200 in application/json.
    is_too_large = bool(result.errors) and result.errors[0]["extensions"]["code"] == OperationTooLarge.code
    return 400 if is_too_large else _request_error_status(media_type)


def _request_error_status(media_type: MediaType) -> int:
    return 400 if media_type is MediaType.GRAPHQL_RESPONSE else 200


_MAX_REPORTED_READS = 200
_SUBJECT = ("emr", "careUnit", "window", "resource", "healthcareService")


def fetch_report(scope: FetchScope, now: float, *, explain: bool) -> dict[str, Any]:
    """What `extensions.gateway` says of the reads, beside their instants; `now` is the clock's time.

    `overdue` reports lists whose refresh failed, by endpoint and EHR: how many the response holds, and the age of the
    oldest. `incomplete` reports what lists lack. With `explain` the report says which reads the operation made.
    """
    report = _explanation(scope, now) if explain else {}
    overdue: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for read in scope.reads:
        if read.is_overdue:
            overdue[read.endpoint, read.subject[0]].append(now - read.fetched_at)
    if overdue:
        report["overdue"] = [
            {"endpoint": endpoint, "emr": emr, "lists": len(ages), "ageSeconds": round(max(ages), 3)}
            for (endpoint, emr), ages in overdue.items()
        ]
    if incomplete := scope.incomplete:
        report["incomplete"] = incomplete
    return report


def _explanation(scope: FetchScope, now: float) -> dict[str, Any]:
    """The reads of an operation.

    `planned` counts the lists that were read, `merged` the lists that fields asked for beyond those; the cache
    statuses add up to `planned`. `ageSeconds` is the age of the oldest data.
    """
    origins = Counter(read.origin for read in scope.reads)
    ages = [now - read.fetched_at for read in scope.reads]
    return {
        "planned": len(scope.reads),
        "merged": max(scope.asked - len(scope.reads), 0),
        **{origin.value: origins[origin] for origin in CacheStatus},
        "ageSeconds": round(max(ages, default=0.0), 3),
        "reads": [_read_report(read, now) for read in scope.reads[:_MAX_REPORTED_READS]],
    }


def _read_report(read: FetchRecord, now: float) -> Mapping[str, Any]:
    report: dict[str, Any] = {"endpoint": read.endpoint, "origin": read.origin.value}
    for name, value in zip(_SUBJECT, read.subject, strict=False):
        if isinstance(value, Window):
            report["start"], report["end"] = value.start.isoformat(), value.end.isoformat()
        elif value is not None:
            report[name] = value
    return {**report, "ageSeconds": round(now - read.fetched_at, 3)}
