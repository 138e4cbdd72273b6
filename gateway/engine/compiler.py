"""Compiles operations to writers: once for each document and setting of the variables in `@skip` and `@include`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLField,
    GraphQLLeafType,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    get_named_type,
    get_nullable_type,
    is_enum_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
)
from graphql.execution.values import VariableValues
from strawberry.relay import GlobalID
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.base import StrawberryContainer, StrawberryMaybe
from strawberry.types.field import StrawberryField

from gateway.engine import field_writers
from gateway.engine.errors import UnsupportedError
from gateway.engine.executor import Position, Program, Write
from gateway.engine.lazy_list import DEPENDS_ONLY_ON
from gateway.engine.output import Column
from gateway.engine.selection import Selections

_DIRECTIVES = frozenset({"skip", "include"})
# Fragments make much of little text: a position takes about a kilobyte, a visit to a selection some microseconds.
_MAX_POSITIONS = 2_000
_MAX_VISITS = 100_000

# Strawberry types these `str` and `bool`, and their serialisation leaves such values as they are.
_PLAIN_SCALARS = frozenset({"String", "ID", "Boolean"})


class Columns:
    """Tells which fields of a schema are columns: those without a resolver, and those that share its values."""

    def __init__(self, plain_scalars: Collection[str] = ()) -> None:
        """`plain_scalars` names custom scalars whose Python values are encoded as they are."""
        self._plain_scalars = _PLAIN_SCALARS.union(plain_scalars)

    def column(self, key: str, object_type: GraphQLObjectType, name: str) -> Column | None:
        """The column of a field; None where it is none."""
        if name == "__typename":
            return Column(key, ())
        field = object_type.fields.get(name)
        declared = None if field is None else declared_field(field)
        if field is None or declared is None:
            return None
        scalar = get_nullable_type(field.type)
        if declared.is_basic_field and is_leaf_type(scalar):
            non_null = is_non_null_type(field.type)
            return Column(key, (declared.python_name,), self.scalar(scalar), non_null=non_null)
        attributes: tuple[str, ...] | None = declared.metadata.get(DEPENDS_ONLY_ON)
        # Arguments are no attributes: they stand in the document, and so are the same for all objects of the list.
        return None if attributes is None else Column(key, attributes, is_resolved=True)

    def scalar(self, leaf: GraphQLLeafType) -> GraphQLLeafType | None:
        """The scalar, or None where its Python values are encoded as they are."""
        return None if leaf.name in self._plain_scalars else leaf


def declared_field(field: GraphQLField) -> StrawberryField | None:
    """The Strawberry field of a field of the core schema; None where extensions or permissions wrap it."""
    declared = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    if not isinstance(declared, StrawberryField) or declared.extensions or declared.permission_classes:
        return None
    return declared


def origin_of(object_type: GraphQLObjectType) -> type | None:
    """The class of a type's objects; None where the type has an `is_type_of` that decides."""
    definition = object_type.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    if definition is None or definition.is_type_of is not None:
        return None
    origin: type = definition.origin
    return origin


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
    compiler = _Compiler(schema, fragments, variables, columns)
    write = compiler.fields_of(query, compiler.selected([operation], query))
    return Program(schema, operation, fragments, write, compiler.positions)


@dataclass(slots=True)
class _Compiler(Selections):
    columns: Columns
    positions: int = 0
    visits: int = 0

    def includes(self, node: SelectionNode) -> bool:
        """Count a visit. Raises UnsupportedError for directives that graphql-core alone may know, such as `@defer`."""
        self.visits += 1
        if self.visits > _MAX_VISITS or any(each.name.value not in _DIRECTIVES for each in node.directives or ()):
            raise UnsupportedError
        return self._includes(node)

    def selected(
        self, nodes: Sequence[OperationDefinitionNode | FieldNode], object_type: GraphQLObjectType
    ) -> dict[str, list[FieldNode]]:
        """The fields that an operation or fields select of an object, by key."""
        selected = self.grouped((node.selection_set for node in nodes), object_type)
        # A selection set counts itself too: fragments may make any number of empty ones.
        self.positions += 1 + len(selected)
        if self.positions > _MAX_POSITIONS:
            raise UnsupportedError
        return selected

    def fields_of(self, object_type: GraphQLObjectType, selected: dict[str, list[FieldNode]]) -> Write:
        """The writer of the fields of an object whose type is known."""
        writers: list[tuple[bytes, Write]] = []
        for key, nodes in selected.items():
            label = (b"," if writers else b"{") + msgspec.json.encode(key) + b":"
            writers.append((label, self._field(object_type, key, nodes)))
        return field_writers.fields(writers) if writers else field_writers.constant(b"{}")

    def _field(self, parent: GraphQLObjectType, key: str, nodes: list[FieldNode]) -> Write:
        """The writer of a field, which gets the object that the field belongs to."""
        name = nodes[0].name.value
        if name == "__typename":
            return field_writers.constant(msgspec.json.encode(parent.name))
        definition = parent.fields.get(name)
        declared = None if definition is None else declared_field(definition)
        if definition is None or declared is None:
            raise UnsupportedError
        inner = self._value(definition.type, nodes)
        if declared.is_basic_field:
            return field_writers.attribute(declared.python_name, key, inner)
        return field_writers.resolver(
            Position(key, nodes, definition, parent, declared, _python_names(definition), inner)
        )

    def _value(self, output: GraphQLOutputType, nodes: list[FieldNode]) -> Write:
        """The writer of a value of a type."""
        inner = self._present(get_nullable_type(output), nodes)
        return field_writers.null_checked(inner, is_nullable=not is_non_null_type(output))

    def _present(self, output: Any, nodes: list[FieldNode]) -> Write:
        """The writer of a value that is not null."""
        if is_leaf_type(output):
            return field_writers.leaf(self.columns.scalar(output))
        if is_list_type(output):
            return self._list(output.of_type, nodes)
        writers: dict[type, Write] = {}
        for object_type in [output] if is_object_type(output) else self.schema.get_possible_types(output):
            origin = origin_of(object_type)
            if origin is None or origin in writers:
                raise UnsupportedError
            writers[origin] = self.fields_of(object_type, self.selected(nodes, object_type))
        return field_writers.objects(writers)

    def _list(self, item: Any, nodes: list[FieldNode]) -> Write:
        item_type = get_nullable_type(item)
        rows = self._rows(item_type, nodes) if is_object_type(item_type) else None
        if rows is not None:
            return rows
        each = self._value(item, nodes)
        if not is_non_null_type(item):
            each = field_writers.nullable_item(nodes, each)
        return field_writers.lists(each)

    def _rows(self, object_type: GraphQLObjectType, nodes: list[FieldNode]) -> Write | None:
        """The writer of a list whose fields are all columns; None where they are not."""
        selected = self.selected(nodes, object_type)
        found = [self.columns.column(key, object_type, inner[0].name.value) for key, inner in selected.items()]
        columns = [each for each in found if each is not None]
        if len(columns) < len(selected):
            return None
        writers = {
            each.key: self._field(object_type, each.key, selected[each.key]) for each in columns if each.is_resolved
        }
        return field_writers.rows(object_type.name, origin_of(object_type), columns, writers)


def _python_names(definition: GraphQLField) -> dict[str, str]:
    """The arguments' Python names. Raises UnsupportedError where Strawberry would convert one for the resolver."""
    names: dict[str, str] = {}
    for name, argument in definition.args.items():
        known = argument.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
        named = get_named_type(argument.type)
        if known is None or not is_leaf_type(named) or is_enum_type(named) or not _passes_unchanged(known.type):
            raise UnsupportedError
        names[name] = known.python_name
    return names


def _passes_unchanged(declared: Any) -> bool:
    """Whether Strawberry hands an argument's value, or the values in its list, to resolvers as graphql-core made it."""
    while isinstance(declared, StrawberryContainer) and not isinstance(declared, StrawberryMaybe):
        declared = declared.of_type
    return not isinstance(declared, StrawberryMaybe) and declared is not GlobalID
