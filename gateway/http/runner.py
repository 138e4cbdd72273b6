"""From a GraphQL request that was let in to its answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from starlette.types import Receive

from gateway.domain.errors import OperationTooLarge, UnknownDocument
from gateway.domain.models import Access
from gateway.execution import operation as execution
from gateway.execution.operation import Engine, MutationNotAllowedError, Operation
from gateway.fetch.fetch_scope import FetchRecord, FetchScope
from gateway.fetch.profiles import Profiles
from gateway.http.fetch_report import extensions
from gateway.http.negotiation import MediaType
from gateway.http.persisted_documents import PersistedDocuments
from gateway.http.request_timeout import RequestTimeout
from gateway.http.requests import GraphQLRequest, RequestRefusedError
from gateway.http.response_cache import GraphQLResponse
from gateway.http.trail import Outcome, Trail
from gateway.schema.context import AnswerLimits, Context
from gateway.schema.loaders import Loaders


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


class Runner:
    """Runs operations; each gets its own loaders and its own idea of now."""

    def __init__(
        self,
        engine: Engine,
        *,
        documents: PersistedDocuments,
        profiles: Profiles,
        loaders: Callable[[FetchScope], Loaders],
        widest_window: timedelta,
        limits: AnswerLimits,
        now: Callable[[], datetime],
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
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
                outcome = await self._engine.run(operation, context, trail.request_id, queries_only=asked.queries_only)
        except MutationNotAllowedError:
            raise RequestRefusedError(405, "Send mutations by POST", ((b"allow", b"POST"),)) from None
        finally:
            loaders.close()
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


def _tell(told: Told, outcome: execution.Outcome, scope: FetchScope) -> None:
    told.operation_type = outcome.operation_type
    told.document_hash = outcome.document_hash
    told.codes = [error["extensions"]["code"] for error in outcome.errors]
    told.reads = scope.reads
    told.asked = scope.asked
    told.waited = scope.waited
    if outcome.data is not None:
        told.outcome = "partial" if outcome.errors else "ok"


def _status(outcome: execution.Outcome, media_type: MediaType) -> int:
    if outcome.data is not None:
        return 200
    if outcome.errors and outcome.errors[0]["extensions"]["code"] == OperationTooLarge.code:
        # Not for what is wrong with the document, which GraphQL over HTTP answers by 200 in application/json.
        return 400
    return _refused_status(media_type)


def _refused_status(media_type: MediaType) -> int:
    return 400 if media_type is MediaType.GRAPHQL_RESPONSE else 200
