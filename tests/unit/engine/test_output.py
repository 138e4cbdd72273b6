"""What is kept of lists stays in its bound."""

import asyncio
from collections.abc import Hashable

from gateway.engine.lazy_list import FragmentCache
from tests.unit.engine.answering import THINGS, directly
from tests.unit.engine.model_schema import World


class Watched(FragmentCache):
    """Knows what it was asked to keep."""

    def __init__(self, budget: int) -> None:
        super().__init__(budget)
        self.asked: set[Hashable] = set()

    def keep(self, selected: Hashable, made: bytes) -> None:
        self.asked.add(selected)
        super().keep(selected, made)


def test_what_is_kept_of_lists_stays_within_its_room() -> None:
    fragments = Watched(300)
    world = World(THINGS, fragments)
    for names in ("name", "when", "name when", "colour size when grade kind", "owner { name }"):
        asyncio.run(directly(f"{{ compact {{ {names} }} viewed {{ {names} }} }}", world))

    kept = [fragments.get(each) or b"" for each in fragments.asked]
    assert len(kept) == 8
    assert 0 < sum(map(len, kept)) <= 300
