"""Whether fields can be merged, by the engine's rule and by graphql-core's: short documents, and long ones."""

from collections.abc import Callable
from typing import Any

import pytest
from graphql import (
    ASTValidationRule,
    GraphQLSchema,
    OverlappingFieldsCanBeMergedRule,
    get_introspection_query,
    parse,
    validate,
)

from benchmarks.scenarios import DOCUMENTS
from gateway.engine.overlapping_fields import OverlappingFieldsRule
from gateway.schema.query import build_schema

_FRAGMENTS = """
query ($start: DateTime!, $end: DateTime!) {
  careUnits { ...Unit timeslots(start: $start, end: $end) { ...Slot } resources { id timeslots { ...Slot } } }
}
fragment Unit on CareUnit { id name leyrId }
fragment Slot on Timeslot { id start end resourceId }
"""
_DOCUMENTS: dict[str, str] = {
    **{str(view): text for view, text in DOCUMENTS.items()},
    "fragments": _FRAGMENTS,
    "introspection": get_introspection_query(),
    "a field 500 times": f"{{ careUnits {{ {'name ' * 500} }} }}",
    "a list 300 times": f"{{ careUnits {{ {'resources { timeslots { start } } ' * 300} }} }}",
}


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    return build_schema()._schema  # noqa: SLF001 # nothing public says so


@pytest.mark.parametrize("text", _DOCUMENTS.values(), ids=_DOCUMENTS)
@pytest.mark.parametrize("rule", [OverlappingFieldsRule, OverlappingFieldsCanBeMergedRule, None])
def test_rule(
    benchmark: Callable[..., Any], schema: GraphQLSchema, text: str, rule: type[ASTValidationRule] | None
) -> None:
    document = parse(text)

    assert benchmark(validate, schema, document, [rule] if rule else []) == []
