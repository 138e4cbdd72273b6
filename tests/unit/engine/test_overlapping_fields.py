"""Fields that share a name in the answer are refused where graphql-core refuses them, and sooner."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from graphql import (
    GraphQLSchema,
    NoFragmentCyclesRule,
    OverlappingFieldsCanBeMergedRule,
    build_schema,
    is_interface_type,
    is_object_type,
    parse,
    specified_rules,
    validate,
)
from hypothesis import event, given, settings
from hypothesis import strategies as st

from gateway.engine.overlapping_fields import OverlappingFieldsRule

# Fields of one name with other types, lists, nulls and arguments in each type, and types that may or may not meet.
ADVERSARIAL = build_schema("""
    interface Node { id: ID name: String link: Node links: [Node!] pick(n: Int, s: String, l: [Int], o: In): Other }
    interface Other { name: String link: Node other: Other any: Any }
    type A implements Node & Other {
        id: ID name: String link: Node links: [Node!] pick(n: Int, s: String, l: [Int], o: In): Other
        other: A any: Any value: Int size: Int! sub: A list: [A] kind: Kind
    }
    type B implements Node {
        id: ID name: String link: B links: [Node!] pick(n: Int, s: String, l: [Int], o: In): Other
        value: String size: Int sub: B list: [B!] kind: Kind
    }
    type C implements Other { name: String link: Node other: Other any: Any value: Int size: Int sub: [C] kind: String }
    union Any = A | B | C
    enum Kind { ROUND SQUARE }
    input In { a: Int b: [Int] }
    type Query { a: A b: B c: C node: Node other: Other any: Any anys: [Any!] }
""")
GATEWAY = build_schema((Path(__file__).parents[3] / "schema.graphql").read_text(encoding="utf-8"))


def fields_of(schema: GraphQLSchema) -> list[str]:
    """All names of fields, and two that no type lists."""
    composite = [each for each in schema.type_map.values() if is_object_type(each) or is_interface_type(each)]
    named = {name for each in composite if not each.name.startswith("__") for name in each.fields}
    return [*sorted(named), "__typename", "nothing"]


ARGUMENTS = ["", "(n: 1)", "(n: 2)", '(n: 1, s: "1")', '(s: "1", n: 1)', "(n: $v)", '(s: """1""")', "(l: [1, 2])"]
ARGUMENTS += ["(l: [2, 1])", "(o: {a: 1, b: [1]})", "(o: {b: [1], a: 1})", "(o: {a: null})", "(n: 1.0)", "(n: ONE)"]
TYPES = ["A", "B", "C", "Node", "Other", "Any", "Query", "CareUnit", "Resource", "Timeslot", "Kind", "Nowhere"]
Draw = Callable[[st.SearchStrategy[Any]], Any]


def selections(draw: Draw, fields: list[str], spreads: list[str], depth: int) -> str:
    """A selection set in which fields often share a name, and seldom one that is another field's."""
    made = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.integers(0, 9))
        if kind <= 1 and spreads:
            made.append(f"...{draw(st.sampled_from(spreads))}")
        elif kind <= 4 and depth:
            condition = f"on {draw(st.sampled_from(TYPES))}" if draw(st.integers(0, 9)) else ""
            made.append(f"... {condition} {selections(draw, fields, spreads, depth - 1)}")
        else:
            name = draw(st.sampled_from(fields))
            number = draw(st.integers(0, 3 * len(ARGUMENTS)))
            arguments = ARGUMENTS[number] if number < len(ARGUMENTS) else ""
            alias = f"{name}{number if arguments else 0}" if draw(st.integers(0, 19)) else "id"
            below = selections(draw, fields, spreads, depth - 1) if depth and draw(st.booleans()) else ""
            made.append(f"{alias}: {name}{arguments} {below}")
    return f"{{ {' '.join(made)} }}"


@st.composite
def documents(draw: Draw, fields: list[str], *, cycles: bool) -> str:
    few = draw(st.lists(st.sampled_from(fields), min_size=1, max_size=6, unique=True))
    names = [f"F{number}" for number in range(draw(st.integers(0, 4)))]
    parts = [f"query {selections(draw, few, names, 4)}"]
    for number, name in enumerate(names):
        inner = names if cycles else names[number + 1 :]
        parts.append(f"fragment {name} on {draw(st.sampled_from(TYPES))} {selections(draw, few, inner, 3)}")
    return " ".join(parts)


def refuses(rule: Any, schema: GraphQLSchema, text: str) -> bool:
    return bool(validate(schema, parse(text), [rule]))


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("{ name name name }", False),
        ("{ x: name x: other }", True),
        ("{ x: name x: __typename }", True),
        ("{ node { ... on A { x: name } ... on B { x: value } } }", False),
        ("{ node { ... on A { x: value } ... on B { x: value } } }", True),
        ("{ node { ... on A { x: size } ... on B { x: size } } }", True),
        ("{ node { ... on A { x: list { name } } ... on B { x: list { name } } } }", True),
        ("{ node { ... on A { x: sub { y: name } } ... on B { x: link { y: id } } } }", True),
        ("{ node { ... on A { x: sub { y: name } } ... on B { x: link { y: name z: id } } } }", False),
        ("{ node { ... on A { x: sub { y: name } } ... on Node { x: link { y: name } } } }", True),
        ("{ node { ... on A { x: link { y: name } } ... on B { x: link { y: name } } x: link { y: name } } }", False),
        ("{ node { ... on A { x: link { y: name } } ... on B { x: link { y: name } } x: link { y: id } } }", True),
        ("{ node { pick(n: 1) { name } pick(n: 1) { name } } }", False),
        ("{ node { pick(n: 1) { name } pick(n: 2) { name } } }", True),
        ('{ node { pick(n: 1, s: "1") { name } pick(s: "1", n: 1) { name } } }', False),
        ("{ node { pick(o: {a: 1, b: []}) { name } pick(o: {b: [], a: 1}) { name } } }", False),
        ("{ node { pick(n: 1) { name } pick { name } } }", True),
        ("{ node { link { name } ...F } } fragment F on Node { link { name: id } }", True),
        ("{ a { ...F } b { ...F } } fragment F on Node { x: name }", False),
        ("{ a { x: sub { ...F } x: sub { ...G } } } fragment F on A { y: name } fragment G on A { y: value }", True),
        ("{ ...Gone ...F } fragment F on Nowhere { x: a x: b }", True),
        ("{ ...F } fragment F on Query { ...F x: a x: b }", True),
    ],
)
def test_fields_of_one_name_are_merged_or_refused(text: str, *, refused: bool) -> None:
    assert refuses(OverlappingFieldsCanBeMergedRule, ADVERSARIAL, text) is refused
    assert refuses(OverlappingFieldsRule, ADVERSARIAL, text) is refused


@settings(max_examples=300)
@given(documents(fields_of(ADVERSARIAL), cycles=False))
def test_the_rule_decides_as_graphql_core_does(text: str) -> None:
    refused = refuses(OverlappingFieldsCanBeMergedRule, ADVERSARIAL, text)
    event(f"refused: {refused}")

    assert refuses(OverlappingFieldsRule, ADVERSARIAL, text) is refused


@given(documents(fields_of(GATEWAY), cycles=False))
def test_the_rule_decides_as_graphql_core_does_on_the_gateways_schema(text: str) -> None:
    refused = refuses(OverlappingFieldsCanBeMergedRule, GATEWAY, text)
    event(f"refused: {refused}")

    assert refuses(OverlappingFieldsRule, GATEWAY, text) is refused


@given(documents(fields_of(ADVERSARIAL), cycles=True))
def test_documents_with_cycles_are_refused_as_before(text: str) -> None:
    ours = [OverlappingFieldsRule if rule is OverlappingFieldsCanBeMergedRule else rule for rule in specified_rules]
    document = parse(text)

    assert bool(validate(ADVERSARIAL, document, ours)) is bool(validate(ADVERSARIAL, document))
    if validate(ADVERSARIAL, document, [NoFragmentCyclesRule]):
        event("a cycle")
