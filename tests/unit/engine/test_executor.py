"""A compiled operation gives the JSON that graphql-core's executor gives, or leaves the answer to it."""

import asyncio
import gc
from decimal import Decimal
from functools import cache
from typing import Any

import orjson
import pytest
from graphql import ExecutionResult
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.engine.answering import (
    DOCUMENTS,
    THINGS,
    Answer,
    compiled_answer,
    compiled_data,
    core_result,
    messages,
    normalised,
    tasks_ended,
)
from tests.unit.engine.model_schema import BAD_PACES, GOOD_PACES, Item, Kind, World

same = settings(max_examples=250, deadline=None)  # how long an example takes says nothing on a shared machine

DIRECTIVES = ["", "", "", "@skip(if: $yes)", "@skip(if: $no)", "@include(if: $yes)", "@include(if: $no)"]
DIRECTIVES += ["@include(if: true)", "@skip(if: true)", "@skip(if: false) @include(if: $yes)"]
# By type: fields that a list can take in one go, fields that it cannot, fields that hold objects of another type.
LEAVES = {
    "Thing": ["name", "n: name", "when", "colour", "grade", "stock", "size", "ownerId", "kind", "price", "label"],
    "Owner": ["name", "rank"],
    "Named": ["name", "n: name"],
    "Place": ["street", "number"],
    "Query": ["numbers", 'e1: echo(id: "x")', "e2: echo(id: 5, text: null, numbers: 3, share: 1)"],
}
SLOW_LEAVES = {
    "Thing": ["shout", "loud: shout(times: $times)", "louder: shout(times: 2)"],
    "Query": [
        "promised",
        "e3: echo(id: $id, text: $text, numbers: $numbers)",
        'e4: echo(id: $id, nested: [[true, null], []], since: "2026-12-01T09:00:00+01:00")',
        "e5: echo(id: $id, nested: $flags, since: $since)",
    ],
}
NODES = {
    "Thing": {"owner*": "Owner", "home*": "Owner", "kin": "Named"},
    "Owner": {"things*": "Thing", "compact": "Thing"},
    "Query": {"compact*": "Thing", "viewed": "Thing", "things": "Thing", "named*": "Named", "grid": "Thing"}
    | {"owned": "Owner", "nodes": "Named", "strict*": "Thing"},
}
SLOW_NODES = {"Thing": {"again*": "Thing", "place": "Place"}, "Owner": {"place": "Place"}}
FRAGMENTS = {
    "Thing": ["... {}", "... on Thing {}", "... on Named { ... on Thing {} }", "...OnThing", "...OnNamed"],
    "Owner": ["... {}", "... on Owner {}", "... on Named { ... on Owner {} }", "...OnOwner", "...OnNamed"],
    "Named": ["... {}", "...OnNamed", "...OnThing", "...OnOwner"],
    "Place": ["... {}"],
    "Query": ["... {}", "... on Query {}"],
}
HEAD = (
    "query($yes: Boolean!, $no: Boolean!, $times: Int!, $id: ID!, $text: String, $numbers: [Int!] = [7], "
    "$flags: [[Boolean]!], $since: DateTime, $pace: String!)"
)
TAIL = """
fragment OnThing on Thing { name label home { ...OnNamed } }
fragment OnNamed on Named { __typename ... on Owner { rank place { street } } ... on Thing { size @skip(if: $no) } }
fragment OnOwner on Owner { rank compact { ...OnThing } }
"""
VARIABLES = st.fixed_dictionaries(
    {
        "yes": st.just(value=True),
        "no": st.just(value=False),
        "times": st.integers(0, 2),
        "id": st.sampled_from(["a", 7]),
        "pace": st.sampled_from([*GOOD_PACES, *GOOD_PACES, *BAD_PACES]),
    },
    optional={
        "text": st.sampled_from([None, "", 'å"']),
        "numbers": st.sampled_from([5, [], [1, 2]]),
        "flags": st.sampled_from([None, [[True, None]], [[]]]),
        "since": st.sampled_from([None, "2026-12-01T09:00:00+01:00"]),
    },
)
ITEMS = st.lists(
    st.builds(
        Item,
        name=st.sampled_from(["one", "två", 'th"ree', *["one"] * 10, None]),
        when=st.sampled_from(["2026-12-01T09:00:00+01:00", "2026-12-01T08:00:00Z"]),
        colour=st.sampled_from([None, 1, 2, 3]),
        grade=st.sampled_from([1, 2, 1, 2, 1, 2, 3]),
        stock=st.sampled_from([None, 1, 2, 1, 2, 1, 3]),
        size=st.sampled_from([None, 0, 5, -5, *range(1, 8), 2**31]),
        owner_id=st.sampled_from([None, 1, 1, 2, 2, 3]),
        kind=st.sampled_from(Kind),
        price=st.sampled_from([Decimal("1.0"), Decimal("1.00")]),
    ),
    max_size=3,
)


@cache
def blocks(kind: str, depth: int) -> st.SearchStrategy[str]:
    """Selections on a type; half of them of what a list can take in one go alone."""
    return st.booleans().flatmap(
        lambda slow: st.builds(
            lambda leaves, branches: f"{{ {' '.join([*leaves, *branches]) or '__typename'} }}",
            st.lists(leaves(kind, slow=slow), max_size=4),
            st.lists(branches(kind, depth, slow=slow), max_size=2) if depth else st.just([]),
        )
    )


def leaves(kind: str, *, slow: bool) -> st.SearchStrategy[str]:
    names = ["__typename", "t: __typename", *LEAVES[kind], *(SLOW_LEAVES.get(kind, []) if slow else [])]
    return st.builds("{} {}".format, st.sampled_from(names), st.sampled_from(DIRECTIVES))


@cache
def branches(kind: str, depth: int, *, slow: bool) -> st.SearchStrategy[str]:
    nodes = {**NODES.get(kind, {}), **(SLOW_NODES.get(kind, {}) if slow else {})}
    directive = st.sampled_from(DIRECTIVES)
    fragment = st.builds(
        lambda text, decision, inside: (
            text.replace("{}", f"{decision} {inside}") if "{}" in text else f"{text} {decision}"
        ),
        st.sampled_from(FRAGMENTS[kind]),
        directive,
        blocks(kind, depth - 1),
    )
    node = [
        st.builds("{} {} {}".format, called(name), directive, blocks(child, depth - 1)) for name, child in nodes.items()
    ]
    return st.one_of(*node, fragment)


def called(name: str) -> st.SearchStrategy[str]:
    """A field; what has the same key has to be the same, so the key tells the pace."""
    if not name.endswith("*"):
        return st.just(name)
    bare = name[:-1]
    paces = st.sampled_from(list(GOOD_PACES)).map(lambda pace: f'{bare}_{pace}: {bare}(pace: "{pace}")')
    return st.just(bare) | paces | st.just(f"{bare}_: {bare}(pace: $pace)")


documents = blocks("Query", 3).map(lambda text: f"{HEAD} {text} {TAIL}")


@same
@given(documents, VARIABLES, ITEMS)
def test_compiled_answers_are_those_of_graphql_core(text: str, variables: dict[str, Any], items: list[Item]) -> None:
    problems = DOCUMENTS.read(text).errors
    assert all("never used" in problem.message for problem in problems)

    async def both() -> tuple[Answer | None, ExecutionResult]:
        world = World(items)
        compiled = await compiled_answer(text, world, variables)
        again = await compiled_answer(text, world, variables)  # some of it from the fragment cache
        assert (compiled and compiled.data) == (again and again.data)
        found = (
            compiled,
            await core_result(text, World(items), variables),
        )
        await tasks_ended()
        return found

    compiled, core = asyncio.run(both())

    if compiled is not None:
        assert messages(compiled.errors) == messages(core.errors)
        assert normalised(compiled.data) == orjson.dumps(core.data)
    elif not core.errors:
        # A null in a list of objects is all that falls back to graphql-core without an error.
        assert "owned" in text


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
    compiled = asyncio.run(compiled_answer(text, World(THINGS)))
    core = asyncio.run(core_result(text, World(THINGS), {}))

    assert compiled is not None
    assert compiled.errors
    assert messages(compiled.errors) == messages(core.errors)
    assert normalised(compiled.data) == orjson.dumps(core.data)


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
        *(f'{{ compact(pace: "{pace}") {{ owner(pace: "{pace}") {{ name }} }} }}' for pace in GOOD_PACES),
    ],
)
def test_a_supported_document_is_compiled(text: str) -> None:
    compiled = asyncio.run(compiled_data(text, World(THINGS)))

    assert compiled is not None
    assert normalised(compiled) == orjson.dumps(asyncio.run(core_result(text, World(THINGS), {})).data)


@pytest.mark.parametrize(
    "text",
    [
        "{ __schema { queryType { name } } }",
        '{ __type(name: "Thing") { name } }',
        "mutation { promised }",
        "subscription { promised }",
        "{ ofKind(kind: SQUARE) }",
        '{ perhaps(text: "x") }',
        "{ rootless }",
        "{ owned { __typename } }",
        "{ things { shy } }",
        "{ strict { shy } }",
        "{ others { name } }",
        "{ others { __typename } }",
        "{ others { name shout } }",
        *(f'{{ strict(pace: "{pace}") {{ name }} {NEVER} }}' for pace in (*BAD_PACES, "alien", "cancelled")),
        f'{{ strict(pace: "fails late") {{ name }} stubborn: named(pace: "stubborn") {{ name }} {NEVER} }}',
    ],
)
def test_unsupported_fields_and_values_are_left_to_graphql_core(text: str) -> None:
    reports: list[dict[str, Any]] = []

    async def story() -> World:
        asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
        world = World(THINGS)
        assert await compiled_data(text, world) is None
        return world

    world = asyncio.run(story())
    gc.collect()

    assert world.waiting == []
    assert reports == []


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
def test_a_forbidden_value_is_left_to_graphql_core(field: str, name: str, item: Item) -> None:
    text = f"{{ {field} {{ {name} }} }}"

    assert asyncio.run(compiled_data(text, World([item]))) is None
    assert asyncio.run(compiled_data(text, World([Item()]))) is not None


def test_an_exception_after_the_execution_is_not_logged_as_never_retrieved() -> None:
    reports: list[dict[str, Any]] = []

    async def story() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
        text = '{ strict(pace: "fails late") { name } compact(pace: "gathers a failure") { name } }'
        assert await compiled_data(text, World(THINGS)) is None
        await tasks_ended()

    asyncio.run(story())
    gc.collect()

    assert reports == []


def test_a_cancelled_execution_cancels_futures_and_closes_resolvers() -> None:
    text = f'{{ things {{ owner(pace: "never") {{ name }} home(pace: "sleep") {{ name }} }} {NEVER} }}'

    async def story() -> None:
        world = World(THINGS)
        task = asyncio.create_task(compiled_data(text, world))
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
