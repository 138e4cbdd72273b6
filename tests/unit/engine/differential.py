"""What an answer of the engine has to have in common with that of graphql-core's executor."""

from collections import Counter
from collections.abc import Callable, Sequence
from inspect import isawaitable
from typing import Any, NamedTuple

import orjson
from graphql import ExecutionResult, GraphQLError, GraphQLSchema, execute, parse

from gateway.engine.engine import Engine
from tests.unit.engine.answering import Answer, answer, normalised, tasks_ended


class Expected(NamedTuple):
    """What graphql-core answers."""

    data: Any
    errors: list[GraphQLError]


class Operation(NamedTuple):
    """A document with its variables."""

    text: str
    variables: dict[str, Any]


async def expected_answer(schema: GraphQLSchema, operation: Operation, context: Any) -> Expected:
    """The answer of graphql-core's executor."""
    outcome = execute(schema, parse(operation.text), context_value=context, variable_values=operation.variables)
    result = await outcome if isawaitable(outcome) else outcome
    assert isinstance(result, ExecutionResult)
    return Expected(result.data, list(result.errors or ()))


Error = tuple[tuple[str | int, ...], str, str]


def errors_of(found: Sequence[GraphQLError]) -> list[Error]:
    """Paths, messages, and places with extensions."""
    return [(tuple(each.path or ()), each.message, f"{each.locations} {each.extensions}") for each in found]


def check_same(found: Answer, expected: Expected, *, waits: bool) -> None:
    """The law: equal data; equal errors in the same order, or, where resolvers wait, equal reasons for each null."""
    data = normalised(found.data)
    assert data == orjson.dumps(expected.data)
    ours, theirs = errors_of(found.errors), errors_of(expected.errors)
    if not waits:
        assert ours == theirs
        return
    ours_alone, theirs_alone = Counter(ours) - Counter(theirs), Counter(theirs) - Counter(ours)
    nulls = {null_of(expected.data, path) for path, *_ in ours}
    assert nulls == {null_of(expected.data, path) for path, *_ in theirs}
    for path, *_ in [*ours_alone, *theirs_alone]:
        assert len(null_of(expected.data, path)) < len(path), (ours_alone, theirs_alone)


def null_of(data: Any, path: Sequence[str | int]) -> tuple[str | int, ...]:
    """The place of the null that stands at a path, or further out."""
    place: Any = data
    for depth, key in enumerate(path):
        if place is None:
            return tuple(path[:depth])
        place = place[key]
    return tuple(path)


async def check_operation(
    engines: Sequence[Engine], schema: GraphQLSchema, operation: Operation, context: Callable[[], Any], *, waits: bool
) -> tuple[Expected, list[Answer]]:
    """Compare the answers of engines with that of graphql-core, each about a context of its own."""
    expected = await expected_answer(schema, operation, context())
    found = [await answer(operation.text, context(), operation.variables, engine) for engine in engines]
    await tasks_ended()
    for each in found:
        check_same(each, expected, waits=waits)
    return expected, found
