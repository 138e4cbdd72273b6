"""Answers to documents about the model schema: of compiled programs, and of graphql-core's executor."""

import asyncio
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, NamedTuple

import orjson
import pytest
from graphql import ExecutionResult, GraphQLError, GraphQLSchema, execute, parse
from graphql.execution.values import VariableValues, get_variable_values

from gateway.engine.compiler import Columns
from gateway.engine.document_cache import Documents
from gateway.engine.document_limits import DocumentLimits
from gateway.engine.errors import located_errors
from gateway.engine.executor import Execution, ExecutionConfig, Program
from tests.unit.engine.model_schema import PLAIN_SCALARS, SCHEMA, Info, Item, World

COLUMNS = Columns(PLAIN_SCALARS)


class ExpectedError(Exception):
    """The root of the error tree of the model schema."""


CONFIG = ExecutionConfig(Info, ExpectedError, 64 * 1024 * 1024)
# Far more than clients get: compiling has bounds of its own, which are tested.
WIDE = DocumentLimits(tokens=10**6, depth=10**6, aliases=10**6, root_fields=10**6, directives=10**6, selections=10**9)
DOCUMENTS = Documents(SCHEMA, COLUMNS, WIDE, introspection=True)
THINGS = [
    Item(),
    Item("two", size=None, colour=2, owner_id=2, stock=None, price=Decimal("1.00")),
    Item("three", size=7, colour=3, owner_id=3),
]


def program_of(
    documents: Documents, text: str, variables: dict[str, Any], schema: GraphQLSchema = SCHEMA
) -> tuple[Program | None, VariableValues]:
    document = documents.read(text)
    operation = document.operation(None)
    coerced = get_variable_values(schema, operation.variable_definitions or (), variables)
    assert isinstance(coerced, VariableValues)
    return documents.program(document, operation, coerced), coerced


class Answer(NamedTuple):
    """The data and all errors of a compiled program."""

    data: bytes
    errors: list[GraphQLError]


async def run(program: Program | None, context: Any, variables: VariableValues) -> Answer | None:
    if program is None:
        return None
    execution = Execution(program, context, variables, CONFIG)
    pieces = await execution.run()
    if pieces is None:
        return None
    errors, omitted = located_errors(execution.field_errors, 1_000_000, expected=ExpectedError)
    assert omitted == 0
    return Answer(b"".join(pieces), errors)


async def compiled_answer(text: str, world: World, variables: dict[str, Any] | None = None) -> Answer | None:
    program, coerced = program_of(DOCUMENTS, text, variables or {})
    return await run(program, world, coerced)


async def compiled_data(text: str, world: World, variables: dict[str, Any] | None = None) -> bytes | None:
    """The data of an operation in which nothing fails."""
    answer = await compiled_answer(text, world, variables)
    assert answer is None or not answer.errors
    return None if answer is None else answer.data


def messages(errors: Iterable[GraphQLError] | None) -> list[str]:
    """The paths and messages of errors, sorted."""
    return sorted(f"{error.path} {error}" for error in errors or ())


async def core_result(
    text: str, context: Any, variables: dict[str, Any], *, schema: GraphQLSchema = SCHEMA, **options: Any
) -> ExecutionResult:
    outcome = execute(schema, parse(text), context_value=context, variable_values=variables, **options)
    return outcome if isinstance(outcome, ExecutionResult) else await outcome


async def tasks_ended() -> None:
    """Wait until all tasks but this one have ended."""
    for _ in range(1_000):
        if len(asyncio.all_tasks()) == 1:
            return
        await asyncio.sleep(0)
    pytest.fail("a task does not end")


def normalised(answer: bytes) -> bytes:
    """The same JSON in one spelling; the order of keys stays."""
    return orjson.dumps(orjson.loads(answer))
