"""Failed fields: one error for each path in the answer, up to the most that are given, and faults always."""

from typing import Any

import pytest
import strawberry
from graphql import FieldNode, parse
from strawberry.schema.config import StrawberryConfig

from gateway.engine.engine import Operation
from gateway.engine.errors import located_errors
from gateway.engine.executor import Info
from gateway.engine.paths import Failure, Failures, ItemGroups, ItemIndexes, NullableValue, Path, ResponseKey
from tests.unit.engine.answering import ExpectedError, engine_of

OWNERS = ItemGroups(ItemIndexes(lambda: [1, 2, 1, None, 1]))
# The fields' places in their objects.
ORDER = {"more": 0, "units": 1, "free": 0, "people": 1, "owner": 0, "things": 0}


def nodes() -> list[FieldNode]:
    (operation,) = parse("{ owner }").definitions
    found: Any = operation
    return list(found.selection_set.selections)


def path_of(*keys: Any) -> Path:
    """A path from the root of an answer."""
    path: Path = NullableValue(None, [])
    for key in keys:
        path = path, ResponseKey.at(key, ORDER[key]) if isinstance(key, str) else key
    return path


def recorded(*failures: tuple[Exception, Path]) -> Failures:
    """Failures that were recorded one after the other."""
    found = Failures()
    for cause, path in failures:
        found.record(Failure(cause, nodes(), path))
    return found


def test_errors_beyond_the_most_are_counted_and_faults_always_given() -> None:
    down = ExpectedError("down")
    failures = recorded(
        (down, path_of("things", (OWNERS, 1))),
        (down, path_of("things", (OWNERS, 2))),
        (ValueError(), path_of("things", (OWNERS, 1))),
    )

    errors, omitted = located_errors(failures, 2, expected=ExpectedError)

    assert [(error.path, type(error.original_error)) for error in errors] == [
        (["things", 0], ExpectedError),
        (["things", 0], ValueError),
    ]
    assert omitted == 3 + 1 + 3 - 2


def test_a_fault_beyond_the_most_is_given_all_the_same() -> None:
    failures = recorded(
        *((ExpectedError("down"), path_of("things", number)) for number in range(3)),
        (ValueError(), path_of("units", (OWNERS, 1))),
    )

    errors, omitted = located_errors(failures, 2, expected=ExpectedError)

    assert [error.path for error in errors] == [["things", 0], ["things", 1], ["units", 0]]
    assert omitted == 1 + 2


def test_errors_are_in_the_order_of_the_answer_however_they_came() -> None:
    paths = [
        path_of("units", 10, "people"),
        path_of("units", 2, "people"),
        path_of("units", 2, "free", (OWNERS, None), "owner"),
        path_of("units", 2, "free", (OWNERS, 1), "owner"),
        path_of("more"),
    ]
    failures = [(ExpectedError("down"), path) for path in paths]

    errors, _ = located_errors(recorded(*failures), 20, expected=ExpectedError)
    again, _ = located_errors(recorded(*failures[::-1]), 20, expected=ExpectedError)

    assert [error.path for error in errors] == [
        ["more"],
        ["units", 2, "free", 0, "owner"],
        ["units", 2, "free", 2, "owner"],
        ["units", 2, "free", 3, "owner"],
        ["units", 2, "free", 4, "owner"],
        ["units", 2, "people"],
        ["units", 10, "people"],
    ]
    assert [error.path for error in again] == [error.path for error in errors]


def test_failures_beyond_those_that_are_recorded_are_counted() -> None:
    failures = Failures(most=3)
    for number in range(10):
        failures.record(Failure(ExpectedError("down"), nodes(), path_of("things", number)))

    errors, omitted = located_errors(failures, 2, expected=ExpectedError)

    assert [error.path for error in errors] == [["things", 0], ["things", 1]]
    assert omitted == 8


@strawberry.type
class Query:
    @strawberry.field
    def fails(self, kind: str) -> int | None:
        raise {"expected": ExpectedError, "fault": ValueError}[kind]("no")


async def test_an_expected_error_loses_its_traceback_and_a_fault_keeps_it() -> None:
    engine = engine_of(strawberry.Schema(Query, config=StrawberryConfig(info_class=Info)))

    async def caught(kind: str) -> Exception:
        result = await engine.execute(Operation(f'{{ fails(kind: "{kind}") }}'), None)
        (error,) = result.errors
        assert error.original_error is not None
        return error.original_error

    assert (await caught("expected")).__traceback__ is None
    assert (await caught("fault")).__traceback__ is not None


@pytest.mark.parametrize("most", [0, 1, 5])
async def test_an_error_of_many_places_is_given_for_the_first_of_them(most: int) -> None:
    failures = recorded((ExpectedError("down"), path_of("things", (OWNERS, 1))))

    errors, omitted = located_errors(failures, most, expected=ExpectedError)

    assert [error.path for error in errors] == [["things", each] for each in (0, 2, 4)][:most]
    assert omitted == 3 - len(errors)
