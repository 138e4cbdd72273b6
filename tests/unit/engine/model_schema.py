"""A schema with every kind of field, whose `pace` arguments say how long a resolver takes and in what way."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, NewType, cast

import strawberry
from graphql import GraphQLSchema
from strawberry import UNSET
from strawberry.schema.config import StrawberryConfig

from gateway.engine.executor import Info as EngineInfo
from gateway.engine.lazy_list import DEPENDS_ONLY_ON, FragmentCache, LazyObjectList, ObjectList, as_list

DateTime = NewType("DateTime", str)
DATE_TIME = strawberry.scalar(name="DateTime", serialize=str, parse_value=datetime.fromisoformat)
PLAIN_SCALARS = frozenset({"DateTime"})
Shy = NewType("Shy", str)
SHY = strawberry.scalar(name="Shy", serialize=lambda _: None)


@strawberry.enum
class Kind(Enum):
    ROUND = "r"
    SQUARE = "s"


@dataclass(frozen=True)
class Item:
    """An item of a lazy list: codes for colour, grade, stock and owner, which translations make values of."""

    name: str | None = "one"
    when: str = "2026-12-01T08:00:00Z"
    colour: int | None = None
    grade: int = 1
    stock: int | None = 1
    size: int | None = 5
    owner_id: int | None = 1
    kind: Kind = Kind.ROUND
    price: Decimal = Decimal("1.0")


@dataclass
class World:
    """The context of a request, with the paces of resolvers that are still waiting."""

    items: list[Item]
    fragments: FragmentCache = field(default_factory=lambda: FragmentCache(100_000))
    waiting: list[str] = field(default_factory=list)


class Info(EngineInfo[World, None]):
    """The info of the resolvers below."""


async def paced(pace: str, world: World) -> None:
    """Take as long, and in such a way, as a document says."""
    world.waiting.append(pace)
    try:
        await PACES[pace](world)
    finally:
        world.waiting.remove(pace)


async def _at_once(_: World) -> None:
    return


async def _done(_: World) -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_result(None)
    await future


async def _pending(_: World) -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.call_soon(future.set_result, None)
    await future


async def _several(world: World) -> None:
    for each in (_pending, _sleep, _done, _gather):
        await each(world)


async def _sleep(_: World) -> None:
    await asyncio.sleep(0)


async def _gather(world: World) -> None:
    await asyncio.gather(_pending(world), _sleep(world))


async def _task(world: World) -> None:
    await asyncio.create_task(_pending(world))


async def _fails(_: World) -> None:
    raise ValueError


async def _fails_late(world: World) -> None:
    await _pending(world)
    raise ValueError


async def _failed(_: World) -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_exception(ValueError())
    await future


async def _gathers_a_failure(world: World) -> None:
    await asyncio.gather(_sleep(world), _fails_after_all(world))


async def _fails_after_all(world: World) -> None:
    for _ in range(5):
        await _sleep(world)
    raise ValueError


async def _cancelled(_: World) -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def _never(_: World) -> None:
    await asyncio.get_running_loop().create_future()


async def _never_gathered(world: World) -> None:
    await asyncio.gather(_never(world), _never(world))


async def _stubborn(world: World) -> None:
    try:
        await _never(world)
    except GeneratorExit:
        await _sleep(world)
        raise


async def _alien(_: World) -> None:
    await _Alien()


class _Alien:
    def __await__(self) -> Generator[str, None, None]:
        yield "what no event loop knows"


GOOD_PACES: dict[str, Callable[[World], Awaitable[None]]] = {
    "now": _at_once,
    "done": _done,
    "pending": _pending,
    "several": _several,
    "sleep": _sleep,
    "gather": _gather,
    "task": _task,
}
BAD_PACES: dict[str, Callable[[World], Awaitable[None]]] = {
    "fails": _fails,
    "fails late": _fails_late,
    "failed": _failed,
    "gathers a failure": _gathers_a_failure,
}
PACES = {
    **GOOD_PACES,
    **BAD_PACES,
    "cancelled": _cancelled,
    "never": _never,
    "never gathered": _never_gathered,
    "stubborn": _stubborn,
    "alien": _alien,
}


@strawberry.interface
class Named:
    name: str


@strawberry.type
class Place:
    street: str
    number: int | None


@strawberry.type
class Owner(Named):
    place: Place | None = None
    rank: int = 1

    @strawberry.field
    async def things(self, info: Info, pace: str = "now") -> list["Thing"]:
        await paced(pace, info.context)
        return [view(item) for item in info.context.items]

    @strawberry.field
    def compact(self, info: Info) -> list["Thing"]:
        return compacted(info.context)


@strawberry.type
class Thing(Named):
    when: DateTime
    colour: str | None
    grade: str
    stock: int
    size: int | None
    owner_id: strawberry.ID | None
    kind: Kind
    price: Decimal
    place: Place | None
    code: strawberry.ID
    shy: Shy = Shy("not to be seen")

    @strawberry.field(metadata={DEPENDS_ONLY_ON: ("when", "size")})
    def label(self) -> str | None:
        return None if self.size is None else f"{self.when} {self.size}"

    @strawberry.field(metadata={DEPENDS_ONLY_ON: ("owner_id",)})
    async def owner(self, info: Info, pace: str = "now") -> Owner | None:
        await paced(pace, info.context)
        return owner(self.owner_id)

    @strawberry.field(metadata={DEPENDS_ONLY_ON: ()})
    async def home(self, info: Info, pace: str = "now") -> Owner:
        await paced(pace, info.context)
        return Owner(name="home")

    @strawberry.field(metadata={DEPENDS_ONLY_ON: ("owner_id",)})
    def kin(self) -> list[Named]:
        return [each for each in (owner(self.owner_id), Owner(name="uncle")) if each is not None]

    @strawberry.field
    def shout(self, times: int = 1) -> str:
        return self.name.upper() * times

    @strawberry.field
    async def again(self, info: Info, pace: str = "now") -> list["Thing"]:
        await paced(pace, info.context)
        return [self, self]


class _Made(dict[Any, Any]):
    """Makes a translation when one is looked up."""

    def __missing__(self, code: Any) -> Any:
        made = self[code] = {None: "none", 1: "good", 2: "bad"}.get(code)
        return made


class _Stocks(dict[Any, Any]):
    def __missing__(self, code: int | None) -> int | None:
        return {None: 0, 1: 10, 2: 20}.get(code)


COLOURS = {None: "none", 1: "red", 2: 'gr"een\\', 3: None}
OWNERS = {None: None, 1: strawberry.ID("1"), 2: strawberry.ID("2"), 3: strawberry.ID("3")}


def owner(owner_id: str | None) -> Owner | None:
    return Owner(name=f"o{owner_id}", place=Place(street="Götgatan", number=7)) if owner_id in {"1", "2"} else None


def code(item: Item) -> strawberry.ID:
    return strawberry.ID(f'"{item.name}" {item.when}')


def view(item: Item) -> Thing:
    return Thing(
        name=cast("str", item.name),
        when=DateTime(item.when),
        colour=COLOURS[item.colour],
        grade=_Made()[item.grade],
        stock=cast("int", _Stocks()[item.stock]),
        size=item.size,
        owner_id=OWNERS[item.owner_id],
        kind=item.kind,
        price=item.price,
        place=Place(street=item.when, number=item.size) if item.size else None,
        code=code(item),
    )


def compacted(world: World) -> list[Thing]:
    translations = {"colour": COLOURS, "grade": _Made(), "stock": _Stocks(), "owner_id": OWNERS}
    return as_list(LazyObjectList(world.items, view, translations, world.fragments, "compact", computed={"code": code}))


@strawberry.type
class Query:
    rootless: int = 0

    @strawberry.field
    async def compact(self, info: Info, pace: str = "now") -> list[Thing]:
        await paced(pace, info.context)
        return compacted(info.context)

    @strawberry.field
    def viewed(self, info: Info) -> list[Thing] | None:
        return ObjectList(map(view, info.context.items), info.context.fragments)

    @strawberry.field
    def things(self, info: Info) -> list[Thing]:
        return [view(item) for item in info.context.items]

    @strawberry.field
    async def named(self, info: Info, pace: str = "now") -> list[Named]:
        await paced(pace, info.context)
        return [*map(view, info.context.items), Owner(name="o")]

    @strawberry.field
    def grid(self, info: Info) -> list[list[Thing] | None]:
        things = [view(item) for item in info.context.items]
        return [things, None, [], things[:1]]

    @strawberry.field
    def numbers(self) -> list[list[int | None] | None] | None:
        return [[1, None, 3], None, []]

    @strawberry.field
    def owned(self, info: Info) -> list[Owner | None]:
        return [owner(OWNERS[item.owner_id]) for item in info.context.items]

    @strawberry.field
    def nodes(self, info: Info) -> list[Named | None]:
        found = [owner(OWNERS[item.owner_id]) for item in info.context.items]
        return cast("list[Named | None]", [ValueError("none") if one is None else one for one in found])

    @strawberry.field
    def others(self, info: Info) -> list[Thing]:
        return cast("list[Thing]", info.context.items)

    @strawberry.field
    async def strict(self, info: Info, pace: str = "now") -> Thing:
        await paced(pace, info.context)
        return next(map(view, info.context.items), cast("Thing", None))

    @strawberry.field
    def promised(self, info: Info) -> int:
        async def promise() -> int:
            await paced("pending", info.context)
            return 5

        return cast("int", promise())

    @strawberry.field
    def echo(
        self,
        id: strawberry.ID,  # noqa: A002 # GraphQL's name
        text: str | None = UNSET,
        numbers: list[int] = [1, 2],  # noqa: B006 # a default that is changed, as a careless resolver would
        nested: list[list[bool | None]] | None = UNSET,
        since: datetime | None = None,
        share: float = 0.5,
    ) -> str:
        said = f"{id} {text!r} {numbers} {nested} {since} {share}"
        numbers.append(len(numbers))
        return said

    @strawberry.field
    def of_kind(self, kind: Kind = Kind.ROUND) -> str:
        return kind.name

    @strawberry.field
    def perhaps(self, text: strawberry.Maybe[str]) -> str:
        return repr(text)


@strawberry.type
class Mutation:
    @strawberry.mutation
    def promised(self) -> int:
        return 6


def core(schema: strawberry.Schema) -> GraphQLSchema:
    """The core schema, taken as the engine takes it."""
    found = schema._schema  # noqa: SLF001 # Strawberry names no public way to its core schema
    assert isinstance(found, GraphQLSchema)
    return found


MODEL = strawberry.Schema(
    Query,
    Mutation,
    types=[Thing, Owner],
    config=StrawberryConfig(info_class=Info, scalar_map={datetime: DATE_TIME, DateTime: DATE_TIME, Shy: SHY}),
)
SCHEMA = core(MODEL)
