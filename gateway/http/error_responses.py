"""What a request gets that was not taken: an error in GraphQL's form, whatever it asked for."""

from collections.abc import Callable, Mapping
from math import ceil

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.auth.jwks import KeysUnavailableError
from gateway.domain.errors import (
    BadUserInput,
    Forbidden,
    GatewayError,
    Internal,
    NotFound,
    Overloaded,
    RateLimited,
    Unauthenticated,
)
from gateway.execution.errors import extensions_of
from gateway.http.negotiation import MediaType
from gateway.http.requests import RequestRefusedError
from gateway.http.response_cache import GraphQLResponse

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
