"""Lists that are encoded as rows: what is selected of their objects is attributes, and values that attributes decide.

graphql-core visits every field of every object, which takes most of an answer's time where a list is long. Where the
schema says that a field has no resolver, that visit only reads an attribute; so a loop is compiled that reads the
attributes of all objects into rows, and msgspec encodes the rows. Where a value is not what the schema promises, the
list is written item by item instead, which finds the items that fail.
"""

from collections.abc import Callable, Collection, Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import repeat
from operator import attrgetter
from typing import Any, TypeAlias, cast

import msgspec
from graphql import GraphQLLeafType, is_enum_type

from gateway.engine.budget import CELL_WORK, COMPUTED_WORK, ROW_WORK, Budget
from gateway.engine.lazy_list import LazyObjectList, ObjectList, bytes_of_key
from gateway.engine.paths import Output


def _plain(value: Any) -> str | int | float:
    """The value of a subclass, which graphql-core's executor hands out as it is. Raises TypeError for anything else."""
    if isinstance(value, str):
        # What the subclass says for people is not its value.
        return str.__str__(value)
    if isinstance(value, int):
        return int.__pos__(value)
    if isinstance(value, float):
        return float.__pos__(value)
    raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)
encode = _ENCODER.encode
_COMMA = ord(",")
# What the name of a part of a list takes beside the identity of a projection.
_PART_BYTES = 120
_KEEPING = (LazyObjectList, ObjectList)
SHORT = 2_000
"""Lists up to this length are encoded at once: what was just decoded is still in the processor's cache."""
# To compile a loop takes as long as it saves for some thousands of rows.
_ROWS_OF_DICTS = 2_000
# The rows of one step; the first ones tell how many bytes a row takes.
_FIRST_CHUNK = 500
_CHUNK_BYTES = 2_000_000
_MAX_CHUNK = 20_000
# Rows are read, made and encoded, which takes several times as long as to copy their bytes.
_BYTES_PER_WORK = 300


def _is_written(_: object) -> None:
    raise TypeError("the list is written already")


class UnexpectedValueError(Exception):
    """A value in a list is not what the schema promises, so the list has to be written item by item."""


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
                raise UnexpectedValueError
        elif self._serialise is not None:
            cell = self._serialise(cell)
            if cell is None:
                raise UnexpectedValueError
        if self._caches:
            self[value] = cell
        return cell


@dataclass(slots=True)
class RowClasses:
    """Counts the classes that were made for rows: only the garbage collector frees one."""

    made: int = 0


class Projection:
    """How the objects of one selection become rows.

    The first ones become dicts. When there were some more, a loop is compiled that makes them of a class of their own,
    which is faster; most documents that never come again do not get that far.
    """

    __slots__ = (
        "_classes",
        "_columns",
        "_loop",
        "_number",
        "_type_name",
        "identity",
        "identity_bytes",
        "mapped",
        "row_work",
    )

    def __init__(
        self,
        type_name: str,
        columns: Sequence[Column],
        translated: Collection[str],
        computed: Collection[str],
        classes: RowClasses,
    ) -> None:
        """`translated` are the attributes that the list has translations for, `computed` those it computes of items."""
        self._type_name = type_name
        self._classes = classes
        self._number = 0
        self._loop: Callable[..., list[msgspec.Struct]] | None = None
        self._columns = [(each, _way_of(each, translated, computed)) for each in columns]
        self.mapped = tuple(column for column, way in self._columns if way is not _Way.AS_IS)
        number_computed = sum(way is _Way.COMPUTED for _, way in self._columns)
        self.row_work = ROW_WORK + CELL_WORK * len(columns) + COMPUTED_WORK * number_computed
        self.identity: Hashable = type_name, tuple((str(column.key), column.attributes) for column in columns)
        self.identity_bytes = bytes_of_key(self.identity) + _PART_BYTES

    def sources(self, objects: Sequence[Any], resolved: Mapping[str, Mapping[Any, msgspec.Raw]]) -> "list[_Source]":
        """What gives the cells of mapped columns: a map from the attribute's value, or a function of the item.

        `resolved` are the cells of resolved ones, by key and by attributes' values.
        """
        is_lazy = isinstance(objects, LazyObjectList)
        translations = objects.translations if is_lazy else {}  # type: ignore[attr-defined] # of that type
        sources: list[_Source] = []
        for column in self.mapped:
            if column.is_resolved:
                sources.append(resolved[column.key])
                continue
            name = column.attributes[0]
            compute = objects.computed.get(name) if is_lazy else None  # type: ignore[attr-defined] # as before
            translation = translations.get(name)
            if compute is not None:
                sources.append(compute)
            elif translation is not None and column.scalar is None and not column.non_null:
                sources.append(translation)
            else:
                sources.append(_Cells(column, translation))
        return sources

    def make(self, items: Sequence[Any], sources: "Sequence[_Source]") -> Sequence[Any]:
        """The rows of objects. Raises UnexpectedValueError, and what serialising raises."""
        if self._loop is None:
            self._number += len(items)
            if self._number <= _ROWS_OF_DICTS:
                return self._dicts(items, iter(sources))
            self._loop = _compiled(self._type_name, self._columns)
            self._classes.made += 1
        return self._loop(items, *sources)

    def _dicts(self, items: Sequence[Any], sources: "Iterator[_Source]") -> list[dict[str, Any]]:
        cells: list[Iterable[Any]] = []
        for column, way in self._columns:
            if way is not _Way.AS_IS:
                source = next(sources)
                if isinstance(source, Mapping):
                    cells.append(map(source.__getitem__, map(column.reader(), items)))
                else:
                    cells.append(map(source, items))
            elif not column.attributes:
                cells.append(repeat(self._type_name, len(items)))
            else:
                values = list(map(column.reader(), items))
                if column.non_null and None in values:
                    raise UnexpectedValueError
                cells.append(values)
        keys = [str(column.key) for column, _ in self._columns]
        if not keys:
            return [{} for _ in items]
        return [dict(zip(keys, row, strict=True)) for row in zip(*cells, strict=True)]


class _Way(Enum):
    """How the cells of a column come about: as the attribute is, mapped from its value, or computed of the item."""

    AS_IS = auto()
    MAPPED = auto()
    COMPUTED = auto()


_Source: TypeAlias = Mapping[Any, Any] | Callable[[Any], Any]


def _way_of(column: Column, translated: Collection[str], computed: Collection[str]) -> _Way:
    if not column.is_resolved and not set(column.attributes).isdisjoint(computed):
        if column.scalar is not None:
            raise TypeError(f"{column.key} is computed, and so cannot be a {column.scalar.name}")
        return _Way.COMPUTED
    is_mapped = column.is_resolved or column.scalar is not None or not set(column.attributes).isdisjoint(translated)
    return _Way.MAPPED if is_mapped else _Way.AS_IS


def _compiled(type_name: str, columns: Sequence[tuple[Column, _Way]]) -> Callable[..., list[msgspec.Struct]]:
    """Compile the loop over the objects of a list; the names in its source are checked GraphQL and Python names."""
    cells: list[str] = []
    sources: list[str] = []
    null_checks: list[str] = []
    for number, (column, way) in enumerate(columns):
        values = ", ".join(f"one.{attribute}" for attribute in column.attributes)
        if way is not _Way.AS_IS:
            sources.append(f"source{number}")
            cells.append(f"source{number}(one)" if way is _Way.COMPUTED else f"source{number}[{values or '()'}]")
            continue
        cells.append(values or repr(type_name))
        if column.non_null:
            null_checks.append(f"    if None in [{values} for one in items]: raise UnexpectedValueError\n")
    source = (
        f"def make({', '.join(['items', *sources])}):\n{''.join(null_checks)}"
        f"    return [Row({', '.join(cells)}) for one in items]\n"
    )
    keys = {f"cell{number}": str(column.key) for number, (column, _) in enumerate(columns)}
    row = msgspec.defstruct("Row", keys, rename=keys, gc=False)
    namespace: dict[str, Any] = {"Row": row, "UnexpectedValueError": UnexpectedValueError}
    exec(source, namespace)  # noqa: S102 # one loop a selection, made of names that the schema and the parser checked
    # Left in its own globals, the function would be garbage in a cycle.
    made: Callable[..., list[msgspec.Struct]] = namespace.pop("make")
    return made


@dataclass(slots=True, eq=False)
class Rows:
    """A list to be encoded when all resolvers of the answer have returned.

    `outputs` are the cells of resolved columns, by key and by the attributes' values, `counted` the number of its
    objects, if these are counted. `text` is the JSON array, once it is made. Where encoding fails, `written_anew` is
    what `write_anew` wrote item by item.
    """

    projection: Projection
    objects: Sequence[Any]
    outputs: Mapping[str, Mapping[Any, Output | bytes]]
    counted: int
    write_anew: Callable[["Rows"], None]
    written_anew: Output | None = None
    text: bytes | None = None

    @property
    def items(self) -> Sequence[Any]:
        """What the rows are made of."""
        return self.objects.items if isinstance(self.objects, LazyObjectList) else self.objects

    def encode(self, resolved: Mapping[str, Mapping[Any, msgspec.Raw]]) -> Iterator[int]:
        """Make the text in steps, and say after each how many bytes there are so far.

        Raises UnexpectedValueError, and what serialising raises.
        """
        sources, items = self.projection.sources(self.objects, resolved), self.items
        if len(items) <= SHORT:
            self.text = encode(self.projection.make(items, sources))
            yield len(self.text)
        else:
            yield from self._encode_in_chunks(items, sources)
        if not self.outputs and self.text is not None:
            keep(self.projection, self.objects, self.text)

    def _encode_in_chunks(self, items: Sequence[Any], sources: Sequence[_Source]) -> Iterator[int]:
        text = bytearray()
        start, size = 0, _FIRST_CHUNK
        while start < len(items):
            end = max(0, len(text) - 1)
            _ENCODER.encode_into(self.projection.make(items[start : start + size], sources), text, end)
            if end:
                # The arrays of two chunks become one.
                text[end] = _COMMA
            start += size
            yield len(text)
            size = max(1, min(_MAX_CHUNK, 4 * size, _CHUNK_BYTES * start // len(text)))
        # Whatever takes bytes takes these too, and a copy would cost page faults.
        self.text = cast("bytes", text)


def encoded_in_steps(
    rows: Rows, resolved: Mapping[str, Mapping[Any, msgspec.Raw]], budget: Budget
) -> Generator[None, None, bytes]:
    """Make the text of rows, and yield whenever the step is over.

    Raises LimitExceededError, and what `Rows.encode` raises.
    """
    before = 0
    for size in rows.encode(resolved):
        budget.check_size(size)
        budget.step -= (size - before) / _BYTES_PER_WORK
        before = size
        if budget.is_step_over:
            yield
    # What wrote the list refers to the output that the list is in.
    rows.write_anew = _is_written
    if rows.text is None:
        raise TypeError("the rows have no text")
    return rows.text


def encoded_at_once(projection: Projection, objects: Sequence[Any]) -> bytes:
    """The JSON array of a short list without resolved columns. Raises what `Rows.encode` raises."""
    items = objects.items if isinstance(objects, LazyObjectList) else objects
    text = encode(projection.make(items, projection.sources(objects, {})))
    keep(projection, objects, text)
    return text


def cached(projection: Projection, objects: Sequence[Any]) -> bytes | None:
    """The JSON array of a list without resolved columns, where the list has kept it."""
    fragments = objects.fragments if type(objects) in _KEEPING else None  # type: ignore[attr-defined] # of these types
    return None if fragments is None else fragments.get((projection.identity, objects.part))  # type: ignore[attr-defined] # as before


def keep(projection: Projection, objects: Sequence[Any], text: bytes) -> None:
    """Let a list keep its JSON array."""
    if isinstance(objects, (LazyObjectList, ObjectList)) and objects.fragments is not None:
        objects.fragments.keep((projection.identity, objects.part), text, projection.identity_bytes)
