"""From a GraphQL request that was let in to its answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson
from starlette.types import Receive

from gateway.domain.errors import OperationTooLarge, UnknownDocument
from gateway.domain.models import Access
from gateway.engine.engine import Engine, Operation, Result
from gateway.engine.errors import MutationNotAllowedError
from gateway.fetch.fetch_scope import FetchRecord, FetchScope
from gateway.fetch.profiles import Profiles
from gateway.http.error_responses import ErrorFormatter
from gateway.http.fetch_report import extensions
from gateway.http.negotiation import MediaType
from gateway.http.persisted_documents import PersistedDocuments
from gateway.http.request_context import Outcome, Trail
from gateway.http.request_timeout import RequestTimeout
from gateway.http.requests import GraphQLRequest, RequestRefusedError
from gateway.http.response_cache import GraphQLResponse
from gateway.schema.context import Context, OperationLimits
from gateway.schema.node import Nodes


class Asked(NamedTuple):
    """What an answer depends on beside the request's body: what its head asks for, and what its caller may see."""

    media_type: MediaType
    queries_only: bool
    truth_now: bool
    explain: bool
    seconds: float
    access: Access


@dataclass(slots=True)
class Told:
    """What an operation came to, for the log: nothing in it is the client's."""

    operation_type: str | None = None
    document_hash: str = ""
    outcome: Outcome = "refused"
    codes: Sequence[str] = ()
    reads: Sequence[FetchRecord] = ()
    asked: int = 0
    waited: float = 0.0


@dataclass(frozen=True, slots=True)
class GraphQLResult:
    """What a client gets: the JSON of `data` in pieces, the errors, and how many more errors there are, at least.

    Without `data` the request was refused before any field ran. The log gets `document_hash`, the SHA-256 of the
    document's text in hexadecimal digits, and `operation_type`, which is unknown where no operation could be chosen.
    """

    data: Sequence[bytes] | None
    errors: Sequence[dict[str, Any]] = ()
    errors_omitted: int = 0
    document_hash: str = ""
    operation_type: str | None = None

    @classmethod
    def of(cls, result: Result, errors: ErrorFormatter, reference: str) -> "GraphQLResult":
        """The engine's result with its errors as clients see them; `reference` is the request's own."""
        return cls(result.data, *errors.of_result(result, reference), result.document_hash, result.operation_type)

    def pieces(self, extensions: bytes | None = None) -> list[bytes]:
        """The JSON of the whole response in pieces; `extensions` is the JSON of an object with the key `gateway`."""
        if self.errors_omitted:
            extensions = _with_omitted(extensions, self.errors_omitted)
        parts = [] if self.data is None else [(b'"data":', *self.data)]
        if self.errors:
            parts.append((b'"errors":', orjson.dumps(self.errors)))
        if extensions is not None:
            parts.append((b'"extensions":', extensions))
        made = [b"{"]
        for number, part in enumerate(parts):
            made += (b",", *part) if number else part
        return [*made, b"}"]


class Runner:
    """Runs operations; each gets its own loaders and its own idea of now."""

    def __init__(  # noqa: PLR0913 # the composition root hands in what an operation needs, each by name
        self,
        engine: Engine,
        errors: ErrorFormatter,
        *,
        documents: PersistedDocuments,
        profiles: Profiles,
        loaders: Callable[[FetchScope], Nodes],
        widest_window: timedelta,
        limits: OperationLimits,
        now: Callable[[], datetime],
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._errors = errors
        self._documents = documents
        self._profiles = profiles
        self._loaders = loaders
        self._widest_window = widest_window
        self._limits = limits
        self._now = now
        self._clock = clock

    async def run(
        self, request: GraphQLRequest, asked: Asked, trail: Trail, told: Told, receive: Receive
    ) -> GraphQLResponse:
        """The answer, and in `told` its statistics. Raises RequestRefusedError and ClientDisconnectedError."""
        operation = self._operation(request, asked.media_type)
        started = self._clock()
        scope = FetchScope(started, started) if asked.truth_now else FetchScope(started)
        loaders = self._loaders(scope)
        context = Context(
            loaders,
            self._profiles,
            # Whole seconds: what an EHR makes of fractions is unknown, and no booking page needs them.
            self._now().replace(microsecond=0),
            self._widest_window,
            asked.access,
            self._limits,
        )
        try:
            with RequestTimeout(scope, receive, min(asked.seconds, self._limits.seconds)):
                result = await self._engine.execute(operation, context, queries_only=asked.queries_only)
        except MutationNotAllowedError:
            raise RequestRefusedError(405, "Send mutations by POST", ((b"allow", b"POST"),)) from None
        finally:
            loaders.close()
        outcome = GraphQLResult.of(result, self._errors, trail.request_id)
        _tell(told, outcome, scope)
        # A refusal says nothing of data.
        found = extensions(scope, self._clock(), explain=asked.explain) if outcome.data is not None else None
        answer = GraphQLResponse(_status(outcome, asked.media_type), asked.media_type, outcome.pieces(found))
        if not outcome.errors and not asked.explain:
            answer.fresh_until = scope.fresh_until
        return answer

    def _operation(self, request: GraphQLRequest, media_type: MediaType) -> Operation:
        try:
            return Operation(self._documents.text(request), request.operation_name, request.variables)
        except UnknownDocument as error:
            # Apollo's clients send the document along when they are told so by 200.
            raise RequestRefusedError(_refused_status(media_type), error) from None


def _with_omitted(extensions: bytes | None, omitted: int) -> bytes:
    given = {} if extensions is None else orjson.loads(extensions)
    return orjson.dumps({**given, "gateway": {**given.get("gateway", {}), "errorsOmitted": omitted}})


def _tell(told: Told, outcome: GraphQLResult, scope: FetchScope) -> None:
    told.operation_type = outcome.operation_type
    told.document_hash = outcome.document_hash
    told.codes = [error["extensions"]["code"] for error in outcome.errors]
    told.reads = scope.reads
    told.asked = scope.asked
    told.waited = scope.waited
    if outcome.data is not None:
        told.outcome = "partial" if outcome.errors else "ok"


def _status(outcome: GraphQLResult, media_type: MediaType) -> int:
    if outcome.data is not None:
        return 200
    if outcome.errors and outcome.errors[0]["extensions"]["code"] == OperationTooLarge.code:
        # Not for what is wrong with the document, which GraphQL over HTTP answers by 200 in application/json.
        return 400
    return _refused_status(media_type)


def _refused_status(media_type: MediaType) -> int:
    return 400 if media_type is MediaType.GRAPHQL_RESPONSE else 200
