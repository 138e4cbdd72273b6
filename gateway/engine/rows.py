"""Lists of objects as rows, which are encoded in one go by a loop that is compiled for each selection.

graphql-core visits every field of every object, which takes most of an answer's time where a list is long. Where the
schema says that a field has no resolver, that visit only reads an attribute; so a loop is compiled that reads the
attributes of all objects into rows, and msgspec encodes the rows. Lists with any other field are written item by item.
Both ways give the same JSON, which a property test compares.
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
from gateway.engine.lazy_list import DEPENDS_ONLY_ON, LazyObjectList

# Strawberry types these `str` and `bool`, and their serialisation leaves such values as they are.
_PLAIN_SCALARS = frozenset({"String", "ID", "Boolean"})


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

    def is_mapped(self, translated: Collection[str]) -> bool:
        """Whether its cells are looked up by the attributes' values; `translated` are the list's translations."""
        return (
            self.is_resolved or self.scalar is not None or (bool(self.attributes) and self.attributes[0] in translated)
        )

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

    def resolved_values(self, objects: Sequence[Any]) -> Iterator[tuple[str, Iterable[Any]]]:
        """The attributes' values of every object that each resolved column reads, by its key."""
        items = objects.items if isinstance(objects, LazyObjectList) else objects
        for column in self.mapped:
            if column.is_resolved:
                yield column.key, map(column.reader(), items)


class Columns:
    """Tells which fields of a schema are columns: those without a resolver, and those that share its values."""

    def __init__(self, plain_scalars: Collection[str] = ()) -> None:
        """`plain_scalars` names custom scalars whose Python values are encoded as they are."""
        self._plain_scalars = _PLAIN_SCALARS.union(plain_scalars)
        self.encode = msgspec.json.Encoder().encode

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


def serialised(serialise: Callable[[Any], Any], value: Any) -> Any:
    """A scalar's output of a value. Raises UnsupportedError where that is null, which graphql-core does not allow."""
    output = serialise(value)
    if output is None:
        raise UnsupportedError
    return output


def projection(object_type: GraphQLObjectType, columns: Sequence[Column], translated: Collection[str]) -> Projection:
    """Compile the loop over the objects; the names in its source are ours, or checked GraphQL and Python names."""
    cells, maps, null_checks = [], [], []
    for number, column in enumerate(columns):
        values = ", ".join(f"one.{attribute}" for attribute in column.attributes)
        if column.is_mapped(translated):
            maps.append(f"map{number}")
            cells.append(f"map{number}[{values or '()'}]")
            continue
        cells.append(values or repr(object_type.name))
        if column.non_null:
            null_checks.append(f"    if None in [{values} for one in items]: raise UnsupportedError\n")
    source = (
        f"def make({', '.join(['items', *maps])}):\n{''.join(null_checks)}"
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
