"""The engine's errors: why a request is refused, and the errors of fields that failed.

Their messages are safe to show to clients: they never quote a value.
"""

from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import TypeAlias

from graphql import GraphQLError
from graphql.error import located_error

from gateway.engine.paths import Boundary, Failure, Failures, Path, ResponseKey, SharedObject


class RequestError(Exception):
    """A document that is not executed."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidDocumentError(RequestError):
    """The document is malformed, or asks for what is off."""


class LiteralNotAllowedError(InvalidDocumentError):
    """The document holds a literal where only variables may stand, so that not even its digest may be kept."""


class LimitExceededError(RequestError):
    """A limit would be passed; the message says which, by how much, and what the limit is."""


class MutationNotAllowedError(Exception):
    """The operation is a mutation, and the request may carry queries only."""


ResponsePath: TypeAlias = "list[str | int]"


def order_of(path: ResponsePath) -> list[int]:
    """What sorts paths as their values stand in the answer."""
    return [key.order if isinstance(key, ResponseKey) else int(key) for key in path]


def response_paths(path: Path, number: int) -> Iterator[ResponsePath]:
    """The paths, as GraphQL writes them in errors, of failure `number`, where a path stands for several places.

    They come in the order of the answer, without those below a value that was null before the failure.
    """
    while isinstance(path, Boundary):
        if isinstance(path, SharedObject):
            for place in path.places:
                yield from response_paths(place, number)
            return
        if _was_closed(path, number):
            return
        path = path.path
    if path is None:
        yield []
        return
    outer, key = path
    keys: Sequence[str | int] = key[0].indexes(key[1]) if isinstance(key, tuple) else (key,)
    for start in response_paths(outer, number):
        for each in keys:
            yield [*start, each]


def count_response_paths(path: Path, number: int | None, counted: "dict[SharedObject, int]") -> int:
    """How many they are at least: none where a value around has become null, even if that was after failure `number`.

    `counted` holds what is known of shared objects, which may stand in each other.
    """
    # The failure itself closed the value that is null because of it.
    own = None if number is None else number + 1
    count = 1
    while path is not None:
        if isinstance(path, SharedObject):
            if path not in counted:
                counted[path] = sum(count_response_paths(place, None, counted) for place in path.places)
            return count * counted[path]
        if isinstance(path, Boundary):
            if path.closed_at not in {None, own}:
                return 0
            path = path.path
            continue
        path, key = path
        if isinstance(key, tuple):
            groups, value = key
            count *= len(groups.indexes(value))
    return count


def _was_closed(boundary: Boundary, number: int) -> bool:
    return boundary.closed_at is not None and boundary.closed_at <= number


def located_errors(failures: Failures, max_errors: int, *, expected: type[Exception]) -> tuple[list[GraphQLError], int]:
    """The first `max_errors` errors in the order of the answer, and how many are left out.

    Each kind of fault is given once at least for each field. The order makes an answer the same, whichever field failed
    first.
    """
    counted: dict[SharedObject, int] = {}
    total = sum(count_response_paths(failure.path, number, counted) for number, failure in failures.recorded)
    total += failures.count - len(failures.recorded)
    in_order = merge(*(_located(number, failure) for number, failure in failures.recorded), key=itemgetter(0))
    found = [(failure, path) for _, failure, path in islice(in_order, max_errors)]
    shown = {(type(failure.cause), id(failure.nodes)) for failure, _ in found}
    for number, failure in failures.recorded:
        fault = type(failure.cause), id(failure.nodes)
        if not isinstance(failure.cause, expected) and fault not in shown:
            shown.add(fault)
            found += ((failure, path) for path in islice(response_paths(failure.path, number), 1))
    errors = [located_error(failure.cause, failure.nodes, path) for failure, path in found]
    return errors, max(0, total - len(errors))


def _located(number: int, failure: Failure) -> Iterator[tuple[list[int], Failure, ResponsePath]]:
    for path in response_paths(failure.path, number):
        yield order_of(path), failure, path
