"""A compiled program stays small, whatever the document."""

import pytest
from graphql import GraphQLLeafType, GraphQLObjectType

from gateway.engine.compiler import Columns
from gateway.engine.document_cache import Documents
from gateway.engine.output import Column
from tests.unit.engine.answering import DOCUMENTS, WIDE, program_of
from tests.unit.engine.model_schema import PLAIN_SCALARS, SCHEMA


class Counting(Columns):
    """Counts its calls: one for each field of a list, and one for each other scalar."""

    calls = 0

    def column(self, key: str, object_type: GraphQLObjectType, name: str) -> Column | None:
        self.calls += 1
        return super().column(key, object_type, name)

    def scalar(self, leaf: GraphQLLeafType) -> GraphQLLeafType | None:
        self.calls += 1
        return super().scalar(leaf)


@pytest.mark.parametrize("leaf", ["name", "shout", "name @skip(if: true)"])
def test_compiling_gives_up_early_where_fragments_multiply(leaf: str) -> None:
    levels = "".join(
        f" fragment F{each} on Thing {{ a: owner {{ things {{ ...F{each + 1} }} }} "
        f"b: owner {{ things {{ ...F{each + 1} }} }} }}"
        for each in range(30)
    )
    columns = Counting(PLAIN_SCALARS)

    program, _ = program_of(
        Documents(SCHEMA, columns, WIDE), f"{{ things {{ ...F0 }} }}{levels} fragment F30 on Thing {{ {leaf} }}", {}
    )

    assert program is None
    assert columns.calls < 5_000


def test_compiling_gives_up_where_fields_that_are_skipped_multiply() -> None:
    skipped = " ".join(f"f{each}: name @skip(if: true)" for each in range(300))
    fields = " ".join(f"s{each}: strict {{ ...F }}" for each in range(600))

    program, _ = program_of(DOCUMENTS, f"{{ {fields} }} fragment F on Thing {{ {skipped} }}", {})
    shorter, _ = program_of(
        DOCUMENTS, f"{{ {fields[: fields.index('s60:')]} }} fragment F on Thing {{ {skipped} }}", {}
    )

    assert program is None
    assert shorter is not None


def test_nested_lists_are_compiled_once_a_level() -> None:
    text = f"{{ things {'{ owner { things ' * 50}{{ name }} {'} }' * 50} }}"

    program, _ = program_of(DOCUMENTS, text, {})

    assert program is not None
    assert program.positions < 500
