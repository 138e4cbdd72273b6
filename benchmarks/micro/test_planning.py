"""Deciding which calls to make: once a request for each care unit that it asks about."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from benchmarks.micro.clinic import LISTED_IDS, RESOURCES, SERVICES, query
from gateway.domain.ehr_profile import EhrProfile, FilterPolicy, shipped_profile
from gateway.domain.planner import plan
from gateway.domain.queries import TimeslotQuery

FREE = shipped_profile("webdoc")
CASES = {
    "one query": ([query()], FREE),
    "each resource": ([query(resource) for resource in RESOURCES], FREE),
    "each resource and service": ([query(r, s) for r in RESOURCES for s in SERVICES], FREE),
    "a filter is required": ([query()], replace(FREE, filter_policy=FilterPolicy.RESOURCE)),
    "a week at most": ([query()], replace(FREE, longest_window=timedelta(days=7))),
}


@pytest.mark.parametrize(("queries", "profile"), CASES.values(), ids=CASES)
def test_plan(benchmark: Callable[..., Any], queries: Sequence[TimeslotQuery], profile: EhrProfile) -> None:
    made = benchmark(plan, queries, profile, LISTED_IDS)

    assert all(made.serving[each] for each in queries)
