"""Documents made to take long: each is answered, or refused with a client error, in little time."""

import asyncio
from time import process_time
from typing import Any

import pytest

from gateway.engine.engine import Operation
from gateway.http.runner import GraphQLResult
from gateway.schema.query import build_schema
from tests.unit.schema.clinic import request
from tests.unit.schema.gateway_engine import GatewayEngine

LONGEST = 65_536
SCHEMA = build_schema()
UNIT = "on CareUnit"


def filled(head: str, piece: str, tail: str = "") -> str:
    """As many pieces as a body of the usual size takes."""
    return head + piece * ((LONGEST - len(head) - len(tail)) // len(piece)) + tail


def numbered(form: str, count: int) -> str:
    """Pieces that differ: `#` is the number, `+` the next one."""
    return " ".join(form.replace("#", str(each)).replace("+", str(each + 1)) for each in range(count))


def nested(opening: str, inner: str, closing: str, count: int) -> str:
    return opening * count + inner + closing * count


def crossed(inner: str, levels: int) -> str:
    """Fields of all types at every level, which never meet or always do."""
    text = f"on Node {{ {inner or 'id'} }}"
    for _ in range(levels):
        each = text if inner else text.removeprefix("on Node ")
        text = "on Node {" + "".join(
            f" ... on {name} {{ timeslots {{ id ... {each} }} }}" for name in ("CareUnit", "Resource", "Node")
        )
        text += " }"
    return text if inner else f'{{ node(id: "x") {{ ... {text} }} }}'


DOUBLING = numbered(f"fragment F# {UNIT} {{ resources {{ careUnit {{ ...F+ ...F+ }} }} }}", 60)
TWICE = numbered(f"fragment F# {UNIT} {{ ...F+ ...F+ }}", 100)
INTROSPECTING = numbered("fragment T# on __Type { a#: ofType { ...T+ } b#: ofType { ...T+ } }", 40)
BOMBS = {
    "fields, open": filled("", "{a"),
    "fields, closed": f"{{ {nested('careUnits { ', 'id', ' }', 6_000)} }}",
    "fields, at the parser's limit": f"{{ {nested('resources { ', 'id', ' }', 190)} }}",
    "fields, over the limit": f"{{ careUnits {{ {nested('resources { careUnit { ', 'id', ' } }', 5)} }} }}",
    "inline fragments, open": filled("", "{..."),
    "inline fragments, closed": nested("{ ... ", "{ __typename }", " }", 190),
    "inline fragments, with fields": "{" + nested("careUnits { ... { id ", "id", " } }", 90) + "}",
    "lists, open": filled("{nodes(ids:", "["),
    "lists, closed": f"{{ nodes(ids: {nested('[', '1', ']', 190)}) {{ id }} }}",
    "objects, closed": f"{{ nodes(ids: {nested('{ a: ', '1', ' }', 190)}) {{ id }} }}",
    "list types": f"query($v: {nested('[', 'Int', ']', 190)}) {{ __typename }}",
    "a long list": f"{{ nodes(ids: [{'1 ' * 970}]) @skip(if: true) {{ id }} }}",
    "a long list of what does not fit": f"{{ nodes(ids: [{'1.5 ' * 980}]) {{ id }} }}",
    "a wide object": f"{{ nodes(ids: {{ {'a: 1 ' * 320} }}) {{ id }} }}",
    "an object with as many keys": f"{{ nodes(ids: {{ {numbered('a#: {b: 1}', 140)} }}) {{ id }} }}",
    "fragments, doubling": f"{{ careUnits {{ ...F0 }} }} {DOUBLING} fragment F60 {UNIT} {{ id }}",
    "fragments, doubling in place": f"{{ careUnits {{ ...F0 }} }} {TWICE} fragment F100 {UNIT} {{ id }}",
    "fragments, doubling and unused": f"{{ __typename }} {DOUBLING} fragment F60 {UNIT} {{ id }}",
    "fragments, doubling without end": f"{{ careUnits {{ ...F0 }} }} {DOUBLING} fragment F60 {UNIT} {{ ...F0 }}",
    "a chain of fragments": f"{{ careUnits {{ ...F0 }} }} {numbered(f'fragment F# {UNIT} {{ ...F+ }}', 120)}",
    "a cycle": f"{{ careUnits {{ ...F }} }} fragment F {UNIT} {{ ...F }}",
    "a cycle through fields": f"{{ careUnits {{ ...F }} }} fragment F {UNIT} {{ resources {{ careUnit {{ ...F }} }} }}",
    "cycles, everywhere": "{ careUnits { ...F0 } }"
    + " ".join(
        f"fragment F{each} {UNIT} {{ {numbered('...F#', 15)} resources {{ careUnit {{ ...F0 }} }} }}"
        for each in range(15)
    ),
    "fragments of one name": "{ careUnits { ...F } }" + f"fragment F {UNIT} {{ id }}" * 120,
    "unused fragments": "{ __typename }" + numbered(f"fragment F# {UNIT} {{ id }}", 140),
    "unknown fragments": f"{{ careUnits {{ {numbered('...F#', 490)} }} }}",
    "impossible fragments": "{ careUnits { " + "... on Resource { id } " * 160 + "} }",
    "aliases": filled("{", "a:__typename ", "}"),
    "aliases, at the limit": f"{{ careUnits {{ {numbered('a#: id', 29)} }} }}",
    "aliases, over the limit": f"{{ careUnits {{ {numbered('a#: id', 31)} }} }}",
    "one root field": filled("{", "__typename ", "}"),
    "one root field, 500 times": "{" + "__typename " * 500 + "}",
    "one field": "{ careUnits { " + "name " * 990 + "} }",
    "one field with arguments": "{ careUnits { " + "timeslots(first: 1) { start } " * 110 + "} }",
    "one field in inline fragments": "{ careUnits { " + "... { name } " * 240 + "} }",
    "conflicting fields": "{ careUnits { " + "x: id x: name " * 15 + "id " * 900 + "} }",
    "conflicting fields below": f"{{ careUnits {{ {numbered('emr { x: code } emr { x: name }', 15)} }} }}",
    "conflicting fields in fragments": f"{{ careUnits {{ {numbered('...F#', 29)} }} }}"
    + numbered(f"fragment F# {UNIT} {{ {'name ' * 20} x: f# }}", 29),
    "conflicting arguments": f"{{ careUnits {{ {numbered('timeslots(first: #) { start }', 110)} }} }}",
    "conflicting long arguments": f"{{ {numbered('nodes(ids: [' + '1 ' * 60 + '#]) { id }', 9)} }}",
    "conflicting types": "{ node(id: 1) { " + "... on CareUnit { x: emrId } ... on Resource { x: id } " * 15 + "} }",
    "crossed types": crossed("", 3),
    "types crossed in fragments": '{ node(id: "x") { ...F0 } }'
    + "".join(f" fragment F{level} {crossed(f'...F{level + 1}', 1)}" for level in range(3))
    + f" fragment F3 {UNIT} {{ {'name ' * 30} }}",
    "directives on one field": filled("{ __typename ", "@skip(if:false)", "}"),
    "directives, over the limit": "{ __typename " + "@skip(if: false) " * 21 + "}",
    "directives, unknown": "{ __typename " + "@a " * 20 + "}",
    "directives with many arguments": "{ __typename @skip(" + numbered("a#: 1", 320) + ") }",
    "operations": filled("", "{__typename}"),
    "operations, named": numbered("query Q# { __typename }", 190),
    "operations of one name": "query Q { __typename } " * 190,
    "operations, fragments and variables": numbered("query Q#($v: ID!) { careUnits { ...F0 } }", 30)
    + numbered(f"fragment F# {UNIT} {{ ...F+ }}", 30)
    + f"fragment F30 {UNIT} {{ {numbered('t#: timeslots(resourceId: $v) { start }', 9)} }}",
    "variables": filled("query(", "$a:ID ", "){__typename}"),
    "variables, unused": f"query({numbered('$v#: ID', 240)}) {{ __typename }}",
    "variables of one name": f"query({'$v: ID ' * 240}) {{ __typename }}",
    "variables of unknown types": f"query({numbered('$v#: T#', 240)}) {{ __typename }}",
    "variables, undefined": f"{{ careUnits {{ {numbered('t#: timeslots(first: $v#) { id }', 29)} }} }}",
    "variables, undefined in a list": f"{{ nodes(ids: [{numbered('$v#', 480)}]) {{ id }} }}",
    "defaults that do not fit": f"query({numbered('$v#: Int = [[[true]]]', 80)}) {{ __typename }}",
    "unknown fields": f"{{ careUnits {{ {numbered('u#', 990)} }} }}",
    "unknown arguments": f"{{ careUnits({numbered('a#: 1', 320)}) {{ name }} }}",
    "arguments of one name": f"{{ careUnits({'emr: 1 ' * 320}) {{ name }} }}",
    "missing arguments": f"{{ {'nodes { id } ' * 9} careUnits {{ {'name @skip ' * 20} {'x { y } ' * 200} }} }}",
    "a string": filled('{node(id:"', "x", '"){id}}'),
    "a string of emoji": filled('{node(id:"', "\U0001f600", '"){id}}'),
    "a string of escapes": filled('{node(id:"', "\\n", '"){id}}'),
    "a string of Unicode escapes": filled('{node(id:"', "\\u0041", '"){id}}'),
    "a string of wide Unicode escapes": filled('{node(id:"', "\\u{1F600}", '"){id}}'),
    "a string of broken escapes": filled('{node(id:"', "\\u{12345678", '"){id}}'),
    "a string of surrogates": filled('{node(id:"', "\ud800", '"){id}}'),
    "a string without an end": filled('{node(id:"', "x"),
    "empty strings": filled("{nodes(ids:[", '""', "]){id}}"),
    "a block string": filled('{node(id:"""', "x", '"""){id}}'),
    "a block string of lines": filled('{node(id:"""', "x\n", '"""){id}}'),
    "a block string of short lines": '{node(id:"""' + "  x\n" * 4_900 + '"""){id}}',
    "a block string of quotes": filled('{node(id:"""', '\\"""', '"""){id}}'),
    "a block string without an end": filled('{node(id:"""', '""\n '),
    "an integer": filled("{node(id:", "1", "){id}}"),
    "an integer of 20 digits": f"{{ careUnits {{ timeslots(first: {'9' * 20}) {{ start }} }} }}",
    "a fraction": filled("{node(id:0.", "1", "){id}}"),
    "an exponent": filled("{node(id:1e", "9", "){id}}"),
    "numbers that are none": filled("{node(id:-", "0", "){id}}"),
    "a name": filled("{", "a", "}"),
    "names of digits": f"{{ careUnits {{ {numbered('a' + '9' * 200 + '#', 300)} }} }}",
    "names of almost dates": f"{{ careUnits {{ {numbered('a' + '9912' * 50 + '#', 300)} }} }}",
    "a comment": filled("{__typename}#", "x"),
    "comments": filled("{__typename", "#\n", "}"),
    "comments between": "{" + "__typename #x\n" * 9 + "#x\n" * 980 + "}",
    "lines": filled("{", "\n", "u v w}"),
    "lines, and an error in each": "{ careUnits {" + "\n" * 4_900 + numbered("u#", 90) + "} }",
    "carriage returns": filled("{", "\r", "u v w}"),
    "commas": filled("{", ",", "u v w}"),
    "byte order marks": filled("{", "\ufeff", "u v w}"),
    "control characters": filled("{", "\0", "}"),
    "colons": filled("{", ":", "}"),
    "brackets that close": filled("", "}"),
    "parentheses": filled("{a", "("),
    "types": numbered("type T# { a: T+ }", 140),
    "extensions": "extend type Query { a: Int } " * 110,
    "directive definitions": numbered("directive @d# on FIELD", 190),
    "a type of unions": f"union U = {numbered('| T#', 490)}",
    "descriptions": '"""x""" query Q { __typename } ' * 150,
    "subscriptions": numbered("subscription S# { a b ...F }", 90) + "fragment F on Query { c d }",
    "mutations": numbered("mutation M# { a b c }", 140),
    "types of types": f"{{ __schema {{ types {{ {nested('ofType { ', 'name', ' }', 150)} }} }} }}",
    "lists of types": f"{{ __schema {{ types {{ {nested('fields { type { ', 'name', ' } }', 8)} }} }} }}",
    "types, doubling": f"{{ __schema {{ types {{ ...T0 }} }} }} {INTROSPECTING} fragment T40 on __Type {{ name }}",
    "introspections": "{" + "__schema { types { name fields { name args { name } } } } " * 9 + "}",
    "introspections of types": "{" + numbered('t#: __type(name: "Query") { name }', 10) + "}",
}


IDS = "query($v: [ID!]!) { nodes(ids: $v) { id } }"
FIRST = "query($v: Int) { careUnits { timeslots(first: $v) { start } } }"
DEEP: Any = 1.5
for _ in range(15):
    DEEP = [DEEP]
VARIABLES = {
    "a list of what does not fit": (IDS, [1.5] * 16_000),
    "a list of objects": (IDS, [{"a": [1]}] * 6_000),
    "an object": (IDS, {f"k{each}": None for each in range(6_000)}),
    "a deep list": (IDS, DEEP),
    "a deep object": (FIRST, {"a": {"a": {"a": [{"a": 1}] * 5_000}}}),
    "a string": (FIRST, "1" * 65_000),
    "an integer": (FIRST, 10**20),
    "a fraction": (FIRST, 1e308),
    "many": (f"query({numbered('$v#: Int!', 190)}) {{ nodes(ids: [{numbered('$v#', 190)}]) {{ id }} }}", 1),
}


async def handled(text: str, variables: dict[str, Any], *, introspection: bool) -> tuple[GraphQLResult, float]:
    """The outcome of a document that is new to the engine, and the seconds of processor time that it took."""
    engine = GatewayEngine(introspection=introspection)
    context = request()
    started = process_time()
    outcome = await engine.run(Operation(text, "Q0" if "Q0" in text else None, variables), context)
    outcome.pieces()
    return outcome, process_time() - started


def check(text: str, variables: dict[str, Any], *, introspection: bool) -> GraphQLResult:
    """The outcome, which is small, knows its errors and took little time."""
    runs = [asyncio.run(handled(text, variables, introspection=introspection)) for _ in range(3)]
    outcome, _ = runs[0]
    assert {error["extensions"]["code"] for error in outcome.errors} <= {"BAD_USER_INPUT", "OPERATION_TOO_LARGE"}
    assert outcome.errors or outcome.data is not None
    assert len(outcome.errors) <= 20
    assert sum(map(len, outcome.pieces())) < 100_000
    # The best of three, in processor time: machines that run tests are busy with other things too.
    assert min(seconds for _, seconds in runs) < 0.05
    return outcome


@pytest.mark.parametrize("introspection", [False, True])
@pytest.mark.parametrize("bomb", BOMBS)
def test_bomb_is_answered_or_refused_in_little_time(bomb: str, *, introspection: bool) -> None:
    check(BOMBS[bomb], {}, introspection=introspection)


@pytest.mark.parametrize("bomb", VARIABLES)
def test_a_bomb_in_the_variables_is_refused(bomb: str) -> None:
    text, value = VARIABLES[bomb]

    outcome = check(text, {f"v{number}": value for number in ("", *range(190))}, introspection=False)

    assert outcome.data is None
