"""Failed fields: one error for each path in the answer, up to the most that are given, and faults always."""

from operator import attrgetter
from typing import Any

import pytest
from graphql import FieldNode, parse

from gateway.engine.errors import (
    FieldError,
    ItemGroups,
    Path,
    SameValueItems,
    count_response_paths,
    located_errors,
    response_paths,
)
from gateway.engine.executor import Execution
from tests.unit.engine.answering import CONFIG, DOCUMENTS, ExpectedError, program_of
from tests.unit.engine.model_schema import Item

ITEMS = [Item(owner_id=each) for each in (1, 2, 1, None, 1)]
GROUPS = ItemGroups(map(attrgetter("owner_id"), ITEMS))
LIST: Path = (None, "things")


def nodes() -> list[FieldNode]:
    (operation,) = parse("{ owner }").definitions
    found: Any = operation
    return list(found.selection_set.selections)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (None, [[]]),
        ((LIST, 3), [["things", 3]]),
        (
            ((LIST, SameValueItems(GROUPS, 1)), "owner"),
            [["things", 0, "owner"], ["things", 2, "owner"], ["things", 4, "owner"]],
        ),
        ((LIST, SameValueItems(GROUPS, None)), [["things", 3]]),
        ((LIST, SameValueItems(GROUPS, 7)), []),
        (
            ((((LIST, SameValueItems(GROUPS, 2)), "again"), SameValueItems(GROUPS, 1)), "x"),
            [["things", 1, "again", each, "x"] for each in (0, 2, 4)],
        ),
    ],
)
def test_a_path_stands_for_each_item_of_the_same_value(path: Path, expected: list[list[str | int]]) -> None:
    assert list(response_paths(path)) == expected
    assert count_response_paths(path) == len(expected)


def test_errors_beyond_the_most_are_counted_and_faults_always_given() -> None:
    down = ExpectedError("down")
    field_errors = [
        FieldError(down, nodes(), (LIST, SameValueItems(GROUPS, 1))),
        FieldError(down, nodes(), (LIST, SameValueItems(GROUPS, 2))),
        FieldError(ValueError(), nodes(), (LIST, SameValueItems(GROUPS, 1))),
    ]

    errors, omitted = located_errors(field_errors, 2, expected=ExpectedError)

    assert [(error.path, type(error.original_error)) for error in errors] == [
        (["things", 0], ExpectedError),
        (["things", 2], ExpectedError),
        (["things", 0], ValueError),
    ]
    assert omitted == 1 + 1 + 2


def test_errors_are_in_the_order_of_their_paths_however_they_came() -> None:
    paths: list[Path] = [
        ((((None, "units"), 10), "people")),
        ((((None, "units"), 2), "people")),
        (((((None, "units"), 2), "free"), SameValueItems(GROUPS, None)), "owner"),
        (((((None, "units"), 2), "free"), SameValueItems(GROUPS, 1)), "owner"),
        (None, "more"),
    ]
    field_errors = [FieldError(ExpectedError("down"), nodes(), path) for path in paths]

    errors, _ = located_errors(field_errors, 20, expected=ExpectedError)
    again, _ = located_errors(field_errors[::-1], 20, expected=ExpectedError)

    assert [error.path for error in errors] == [
        ["more"],
        ["units", 2, "free", 0, "owner"],
        ["units", 2, "free", 2, "owner"],
        ["units", 2, "free", 4, "owner"],
        ["units", 2, "free", 3, "owner"],
        ["units", 2, "people"],
        ["units", 10, "people"],
    ]
    assert [error.path for error in again] == [error.path for error in errors]


def test_an_expected_error_loses_its_traceback_and_a_fault_keeps_it() -> None:
    def raised(error: Exception) -> Exception:
        with pytest.raises(Exception, match="no") as caught:
            raise error
        program, variables = program_of(DOCUMENTS, "{ __typename }", {})
        assert program is not None
        execution = Execution(program, None, variables, CONFIG)
        execution.fail(caught.value, nodes(), None, [])
        return execution.field_errors[0].cause

    assert raised(ExpectedError("no")).__traceback__ is None
    assert raised(ValueError("no")).__traceback__ is not None
