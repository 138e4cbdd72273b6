"""What an operation reads of the lists of care units is bounded, and so is what it reads of timeslots."""

import asyncio
from collections.abc import Sequence

import pytest

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.models import CareUnitKey, Resource
from gateway.fetch.cache_budget import Lifetimes
from gateway.schema.context import OperationLimits
from tests.unit.asking import NOTHING_KEPT
from tests.unit.schema.graph import KEPT, Graph
from tests.unit.schema.world import Unit, World

ONE = EhrProfile("one", "One")
PEOPLE = tuple(f"r{number}" for number in range(250))
LISTS = "{ careUnits { resources { id } } }"
SLOTS = "{ careUnits { timeslots(first: 1) { start } } }"


class SlowWorld(World):
    """Its care units answer one after the other."""

    async def resources(self, care_unit: CareUnitKey) -> Sequence[Resource]:
        for _ in range(5 * int(care_unit.care_unit[1:])):
            await asyncio.sleep(0)
        return await super().resources(care_unit)


def graph(lifetimes: Lifetimes = NOTHING_KEPT) -> Graph:
    units = {CareUnitKey("one", f"u{number}"): Unit(resources=PEOPLE, days=1) for number in range(6)}
    return Graph(SlowWorld(units), [ONE], lifetimes)


@pytest.mark.parametrize("lifetimes", [NOTHING_KEPT, KEPT])
def test_lists_that_take_more_bytes_than_an_operation_may_read_are_too_large(lifetimes: Lifetimes) -> None:
    answer = asyncio.run(graph(lifetimes).ask(LISTS, limits=OperationLimits(read_list_bytes=500_000)))

    assert answer.codes == {"OPERATION_TOO_LARGE"}
    assert all("would read lists of" in message and "the limit is 500000" in message for message in answer.messages)
    assert not asyncio.run(graph(lifetimes).ask(LISTS, limits=OperationLimits(read_list_bytes=5_000_000))).errors


def test_lists_that_are_cached_are_not_counted() -> None:
    shared = graph(KEPT)

    async def asked() -> set[str]:
        await shared.ask(LISTS)
        return (await shared.ask(LISTS, limits=OperationLimits(read_list_bytes=1))).codes

    assert asyncio.run(asked()) == set()


@pytest.mark.parametrize("most", [1_499, 1_500])
def test_more_timeslots_than_an_operation_may_read_are_too_large_however_few_it_delivers(most: int) -> None:
    answer = asyncio.run(graph().ask(SLOTS, limits=OperationLimits(read_timeslots=most)))

    if most == 1_500:
        assert not answer.errors
    else:
        assert answer.codes == {"OPERATION_TOO_LARGE"}
        [message] = answer.messages
        assert message.startswith("The operation would read 1500 timeslots or more; the limit is 1499: ask for a")
