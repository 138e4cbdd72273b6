"""Lists of objects, completed and encoded in one go, a function made once a selection.

graphql-core visits every field of every object, which takes most of an answer's time where a list is long. Where
the schema says that a field has no resolver of its own, that visit only reads an attribute; so a loop is compiled
that reads the attributes of all objects into rows, and the rows are encoded to JSON at once. Whatever is not plain
goes the ordinary way: fields with resolvers, interfaces, nested objects, a null where none may be. Both ways give
the same JSON; a property test holds them to it.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec
from graphql import (
    GraphQLField,
    GraphQLLeafType,
    GraphQLObjectType,
    get_nullable_type,
    is_enum_type,
    is_leaf_type,
    is_non_null_type,
)
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

from gateway.engine.errors import UnsupportedError
from gateway.engine.lazy_list import LazyObjectList

# Strawberry types these `str` and `bool`, and their serialisation leaves such values as they are.
_PLAIN_SCALARS = frozenset({"String", "ID", "Boolean"})


@dataclass(frozen=True, slots=True)
class Column:
    """One selected field: where it stands in the answer, the attributes it reads, and its scalar.

    A scalar of None means that values are left as they are. A `linked` column gets its values from a map that
    whoever asks for the rows hands in, by the attributes' values.
    """

    key: str
    attributes: tuple[str, ...]
    scalar: GraphQLLeafType | None = None
    non_null: bool = False
    linked: bool = False

    def is_mapped(self, translated: Collection[str]) -> bool:
        """Whether its values come from a map, where some attributes are translated."""
        return self.linked or self.scalar is not None or (bool(self.attributes) and self.attributes[0] in translated)


class _Cells(dict[Any, Any]):
    """What a column holds for each value of its attribute."""

    def __init__(self, column: Column, before: Mapping[Any, Any] | None) -> None:
        super().__init__()
        self._serialise = None if column.scalar is None else column.scalar.coerce_output_value
        self._before = before
        self._non_null = column.non_null
        # Other scalars may write equal values in several ways: 1 and true, or an instant with one offset or another.
        self._keeps = column.scalar is None or column.scalar.name == "Int" or is_enum_type(column.scalar)

    def __missing__(self, value: Any) -> Any:
        made = value if self._before is None else self._before[value]
        if made is None:
            if self._non_null:
                raise UnsupportedError
        elif self._serialise is not None:
            made = serialised(self._serialise, made)
        if self._keeps:
            self[value] = made
        return made


@dataclass(frozen=True, slots=True)
class Projection:
    """How the objects of one selection become rows; `make` gets the objects and a map for each mapped column."""

    origin: type | None
    mapped: tuple[Column, ...]
    make: Callable[..., list[msgspec.Struct]]
    identity: Hashable

    def rows(self, objects: Sequence[Any], links: Mapping[str, Mapping[Any, msgspec.Raw]]) -> list[msgspec.Struct]:
        """Raises UnsupportedError for what is out of place, and whatever reading and serialising raise.

        `links` are the maps of the linked columns by key.
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
            if column.linked:
                maps.append(links[column.key])
                continue
            before = translations.get(column.attributes[0])
            plain = before is not None and column.scalar is None and not column.non_null
            maps.append(before if before is not None and plain else _Cells(column, before))
        return self.make(items, *maps)

    def linked(self, objects: Sequence[Any]) -> Iterator[tuple[str, Iterable[Any]]]:
        """What each linked column reads of every object, by its key."""
        items = objects.items if isinstance(objects, LazyObjectList) else objects
        for column in self.mapped:
            if column.linked:
                yield column.key, map(attrgetter(*column.attributes), items) if column.attributes else [()] * len(items)


class Columns:
    """Tells which fields of a schema are columns: those that read a plain attribute."""

    def __init__(self, plain_scalars: Collection[str] = ()) -> None:
        """`plain_scalars` names custom scalars whose Python values leave as they are."""
        self._plain_scalars = _PLAIN_SCALARS.union(plain_scalars)
        self.encode = msgspec.json.Encoder().encode

    def column(self, key: str, object_type: GraphQLObjectType, name: str) -> Column | None:
        """The column of a field; None where it is not plain."""
        if name == "__typename":
            return Column(key, ())
        field = object_type.fields.get(name)
        if field is None:
            return None
        attribute = plain_attribute(field)
        scalar = get_nullable_type(field.type)
        if attribute is None or not is_leaf_type(scalar):
            return None
        return Column(key, (attribute,), self.scalar(scalar), non_null=is_non_null_type(field.type))

    def scalar(self, leaf: GraphQLLeafType) -> GraphQLLeafType | None:
        """The scalar, or None where Python values of it leave as they are."""
        return None if leaf.name in self._plain_scalars else leaf


def declared_field(field: GraphQLField) -> StrawberryField | None:
    """The Strawberry field behind a field of the core schema, unless extensions wrap it."""
    declared = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    if not isinstance(declared, StrawberryField) or declared.extensions or declared.permission_classes:
        return None
    return declared


def plain_attribute(field: GraphQLField) -> str | None:
    """The attribute that a field without a resolver reads."""
    declared = declared_field(field)
    return declared.python_name if declared is not None and declared.is_basic_field else None


def origin_of(object_type: GraphQLObjectType) -> type | None:
    """The class of a type's objects; None where the class alone does not tell."""
    definition = object_type.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    if definition is None or definition.is_type_of is not None:
        return None
    origin: type = definition.origin
    return origin


def serialised(serialise: Callable[[Any], Any], value: Any) -> Any:
    """What a scalar makes of a value. Raises UnsupportedError where that is null, which graphql-core does not allow."""
    made = serialise(value)
    if made is None:
        raise UnsupportedError
    return made


def projection(object_type: GraphQLObjectType, columns: Sequence[Column], translated: Collection[str]) -> Projection:
    """Compile the loop over the objects; names in it are ours or checked GraphQL and Python names."""
    cells, maps, holes = [], [], []
    for number, column in enumerate(columns):
        values = ", ".join(f"one.{attribute}" for attribute in column.attributes)
        if column.is_mapped(translated):
            maps.append(f"map{number}")
            cells.append(f"map{number}[{values or '()'}]")
            continue
        cells.append(values or repr(object_type.name))
        if column.non_null:
            holes.append(f"    if None in [{values} for one in items]: raise UnsupportedError\n")
    source = (
        f"def make({', '.join(['items', *maps])}):\n{''.join(holes)}"
        f"    return [Row({', '.join(cells)}) for one in items]\n"
    )
    names = [f"cell{number}" for number in range(len(columns))]
    row = msgspec.defstruct(
        "Row", names, rename=dict(zip(names, (column.key for column in columns), strict=True)), gc=False
    )
    namespace: dict[str, Any] = {"Row": row, "UnsupportedError": UnsupportedError}
    exec(source, namespace)  # noqa: S102 # one loop a selection, made of names that the schema and the parser checked
    mapped = tuple(column for column in columns if column.is_mapped(translated))
    identity = (object_type.name, tuple((column.key, column.attributes) for column in columns))
    return Projection(origin_of(object_type), mapped, namespace["make"], identity)
