"""One GraphQL operation, from its text to its answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import strawberry
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    execute,
)

from gateway.domain.errors import BadUserInput
from gateway.execution.documents import Documents
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
    """An answer; `executed` is False where the request was refused before any field ran."""

    body: dict[str, Any]
    executed: bool


class MutationNotAllowedError(Exception):
    """The operation is no query, and the request's method may carry queries only."""


class Engine:
    """Runs operations on one schema."""

    def __init__(self, schema: strawberry.Schema, errors: ErrorFormatter, projector: Projector) -> None:
        self._executor = projector.executor()
        self._schema: GraphQLSchema = schema._schema  # noqa: SLF001 # Strawberry names no public way to its core schema
        self._documents = Documents(self._schema)
        self._errors = errors

    async def run(self, operation: Operation, context: Context, reference: str, *, queries_only: bool) -> Outcome:
        """Parse, validate and execute. Raises MutationNotAllowedError; everything else is in the outcome."""
        try:
            document = self._documents.read(operation.query)
            chosen = _chosen(document.node, operation.operation_name)
        except (GraphQLError, BadUserInput) as error:
            return self._refused([_as_graphql(error)], reference)
        except RecursionError:
            return self._refused([_as_graphql(BadUserInput("The document is nested too deeply"))], reference)
        if queries_only and chosen.operation is not OperationType.QUERY:
            raise MutationNotAllowedError
        if document.errors:
            return self._refused(document.errors, reference)
        return await self._executed(document.node, operation, context, reference)

    async def _executed(
        self, document: DocumentNode, operation: Operation, context: Context, reference: str
    ) -> Outcome:
        outcome = execute(
            self._schema,
            document,
            context_value=context,
            variable_values=operation.variables,
            operation_name=operation.operation_name,
            executor_class=self._executor,
        )
        result = outcome if isinstance(outcome, ExecutionResult) else await outcome
        errors = result.errors or []
        if result.data is None and all(error.path is None for error in errors):
            return self._refused(errors, reference)
        body: dict[str, Any] = {"data": result.data}
        if errors:
            body["errors"] = self._errors.formatted(errors, reference)
        return Outcome(body, executed=True)

    def _refused(self, errors: Sequence[GraphQLError], reference: str) -> Outcome:
        return Outcome({"errors": self._errors.formatted(errors, reference)}, executed=False)


def _chosen(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
    """The operation to run; a document with several needs a name. Raises BadUserInput."""
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if not operations:
        raise BadUserInput("The document holds no operation")
    if name is None:
        if len(operations) > 1:
            raise BadUserInput("The document holds several operations; say in operationName which one to run")
        return operations[0]
    for operation in operations:
        if operation.name and operation.name.value == name:
            return operation
    raise BadUserInput("The document holds no operation of the name in operationName")


def _as_graphql(error: GraphQLError | BadUserInput) -> GraphQLError:
    return error if isinstance(error, GraphQLError) else GraphQLError(error.message, original_error=error)
