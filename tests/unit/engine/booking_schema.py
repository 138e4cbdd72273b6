"""A schema with the shapes of booking: results that are unions, free times by interface, inputs of every kind."""

from inspect import iscoroutinefunction
from typing import Annotated, Any, cast

import strawberry
from graphql import GraphQLField
from strawberry import UNSET
from strawberry.extensions import FieldExtension
from strawberry.permission import BasePermission
from strawberry.relay import GlobalID
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.schema_converter import GraphQLCoreConverter

from tests.unit.engine.booking_inputs import DAY, LOCAL_TIME, Day, Filter, LocalTime, Range, Reason, TimeOfDay, Weekday
from tests.unit.engine.booking_world import Info, given, given_later, listed, listed_later, made, several, wait
from tests.unit.engine.model_schema import core


class Permitted(BasePermission):
    message = "not permitted"

    def has_permission(self, source: Any, info: strawberry.Info, **_: Any) -> bool:
        return bool(info.context.number("permission", getattr(source, "number", 0)) % 3)


class PermittedLate(BasePermission):
    message = "not permitted later"

    async def has_permission(self, source: Any, info: strawberry.Info, **_: Any) -> bool:
        await wait(info.context, "permission")
        return bool(info.context.number("late permission", getattr(source, "number", 0)) % 3)


class Louder(FieldExtension):
    def resolve(self, next_: Any, source: Any, info: strawberry.Info, **kwargs: Any) -> Any:
        found = next_(source, info, **kwargs)
        return found.upper() if isinstance(found, str) else found


class LouderLater(FieldExtension):
    async def resolve_async(self, next_: Any, source: Any, info: strawberry.Info, **kwargs: Any) -> Any:
        await wait(info.context, "extension")
        found = await next_(source, info, **kwargs)
        return found.upper() if isinstance(found, str) else found


@strawberry.interface
class Node:
    number: int = 0

    @strawberry.field
    def id(self) -> strawberry.ID:
        return strawberry.ID(f"{type(self).__name__}-{self.number}")

    @strawberry.field
    def unit(self, info: Info) -> "CareUnit":
        return given(self, info, "unit", CareUnit)

    @strawberry.field
    async def unit_later(self, info: Info) -> "CareUnit":
        return await given_later(self, info, "unit later", CareUnit)

    @strawberry.field
    def unit_or_null(self, info: Info) -> "CareUnit | None":
        return given(self, info, "unit or null", CareUnit)


def day_of(number: int) -> "AvailabilityDay":
    return AvailabilityDay(number=number, date=Day(f"2026-12-{number + 1:02}"))


@strawberry.interface
class FreeTimes:
    number: int = 0

    @strawberry.field
    def count(self, info: Info) -> int:
        return given(self, info, "count", int)

    @strawberry.field
    async def first(self, info: Info) -> "Timeslot | None":
        return await given_later(self, info, "first", Timeslot)

    @strawberry.field
    def times(self, info: Info, first: int | None = UNSET, after: LocalTime | None = None) -> list["FreeTime"]:
        return listed(self, info, "times", FreeTime, first, after)

    @strawberry.field
    async def timeslots(self, info: Info, first: int | None = UNSET) -> "Connection":
        return await given_later(self, info, "connection", Connection, first)


@strawberry.type
class FreeTime:
    number: int

    @strawberry.field
    def start(self, info: Info) -> LocalTime:
        return LocalTime(
            "refused" if info.context.number("start", self.number) % 100 < info.context.trouble else "8:00"
        )

    @strawberry.field
    async def timeslots(self, info: Info, first: int = 5) -> list["Timeslot"]:
        return await listed_later(self, info, "timeslots", Timeslot, first)


@strawberry.type
class Edge:
    number: int

    @strawberry.field
    def cursor(self) -> GlobalID:
        return GlobalID("Edge", str(self.number))

    @strawberry.field
    def node(self, info: Info) -> "Timeslot":
        return given(self, info, "node", Timeslot)


@strawberry.type
class Connection:
    number: int

    @strawberry.field
    def edges(self, info: Info) -> list[Edge]:
        return listed(self, info, "edges", Edge)

    @strawberry.field
    async def nodes(self, info: Info) -> list["Timeslot"]:
        return await listed_later(self, info, "nodes", Timeslot)

    @strawberry.field
    def total(self, info: Info) -> int | None:
        return given(self, info, "total", int)


@strawberry.type
class Timeslot(Node):
    """Its subclass `TakenSlot` has no type of its own."""

    @strawberry.field(permission_classes=[Permitted])
    def secret(self) -> str | None:
        return f"secret {self.number}"

    @strawberry.field(permission_classes=[PermittedLate])
    async def late_secret(self) -> str:
        return f"late secret {self.number}"

    @strawberry.field(extensions=[Louder()])
    def loud(self, text: str = "loud") -> str:
        return f"{text} {self.number}"

    @strawberry.field(extensions=[LouderLater()])
    async def loud_late(self, text: str | None = None) -> str | None:
        return text

    @strawberry.field
    @staticmethod
    def of_parent(parent: strawberry.Parent["Timeslot"]) -> str:
        return f"{parent.number}"

    @strawberry.field
    @staticmethod
    def of_root(root: Any, weekdays: list[Weekday] = [Weekday.SUNDAY]) -> str:  # noqa: B006 # as a careless resolver would
        weekdays.append(Weekday.MONDAY)
        return f"{root.number} {weekdays}"

    @strawberry.field
    def reason(self, info: Info) -> Reason:
        found: Reason = given(self, info, "reason", lambda number: list(Reason)[number % 2])
        return found

    @strawberry.field
    def reasons(self, info: Info) -> list[list[Reason]] | None:
        world, about = info.context, ("reasons", self.number)
        return several(world, about, lambda n: several(world, (*about, n), lambda m: list(Reason)[m % 2]))


class TakenSlot(Timeslot):
    """A subclass that is no type of the schema."""


@strawberry.type
class CareUnit(Node):
    @strawberry.field
    def slots(self, info: Info, first: int = 2) -> list[Timeslot]:
        return listed(self, info, "slots", Timeslot, first)

    @strawberry.field
    def slots_or_nulls(self, info: Info) -> list[Timeslot | None] | None:
        kinds: list[Any] = [Timeslot, TakenSlot, CareUnit, Timeslot, Timeslot]
        return listed(self, info, "slots or nulls", lambda n: made(kinds[n % 5 if info.context.trouble else 0], n % 5))

    @strawberry.field
    async def grid(self, info: Info) -> list[list[Timeslot] | None]:
        world, about = info.context, ("grid", self.number)
        await wait(world, *about)
        return several(world, about, lambda n: several(world, (*about, n), lambda m: world.one(Timeslot, m)))

    @strawberry.field
    def strict_grid(self, info: Info) -> list[list[Timeslot]] | None:
        world, about = info.context, ("strict grid", self.number)
        return several(world, about, lambda n: several(world, (*about, n), lambda m: world.one(Timeslot, m)))

    @strawberry.field
    def parts(self, info: Info) -> list[FreeTimes]:
        return listed(self, info, "parts", _part)

    @strawberry.field
    async def parts_later(self, info: Info) -> list[FreeTimes | None]:
        return await listed_later(self, info, "parts later", _part)


@strawberry.type
class AvailabilityDay(FreeTimes):
    date: Day


@strawberry.type
class ResourceAvailability(FreeTimes):
    name: str = "resource"

    @classmethod
    def is_type_of(cls, value: Any, _: Any) -> bool:
        return isinstance(value, ResourceAvailability) and value.number != 4

    @strawberry.field
    def days(self, info: Info, include_empty: bool = False) -> list[AvailabilityDay]:  # noqa: FBT002 # a field's argument
        return listed(self, info, "days", day_of, include_empty)


def _part(number: int) -> FreeTimes:
    return day_of(number) if number % 2 else ResourceAvailability(number=number)


@strawberry.interface
class Failure:
    reason: Reason
    message: str


@strawberry.type
class Booked:
    number: int
    replayed: bool = False

    @strawberry.field
    def slot(self, info: Info) -> Timeslot:
        return given(self, info, "booked slot", Timeslot)


@strawberry.type
class Taken(Failure):
    number: int = 0

    @strawberry.field
    async def alternatives(self, info: Info, first: int = 5) -> list[Timeslot] | None:
        return await listed_later(self, info, "alternatives", Timeslot, first)


@strawberry.type
class Refused(Failure):
    retryable: bool | None = None


BookResult = Annotated[Booked | Taken | Refused, strawberry.union("BookResult")]


def _result(number: int) -> Any:
    match number % 3:
        case 0:
            return Booked(number=number)
        case 1:
            return Taken(reason=Reason.TAKEN, message="taken", number=number)
        case _:
            return Refused(reason=Reason.LATE, message=cast("str", None if number % 2 else "refused"))


@strawberry.type
class Query:
    @strawberry.field
    def unit(self, info: Info) -> CareUnit | None:
        return given(self, info, "root unit", CareUnit)

    @strawberry.field
    async def units(self, info: Info) -> list[CareUnit] | None:
        return await listed_later(self, info, "root units", CareUnit)

    @strawberry.field
    async def nodes(self, info: Info, ids: list[GlobalID] | None = None) -> list[Node | None]:
        return await listed_later(self, info, "root nodes", _node, str(ids))

    @strawberry.field
    def node(self, info: Info, id: GlobalID) -> Node | None:  # noqa: A002 # GraphQL's name
        return given(self, info, "root node", _node, str(id))

    @strawberry.field
    def strict_node(self, info: Info) -> Node:
        return given(self, info, "root strict node", _node)

    @strawberry.field
    def availability(self, info: Info, range: Range | None = None, filter: Filter | None = UNSET) -> FreeTimes | None:  # noqa: A002 # GraphQL's names
        return given(self, info, "availability", _part, repr(range), repr(filter))

    @strawberry.field
    async def result(self, info: Info) -> BookResult | None:
        return await given_later(self, info, "result", _result)

    @strawberry.field
    def results(self, info: Info) -> list[BookResult]:
        return listed(self, info, "results", _result)

    @strawberry.field
    def echo(
        self,
        ids: list[GlobalID],
        filter: Filter,  # noqa: A002 # GraphQL's name
        ranges: list[Range | None] | None = UNSET,
        weekday: Weekday = Weekday.SUNDAY,
        weekdays: list[list[Weekday] | None] | None = None,
        perhaps: strawberry.Maybe[Weekday | None] = None,
        day: Day | None = None,
    ) -> str:
        said = f"{ids} {filter} {ranges} {weekday} {weekdays} {perhaps} {day}"
        filter.others.append(TimeOfDay(from_=LocalTime("changed")))
        ids.clear()
        return said


def _node(number: int) -> Node:
    return Timeslot(number=number) if number % 2 else CareUnit(number=number)


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def book(self, info: Info, filter: Filter, key: str = "") -> BookResult | None:  # noqa: A002 # GraphQL's name
        info.context.runs[f"begun {key}"] += 1
        return await given_later(self, info, "book", _result, repr(filter), key)

    @strawberry.mutation
    def cancel(self, info: Info, key: str = "") -> Booked:
        return given(self, info, "cancel", Booked, key)

    @strawberry.mutation
    async def tell(self, info: Info) -> str:
        """How often resolvers of root fields have run before."""
        before = dict(sorted(info.context.runs.items()))
        await wait(info.context, "tell")
        return str({name: count for name, count in before.items() if name in {"book", "cancel"}})


BOOKING = strawberry.Schema(
    Query,
    Mutation,
    types=[Timeslot, CareUnit, AvailabilityDay, ResourceAvailability, Booked, Taken, Refused],
    config=StrawberryConfig(info_class=Info, scalar_map={LocalTime: LOCAL_TIME, Day: DAY}),
)
BOOKING_SCHEMA = core(BOOKING)
SCALARS: dict[str, list[Any]] = {"LocalTime": ["08:00"], "Day": ["2026-12-01"], "ID": ["VGltZXNsb3Q6MQ==", "bad"]}


def waits(_: str, __: str, definition: GraphQLField) -> bool:
    """Whether a field's resolver may wait, or something around it."""
    declared = definition.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    base = None if declared is None else declared.base_resolver
    return base is not None and iscoroutinefunction(base.wrapped_func)
