"""Encoding a long list, by the engine's rows and field by field by graphql-core."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest
import strawberry
from graphql import GraphQLSchema, execute_sync, parse
from strawberry.schema.config import StrawberryConfig

from benchmarks.micro.clinic import RESOURCES, SERVICES, answer
from gateway.domain import models
from gateway.engine.engine import Engine, EngineConfig, Operation
from gateway.engine.executor import Info
from gateway.engine.lazy_list import LazyObjectList, as_list
from gateway.fetch.cache_budget import CacheBudget
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
        return as_list(LazyObjectList(info.context, view, translations))


QUERY = "{ timeslots { start end resourceId healthcareServiceId } }"


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "field by field"])
def test_list(benchmark: Callable[..., Any], *, compiled: bool) -> None:
    schema = strawberry.Schema(Query, config=StrawberryConfig(info_class=Info, scalar_map=scalar_map()))
    core = schema._schema  # noqa: SLF001 # as the engine does
    engine = Engine(schema, EngineConfig(plain_scalars=PLAIN_SCALARS, budget=CacheBudget(1_000_000)))
    slots = answer().slots
    document = parse(QUERY)
    assert isinstance(core, GraphQLSchema)

    def complete() -> bytes:
        if not compiled:
            return orjson.dumps(execute_sync(core, document, context_value=slots).data)
        result = asyncio.run(engine.execute(Operation(QUERY), slots))
        return b"".join(result.data or ())

    assert len(orjson.loads(benchmark(complete))["timeslots"]) == len(slots)
