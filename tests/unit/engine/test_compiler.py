"""A compiled program stays small, and compiling takes work that is counted, whatever the document."""

import pytest
from graphql import FragmentDefinitionNode, OperationDefinitionNode, parse
from graphql.execution.values import VariableValues

from gateway.engine.arguments import ArgumentConverter
from gateway.engine.budget import ExecutionLimits
from gateway.engine.compiler import Columns, CompilerConfig, compile_operation
from gateway.engine.errors import LimitExceededError
from gateway.engine.executor import Program
from tests.unit.engine.answering import THINGS, answer, data_of, engine_of
from tests.unit.engine.model_schema import MODEL, PLAIN_SCALARS, SCHEMA, World


def compiled(text: str) -> Program:
    """The program of a document without variables."""
    definitions = parse(text).definitions
    (operation,) = (each for each in definitions if isinstance(each, OperationDefinitionNode))
    fragments = {each.name.value: each for each in definitions if isinstance(each, FragmentDefinitionNode)}
    arguments = ArgumentConverter(MODEL.schema_converter.scalar_registry, MODEL.config, 1_000, hide_suggestions=True)
    config = CompilerConfig(Columns(PLAIN_SCALARS), arguments)
    return compile_operation(SCHEMA, operation, fragments, VariableValues({}, {}), config)


def doubling(levels: int, leaf: str) -> str:
    """A document of so many fragments, each of which holds the next one twice."""
    fragments = "".join(
        f" fragment F{each} on Thing {{ a: owner {{ things {{ ...F{each + 1} }} }} "
        f"b: owner {{ things {{ ...F{each + 1} }} }} }}"
        for each in range(levels)
    )
    return f"{{ things {{ ...F0 }} }}{fragments} fragment F{levels} on Thing {{ {leaf} }}"


@pytest.mark.parametrize("leaf", ["name", "shout", "size @skip(if: true)"])
async def test_fragments_that_multiply_are_compiled_once_for_each_position_of_the_text(leaf: str) -> None:
    text = doubling(30, leaf)

    assert not (await answer(text, World([]))).errors
    assert 0 < compiled(text).positions < 500


async def test_skipped_fields_that_multiply_are_compiled_once() -> None:
    skipped = " ".join(f"f{each}: name @skip(if: true)" for each in range(100))
    fields = " ".join(f"s{each}: strict {{ ...F }}" for each in range(200))
    text = f"{{ {fields} }} fragment F on Thing {{ {skipped} }}"

    assert (await data_of(text, World(THINGS))).count(b"{}") == 200
    assert 0 < compiled(text).positions < 1_000


async def test_fields_of_many_lists_that_share_fragments_are_answered_whatever_their_number() -> None:
    names = " ".join(f"n{each}: name" for each in range(20))
    fields = " ".join(f"t{each}: things {{ ...F }}" for each in range(150))
    text = f"{{ {fields} }} fragment F on Thing {{ {names} }}"

    assert (await data_of(text, World(THINGS))).count(b'"n19"') == 450
    assert compiled(text).positions > 3_000


def test_nested_lists_are_compiled_once_a_level() -> None:
    program = compiled(f"{{ things {'{ owner { things ' * 50}{{ name }} {'} }' * 50} }}")

    assert program.positions < 500


def test_below_an_interface_a_type_is_compiled_when_it_is_met() -> None:
    before = compiled("{ named { __typename ... on Owner { name rank place { street } } ... on Thing { name } } }")

    assert before.positions == 2


async def test_compiling_at_run_time_is_work_of_the_execution() -> None:
    fields = " ".join(f"n{each}: name" for each in range(300))
    text = f"{{ named {{ {fields} }} }}"

    found = await answer(text, World([]), engine=engine_of(limits=ExecutionLimits(work=2_000)))

    (error,) = found.errors
    assert isinstance(error.original_error, LimitExceededError)


@pytest.mark.parametrize("levels", [10, 40, 60, 90])
async def test_a_document_of_any_depth_is_answered_or_refused(levels: int) -> None:
    text = f"{{ things {'{ home { things ' * levels}{{ name }} {'} }' * levels} }}"

    found = await answer(text, World(THINGS[:1]))

    if found.data is None:
        assert [error.message for error in found.errors] == ["The document is nested too deeply"]
        assert levels > 50
    else:
        assert found.data.count(b'"home"') == levels
