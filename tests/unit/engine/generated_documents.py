"""Strategies for documents about the model schema, with their variables and the items of its world."""

from decimal import Decimal
from functools import cache
from typing import Any

from hypothesis import strategies as st

from tests.unit.engine.model_schema import BAD_PACES, GOOD_PACES, Item, Kind

DIRECTIVES = ["", "", "", "@skip(if: $yes)", "@skip(if: $no)", "@include(if: $yes)", "@include(if: $no)"]
DIRECTIVES += ["@include(if: true)", "@skip(if: true)", "@skip(if: false) @include(if: $yes)"]
DIRECTIVES += ["@include(if: $perhaps)", "@skip(if: $absent)", "@include(if: $perhaps) @skip(if: true)"]
# By type: fields that a list can take in one go, fields that it cannot, fields that hold objects of another type.
LEAVES = {
    "Thing": [
        "name",
        "n: name",
        "when",
        "colour",
        "grade",
        "stock",
        "size",
        "ownerId",
        "kind",
        "price",
        "label",
        "code",
    ],
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
    "$flags: [[Boolean]!], $since: DateTime, $pace: String!, $perhaps: Boolean = true, $absent: Boolean = false)"
)
TAIL = """
fragment Used on Query {
  rootless @include(if: $perhaps) @skip(if: $absent)
  used: echo(id: $id, text: $text, numbers: $numbers, nested: $flags, since: $since) @skip(if: true)
  usedToo: things @skip(if: true) { ...OnThing ...OnNamed shout(times: $times) @skip(if: $yes) name @include(if: $no) }
  usedAlso: owned @skip(if: true) { ...OnOwner things(pace: $pace) { name } }
}
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
# A variable with a default may be null all the same, which the directives that it decides do not take.
NULLS: list[dict[str, Any]] = [{}, {}, {}, {"perhaps": False}, {"perhaps": None}, {"absent": None}]
NULLABLE_VARIABLES = st.builds(lambda given, more: {**given, **more}, VARIABLES, st.sampled_from(NULLS))
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


documents = blocks("Query", 3).map(lambda text: f"{HEAD} {text[:-1]} ...Used }} {TAIL}")
