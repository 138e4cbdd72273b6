"""Variables get the values or errors that graphql-core gives, and cached programs are found by them."""

import asyncio
from typing import Any

import orjson
from graphql import (
    DirectiveNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    VariableNode,
    Visitor,
    build_schema,
    parse,
    visit,
)
from graphql.execution.values import VariableValues, get_variable_values
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.engine.document_cache import VariableRules
from tests.unit.engine.answering import THINGS, data_of, document_of
from tests.unit.engine.model_schema import SCHEMA, World
from tests.unit.engine.test_executor import documents

MODEL = build_schema(
    """
    enum Kind { ROUND SQUARE }
    input Size { width: Int! depth: Float = 2.5 }
    type Query { name(kind: Kind, size: Size, sizes: [Size!]): String }
    """
)
TYPES = ["String", "Int", "Float", "Boolean", "ID"]
OWN_TYPES = [*TYPES, "DateTime"]
MODEL_TYPES = [*TYPES, "Kind", "Size", "Nothing", "Query"]
DEFAULTS = ["", "", "", "= null", "= 3", '= "x"', "= ROUND", "= [1]", "= {width: 1}"]
TEXTS = [None, "", "x", "ROUND", "2026-12-01T09:00:00+01:00"]
NUMBERS = [0, 1, 2**31, 1.0, 1.5, True, False]
STRUCTURES = [[], [1, None], [["x"]], {}, {"width": 1}, {"width": "1"}, {"width": 1, "more": 1}]
VALUES = st.sampled_from([*TEXTS, *NUMBERS, *STRUCTURES])


def shown(found: VariableValues | list[GraphQLError]) -> Any:
    if isinstance(found, VariableValues):
        # Signatures are made anew each time, and hold parse_document defaults.
        sources = {
            name: (each.signature.name, str(each.signature.type), each.value) for name, each in found.sources.items()
        }
        return list(sources.items()), list(found.coerced.items()), list(map(type, found.coerced.values()))
    return [(error.message, error.locations) for error in found]


@st.composite
def operations(draw: st.DrawFn, names: list[str]) -> str:
    made = []
    for number in range(draw(st.integers(0, 4))):
        shape = draw(st.sampled_from(["{}", "{}", "{}!", "{}!", "[{}]", "[{}!]!"]))
        made.append(f"$v{number}: {shape.format(draw(st.sampled_from(names)))} {draw(st.sampled_from(DEFAULTS))}")
    return f"query {'(' if made else ''}{', '.join(made)}{')' if made else ''} {{ __typename }}"


def agrees(schema: GraphQLSchema, text: str, inputs: dict[str, Any], *, hidden: bool) -> None:
    (operation,) = parse(text).definitions
    assert isinstance(operation, OperationDefinitionNode)
    rules = VariableRules(schema, operation)
    expected = shown(get_variable_values(schema, operation.variable_definitions or (), inputs, 3, hidden))
    for _ in range(2):
        assert shown(rules.values(inputs, 3, hide_suggestions=hidden)) == expected


INPUTS = st.dictionaries(st.sampled_from(["v0", "v1", "v2", "v3", "other"]), VALUES)


@given(operations(MODEL_TYPES), INPUTS, st.booleans())
def test_variables_of_any_type_get_what_graphql_core_gives_them(
    text: str, inputs: dict[str, Any], hidden: bool
) -> None:
    agrees(MODEL, text, inputs, hidden=hidden)


@given(operations(OWN_TYPES), INPUTS, st.booleans())
def test_variables_of_custom_scalars_get_what_graphql_core_gives_them(
    text: str, inputs: dict[str, Any], hidden: bool
) -> None:
    agrees(SCHEMA, text, inputs, hidden=hidden)


def test_each_setting_of_the_variables_has_a_program_of_its_own() -> None:
    names = [f"v{each}" for each in range(5)]
    head = ", ".join(f"${name}: Boolean!" for name in names)
    text = f"query({head}) {{ things {{ {' '.join(f'{n}: name @skip(if: ${n})' for n in names)} }} }}"
    for setting in range(32):
        variables = {name: bool(setting >> place & 1) for place, name in enumerate(names)}
        data = asyncio.run(data_of(text, World(THINGS[:1]), variables))
        assert orjson.loads(data) == {"things": [{name: "one" for name in names if not variables[name]}]}

    assert len(document_of(text).programs) == 32


def test_the_programs_of_all_documents_are_bounded_together() -> None:
    names = " ".join(f"a{each}: name" for each in range(20))
    fields = " ".join(f"f{each}: things {{ ...F }}" for each in range(40))
    texts = [f"query Q{number} {{ {fields} }} fragment F on Thing {{ {names} }}" for number in range(60)]
    for text in texts:
        asyncio.run(data_of(text, World([])))

    positions = [document_of(text).positions for text in texts]
    assert positions[-1] > 400
    assert positions[0] == 0
    assert sum(positions) <= 32 * 1024


class _DirectiveVariables(Visitor):
    """The variables in directives, as graphql-core's visitor finds them."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def enter_directive(self, node: DirectiveNode, *_: object) -> None:
        values = [argument.value for argument in node.arguments or ()]
        self.names.update(value.name.value for value in values if isinstance(value, VariableNode))


@settings(max_examples=50, deadline=None)
@given(documents)
def test_directive_variables_are_found_wherever_a_directive_stands(text: str) -> None:
    document = document_of(text)
    visitor = _DirectiveVariables()
    visit(document.node, visitor)

    assert document.directive_variables == sorted(visitor.names)
