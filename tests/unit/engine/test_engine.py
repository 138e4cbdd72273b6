"""The engine's door; what lies behind it is tested by module. These tests import nothing else of the gateway."""

import ast
import asyncio
from pathlib import Path

import pytest
import strawberry
from strawberry.schema.config import StrawberryConfig

from gateway.engine.budget import ExecutionLimits
from gateway.engine.engine import Engine, EngineConfig, Operation, Result
from gateway.engine.errors import LimitExceededError, MutationNotAllowedError
from gateway.engine.executor import Info


class TooBusyError(Exception):
    """The root of the error tree of the schema below."""


@strawberry.type
class Query:
    @strawberry.field
    def length(self, text: str) -> int | None:
        if not text:
            raise TooBusyError("no text")
        return len(text)

    @strawberry.field
    async def awaited(self, info: Info[asyncio.Future[int], None]) -> int:
        return await info.context


@strawberry.type
class Mutation:
    @strawberry.mutation
    def touch(self) -> int:
        return 1


SCHEMA = strawberry.Schema(Query, Mutation, config=StrawberryConfig(info_class=Info))
ENGINE = Engine(
    SCHEMA, EngineConfig(expected_errors=TooBusyError, max_errors=2, execution=ExecutionLimits(answer_bytes=100))
)


async def execute(text: str, *, queries_only: bool = False) -> Result:
    return await ENGINE.execute(Operation(text), None, queries_only=queries_only)


async def test_a_query_gives_data_its_hash_and_its_type() -> None:
    result = await execute('{ length(text: "four") }')

    assert (result.data, result.errors, result.operation_type) == ([b'{"length":4}'], (), "query")
    assert len(result.document_hash) == 64


async def test_fields_that_await_one_future_at_a_time_all_get_its_value() -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[int] = loop.create_future()
    loop.call_soon(loop.call_soon, future.set_result, 7)

    result = await ENGINE.execute(Operation("{ a: awaited b: awaited c: awaited }"), future)

    assert (result.data, result.errors) == ([b'{"a":7,"b":7,"c":7}'], ())


async def test_errors_of_fields_beyond_the_most_are_counted() -> None:
    result = await execute('{ a: length(text: "") b: length(text: "") c: length(text: "") }')

    assert result.data == [b'{"a":null,"b":null,"c":null}']
    assert [error.path for error in result.errors] == [["a"], ["b"]]
    assert result.errors_omitted == 1


@pytest.mark.parametrize("text", ["{", "{ nothing }", "query($v: Int!) { length(text: $v) }", "{ a } query Q { b }"])
async def test_a_wrong_document_has_errors_and_no_data(text: str) -> None:
    result = await execute(text)

    assert result.data is None
    assert result.errors


async def test_an_answer_beyond_its_limit_is_refused_with_the_limit() -> None:
    result = await execute(" ".join(["mutation {", *(f"alias{number}: touch" for number in range(10)), "}"]))

    assert result.data is None
    (error,) = result.errors
    assert isinstance(error.original_error, LimitExceededError)
    assert error.message == "The answer would take 111 bytes or more; the limit is 100: ask for less"


async def test_a_mutation_is_executed_unless_only_queries_are_allowed() -> None:
    assert (await execute("mutation { touch }")).data == [b'{"touch":1}']
    with pytest.raises(MutationNotAllowedError):
        await execute("mutation { touch }", queries_only=True)


def test_these_tests_import_nothing_of_the_gateway_but_its_engine() -> None:
    imported = {
        module
        for path in Path(__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for module in (
            [each.name for each in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    ours = {module for module in imported if module.partition(".")[0] in {"gateway", "tests", "benchmarks"}}

    assert all(module.startswith(("gateway.engine.", "tests.unit.engine.")) for module in ours)
