"""Writers: functions that append the JSON of one value to an output.

They are made of the schema alone: whether a field has a resolver, and what type its value has. A value that they
cannot write raises UnsupportedError.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from types import CoroutineType
from typing import Any

from graphql import FieldNode, GraphQLLeafType

from gateway.engine.errors import ItemGroups, Path, SameValueItems, UnsupportedError
from gateway.engine.executor import Execution, Position, Write
from gateway.engine.lazy_list import LazyObjectList
from gateway.engine.output import Column, DeferredRows, Output, Projection, encode, projection, serialised


def rows(type_name: str, origin: type | None, columns: Sequence[Column], writers: Mapping[str, Write]) -> Write:
    """The writer of a list of objects whose fields are all columns; `writers` are those of resolved ones, by key."""
    resolved = [(each.key, each.reader(), writers[each.key]) for each in columns if each.is_resolved]
    projections: dict[tuple[str, ...], Projection] = {}

    def write(values: Any, output: Output, execution: Execution, path: Path) -> None:
        items: Sequence[Any] = values
        view: Callable[[Any], Any] | None = None
        translated: tuple[str, ...] = ()
        if isinstance(values, LazyObjectList):
            items, view, translated = values.items, values.representative, tuple(values.translations)
        elif not isinstance(values, list | tuple):
            raise UnsupportedError
        if translated not in projections:
            projections[translated] = projection(type_name, origin, columns, translated)
        outputs: dict[str, dict[Any, Output]] = {}
        for key, read, write_column in resolved:
            by_value: dict[Any, Output] = {}
            groups = ItemGroups(map(read, items))
            for value, example in dict(zip(map(read, items), items, strict=True)).items():
                placeholder: Output = []
                by_value[value] = placeholder
                source = example if view is None else view(example)
                write_column(source, placeholder, execution, (path, SameValueItems(groups, value)))
            outputs[key] = by_value
        if outputs:
            output.append(DeferredRows(projections[translated], values, outputs))
        else:
            # Encoded at once, as no resolver may wait: what was just decoded is still in the processor's cache.
            output.append(projections[translated].encoded(values))

    return write


def resolver(position: Position) -> Write:
    """The writer of a field with a resolver. Raises UnsupportedError where it takes Strawberry's parent or root."""
    declared = position.declared.base_resolver
    if declared is None or declared.parent_parameter is not None or declared.root_parameter is not None:
        raise UnsupportedError
    call: Callable[..., Any] = declared
    takes_source = declared.self_parameter is not None
    info_name = declared.info_parameter.name if declared.info_parameter else None
    takes_arguments = bool(position.definition.args)
    is_async = declared.is_async

    def write(source: Any, output: Output, execution: Execution, path: Path) -> None:
        named: dict[str, Any] = {} if info_name is None else {info_name: execution.info(position)}
        if takes_arguments:
            named.update(execution.arguments(position))
        field_path = path, position.key
        try:
            result = call(source, **named) if takes_source else call(**named)
        except Exception as error:  # noqa: BLE001 # whatever it is, the field failed
            execution.fail_field(error, position, field_path, output)
            return
        if is_async or type(result) is CoroutineType:
            execution.advance(result, position, field_path, output)
        else:
            position.write(result, output, execution, field_path)

    return write


def attribute(name: str, key: str, inner: Write) -> Write:
    """The writer of a field that reads an attribute."""
    read = attrgetter(name)

    def write(source: Any, output: Output, execution: Execution, path: Path) -> None:
        inner(read(source), output, execution, (path, key))

    return write


def constant(text: bytes) -> Write:
    """The writer of the same text for every value."""

    def write(_: Any, output: Output, __: Execution, ___: Path) -> None:
        output.append(text)

    return write


def leaf(scalar: GraphQLLeafType | None) -> Write:
    """The writer of a scalar or an enum; None stands for one whose Python values are encoded as they are."""
    if scalar is None:

        def write(value: Any, output: Output, _: Execution, __: Path) -> None:
            output.append(encode(value))
    else:
        serialise = scalar.coerce_output_value

        def write(value: Any, output: Output, _: Execution, __: Path) -> None:
            output.append(encode(serialised(serialise, value)))

    return write


def null_checked(inner: Write, *, is_nullable: bool) -> Write:
    """The writer of a value that may be null, or must not be."""

    def write(value: Any, output: Output, execution: Execution, path: Path) -> None:
        if value is not None:
            inner(value, output, execution, path)
        elif is_nullable:
            output.append(b"null")
        else:
            raise UnsupportedError

    return write


def nullable_item(nodes: list[FieldNode], inner: Write) -> Write:
    """The writer of an item that may be null; where it is an exception, the item alone fails."""

    def write(value: Any, output: Output, execution: Execution, path: Path) -> None:
        if isinstance(value, Exception):
            execution.fail(value, nodes, path, output)
        else:
            inner(value, output, execution, path)

    return write


def lists(each: Write) -> Write:
    """The writer of a list, item by item."""

    def write(values: Any, output: Output, execution: Execution, path: Path) -> None:
        if not isinstance(values, list | tuple | LazyObjectList):
            raise UnsupportedError
        opening = b"["
        for index, value in enumerate(values):
            output.append(opening)
            each(value, output, execution, (path, index))
            opening = b","
        output.append(b"]" if opening == b"," else b"[]")

    return write


def fields(writers: Sequence[tuple[bytes, Write]]) -> Write:
    """The writer of an object's fields, each with the text that comes before its value."""

    def write(value: Any, output: Output, execution: Execution, path: Path) -> None:
        for label, write_field in writers:
            output.append(label)
            write_field(value, output, execution, path)
        output.append(b"}")

    return write


def objects(writers: dict[type, Write]) -> Write:
    """The writer of an object, chosen by its class."""

    def write(value: Any, output: Output, execution: Execution, path: Path) -> None:
        chosen = writers.get(type(value))
        if chosen is None:
            raise UnsupportedError
        chosen(value, output, execution, path)

    return write
