"""The output of an execution: the bytes of its answer in order, with placeholders for values still awaited.

graphql-core visits every field of every object, which takes most of an answer's time where a list is long. Where the
schema says that a field has no resolver, that visit only reads an attribute; so a loop is compiled that reads the
attributes of all objects into rows, and msgspec encodes the rows. Lists with any other field are written item by item.
Both ways give the same JSON, which a property test compares.
"""

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeAlias

import msgspec
from graphql import GraphQLLeafType, is_enum_type

from gateway.engine.errors import AnswerTooLargeError, UnsupportedError
from gateway.engine.lazy_list import LazyObjectList, ObjectList

Output: TypeAlias = "list[bytes | DeferredRows | Output]"
# Pieces below this many bytes are joined: copying them costs less than sending each by itself.
_MIN_PIECE_BYTES = 64 * 1024
encode = msgspec.json.Encoder().encode


class SizeBudget:
    """The bytes that an answer may still take; what is written for rows to copy counts by itself too."""

    __slots__ = ("left",)

    def __init__(self, max_bytes: int) -> None:
        self.left = max_bytes

    def spend(self, size: int) -> None:
        """Raises AnswerTooLargeError."""
        self.left -= size
        if self.left < 0:
            raise AnswerTooLargeError


@dataclass(frozen=True, slots=True)
class Column:
    """One selected field: its key in the answer, the attributes it reads, and its scalar.

    A scalar of None means that values are encoded as they are. The values of a column that `is_resolved` were written
    by its resolver, once for each combination of the attributes' values.
    """

    key: str
    attributes: tuple[str, ...]
    scalar: GraphQLLeafType | None = None
    non_null: bool = False
    is_resolved: bool = False

    def reader(self) -> Callable[[Any], Any]:
        """What reads the attributes of an object: one as it is, several as a tuple, none as the empty tuple."""
        return attrgetter(*self.attributes) if self.attributes else lambda _: ()


class _Cells(dict[Any, Any]):
    """The cells of a column by the value of its attribute, made when one is looked up."""

    def __init__(self, column: Column, translation: Mapping[Any, Any] | None) -> None:
        super().__init__()
        self._serialise = None if column.scalar is None else column.scalar.coerce_output_value
        self._translation = translation
        self._non_null = column.non_null
        # Other scalars may write equal values in several ways: 1 and true, or an instant with one offset or another.
        self._caches = column.scalar is None or column.scalar.name == "Int" or is_enum_type(column.scalar)

    def __missing__(self, value: Any) -> Any:
        cell = value if self._translation is None else self._translation[value]
        if cell is None:
            if self._non_null:
                raise UnsupportedError
        elif self._serialise is not None:
            cell = serialised(self._serialise, cell)
        if self._caches:
            self[value] = cell
        return cell


@dataclass(frozen=True, slots=True)
class Projection:
    """How the objects of one selection become rows; `make` gets the objects and a map for each mapped column."""

    origin: type | None
    mapped: tuple[Column, ...]
    make: Callable[..., list[msgspec.Struct]]
    identity: Hashable

    def rows(self, objects: Sequence[Any], resolved: Mapping[str, Mapping[Any, msgspec.Raw]]) -> list[msgspec.Struct]:
        """The rows; `resolved` are the cells of resolved columns, by key and by the attributes' values.

        Raises UnsupportedError for an object of another type, and whatever reading and serialising raise.
        """
        if isinstance(objects, LazyObjectList):
            items, translations = objects.items, objects.translations
        else:
            items, translations = objects, {}
            # A null, an exception or another type's object may have all the attributes that a selection reads.
            if not {self.origin}.issuperset(map(type, items)):
                raise UnsupportedError
        maps: list[Mapping[Any, Any]] = []
        for column in self.mapped:
            if column.is_resolved:
                maps.append(resolved[column.key])
                continue
            translation = translations.get(column.attributes[0])
            if translation is not None and column.scalar is None and not column.non_null:
                maps.append(translation)
            else:
                maps.append(_Cells(column, translation))
        return self.make(items, *maps)

    def encoded(self, objects: Sequence[Any]) -> bytes:
        """The JSON array of objects without resolved columns, from the list's cache where it has one.

        Raises what `rows` raises.
        """
        if not isinstance(objects, LazyObjectList | ObjectList) or objects.fragments is None:
            return encode(self.rows(objects, {}))
        key = (self.identity, objects.part)
        cached = objects.fragments.get(key)
        if cached is None:
            cached = encode(self.rows(objects, {}))
            objects.fragments.keep(key, cached)
        return cached


@dataclass(frozen=True, slots=True, eq=False)
class DeferredRows:
    """A list with resolved columns, encoded when all resolvers of the answer have returned.

    `outputs` are the cells of resolved columns, by key and by the attributes' values.
    """

    projection: Projection
    objects: Sequence[Any]
    outputs: Mapping[str, Mapping[Any, Output]]

    def encoded(self, budget: SizeBudget) -> bytes:
        """The JSON array. Raises what `Projection.rows` raises, and AnswerTooLargeError."""
        texts = {
            key: {value: msgspec.Raw(joined(output, budget)) for value, output in outputs.items()}
            for key, outputs in self.outputs.items()
        }
        self._check_size(texts, budget)
        return encode(self.projection.rows(self.objects, texts))

    def _check_size(self, texts: Mapping[str, Mapping[Any, msgspec.Raw]], budget: SizeBudget) -> None:
        """Raises AnswerTooLargeError: what a resolver gives is written once, and copied into every row."""
        longest = sum(max(map(len, each.values()), default=0) for each in texts.values())
        if len(self.objects) * longest <= budget.left:
            return
        items = self.objects.items if isinstance(self.objects, LazyObjectList) else self.objects
        size = sum(
            len(texts[column.key][value]) * count
            for column in self.projection.mapped
            if column.is_resolved
            for value, count in Counter(map(column.reader(), items)).items()
        )
        if size > budget.left:
            raise AnswerTooLargeError


def projection(
    type_name: str, origin: type | None, columns: Sequence[Column], translated: Collection[str]
) -> Projection:
    """Compile the loop over the objects of a class; the names in its source are checked GraphQL and Python names.

    `translated` are the attributes that the list's items have translations for.
    """
    cells: list[str] = []
    mapped: dict[str, Column] = {}
    null_checks: list[str] = []
    for number, column in enumerate(columns):
        values = ", ".join(f"one.{attribute}" for attribute in column.attributes)
        if column.is_resolved or column.scalar is not None or not set(column.attributes).isdisjoint(translated):
            mapped[f"map{number}"] = column
            cells.append(f"map{number}[{values or '()'}]")
            continue
        cells.append(values or repr(type_name))
        if column.non_null:
            null_checks.append(f"    if None in [{values} for one in items]: raise UnsupportedError\n")
    source = (
        f"def make({', '.join(['items', *mapped])}):\n{''.join(null_checks)}"
        f"    return [Row({', '.join(cells)}) for one in items]\n"
    )
    keys = {f"cell{number}": column.key for number, column in enumerate(columns)}
    row = msgspec.defstruct("Row", keys, rename=keys, gc=False)
    namespace: dict[str, Any] = {"Row": row, "UnsupportedError": UnsupportedError}
    exec(source, namespace)  # noqa: S102 # one loop a selection, made of names that the schema and the parser checked
    identity = (type_name, tuple((column.key, column.attributes) for column in columns))
    return Projection(origin, tuple(mapped.values()), namespace["make"], identity)


def serialised(serialise: Callable[[Any], Any], value: Any) -> Any:
    """A scalar's output of a value. Raises UnsupportedError where that is null, which graphql-core does not allow."""
    output = serialise(value)
    if output is None:
        raise UnsupportedError
    return output


def joined(output: Output, budget: SizeBudget) -> bytes:
    """A complete output as one text. Raises AnswerTooLargeError."""
    text = b"".join(_flattened(output, budget))
    budget.spend(len(text))
    return text


def pieces(output: Output, budget: SizeBudget) -> list[bytes]:
    """A complete output in pieces of a size to send; large ones are not copied again. Raises AnswerTooLargeError."""
    found: list[bytes] = []
    small: list[bytes] = []
    size = 0
    for piece in _flattened(output, budget):
        if len(piece) >= _MIN_PIECE_BYTES:
            budget.spend(len(piece))
            found += (b"".join(small), piece) if small else (piece,)
            small, size = [], 0
            continue
        small.append(piece)
        size += len(piece)
        if size >= _MIN_PIECE_BYTES:
            budget.spend(size)
            found.append(b"".join(small))
            small, size = [], 0
    return [*found, b"".join(small)] if small else found


def _flattened(output: Output, budget: SizeBudget) -> Iterator[bytes]:
    for piece in output:
        if type(piece) is bytes:
            yield piece
        elif isinstance(piece, DeferredRows):
            yield piece.encoded(budget)
        elif isinstance(piece, list):
            yield from _flattened(piece, budget)
