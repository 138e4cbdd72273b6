"""Lists of objects whose selected fields are all plain attributes, completed and encoded in one go.

graphql-core visits every field of every object, which takes most of an answer's time where a list is long. Where
the schema says that a field has no resolver of its own, that visit only reads an attribute. So for such a selection
a function is made once that reads the attributes of all objects into rows, and the rows are encoded to JSON at
once. Whatever is not plain goes the ordinary way: fields with resolvers, interfaces, nested objects, a null where
none may be. Both ways give the same JSON; a property test holds them to it.
"""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson
from graphql import (
    GraphQLError,
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
    """A list needs the ordinary way after all."""


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
class _Column:
    """One selected field: where it stands in the answer, the attribute it reads, and its scalar.

    A scalar of None means that values are left as they are; a column without attribute is `__typename`.
    """

    key: str
    attribute: str | None
    scalar: GraphQLLeafType | None
    non_null: bool


@dataclass(frozen=True, slots=True)
class _Projection:
    """How the objects of one selection become rows; `make` gets the objects and a map for each mapped column."""

    columns: tuple[_Column, ...]
    make: Callable[..., list[msgspec.Struct]]

    def rows(self, items: Sequence[Any], translations: Mapping[str, Mapping[Any, Any]]) -> list[msgspec.Struct]:
        """Raises NotPlainError for a null where none may be, and whatever reading and serialising raise."""
        maps: list[Mapping[Any, Any]] = []
        for column in self.columns:
            before = translations.get(column.attribute or "")
            if before is not None and column.non_null and None in before.values():
                raise NotPlainError
            if column.scalar is not None:
                maps.append(_Serialised(column.scalar, before))
            elif before is not None:
                maps.append(before)
        return self.make(items, *maps)


class Projector:
    """Makes and keeps the projections, one a selection; bounded, the oldest goes first."""

    def __init__(self, plain_scalars: Collection[str] = ()) -> None:
        """`plain_scalars` names custom scalars whose Python values leave as they are."""
        self._plain_scalars = _PLAIN_SCALARS.union(plain_scalars)
        self._made: dict[Hashable, _Projection | None] = {}
        self._encode = msgspec.json.Encoder().encode

    def project(
        self, object_type: GraphQLObjectType, fields: Mapping[str, str], objects: Sequence[Any]
    ) -> orjson.Fragment | None:
        """The JSON of a list; None where it has to go the ordinary way. `fields` are names by response key."""
        items = objects.items if isinstance(objects, CompactList) else objects
        translations = objects.translations if isinstance(objects, CompactList) else {}
        projection = self._projection(object_type, fields, tuple(translations))
        if projection is None:
            return None
        try:
            return orjson.Fragment(self._encode(projection.rows(items, translations)))
        except (NotPlainError, GraphQLError, AttributeError, LookupError, TypeError, ValueError):
            # Something is wrong with an object; the ordinary way says what, and where.
            return None

    def __len__(self) -> int:
        return len(self._made)

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

    def _projection(
        self, object_type: GraphQLObjectType, fields: Mapping[str, str], translated: tuple[str, ...]
    ) -> _Projection | None:
        selection = (object_type.name, tuple(fields.items()), translated)
        if selection not in self._made:
            if len(self._made) >= _MOST_SELECTIONS:
                del self._made[next(iter(self._made))]
            columns = [self._column(key, object_type, name) for key, name in fields.items()]
            plain = [column for column in columns if column is not None]
            whole = len(plain) == len(columns)
            self._made[selection] = _compiled(object_type.name, tuple(plain), translated) if whole else None
        return self._made[selection]

    def _column(self, key: str, object_type: GraphQLObjectType, name: str) -> _Column | None:
        """The column of a field; None where it is not plain."""
        if name == "__typename":
            return _Column(key, None, None, non_null=False)
        field = object_type.fields[name]
        declared = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
        scalar = get_nullable_type(field.type)
        if not isinstance(declared, StrawberryField) or not declared.is_basic_field or declared.extensions:
            return None
        if not is_leaf_type(scalar):
            return None
        kept = None if scalar.name in self._plain_scalars else scalar
        return _Column(key, declared.python_name, kept, non_null=is_non_null_type(field.type))


def _compiled(type_name: str, columns: tuple[_Column, ...], translated: tuple[str, ...]) -> _Projection:
    """Compile the loop over the objects; names in it are ours or checked GraphQL and Python names."""
    cells, maps, holes = [], [], []
    for number, column in enumerate(columns):
        cell = repr(type_name) if column.attribute is None else f"one.{column.attribute}"
        if column.scalar is not None or column.attribute in translated:
            maps.append(f"map{number}")
            cell = f"map{number}[{cell}]"
        if column.non_null and column.attribute not in translated:
            holes.append(f"    if None in [one.{column.attribute} for one in items]: raise NotPlainError\n")
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
    return _Projection(columns, namespace["make"])
