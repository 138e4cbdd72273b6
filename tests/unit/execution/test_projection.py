"""Projected lists give the JSON that ordinary execution gives, whatever is selected."""

from dataclasses import dataclass
from typing import Any

import orjson
import strawberry
from graphql import GraphQLSchema, execute_sync, parse, validate
from hypothesis import given, settings
from hypothesis import strategies as st
from strawberry.schema.config import StrawberryConfig

from gateway.execution.projection import Projector
from gateway.schema.compact import CompactList, as_list
from gateway.schema.scalars import PLAIN_SCALARS, DateTime, scalar_map

same = settings(max_examples=300, deadline=None)  # how long an example takes says nothing on a shared machine


@dataclass(frozen=True)
class Item:
    """What a compact list holds: the code stands for the colour."""

    name: str
    when: str
    code: int | None
    size: int | None
    good: bool


@strawberry.interface
class Named:
    name: str


@strawberry.type
class Thing(Named):
    when: DateTime
    colour: str | None
    size: int | None
    good: bool
    hidden: strawberry.Private[str] = ""

    @strawberry.field
    def shout(self) -> str:
        return self.name.upper()

    @strawberry.field
    def again(self) -> list["Thing"]:
        return [self, self]


COLOURS = {None: None, 1: "red", 2: 'gr"een\\', 3: "blå"}


def view(item: Item) -> Thing:
    return Thing(name=item.name, when=DateTime(item.when), colour=COLOURS[item.code], size=item.size, good=item.good)


@strawberry.type
class Query:
    @strawberry.field
    def compact(self, info: strawberry.Info[list[Item], None]) -> list[Thing]:
        items = [_Coded(item) for item in info.context]
        return as_list(CompactList(items, lambda coded: view(coded.item), {"colour": COLOURS}))

    @strawberry.field
    def things(self, info: strawberry.Info[list[Item], None]) -> list[Thing]:
        return [view(item) for item in info.context]

    @strawberry.field
    def named(self, info: strawberry.Info[list[Item], None]) -> list[Named]:
        return [view(item) for item in info.context]


class _Coded:
    """An item whose attribute `colour` is still the code."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.name, self.when, self.colour, self.size, self.good = item.name, item.when, item.code, item.size, item.good


def build() -> GraphQLSchema:
    schema = strawberry.Schema(Query, types=[Thing], config=StrawberryConfig(scalar_map=scalar_map()))
    core = schema._schema  # noqa: SLF001 # as the engine does
    assert isinstance(core, GraphQLSchema)
    return core


SCHEMA = build()
PROJECTOR = Projector(PLAIN_SCALARS)
FIELDS = ["name", "when", "colour", "size", "good", "__typename", "shout"]
ITEMS = st.lists(
    st.builds(
        Item,
        st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        st.sampled_from(["2026-12-01T09:00:00+01:00", "2026-12-01T08:00:00Z"]),
        st.sampled_from([None, 1, 2, 3]),
        st.none() | st.integers(-(2**33), 2**33),
        st.booleans(),
    ),
    max_size=4,
)
plain = st.builds(
    lambda alias, name, directive: f"{alias}{name}{directive}",
    st.sampled_from(["", "a_", "b_"]).map(lambda prefix: prefix),
    st.sampled_from(FIELDS),
    st.sampled_from(["", " @skip(if: $yes)", " @include(if: $yes)", " @include(if: $no)", " @skip(if: $no)"]),
).map(lambda text: text if not text.startswith(("a_", "b_")) else f"{text.split()[0]}: {text[2:]}")
selections = st.recursive(
    plain,
    lambda inner: st.lists(inner, min_size=1, max_size=3).flatmap(
        lambda parts: st.sampled_from(
            [
                f"... on Thing {{ {' '.join(parts)} }}",
                f"... {{ {' '.join(parts)} }}",
                f"... on Named {{ ... on Thing {{ {' '.join(parts)} }} }}",
                f"again {{ {' '.join(parts)} }}",
                "...Spread",
            ]
        )
    ),
    max_leaves=6,
)


def answer(query: str, items: list[Item], **options: Any) -> tuple[Any, Any]:
    result = execute_sync(
        SCHEMA, parse(query), context_value=items, variable_values={"yes": True, "no": False}, **options
    )
    errors = [(error.message, error.path) for error in result.errors or ()]
    return orjson.loads(orjson.dumps(result.data)), errors


@same
@given(st.lists(selections, min_size=1, max_size=4), st.sampled_from(["compact", "things", "named"]), ITEMS)
def test_both_ways_give_the_same_answer(chosen: list[str], field: str, items: list[Item]) -> None:
    query = (
        f"query($yes: Boolean!, $no: Boolean!) {{ x: __typename @skip(if: $yes) @skip(if: $no) {field} "
        f"{{ __typename ... on Thing {{ {' '.join(chosen)} }} }} unused: __typename ...Used }} "
        "fragment Used on Query { __typename } fragment Spread on Thing { name size again_: again { name } }"
    ).replace(" @skip(if: $yes) @skip(if: $no)", " @skip(if: $yes) @include(if: $no)")
    document = parse(query)
    if any("conflict" in error.message for error in validate(SCHEMA, document)):
        return

    assert answer(query, items, executor_class=PROJECTOR.executor()) == answer(query, items)


def test_a_plain_selection_is_projected() -> None:
    items = [Item("one", "2026-12-01T08:00:00Z", 2, 5, good=True)]

    result = execute_sync(
        SCHEMA, parse("{ compact { n: name colour size __typename } }"), context_value=items,
        executor_class=PROJECTOR.executor(),
    )  # fmt: skip

    assert result.data is not None
    assert isinstance(result.data["compact"], orjson.Fragment)


def test_a_hole_is_reported_where_it_is() -> None:
    items = [Item("one", "2026-12-01T08:00:00Z", 2, 5, good=True), Item(None, "", None, None, good=False)]  # type: ignore[arg-type] # a hole

    for field in ("compact", "things"):
        query = f"{{ {field} {{ name }} }}"
        projected = answer(query, items, executor_class=PROJECTOR.executor())
        assert projected == answer(query, items)
        assert projected[1][0][1] == [field, 1, "name"]


def test_what_is_kept_is_bounded() -> None:
    projector = Projector()
    items = [Item("one", "2026-12-01T08:00:00Z", 1, 1, good=True)]

    for number in range(700):
        query = f"{{ things {{ n{number}: name }} }}"
        assert answer(query, items, executor_class=projector.executor())[0] == {"things": [{f"n{number}": "one"}]}

    assert len(projector) <= 512
