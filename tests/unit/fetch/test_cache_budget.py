"""One bound for all that is cached, whatever is asked."""

import gc
import tracemalloc
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.models import CareUnitKey, Timeslot
from gateway.domain.queries import Step, TimeslotQuery
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import Window
from gateway.fetch.cache_budget import CacheBudget, CacheConfig, Lifetimes
from gateway.fetch.snapshots import Snapshot, Snapshots
from tests.unit.model_ehr import START, UNIT


class Shelf:
    """Keeps names within a budget, as caches do."""

    def __init__(self, most_bytes: int) -> None:
        self.budget = CacheBudget(most_bytes)
        self.sizes: dict[str, int] = {}

    def keep(self, name: str, size: int) -> None:
        if self.budget.keep(name, size, lambda: self.drop(name)):
            self.sizes[name] = size
        else:
            self.sizes.pop(name, None)

    def drop(self, name: str) -> None:
        self.budget.drop(name)
        self.sizes.pop(name, None)


names = st.sampled_from("abcdef")
doings = st.lists(
    st.one_of(
        st.tuples(st.just("keep"), names, st.integers(0, 60)),
        st.tuples(st.sampled_from(["drop", "use"]), names, st.just(0)),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(doings)
def test_bytes_are_those_of_the_kept_entries_and_within_the_bound(doings: list[tuple[str, str, int]]) -> None:
    shelf = Shelf(100)

    for doing, name, size in doings:
        match doing:
            case "keep":
                shelf.keep(name, size)
            case "drop":
                shelf.drop(name)
            case _:
                shelf.budget.touch(name)
        assert shelf.budget.bytes == sum(shelf.sizes.values()) <= 100
        assert len(shelf.budget) == len(shelf.sizes)


def test_the_least_recently_used_entry_is_evicted_first() -> None:
    shelf = Shelf(30)
    for name in "abc":
        shelf.keep(name, 10)

    shelf.budget.touch("a")
    shelf.keep("d", 10)
    shelf.keep("e", 10)

    assert list(shelf.sizes) == ["a", "d", "e"]


def test_an_entry_larger_than_the_budget_evicts_nothing() -> None:
    shelf = Shelf(30)
    shelf.keep("a", 10)

    shelf.keep("b", 31)

    assert list(shelf.sizes) == ["a"]


@pytest.mark.parametrize(("lifetimes", "served"), [((15, 15), 30), ((15, 0), 15), ((0, 15), 0)])
def test_data_that_is_never_fresh_is_never_served(lifetimes: tuple[float, float], served: float) -> None:
    assert Lifetimes(*lifetimes).served == served


def snapshot(number: int, slots: int, *, at: float = 0.0) -> Snapshot:
    """One of many windows, of many clinics, some of them overlapping."""
    start = START + timedelta(minutes=number * 37 % 977)
    window = Window(start, start + timedelta(minutes=1 + number * 53 % 301))
    unit = UNIT if number % 10 else CareUnitKey("model", f"unit{number % 501}")
    resource = None if number % 3 else f"r{number % 7}"
    answer = TimeslotList(
        Timeslot(
            (start + timedelta(seconds=each)).isoformat(),
            (start + timedelta(seconds=each + 1200)).isoformat(),
            f"resource-{number}-{each}",
            f"service-{number}-{each % 5}",
        )
        for each in range(slots)
    )
    return Snapshot(Step(unit, window, resource), answer, at)


def test_a_hundred_thousand_windows_stay_within_the_bound() -> None:
    budget = CacheBudget(50_000)
    clock = [0.0]
    snapshots = Snapshots(CacheConfig(Lifetimes(15, 15), budget, lambda: clock[0]))
    some = [snapshot(number, number % 4) for number in range(2_000)]

    for number in range(100_000):
        clock[0] += 0.001
        like = some[number * 7919 % 2_000]
        # Now and then a slow answer comes after one that was asked for later.
        late = 0.05 if number % 11 == 0 else 0.0
        snapshots.keep(Snapshot(like.step, like.answer, clock[0] - late))
        assert budget.bytes <= 50_000

    asked = {(each.step.care_unit, each.step.resource) for each in some}
    everything = Window(START, START + timedelta(days=99))
    profile = EhrProfile("model", "Model", names_resource=False)
    found = [snapshots.known(TimeslotQuery(unit, everything, resource), profile) for unit, resource in asked]
    assert len(budget) == sum(map(len, found)) > 5


@pytest.mark.parametrize("slots", [0, 1, 40])
def test_real_memory_is_a_small_multiple_of_the_bound(slots: int) -> None:
    bound = 500_000
    budget = CacheBudget(bound)
    snapshots = Snapshots(CacheConfig(Lifetimes(15, 15), budget, lambda: 0.0, bytearray))

    gc.collect()
    tracemalloc.start()
    for number in range(500):
        like = snapshot(number, slots)
        step = replace(like.step, care_unit=CareUnitKey("model", f"own{number}"))
        kept = Snapshot(step, like.answer, 0.0)
        snapshots.keep(kept)
        # What queries for owners leave behind is of the list.
        kept.answer.of_resource("resource-1-1")
        kept.answer.of_service("service-1-1")
    del like, step, kept
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert budget.bytes > bound / 2
    assert size < 1.3 * bound
