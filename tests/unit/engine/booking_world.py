"""What the resolvers of the booking schema do, decided by a number of their object, the field and the world.

They give a value, null, an exception or an awaitable, raise at once or after a while. So both executors meet the same,
in whatever order they run it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any, TypeVar, cast
from zlib import crc32

from graphql import GraphQLError

from gateway.engine.executor import Info as EngineInfo

T = TypeVar("T")


@dataclass
class World:
    """A context: of a hundred resolvers `trouble` misbehave. `shares` has equal numbers be the same object.

    With `own_paths` GraphQLErrors that resolvers raise have a path of their own.
    """

    seed: int = 0
    trouble: int = 0
    waits: bool = True
    shares: bool = True
    own_paths: bool = False
    longest: int = 3
    runs: Counter[str] = field(default_factory=Counter)
    _known: dict[Any, Any] = field(default_factory=dict)

    def anew(self, *, shares: bool | None = None) -> "World":
        """The same world, in which nothing has happened."""
        decided = self.shares if shares is None else shares
        return World(self.seed, self.trouble, self.waits, decided, self.own_paths, self.longest)

    def number(self, *about: Any) -> int:
        """What chance says about something, the same each time."""
        return crc32(repr((self.seed, *about)).encode())

    def one(self, kind: Callable[..., T], number: int) -> T:
        """The object of a class and a number, of which there are few."""
        key = kind, number % 5
        if not self.shares:
            return made(kind, number % 5)
        if key not in self._known:
            self._known[key] = made(kind, number % 5)
        return cast("T", self._known[key])


def made(kind: Callable[..., T], number: int) -> T:
    """An object of a class of the schema, or what a function gives."""
    takes_name = isinstance(kind, type) and not issubclass(kind, int)
    return kind(number=number) if takes_name else kind(number)


class Info(EngineInfo[World, None]):
    """The info of the resolvers below."""


def behave(world: World, about: tuple[Any, ...], make: Callable[[int], Any]) -> Any:
    """Give what `make` makes of a number, or something else. Raises what a resolver may raise."""
    number = world.number(*about)
    if number % 100 >= world.trouble:
        return _perhaps_later(world, about, make(number // 100))
    match number // 100 % 7:
        case 0 | 1:
            return None
        case 2:
            raise ValueError("raised")
        case 3:
            raise GraphQLError("own", path=["else", 1] if world.own_paths else None, extensions={"code": "OWN"})
        case 4:
            return ValueError("given")
        case 5:
            return _Other()
        case _:
            return _perhaps_later(world, about, None)


def _perhaps_later(world: World, about: tuple[Any, ...], value: Any) -> Any:
    if not world.waits or world.number("later", *about) % 100 >= world.trouble:
        return value
    return _Later(world, about, value)


@dataclass(eq=False)
class _Later:
    """An awaitable that nobody has to await."""

    world: World
    about: tuple[Any, ...]
    value: Any

    def __await__(self) -> Generator[Any, None, Any]:
        yield from wait(self.world, *self.about).__await__()
        return self.value


async def wait(world: World, *about: Any) -> None:
    """Wait for some turns of the loop."""
    if world.waits:
        for _ in range(world.number("wait", *about) % 4):
            await asyncio.sleep(0)


class _Other:
    """An object of no type of the schema."""

    def __repr__(self) -> str:
        return "<other>"


def several(world: World, about: tuple[Any, ...], make: Callable[[int], T]) -> list[T]:
    """A list in some form, whose items misbehave as fields do."""
    length = world.number("length", *about) % (world.longest + 1)

    def items() -> Iterable[Any]:
        for index in range(length):
            try:
                yield behave(world, (*about, index), make)
            except (ValueError, GraphQLError) as error:
                yield error

    found: Any = items()
    match world.number("form", *about) % 5:
        case 0:
            found = tuple(found)
        case 1 | 2 | 3:
            found = list(found)
    return cast("list[T]", found)


def given(source: Any, info: Info, name: str, kind: Callable[..., T], *arguments: Any) -> T:
    """What a field of an object gives."""
    world = info.context
    world.runs[name] += 1
    about = type(source).__name__, getattr(source, "number", 0), name, *arguments
    return cast("T", behave(world, about, lambda number: world.one(kind, number)))


async def given_later(source: Any, info: Info, name: str, kind: Callable[..., T], *arguments: Any) -> T:
    await wait(info.context, name, getattr(source, "number", 0))
    # What a coroutine gives is no coroutine: graphql-core awaits but once.
    found = given(source, info, name, kind, *arguments)
    return cast("T", await found) if isawaitable(found) else found


def listed(source: Any, info: Info, name: str, kind: Callable[..., T], *arguments: Any) -> list[T]:
    """A list that a field of an object gives."""
    world = info.context
    world.runs[name] += 1
    about = type(source).__name__, getattr(source, "number", 0), name, *arguments
    found = behave(world, about, lambda _: several(world, about, lambda number: world.one(kind, number)))
    return cast("list[T]", found)


async def listed_later(source: Any, info: Info, name: str, kind: Callable[..., T], *arguments: Any) -> list[T]:
    await wait(info.context, name, getattr(source, "number", 0))
    found = listed(source, info, name, kind, *arguments)
    return cast("list[T]", await found) if isawaitable(found) else found
