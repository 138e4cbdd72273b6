"""A small clinic whose resolvers count their runs: units and resources that refer to each other, and many slots."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

import strawberry
from strawberry.schema.config import StrawberryConfig

from gateway.engine.executor import Info as EngineInfo
from gateway.engine.lazy_list import DEPENDS_ONLY_ON, LazyObjectList, as_list


@dataclass
class Clinic:
    """A context. `copies` makes each object anew; `is_down` has the care unit of a slot fail."""

    resources: int = 30
    slots: int = 10
    copies: bool = False
    is_down: bool = False
    runs: Counter[str] = field(default_factory=Counter)
    _unit: "CareUnit | None" = None
    _resources: "list[Resource] | None" = None

    def unit(self) -> "CareUnit":
        if self._unit is None or self.copies:
            self._unit = CareUnit(name="unit")
        return self._unit

    def listed(self) -> "list[Resource]":
        if self._resources is None or self.copies:
            self._resources = [Resource(name=f"r{each}") for each in range(self.resources)]
        return self._resources


@dataclass
class Pauses:
    """Counts the pauses of an execution, and goes on at once."""

    on_pause: Callable[[], None] = lambda: None
    count: int = 0

    async def pause(self) -> None:
        self.count += 1
        self.on_pause()

    def wait(self) -> None:
        return


class Info(EngineInfo[Clinic, None]):
    """The info of the resolvers below."""


@strawberry.enum
class Kind(Enum):
    DAY = 1
    NIGHT = 2


@dataclass(frozen=True)
class Item:
    """What a slot is a view of."""

    start: str = "2026-12-01"
    end: int = 5


ITEM = Item()


@strawberry.type
class Slot:
    start: str
    end: int

    @strawberry.field(metadata={DEPENDS_ONLY_ON: ("start",)})
    async def care_unit(self, info: Info) -> "CareUnit":
        info.context.runs["careUnit of a slot"] += 1
        if info.context.is_down:
            raise ValueError("down")
        return info.context.unit()

    @strawberry.field
    def each_unit(self, info: Info) -> "CareUnit":
        info.context.runs["eachUnit"] += 1
        if info.context.is_down:
            raise ValueError("down")
        return info.context.unit()


def slots_of(clinic: Clinic, first: int | None) -> list[Slot]:
    clinic.runs["slots"] += 1
    items = [ITEM] * (clinic.slots if first is None else first)
    return as_list(LazyObjectList(items, lambda item: Slot(start=item.start, end=item.end), {}))


@strawberry.type
class Resource:
    name: str

    @strawberry.field
    def care_unit(self, info: Info) -> "CareUnit":
        info.context.runs["careUnit"] += 1
        return info.context.unit()

    @strawberry.field
    def slots(self, info: Info, first: int | None = None) -> list[Slot] | None:
        return slots_of(info.context, first)


@strawberry.type
class CareUnit:
    name: str

    @strawberry.field
    async def resources(self, info: Info) -> list[Resource]:
        info.context.runs["resources"] += 1
        return info.context.listed()

    @strawberry.field
    def slots(self, info: Info, first: int | None = None) -> list[Slot] | None:
        return slots_of(info.context, first)

    @strawberry.field
    def slots_of_kind(self, info: Info, kind: Kind = Kind.DAY, first: int | None = None) -> list[Slot] | None:
        assert kind is Kind.DAY
        return slots_of(info.context, first)


@strawberry.type
class Query:
    @strawberry.field
    def unit(self, info: Info) -> CareUnit | None:
        return info.context.unit()

    @strawberry.field
    def units(self, info: Info) -> list[CareUnit]:
        return [info.context.unit()]

    @strawberry.field
    def million(self, info: Info, millions: int) -> list[CareUnit]:
        return [info.context.unit()] * (1_000_000 * millions)

    @strawberry.field
    def lazy(self, info: Info, millions: int) -> list[CareUnit]:
        def view(_: int) -> CareUnit:
            info.context.runs["view"] += 1
            return info.context.unit()

        return as_list(LazyObjectList(range(1_000_000 * millions), view, {}))

    @strawberry.field
    def length(self, ids: list[strawberry.ID], nested: list[list[int]] | None = None) -> int:
        return len(ids) + len(nested or [])


@strawberry.type
class Mutation:
    @strawberry.mutation
    def unit(self, info: Info) -> CareUnit | None:
        return info.context.unit()


COUNTED = strawberry.Schema(Query, Mutation, config=StrawberryConfig(info_class=Info))
