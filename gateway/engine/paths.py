"""Where a value stands in an answer, and how far a null spreads that may not stand there.

A path is built from the inside out, so that a key is added without a copy. Besides keys it holds boundaries: places
where the null of a failed field ends (GraphQL, section 6.4.4), and objects and list items that are written once and
stand in several places. An error in such an object has one path for each place.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias, cast

from graphql import FieldNode

Output: TypeAlias = list[Any]
"""Bytes in order, with outputs, `SharedObject`s and rows for what is written elsewhere or later."""


class ResponseKey(str):
    """The key of a field in the answer, with its place among the fields of its object."""

    __slots__ = ("order",)
    order: int

    @classmethod
    def at(cls, key: str, order: int) -> "ResponseKey":
        """The key of the field that is number `order` of its object."""
        made = cls(key)
        made.order = order
        return made


class ItemIndexes:
    """The indexes of a list's items by the value of some attributes, which are read when a value is asked for."""

    __slots__ = ("_indexes", "_values")

    def __init__(self, values: Callable[[], Iterable[Any]]) -> None:
        self._values = values
        self._indexes: dict[Any, list[int]] = {}

    def of(self, value: Any) -> Sequence[int]:
        """The indexes of the items with a value, in rising order."""
        if not self._indexes:
            for index, found in enumerate(self._values()):
                self._indexes.setdefault(found, []).append(index)
        return self._indexes.get(value, ())


class ItemGroups:
    """The items of a list that share what is written for them in one column.

    `end` is the index from which on items are not part of the answer: graphql-core's executor would have stopped there.
    """

    __slots__ = ("_indexes", "end")

    def __init__(self, indexes: ItemIndexes) -> None:
        self._indexes = indexes
        self.end: int | None = None

    def indexes(self, value: Any) -> Sequence[int]:
        """The indexes of the items with a value, in rising order."""
        found = self._indexes.of(value)
        return found if self.end is None else found[: bisect_left(found, self.end)]


SameValueItems: TypeAlias = tuple[ItemGroups, Any]
"""A key of a path: all items of a list with the same value of some attributes, which share what is written."""


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """Why a value could not be written, the nodes of its field, and its path."""

    cause: Exception
    nodes: list[FieldNode]
    path: "Path"


class NullPropagation(Exception):  # noqa: N818 # it is how writers are left, not an error
    """The value that is being written is null, up to a boundary, which was told of it."""

    def __init__(self, boundary: "Boundary") -> None:
        super().__init__()
        self.boundary = boundary


class Boundary:
    """A place in an answer at which failures below it end, or are shared out.

    `closed_at` counts the failures of the execution before the boundary's value was given up; None as long as it
    stands.
    """

    __slots__ = ("closed_at", "path")

    def __init__(self, path: "Path") -> None:
        self.path = path
        self.closed_at: int | None = None

    def fail(self, failure: Failure, failures: "Failures") -> None:
        """Take a failure of a value below that may not be null."""
        raise NotImplementedError

    def close(self, failures: "Failures") -> None:
        """Give up the value, and with it whatever waits below."""
        if self.closed_at is None:
            self.closed_at = failures.count
            failures.closings += 1


# From the inside out; None is above the root.
Path: TypeAlias = "tuple[Path, str | int | SameValueItems] | Boundary | None"


class NullableValue(Boundary):
    """A value that is null where something below fails; `output` is all that was written of it."""

    __slots__ = ("output",)

    def __init__(self, path: Path, output: Output) -> None:
        # As Boundary has it; there is one for each list and object that may be null.
        self.path = path
        self.closed_at = None
        self.output = output

    def fail(self, failure: Failure, failures: "Failures") -> None:
        """Write null, and record the failure."""
        if self.closed_at is None:
            failures.record(failure)
            self.close(failures)
            self.output[:] = (b"null",)


class SharedObject(Boundary):
    """An object that is written once for all its places in the answer.

    `text` is its JSON and `items` the number of counted items in it, when it is complete.
    """

    __slots__ = ("failure", "is_writing", "items", "output", "places", "text", "value")

    def __init__(self, value: Any, place: Path) -> None:
        self.path = None
        self.closed_at = None
        # It must live as long as it is known by its id.
        self.value = value
        self.output: Output = []
        self.places = [place]
        self.failure: Failure | None = None
        self.is_writing = True
        self.text: bytes | None = None
        self.items = 0

    def fail(self, failure: Failure, failures: "Failures") -> None:
        """Fail in each place; in the one that is being written, the writer does."""
        self.failure = failure
        self.close(failures)
        if self.is_writing:
            return
        for place in self.places:
            above = boundary_of(place)
            if above.closed_at is None:
                above.fail(self.failure_at(place, failure), failures)

    def failure_at(self, place: Path, failure: Failure) -> Failure:
        """The failure as it looks from one place."""
        return Failure(failure.cause, failure.nodes, _moved(failure.path, self, place))


class ListCells(Boundary):
    """The cells of a list whose columns are written value by value, not item by item.

    A failed cell that may not be null fails the list. Cells that fail while the list is being written are compared
    first: the one that fails the list is the one that stands first in it, as if the items were written in order.
    """

    __slots__ = ("_failures", "columns", "is_writing")

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.is_writing = True
        self.columns: list[ItemGroups] = []
        self._failures: list[Failure] = []

    def fail(self, failure: Failure, failures: "Failures") -> None:
        """Take the failure of a cell, and pass it on unless the list is still being written."""
        self._failures.append(failure)
        if not self.is_writing:
            self.pass_on(failures)

    def finish(self, failures: "Failures") -> None:
        """Go on after all cells were begun. Raises NullPropagation where one has failed that may not be null."""
        self.is_writing = False
        if self._failures:
            raise NullPropagation(self.pass_on(failures))

    def pass_on(self, failures: "Failures") -> Boundary:
        """Fail the list by its first failed cell; gives the boundary at which that ended."""
        found = min(map(self._placed, self._failures), key=lambda each: each[:2])
        row, column, failure = found
        for number, groups in enumerate(self.columns):
            groups.end = row + 1 if number < column else row
        above = boundary_of(self.path)
        if above.closed_at is None:
            above.fail(failure, failures)
        return above

    def _placed(self, failure: Failure) -> tuple[int, int, Failure]:
        """A failure with its row and its column, and with a path that names its first row alone."""
        path = failure.path
        items: SameValueItems | None = None
        while path is not self and path is not None:
            if isinstance(path, tuple):
                path, key = path
                items = key if isinstance(key, tuple) else items
            else:
                path = path.path
        if items is None:
            raise TypeError("a cell's path names no items")
        groups, value = items
        column, row = self.columns.index(groups), groups.indexes(value)[0]
        cause, nodes = failure.cause, failure.nodes
        return row, column, Failure(cause, nodes, _moved(failure.path, self, self.path, {items: row}))


def boundary_of(path: Path) -> Boundary:
    """The nearest boundary of a path. Every path has one, since the root of an answer is one."""
    while type(path) is tuple:
        path = path[0]
    if path is None:
        raise TypeError("a path without a root")
    return path  # type: ignore[return-value] # what is no tuple and not None is a boundary


def is_given_up(path: Path, known: "dict[SharedObject, bool] | None" = None) -> bool:
    """Whether a value around has become null; `known` holds what was found of shared objects.

    A shared object is given up with the last of its places, for good: another place writes it anew.
    """
    known = {} if known is None else known
    while path is not None:
        if type(path) is tuple:
            path = path[0]
            continue
        boundary = cast("Boundary", path)
        if boundary.closed_at is not None:
            return True
        if isinstance(boundary, SharedObject):
            if boundary not in known:
                known[boundary] = all(is_given_up(place, known) for place in boundary.places)
            if known[boundary]:
                boundary.closed_at = 0
            return known[boundary]
        path = boundary.path
    return False


def _moved(path: Path, start: Boundary, to: Path, keys: "dict[SameValueItems, int] | None" = None) -> Path:
    """A path below a boundary with its start replaced, and with other keys; boundaries on the way are left out."""
    kept: list[Any] = []
    while path is not start and path is not None:
        if isinstance(path, tuple):
            path, key = path
            kept.append(keys.get(key, key) if keys and isinstance(key, tuple) else key)
        else:
            path = path.path
    moved = to
    for key in reversed(kept):
        moved = (moved, key)
    return moved


@dataclass(slots=True, eq=False)
class Failures:
    """The failed fields of an execution.

    `count` is how many there were, `recorded` the first of them: an answer shows few, and each takes memory. `closings`
    is how many boundaries were closed.
    """

    most: int = 1_000
    count: int = 0
    closings: int = 0
    recorded: list[tuple[int, Failure]] = field(default_factory=list)

    def record(self, failure: Failure) -> None:
        """Record that a field is null because of a failure."""
        if len(self.recorded) < self.most:
            self.recorded.append((self.count, failure))
        self.count += 1

    def propagate(self, failure: Failure) -> NoReturn:
        """Make the nearest value null that may be. Raises NullPropagation."""
        boundary = boundary_of(failure.path)
        boundary.fail(failure, self)
        raise NullPropagation(boundary)
