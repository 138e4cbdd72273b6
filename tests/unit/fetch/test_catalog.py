"""The catalogue: fresh from the cache, stale while one call fetches it anew, never older than it may be."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.errors import UpstreamUnavailable
from gateway.domain.models import CareUnitKey, Resource
from gateway.fetch.cache_budget import CacheBudget, CacheConfig, Lifetimes
from gateway.fetch.catalog import Catalog, CatalogList
from gateway.fetch.fetch_scope import CacheStatus, FetchScope
from tests.unit.asking import NOTHING_KEPT
from tests.unit.model_ehr import UNIT, ModelEhr

MINUTES = Lifetimes(300, 86_400)


class Staff(ModelEhr):
    """A clinic whose people change; it answers when it is told to, or at once."""

    def __init__(self) -> None:
        super().__init__([], EhrProfile("model", "Model"))
        self.names = ["r1"]
        self.is_sick = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: Counter[CareUnitKey] = Counter()
        self.cancelled = 0

    async def resources(self, care_unit: CareUnitKey) -> Sequence[Resource]:
        self.asked[care_unit] += 1
        names, is_sick = list(self.names), self.is_sick
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if is_sick:
            raise UpstreamUnavailable("sick")
        return [Resource(each) for each in names]


class World:
    """A clinic, its catalogue, and a clock that a test moves."""

    def __init__(self, lifetimes: Lifetimes = MINUTES, *, most_bytes: int = 1_000_000) -> None:
        self.now = 1_000.0
        self.staff = Staff()
        self.budget = CacheBudget(most_bytes)
        self.catalog = Catalog(self.staff, CacheConfig(lifetimes, self.budget, lambda: self.now))

    @property
    def calls(self) -> int:
        return self.staff.asked.total()

    async def ask(self, unit: CareUnitKey = UNIT, *, no_cache: bool = False) -> tuple[list[str], CacheStatus]:
        """The names that one request gets, and where from."""
        scope = FetchScope(self.now, self.now) if no_cache else FetchScope(self.now)
        try:
            given = self.catalog.resources.get(unit, scope)
            listed = given if isinstance(given, CatalogList) else await given
            return list(listed.items), scope.reads[0].origin
        finally:
            scope.close()


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_fresh_list_takes_no_call() -> None:
    world = World()
    first = await world.ask()

    world.now += 299.9
    second = await world.ask()

    assert (first, second) == ((["r1"], CacheStatus.FETCHED), (["r1"], CacheStatus.CACHED))
    assert world.calls == 1


async def test_stale_data_is_given_at_once_while_one_call_refreshes_it() -> None:
    world = World()
    await world.ask()
    world.now += 300
    world.staff.names = ["r1", "r2"]
    world.staff.gate.clear()

    meanwhile = [await world.ask() for _ in range(50)]
    world.now += 60
    meanwhile += [await world.ask() for _ in range(50)]
    world.staff.gate.set()
    await turns()

    assert meanwhile == [(["r1"], CacheStatus.STALE)] * 100
    assert await world.ask() == (["r1", "r2"], CacheStatus.CACHED)
    assert world.calls == 2


async def test_a_refreshed_list_is_as_old_as_the_refresh() -> None:
    world = World()
    await world.ask()
    world.now += 400
    await world.ask()
    await turns()

    world.now += 299

    assert (await world.ask())[1] is CacheStatus.CACHED
    assert world.calls == 2


async def test_a_refresh_that_fails_is_tried_again_after_five_seconds() -> None:
    world = World()
    await world.ask()
    world.now += 300
    world.staff.is_sick = True

    for _ in range(100):
        assert await world.ask() == (["r1"], CacheStatus.STALE)
        await turns()
        world.now += 0.25

    assert world.calls == 1 + 5


async def test_a_stale_list_is_given_as_long_as_it_may_be_while_refreshes_fail() -> None:
    world = World(Lifetimes(300, 60))
    await world.ask()
    world.staff.is_sick = True

    world.now += 359.9
    assert await world.ask() == (["r1"], CacheStatus.STALE)
    await turns()
    world.now += 0.1

    with pytest.raises(UpstreamUnavailable):
        await world.ask()
    world.staff.is_sick = False
    assert await world.ask() == (["r1"], CacheStatus.FETCHED)


async def test_a_list_that_is_too_old_waits_for_the_pending_refresh() -> None:
    world = World(Lifetimes(300, 60))
    await world.ask()
    world.now += 350
    world.staff.gate.clear()
    await world.ask()

    world.now += 10
    waiting = asyncio.create_task(world.ask())
    await turns()
    world.staff.gate.set()

    assert await waiting == (["r1"], CacheStatus.JOINED)
    assert world.calls == 2


async def test_nothing_is_cached_where_nothing_is_fresh() -> None:
    world = World(Lifetimes(0, 86_400))

    await world.ask()
    await world.ask()

    assert world.calls == 2
    assert world.budget.bytes == 0


async def test_five_hundred_at_once_make_one_call() -> None:
    world = World()
    world.staff.gate.clear()
    waiting = [asyncio.create_task(world.ask()) for _ in range(500)]
    await turns()
    world.staff.gate.set()

    answers = await asyncio.gather(*waiting)

    assert Counter(origin for _, origin in answers) == {CacheStatus.FETCHED: 1, CacheStatus.JOINED: 499}
    assert world.calls == 1


async def test_a_failure_reaches_all_requests_and_is_not_cached() -> None:
    world = World()
    world.staff.is_sick = True

    failures = await asyncio.gather(*(world.ask() for _ in range(50)), return_exceptions=True)
    world.staff.is_sick = False

    assert {type(each) for each in failures} == {UpstreamUnavailable}
    assert world.calls == 1
    assert await world.ask() == (["r1"], CacheStatus.FETCHED)


async def test_a_call_outlives_the_request_that_started_it_and_ends_with_the_last() -> None:
    world = World()
    world.staff.gate.clear()
    waiting = [asyncio.create_task(world.ask()) for _ in range(3)]
    await turns()

    for each in waiting:
        assert world.staff.cancelled == 0
        each.cancel()
        await turns()

    assert world.staff.cancelled == 1
    world.staff.gate.set()
    assert await world.ask() == (["r1"], CacheStatus.FETCHED)


async def test_a_no_cache_request_gets_neither_a_cached_list_nor_an_earlier_call() -> None:
    world = World()
    await world.ask()
    world.now += 400
    world.staff.gate.clear()
    await world.ask()
    world.now += 1
    world.staff.names = ["r2"]

    waiting = asyncio.create_task(world.ask(no_cache=True))
    joining = asyncio.create_task(world.ask(no_cache=True))
    await turns()
    world.staff.gate.set()

    assert await waiting == (["r2"], CacheStatus.FETCHED)
    assert await joining == (["r2"], CacheStatus.JOINED)
    await turns()
    assert await world.ask() == (["r2"], CacheStatus.CACHED)
    assert world.calls == 3


async def test_an_earlier_call_that_ends_later_changes_nothing() -> None:
    world = World()
    world.staff.gate.clear()
    slow = asyncio.create_task(world.ask())
    await turns()
    early, world.staff.gate = world.staff.gate, asyncio.Event()
    world.staff.gate.set()
    world.now += 1
    world.staff.names = ["r2"]
    await world.ask(no_cache=True)

    early.set()

    assert await slow == (["r1"], CacheStatus.FETCHED)
    assert await world.ask() == (["r2"], CacheStatus.CACHED)


async def test_the_least_recently_used_list_is_fetched_again() -> None:
    world = World(most_bytes=6_000)
    units = [CareUnitKey("model", f"unit{number}") for number in range(10)]
    for unit in units:
        await world.ask(unit)
    assert 0 < world.budget.bytes <= 6_000

    assert (await world.ask(units[-1]))[1] is CacheStatus.CACHED
    assert (await world.ask(units[0]))[1] is CacheStatus.FETCHED


async def test_lists_of_one_name_are_kept_apart() -> None:
    world = World()
    await world.ask()

    services = world.catalog.healthcare_services.get(UNIT, FetchScope(world.now))

    assert not isinstance(services, CatalogList)
    assert list((await services).items) == ["s1", "s2"]


def test_of_items_with_one_id_the_first_counts() -> None:
    listed = CatalogList([Resource("r1", name="first"), Resource("r2"), Resource("r1", name="second")])

    assert [each.name for each in listed.items.values()] == ["first", None]


@pytest.mark.parametrize(
    ("lifetimes", "items", "is_known"), [(MINUTES, 1, True), (NOTHING_KEPT, 200, False), (NOTHING_KEPT, 201, True)]
)
async def test_size_of_a_list_is_known_where_it_is_cached_or_long(
    lifetimes: Lifetimes, items: int, is_known: bool
) -> None:
    world = World(lifetimes)
    world.staff.names = [f"r{number}" for number in range(items)]
    scope = FetchScope(world.now)
    given = world.catalog.resources.get(UNIT, scope)

    listed = given if isinstance(given, CatalogList) else await given

    assert listed.bytes == (listed.size(UNIT) if is_known else 0)
    scope.close()
