"""The engine gives the JSON and the errors of graphql-core's executor, and leaves nothing behind."""

import asyncio
import gc
from enum import StrEnum
from typing import Any

import orjson
import pytest
from hypothesis import given, settings

from tests.unit.engine.answering import (
    ENGINE,
    PAUSING,
    THINGS,
    Answer,
    answer,
    data_of,
    document_of,
    messages,
    normalised,
    tasks_ended,
)
from tests.unit.engine.differential import Expected, Operation, check_operation, check_same, expected_answer
from tests.unit.engine.examples import EXAMPLES
from tests.unit.engine.generated_documents import ITEMS, NULLABLE_VARIABLES, documents
from tests.unit.engine.model_schema import BAD_PACES, GOOD_PACES, SCHEMA, Item, World


@settings(max_examples=EXAMPLES)
@given(documents, NULLABLE_VARIABLES, ITEMS)
def test_generated_documents_have_the_answer_of_graphql_core(
    text: str, variables: dict[str, Any], items: list[Item]
) -> None:
    assert not document_of(text).errors

    async def story() -> None:
        operation = Operation(text, variables)
        await check_operation([ENGINE, PAUSING], SCHEMA, operation, lambda: World(items), waits=True)
        world = World(items)
        once = await answer(text, world, variables)
        again = await answer(text, world, variables)  # some of it from the fragment cache
        assert once.data == again.data

    asyncio.run(story())


async def both(text: str, items: list[Item], variables: dict[str, Any] | None = None) -> tuple[Answer, Expected]:
    operation = Operation(text, variables or {})
    found = await answer(text, World(items), operation.variables)
    expected = await expected_answer(SCHEMA, operation, World(items))
    await tasks_ended()
    return found, expected


FAILING = [
    "{ nodes { name } }",
    '{ nodes { ... on Owner { things { owner(pace: "fails") { name } } } } }',
    *(f'{{ compact {{ owner(pace: "{pace}") {{ name }} name }} }}' for pace in BAD_PACES),
    *(f'{{ things {{ shout owner(pace: "{pace}") {{ name }} }} }}' for pace in BAD_PACES),
    '{ viewed { owner { things { owner(pace: "fails late") { name } } } kin { name } } named { name } }',
    '{ compact { home { compact { owner(pace: "failed") { name } } } } grid { owner(pace: "fails") { rank } } }',
]


@pytest.mark.parametrize("text", FAILING)
def test_a_field_that_fails_and_may_be_null_leaves_the_rest_as_it_is(text: str) -> None:
    found, expected = asyncio.run(both(text, THINGS))

    assert found.errors
    assert sorted(messages(found.errors)) == sorted(messages(expected.errors))
    assert normalised(found.data) == orjson.dumps(expected.data)


NEVER = 'a: strict(pace: "never") { name } b: compact(pace: "never gathered") { name }'


@pytest.mark.parametrize(
    "text",
    [
        "{ __typename }",
        "{ things { __typename } }",
        "{ compact { name when colour grade stock size ownerId kind price __typename } }",
        "{ compact { label owner { name place { street } } home { things { name } } kin { name } } }",
        "{ viewed { name owner { compact { owner { name } } } } }",
        "{ named { ... on Owner { rank } ... on Thing { shout } } }",
        "{ grid { __typename size } numbers strict { __typename place { number } } }",
        "{ compact { name @skip(if: true) } }",
        "{ promised }",
        "{ __schema { queryType { name } types { name fields { name args { name defaultValue } } } } }",
        '{ __type(name: "Thing") { name fields { name type { kind name ofType { name } } } } }',
        "mutation { promised }",
        "{ ofKind(kind: SQUARE) again: ofKind }",
        '{ perhaps(text: "x") nothing: perhaps empty: perhaps(text: null) }',
        "{ owned { __typename } }",
        *(f'{{ compact(pace: "{pace}") {{ owner(pace: "{pace}") {{ name }} }} }}' for pace in GOOD_PACES),
    ],
)
def test_operations_of_each_kind_have_the_data_of_graphql_core(text: str) -> None:
    found, expected = asyncio.run(both(text, THINGS))

    check_same(found, expected, waits=False)
    assert found.data is not None


@pytest.mark.parametrize(
    "text",
    [
        "subscription { promised }",
        "{ rootless }",
        "{ things { shy } }",
        "{ strict { shy } }",
        "{ others { name } }",
        "{ others { __typename } }",
        "{ others { name shout } }",
        *(f'{{ strict(pace: "{pace}") {{ name }} }}' for pace in BAD_PACES),
    ],
)
def test_fields_and_values_that_the_schema_forbids_have_the_errors_of_graphql_core(text: str) -> None:
    found, expected = asyncio.run(both(text, THINGS))

    if text.startswith("subscription"):
        # It is refused while it is validated, as graphql-core refuses it where it is executed.
        assert found.errors
        return
    check_same(found, expected, waits=False)
    assert found.errors


@pytest.mark.parametrize(
    "text",
    [
        *(f'{{ strict(pace: "{pace}") {{ name }} {NEVER} }}' for pace in (*BAD_PACES, "alien", "cancelled")),
        f'{{ strict(pace: "fails late") {{ name }} stubborn: named(pace: "stubborn") {{ name }} {NEVER} }}',
    ],
)
def test_a_root_that_fails_closes_the_resolvers_that_nobody_waits_for(text: str) -> None:
    reports: list[dict[str, Any]] = []

    async def story() -> World:
        asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
        world = World(THINGS)
        found = await answer(text, world)
        assert normalised(found.data) == b"null"
        assert [error.path for error in found.errors] == [["strict"]]
        return world

    world = asyncio.run(story())
    gc.collect()

    assert world.waiting == []
    assert reports == []


def test_what_no_loop_knows_and_what_was_cancelled_are_a_fault_of_their_field() -> None:
    fields = " ".join(f'{pace}: owner(pace: "{pace}") {{ name }}' for pace in ("alien", "cancelled"))
    text = f'{{ a: named(pace: "done") {{ name }} things {{ {fields} }} }}'

    found = asyncio.run(answer(text, World(THINGS[:1])))

    data = orjson.loads(found.data or b"")
    assert data["things"] == [{"alien": None, "cancelled": None}]
    assert data["a"]
    assert [(error.path, type(error.original_error)) for error in found.errors] == [
        (["things", 0, "alien"], TypeError),
        (["things", 0, "cancelled"], RuntimeError),
    ]


@pytest.mark.parametrize("field", ["compact", "viewed", "things", "strict"])
@pytest.mark.parametrize(
    ("name", "item"),
    [
        ("name", Item(None)),
        ("grade", Item(grade=3)),
        ("stock", Item(stock=3)),
        ("size", Item(size=2**31)),
    ],
)
def test_a_forbidden_value_has_the_error_of_graphql_core(field: str, name: str, item: Item) -> None:
    text = f"{{ {field} {{ {name} }} }}"

    found, expected = asyncio.run(both(text, [Item(), item, Item()] if field != "strict" else [item]))

    check_same(found, expected, waits=False)
    assert found.errors
    assert asyncio.run(data_of(text, World([Item()])))


class Word(str):
    """A string that says something else for people."""

    __slots__ = ()

    def __str__(self) -> str:
        return "for people"


class Number(int):
    """A number of its own class."""


class Code(StrEnum):
    ONE = "one"


@pytest.mark.parametrize("field", ["compact", "viewed", "things", "strict"])
@pytest.mark.parametrize(
    "item", [Item(Word("x")), Item(Code.ONE), Item(size=Number(7))], ids=["word", "code", "number"]
)
def test_a_value_of_a_subclass_is_written_as_the_value_that_it_is(field: str, item: Item) -> None:
    found, expected = asyncio.run(both(f"{{ {field} {{ name size }} }}", [item]))

    check_same(found, expected, waits=False)
    assert not found.errors


def test_an_exception_after_the_execution_is_not_logged_as_never_retrieved() -> None:
    reports: list[dict[str, Any]] = []

    async def story() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
        text = '{ strict(pace: "fails late") { name } compact(pace: "gathers a failure") { name } }'
        assert normalised((await answer(text, World(THINGS))).data) == b"null"
        await tasks_ended()

    asyncio.run(story())
    gc.collect()

    assert reports == []


def test_a_cancelled_execution_cancels_futures_and_closes_resolvers() -> None:
    text = f'{{ things {{ owner(pace: "never") {{ name }} home(pace: "sleep") {{ name }} }} {NEVER} }}'

    async def story() -> None:
        world = World(THINGS)
        task = asyncio.create_task(answer(text, world))
        for _ in range(5):
            await asyncio.sleep(0)
        assert sorted(world.waiting) == ["never"] * 4 + ["never gathered"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert world.waiting == []
        await tasks_ended()

    asyncio.run(story())
    gc.collect()


@pytest.mark.parametrize("directives", ["@skip(if: true) @include(if: $v)", "@include(if: $v) @skip(if: true)"])
@pytest.mark.parametrize("text", ["{ numbers things %s { name } }", "{ strict { name place %s { number } } }"])
def test_a_null_in_include_is_not_looked_at_where_skip_leaves_the_field_out(text: str, directives: str) -> None:
    found, expected = asyncio.run(both(f"query($v: Boolean = true) {text % directives}", THINGS, {"v": None}))

    check_same(found, expected, waits=False)
    assert not found.errors
