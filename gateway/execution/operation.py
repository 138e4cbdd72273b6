"""One GraphQL operation, from its text to its answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson
import strawberry
from graphql import (
    ExecutionResult,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    execute,
)
from graphql.execution.values import VariableValues

from gateway.domain.errors import BadUserInput, CallerError
from gateway.execution.direct import DirectRun
from gateway.execution.documents import Document, Documents, digest_of
from gateway.execution.errors import MOST_ERRORS, ErrorFormatter, Reported
from gateway.execution.limits import DocumentLimits
from gateway.execution.projection import LARGEST_ANSWER, Projector, answer_too_large
from gateway.execution.sheets import AnswerTooLargeError
from gateway.schema.context import Context


@dataclass(frozen=True, slots=True)
class Operation:
    """What a client sends: a document, which of its operations to run, and the variables."""

    query: str
    operation_name: str | None = None
    variables: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer: the JSON of `data` in pieces, the errors, and how many more errors there are, at least.

    Without `data` the request was refused before any field ran. The log gets `document_hash`, the SHA-256 of the
    document's text in hexadecimal, and `operation_type`, which is unknown where no operation could be chosen.
    """

    data: Sequence[bytes] | None
    errors: Sequence[dict[str, Any]] = ()
    errors_omitted: int = 0
    document_hash: str = ""
    operation_type: str | None = None

    def pieces(self, extensions: bytes | None = None) -> list[bytes]:
        """The JSON of the whole answer in pieces; `extensions` is the JSON of an object with the key `gateway`."""
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


class MutationNotAllowedError(Exception):
    """The operation is no query, and the request's method may carry queries only."""


class Engine:
    """Runs operations on one schema."""

    def __init__(
        self,
        schema: strawberry.Schema,
        errors: ErrorFormatter,
        projector: Projector,
        limits: DocumentLimits | None = None,
        *,
        introspection: bool = False,
    ) -> None:
        """`introspection` opens `__schema` and `__type`, and has names of the schema looked up for suggestions."""
        self._executor = projector.executor()
        self._encoder = msgspec.json.Encoder()
        self._schema: GraphQLSchema = schema._schema  # noqa: SLF001 # Strawberry names no public way to its core schema
        self._documents = Documents(self._schema, projector, limits, introspection=introspection)
        self._errors = errors
        self._hides_suggestions = not introspection

    async def run(self, operation: Operation, context: Context, reference: str, *, queries_only: bool) -> Outcome:
        """Parse, validate and execute. Raises MutationNotAllowedError; everything else is in the outcome."""
        try:
            document, chosen = self._read(operation)
        except (GraphQLError, CallerError) as error:
            wrapped = error if isinstance(error, GraphQLError) else GraphQLError(error.message, original_error=error)
            reported = self._errors.formatted([wrapped], reference)
            return Outcome(None, *reported, digest_of(operation.query))
        if queries_only and chosen.operation is not OperationType.QUERY:
            raise MutationNotAllowedError
        if document.errors:
            reported = self._errors.formatted(document.errors, reference)
            return _outcome(None, reported, document, chosen)
        variables = self._variables(document, chosen, operation)
        if isinstance(variables, list):
            return _outcome(None, self._errors.formatted(variables, reference), document, chosen)
        if variables is not None and chosen.operation is OperationType.QUERY:
            program = self._documents.program(document, chosen, variables)
            run = None if program is None else DirectRun(program, context, variables, self._encoder)
            try:
                data = None if run is None else await run.answer()
            except AnswerTooLargeError:
                too_large = answer_too_large(LARGEST_ANSWER)
                wrapped = GraphQLError(too_large.message, original_error=too_large)
                return _outcome(None, self._errors.formatted([wrapped], reference), document, chosen)
            if run is not None and data is not None:
                return _outcome(data, self._errors.of_fields(run.failures, reference), document, chosen)
        return await self._ordinarily(document, chosen, operation, context, reference)

    def _read(self, operation: Operation) -> tuple[Document, OperationDefinitionNode]:
        try:
            document = self._documents.read(operation.query)
            return document, document.operation(operation.operation_name)
        except RecursionError:
            raise BadUserInput("The document is nested too deeply") from None

    def _variables(
        self, document: Document, chosen: OperationDefinitionNode, operation: Operation
    ) -> VariableValues | list[GraphQLError] | None:
        """The variables, or what is wrong with them; None where ordinary execution has to find that out."""
        try:
            rules = self._documents.variables(document, chosen)
            return rules.values(operation.variables or {}, MOST_ERRORS, hide_suggestions=self._hides_suggestions)
        except Exception:  # noqa: BLE001 # ordinary execution coerces them again and reports what is wrong
            return None

    async def _ordinarily(
        self,
        document: Document,
        chosen: OperationDefinitionNode,
        operation: Operation,
        context: Context,
        reference: str,
    ) -> Outcome:
        outcome = execute(
            self._schema,
            document.node,
            context_value=context,
            variable_values=operation.variables,
            operation_name=operation.operation_name,
            executor_class=self._executor,
            hide_suggestions=self._hides_suggestions,
        )
        result = outcome if isinstance(outcome, ExecutionResult) else await outcome
        errors = result.errors or []
        reported = self._errors.formatted(errors, reference)
        refused = result.data is None and all(error.path is None for error in errors)
        return _outcome(None if refused else [orjson.dumps(result.data)], reported, document, chosen)


def _outcome(
    data: Sequence[bytes] | None, reported: Reported, document: Document, chosen: OperationDefinitionNode
) -> Outcome:
    return Outcome(data, *reported, document.digest, chosen.operation.value)


def _with_omitted(extensions: bytes | None, omitted: int) -> bytes:
    given = {} if extensions is None else orjson.loads(extensions)
    return orjson.dumps({**given, "gateway": {**given.get("gateway", {}), "errorsOmitted": omitted}})
