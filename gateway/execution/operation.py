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
from graphql.execution.values import get_variable_values

from gateway.domain.errors import BadUserInput
from gateway.execution.direct import DirectRun
from gateway.execution.documents import Document, Documents
from gateway.execution.errors import ErrorFormatter
from gateway.execution.projection import Projector
from gateway.schema.context import Context


@dataclass(frozen=True, slots=True)
class Operation:
    """What a client sends: a document, which of its operations to run, and the variables."""

    query: str
    operation_name: str | None = None
    variables: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer: the JSON of `data` in pieces, and the errors.

    Without `data` the request was refused before any field ran.
    """

    data: Sequence[bytes] | None
    errors: Sequence[dict[str, Any]] = ()

    def pieces(self, extensions: bytes | None = None) -> list[bytes]:
        """The JSON of the whole answer in pieces; `extensions` is JSON too."""
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

    def __init__(self, schema: strawberry.Schema, errors: ErrorFormatter, projector: Projector) -> None:
        self._executor = projector.executor()
        self._encoder = msgspec.json.Encoder()
        self._schema: GraphQLSchema = schema._schema  # noqa: SLF001 # Strawberry names no public way to its core schema
        self._documents = Documents(self._schema, projector)
        self._errors = errors

    async def run(self, operation: Operation, context: Context, reference: str, *, queries_only: bool) -> Outcome:
        """Parse, validate and execute. Raises MutationNotAllowedError; everything else is in the outcome."""
        try:
            document = self._documents.read(operation.query)
            chosen = document.operation(operation.operation_name)
        except (GraphQLError, BadUserInput) as error:
            return self._refused([_as_graphql(error)], reference)
        except RecursionError:
            return self._refused([_as_graphql(BadUserInput("The document is nested too deeply"))], reference)
        if queries_only and chosen.operation is not OperationType.QUERY:
            raise MutationNotAllowedError
        if document.errors:
            return self._refused(document.errors, reference)
        if chosen.operation is OperationType.QUERY:
            data = await self._directly(document, chosen, operation, context)
            if data is not None:
                return Outcome(data)
        return await self._ordinarily(document, operation, context, reference)

    async def _directly(
        self, document: Document, chosen: OperationDefinitionNode, operation: Operation, context: Context
    ) -> Sequence[bytes] | None:
        """The data of an answer without errors; None where ordinary execution has to answer."""
        try:
            variables = get_variable_values(self._schema, chosen.variable_definitions or (), operation.variables or {})
        except Exception:  # noqa: BLE001 # ordinary execution coerces them again and reports what is wrong
            return None
        if isinstance(variables, list):
            return None
        program = self._documents.program(document, chosen, variables)
        return None if program is None else await DirectRun(program, context, variables, self._encoder).answer()

    async def _ordinarily(self, document: Document, operation: Operation, context: Context, reference: str) -> Outcome:
        outcome = execute(
            self._schema,
            document.node,
            context_value=context,
            variable_values=operation.variables,
            operation_name=operation.operation_name,
            executor_class=self._executor,
        )
        result = outcome if isinstance(outcome, ExecutionResult) else await outcome
        errors = result.errors or []
        if result.data is None and all(error.path is None for error in errors):
            return self._refused(errors, reference)
        return Outcome([orjson.dumps(result.data)], self._errors.formatted(errors, reference))

    def _refused(self, errors: Sequence[GraphQLError], reference: str) -> Outcome:
        return Outcome(None, self._errors.formatted(errors, reference))


def _as_graphql(error: GraphQLError | BadUserInput) -> GraphQLError:
    return error if isinstance(error, GraphQLError) else GraphQLError(error.message, original_error=error)
