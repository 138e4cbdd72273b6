"""Variables get the values or errors that graphql-core gives, and cached programs are found by them."""

import asyncio
import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import orjson
import pytest
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

from gateway.engine.document_cache import Document, VariableRules, digest_of
from gateway.engine.engine import Engine, Operation
from tests.unit.engine.answering import THINGS, data_of, document_of, engine_of
from tests.unit.engine.generated_documents import documents
from tests.unit.engine.memory_budget import Budget
from tests.unit.engine.model_schema import SCHEMA, World

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


def caching(most_bytes: int) -> tuple[Engine, Budget]:
    budget = Budget(most_bytes)
    return engine_of(budget=budget), budget


async def answered(engine: Engine, text: str, variables: dict[str, Any] | None = None) -> None:
    """Have a document compiled and executed, as far as it is valid."""
    await engine.execute(Operation(text, variables=variables), World(THINGS[:1]))


def test_documents_with_their_programs_stay_within_the_budget() -> None:
    engine, budget = caching(3_000_000)
    names = " ".join(f"a{each}: name" for each in range(20))
    fields = " ".join(f"f{each}: things {{ ...F }}" for each in range(20))
    texts = [f"query Q{number} {{ {fields} }} fragment F on Thing {{ {names} }}" for number in range(8)]
    for text in texts:
        asyncio.run(answered(engine, text, {}))
        assert budget.bytes <= 3_000_000

    assert document_of(texts[-1], engine).programs
    assert not document_of(texts[0], engine).programs


def test_documents_take_at_most_16_mib_of_a_larger_budget_the_latest_ones() -> None:
    engine, budget = caching(1_000_000_000)
    texts = [f'{{ x(a: "\U0001f600{"x" * 15_000}{number}") }}' for number in range(200)]
    for text in texts:
        document_of(text, engine)
        # What is used stays.
        first = document_of(texts[0], engine)
        assert budget.bytes <= 16 * 1024 * 1024

    assert document_of(texts[0], engine) is first
    kept = [each.digest for each in budget.entries if isinstance(each, Document)]
    assert 100 < len(kept) < 140
    assert kept == [digest_of(text) for text in [*texts[1 - len(kept) :], texts[0]]]
    assert sorted(kept) == sorted(engine._documents._cache)  # noqa: SLF001 # nothing is kept that is not counted


def test_the_programs_of_one_document_take_at_most_4_mib() -> None:
    engine, budget = caching(1_000_000_000)
    head = ", ".join(f"$v{each}: Boolean!" for each in range(5))
    names = " ".join(f"a{each}: name" for each in range(20))
    fields = " ".join(f"f{each}: things @skip(if: $v{each % 5}) {{ ...F }}" for each in range(60))
    text = f"query({head}) {{ {fields} }} fragment F on Thing {{ {names} }}"
    for setting in range(31):
        asyncio.run(answered(engine, text, {f"v{place}": bool(setting >> place & 1) for place in range(5)}))
        assert budget.bytes <= 4 * 1024 * 1024

    assert 2 < len(document_of(text, engine).programs) < 20


def test_a_document_larger_than_the_budget_is_used_for_its_request_and_not_kept() -> None:
    engine, budget = caching(6_000)
    asyncio.run(answered(engine, "{ things { name } }"))

    assert document_of("{ things { name } }", engine) is not document_of("{ things { name } }", engine)
    assert budget.bytes == 0


def test_a_document_without_a_budget_is_not_kept() -> None:
    engine = engine_of(budget=None)

    assert document_of("{ __typename }", engine) is not document_of("{ __typename }", engine)


def test_a_document_has_a_bounded_number_of_programs_the_latest_ones() -> None:
    engine, _ = caching(10_000_000)
    head = ", ".join(f"$v{each}: Boolean!" for each in range(7))
    text = f"query({head}) {{ things {{ when {' '.join(f'n{n}: name @skip(if: $v{n})' for n in range(7))} }} }}"
    document = document_of(text, engine)
    for setting in range(128):
        asyncio.run(answered(engine, text, {f"v{place}": bool(setting >> place & 1) for place in range(7)}))
        assert len(document.programs) <= 32
        assert document.positions == sum(each.positions for each in document.programs.values())

    assert (None, (True,) * 7) in document.programs
    assert (None, (False,) * 7) not in document.programs


def many(count: int, form: str) -> str:
    return " ".join(form.format(each) for each in range(count))


def test_the_classes_of_evicted_programs_are_freed_before_they_are_many() -> None:
    engine, _ = caching(200_000)

    def rows() -> int:
        return sum(isinstance(each, type) and each.__name__ == "Row" for each in gc.get_objects())

    gc.collect()
    before = rows()
    # As a server does that keeps the collector from what lives as long as the process.
    gc.disable()
    try:
        for number in range(2_000):
            asyncio.run(answered(engine, f"{{ things {{ a{number}: name }} }}"))
        assert rows() - before < 1_800
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(lambda n: f"{{ a{n}: __typename }}", id="shortest"),
        pytest.param(lambda n: f"{{ things {{ a{n}: name }} }}", id="rows"),
        pytest.param(lambda n: f"query Q{n} {{ things {{ {many(400, 'name')} }} }}", id="a thousand tokens"),
        pytest.param(lambda n: f"query Q{n} {{ things {{ {many(100, 'a{}: name')} }} }}", id="wide rows"),
        pytest.param(lambda n: f"query Q{n} {{ {many(20, 'a{}: things {{ name }}')} }}", id="many lists"),
        pytest.param(lambda n: f"query Q{n} {{ things {{ {many(400, 'x{}')} }} }}", id="errors"),
        pytest.param(lambda n: f'query Q{n} {{ echo(id: 1, text: {n}, since: "") }}', id="wrong values"),
        pytest.param(lambda n: f"query Q{n} {{ {many(30, 'a{}: echo(id: 1, since: 0)')} }}", id="many wrong values"),
        pytest.param(
            lambda n: (
                f"query Q{n} {{ things {{ ...F0 }} }} {many(60, 'fragment F{0} on Thing {{ when ...G{0} }}')}"
                f"{many(60, 'fragment G{0} on Thing {{ name }}')}"
            ),
            id="fragments",
        ),
        pytest.param(lambda n: f"query Q{n}({many(90, '$v{}: Int')}) {{ things {{ name }} }}", id="variables"),
        pytest.param(lambda n: f"{{ __typename }} # {'x' * 10_000}{n}", id="comment"),
        pytest.param(lambda n: f'{{ x(a: "{"x" * 10_000}\U0001f600{n}") }}', id="text in Unicode"),
    ],
)
def test_a_document_takes_about_as_much_as_it_is_charged(form: Callable[[int], str]) -> None:
    engine, budget = caching(100_000_000)

    async def all_answered(numbers: range) -> None:
        for number in numbers:
            await answered(engine, form(number))

    # What is made once, whatever the document, is none of it.
    asyncio.run(all_answered(range(1_000, 1_003)))
    gc.collect()
    before = budget.bytes
    tracemalloc.start()
    # So few that none is evicted.
    asyncio.run(all_answered(range(30)))
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert 0.8 < (budget.bytes - before) / size < 2


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
