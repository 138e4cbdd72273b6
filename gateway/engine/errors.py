"""The engine's errors: why a request is refused, what the compiled executor gives up on, and fields that failed.

Their messages are safe to show to clients: they never quote a value.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

from graphql import FieldNode, GraphQLError
from graphql.error import located_error


class RequestError(Exception):
    """A document that is not executed."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidDocumentError(RequestError):
    """The document is malformed, or asks for what is off."""


class LimitExceededError(RequestError):
    """A limit would be passed; the message says which, by how much, and what the limit is."""


class MutationNotAllowedError(Exception):
    """The operation is no query, and the request may carry queries only."""


class UnsupportedError(Exception):
    """The operation, or a value in its answer, needs graphql-core's executor."""


class AnswerTooLargeError(Exception):
    """An answer would take more bytes than its size budget."""


class ItemGroups:
    """The indexes of a list's items by the value of some attributes, which are read when a group is asked for."""

    __slots__ = ("_indexes", "_values")

    def __init__(self, values: Iterable[Any]) -> None:
        self._values = values
        self._indexes: dict[Any, list[int]] = {}

    def indexes(self, value: Any) -> Sequence[int]:
        """The indexes of the items with a value."""
        if not self._indexes:
            for index, found in enumerate(self._values):
                self._indexes.setdefault(found, []).append(index)
        return self._indexes.get(value, ())


@dataclass(frozen=True, slots=True, eq=False)
class SameValueItems:
    """A key of a path: all items of a list with the same value of some attributes, which share what is written."""

    groups: ItemGroups
    value: Any


# From the inside out, so that a key is added without a copy; None is the root.
Path: TypeAlias = "tuple[Path, str | int | SameValueItems] | None"


def response_paths(path: Path) -> Iterator[list[str | int]]:
    """The paths, as GraphQL writes them in errors, that a path stands for."""
    if path is None:
        yield []
        return
    outer, key = path
    keys: Sequence[str | int] = key.groups.indexes(key.value) if isinstance(key, SameValueItems) else (key,)
    for start in response_paths(outer):
        for each in keys:
            yield [*start, each]


def count_response_paths(path: Path) -> int:
    """How many they are."""
    count = 1
    while path is not None:
        path, key = path
        if isinstance(key, SameValueItems):
            count *= len(key.groups.indexes(key.value))
    return count


@dataclass(frozen=True, slots=True, eq=False)
class FieldError:
    """What a resolver raised, and the field that is null because of it."""

    cause: Exception
    nodes: list[FieldNode]
    path: Path


def located_errors(
    field_errors: Sequence[FieldError], max_errors: int, *, expected: type[Exception]
) -> tuple[list[GraphQLError], int]:
    """The first `max_errors` errors by their paths, and how many are left out; each fault is given once at least.

    The order of paths makes an answer the same, whichever field failed first.
    """
    errors: list[GraphQLError] = []
    omitted = 0
    for failed in sorted(field_errors, key=_order):
        left = max(max_errors - len(errors), 0 if isinstance(failed.cause, expected) else 1)
        paths = list(islice(response_paths(failed.path), left))
        errors += [located_error(failed.cause, failed.nodes, path) for path in paths]
        omitted += count_response_paths(failed.path) - len(paths)
    return errors, omitted


def _order(failed: FieldError) -> list[tuple[bool, str | int]]:
    return [(isinstance(key, str), key) for key in next(response_paths(failed.path))]
