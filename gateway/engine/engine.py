"""The engine's door: takes an operation and a context, gives the JSON of its answer and its errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson
import strawberry
from graphql import ExecutionResult, GraphQLError, GraphQLSchema, OperationDefinitionNode, OperationType, execute

from gateway.engine.compiler import Columns
from gateway.engine.document_cache import MAX_ERRORS, Document, Documents, digest_of
from gateway.engine.document_limits import DocumentLimits
from gateway.engine.errors import (
    AnswerTooLargeError,
    LimitExceededError,
    MutationNotAllowedError,
    RequestError,
    located_errors,
)
from gateway.engine.executor import Execution, ExecutionConfig, Info

# Text that is written once and copied under thousands of objects makes large answers of short documents.
_MAX_ANSWER_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Operation:
    """What a client sends: a document, which of its operations to run, and the variables."""

    query: str
    operation_name: str | None = None
    variables: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The JSON of `data` in pieces, the errors, and how many more errors there are, at least.

    Without `data` the request was refused before any field ran. `document_hash` is the SHA-256 of the document's text
    in hexadecimal digits; `operation_type` is None where no operation could be chosen.
    """

    data: Sequence[bytes] | None
    errors: Sequence[GraphQLError] = ()
    errors_omitted: int = 0
    document_hash: str = ""
    operation_type: str | None = None


# The `data`, `errors` and `errors_omitted` of a result.
_Answer: TypeAlias = tuple[Sequence[bytes] | None, Sequence[GraphQLError], int]


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What the engine is told of the application that it serves.

    `plain_scalars` are custom scalars whose Python values are encoded as they are. `expected_errors` is the root of the
    error tree that resolvers raise from; anything else is a fault. A result has at most `max_errors` errors of failed
    fields, but faults in any case. `too_large_hint` tells a client how to get a smaller answer. `refuse_name` gives the
    reason to refuse a name in a document, None for most. `introspection` opens `__schema` and `__type`, and has
    graphql-core suggest names of the schema.
    """

    limits: DocumentLimits = field(default_factory=DocumentLimits)
    plain_scalars: frozenset[str] = frozenset()
    expected_errors: type[Exception] = RequestError
    max_errors: int = MAX_ERRORS
    max_answer_bytes: int = _MAX_ANSWER_BYTES
    too_large_hint: str = "ask for less"
    refuse_name: Callable[[str], str | None] = lambda _: None
    introspection: bool = False


class Engine:
    """Executes operations on one schema, whose `info_class` extends the engine's `Info`."""

    def __init__(self, schema: strawberry.Schema, config: EngineConfig | None = None) -> None:
        """Raises TypeError where the schema's `info_class` is another."""
        config = config or EngineConfig()
        info_class = schema.config.info_class
        if not issubclass(info_class, Info):
            raise TypeError("the schema's info_class does not extend gateway.engine.executor.Info")
        self._schema: GraphQLSchema = schema._schema  # noqa: SLF001 # Strawberry names no public way to its core schema
        self._config = config
        self._execution = ExecutionConfig(info_class, config.expected_errors, config.max_answer_bytes)
        self._documents = Documents(
            self._schema,
            Columns(config.plain_scalars),
            config.limits,
            refuse_name=config.refuse_name,
            introspection=config.introspection,
        )

    async def execute(self, operation: Operation, context: Any, *, queries_only: bool = False) -> Result:
        """Parse, validate and execute. Raises MutationNotAllowedError; everything else is in the result."""
        try:
            document = self._documents.read(operation.query)
            chosen = document.operation(operation.operation_name)
        except (GraphQLError, RequestError) as error:
            return Result(None, [_graphql_error(error)], document_hash=digest_of(operation.query))
        if queries_only and chosen.operation is not OperationType.QUERY:
            raise MutationNotAllowedError
        try:
            data, errors, omitted = await self._answer(document, chosen, operation, context)
        except AnswerTooLargeError:
            limit, hint = self._config.max_answer_bytes, self._config.too_large_hint
            too_large = LimitExceededError(f"The answer would take more than {limit} bytes; {hint}")
            data, errors, omitted = None, [_graphql_error(too_large)], 0
        return Result(data, errors, omitted, document.digest, chosen.operation.value)

    async def _answer(
        self, document: Document, chosen: OperationDefinitionNode, operation: Operation, context: Any
    ) -> _Answer:
        if document.errors:
            return None, document.errors, 0
        try:
            variables = self._documents.variables(document, chosen, operation.variables or {})
        except Exception:  # noqa: BLE001 # graphql-core's executor coerces them again and reports what is wrong
            return await self._answer_of_core(document, operation, context)
        if isinstance(variables, list):
            return None, variables, 0
        program = self._documents.program(document, chosen, variables)
        if program is not None:
            execution = Execution(program, context, variables, self._execution)
            data = await execution.run()
            if data is not None and not execution.field_errors:
                return data, (), 0
            if data is not None:
                config = self._config
                return data, *located_errors(execution.field_errors, config.max_errors, expected=config.expected_errors)
        return await self._answer_of_core(document, operation, context)

    async def _answer_of_core(self, document: Document, operation: Operation, context: Any) -> _Answer:
        """Execute by graphql-core. Raises AnswerTooLargeError."""
        outcome = execute(
            self._schema,
            document.node,
            context_value=context,
            variable_values=operation.variables,
            operation_name=operation.operation_name,
            hide_suggestions=not self._config.introspection,
        )
        result = outcome if isinstance(outcome, ExecutionResult) else await outcome
        errors = result.errors or []
        if result.data is None and all(error.path is None for error in errors):
            return None, errors, 0
        data = orjson.dumps(result.data)
        if len(data) > self._config.max_answer_bytes:
            raise AnswerTooLargeError
        return [data], errors, 0


def _graphql_error(error: GraphQLError | RequestError) -> GraphQLError:
    return error if isinstance(error, GraphQLError) else GraphQLError(error.message, original_error=error)
