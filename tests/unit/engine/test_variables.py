"""Variables get the values, or the errors, that graphql-core gives them."""

from typing import Any

from graphql import GraphQLError, GraphQLSchema, OperationDefinitionNode, build_schema, parse
from graphql.execution.values import VariableValues, get_variable_values
from hypothesis import given
from hypothesis import strategies as st

from gateway.engine.document_cache import VariableRules
from tests.unit.engine.model_schema import SCHEMA

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
        # Signatures are made anew each time, and hold parsed defaults.
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
def test_variables_of_custom_scalars_too(text: str, inputs: dict[str, Any], hidden: bool) -> None:
    agrees(SCHEMA, text, inputs, hidden=hidden)
