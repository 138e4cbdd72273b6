"""The walk through selections finds the fields that graphql-core collects, and takes time in line with the text."""

import time
from typing import Any

import pytest
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    get_named_type,
    is_object_type,
    parse,
)
from graphql.execution.collect_fields import FragmentDetails, collect_fields, collect_subfields
from graphql.execution.values import VariableValues, get_variable_values
from hypothesis import given, settings

from gateway.engine.selection import Selections, walk
from tests.unit.engine.generated_documents import VARIABLES, documents
from tests.unit.engine.model_schema import SCHEMA

assert SCHEMA.query_type is not None
QUERY = SCHEMA.query_type


def selections(text: str, variables: dict[str, Any] | None = None) -> tuple[Selections, OperationDefinitionNode]:
    definitions = parse(text).definitions
    operation = next(each for each in definitions if isinstance(each, OperationDefinitionNode))
    coerced = get_variable_values(SCHEMA, operation.variable_definitions or (), variables or {})
    assert isinstance(coerced, VariableValues)
    fragments = {each.name.value: each for each in definitions if isinstance(each, FragmentDefinitionNode)}
    return Selections(SCHEMA, fragments, coerced), operation


def grouped(fields: list[FieldNode]) -> dict[str, list[FieldNode]]:
    groups: dict[str, list[FieldNode]] = {}
    for node in fields:
        groups.setdefault(node.alias.value if node.alias else node.name.value, []).append(node)
    return groups


@settings(max_examples=100, deadline=None)
@given(documents, VARIABLES)
def test_fields_are_those_that_graphql_core_collects(text: str, variables: dict[str, Any]) -> None:
    document, operation = selections(text, variables)
    details = {name: FragmentDetails(node) for name, node in document.fragments.items()}
    collected = collect_fields(SCHEMA, details, document.variables, QUERY, operation).grouped_field_set
    found = grouped(list(document.fields(operation.selection_set, QUERY)))

    pending = [(QUERY, collected, found)]
    while pending:
        parent, collected, found = pending.pop()
        assert found == {key: [each.node for each in group] for key, group in collected.items()}
        for group in collected.values():
            field = parent.fields.get(group[0].node.name.value)
            child = None if field is None else get_named_type(field.type)
            if not is_object_type(child):
                continue
            below = collect_subfields(SCHEMA, details, document.variables, operation, child, group)
            entered: set[str] = set()
            nodes = [one for each in group for one in document.fields(each.node.selection_set, child, entered)]
            pending.append((child, below.grouped_field_set, grouped(nodes)))


def test_fields_of_a_fragment_come_once_and_not_at_all_where_it_was_entered_before() -> None:
    document, operation = selections("{ ...A a: numbers ...A } fragment A on Query { b: numbers }")

    def names(entered: set[str] | None = None) -> list[str]:
        fields = document.fields(operation.selection_set, QUERY, entered)
        return [node.alias.value for node in fields if node.alias]

    assert names() == ["b", "a"]
    assert names({"A"}) == ["a"]


def test_fields_through_fragments_that_double_take_linear_time() -> None:
    doubling = " ".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }}" for n in range(500))
    document, operation = selections(f"{{ ...F0 }} {doubling} fragment F500 on Query {{ numbers }}")
    begun = time.process_time()

    assert len(list(document.fields(operation.selection_set, QUERY))) == 1
    assert time.process_time() - begun < 5


def label(node: SelectionNode) -> str:
    if isinstance(node, InlineFragmentNode):
        return "..."
    name: Any = getattr(node, "name", None)
    return str(name.value)


@pytest.mark.parametrize(
    ("entered", "expected"),
    [
        ((FieldNode, InlineFragmentNode), [("a", 1), ("...", 1), ("F", 1), ("c", 1), ("d", 2), ("F", 2), ("b", 2)]),
        ((InlineFragmentNode,), [("a", 1), ("...", 1), ("F", 1), ("c", 1)]),
        ((), [("a", 1), ("...", 1), ("F", 1)]),
    ],
)
def test_walk_follows_what_its_caller_enters_and_never_spreads(
    entered: tuple[type, ...], expected: list[tuple[str, int]]
) -> None:
    _, operation = selections("{ a { b } ... { c { d ...F } } ...F } fragment F on Query { e }")

    found = walk(operation.selection_set, enters=lambda node: isinstance(node, entered))

    assert [(label(node), level) for node, level in found] == expected


def test_walk_of_a_set_that_nests_deeply_needs_no_stack() -> None:
    # The parser recurses, so the nesting is made of its nodes.
    _, operation = selections("{ a }")
    nested = operation.selection_set
    for _ in range(10_000):
        nested = SelectionSetNode(selections=(InlineFragmentNode(selection_set=nested),))

    assert sum(1 for _ in walk(nested)) == 10_001
