"""Direct execution gives the JSON that ordinary execution gives, or leaves the answer to it."""

import asyncio
import gc
from collections.abc import Hashable
from decimal import Decimal
from functools import cache
from typing import Any, cast

import msgspec
import orjson
import pytest
from graphql import ExecutionResult, GraphQLLeafType, GraphQLObjectType, execute
from graphql.execution.values import VariableValues, get_variable_values
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.rendered import Rendered
from gateway.execution.compiling import Program
from gateway.execution.direct import DirectRun
from gateway.execution.documents import Documents
from gateway.execution.projection import Column, Projector
from gateway.schema.context import Context
from gateway.schema.scalars import PLAIN_SCALARS
from tests.unit.execution.model_schema import BAD_PACES, GOOD_PACES, SCHEMA, Item, Kind, World

same = settings(max_examples=300, deadline=None)  # how long an example takes says nothing on a shared machine
PROJECTOR = Projector(PLAIN_SCALARS)
ENCODER = msgspec.json.Encoder()
KEPT = Documents(SCHEMA, PROJECTOR)

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
    | {"owned": "Owner", "nodes": "Named", "others": "Thing", "strict*": "Thing"},
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


def compiled(kept: Documents, text: str, variables: dict[str, Any]) -> tuple[Program | None, VariableValues]:
    document = kept.read(text)
    operation = document.operation(None)
    coerced = get_variable_values(SCHEMA, operation.variable_definitions or (), variables)
    assert isinstance(coerced, VariableValues)
    return kept.program(document, operation, coerced), coerced


async def directly(text: str, world: World, variables: dict[str, Any] | None = None) -> bytes | None:
    program, coerced = compiled(KEPT, text, variables or {})
    if program is None:
        return None
    pieces = await DirectRun(program, cast("Context", world), coerced, ENCODER).answer()
    return None if pieces is None else b"".join(pieces)


async def ordinarily(
    text: str, world: World, variables: dict[str, Any] | None = None, **options: Any
) -> ExecutionResult:
    node = KEPT.read(text).node
    outcome = execute(SCHEMA, node, context_value=world, variable_values=variables or {}, **options)
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


@same
@given(documents, VARIABLES, ITEMS)
def test_direct_and_projected_answers_are_those_of_ordinary_execution(
    text: str, variables: dict[str, Any], items: list[Item]
) -> None:
    problems = KEPT.read(text).errors
    assert all("never used" in problem.message for problem in problems)

    async def everyway() -> tuple[bytes | None, ExecutionResult, ExecutionResult]:
        world = World(items)
        direct = await directly(text, world, variables)
        assert direct == await directly(text, world, variables)  # some of it from what is kept
        found = (
            direct,
            await ordinarily(text, World(items), variables),
            await ordinarily(text, World(items), variables, executor_class=PROJECTOR.executor()),
        )
        await settled()
        return found

    direct, ordinary, projected = asyncio.run(everyway())

    assert normal(orjson.dumps(projected.data)) == orjson.dumps(ordinary.data)
    assert sorted(map(str, projected.errors or ())) == sorted(map(str, ordinary.errors or ()))
    if direct is not None:
        assert not ordinary.errors
        assert normal(direct) == orjson.dumps(ordinary.data)
    elif not ordinary.errors:
        # A null or another type in a list of objects is all that takes the ordinary way without an error.
        assert "owned" in text or "others" in text


THINGS = [
    Item(),
    Item("two", size=None, colour=2, owner_id=2, stock=None, price=Decimal("1.00")),
    Item("three", size=7, colour=3, owner_id=3),
]
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
def test_a_plain_document_is_answered_directly(text: str) -> None:
    direct = asyncio.run(directly(text, World(THINGS)))

    assert direct is not None
    assert normal(direct) == orjson.dumps(asyncio.run(ordinarily(text, World(THINGS))).data)


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
        "{ nodes { name } }",
        "{ owned { __typename } }",
        "{ things { shy } }",
        "{ strict { shy } }",
        "{ others { name } }",
        "{ others { home { name } } }",
        *(f'{{ strict(pace: "{pace}") {{ name }} {NEVER} }}' for pace in (*BAD_PACES, "alien", "cancelled")),
        f'{{ strict(pace: "fails late") {{ name }} stubborn: named(pace: "stubborn") {{ name }} {NEVER} }}',
    ],
)
def test_what_is_out_of_the_ordinary_is_left_to_ordinary_execution(text: str) -> None:
    reports: list[dict[str, Any]] = []

    async def story() -> World:
        asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
        world = World(THINGS)
        assert await directly(text, world) is None
        return world

    world = asyncio.run(story())
    gc.collect()

    assert world.waiting == []
    assert reports == []


def test_a_failure_that_comes_too_late_is_not_reported_as_lost() -> None:
    reports: list[dict[str, Any]] = []

    async def story() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
        text = '{ strict(pace: "fails late") { name } compact(pace: "gathers a failure") { name } }'
        assert await directly(text, World(THINGS)) is None
        await settled()

    asyncio.run(story())
    gc.collect()

    assert reports == []


def test_a_cancelled_operation_leaves_nothing_behind() -> None:
    text = f'{{ things {{ owner(pace: "never") {{ name }} home(pace: "sleep") {{ name }} }} {NEVER} }}'

    async def story() -> None:
        world = World(THINGS)
        task = asyncio.create_task(directly(text, world))
        for _ in range(5):
            await asyncio.sleep(0)
        assert sorted(world.waiting) == ["never"] * 4 + ["never gathered"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert world.waiting == []
        await settled()

    asyncio.run(story())
    gc.collect()


class Counting(Projector):
    """Counts what it is asked for: something for each field of a list, and for each other scalar."""

    asked = 0

    def column(self, key: str, object_type: GraphQLObjectType, name: str) -> Column | None:
        self.asked += 1
        return super().column(key, object_type, name)

    def scalar(self, leaf: GraphQLLeafType) -> GraphQLLeafType | None:
        self.asked += 1
        return super().scalar(leaf)


@pytest.mark.parametrize("leaf", ["name", "shout", "name @skip(if: true)"])
def test_a_document_that_grows_without_end_is_given_up_early(leaf: str) -> None:
    levels = "".join(
        f" fragment F{each} on Thing {{ a: owner {{ things {{ ...F{each + 1} }} }} "
        f"b: owner {{ things {{ ...F{each + 1} }} }} }}"
        for each in range(30)
    )
    projector = Counting(PLAIN_SCALARS)

    program, _ = compiled(
        Documents(SCHEMA, projector), f"{{ things {{ ...F0 }} }}{levels} fragment F30 on Thing {{ {leaf} }}", {}
    )

    assert program is None
    assert projector.asked < 5_000


def test_what_nests_lists_is_compiled_once_a_level() -> None:
    nested = "name"
    for _ in range(50):
        nested = f"owner {{ things {{ {nested} }} }}"

    program, _ = compiled(KEPT, f"{{ things {{ {nested} }} }}", {})

    assert program is not None
    assert program.positions < 500


def test_the_programs_of_a_document_are_bounded() -> None:
    names = [f"v{each}" for each in range(5)]
    head = ", ".join(f"${name}: Boolean!" for name in names)
    text = f"query({head}) {{ things {{ {' '.join(f'{n}: name @skip(if: ${n})' for n in names)} }} }}"
    for setting in range(32):
        variables = {name: bool(setting >> place & 1) for place, name in enumerate(names)}
        direct = asyncio.run(directly(text, World(THINGS[:1]), variables))
        assert direct is not None
        assert orjson.loads(direct) == {"things": [{name: "one" for name in names if not variables[name]}]}

    assert len(KEPT.read(text).programs) <= 16


class Watched(Rendered):
    """Knows what it was asked to keep."""

    def __init__(self, room: int) -> None:
        super().__init__(room)
        self.asked: set[Hashable] = set()

    def keep(self, selected: Hashable, made: bytes) -> None:
        self.asked.add(selected)
        super().keep(selected, made)


def test_what_is_kept_of_lists_stays_within_its_room() -> None:
    rendered = Watched(300)
    world = World(THINGS, rendered)
    for names in ("name", "when", "name when", "colour size when grade kind", "owner { name }"):
        asyncio.run(directly(f"{{ compact {{ {names} }} viewed {{ {names} }} }}", world))

    kept = [rendered.get(each) or b"" for each in rendered.asked]
    assert len(kept) == 8
    assert 0 < sum(map(len, kept)) <= 300
