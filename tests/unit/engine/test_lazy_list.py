"""Lists for speed: the JSON that a fragment cache holds stays within its budget."""

import asyncio
import gc
import tracemalloc
from collections.abc import Hashable

import orjson
import pytest
import strawberry
from strawberry.schema.config import StrawberryConfig

from gateway.engine.engine import Engine, EngineConfig, Operation
from gateway.engine.executor import Info
from gateway.engine.lazy_list import FragmentCache, LazyObjectList, as_list
from tests.unit.engine.answering import THINGS, data_of
from tests.unit.engine.model_schema import World


class RecordingCache(FragmentCache):
    """Remembers the selections that it was asked to keep."""

    def __init__(self, budget: int) -> None:
        super().__init__(budget)
        self.asked: set[Hashable] = set()

    def keep(self, selected: Hashable, fragment: bytes, key_bytes: int | None = None) -> None:
        self.asked.add(selected)
        super().keep(selected, fragment, key_bytes)


def test_a_fragment_cache_stays_within_its_budget() -> None:
    fragments = RecordingCache(2_000)
    world = World(THINGS, fragments)
    for names in ("name", "when", "name when", "colour size when grade kind", "owner { name }"):
        asyncio.run(data_of(f"{{ compact {{ {names} }} viewed {{ {names} }} }}", world))

    cached = [fragments.get(each) or b"" for each in fragments.asked]
    assert len(cached) == 8
    assert 0 < sum(map(len, cached)) <= 1_500


def test_a_fragment_cache_takes_at_most_its_budget_however_long_its_keys_and_short_its_texts_are() -> None:
    gc.collect()
    tracemalloc.start()
    fragments = FragmentCache(20_000)
    for number in range(2_000):
        columns = tuple((f"alias{number}_{each}", (f"attribute{number}_{each}",)) for each in range(number % 40))
        fragments.keep((("Thing", columns), (number, "part")), b"[" + b"{}," * (number % 50) + b"{}]")
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert size < 1.3 * 20_000


def test_an_empty_list_and_one_larger_than_the_budget_are_not_cached() -> None:
    fragments = FragmentCache(1_000)
    fragments.keep("empty", b"[]")
    fragments.keep("large", b"[" + b"1," * 1_000 + b"1]")
    fragments.keep("some", b"[" + b"1," * 100 + b"1]")

    assert [fragments.get(each) is not None for each in ("empty", "large", "some")] == [False, False, True]


@pytest.mark.parametrize("count", [1, 600, 700, 1_000, 3_000])
@pytest.mark.parametrize(
    "text", ["{ compact { name } }", "{ viewed { size } }", "{ strict { home { compact { name } } } compact { name } }"]
)
async def test_a_list_of_any_length_is_the_same_from_its_cache(text: str, count: int) -> None:
    world = World(THINGS * count, FragmentCache(10**8))

    first = await data_of(text, world)

    assert orjson.loads(first)
    assert await data_of(text, world) == first
    assert await data_of(text, world) == first


@pytest.mark.parametrize("count", [1, 700, 3_000])
async def test_what_a_list_computes_of_its_items_is_what_its_views_hold(count: int) -> None:
    text = "{ compact { code name again: code } things { code name again: code } }"

    answer = orjson.loads(await data_of(text, World(THINGS * count)))

    assert answer["compact"] == answer["things"]
    assert all(each["code"] == each["again"] for each in answer["compact"])


@strawberry.type
class Slot:
    name: str
    code: strawberry.ID


@strawberry.type
class Query:
    @strawberry.field
    def slots(self, info: strawberry.Info[LazyObjectList[Slot, Slot], None]) -> list[Slot]:
        return as_list(info.context)


@pytest.mark.parametrize("count", [5, 5_000])
async def test_a_list_computes_nothing_where_it_is_not_selected_or_kept(count: int) -> None:
    computed: list[Slot] = []

    def code(slot: Slot) -> str:
        computed.append(slot)
        return f"code of {slot.name}"

    items = [Slot(name=f"slot {number}", code=strawberry.ID("")) for number in range(count)]
    slots = LazyObjectList(items, lambda item: item, {}, FragmentCache(10**7), computed={"code": code})
    engine = Engine(strawberry.Schema(Query, config=StrawberryConfig(info_class=Info)), EngineConfig())

    async def asked(text: str) -> int:
        computed.clear()
        result = await engine.execute(Operation(text), slots)
        assert result.data is not None
        return len(computed)

    assert [await asked(text) for text in ("{ slots { name } }", "{ slots { code } }", "{ slots { code } }")] == [
        0,
        count,
        0,
    ]
