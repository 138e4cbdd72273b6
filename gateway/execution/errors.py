"""Errors as clients see them: a message that is safe, and extensions that say what to do."""

import re
from collections.abc import Sequence
from typing import Any

import structlog
from graphql import GraphQLError, GraphQLSyntaxError

from gateway.domain.errors import BadUserInput, GatewayError, Internal


class ErrorFormatter:
    """Turns whatever went wrong into the errors of an answer, and logs what it has to mask."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger) -> None:
        self._log = log

    def formatted(self, errors: Sequence[GraphQLError], reference: str) -> list[dict[str, Any]]:
        """GraphQL's error objects; `reference` is the request's own."""
        return [self._formatted(error, reference) for error in errors]

    def _formatted(self, error: GraphQLError, reference: str) -> dict[str, Any]:
        cause = self._cause(error, reference)
        formatted: dict[str, Any] = {"message": cause.message}
        if error.locations:
            formatted["locations"] = [{"line": at.line, "column": at.column} for at in error.locations]
        if error.path is not None:
            formatted["path"] = error.path
        formatted["extensions"] = extensions_of(cause, reference)
        return formatted

    def _cause(self, error: GraphQLError, reference: str) -> GatewayError:
        original = error.original_error
        while isinstance(original, GraphQLError) and original.original_error is not None:
            original = original.original_error
        match original:
            case GatewayError():
                return original
            case None | GraphQLError():
                return BadUserInput(_unquoted(error))
        if error.path is None:
            # No field ran, so the document or the variables are at fault, such as a literal of 5000 digits.
            return BadUserInput("The document or its variables hold a value that cannot be read")
        # The text of a fault may hold anything, so only its kind and place are logged.
        self._log.error(
            "operation.fault",
            reference=reference,
            kind=type(original).__name__,
            places=_places(original),
            action="report this to the gateway's developers with the reference",
        )
        return Internal("The gateway failed at this; its log has the details under the reference")


# graphql-core ends such messages with the client's value, which may be a personal number.
_QUOTED_VALUE = re.compile(r"( cannot represent [a-z0-9 -]*values?|, found\b).*", re.DOTALL)


def _unquoted(error: GraphQLError) -> str:
    return error.message if isinstance(error, GraphQLSyntaxError) else _QUOTED_VALUE.sub(r"\1", error.message)


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


def _places(error: BaseException) -> list[str]:
    places = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_qualname}:{trace.tb_lineno}")
        trace = trace.tb_next
    return places[-8:]
