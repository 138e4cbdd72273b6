"""Writers: functions that append the JSON of one value to a output.

They know the schema alone: whether a field has a resolver, and what type its value has. What they cannot write the
ordinary way writes.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from types import CoroutineType
from typing import Any, NamedTuple, Protocol, TypeAlias

import msgspec
from graphql import (
    FieldNode,
    GraphQLField,
    GraphQLLeafType,
    GraphQLObjectType,
    get_named_type,
    is_enum_type,
    is_leaf_type,
    is_non_null_type,
)
from strawberry.relay import GlobalID
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.base import StrawberryContainer, StrawberryMaybe
from strawberry.types.field import StrawberryField

from gateway.engine.errors import UnsupportedError
from gateway.engine.field_errors import ItemGroups, Path, SameValueItems
from gateway.engine.info import Info
from gateway.engine.lazy_list import LazyObjectList
from gateway.engine.output import DeferredRows, Output, SizeBudget
from gateway.engine.rows import Column, Projection, projection, serialised


class Run(Protocol):
    """What writers need to know of the run that they write for."""

    @property
    def encoder(self) -> msgspec.json.Encoder:
        """Encodes rows."""
        ...

    @property
    def budget(self) -> SizeBudget:
        """What the answer may still take."""
        ...

    def arguments(self, position: "Position") -> Mapping[str, Any]:
        """The keyword arguments of the resolver at a position."""
        ...

    def info(self, position: "Position") -> Info[Any, None]:
        """What the resolver at a position is told."""
        ...

    def drive(self, coroutine: Coroutine[Any, Any, Any], place: "Place", output: Output) -> None:
        """Write what a resolver gives, now or in a gap of the output."""
        ...

    def fail(self, error: Exception, nodes: list[FieldNode], path: Path, output: Output) -> None:
        """Write null for a value that failed and may be null."""
        ...


Write: TypeAlias = Callable[[Any, Output, Run, Path], None]
Link: TypeAlias = tuple[str, Callable[[Any], Any], Write]


@dataclass(frozen=True, slots=True, eq=False)
class Position:
    """A field with a resolver, at one place of a document."""

    key: str
    nodes: list[FieldNode]
    definition: GraphQLField
    parent_type: GraphQLObjectType
    declared: StrawberryField
    python_names: Mapping[str, str]
    memo: dict[str, Any] = field(default_factory=dict)

    def may_fail(self) -> None:
        """Raises UnsupportedError where the field_error of the field takes more with it than itself."""
        if is_non_null_type(self.definition.type):
            raise UnsupportedError from None


class Place(NamedTuple):
    """Where in an answer a resolver's value goes, and what writes it there."""

    position: Position
    write: Write
    path: Path


def position_of(
    key: str,
    nodes: list[FieldNode],
    definition: GraphQLField,
    parent: GraphQLObjectType,
    declared: StrawberryField,
) -> Position:
    """A field at one place. Raises UnsupportedError where resolvers get its arguments in a form of Strawberry's own."""
    names: dict[str, str] = {}
    for name, argument in definition.args.items():
        known = argument.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
        named = get_named_type(argument.type)
        if known is None or not is_leaf_type(named) or is_enum_type(named) or not _reaches_as_is(known.type):
            raise UnsupportedError
        names[name] = known.python_name
    return Position(key, nodes, definition, parent, declared, names)


def _reaches_as_is(declared: Any) -> bool:
    """Whether Strawberry hands an argument's value, or the values in its list, to resolvers as graphql-core made it."""
    while isinstance(declared, StrawberryContainer) and not isinstance(declared, StrawberryMaybe):
        declared = declared.of_type
    return not isinstance(declared, StrawberryMaybe) and declared is not GlobalID


def row_writer(object_type: GraphQLObjectType, columns: Sequence[Column], links: Sequence[Link]) -> Write:
    """The writer of a list in one go; `links` write the columns that stand for whole objects, once for each value."""
    made: dict[tuple[str, ...], Projection] = {}

    def write(values: Any, output: Output, run: Run, path: Path) -> None:
        items: Sequence[Any]
        translated: tuple[str, ...] = ()
        if isinstance(values, LazyObjectList):
            items, view, translated = values.items, values.view, tuple(values.translations)
        elif isinstance(values, list | tuple):
            items, view = values, _itself
        else:
            raise UnsupportedError
        if translated not in made:
            made[translated] = projection(object_type, columns, translated)
        linked: dict[str, dict[Any, Output]] = {}
        for key, read, writer in links:
            outputs: dict[Any, Output] = {}
            groups = ItemGroups(items, read)
            for value, example in dict(zip(map(read, items), items, strict=True)).items():
                gap: Output = []
                outputs[value] = gap
                writer(view(example), gap, run, (path, SameValueItems(groups, value)))
            linked[key] = outputs
        rows = DeferredRows(made[translated], values, linked)
        # At once where nothing is awaited: what was decoded just now is still in the processor's cache.
        output.append(rows if linked else rows.encoded(run.encoder, run.budget))

    return write


def resolved(position: Position, inner: Write) -> Write:
    """The writer of a field with a resolver. Raises UnsupportedError where it wants more than source and info."""
    resolver = position.declared.base_resolver
    if resolver is None:
        raise UnsupportedError
    call: Callable[..., Any] = resolver
    takes_source = resolver.self_parameter is not None
    info_name = resolver.info_parameter.name if resolver.info_parameter else None
    takes_arguments = bool(position.definition.args)
    is_async = resolver.is_async
    if resolver.parent_parameter is not None or resolver.root_parameter is not None:
        raise UnsupportedError

    def write(source: Any, output: Output, run: Run, path: Path) -> None:
        named: dict[str, Any] = {} if info_name is None else {info_name: run.info(position)}
        if takes_arguments:
            named.update(run.arguments(position))
        here = path, position.key
        try:
            result = call(source, **named) if takes_source else call(**named)
        except Exception as error:  # noqa: BLE001 # whatever it is, the field failed
            position.may_fail()
            run.fail(error, position.nodes, here, output)
            return
        if is_async or type(result) is CoroutineType:
            run.drive(result, Place(position, inner, here), output)
        else:
            inner(result, output, run, here)

    return write


def attribute(name: str, key: str, inner: Write) -> Write:
    """The writer of a field that reads an attribute."""
    read = attrgetter(name)

    def write(source: Any, output: Output, run: Run, path: Path) -> None:
        inner(read(source), output, run, (path, key))

    return write


def constant(text: bytes) -> Write:
    """The writer of what never changes."""

    def write(_: Any, output: Output, __: Run, ___: Path) -> None:
        output.append(text)

    return write


def leaf(scalar: GraphQLLeafType | None, encode: Callable[[Any], bytes]) -> Write:
    """The writer of a scalar; None stands for one whose Python values leave as they are."""
    if scalar is None:

        def write(value: Any, output: Output, _: Run, __: Path) -> None:
            output.append(encode(value))
    else:
        serialise = scalar.coerce_output_value

        def write(value: Any, output: Output, _: Run, __: Path) -> None:
            output.append(encode(serialised(serialise, value)))

    return write


def never_null(inner: Write) -> Write:
    """The writer of a value that may not be null."""

    def write(value: Any, output: Output, run: Run, path: Path) -> None:
        if value is None:
            raise UnsupportedError
        inner(value, output, run, path)

    return write


def or_null(inner: Write) -> Write:
    """The writer of a value that may be null."""

    def write(value: Any, output: Output, run: Run, path: Path) -> None:
        if value is None:
            output.append(b"null")
        else:
            inner(value, output, run, path)

    return write


def or_failed(nodes: list[FieldNode], inner: Write) -> Write:
    """The writer of an item that may be null and may be an exception, which fails the item alone."""

    def write(value: Any, output: Output, run: Run, path: Path) -> None:
        if isinstance(value, Exception):
            run.fail(value, nodes, path, output)
        else:
            inner(value, output, run, path)

    return write


def reader(attributes: tuple[str, ...]) -> Callable[[Any], Any]:
    """Reads attributes: one as it is, several as a tuple, none as the empty tuple."""
    return attrgetter(*attributes) if attributes else lambda _: ()


def _itself(item: Any) -> Any:
    return item
