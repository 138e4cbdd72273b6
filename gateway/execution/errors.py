"""Errors as clients see them: a message that is safe, and extensions that say what to do."""

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import structlog
from graphql import GraphQLError

from gateway.domain.errors import BadUserInput, GatewayError, Internal
from gateway.execution.failures import Failure, located
from gateway.execution.wording import UNSPEAKABLE, safe_wording
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

    def of_fields(self, failures: Sequence[Failure], reference: str) -> Reported:
        """The same for fields that failed and are null."""
        if not failures:
            return Reported()
        errors, omitted = located(failures, self._most)
        reported = self.formatted(errors, reference)
        return Reported(reported.errors, reported.omitted + omitted)

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
            room = self._most - len(places)
            places += [{"line": at.line, "column": at.column} for at in error.locations[:room]]

    def _cause(self, error: GraphQLError, reference: str, logged: set[str]) -> GatewayError:
        original = error.original_error
        while isinstance(original, GraphQLError) and original.original_error is not None:
            original = original.original_error
        if isinstance(original, GatewayError):
            return original
        if original is None or isinstance(original, GraphQLError):
            wording = safe_wording(error, suggestions=self._suggestions)
            if error.path is None or wording != UNSPEAKABLE:
                return BadUserInput(wording)
        if error.path is None:
            # No field ran, so the document or the variables are at fault.
            return BadUserInput(UNSPEAKABLE)
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
