"""Snapshots of windows: of each instant the newest answer counts, for as long as it may be served."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.models import Timeslot
from gateway.domain.queries import Step
from gateway.domain.read_order import own_slots
from gateway.domain.timeslots import TimeslotList, instant
from gateway.domain.window import Window
from gateway.fetch.cache_budget import CacheBudget, CacheConfig, Lifetimes
from gateway.fetch.snapshots import Snapshot, Snapshots
from tests.unit.model_ehr import DAY, START, UNIT, query

PROFILE = EhrProfile("model", "Model")
SECONDS = Lifetimes(15, 15)


class World:
    """Snapshots, and a clock that a test moves."""

    def __init__(self, most_bytes: int = 10_000_000) -> None:
        self.now = 100.0
        self.budget = CacheBudget(most_bytes)
        self.snapshots = Snapshots(CacheConfig(SECONDS, self.budget, lambda: self.now))

    def keep(
        self, first: float, last: float, *, age: float = 0, slots: bool = True, resource: str | None = None
    ) -> None:
        """The answer to a call for these days, with a slot each day whose end tells when it was asked for."""
        window = query(first, last).window
        asked_at = self.now - age
        days = range(int(first), int(last)) if slots else ()
        answer = TimeslotList(
            Timeslot((at := START + day * DAY).isoformat(), (at + timedelta(seconds=asked_at)).isoformat(), "r1", "s1")
            for day in days
        )
        self.snapshots.keep(Snapshot(Step(UNIT, window, resource), answer, asked_at))

    def known(self, first: float, last: float, resource: str | None = None) -> list[tuple[float, float, float]]:
        """First day, last day and age of what is known of these days."""
        found = self.snapshots.known(query(first, last, resource), PROFILE)
        return sorted(
            ((each.step.window.start - START) / DAY, (each.step.window.end - START) / DAY, self.now - each.fetched_at)
            for each in found
        )


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(1, 6), st.sampled_from([0, 0, 3, 8, 20]), st.sampled_from([0, 1, 9])),
        max_size=12,
    )
)
def test_of_each_day_the_newest_answer_counts(keeps: list[tuple[int, int, int, int]]) -> None:
    world = World()
    newest: dict[int, float] = {}

    for first, length, age, later in keeps:
        world.now += later
        world.keep(first, first + length, age=age)
        for day in range(first, first + length):
            newest[day] = max(newest.get(day, 0), world.now - age)

    told = {}
    for snapshot in world.snapshots.known(query(0, 20), PROFILE):
        for slot in snapshot.answer.slots:
            day = (instant(slot.start) - START) // DAY
            assert day not in told
            told[day] = snapshot.fetched_at
            assert snapshot.step.window.contains(Window(START + day * DAY, START + (day + 1) * DAY))
    assert told == {day: at for day, at in newest.items() if at > world.now - SECONDS.served}


@pytest.mark.parametrize(("later", "known"), [(29.9, 1), (30, 0)])
def test_a_snapshot_that_is_too_old_is_not_known(later: float, known: int) -> None:
    world = World()
    world.keep(0, 5)

    world.now += later

    assert len(world.known(0, 5)) == known


def test_a_snapshot_outside_the_window_is_not_known() -> None:
    world = World()
    world.keep(2, 4)

    assert world.known(0, 2) == world.known(4, 6) == []
    assert world.known(3.5, 9) == world.known(0, 2.5) == [(2, 4, 0)]


def test_a_new_answer_leaves_the_rest_of_an_older_one() -> None:
    world = World()
    world.keep(0, 9, age=5)

    world.keep(3, 5)

    assert world.known(0, 9) == [(0, 3, 5), (3, 5, 0), (5, 9, 5)]
    assert len(world.budget) == 3


def test_each_snapshot_has_its_own_derived_data_which_its_parts_share() -> None:
    world = World()
    config = CacheConfig(SECONDS, world.budget, lambda: world.now, lambda most_bytes: [most_bytes])
    world.snapshots = Snapshots(config)
    world.keep(0, 9, age=5)

    world.keep(3, 5)

    newest, *_ = found = world.snapshots.known(query(0, 9), PROFILE)
    assert [each.answer.derived for each in found] == [[1_600], [1_900], [2_200]]
    assert newest.answer.within(query(3, 4).window).derived is newest.answer.derived


def test_a_late_answer_replaces_no_newer_one() -> None:
    world = World()
    world.keep(3, 5)

    world.keep(0, 9, age=5)

    assert world.known(0, 9) == [(0, 3, 5), (3, 5, 0), (5, 9, 5)]


def test_a_narrower_query_is_in_a_wider_answer_and_not_the_other_way() -> None:
    world = World()
    world.keep(0, 5)
    world.keep(5, 9, resource="r1")

    assert world.known(0, 9, "r1") == [(0, 5, 0), (5, 9, 0)]
    assert world.known(0, 9, "r2") == world.known(0, 9) == [(0, 5, 0)]


def test_where_slots_do_not_name_their_resource_only_their_own_call_tells() -> None:
    world = World()
    world.keep(0, 5)

    assert world.snapshots.known(query(0, 5, "r1"), EhrProfile("model", "Model", names_resource=False)) == []


def test_the_newest_comes_first() -> None:
    world = World()
    world.keep(0, 5, age=9)
    world.keep(0, 5, resource="r1")

    ages = [world.now - each.fetched_at for each in world.snapshots.known(query(0, 5, "r1"), PROFILE)]

    assert ages == [0, 9]


@pytest.mark.parametrize(("age", "expected"), [(5, [(0, 6, 5)]), (20, [(0, 5, 20), (5, 6, 0)])])
def test_an_empty_second_more_joins_a_fresh_neighbour_and_is_as_old(
    age: float, expected: list[tuple[float, float, float]]
) -> None:
    world = World()
    world.keep(0, 5, age=age)

    world.keep(5, 6, slots=False)

    assert world.known(0, 9) == expected


def test_an_empty_stretch_that_comes_late_ages_its_neighbour() -> None:
    world = World()
    world.keep(0, 5)

    world.keep(5, 6, age=9, slots=False)

    assert world.known(0, 9) == [(0, 6, 9)]


def test_slots_outside_of_an_older_answers_window_do_not_come_back_beside_it() -> None:
    world = World()
    outside = Timeslot((START + 0.5 * DAY).isoformat(), None, "r1", "s1")
    step = Step(UNIT, query(1, 5).window)
    world.snapshots.keep(Snapshot(step, own_slots(step, TimeslotList([outside])), world.now))

    world.now += 5
    world.keep(0, 1, slots=False)

    held = [each.answer.within(query(0, 1).window) for each in world.snapshots.known(query(0, 1), PROFILE)]
    assert [slots.slots for slots in held] == [()]


def test_an_answer_that_found_nothing_makes_what_it_renews_young() -> None:
    world = World()
    world.keep(0, 9, age=5, slots=False)

    world.keep(3, 9, slots=False)

    assert world.known(3, 9) == [(3, 9, 0)]


def test_expired_snapshots_are_dropped_when_one_is_added() -> None:
    world = World()
    for second in range(500):
        world.now += 1
        if second % 16 == 0:
            world.keep(second / 86_400, 14)

    assert len(world.budget) <= 3


def test_an_evicted_snapshot_is_not_known_and_a_used_one_stays() -> None:
    world = World(6_000)
    world.keep(0, 1, slots=False)
    world.keep(3, 4, slots=False)

    world.known(0, 1)
    world.keep(6, 7, slots=False)

    assert world.known(0, 9) == [(0, 1, 0), (6, 7, 0)]
    assert len(world.budget) == 2


def test_a_snapshot_larger_than_the_budget_is_not_kept() -> None:
    world = World(6_000)

    world.keep(0, 40)

    assert world.known(0, 40) == []
    assert world.budget.bytes == 0
