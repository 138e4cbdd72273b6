"""What is added to the schema is executed, counted and predicted as what was there, without a line in the engine."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from typing import Any

import orjson
import pytest
import strawberry
from strawberry import UNSET
from strawberry.types.base import get_object_definition

from gateway.domain.ids import NodeType, care_unit_id
from gateway.domain.models import CareUnitKey
from gateway.engine.engine import Engine, Operation, Result
from gateway.engine.errors import LimitExceededError
from gateway.engine.lazy_list import as_list
from gateway.schema.care_unit import CareUnit
from gateway.schema.context import Info, OperationLimits
from gateway.schema.loaders import READS, Reads
from gateway.schema.query import build_schema, engine_config, execution_limits
from gateway.schema.resource import Resource
from gateway.schema.timeslot import End, First, Start, Timeslot, given, load_timeslots
from gateway.schema.timeslot_queries import TimeslotFilter
from tests.unit.engine import differential
from tests.unit.engine.model_schema import core
from tests.unit.model_ehr import UNIT
from tests.unit.schema.clinic import SLOTS, request

UNIT_ID = care_unit_id(UNIT)


@strawberry.enum
class Part(Enum):
    ALL = 1
    MORNING = 2


@strawberry.input
class Wish:
    part: Part = Part.ALL
    names: list[str] | None = UNSET


@strawberry.interface
class Staffed:
    key: strawberry.Private[CareUnitKey]

    @strawberry.field(metadata={READS: Reads.RESOURCES})
    async def staff(self, info: Info, wish: Wish | None = None) -> list[Resource] | None:
        found = await info.context.nodes.listed(NodeType.RESOURCE, self.key)
        return found.all[:1] if wish is not None and wish.part is Part.MORNING else found.all


@strawberry.type
class Ward(Staffed):
    name: str


@strawberry.type
class Added:
    key: strawberry.Private[CareUnitKey]

    @strawberry.field
    def ward(self) -> Ward:
        return Ward(key=self.key, name="ward")

    @strawberry.field
    def staffed(self) -> Staffed | None:
        return Ward(key=self.key, name="ward")

    @strawberry.field(metadata={READS: Reads.TIMESLOTS})
    async def parted_timeslots(
        self, info: Info, *, start: Start = UNSET, end: End = UNSET, first: First = UNSET, part: Part = Part.ALL
    ) -> list[Timeslot] | None:
        found = await load_timeslots(info, self, TimeslotFilter(given(start), given(end)), given(first))  # type: ignore[arg-type] # a care unit, to which this field is added
        return as_list(found) if part is Part.ALL else None

    @strawberry.field
    def part(self, part: Part = Part.ALL) -> Part:
        return part


@contextmanager
def fields_added(to: type, source: type) -> Iterator[None]:
    """Give a type the fields of another one as long as a schema is made."""
    target, added = (get_object_definition(each, strict=True) for each in (to, source))
    before = list(target.fields)
    target.fields.extend(added.fields)
    try:
        yield
    finally:
        target.fields[:] = before


@pytest.fixture(scope="module")
def schema() -> strawberry.Schema:
    with fields_added(CareUnit, Added):
        return build_schema()


def execute(
    schema: strawberry.Schema, text: str, *, calls: int = 200, timeslots: int = 1_000, **variables: Any
) -> Result:
    engine = Engine(schema, engine_config(execution=execution_limits(timeslots=timeslots, list_items=3)))
    context = replace(request(), limits=OperationLimits(calls))
    return asyncio.run(engine.execute(Operation(text, variables={"id": UNIT_ID, **variables}), context))


WARD = "query($id: ID!) { careUnit(id: $id) { ward { name staff%s { name } } } }"
TIMESLOTS = "query($id: ID!) { careUnit(id: $id) { partedTimeslots(part: ALL) { start careUnit { name } } } }"
TEXTS = [
    WARD % "",
    WARD % '(wish: {part: MORNING, names: ["a"]})',
    "query($id: ID!, $wish: Wish) { careUnit(id: $id) { ward { staff(wish: $wish) { id } } } }",
    "query($id: ID!) { careUnit(id: $id) { staffed { __typename staff { name } ... on Ward { name } } } }",
    TIMESLOTS,
    "query($id: ID!, $part: Part = MORNING) { careUnit(id: $id) { part a: part(part: MORNING) b: part(part: $part) } }",
    "query($id: ID!, $part: Part! = MORNING) { careUnit(id: $id) { partedTimeslots(part: $part) { start } } }",
]


@pytest.mark.parametrize("text", TEXTS)
def test_added_fields_are_executed_as_graphql_core_executes_them(schema: strawberry.Schema, text: str) -> None:
    operation = differential.Operation(text, {"id": UNIT_ID})
    engine = Engine(schema, engine_config())

    expected, _ = asyncio.run(differential.check_operation([engine], core(schema), operation, request, waits=True))

    assert not expected.errors
    assert expected.data["careUnit"]


@pytest.mark.parametrize(("text", "calls"), [(WARD % "", 2), (TEXTS[3], 2), (TIMESLOTS, 2)])
def test_upstream_calls_of_added_fields_are_predicted(schema: strawberry.Schema, text: str, calls: int) -> None:
    assert not execute(schema, text, calls=calls).errors

    (error,) = execute(schema, text, calls=calls - 1).errors

    assert error.message.startswith(f"The operation would take {calls} upstream calls")
    assert error.message.endswith(f"; the limit is {calls - 1}")


def test_timeslots_of_an_added_field_are_counted(schema: strawberry.Schema) -> None:
    found = orjson.loads(b"".join(execute(schema, TIMESLOTS).data or ()))
    number = len(found["careUnit"]["partedTimeslots"])
    assert number == len(SLOTS)

    assert not execute(schema, TIMESLOTS, timeslots=number).errors
    (error,) = execute(schema, TIMESLOTS, timeslots=number - 1).errors
    assert isinstance(error.original_error, LimitExceededError)


def test_a_list_in_an_added_input_has_a_most(schema: strawberry.Schema) -> None:
    text = TEXTS[2]

    assert not execute(schema, text, wish={"names": ["a"] * 3}).errors
    (error,) = execute(schema, text, wish={"names": ["a"] * 4}).errors
    assert error.message == "A list in the arguments has 4 items; the limit is 3"
