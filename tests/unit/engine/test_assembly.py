"""An answer that is too large is refused while it is made, before much more memory is taken than it may hold."""

import tracemalloc
from dataclasses import dataclass, field

import pytest
import strawberry
from strawberry.schema.config import StrawberryConfig

from gateway.engine.budget import ExecutionLimits
from gateway.engine.engine import Operation
from gateway.engine.errors import LimitExceededError
from gateway.engine.executor import Info as EngineInfo
from gateway.engine.lazy_list import DEPENDS_ONLY_ON
from tests.unit.engine.answering import engine_of

MOST = 1024 * 1024
LIMITS = ExecutionLimits(work=10_000_000, answer_bytes=MOST)


@dataclass
class World:
    """Slots of a hundred owners, all of one unit."""

    unit: "Unit" = field(default_factory=lambda: Unit(name="unit"))
    owners: "list[Resource]" = field(default_factory=lambda: [Resource(number=number) for number in range(100)])
    slots: "list[Slot]" = field(
        default_factory=lambda: [Slot(start="x" * 100, owner_id=number % 100) for number in range(5_000)]
    )


class Info(EngineInfo[World, None]):
    """The info of the resolvers below."""


@strawberry.type
class Slot:
    start: str
    owner_id: int

    @strawberry.field(metadata={DEPENDS_ONLY_ON: ("owner_id",)})
    def owner(self, info: Info) -> "Resource":
        return info.context.owners[self.owner_id]

    @strawberry.field(metadata={DEPENDS_ONLY_ON: ()})
    def text(self) -> str:
        return "x" * 100


@strawberry.type
class Huge:
    text: str


class NoMemory:
    """An attribute for which there is no memory; it counts how often it is read."""

    reads = 0

    def __get__(self, *_: object) -> str:
        NoMemory.reads += 1
        raise MemoryError

    def __set__(self, *_: object) -> None:
        """Keep nothing."""


setattr(Huge, "text", NoMemory())  # noqa: B010 # a type checker takes it for a str, as Strawberry does


@strawberry.type
class Resource:
    number: int

    @strawberry.field
    def unit(self, info: Info) -> "Unit":
        return info.context.unit


@strawberry.type
class Unit:
    name: str

    @strawberry.field
    def slots(self, info: Info, first: int = 5_000) -> list[Slot]:
        return info.context.slots[:first]


@strawberry.type
class Query:
    @strawberry.field
    def huge(self) -> list[Huge]:
        return [Huge(text="") for _ in range(5_000)]

    @strawberry.field
    def unit(self, info: Info) -> Unit:
        return info.context.unit

    @strawberry.field
    def twice(self, info: Info) -> list[Resource]:
        return [each for each in info.context.owners for _ in range(2)]


ENGINE = engine_of(strawberry.Schema(Query, config=StrawberryConfig(info_class=Info)), LIMITS)


@pytest.mark.parametrize(
    "document",
    [
        "{ unit { slots(first: 100) { owner { unit { slots { start } } } } } }",
        "{ twice { unit { slots { start } } } }",
        "{ unit { " + " ".join(f"s{number}: slots {{ start }}" for number in range(100)) + " } }",
        "{ unit { " + " ".join(f"s{number}: slots {{ text }}" for number in range(100)) + " } }",
    ],
    ids=["cells", "shared objects", "lists", "lists with resolvers"],
)
async def test_an_answer_that_is_too_large_takes_little_more_memory_than_it_may(document: str) -> None:
    world = World()
    operation = Operation(document)
    await ENGINE.execute(operation, world)
    tracemalloc.start()
    try:
        result = await ENGINE.execute(operation, world)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert result.data is None
    assert isinstance(result.errors[0].original_error, LimitExceededError)
    assert peak < 20 * MOST


async def test_a_list_for_which_there_is_no_memory_is_not_written_a_second_time() -> None:
    NoMemory.reads = 0

    result = await ENGINE.execute(Operation("{ huge { text } }"), World())

    assert [type(error.original_error) for error in result.errors] == [MemoryError]
    assert result.data == [b"null"]
    assert NoMemory.reads == 1
