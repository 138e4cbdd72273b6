"""Compiles operations to writers.

graphql-core's own collecting finds what is selected, once for each document and each setting of the variables in its
`@skip` and `@include`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from graphql import (
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    get_nullable_type,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
)
from graphql.execution.collect_fields import (
    CollectedFields,
    FieldDetailsList,
    FragmentDetails,
    GroupedFieldSet,
    collect_fields,
    collect_subfields,
)
from graphql.execution.values import VariableValues

from gateway.engine import field_writers
from gateway.engine.errors import UnsupportedError
from gateway.engine.executor import Program, Write
from gateway.engine.field_writers import ResolvedColumn, attribute_reader, position_of
from gateway.engine.rows import Column, Columns, declared_field, origin_of
from gateway.engine.selection import walk

# Fragments make much of little text: a position takes about a kilobyte, a visit to a selection some microseconds.
_MAX_POSITIONS = 2_000
_MAX_VISITS = 100_000


def compile_query(
    schema: GraphQLSchema,
    operation: OperationDefinitionNode,
    fragments: dict[str, FragmentDefinitionNode],
    variables: VariableValues,
    columns: Columns,
) -> Program:
    """Raises UnsupportedError for what cannot be compiled, and GraphQLError for wrong arguments of directives."""
    query = schema.query_type
    if query is None or operation.operation is not OperationType.QUERY:
        raise UnsupportedError
    compiler = _Compiler(schema, operation, fragments, variables, columns)
    write = compiler.root(query)
    return Program(schema, operation, fragments, write, compiler.positions)


@dataclass(slots=True)
class _Compiler:
    schema: GraphQLSchema
    operation: OperationDefinitionNode
    fragments: dict[str, FragmentDefinitionNode]
    variables: VariableValues
    columns: Columns
    positions: int = 0
    visits: int = 0
    widths: dict[int, int] = field(default_factory=dict)
    details: dict[str, FragmentDetails] = field(init=False)

    def __post_init__(self) -> None:
        self.details = {name: FragmentDetails(node) for name, node in self.fragments.items()}

    def root(self, query: GraphQLObjectType) -> Write:
        self._count_visits(self.operation.selection_set)
        collected = collect_fields(self.schema, self.details, self.variables, query, self.operation)
        return self._fields(query, self._counted(collected))

    def _selected(self, object_type: GraphQLObjectType, details: FieldDetailsList) -> GroupedFieldSet:
        for each in details:
            self._count_visits(each.node.selection_set)
        return self._counted(
            collect_subfields(self.schema, self.details, self.variables, self.operation, object_type, details)
        )

    def _count_visits(self, selections: SelectionSetNode | None) -> None:
        self.visits += self._width(selections)
        if self.visits > _MAX_VISITS:
            raise UnsupportedError

    def _width(self, selections: SelectionSetNode | None) -> int:
        """How many selections graphql-core visits, or more: a fragment counts each time that it is spread."""
        if selections is None:
            return 0
        width = self.widths.get(id(selections))
        if width is None:
            width = 0
            for each, _ in walk(selections, enters=lambda node: isinstance(node, InlineFragmentNode)):
                width += 1
                if isinstance(each, FragmentSpreadNode):
                    width += self._width(self.fragments[each.name.value].selection_set)
            self.widths[id(selections)] = width
        return width

    def _counted(self, collected: CollectedFields) -> GroupedFieldSet:
        # A selection set counts itself too: fragments may make any number of empty ones.
        self.positions += 1 + len(collected.grouped_field_set)
        if self.positions > _MAX_POSITIONS or collected.new_defer_usages or collected.forbidden_directive_instances:
            raise UnsupportedError
        return collected.grouped_field_set

    def _fields(self, object_type: GraphQLObjectType, selected: GroupedFieldSet) -> Write:
        """The writer of the fields of an object whose type is known."""
        writers = []
        opening = b"{"
        for key, details in selected.items():
            writers.append((opening + msgspec.json.encode(key) + b":", self._field(object_type, key, details)))
            opening = b","
        return field_writers.fields(writers) if writers else field_writers.constant(b"{}")

    def _field(self, parent: GraphQLObjectType, key: str, details: FieldDetailsList) -> Write:
        """The writer of a field, which gets the object that the field belongs to."""
        name = details[0].node.name.value
        if name == "__typename":
            return field_writers.constant(msgspec.json.encode(parent.name))
        definition = parent.fields.get(name)
        declared = None if definition is None else declared_field(definition)
        if definition is None or declared is None:
            raise UnsupportedError
        inner = self._value(definition.type, details)
        if declared.is_basic_field:
            return field_writers.attribute(declared.python_name, key, inner)
        position = position_of(key, [each.node for each in details], definition, parent, declared)
        return field_writers.resolver(position, inner)

    def _value(self, output: GraphQLOutputType, details: FieldDetailsList) -> Write:
        """The writer of a value of a type."""
        if is_non_null_type(output):
            return field_writers.non_null(self._present(output.of_type, details))
        return field_writers.nullable(self._present(output, details))

    def _present(self, output: Any, details: FieldDetailsList) -> Write:
        """The writer of a value that is not null."""
        if is_leaf_type(output):
            return field_writers.leaf(self.columns.scalar(output), self.columns.encode)
        if is_list_type(output):
            return self._list(output.of_type, details)
        if is_object_type(output):
            return self._objects([output], details)
        if is_abstract_type(output):
            return self._objects(self.schema.get_possible_types(output), details)
        raise UnsupportedError

    def _objects(self, possible: Sequence[GraphQLObjectType], details: FieldDetailsList) -> Write:
        writers = {}
        for object_type in possible:
            origin = origin_of(object_type)
            if origin is None or origin in writers:
                raise UnsupportedError
            writers[origin] = self._fields(object_type, self._selected(object_type, details))
        return field_writers.objects(writers)

    def _list(self, item: Any, details: FieldDetailsList) -> Write:
        item_type = get_nullable_type(item)
        rows = self._rows(item_type, details) if is_object_type(item_type) else None
        if rows is not None:
            return rows
        each = self._value(item, details)
        if not is_non_null_type(item):
            each = field_writers.nullable_item([one.node for one in details], each)
        return field_writers.lists(each)

    def _rows(self, object_type: GraphQLObjectType, details: FieldDetailsList) -> Write | None:
        """The writer of a list whose fields are all columns; None where they are not."""
        selected = self._selected(object_type, details)
        columns: list[Column] = []
        for key, inner in selected.items():
            column = self.columns.column(key, object_type, inner[0].node.name.value)
            if column is None:
                return None
            columns.append(column)
        resolved = [
            ResolvedColumn(
                each.key, attribute_reader(each.attributes), self._field(object_type, each.key, selected[each.key])
            )
            for each in columns
            if each.is_resolved
        ]
        return field_writers.rows(object_type, columns, resolved)
