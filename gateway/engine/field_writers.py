"""Writers: functions that append the JSON of one value to an output.

They are made of the schema alone: whether a field has a resolver, and what type its value has. A writer that cannot
write its value raises an error, which makes the value null, or NullPropagation where the nearest value that may be
null stands further out.
"""

import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import attrgetter
from types import CoroutineType, NoneType
from typing import Any

from graphql import FieldNode, GraphQLInt, GraphQLLeafType, Undefined, default_field_resolver
from graphql.pyutils import inspect as inspected

from gateway.engine.errors import LimitExceededError
from gateway.engine.executor import Execution, Position, Value, Write
from gateway.engine.paths import NullableValue, NullPropagation, Output, Path, ResponseKey, SharedObject
from gateway.engine.rows import encode

# What is none of a field's failures.
_PASSES = (NullPropagation, LimitExceededError)
# The Python types of values that are encoded as they are; those of other types are serialised first.
_PLAIN_TYPES = {"String": str, "ID": str, "Boolean": bool}
_NEVER_AWAITABLE = frozenset({NoneType, str, int, float, bool, list, tuple})
# Scalars of fewer bytes are counted by the work that they take.
_SHORT = 128
_SMALLEST_INT, _LARGEST_INT = -(2**31), 2**31 - 1


def root(label: bytes, inner: Write) -> Write:
    """The writer of a root field with the text that comes before its value."""

    def write(_: Any, output: Output, execution: Execution, path: Path) -> None:
        own: Output = [label]
        output.append(own)
        inner(None, own, execution, path)

    return write


def resolver(position: Position, *, is_root: bool) -> Write:
    """The writer of a field with a resolver."""
    call, takes_source, info_name = _call_of(position)
    takes_arguments = not position.arguments.is_empty
    if takes_source and not takes_arguments and not is_root:
        return _attribute_like(position, call) if info_name is None else _with_info(position, call, info_name)

    def resolved(source: Any, execution: Execution) -> Any:
        if is_root:
            execution.config.before_root_field(execution.info(position))
        named: dict[str, Any] = {} if info_name is None else {info_name: execution.info(position)}
        if takes_arguments:
            named.update(execution.arguments(position))
        return call(source, **named) if takes_source else call(**named)

    return _resolving(position, resolved)


def _with_info(position: Position, call: Callable[..., Any], info_name: str) -> Write:
    """The writer of a field whose resolver takes its source and the info: most of those that links are."""
    key, write_value = position.key, position.write

    def write(source: Any, output: Output, execution: Execution, path: Path) -> None:
        field_path = path, key
        try:
            result = call(source, **{info_name: execution.info(position)})
        except LimitExceededError:
            raise
        except Exception as error:  # noqa: BLE001 # whatever it is, the field failed
            position.fail(error, output, execution, field_path)
            return
        kind = type(result)
        if kind is CoroutineType:
            execution.advance(result, position, field_path, output)
        elif kind in _NEVER_AWAITABLE or not hasattr(kind, "__await__"):
            write_value(result, output, execution, field_path)
        else:
            execution.advance(_awaited(result), position, field_path, output)

    return write


def _resolving(position: Position, resolved: Callable[[Any, Execution], Any]) -> Write:
    # The same as in `_with_info` but for one call: shared, it would cost every link of a graph another.
    key, write_value = position.key, position.write

    def write(source: Any, output: Output, execution: Execution, path: Path) -> None:
        field_path = path, key
        try:
            result = resolved(source, execution)
        except LimitExceededError:
            raise
        except Exception as error:  # noqa: BLE001 # whatever it is, the field failed
            position.fail(error, output, execution, field_path)
            return
        kind = type(result)
        if kind is CoroutineType:
            execution.advance(result, position, field_path, output)
        elif kind in _NEVER_AWAITABLE or not hasattr(kind, "__await__"):
            write_value(result, output, execution, field_path)
        else:
            execution.advance(_awaited(result), position, field_path, output)

    return write


def _attribute_like(position: Position, call: Callable[[Any], Any]) -> Write:
    """The writer of a field whose resolver takes nothing but its source, as short as can be."""
    key, write_value = position.key, position.write

    def write(source: Any, output: Output, execution: Execution, path: Path) -> None:
        field_path = path, key
        try:
            result = call(source)
        except Exception as error:  # noqa: BLE001 # whatever it is, the field failed
            position.fail(error, output, execution, field_path)
            return
        kind = type(result)
        if kind in _NEVER_AWAITABLE or not hasattr(kind, "__await__"):
            write_value(result, output, execution, field_path)
        else:
            coroutine = result if kind is CoroutineType else _awaited(result)
            execution.advance(coroutine, position, field_path, output)

    return write


def _call_of(position: Position) -> tuple[Callable[..., Any], bool, str | None]:
    """A field's resolver, whether it takes the source, and its parameter for the info.

    A plain resolver is called as it is. Where Strawberry wraps it, for extensions, permissions or a parameter for the
    parent, the wrapper is called as graphql-core calls it.
    """
    declared = position.declared
    if declared is None or declared.base_resolver is None:
        return _core_call(position.definition.resolve or default_field_resolver), True, "info"
    base = declared.base_resolver
    function: Callable[..., Any] = base.wrapped_func if callable(base.wrapped_func) else base
    return function, base.self_parameter is not None, base.info_parameter.name if base.info_parameter else None


def _core_call(resolve: Callable[..., Any]) -> Callable[..., Any]:
    def call(source: Any, /, info: Any, **arguments: Any) -> Any:
        return resolve(source, info.raw, **arguments)

    return call


async def _awaited(value: Any) -> Any:
    return await value


def attribute(name: str, key: ResponseKey, value: Value) -> Write:
    """The writer of a field that reads an attribute."""
    read = attrgetter(name)
    write_value = value.write

    def write(source: Any, output: Output, execution: Execution, path: Path) -> None:
        field_path = path, key
        try:
            found = read(source)
        except Exception as error:  # noqa: BLE001 # whatever it is, the field failed
            value.fail(error, output, execution, field_path)
            return
        write_value(found, output, execution, field_path)

    return write


def constant(text: bytes) -> Write:
    """The writer of the same text for every value."""

    def write(_: Any, output: Output, __: Execution, ___: Path) -> None:
        output.append(text)

    return write


def failing(error: Exception) -> Write:
    """The writer of a value that cannot be written at all."""

    def write(_: Any, __: Output, ___: Execution, ____: Path) -> None:
        raise error.with_traceback(None)

    return write


def leaf_text(scalar: GraphQLLeafType, *, is_plain: bool) -> Callable[[Any], bytes]:
    """What gives the JSON of a scalar or an enum that is not null; one that `is_plain` is encoded as it is.

    Raises whatever serialising and encoding raise.
    """
    serialise = scalar.coerce_output_value
    plain_type = _PLAIN_TYPES.get(scalar.name)

    def text(value: Any) -> bytes:
        found = serialise(value)
        if found is None or found is Undefined:
            raise TypeError(
                f"Expected `{inspected(scalar)}.coerce_output_value({inspected(value)})` to return non-nullable value, "
                f"returned: {inspected(found)}"
            )
        return encode(found)

    def text_of_type(value: Any) -> bytes:
        return encode(value) if type(value) is plain_type else text(value)

    def text_of_int(value: Any) -> bytes:
        is_usual = type(value) is int and _SMALLEST_INT <= value <= _LARGEST_INT
        return b"%d" % value if is_usual else text(value)

    if is_plain:
        return encode if plain_type is None else text_of_type
    return text_of_int if scalar is GraphQLInt else text


def leaf(text_of: Callable[[Any], bytes]) -> Write:
    """The writer of a scalar or an enum that is not null."""

    def write(value: Any, output: Output, execution: Execution, _: Path) -> None:
        text = text_of(value)
        output.append(text)
        if len(text) > _SHORT:
            execution.budget.write(len(text))

    return write


def simple_text(position: Position, text_of: Callable[[Any], bytes]) -> Callable[[Any], bytes] | None:
    """What gives the JSON of a field with a scalar, of which nothing but the source decides; None where more does.

    It raises where a value is not to be written so: the writer of the field finds out why.
    """
    call, takes_source, info_name = _call_of(position)
    declared = position.declared
    is_simple = takes_source and info_name is None and position.arguments.is_empty
    if not is_simple or declared is None or declared.is_async:
        return None
    is_nullable = position.is_nullable

    def text(source: Any) -> bytes:
        value = call(source)
        if value is None and is_nullable:
            return b"null"
        if type(value) is CoroutineType:
            value.close()
        return text_of(value)

    return text


def nullable_leaf(inner: Write, nodes: list[FieldNode]) -> Write:
    """The writer of a scalar or an enum that may be null; where it cannot be written, it is."""

    def write(value: Any, output: Output, execution: Execution, path: Path) -> None:
        if value is None:
            output.append(b"null")
            return
        try:
            inner(value, output, execution, path)
        except LimitExceededError:
            raise
        except Exception as error:  # noqa: BLE001 # whatever it is, the value failed
            if inspect.isawaitable(value):
                # Made anew: a function that referred to itself would be garbage in a cycle.
                late = Value(nodes, nullable_leaf(inner, nodes), is_nullable=True)
                execution.advance(_awaited(value), late, path, output)
            else:
                execution.fail(_cause(error, value), nodes, path, output)

    return write


def nullable(inner: Write, nodes: list[FieldNode]) -> Write:
    """The writer of a list or an object that may be null; where something fails in it, it is."""

    def write(value: Any, output: Output, execution: Execution, path: Path) -> None:
        if value is None:
            output.append(b"null")
            return
        own: Output = []
        output.append(own)
        boundary = NullableValue(path, own)
        try:
            inner(value, own, execution, boundary)
        except NullPropagation as propagation:
            if propagation.boundary is not boundary:
                raise
        except LimitExceededError:
            raise
        except Exception as error:  # noqa: BLE001 # whatever it is, the value failed
            if inspect.isawaitable(value):
                late = Value(nodes, nullable(inner, nodes), is_nullable=True)
                execution.advance(_awaited(value), late, path, own)
            else:
                with suppress(NullPropagation):
                    execution.propagate(_cause(error, value), nodes, boundary)

    return write


def non_null(inner: Write, nodes: list[FieldNode], field_name: str) -> Write:
    """The writer of a value that may not be null."""
    message = f"Cannot return null for non-nullable field {field_name}."

    def write(value: Any, output: Output, execution: Execution, path: Path) -> None:
        if value is None:
            execution.propagate(TypeError(message), nodes, path)
        try:
            inner(value, output, execution, path)
        except _PASSES:
            raise
        except Exception as error:  # noqa: BLE001 # whatever it is, the value failed
            if not inspect.isawaitable(value):
                execution.propagate(_cause(error, value), nodes, path)
            late = Value(nodes, non_null(inner, nodes, field_name), is_nullable=False)
            execution.advance(_awaited(value), late, path, output)

    return write


def _cause(error: Exception, value: Any) -> Exception:
    """Why a value failed: a resolver may give an exception for it."""
    return value if isinstance(value, Exception) else error


def fields(writers: Sequence[tuple[bytes, Write]]) -> Write:
    """The writer of an object's fields, each with the text that comes before its value."""

    def write(value: Any, output: Output, execution: Execution, path: Path) -> None:
        for label, write_field in writers:
            output.append(label)
            write_field(value, output, execution, path)
        output.append(b"}")

    return write


class ObjectWriter:
    """Writes an object by its class; for a class that is not known, graphql-core's way finds the type."""

    def __init__(self, writers: dict[type, Write], of_value: Callable[[Any, Execution], Write]) -> None:
        """`of_value` gives the writer of a value of another class, and raises GraphQLError where there is none."""
        self._writers = writers
        self._of_value = of_value

    def __call__(self, value: Any, output: Output, execution: Execution, path: Path) -> None:
        """Write an object. Raises GraphQLError for a value of another type."""
        chosen = self._writers.get(type(value))
        if chosen is None:
            if isinstance(value, Exception) or inspect.isawaitable(value):
                raise TypeError("no object")
            chosen = self._of_value(value, execution)
        chosen(value, output, execution, path)


def spending(work: float, inner: Write) -> Write:
    """The writer of an object whose work is not counted with that of a list."""

    def write(value: Any, output: Output, execution: Execution, path: Path) -> None:
        execution.budget.spend_now(work)
        inner(value, output, execution, path)

    return write


def shared(inner: Write) -> Write:
    """The writer of an object with resolvers: one that stands in several places of the answer is written once."""

    def write(value: Any, output: Output, execution: Execution, path: Path) -> None:
        key = id(value), inner
        found = execution.shared.get(key)
        if found is not None and (found.failure is not None or found.closed_at is None):
            output.append(found)
            if found.failure is not None:
                execution.failures.propagate(found.failure_at(path, found.failure))
            found.places.append(path)
            return
        found = execution.shared[key] = SharedObject(value, path)
        output.append(found)
        try:
            inner(value, found.output, execution, found)
        except NullPropagation as propagation:
            if propagation.boundary is not found or found.failure is None:
                raise
            found.is_writing = False
            execution.failures.propagate(found.failure_at(path, found.failure))
        found.is_writing = False

    return write
