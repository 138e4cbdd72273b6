"""Documents about the gateway's own schema are answered directly, as ordinary execution answers them."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import orjson
import pytest
from graphql import ExecutionResult

from gateway.domain.ehr import EhrProfile
from gateway.domain.ids import NodeType, care_unit_id, node_id
from gateway.domain.models import CareUnit
from gateway.execution.documents import Documents
from gateway.execution.projection import Projector
from gateway.schema.build import build_schema, build_views
from gateway.schema.context import Context
from gateway.schema.loaders import Loaders
from gateway.schema.scalars import PLAIN_SCALARS
from gateway.sources.catalog import Catalog
from gateway.sources.memory import Memory
from gateway.sources.profiles import Profiles
from gateway.sources.reading import Reading
from gateway.sources.snapshots import Snapshots
from gateway.sources.steps import StepSource
from tests.calls.test_upstream_calls import TABLE
from tests.unit.asking import NOTHING_KEPT
from tests.unit.execution.answering import compiled, normal, ordinarily, run
from tests.unit.execution.model_schema import core
from tests.unit.model_ehr import DAY, RESOURCES, SERVICES, START, UNIT, ModelEhr, TrueSlot

SCHEMA = core(build_schema())
PROFILE = EhrProfile(UNIT.emr, "Model")
SLOTS = [
    TrueSlot(START + each * DAY / 3, resource, service, names_resource=each % 2 == 0)
    for each in range(12)
    for resource, service in ((RESOURCES[0], SERVICES[0]), (RESOURCES[1], SERVICES[1]))
]
UNIT_ID = care_unit_id(UNIT)
RESOURCE_ID = node_id(NodeType.RESOURCE, UNIT, RESOURCES[0])
SELECTIONS = [
    selection.replace('"R', '"r').replace('"S', '"s')
    for name, selection, _ in TABLE
    if name != "an empty window beside a good one"
]


class Clinic(ModelEhr):
    """The model's care unit, in a list."""

    async def care_units(self, emr: str) -> Sequence[CareUnit]:
        return [CareUnit(UNIT.care_unit, name=f"of {emr}")]


def request() -> Context:
    clinic = Clinic(SLOTS, PROFILE)
    profiles = Profiles([PROFILE])
    memory = Memory(1_000_000)
    catalog = Catalog(clinic, lifetimes=NOTHING_KEPT, memory=memory, clock=lambda: 1_000.0)
    steps = StepSource(clinic, profiles, Snapshots(NOTHING_KEPT, memory, lambda: 1_000.0), lambda: 1_000.0)
    loaders = Loaders(catalog, steps, build_views(), Reading(1_000.0))
    return Context(loaders, profiles, START, timedelta(days=366))


@pytest.mark.parametrize(
    "text",
    [
        *(f"query($id: ID!) {{ careUnit(id: $id) {{ {selection} }} }}" for selection in SELECTIONS),
        "{ emrs { code name __typename } careUnits { id name emr { code } } }",
        "{ careUnits { timeslots { start end durationMinutes resourceId healthcareServiceId } } }",
        "{ careUnits { resources { timeslots(first: 2) { durationMinutes careUnit { name } } } } }",
        "query($id: ID!) { node(id: $id) { __typename ... on CareUnit { leyrId timeslots { resource { name } } } } }",
        f'{{ node(id: "{RESOURCE_ID}") {{ ... on Resource {{ careUnit {{ id }} timeslots {{ start }} }} }} }}',
        f'query($id: ID!) {{ nodes(ids: [$id, "{RESOURCE_ID}"]) {{ id ... on Resource {{ name }} }} }}',
    ],
)
def test_a_document_without_trouble_is_answered_directly(text: str) -> None:
    async def both() -> tuple[bytes | None, ExecutionResult]:
        program, variables = compiled(Documents(SCHEMA, Projector(PLAIN_SCALARS)), text, {"id": UNIT_ID}, SCHEMA)
        direct = await run(program, request(), variables)
        return direct, await ordinarily(text, request(), {"id": UNIT_ID}, schema=SCHEMA)

    direct, ordinary = asyncio.run(both())

    assert not ordinary.errors
    assert direct is not None
    assert normal(direct) == orjson.dumps(ordinary.data)
