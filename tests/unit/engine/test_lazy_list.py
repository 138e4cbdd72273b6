"""Lists for speed: the JSON that a fragment cache holds stays within its budget."""

import asyncio
from collections.abc import Hashable

from gateway.engine.lazy_list import FragmentCache
from tests.unit.engine.answering import THINGS, compiled_data
from tests.unit.engine.model_schema import World


class RecordingCache(FragmentCache):
    """Remembers the selections that it was asked to keep."""

    def __init__(self, budget: int) -> None:
        super().__init__(budget)
        self.asked: set[Hashable] = set()

    def keep(self, selected: Hashable, fragment: bytes) -> None:
        self.asked.add(selected)
        super().keep(selected, fragment)


def test_a_fragment_cache_stays_within_its_budget() -> None:
    fragments = RecordingCache(300)
    world = World(THINGS, fragments)
    for names in ("name", "when", "name when", "colour size when grade kind", "owner { name }"):
        asyncio.run(compiled_data(f"{{ compact {{ {names} }} viewed {{ {names} }} }}", world))

    cached = [fragments.get(each) or b"" for each in fragments.asked]
    assert len(cached) == 8
    assert 0 < sum(map(len, cached)) <= 300
