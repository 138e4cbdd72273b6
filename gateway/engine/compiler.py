"""Compiles operations to writers: once for each document and setting of the variables in `@skip` and `@include`."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLAbstractType,
    GraphQLError,
    GraphQLField,
    GraphQLLeafType,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLResolveInfo,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    default_type_resolver,
    get_nullable_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
)
from graphql.execution.values import VariableValues
from graphql.pyutils import inspect, is_awaitable
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

from gateway.engine import field_writers
from gateway.engine.arguments import ArgumentConverter, Arguments
from gateway.engine.budget import ATTRIBUTE_WORK, CELL_WORK, OBJECT_WORK
from gateway.engine.executor import Execution, Position, Program, Write
from gateway.engine.lazy_list import DEPENDS_ONLY_ON
from gateway.engine.list_writers import ItemWork, ListWriter, RowsWriter, nullable_rows
from gateway.engine.paths import ResponseKey
from gateway.engine.rows import Column, RowClasses
from gateway.engine.selection import Selections

# Strawberry types these `str` and `bool`, and their serialisation leaves such values as they are.
_PLAIN_SCALARS = frozenset({"String", "ID", "Boolean"})
# What compiling a field takes, in units of work; most is compiled before an operation is executed.
_COMPILE_WORK = 10


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
    """The Strawberry field of a field of the core schema; None where its resolver cannot be called as it is."""
    declared = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    if not isinstance(declared, StrawberryField) or declared.extensions or declared.permission_classes:
        return None
    base = declared.base_resolver
    return declared if base is None or not (base.parent_parameter or base.root_parameter) else None


def origin_of(object_type: GraphQLObjectType) -> type | None:
    """The class of a type's objects; None where something else than the class decides."""
    definition = object_type.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    if definition is None or definition.is_type_of is not None or definition.concrete_of is not None:
        return None
    origin: type = definition.origin
    return origin


def type_of_value(
    value: Any, declared: GraphQLObjectType | GraphQLAbstractType, nodes: list[FieldNode], info: GraphQLResolveInfo[Any]
) -> GraphQLObjectType:
    """The object type of a value of a declared type. Raises GraphQLError where it has none, as graphql-core does."""
    found = declared if isinstance(declared, GraphQLObjectType) else _resolved(value, declared, nodes, info)
    if found.is_type_of is not None:
        belongs = found.is_type_of(value, info)
        if is_awaitable(belongs):
            raise TypeError(f"is_type_of of {found} is asynchronous, which this executor does not support")
        if not belongs:
            raise GraphQLError(f"Expected value of type '{found}' but got: {inspect(value)}.", nodes)
    return found


def _resolved(
    value: Any, abstract: GraphQLAbstractType, nodes: list[FieldNode], info: GraphQLResolveInfo[Any]
) -> GraphQLObjectType:
    name = (abstract.resolve_type or default_type_resolver)(value, info, abstract)
    if is_awaitable(name):
        raise TypeError(f"resolve_type of {abstract} is asynchronous, which this executor does not support")
    where = f"for field '{info.parent_type}.{info.field_name}'"
    if name is None:
        raise GraphQLError(
            f"Abstract type '{abstract}' must resolve to an Object type at runtime {where}. Either the '{abstract}' "
            "type should provide a 'resolve_type' function or each possible type should provide an 'is_type_of' "
            "function.",
            nodes,
        )
    if not isinstance(name, str):
        raise GraphQLError(
            f"Abstract type '{abstract}' must resolve to an Object type at runtime {where} with value "
            f"{inspect(value)}, received '{inspect(name)}', which is not a valid Object type name.",
            nodes,
        )
    found = info.schema.get_type(name)
    if found is None:
        message = f"Abstract type '{abstract}' was resolved to a type '{name}' that does not exist inside the schema."
        raise GraphQLError(message, nodes)
    if not is_object_type(found):
        raise GraphQLError(f"Abstract type '{abstract}' was resolved to a non-object type '{name}'.", nodes)
    if not info.schema.is_sub_type(abstract, found):
        raise GraphQLError(f"Runtime Object type '{found}' is not a possible type for '{abstract}'.", nodes)
    return found


@dataclass(frozen=True, slots=True)
class CompilerConfig:
    """What is the same for all documents about a schema."""

    columns: Columns
    arguments: ArgumentConverter
    row_classes: RowClasses = field(default_factory=RowClasses)


def compile_operation(
    schema: GraphQLSchema,
    operation: OperationDefinitionNode,
    fragments: dict[str, FragmentDefinitionNode],
    variables: VariableValues,
    config: CompilerConfig,
) -> Program:
    """Raises GraphQLError where an argument of a directive on the root fields is wrong.

    `variables` hold those of `@skip` and `@include`. They live as long as the program, which compiles some parts of the
    document when an execution comes to them.
    """
    root = schema.get_root_type(operation.operation)
    if root is None:
        raise GraphQLError(f"Schema is not configured to execute {operation.operation.value} operation.", operation)
    compiler = _Compiler(schema, fragments, variables, config)
    made = compiler.fields_by_key(root, compiler.grouped([operation.selection_set], root), is_root=True)
    return Program(
        schema,
        operation,
        fragments,
        [field_writers.root(label, write) for label, write in made.writers],
        made.work,
        operation.operation is OperationType.MUTATION,
        lambda: compiler.positions,
    )


@dataclass(frozen=True, slots=True)
class _Written:
    """A writer, the work that it takes beside what it counts itself, and whether a resolver or a list is in it."""

    write: Write
    work: float
    is_deep: bool
    text: Callable[[Any], bytes] | None = None
    """What gives the JSON of a field from its object alone, if it can be had so."""


@dataclass(frozen=True, slots=True)
class _Fields:
    """The fields of an object by key, each with the text before its value."""

    writers: Sequence[tuple[bytes, Write]]
    by_key: Mapping[str, _Written]

    @property
    def work(self) -> float:
        """The work that they take."""
        return sum(each.work for each in self.by_key.values())

    def of_object(self) -> Write:
        """The writer of an object that has these fields."""
        if not self.writers:
            return field_writers.constant(b"{}")
        (label, first), *others = self.writers
        return field_writers.fields([(b"{" + label, first), *others])


@dataclass(slots=True)
class _Compiler(Selections):
    config: CompilerConfig
    positions: int = 0
    _compiled: dict[tuple[str, tuple[int, ...]], _Fields] = field(default_factory=dict)

    def includes(self, node: SelectionNode) -> bool:
        """Whether `@skip` and `@include` let a selection in. Raises GraphQLError where their arguments are wrong."""
        return self._includes(node)

    def fields_by_key(
        self, object_type: GraphQLObjectType, selected: dict[str, list[FieldNode]], *, is_root: bool = False
    ) -> _Fields:
        """The writers of the fields of an object whose type is known."""
        # A selection set counts itself too: fragments may make any number of empty ones.
        self.positions += 1 + len(selected)
        writers: list[tuple[bytes, Write]] = []
        by_key: dict[str, _Written] = {}
        for order, (name, nodes) in enumerate(selected.items()):
            key = ResponseKey.at(name, order)
            made = by_key[key] = self._field(object_type, key, nodes, is_root=is_root)
            writers.append(((b"," if order else b"") + msgspec.json.encode(name) + b":", made.write))
        return _Fields(writers, by_key)

    def _field(self, parent: GraphQLObjectType, key: ResponseKey, nodes: list[FieldNode], *, is_root: bool) -> _Written:
        """The writer of a field, which gets the object that the field belongs to."""
        name = nodes[0].name.value
        if name == "__typename":
            return _Written(field_writers.constant(msgspec.json.encode(parent.name)), CELL_WORK, is_deep=False)
        definition = self.schema.get_field(parent, name)
        if definition is None:
            raise TypeError(f"the schema has no field {parent}.{name}")
        declared = declared_field(definition)
        is_attribute = declared is not None and declared.is_basic_field
        arguments = Arguments(definition, nodes[0], declared, self.config.arguments)
        # What is made below needs the position, and the position needs what is made.
        position = Position(
            nodes=nodes,
            write=field_writers.constant(b"null"),
            is_nullable=not is_non_null_type(definition.type),
            key=key,
            definition=definition,
            parent_type=parent,
            declared=declared,
            arguments=arguments,
        )
        value = self._value(definition.type, position, is_counted=is_attribute)
        position = replace(position, write=value.write)
        if declared is not None and is_attribute:
            write = field_writers.attribute(declared.python_name, key, position)
            return _Written(write, ATTRIBUTE_WORK + value.work, value.is_deep)
        scalar = get_nullable_type(definition.type)
        text = field_writers.simple_text(position, self._text_of(scalar)) if is_leaf_type(scalar) else None
        return _Written(field_writers.resolver(position, is_root=is_root), 1.0, is_deep=True, text=text)

    def _text_of(self, leaf: GraphQLLeafType) -> Callable[[Any], bytes]:
        return field_writers.leaf_text(leaf, is_plain=self.config.columns.scalar(leaf) is None)

    def _value(self, output: GraphQLOutputType, at: Position, *, is_counted: bool) -> _Written:
        """The writer of a value of a type; its work `is_counted` with what is around it, or counts itself."""
        present: Any = get_nullable_type(output)
        made = self._present(present, at, is_counted=is_counted)
        if is_non_null_type(output):
            write = field_writers.non_null(made.write, at.nodes, _name_of(at))
        elif isinstance(made.write, RowsWriter):
            write = nullable_rows(made.write, field_writers.nullable(made.write, at.nodes))
        else:
            wrap = field_writers.nullable_leaf if is_leaf_type(present) else field_writers.nullable
            write = wrap(made.write, at.nodes)
        return replace(made, write=write)

    def _present(self, output: Any, at: Position, *, is_counted: bool) -> _Written:
        """The writer of a value that is not null."""
        if is_leaf_type(output):
            return _Written(field_writers.leaf(self._text_of(output)), 0.0, is_deep=False)
        if is_list_type(output):
            return self._list(output.of_type, at)
        if is_object_type(output):
            return self._object(output, at, is_counted=is_counted)
        return self._abstract(output, at)

    def _object(self, output: GraphQLObjectType, at: Position, *, is_counted: bool) -> _Written:
        """The writer of an object of a type, whatever the class of its values is."""
        made = self._of_type(output, at.nodes, is_counted=is_counted)
        origin = origin_of(output)

        def of_value(value: Any, execution: Execution) -> Write:
            type_of_value(value, output, at.nodes, execution.info(at).raw)
            return made.write

        write = field_writers.ObjectWriter({} if origin is None else {origin: made.write}, of_value)
        return _Written(write, OBJECT_WORK + (made.work if is_counted else 0), made.is_deep)

    def _of_type(self, output: GraphQLObjectType, nodes: list[FieldNode], *, is_counted: bool) -> _Written:
        try:
            made = self._fields_of(output, nodes)
        except GraphQLError as error:
            return _Written(field_writers.failing(error), 0.0, is_deep=False)
        is_deep = any(each.is_deep for each in made.by_key.values())
        write = made.of_object() if is_counted else field_writers.spending(made.work, made.of_object())
        return _Written(field_writers.shared(write) if is_deep else write, made.work, is_deep)

    def _fields_of(self, output: GraphQLObjectType, nodes: list[FieldNode]) -> _Fields:
        """The fields that field nodes select of an object, compiled once. Raises GraphQLError."""
        key = output.name, tuple(map(id, nodes))
        found = self._compiled.get(key)
        if found is None:
            selected = self.grouped((node.selection_set for node in nodes), output)
            found = self._compiled[key] = self.fields_by_key(output, selected)
        return found

    def _abstract(self, output: GraphQLAbstractType, at: Position) -> _Written:
        """The writer of an object of an interface or a union; selections are compiled for the types that are met."""
        origins: dict[type | None, GraphQLObjectType | None] = {None: None}
        # An interface with a `resolve_type` of its own decides by itself, whatever the class is.
        definition = output.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
        is_by_class = getattr(definition, "resolve_type", None) is None
        for each in self.schema.get_possible_types(output) if is_by_class else ():
            origin = origin_of(each)
            origins[origin] = None if origin in origins else each
        by_class: dict[type, Write] = {}
        by_name: dict[str, Write] = {}

        def of_value(value: Any, execution: Execution) -> Write:
            by_origin = origins.get(type(value))
            found = by_origin or type_of_value(value, output, at.nodes, execution.info(at).raw)
            if found.name not in by_name:
                before = self.positions
                by_name[found.name] = self._of_type(found, at.nodes, is_counted=False).write
                execution.budget.spend_now((self.positions - before) * _COMPILE_WORK)
            if by_origin is not None:
                by_class[type(value)] = by_name[found.name]
            return by_name[found.name]

        return _Written(field_writers.ObjectWriter(by_class, of_value), OBJECT_WORK, is_deep=True)

    def _list(self, item: Any, at: Position) -> _Written:
        each = self._value(item, at, is_counted=True)
        item_type: Any = get_nullable_type(item)
        type_name = getattr(item_type, "name", "")
        write = ListWriter(each.write, ItemWork(each.work, each.is_deep), at.nodes, _name_of(at), type_name)
        rows = self._rows(item_type, at, write) if is_object_type(item_type) and is_non_null_type(item) else None
        return _Written(rows or write, 0.0, is_deep=True)

    def _rows(self, output: GraphQLObjectType, at: Position, item_by_item: ListWriter) -> Write | None:
        """The writer of a list whose fields are all columns; None where they are not."""
        origin = origin_of(output)
        try:
            made = self._fields_of(output, at.nodes)
        except GraphQLError:
            return None
        selected = self.grouped((node.selection_set for node in at.nodes), output)
        found = [self.config.columns.column(key, output, inner[0].name.value) for key, inner in selected.items()]
        columns = [each for each in found if each is not None]
        if origin is None or len(columns) < len(selected):
            return None
        writers = {each.key: made.by_key[each.key] for each in columns if each.is_resolved}
        cells = {key: (each.write, each.work, each.text) for key, each in writers.items()}
        classes = self.config.row_classes
        return RowsWriter(output.name, origin, columns, cells, item_by_item=item_by_item, classes=classes)


def _name_of(at: Position) -> str:
    """The name of a position's field with its type, for messages."""
    return f"{at.parent_type}.{at.nodes[0].name.value}"
