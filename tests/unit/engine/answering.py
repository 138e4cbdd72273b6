"""Answers to documents about the model schema, each way of execution by itself."""

import asyncio
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
import orjson
import pytest
from graphql import ExecutionResult, GraphQLError, GraphQLSchema, execute, parse
from graphql.execution.values import VariableValues, get_variable_values

from gateway.engine.compiler import Program
from gateway.engine.document_cache import Documents
from gateway.engine.document_limits import DocumentLimits
from gateway.engine.executor import Execution, ExecutionConfig
from gateway.engine.field_errors import located
from gateway.engine.rows import Columns
from tests.unit.engine.model_schema import PLAIN_SCALARS, SCHEMA, Info, Item, World

COLUMNS = Columns(PLAIN_SCALARS)


class ExpectedError(Exception):
    """The root of the error tree of the model schema."""


CONFIG = ExecutionConfig(msgspec.json.Encoder(), Info, ExpectedError, 64 * 1024 * 1024)
# Far more than clients get, since what takes place after the limits has bounds of its own.
WIDE = DocumentLimits(tokens=10**6, depth=10**6, aliases=10**6, root_fields=10**6, directives=10**6, selections=10**9)
KEPT = Documents(SCHEMA, COLUMNS, WIDE, introspection=True)
THINGS = [
    Item(),
    Item("two", size=None, colour=2, owner_id=2, stock=None, price=Decimal("1.00")),
    Item("three", size=7, colour=3, owner_id=3),
]


def compiled(
    kept: Documents, text: str, variables: dict[str, Any], schema: GraphQLSchema = SCHEMA
) -> tuple[Program | None, VariableValues]:
    document = kept.read(text)
    operation = document.operation(None)
    coerced = get_variable_values(schema, operation.variable_definitions or (), variables)
    assert isinstance(coerced, VariableValues)
    return kept.program(document, operation, coerced), coerced


class Direct(NamedTuple):
    """What direct execution answers, with all errors."""

    data: bytes
    errors: list[GraphQLError]


async def run(program: Program | None, context: Any, variables: VariableValues) -> Direct | None:
    if program is None:
        return None
    direct = Execution(program, context, variables, CONFIG)
    pieces = await direct.answer()
    if pieces is None:
        return None
    errors, omitted = located(direct.field_errors, 1_000_000, expected=ExpectedError)
    assert omitted == 0
    return Direct(b"".join(pieces), errors)


async def outcome(text: str, world: World, variables: dict[str, Any] | None = None) -> Direct | None:
    program, coerced = compiled(KEPT, text, variables or {})
    return await run(program, world, coerced)


async def directly(text: str, world: World, variables: dict[str, Any] | None = None) -> bytes | None:
    """The answer of an operation in which nothing fails."""
    found = await outcome(text, world, variables)
    assert found is None or not found.errors
    return None if found is None else found.data


def told(errors: Iterable[GraphQLError] | None) -> list[str]:
    """What errors say, in an order of its own."""
    return sorted(f"{error.path} {error}" for error in errors or ())


async def ordinarily(
    text: str, context: Any, variables: dict[str, Any], *, schema: GraphQLSchema = SCHEMA, **options: Any
) -> ExecutionResult:
    outcome = execute(schema, parse(text), context_value=context, variable_values=variables, **options)
    return outcome if isinstance(outcome, ExecutionResult) else await outcome


async def settled() -> None:
    """Whatever was begun and given up has ended."""
    for _ in range(1_000):
        if len(asyncio.all_tasks()) == 1:
            return
        await asyncio.sleep(0)
    pytest.fail("something goes on for ever")


def normal(answer: bytes) -> bytes:
    """The same JSON in one spelling; the order of keys stays."""
    return orjson.dumps(orjson.loads(answer))
