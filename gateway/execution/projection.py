"""Lists of objects, completed and encoded in one go, a function made once a selection.

graphql-core visits every field of every object, which takes most of an answer's time where a list is long. Where
the schema says that a field has no resolver of its own, that visit only reads an attribute; so a loop is compiled
that reads the attributes of all objects into rows, and the rows are encoded to JSON at once. Whatever is not plain
goes the ordinary way: fields with resolvers, interfaces, nested objects, a null where none may be. Both ways give
the same JSON; a property test holds them to it.
"""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson
from graphql import (
    GraphQLError,
    GraphQLField,
    GraphQLLeafType,
    GraphQLObjectType,
    get_nullable_type,
    is_leaf_type,
    is_non_null_type,
    is_object_type,
)
from graphql.execution import Executor
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

from gateway.schema.compact import CompactList

_MOST_SELECTIONS = 512
# Strawberry types these `str` and `bool`, and their serialisation leaves such values as they are.
_PLAIN_SCALARS = frozenset({"String", "ID", "Boolean"})


class NotPlainError(Exception):
    """Something needs the ordinary way after all."""


class _Serialised(dict[Any, Any]):
    """What a scalar makes of each value, found out once a value."""

    def __init__(self, leaf: GraphQLLeafType, before: Mapping[Any, Any] | None) -> None:
        super().__init__({None: None})
        self._serialise = leaf.coerce_output_value
        self._before = before

    def __missing__(self, value: Any) -> Any:
        translated = value if self._before is None else self._before[value]
        made = self[value] = None if translated is None else self._serialise(translated)
        return made


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


@dataclass(frozen=True, slots=True)
class Projection:
    """How the objects of one selection become rows; `make` gets the objects and a map for each mapped column."""

    columns: tuple[Column, ...]
    make: Callable[..., list[msgspec.Struct]]
    identity: Hashable = None

    def rows(
        self,
        items: Sequence[Any],
        translations: Mapping[str, Mapping[Any, Any]],
        links: Mapping[str, Mapping[Any, msgspec.Raw]] | None = None,
    ) -> list[msgspec.Struct]:
        """Raises NotPlainError for a null where none may be, and whatever reading and serialising raise.

        `links` are the maps of the linked columns by key.
        """
        maps: list[Mapping[Any, Any]] = []
        for column in self.columns:
            before = None if column.linked or not column.attributes else translations.get(column.attributes[0])
            if column.linked and links is not None:
                maps.append(links[column.key])
            elif column.scalar is not None:
                maps.append(_Serialised(column.scalar, before))
            elif before is not None:
                maps.append(before)
            if before is not None and column.non_null and None in before.values():
                raise NotPlainError
        return self.make(items, *maps)


class Projector:
    """Makes and keeps the projections, one a selection; bounded, the oldest goes first."""

    def __init__(self, plain_scalars: Collection[str] = ()) -> None:
        """`plain_scalars` names custom scalars whose Python values leave as they are."""
        self._plain_scalars = _PLAIN_SCALARS.union(plain_scalars)
        self._made: dict[Hashable, Projection | None] = {}
        self.encode = msgspec.json.Encoder().encode

    def project(
        self, object_type: GraphQLObjectType, fields: Mapping[str, str], objects: Sequence[Any]
    ) -> orjson.Fragment | None:
        """The JSON of a list; None where it has to go the ordinary way. `fields` are names by response key."""
        items = objects.items if isinstance(objects, CompactList) else objects
        translations = objects.translations if isinstance(objects, CompactList) else {}
        selection = (object_type.name, tuple(fields.items()), tuple(translations))
        if selection not in self._made:
            if len(self._made) >= _MOST_SELECTIONS:
                del self._made[next(iter(self._made))]
            columns = [self.column(key, object_type, name) for key, name in fields.items()]
            plain = [column for column in columns if column is not None]
            whole = len(plain) == len(columns)
            self._made[selection] = projection(object_type.name, plain, tuple(translations)) if whole else None
        made = self._made[selection]
        if made is None:
            return None
        try:
            return orjson.Fragment(self.encode(made.rows(items, translations)))
        except (NotPlainError, GraphQLError, AttributeError, LookupError, TypeError, ValueError):
            # Something is wrong with an object; the ordinary way says what, and where.
            return None

    def __len__(self) -> int:
        return len(self._made)

    def column(self, key: str, object_type: GraphQLObjectType, name: str) -> Column | None:
        """The column of a field; None where it is not plain."""
        if name == "__typename":
            return Column(key, ())
        field = object_type.fields[name]
        attribute = plain_attribute(field)
        scalar = get_nullable_type(field.type)
        if attribute is None or not is_leaf_type(scalar):
            return None
        return Column(key, (attribute,), self.scalar(scalar), non_null=is_non_null_type(field.type))

    def scalar(self, leaf: GraphQLLeafType) -> GraphQLLeafType | None:
        """The scalar, or None where Python values of it leave as they are."""
        return None if leaf.name in self._plain_scalars else leaf

    def executor(self) -> type[Executor[Any]]:
        """The executor class that completes lists so."""
        project = self.project

        class ProjectingExecutor(Executor[Any]):
            def complete_list_value(  # noqa: PLR0917 # graphql-core's own signature
                self, return_type: Any, details: Any, info: Any, path: Any, result: Any, position_context: Any
            ) -> Any:
                item_type = get_nullable_type(return_type.of_type)
                if is_object_type(item_type) and isinstance(result, CompactList | list):
                    grouped = self.collect_subfields(item_type, details).grouped_field_set
                    fields = {key: each[0].node.name.value for key, each in grouped.items()}
                    made = project(item_type, fields, result)
                    if made is not None:
                        return made
                return super().complete_list_value(return_type, details, info, path, result, position_context)

        return ProjectingExecutor


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


def projection(type_name: str, columns: Sequence[Column], translated: tuple[str, ...]) -> Projection:
    """Compile the loop over the objects; names in it are ours or checked GraphQL and Python names."""
    cells, maps, holes = [], [], []
    for number, column in enumerate(columns):
        values = ", ".join(f"one.{attribute}" for attribute in column.attributes)
        plain = not column.linked
        cell = repr(type_name) if plain and not column.attributes else values
        if column.linked or column.scalar is not None or (column.attributes and column.attributes[0] in translated):
            maps.append(f"map{number}")
            cell = f"map{number}[{values or '()'}]"
        elif column.non_null:
            holes.append(f"    if None in [{values} for one in items]: raise NotPlainError\n")
        if plain and column.non_null and column.scalar is not None and column.attributes[0] not in translated:
            holes.append(f"    if None in [{values} for one in items]: raise NotPlainError\n")
        cells.append(cell)
    source = (
        f"def make({', '.join(['items', *maps])}):\n{''.join(holes)}"
        f"    return [Row({', '.join(cells)}) for one in items]\n"
    )
    names = [f"cell{number}" for number in range(len(columns))]
    row = msgspec.defstruct(
        "Row", names, rename=dict(zip(names, (column.key for column in columns), strict=True)), gc=False
    )
    namespace: dict[str, Any] = {"Row": row, "NotPlainError": NotPlainError}
    exec(source, namespace)  # noqa: S102 # one loop a selection, made of names that the schema and the parser checked
    identity = (type_name, tuple((column.key, column.attributes) for column in columns))
    return Projection(tuple(columns), namespace["make"], identity)
