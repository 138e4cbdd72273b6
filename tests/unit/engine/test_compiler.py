"""What is compiled of a document stays small, whatever the document."""

import asyncio

import orjson
import pytest
from graphql import GraphQLLeafType, GraphQLObjectType

from gateway.engine.document_cache import Documents
from gateway.engine.rows import Column, Columns
from tests.unit.engine.answering import KEPT, THINGS, WIDE, compiled, directly
from tests.unit.engine.model_schema import PLAIN_SCALARS, SCHEMA, World


class Counting(Columns):
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
        Documents(SCHEMA, projector, WIDE), f"{{ things {{ ...F0 }} }}{levels} fragment F30 on Thing {{ {leaf} }}", {}
    )

    assert program is None
    assert projector.asked < 5_000


def test_what_is_skipped_everywhere_counts_too() -> None:
    skipped = " ".join(f"f{each}: name @skip(if: true)" for each in range(300))
    fields = " ".join(f"s{each}: strict {{ ...F }}" for each in range(600))

    program, _ = compiled(KEPT, f"{{ {fields} }} fragment F on Thing {{ {skipped} }}", {})
    shorter, _ = compiled(KEPT, f"{{ {fields[: fields.index('s60:')]} }} fragment F on Thing {{ {skipped} }}", {})

    assert program is None
    assert shorter is not None


def test_what_nests_lists_is_compiled_once_a_level() -> None:
    text = f"{{ things {'{ owner { things ' * 50}{{ name }} {'} }' * 50} }}"

    program, _ = compiled(KEPT, text, {})

    assert program is not None
    assert program.positions < 500


def test_each_setting_of_the_variables_has_a_program_of_its_own() -> None:
    names = [f"v{each}" for each in range(5)]
    head = ", ".join(f"${name}: Boolean!" for name in names)
    text = f"query({head}) {{ things {{ {' '.join(f'{n}: name @skip(if: ${n})' for n in names)} }} }}"
    for setting in range(32):
        variables = {name: bool(setting >> place & 1) for place, name in enumerate(names)}
        direct = asyncio.run(directly(text, World(THINGS[:1]), variables))
        assert direct is not None
        assert orjson.loads(direct) == {"things": [{name: "one" for name in names if not variables[name]}]}

    assert len(KEPT.read(text).programs) == 32


def test_what_is_compiled_is_bounded_over_all_documents() -> None:
    names = " ".join(f"a{each}: name" for each in range(20))
    fields = " ".join(f"f{each}: things {{ ...F }}" for each in range(40))
    texts = [f"query Q{number} {{ {fields} }} fragment F on Thing {{ {names} }}" for number in range(60)]
    for text in texts:
        program, _ = compiled(KEPT, text, {})
        assert program is not None

    positions = [KEPT.read(text).positions for text in texts]
    assert positions[-1] > 400
    assert positions[0] == 0
    assert sum(positions) <= 32 * 1024
