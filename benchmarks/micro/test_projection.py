"""Completing and encoding a long list, with the projection and without."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
import strawberry
from graphql import GraphQLSchema, execute_sync, parse
from strawberry.schema.config import StrawberryConfig

from benchmarks.micro.clinic import RESOURCES, SERVICES, answer
from gateway.domain import models
from gateway.execution.projection import Projector
from gateway.schema.compact import CompactList, as_list
from gateway.schema.scalars import PLAIN_SCALARS, DateTime, scalar_map


@strawberry.type
class Timeslot:
    start: DateTime
    end: DateTime | None
    resource_id: strawberry.ID | None
    healthcare_service_id: strawberry.ID | None


def view(slot: models.Timeslot) -> Timeslot:
    return Timeslot(
        start=DateTime(slot.start),
        end=None if slot.end is None else DateTime(slot.end),
        resource_id=node_ids(RESOURCES)[slot.resource_id],
        healthcare_service_id=node_ids(SERVICES)[slot.healthcare_service_id],
    )


def node_ids(leyr_ids: tuple[str, ...]) -> dict[str | None, strawberry.ID | None]:
    return {None: None, **{each: strawberry.ID(f"node {each}") for each in leyr_ids}}


@strawberry.type
class Query:
    @strawberry.field
    def timeslots(self, info: strawberry.Info[tuple[models.Timeslot, ...], None]) -> list[Timeslot]:
        translations = {"resource_id": node_ids(RESOURCES), "healthcare_service_id": node_ids(SERVICES)}
        return as_list(CompactList(info.context, view, translations))


def build() -> GraphQLSchema:
    schema = strawberry.Schema(Query, config=StrawberryConfig(scalar_map=scalar_map()))
    core = schema._schema  # noqa: SLF001 # as the engine does
    assert isinstance(core, GraphQLSchema)
    return core


@pytest.mark.parametrize("projected", [True, False], ids=["projected", "field by field"])
def test_list(benchmark: Callable[..., Any], *, projected: bool) -> None:
    schema, slots = build(), answer().slots
    document = parse("{ timeslots { start end resourceId healthcareServiceId } }")
    executor = Projector(PLAIN_SCALARS).executor() if projected else None

    def complete() -> bytes:
        result = execute_sync(schema, document, context_value=slots, executor_class=executor)
        return orjson.dumps(result.data)

    assert len(orjson.loads(benchmark(complete))["timeslots"]) == len(slots)
