"""Fields that failed: where each stands in the answer, and what is said of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from graphql import FieldNode, GraphQLError
from graphql.error import located_error


class ItemGroups:
    """The items of a list by the value that some attributes have, found when somebody asks."""

    __slots__ = ("_items", "_places", "_read")

    def __init__(self, items: Sequence[Any], read: Callable[[Any], Any]) -> None:
        self._items = items
        self._read = read
        self._places: dict[Any, list[int]] = {}

    def places(self, value: Any) -> Sequence[int]:
        """Where the items with a value stand."""
        if not self._places:
            for place, found in enumerate(map(self._read, self._items)):
                self._places.setdefault(found, []).append(place)
        return self._places.get(value, ())


@dataclass(frozen=True, slots=True, eq=False)
class SameValueItems:
    """A step of a path: all items of a list whose attributes have the same value, for which a field is written once."""

    groups: ItemGroups
    value: Any

    def places(self) -> Sequence[int]:
        """Where they stand."""
        return self.groups.places(self.value)


# From the inside out, so that a step is added without a copy; None is the root.
Path: TypeAlias = "tuple[Path, str | int | SameValueItems] | None"


def places(path: Path) -> Iterator[list[str | int]]:
    """The places in an answer that a path stands for, as GraphQL writes paths."""
    if path is None:
        yield []
        return
    before, step = path
    steps: Sequence[str | int] = step.places() if isinstance(step, SameValueItems) else (step,)
    for start in places(before):
        for each in steps:
            yield [*start, each]


def times(path: Path) -> int:
    """How many places that are."""
    found = 1
    while path is not None:
        path, step = path
        if isinstance(step, SameValueItems):
            found *= len(step.places())
    return found


@dataclass(frozen=True, slots=True, eq=False)
class FieldError:
    """What a resolver raised, and the field that is null for it."""

    cause: Exception
    nodes: list[FieldNode]
    path: Path


def field_error(cause: Exception, nodes: list[FieldNode], path: Path, *, expected: type[Exception]) -> FieldError:
    """An error that keeps nothing alive: the frames of a traceback hold the request, and the request the error.

    A fault keeps its traceback, since the log tells its place.
    """
    if isinstance(cause, expected):
        cause.__traceback__ = cause.__context__ = None
    return FieldError(cause, nodes, path)


def located(
    field_errors: Sequence[FieldError], most: int, *, expected: type[Exception]
) -> tuple[list[GraphQLError], int]:
    """The first `most` errors of field_errors, and how many more there are; each fault is among them in any case.

    They are in the order of their paths, so that the same field_errors say the same, whichever came first.
    """
    made: list[GraphQLError] = []
    omitted = 0
    for each in sorted(field_errors, key=_order):
        there = times(each.path)
        budget = most - len(made)
        if not isinstance(each.cause, expected):
            budget = max(budget, 1)
        found = zip(range(min(budget, there)), places(each.path), strict=False)
        made += [located_error(each.cause, each.nodes, place) for _, place in found]
        omitted += there - max(0, min(budget, there))
    return made, omitted


def _order(failed: FieldError) -> list[tuple[bool, str | int]]:
    return [(isinstance(step, str), step) for step in next(places(failed.path))]
