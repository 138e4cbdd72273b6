"""Runs the operation of an admitted request, and makes its response."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import orjson
from graphql import OperationType

from gateway.domain.errors import DeadlineExceeded, OperationTooLarge, UnknownDocument
from gateway.domain.window import Window
from gateway.engine.engine import Engine, Operation, Result
from gateway.engine.errors import MutationNotAllowedError
from gateway.fetch.fetch_scope import CacheStatus, FetchRecord, FetchScope
from gateway.fetch.profiles import Profiles
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Runner:
    """Runs operations; each gets its own loaders and its own time of now."""

    engine: Engine
    errors: ErrorFormatter
    documents: PersistedDocuments
    profiles: Profiles
    loaders: Callable[[FetchScope], Nodes]
    widest_window: timedelta
    limits: OperationLimits
    now: Callable[[], datetime]
    clock: Callable[[], float]
    # One large response at a time: more threads would leave the event loop's too little of the processors.
    compressing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    writing: ResizableSemaphore = field(default_factory=lambda: ResizableSemaphore(2))

    async def run(self, request: GraphQLRequest, context: RequestContext, permit: RequestPermit) -> GraphQLResponse:
        """Run the operation and fill in the request's record. Raises HttpError and ClientDisconnectedError."""
        operation = self._operation(request, context.media_type)
        record, started = context.record, self.clock()
        scope = FetchScope(started, started) if context.bypass_cache else FetchScope(started)
        scope.on_ehr, scope.take_calls, permit.scope = permit.wait_for, context.take_calls, scope
        loaders = self.loaders(scope)
        resolver_context = Context(
            loaders,
            self.profiles,
            # Whole seconds: what an EHR makes of fractions is unknown, and no booking page needs them.
            self.now().replace(microsecond=0),
            self.widest_window,
            context.access,
            self.limits,
        )
        try:
            seconds = min(context.timeout_seconds, self.limits.seconds)
            with RequestTimeout(
                scope, context.receive, seconds, self.writing, context.caller, context.check_unsent
            ) as timeout:
                executed = await self.engine.execute(
                    operation,
                    resolver_context,
                    queries_only=not context.is_post,
                    turns=timeout,
                    on_chosen=partial(_protect_mutation, timeout, permit),
                )
        except DeadlineExceeded as error:
            raise HttpError(503, error) from None
        except MutationNotAllowedError:
            raise HttpError(405, "Send mutations by POST", ((b"allow", b"POST"),)) from None
        finally:
            loaders.close()
        result = GraphQLResult.of(executed, self.errors, record.ids.request_id)
        record.operation_type, record.document_hash = result.operation_type, result.document_hash
        record.codes = [error["extensions"]["code"] for error in result.errors]
        record.lists_needed, record.upstream_seconds = scope.asked, scope.waited
        if scope.reads:
            record.reads = Counter([read.origin for read in scope.reads])
        if result.data is not None:
            record.outcome = "partial" if result.errors else "ok"
        # Extensions are about data, so a result without data has none.
        extensions = fetch_report(scope, self.clock(), explain=context.explain) if result.data is not None else None
        response = GraphQLResponse(_status(result, context.media_type), context.media_type, result.pieces(extensions))
        if not result.errors and not context.explain and _may_be_kept(result, scope):
            response.fresh_until = scope.fresh_until
        response.turns = self.compressing
        return response

    def _operation(self, request: GraphQLRequest, media_type: MediaType) -> Operation:
        document = request.query
        if document is None or request.document_id or request.sha256 or self.documents.only_trusted:
            try:
                document = self.documents.text(request)
            except UnknownDocument as error:
                # Apollo's clients send the document along when a response with status 200 says so.
                raise HttpError(_request_error_status(media_type), error) from None
        return Operation(document, request.operation_name, request.variables)


def _protect_mutation(timeout: RequestTimeout, permit: RequestPermit, kind: OperationType) -> None:
    """Neither a client that leaves nor load ends a mutation: what it does may be half done."""
    timeout.outlives_client = permit.is_protected = kind is OperationType.MUTATION


def _may_be_kept(result: GraphQLResult, scope: FetchScope) -> bool:
    """A mutation runs each time that it is sent, and whoever asks whether a time is still free means now."""
    return result.operation_type == OperationType.QUERY.value and not scope.asks_anew


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


def fetch_report(scope: FetchScope, now: float, *, explain: bool) -> bytes | None:
    """The JSON of `extensions`, None if it would be empty; `now` is the clock's time.

    `overdue` reports lists whose refresh failed, by endpoint and EHR: how many the response holds, and the age of the
    oldest. With `explain` the report says which reads the operation made.
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
    return orjson.dumps({"gateway": report}) if report else None


def _explanation(scope: FetchScope, now: float) -> dict[str, Any]:
    """The reads of an operation.

    `planned` counts the lists that were read, `merged` the lists that fields asked for beyond those; the four cache
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
