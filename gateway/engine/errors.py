"""The engine's errors: why a request is refused, and the errors of fields that failed.

Their messages are safe to show to clients: they never quote a value.
"""

from collections.abc import Iterator
from heapq import merge
from itertools import islice
from operator import itemgetter

from graphql import GraphQLError
from graphql.error import located_error

from gateway.engine.paths import (
    Failure,
    Failures,
    ResponsePath,
    SharedObject,
    count_response_paths,
    order_of,
    response_paths,
)


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


def located_errors(failures: Failures, max_errors: int, *, expected: type[Exception]) -> tuple[list[GraphQLError], int]:
    """The first `max_errors` errors in the order of the answer, and how many are left out.

    Each kind of fault is given once at least for each field. The order makes an answer the same, whichever field failed
    first.
    """
    counted: dict[SharedObject, int] = {}
    total = sum(count_response_paths(failure.path, counted) for _, failure in failures.recorded)
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
