"""Many queries of one request: what they take grows with them, in short turns of the loop."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.domain.ehr_profile import EhrProfile, FilterPolicy
from gateway.domain.errors import OperationTooLarge
from gateway.domain.queries import TimeslotQuery, UnitLists
from gateway.fetch.cache_budget import Lifetimes
from gateway.fetch.profiles import Profiles
from tests.unit.asking import NOTHING_KEPT, Answer, Gateway
from tests.unit.model_ehr import RESOURCES, SERVICES, START, UNIT, ModelEhr, ModelUnitLists, TrueSlot, query
from tests.unit.pieces import calls_of

PLAIN = EhrProfile(UNIT.emr, "Model")
SLOTS = [TrueSlot(START + timedelta(hours=hour), RESOURCES[hour % 3], SERVICES[hour % 2]) for hour in range(60)]
FILTERS = [(resource, service) for resource in (None, *RESOURCES) for service in (None, *SERVICES)]
SHAPES: dict[str, Callable[[int], TimeslotQuery]] = {
    "nested windows": lambda n: query(0, 1 + n / 10_000, "r1"),
    "overlapping windows": lambda n: query(n / 10_000, 1 + n / 10_000, "r1"),
    "every resource and service": lambda n: query(0, 1 + n // 12 / 10_000, *FILTERS[n % 12]),
    "no filter": lambda n: query(n / 10_000, 1 + n / 10_000),
}
LIFETIMES = {"cached": Lifetimes(15, 15), "not cached": NOTHING_KEPT}


async def answers(queries: Sequence[TimeslotQuery], profile: EhrProfile, lifetimes: Lifetimes) -> list[Answer]:
    made = Gateway(ModelEhr(SLOTS, profile), Profiles([profile]), lifetimes)
    request = made.request(ModelUnitLists(UnitLists.BOTH))
    try:
        # What resources ask for comes after what their care unit asks for.
        first = await request.answer(queries[: len(queries) // 2])
        return [*first, *await request.answer(queries[len(queries) // 2 :])]
    finally:
        request.close()


@pytest.mark.parametrize("lifetimes", LIFETIMES.values(), ids=LIFETIMES)
@pytest.mark.parametrize("policy", FilterPolicy)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_twice_the_queries_take_about_twice_the_work(
    shape: Callable[[int], TimeslotQuery], policy: FilterPolicy, lifetimes: Lifetimes
) -> None:
    profile = replace(PLAIN, filter_policy=policy)

    def calls(count: int) -> int:
        queries = [shape(number) for number in range(count)]
        return calls_of(lambda: asyncio.run(answers(queries, profile, lifetimes)))

    assert calls(800) < 2.7 * calls(400)


def test_many_queries_get_the_slots_that_each_gets_alone() -> None:
    queries = [SHAPES["every resource and service"](number) for number in range(1_200)]

    together = asyncio.run(answers(queries, PLAIN, NOTHING_KEPT))

    ehr = ModelEhr(SLOTS, PLAIN)
    assert [getattr(each, "slots", None) for each in together] == [ehr.owned(each).slots for each in queries]


def test_others_have_their_turn_while_many_queries_are_planned_and_answered() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def both() -> None:
        task = asyncio.create_task(other())
        await answers([query(n % 28, n % 28 + 1, f"r{n // 28}") for n in range(6_000)], PLAIN, NOTHING_KEPT)
        task.cancel()

    asyncio.run(both())

    # At least one for each five hundred queries that are looked at, and each two hundred and fifty that are answered.
    assert turns > 6_000 / 500 + 6_000 / 250


def test_a_query_that_is_spread_over_more_than_the_request_may_call_is_refused_before_it_is_spread() -> None:
    profile = replace(PLAIN, filter_policy=FilterPolicy.BOTH)
    ids = tuple(f"r{number}" for number in range(20_000))

    async def refused() -> Answer:
        made = Gateway(ModelEhr(SLOTS, profile), Profiles([profile]))
        request = made.request(ModelUnitLists(UnitLists.BOTH, resources=ids, services=ids))
        request.scope.most_calls = 200
        [answer] = await request.answer([query(0, 9)])
        request.close()
        return answer

    error = asyncio.run(refused())

    assert isinstance(error, OperationTooLarge)
    assert "400000000 upstream calls" in error.message
