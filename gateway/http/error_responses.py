"""Errors as clients see them: safe messages, extensions that say what to do, and refusals of whole requests."""

import re
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any, Final, NamedTuple

import orjson
import structlog
from graphql import GraphQLError
from starlette.requests import Request
from starlette.responses import Response

from gateway.auth.jwks import KeysUnavailableError
from gateway.domain.errors import (
    BadUserInput,
    Forbidden,
    GatewayError,
    Internal,
    NotFound,
    OperationTooLarge,
    Overloaded,
    RateLimited,
    Unauthenticated,
)
from gateway.engine.engine import Result
from gateway.engine.errors import LimitExceededError, RequestError
from gateway.http.error_messages import GENERIC_MESSAGE, safe_message
from gateway.http.negotiation import MediaType
from gateway.http.requests import RequestRefusedError
from gateway.http.response_cache import GraphQLResponse
from gateway.logging import places

# To find the place of an error takes a look through the text.
MOST_ERRORS: Final = 20
# What graphql-core adds where it stops looking for errors.
_GAVE_UP = re.compile(
    r"Too many [a-z ]*errors[a-z ]*, error limit reached\. [A-Z][a-z]+ aborted\.|Validation aborted\."
)


class Reported(NamedTuple):
    """The errors of an answer, and how many more there are, at least."""

    errors: Sequence[dict[str, Any]] = ()
    omitted: int = 0


class ErrorFormatter:
    """Turns whatever went wrong into the errors of an answer, and logs what it has to mask."""

    def __init__(
        self, log: structlog.typing.FilteringBoundLogger, most: int = MOST_ERRORS, *, suggestions: bool = False
    ) -> None:
        """At most `most` errors are in an answer; `suggestions` lets through which names of the schema may be meant."""
        self._log = log
        self._most = most
        self._suggestions = suggestions

    def formatted(self, errors: Sequence[GraphQLError], reference: str) -> Reported:
        """GraphQL's error objects; `reference` is the request's own.

        Errors of the document that say the same become one with all their places. What is left out is counted, and
        a fault in it is logged all the same, each kind and place of fault once.
        """
        made: list[dict[str, Any]] = []
        by_message: dict[str, dict[str, Any]] = {}
        logged: set[str] = set()
        omitted = 0
        for error in errors:
            if made and _GAVE_UP.fullmatch(error.message):
                omitted += 1
                continue
            cause = self._cause(error, reference, logged)
            same = by_message.get(cause.message) if error.path is None else None
            if same is not None:
                self._add_places(same, error)
            elif len(made) >= self._most:
                omitted += 1
            else:
                made.append(self._formatted(error, cause, reference))
                if error.path is None:
                    by_message[cause.message] = made[-1]
        return Reported(made, omitted)

    def of_result(self, result: Result, reference: str) -> Reported:
        """The same for the errors of a result, with those that the engine left out."""
        if not result.errors:
            return Reported((), result.errors_omitted)
        reported = self.formatted(result.errors, reference)
        return Reported(reported.errors, reported.omitted + result.errors_omitted)

    def _formatted(self, error: GraphQLError, cause: GatewayError, reference: str) -> dict[str, Any]:
        formatted: dict[str, Any] = {"message": cause.message}
        self._add_places(formatted, error)
        if error.path is not None:
            formatted["path"] = error.path
        formatted["extensions"] = extensions_of(cause, reference)
        return formatted

    def _add_places(self, formatted: dict[str, Any], error: GraphQLError) -> None:
        if error.locations:
            places = formatted.setdefault("locations", [])
            budget = self._most - len(places)
            places += [{"line": at.line, "column": at.column} for at in error.locations[:budget]]

    def _cause(self, error: GraphQLError, reference: str, logged: set[str]) -> GatewayError:
        original = error.original_error
        while isinstance(original, GraphQLError) and original.original_error is not None:
            original = original.original_error
        if isinstance(original, GatewayError):
            return original
        if isinstance(original, RequestError):
            kind = OperationTooLarge if isinstance(original, LimitExceededError) else BadUserInput
            return kind(original.message)
        if original is None or isinstance(original, GraphQLError):
            wording = safe_message(error, suggestions=self._suggestions)
            if error.path is None or wording != GENERIC_MESSAGE:
                return BadUserInput(wording)
        if error.path is None:
            # No field ran, so the document or the variables are at fault.
            return BadUserInput(GENERIC_MESSAGE)
        self._log_fault(original or error, reference, logged)
        return Internal("The gateway failed at this; its log has the details under the reference")

    def _log_fault(self, fault: BaseException, reference: str, logged: set[str]) -> None:
        # The text of a fault may hold anything, so only its kind and place are logged.
        kind, found = type(fault).__name__, places(fault)
        identity = repr((kind, found))
        if identity in logged:
            return
        logged.add(identity)
        self._log.error(
            "operation.fault",
            reference=reference,
            kind=kind,
            places=found,
            action="report this to the gateway's developers with the reference",
        )


def extensions_of(error: GatewayError, reference: str) -> dict[str, Any]:
    """What a client needs to act: code, retryable, reference, origin, and retryAfter in seconds where known."""
    extensions: dict[str, Any] = {
        "code": error.code,
        "retryable": error.retryable,
        "reference": error.reference or reference,
        "origin": error.origin.value,
    }
    if error.retry_after is not None:
        extensions["retryAfter"] = error.retry_after
    return extensions


_STATUSES: Mapping[type[GatewayError], int] = {
    KeysUnavailableError: 503,
    Unauthenticated: 401,
    Forbidden: 403,
    RateLimited: 429,
    Overloaded: 503,
    Internal: 500,
}


def refused(error: GatewayError) -> RequestRefusedError:
    """The refusal of a whole request for a reason that has a status of its own."""
    headers = ((b"www-authenticate", b"Bearer"),) if isinstance(error, Unauthenticated) else ()
    return RequestRefusedError(_STATUSES.get(type(error), 400), error, headers)


def fault() -> RequestRefusedError:
    """What clients get where the gateway itself is at fault."""
    return refused(Internal("The gateway failed at this; its log has the details under the reference"))


def refusal_answer(refusal: RequestRefusedError, media_type: MediaType, reference: str) -> GraphQLResponse:
    """The answer to a request for an operation."""
    headers = list(refusal.headers)
    if refusal.error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, ceil(refusal.error.retry_after))))
    return GraphQLResponse(refusal.status, media_type, [_body(refusal.error, reference)], headers)


def wire_error(new_reference: Callable[[], str]) -> Callable[[int, str], tuple[bytes, bytes]]:
    """The content type and the body of what the server rejects before the application sees it."""

    def body(status: int, message: str) -> tuple[bytes, bytes]:
        kind = RateLimited if status == 429 else BadUserInput  # noqa: PLR2004 # HTTP's
        return MediaType.JSON.encode(), _body(kind(message, retryable=status == 408), new_reference())  # noqa: PLR2004 # HTTP's

    return body


def elsewhere(new_reference: Callable[[], str]) -> Callable[[Request, Exception], Response]:
    """The handler of what Starlette refuses: paths that do not exist, and methods that a probe does not take."""

    def handle(_: Request, error: Exception) -> Response:
        status: int = getattr(error, "status_code", 500)
        missing = NotFound("There is nothing at this path; GraphQL is at /graphql")
        found = missing if status == 404 else BadUserInput("This path does not take this method")  # noqa: PLR2004 # HTTP's
        headers = {"cache-control": "no-store", **(getattr(error, "headers", None) or {})}
        return Response(_body(found, new_reference()), status, headers, MediaType.JSON)

    return handle


def _body(error: GatewayError, reference: str) -> bytes:
    return orjson.dumps({"errors": [{"message": error.message, "extensions": extensions_of(error, reference)}]})
