"""Operations compiled to writers: functions that append the JSON of one value to a output.

What is selected is found out by graphql-core's own collecting of fields, once for each document and each setting of
the variables in its `@skip` and `@include`.
"""

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

from gateway.engine.errors import UnsupportedError
from gateway.engine.field_errors import Path
from gateway.engine.field_writers import (
    Link,
    Run,
    Write,
    attribute,
    constant,
    leaf,
    never_null,
    or_failed,
    or_null,
    position_of,
    reader,
    resolved,
    row_writer,
)
from gateway.engine.lazy_list import DEPENDS_ONLY_ON, LazyObjectList
from gateway.engine.output import Output
from gateway.engine.rows import Column, Columns, declared_field, origin_of
from gateway.engine.selection import walk

# Fragments make much of little text: a position takes about a kilobyte, a look at a selection some microseconds.
_MOST_POSITIONS = 2_000
_MOST_LOOKS = 100_000


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """A compiled operation; `write` starts from the root value None."""

    schema: GraphQLSchema
    operation: OperationDefinitionNode
    fragments: dict[str, FragmentDefinitionNode]
    write: Write
    positions: int
    """How many fields were compiled: what the program takes of memory grows with it."""


def compiled(
    schema: GraphQLSchema,
    operation: OperationDefinitionNode,
    fragments: dict[str, FragmentDefinitionNode],
    variables: VariableValues,
    columns_of: Columns,
) -> Program:
    """Compile a query. Raises UnsupportedError, and GraphQLError for directives whose arguments are wrong."""
    query = schema.query_type
    if query is None or operation.operation is not OperationType.QUERY:
        raise UnsupportedError
    compiler = _Compiler(schema, operation, fragments, variables, columns_of)
    write = compiler.root(query)
    return Program(schema, operation, fragments, write, compiler.positions)


@dataclass(slots=True)
class _Compiler:
    schema: GraphQLSchema
    operation: OperationDefinitionNode
    fragments: dict[str, FragmentDefinitionNode]
    variables: VariableValues
    columns_of: Columns
    positions: int = 0
    looks: int = 0
    widths: dict[int, int] = field(default_factory=dict)
    details: dict[str, FragmentDetails] = field(init=False)

    def __post_init__(self) -> None:
        self.details = {name: FragmentDetails(node) for name, node in self.fragments.items()}

    def root(self, query: GraphQLObjectType) -> Write:
        self._look(self.operation.selection_set)
        found = collect_fields(self.schema, self.details, self.variables, query, self.operation)
        return self._fields(query, self._counted(found))

    def _selected(self, object_type: GraphQLObjectType, details: FieldDetailsList) -> GroupedFieldSet:
        for each in details:
            self._look(each.node.selection_set)
        return self._counted(
            collect_subfields(self.schema, self.details, self.variables, self.operation, object_type, details)
        )

    def _look(self, selections: SelectionSetNode | None) -> None:
        self.looks += self._width(selections)
        if self.looks > _MOST_LOOKS:
            raise UnsupportedError

    def _width(self, selections: SelectionSetNode | None) -> int:
        """How many selections collecting looks at, and more where it comes by a fragment twice."""
        if selections is None:
            return 0
        found = self.widths.get(id(selections))
        if found is None:
            found = 0
            for each, _ in walk(selections, enters=lambda node: isinstance(node, InlineFragmentNode)):
                found += 1
                if isinstance(each, FragmentSpreadNode):
                    found += self._width(self.fragments[each.name.value].selection_set)
            self.widths[id(selections)] = found
        return found

    def _counted(self, found: CollectedFields) -> GroupedFieldSet:
        # A selection counts itself too: fragments may make any number of empty ones.
        self.positions += 1 + len(found.grouped_field_set)
        if self.positions > _MOST_POSITIONS or found.new_defer_usages or found.forbidden_directive_instances:
            raise UnsupportedError
        return found.grouped_field_set

    def _fields(self, object_type: GraphQLObjectType, selected: GroupedFieldSet) -> Write:
        """The writer of an object whose type is known."""
        writers = []
        opening = b"{"
        for key, details in selected.items():
            label = opening + msgspec.json.encode(key) + b":"
            writers.append(self._labelled(label, self._field(object_type, key, details)))
            opening = b","
        if not writers:
            return constant(b"{}")

        def write(value: Any, output: Output, run: Run, path: Path) -> None:
            for writer in writers:
                writer(value, output, run, path)
            output.append(b"}")

        return write

    def _labelled(self, label: bytes, inner: Write) -> Write:
        def write(source: Any, output: Output, run: Run, path: Path) -> None:
            output.append(label)
            inner(source, output, run, path)

        return write

    def _field(self, parent: GraphQLObjectType, key: str, details: FieldDetailsList) -> Write:
        """The writer of a field, which gets the object that the field belongs to."""
        name = details[0].node.name.value
        if name == "__typename":
            return constant(msgspec.json.encode(parent.name))
        definition = parent.fields.get(name)
        declared = None if definition is None else declared_field(definition)
        if definition is None or declared is None:
            raise UnsupportedError
        inner = self._value(definition.type, details)
        if declared.is_basic_field:
            return attribute(declared.python_name, key, inner)
        return resolved(position_of(key, [each.node for each in details], definition, parent, declared), inner)

    def _value(self, output: GraphQLOutputType, details: FieldDetailsList) -> Write:
        """The writer of a value of a type."""
        if is_non_null_type(output):
            return never_null(self._nullable(output.of_type, details))
        return or_null(self._nullable(output, details))

    def _nullable(self, output: Any, details: FieldDetailsList) -> Write:
        if is_leaf_type(output):
            return leaf(self.columns_of.scalar(output), self.columns_of.encode)
        if is_list_type(output):
            return self._list(output.of_type, details)
        if is_object_type(output):
            return self._object(output, details)
        if is_abstract_type(output):
            return self._abstract(output, details)
        raise UnsupportedError

    def _object(self, object_type: GraphQLObjectType, details: FieldDetailsList) -> Write:
        origin = _required_origin(object_type)
        fields = self._fields(object_type, self._selected(object_type, details))

        def write(value: Any, output: Output, run: Run, path: Path) -> None:
            if type(value) is not origin:
                raise UnsupportedError
            fields(value, output, run, path)

        return write

    def _abstract(self, abstract: Any, details: FieldDetailsList) -> Write:
        possible = self.schema.get_possible_types(abstract)
        writers = {_required_origin(one): self._object(one, details) for one in possible}
        if len(writers) < len(possible):
            raise UnsupportedError

        def write(value: Any, output: Output, run: Run, path: Path) -> None:
            writer = writers.get(type(value))
            if writer is None:
                raise UnsupportedError
            writer(value, output, run, path)

        return write

    def _list(self, item: Any, details: FieldDetailsList) -> Write:
        item_type = get_nullable_type(item)
        rows = self._rows(item_type, details) if is_object_type(item_type) else None
        if rows is not None:
            return rows
        each = self._value(item, details)
        if not is_non_null_type(item):
            each = or_failed([one.node for one in details], each)

        def write(values: Any, output: Output, run: Run, path: Path) -> None:
            if not isinstance(values, list | tuple | LazyObjectList):
                raise UnsupportedError
            opening = b"["
            for place, value in enumerate(values):
                output.append(opening)
                each(value, output, run, (path, place))
                opening = b","
            output.append(b"]" if opening == b"," else b"[]")

        return write

    def _rows(self, object_type: GraphQLObjectType, details: FieldDetailsList) -> Write | None:
        """The writer of a list whose objects differ in plain attributes alone; None where they do not."""
        selected = self._selected(object_type, details)
        columns: list[Column] = []
        for key, inner in selected.items():
            name = inner[0].node.name.value
            column = self.columns_of.column(key, object_type, name) or _linked(key, object_type, name)
            if column is None:
                return None
            columns.append(column)
        links: list[Link] = [
            (each.key, reader(each.attributes), self._field(object_type, each.key, selected[each.key]))
            for each in columns
            if each.linked
        ]
        return row_writer(object_type, columns, links)


def _required_origin(object_type: GraphQLObjectType) -> type:
    origin = origin_of(object_type)
    if origin is None:
        raise UnsupportedError
    return origin


def _linked(key: str, object_type: GraphQLObjectType, name: str) -> Column | None:
    definition = object_type.fields.get(name)
    declared = None if definition is None else declared_field(definition)
    depends_only_on: tuple[str, ...] | None = None if declared is None else declared.metadata.get(DEPENDS_ONLY_ON)
    # An argument's value belongs to a place in the document, and so is the same for all objects there.
    return None if depends_only_on is None else Column(key, depends_only_on, linked=True)
