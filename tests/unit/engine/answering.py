"""Answers to documents about the model schema: of the engine, and of graphql-core's executor."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any, NamedTuple

import orjson
import pytest
import strawberry
from graphql import ExecutionResult, GraphQLError, GraphQLSchema, execute, parse

from gateway.engine.budget import ExecutionLimits
from gateway.engine.document_cache import Document
from gateway.engine.document_limits import DocumentLimits
from gateway.engine.engine import Engine, EngineConfig, Operation, Result
from tests.unit.engine.memory_budget import Budget
from tests.unit.engine.model_schema import MODEL, PLAIN_SCALARS, SCHEMA, Item, World

# Far more than clients get.
WIDE = DocumentLimits(tokens=10**6, depth=10**6, aliases=10**6, root_fields=10**6, directives=10**6, selections=10**9)
MANY = 1_000_000


class ExpectedError(Exception):
    """The root of the error tree of the model schema."""


def engine_of(schema: strawberry.Schema = MODEL, limits: ExecutionLimits | None = None, **config: Any) -> Engine:
    """An engine that takes what the tests ask, and gives all errors."""
    made = EngineConfig(
        limits=WIDE,
        execution=limits or ExecutionLimits(work=10_000_000),
        plain_scalars=PLAIN_SCALARS,
        expected_errors=ExpectedError,
        max_errors=MANY,
        introspection=True,
        budget=Budget(64 * 1024 * 1024),
    )
    return Engine(schema, replace(made, **config))


ENGINE = engine_of()
# Pauses after each bit of work, so that whatever can be written in steps is.
PAUSING = engine_of(limits=ExecutionLimits(work=10_000_000, step_work=0.5))
THINGS = [
    Item(),
    Item("two", size=None, colour=2, owner_id=2, stock=None, price=Decimal("1.00")),
    Item("three", size=7, colour=3, owner_id=3),
]


def document_of(text: str, engine: Engine = ENGINE) -> Document:
    """A document as the engine has cached it."""
    return engine._documents.read(text)  # noqa: SLF001 # what is cached is nobody else's to see


class Answer(NamedTuple):
    """The data and all errors of an answer; without data the request was refused."""

    data: bytes | None
    errors: list[GraphQLError]

    @classmethod
    def of(cls, result: Result) -> "Answer":
        """The same as the engine gives it."""
        assert result.errors_omitted == 0
        return cls(None if result.data is None else b"".join(result.data), list(result.errors))


async def answer(text: str, context: Any, variables: dict[str, Any] | None = None, engine: Engine = ENGINE) -> Answer:
    return Answer.of(await engine.execute(Operation(text, variables=variables), context))


async def data_of(text: str, world: World, variables: dict[str, Any] | None = None, engine: Engine = ENGINE) -> bytes:
    """The data of an operation in which nothing fails."""
    found = await answer(text, world, variables, engine)
    assert not found.errors
    assert found.data is not None
    return found.data


def messages(errors: Iterable[GraphQLError] | None) -> list[str]:
    """The paths, places and messages of errors, in their order."""
    return [f"{error.path} {error.locations} {error.message}" for error in errors or ()]


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


def normalised(answer: bytes | None) -> bytes:
    """The same JSON in one spelling; the order of keys stays."""
    return orjson.dumps(None if answer is None else orjson.loads(answer))
