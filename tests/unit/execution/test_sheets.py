"""What is kept of lists stays in its bound."""

import asyncio
from collections.abc import Hashable

from gateway.domain.rendered import Rendered
from tests.unit.execution.answering import THINGS, directly
from tests.unit.execution.model_schema import World


class Watched(Rendered):
    """Knows what it was asked to keep."""

    def __init__(self, room: int) -> None:
        super().__init__(room)
        self.asked: set[Hashable] = set()

    def keep(self, selected: Hashable, made: bytes) -> None:
        self.asked.add(selected)
        super().keep(selected, made)


def test_what_is_kept_of_lists_stays_within_its_room() -> None:
    rendered = Watched(300)
    world = World(THINGS, rendered)
    for names in ("name", "when", "name when", "colour size when grade kind", "owner { name }"):
        asyncio.run(directly(f"{{ compact {{ {names} }} viewed {{ {names} }} }}", world))

    kept = [rendered.get(each) or b"" for each in rendered.asked]
    assert len(kept) == 8
    assert 0 < sum(map(len, kept)) <= 300
