"""Fields that failed: where each stands in the answer, and what is said of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from graphql import FieldNode, GraphQLError
from graphql.error import located_error

from gateway.domain.errors import GatewayError


class Groups:
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
class Alike:
    """A step of a path: all items of a list whose attributes have the same value, for which a field is written once."""

    groups: Groups
    value: Any

    def places(self) -> Sequence[int]:
        """Where they stand."""
        return self.groups.places(self.value)


# From the inside out, so that a step is added without a copy; None is the root.
Path: TypeAlias = "tuple[Path, str | int | Alike] | None"


def places(path: Path) -> Iterator[list[str | int]]:
    """The places in an answer that a path stands for, as GraphQL writes paths."""
    if path is None:
        yield []
        return
    before, step = path
    steps: Sequence[str | int] = step.places() if isinstance(step, Alike) else (step,)
    for start in places(before):
        for each in steps:
            yield [*start, each]


def times(path: Path) -> int:
    """How many places that are."""
    found = 1
    while path is not None:
        path, step = path
        if isinstance(step, Alike):
            found *= len(step.places())
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """What a resolver raised, and the field that is null for it."""

    cause: Exception
    nodes: list[FieldNode]
    path: Path


def failure(cause: Exception, nodes: list[FieldNode], path: Path) -> Failure:
    """A failure that keeps nothing alive: the frames of a traceback hold the request, and the request the failure.

    A fault keeps its traceback, since the log tells its place.
    """
    if isinstance(cause, GatewayError):
        cause.__traceback__ = cause.__context__ = None
    return Failure(cause, nodes, path)


def located(failures: Sequence[Failure], most: int) -> tuple[list[GraphQLError], int]:
    """The first `most` errors of failures, and how many more there are; each fault is among them in any case.

    They are in the order of their paths, so that the same failures say the same, whichever came first.
    """
    made: list[GraphQLError] = []
    omitted = 0
    for each in sorted(failures, key=_order):
        there = times(each.path)
        room = most - len(made)
        if not isinstance(each.cause, GatewayError):
            room = max(room, 1)
        found = zip(range(min(room, there)), places(each.path), strict=False)
        made += [located_error(each.cause, each.nodes, place) for _, place in found]
        omitted += there - max(0, min(room, there))
    return made, omitted


def _order(failed: Failure) -> list[tuple[bool, str | int]]:
    return [(isinstance(step, str), step) for step in next(places(failed.path))]
