"""The engine's door: takes an operation and a context, gives the JSON of its answer and its errors.

The engine stands here instead of graphql-core's executor, which completes each value of each row by itself: a large
answer takes the plain gateway of the benchmarks, which runs on that, six times the CPU.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import strawberry
from graphql import DirectiveLocation, GraphQLError, GraphQLSchema, OperationType, specified_directives

from gateway.engine.arguments import ArgumentConverter
from gateway.engine.budget import ExecutionLimits, Turns
from gateway.engine.compiler import Columns, CompilerConfig
from gateway.engine.document_cache import MAX_ERRORS, Documents, MemoryBudget, digest_of
from gateway.engine.document_limits import DocumentLimits
from gateway.engine.errors import LiteralNotAllowedError, MutationNotAllowedError, RequestError, located_errors
from gateway.engine.executor import Execution, ExecutionConfig, Info
from gateway.engine.literals import RefuseLiteral


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


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What the engine is told of the application that it serves.

    `limits` are those of documents, `execution` those of what they ask for. `plain_scalars` are custom scalars whose
    Python values are encoded as they are. `expected_errors` is the root of the error tree that resolvers raise from;
    anything else is a fault. A result has at most `max_errors` errors of failed fields, but faults in any case.
    `before_root_field` is called with the info of each root field before its resolver, of queries and mutations alike,
    and may raise. `refuse_name` gives the reason to refuse a name in a document, None for most; `refuse_literal` that
    to refuse literals in an argument or an input field, whose documents are not kept. `introspection` opens `__schema`
    and `__type`, and has graphql-core suggest names of the schema. Documents are cached within `budget`;
    without one each is compiled anew.
    """

    limits: DocumentLimits = field(default_factory=DocumentLimits)
    execution: ExecutionLimits = field(default_factory=ExecutionLimits)
    plain_scalars: frozenset[str] = frozenset()
    expected_errors: type[Exception] = RequestError
    max_errors: int = MAX_ERRORS
    before_root_field: Callable[[Any], None] = lambda _: None
    refuse_name: Callable[[str], str | None] = lambda _: None
    refuse_literal: RefuseLiteral | None = None
    introspection: bool = False
    budget: MemoryBudget | None = None


_EXECUTABLE_LOCATIONS = frozenset(
    {
        DirectiveLocation.QUERY,
        DirectiveLocation.MUTATION,
        DirectiveLocation.SUBSCRIPTION,
        DirectiveLocation.FIELD,
        DirectiveLocation.FRAGMENT_DEFINITION,
        DirectiveLocation.FRAGMENT_SPREAD,
        DirectiveLocation.INLINE_FRAGMENT,
        DirectiveLocation.VARIABLE_DEFINITION,
    }
)
_KNOWN_DIRECTIVES = frozenset(each.name for each in specified_directives)


def check_schema(schema: strawberry.Schema) -> None:
    """Raises TypeError where the schema has what the engine does not execute, and says what and where."""
    core: GraphQLSchema = schema._schema  # noqa: SLF001 # Strawberry names no public way to its core schema
    if not issubclass(schema.config.info_class, Info):
        raise TypeError("the schema's info_class does not extend gateway.engine.executor.Info")
    if core.subscription_type is not None:
        raise TypeError("the schema has subscriptions, which the engine does not execute")
    if schema.extensions:
        raise TypeError("the schema has extensions, which the engine does not run; extend fields instead")
    if schema.config.default_resolver is not getattr:
        raise TypeError("the schema's default_resolver is not getattr, by which the engine reads attributes")
    for directive in core.directives:
        if directive.name not in _KNOWN_DIRECTIVES and not _EXECUTABLE_LOCATIONS.isdisjoint(directive.locations):
            raise TypeError(f"the schema has the directive @{directive.name}, which the engine does not execute")


class _NextTurn:
    """Goes on in the next turn of the event loop."""

    async def pause(self) -> None:
        await asyncio.sleep(0)

    def wait(self) -> None:
        return


class Engine:
    """Executes queries and mutations on one schema, whose `info_class` extends the engine's `Info`."""

    def __init__(self, schema: strawberry.Schema, config: EngineConfig | None = None) -> None:
        """Raises TypeError where the schema has what the engine does not execute, and says what."""
        config = config or EngineConfig()
        check_schema(schema)
        self._schema: GraphQLSchema = schema._schema  # noqa: SLF001 # Strawberry names no public way to its core schema
        self._config = config
        self._arguments = ArgumentConverter(
            schema.schema_converter.scalar_registry,
            schema.config,
            config.execution.list_items,
            hide_suggestions=not config.introspection,
        )
        info_class: type[Info[Any, None]] = schema.config.info_class  # type: ignore[assignment] # as it was checked
        self._execution = ExecutionConfig(
            info_class, config.expected_errors, config.execution, config.before_root_field
        )
        self._documents = Documents(
            self._schema,
            CompilerConfig(Columns(config.plain_scalars), self._arguments),
            config.limits,
            refuse_name=config.refuse_name,
            refuse_literal=config.refuse_literal,
            introspection=config.introspection,
            budget=config.budget,
        )

    async def execute(
        self,
        operation: Operation,
        context: Any,
        *,
        queries_only: bool = False,
        turns: Turns = _NextTurn(),  # noqa: B008 # it has no state
        on_chosen: Callable[[OperationType], None] = lambda _: None,
    ) -> Result:
        """Parse, validate and execute. Raises MutationNotAllowedError; everything else is in the result.

        `on_chosen` is told what kind of operation runs, before a field does. A long execution pauses again and again;
        what `turns` raise then is raised here.
        """
        try:
            document = self._documents.read(operation.query)
            chosen = document.operation(operation.operation_name)
        except (GraphQLError, RequestError) as error:
            return Result(None, [_graphql_error(error)], document_hash=_hash_of_unread(operation.query, error))
        kind = chosen.operation
        if queries_only and kind is OperationType.MUTATION:
            raise MutationNotAllowedError
        if document.errors:
            return Result(None, document.errors, 0, document.digest, kind.value)
        try:
            variables = self._documents.variables(document, chosen, operation.variables or {})
            if isinstance(variables, list):
                return Result(None, variables, 0, document.digest, kind.value)
            for value in variables.coerced.values():
                self._arguments.check(value)
            program = self._documents.program(document, chosen, variables)
            on_chosen(kind)
            data, errors, omitted = await self._run(Execution(program, context, variables, self._execution, turns))
        except (GraphQLError, RequestError) as error:
            return Result(None, [_graphql_error(error)], 0, document.digest, kind.value)
        return Result(data, errors, omitted, document.digest, kind.value)

    def can_read(self, text: str) -> bool:
        """Whether a text is a document that may be kept: it can be parsed, and is within the limits."""
        try:
            self._documents.read(text)
        except (GraphQLError, RequestError):
            return False
        return True

    def finds_valid(self, text: str) -> bool:
        """Whether a text is a document without errors, as far as can be told without its variables."""
        try:
            return not self._documents.read(text).errors
        except (GraphQLError, RequestError):
            return False

    async def _run(self, execution: Execution) -> tuple[Sequence[bytes], Sequence[GraphQLError], int]:
        try:
            data = await execution.run()
            failures, config = execution.failures, self._config
            if not failures.count:
                return data, (), 0
            return data, *located_errors(failures, config.max_errors, expected=config.expected_errors)
        finally:
            execution.close()


def _hash_of_unread(text: str, error: GraphQLError | RequestError) -> str:
    """The hash of a document, but for one whose literals may be personal, which its hash would let guess."""
    original = error.original_error if isinstance(error, GraphQLError) else error
    return "" if isinstance(original, LiteralNotAllowedError) else digest_of(text)


def _graphql_error(error: GraphQLError | RequestError) -> GraphQLError:
    return error if isinstance(error, GraphQLError) else GraphQLError(error.message, original_error=error)
