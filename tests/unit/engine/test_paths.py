"""A path stands for each place of its value, and for none that was null before the failure."""

from collections.abc import Callable

import pytest

from gateway.engine.errors import count_response_paths, response_paths
from gateway.engine.paths import Failures, ItemGroups, ItemIndexes, ListCells, NullableValue, Path, SharedObject

GROUPS = ItemGroups(ItemIndexes(lambda: [1, 2, 1, None, 1]))
ROOT = NullableValue(None, [])
LIST: Path = (ROOT, "things")


def shared(*places: Path) -> SharedObject:
    """An object that stands in several places."""
    first, *others = places
    found = SharedObject(None, first)
    for place in others:
        found.places.append(place)
    return found


def twice(path: Path) -> Path:
    """A path within an object that stands in the first two items of a list, each behind a nullable value."""
    return shared(NullableValue((path, 0), []), NullableValue((path, 1), [])), "x"


CASES: list[tuple[Path, list[list[str | int]]]] = [
    (ROOT, [[]]),
    ((LIST, 3), [["things", 3]]),
    (
        (ListCells((LIST, (GROUPS, 1))), "owner"),
        [["things", 0, "owner"], ["things", 2, "owner"], ["things", 4, "owner"]],
    ),
    ((LIST, (GROUPS, None)), [["things", 3]]),
    ((LIST, (GROUPS, 7)), []),
    (
        ((((LIST, (GROUPS, 2)), "again"), (GROUPS, 1)), "x"),
        [["things", 1, "again", each, "x"] for each in (0, 2, 4)],
    ),
    (twice(LIST), [["things", 0, "x"], ["things", 1, "x"]]),
    (twice(twice(LIST)), [["things", outer, "x", inner, "x"] for outer in (0, 1) for inner in (0, 1)]),
]


@pytest.mark.parametrize(("path", "expected"), CASES)
def test_a_path_stands_for_each_place_of_its_value(path: Path, expected: list[list[str | int]]) -> None:
    assert sorted(response_paths(path, 0), key=str) == expected
    assert count_response_paths(path, 0, {}) == len(expected)


def test_a_value_below_a_null_has_no_place_unless_it_failed_first() -> None:
    outer = NullableValue(LIST, [])
    path = (outer, "x")
    failures = Failures(count=5)
    assert count_response_paths(path, 4, {}) == 1
    outer.close(failures)

    # The failure that closed the value was number 4.
    assert [count_response_paths(path, number, {}) for number in (4, 5, 6)] == [1, 0, 0]
    assert [list(response_paths(path, number)) for number in (4, 5)] == [[["things", "x"]], []]


def test_places_of_objects_in_each_other_are_counted_without_being_listed() -> None:
    path: Path = LIST
    for _ in range(200):
        path = twice(path)

    assert count_response_paths(path, 0, {}) == 2**200


def test_items_behind_the_end_of_a_list_are_none() -> None:
    groups = ItemGroups(ItemIndexes(lambda: [1, 2, 1, 1]))
    groups.end = 3

    assert groups.indexes(1) == [0, 2]


@pytest.mark.parametrize("read", [lambda: iter([]), lambda: iter([2])])
def test_a_value_that_no_item_has_is_nowhere(read: Callable[[], list[int]]) -> None:
    assert list(ItemGroups(ItemIndexes(read)).indexes(1)) == []
