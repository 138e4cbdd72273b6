"""The days of a month from slots in memory, beside the list of these slots, over the whole graph below HTTP."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.ids import care_unit_id
from gateway.domain.models import CareUnitKey, Timeslot
from gateway.domain.queries import Step
from gateway.domain.timeslots import TimeslotList
from gateway.engine.engine import Operation
from tests.unit.schema.graph import KEPT, NOW, Graph
from tests.unit.schema.world import Unit, World

UNIT = CareUnitKey("one", "u1")
NUMBER = 50_000
STARTS = [(NOW + timedelta(minutes=5 * (each // 6))).isoformat() for each in range(NUMBER)]
SLOTS = [Timeslot(start, None, f"r{each % 6}", f"s{each % 3}") for each, start in enumerate(STARTS)]
END = (NOW + timedelta(days=30)).isoformat()
DAYS = "availability { days { date timeslotCount } }"
LIST = f'timeslots(end: "{END}") {{ id start end resourceId healthcareServiceId }}'


class FullWorld(World):
    """A care unit with very many free times."""

    async def timeslots(self, step: Step) -> TimeslotList:
        return TimeslotList(SLOTS).within(step.window).copy()


@pytest.mark.parametrize("cold", [True, False], ids=["cold", "from memory"])
@pytest.mark.parametrize("selection", [DAYS, LIST], ids=["days", "list"])
def test_month(benchmark: Callable[..., Any], selection: str, *, cold: bool) -> None:
    document = f'{{ careUnit(id: "{care_unit_id(UNIT)}") {{ {selection} }} }}'

    def new_graph() -> Graph:
        return Graph(FullWorld({UNIT: Unit()}), [EhrProfile("one", "One")], KEPT)

    kept = new_graph()

    def answer() -> int:
        graph = new_graph() if cold else kept
        # Each request begins a second later, so that no part of a list is one that was encoded before.
        graph.instant += timedelta(seconds=1)
        context = graph.context()
        result = asyncio.run(graph.engine.run(Operation(document, None, {}), context))
        context.nodes.close()
        assert not result.errors
        return sum(map(len, result.pieces()))

    assert benchmark(answer) > 1_000
