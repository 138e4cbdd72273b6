"""Errors as clients see them: the errors of a GraphQL result, HTTP error responses, and the messages of both.

The rules that a document is checked by quote names alone, all but one, and what they say is shown. What is said of
values loses them, and is shown only in a form that is listed here. Any other message, of this version of graphql-core
or a later one, becomes one generic sentence, so that no value of a client's is ever repeated.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

import orjson
import structlog
from graphql import GraphQLError, GraphQLSyntaxError
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
from gateway.domain.personal_numbers import may_hold_a_personal_number
from gateway.engine.errors import LimitExceededError, RequestError
from gateway.http.negotiation import MediaType
from gateway.http.response_cache import GraphQLResponse
from gateway.logging import places

FAULT_MESSAGE = "The gateway failed at this; its log has the details under the reference"
# graphql-core searches the document's text for the location of each error.
MAX_ERRORS: Final = 20
# What graphql-core adds when it stops looking for errors.
_ABORTED = re.compile(
    r"Too many [a-z ]*errors[a-z ]*, error limit reached\. [A-Z][a-z]+ aborted\.|Validation aborted\."
)


class HttpError(Exception):
    """The request gets an error response with this status; the error's message never quotes the request."""

    def __init__(self, status: int, error: GatewayError | str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self.error = BadUserInput(error) if isinstance(error, str) else error
        super().__init__(self.error.message)
        self.status = status
        self.headers = headers


@dataclass(frozen=True, slots=True)
class ErrorFormatter:
    """Formats errors for clients, and logs the faults whose message it masks.

    A response holds at most `max_errors`.
    """

    log: structlog.typing.FilteringBoundLogger
    max_errors: int = MAX_ERRORS

    def formatted(
        self, errors: Sequence[GraphQLError], reference: str, omitted: int = 0
    ) -> tuple[Sequence[dict[str, Any]], int]:
        """Make GraphQL error objects, and count the errors that are left out beside those `omitted` before.

        `reference` is the request id. Errors of the document with the same message become one with all their locations.
        Faults among the errors that are left out are logged too, each type and place of fault once.
        """
        made: list[dict[str, Any]] = []
        by_message: dict[str, dict[str, Any]] = {}
        logged: set[str] = set()
        for error in errors:
            if made and _ABORTED.fullmatch(error.message):
                omitted += 1
                continue
            cause = self._cause(error, reference, logged)
            same = by_message.get(cause.message) if error.path is None else None
            if same is not None:
                self._add_locations(same, error)
            elif len(made) >= self.max_errors:
                omitted += 1
            else:
                formatted: dict[str, Any] = {"message": cause.message}
                self._add_locations(formatted, error)
                if error.path is None:
                    by_message[cause.message] = formatted
                else:
                    formatted["path"] = error.path
                formatted["extensions"] = extensions_of(cause, reference)
                made.append(formatted)
        return made, omitted

    def _add_locations(self, formatted: dict[str, Any], error: GraphQLError) -> None:
        if error.locations:
            locations = formatted.setdefault("locations", [])
            budget = self.max_errors - len(locations)
            locations += [{"line": at.line, "column": at.column} for at in error.locations[:budget]]

    def _cause(self, error: GraphQLError, reference: str, logged: set[str]) -> GatewayError:
        original = error.original_error
        while isinstance(original, GraphQLError) and original.original_error is not None:
            original = original.original_error
        if isinstance(original, GatewayError):
            return original
        if isinstance(original, LimitExceededError):
            return OperationTooLarge(original.message)
        if isinstance(original, RequestError):
            return BadUserInput(_shown(original.message))
        if original is None or isinstance(original, GraphQLError):
            message = safe_message(error)
            if error.path is None or (message != GENERIC_MESSAGE and _is_about_document(error)):
                return BadUserInput(message)
        if error.path is None:
            # No field ran, so the document or the variables are at fault.
            return BadUserInput(GENERIC_MESSAGE)
        self._log_fault(original or error, reference, logged)
        return Internal(FAULT_MESSAGE)

    def _log_fault(self, fault: BaseException, reference: str, logged: set[str]) -> None:
        # The text of a fault may hold anything, so only its type and places are logged.
        kind, found = type(fault).__name__, places(fault)
        identity = repr((kind, found))
        if identity in logged:
            return
        logged.add(identity)
        self.log.error(
            "operation.fault",
            reference=reference,
            kind=kind,
            places=found,
            action="report this to the gateway's developers with the reference",
        )


def _is_about_document(error: GraphQLError) -> bool:
    """Whether an error of a field is about its arguments: graphql-core points at these in the document.

    What it says of a value that a resolver returned has a place only once the field is known.
    """
    original = error.original_error
    return not isinstance(original, GraphQLError) or bool(original.nodes)


def extensions_of(error: GatewayError, reference: str) -> dict[str, Any]:
    """The `extensions` of an error: code, retryable, reference, origin, and retryAfter in seconds if known."""
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


def http_error(error: GatewayError) -> HttpError:
    """The HTTP error that goes with an error of the gateway; its status is 400 unless the error has its own."""
    headers = ((b"www-authenticate", b"Bearer"),) if isinstance(error, Unauthenticated) else ()
    return HttpError(_STATUSES.get(type(error), 400), error, headers)


def error_response(error: HttpError, media_type: MediaType, reference: str) -> GraphQLResponse:
    """The response to a GraphQL request that failed with an HTTP error."""
    headers = list(error.headers)
    if error.error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, ceil(error.error.retry_after))))
    return GraphQLResponse(error.status, media_type, [_body(error.error, reference)], headers)


def server_error_body(new_reference: Callable[[], object]) -> Callable[[int, str], tuple[bytes, bytes]]:
    """Make the function that gives the server the content type and body of responses to malformed HTTP requests."""

    def body(status: int, message: str) -> tuple[bytes, bytes]:
        error: GatewayError = BadUserInput(message, retryable=status == 408)  # noqa: PLR2004 # HTTP's
        if status == 429:  # noqa: PLR2004 # HTTP's
            error = RateLimited(message, retryable=True, retry_after=1)
        return MediaType.JSON.encode(), _body(error, str(new_reference()))

    return body


def http_exception_handler(new_reference: Callable[[], object]) -> Callable[[Request, Exception], Response]:
    """Make Starlette's handler of HTTPException: for unknown paths, and for methods that a probe does not take."""

    def handle(_: Request, error: Exception) -> Response:
        status: int = getattr(error, "status_code", 500)
        not_found = NotFound("There is nothing at this path; GraphQL is at /graphql")
        found = not_found if status == 404 else BadUserInput("This path does not take this method")  # noqa: PLR2004 # HTTP's
        headers = {"cache-control": "no-store", **(getattr(error, "headers", None) or {})}
        return Response(_body(found, str(new_reference())), status, headers, MediaType.JSON)

    return handle


def _body(error: GatewayError, reference: str) -> bytes:
    return orjson.dumps({"errors": [{"message": error.message, "extensions": extensions_of(error, reference)}]})


GENERIC_MESSAGE: Final = "The document or its variables hold something that is not allowed here"
_MAX_MESSAGE = 400
# The form of a message is known from its start; the rest is a value, of any length.
_MAX_READ = 2_000

# A text with broken syntax was not checked for anything, so none of its words may be repeated.
_TOKEN = r"(?:'[^'\w]{1,3}'|<[SE]OF>|Name|Int|Float|String|BlockString|Comment)"  # noqa: S105 # a token of GraphQL
_CHARACTER = r"(?:'.'|U\+[0-9A-F]+|<EOF>)"
_SYNTAX = re.compile(
    rf"""Syntax\ Error:\ (?:
      Expected\ (?:{_TOKEN}|'[a-z]+'),\ found\ {_TOKEN}
    | Unexpected\ (?:{_TOKEN}|variable|single\ quote\ character|'\.\.')
    | Unexpected\ description,[a-zA-Z ]+
    | (?:Unexpected|Invalid)\ character:\ {_CHARACTER}
    | Invalid\ number,\ (?:unexpected\ digit\ after\ 0|expected\ digit(?:\ before\ '\.'|\ but\ got:\ {_CHARACTER}))
    | Invalid\ (?:Unicode|character)\ escape\ sequence
    | Invalid\ character\ within\ String
    | Unterminated\ string
    )""",
    re.VERBOSE,
)

_QUOTED = r"'[$@]?[\w.\[\]!]+(?:\(\w+:\))?'"
_WHERE = r"(?:(?:Variable '\$\w+'|Argument '\w+') has invalid (?:default )?value(?: at [\w.\[\]]+)?: )?"
# Messages of our own scalars quote nothing but an example, which looks like a personal number.
_OWN_SCALAR = "(?:A|This) (?:DateTime|Date|LocalTime) [^']+"
# {} stands for one or several names of the document or the schema, ... for words of graphql-core.
_FORMS = """
Argument {} of required type {} was not provided.
Expected value of non-null type {} not to be None.
Expected a value of non-null type {} to be provided.
Expected variable {} provided to ...type {} to provide a runtime value.
Expected variable {} provided to ...type {} not to be None.
Expected value of type {}
Expected value of type {} to be an object
Expected value of type {} to include required field {}
Expected value of type {} not to include unknown field
Within OneOf Input Object type {}, exactly one field must be specified, and the value for that field must be non-null.
... cannot represent ... value
... cannot represent value
Enum {} cannot represent ... value
Enum {} cannot represent value
Value does not exist in {} enum.
"""
_KNOWN = re.compile(
    _WHERE
    + "(?:"
    + "|".join(
        re.escape(form).replace(r"\{\}", rf"{_QUOTED}(?:, {_QUOTED})*").replace(r"\.\.\.", r"[\w -]*")
        for form in _FORMS.strip().splitlines()
    )
    + f"|{_OWN_SCALAR})"
)
# The client's value, up to the message's end.
_VALUE = re.compile(
    r"( cannot represent [\w -]*value\b|(?<= not to include unknown field)(?= ')|, found\b|, but encountered\b).*",
    re.DOTALL,
)
_KEPT = " cannot represent "
_ENUM_VALUE = re.compile(r"\bValue '.*' does not exist in ('\w+') enum\..*", re.DOTALL)


def safe_message(error: GraphQLError) -> str:
    """The message of an error of graphql-core as clients may see it, where it may quote a value."""
    text = error.message[:_MAX_READ]
    if isinstance(error, GraphQLSyntaxError):
        found = _SYNTAX.match(text)
        return f"{found.group()}." if found else "Syntax Error: The document cannot be read here."
    message = _message_without_value(text)
    return GENERIC_MESSAGE if message is None else _shown(message)


def _shown(message: str) -> str:
    if may_hold_a_personal_number(re.sub(_OWN_SCALAR, "", message)):
        return GENERIC_MESSAGE
    return message if len(message) <= _MAX_MESSAGE else f"{message[:_MAX_MESSAGE]}..."


def _message_without_value(message: str) -> str | None:
    safe = _ENUM_VALUE.sub(r"Value does not exist in \1 enum.", message)
    safe = _VALUE.sub(lambda cut: cut[1] if cut[1].startswith(_KEPT) else "", safe)
    return safe if _KNOWN.fullmatch(safe) else None
