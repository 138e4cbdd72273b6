"""Documents about the gateway's own schema are compiled, and answered as graphql-core's executor answers them."""

import asyncio

import orjson
import pytest
from graphql import ExecutionResult

from gateway.domain.ids import NodeType, care_unit_id, node_id
from gateway.engine.engine import Engine
from gateway.schema.query import build_schema, engine_config
from tests.integration.upstream_calls.test_calls_per_document import TABLE
from tests.unit.engine.answering import Answer, answer, core_result, normalised
from tests.unit.engine.model_schema import core
from tests.unit.model_ehr import RESOURCES, UNIT
from tests.unit.schema.clinic import request

SCHEMA = build_schema()
ENGINE = Engine(SCHEMA, engine_config())
UNIT_ID = care_unit_id(UNIT)
RESOURCE_ID = node_id(NodeType.RESOURCE, UNIT, RESOURCES[0])
SELECTIONS = [
    selection.replace('"R', '"r').replace('"S', '"s')
    for name, selection, _ in TABLE
    if name != "an empty window beside a good one"
]


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
def test_compiled_document_answers_as_graphql_core_does(text: str) -> None:
    async def both() -> tuple[Answer, ExecutionResult]:
        compiled = await answer(text, request(), {"id": UNIT_ID}, ENGINE)
        return compiled, await core_result(text, request(), {"id": UNIT_ID}, schema=core(SCHEMA))

    compiled, expected = asyncio.run(both())

    assert not expected.errors
    assert not compiled.errors
    assert normalised(compiled.data) == orjson.dumps(expected.data)
