"""Arranging an answer, and giving every query its share of it."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from benchmarks.micro.clinic import LISTED_IDS, RESOURCES, SERVICES, answer, query, slots
from gateway.domain.ehr_profile import shipped_profile
from gateway.domain.planner import plan
from gateway.domain.queries import TimeslotQuery, partition
from gateway.domain.timeslots import TimeslotList

CASES = {
    "the whole": [query()],
    "a week": [query(days=7)],
    "each resource": [query(resource) for resource in RESOURCES],
    "each service of a resource": [query(RESOURCES[0], service) for service in SERVICES],
}


@pytest.mark.parametrize("queries", CASES.values(), ids=CASES)
def test_partition(benchmark: Callable[..., Any], queries: Sequence[TimeslotQuery]) -> None:
    [step] = plan([query()], shipped_profile("webdoc"), LISTED_IDS).steps

    def fresh() -> tuple[tuple[TimeslotList], dict[str, Any]]:
        # A list remembers its owners' shares, so each round gets one that nobody has asked.
        return (answer(),), {}

    def shares(found: TimeslotList) -> list[TimeslotList | None]:
        return [partition(each, step, found) for each in queries]

    assert all(benchmark.pedantic(shares, setup=fresh, rounds=30))  # type: ignore[attr-defined] # the fixture is more than callable


def test_arranging(benchmark: Callable[..., Any]) -> None:
    unordered = slots()

    assert len(benchmark(TimeslotList, unordered)) == len(unordered)
