"""The schema as a contract: committed, sorted, described everywhere, and compatible with what was promised."""

from pathlib import Path

import pytest
from graphql import GraphQLSchema, build_schema, find_breaking_changes
from graphql.type import GraphQLEnumType, GraphQLInterfaceType, GraphQLObjectType

from gateway.schema.query import build_schema as build_gateway_schema
from gateway.schema.query import print_sdl

COMMITTED = (Path(__file__).parents[3] / "schema.graphql").read_text(encoding="utf-8")
PROMISED = """
scalar DateTime
interface Node { id: ID! }
type Emr { code: String! name: String! }
type Query {
  emrs: [Emr!]!
  careUnits(emr: String): [CareUnit!]
  careUnit(id: ID!): CareUnit
  node(id: ID!): Node
  nodes(ids: [ID!]!): [Node]!
}
type CareUnit implements Node {
  id: ID! leyrId: String! emrId: String emr: Emr! name: String!
  resources: [Resource!]
  healthcareServices: [HealthcareService!]
  timeslots(start: DateTime, end: DateTime, resourceId: ID, healthcareServiceId: ID, first: Int): [Timeslot!]
}
type Resource implements Node {
  id: ID! leyrId: String! emrId: String name: String! careUnit: CareUnit!
  timeslots(start: DateTime, end: DateTime, healthcareServiceId: ID, first: Int): [Timeslot!]
}
type HealthcareService implements Node {
  id: ID! leyrId: String! emrId: String name: String! careUnit: CareUnit!
  timeslots(start: DateTime, end: DateTime, resourceId: ID, first: Int): [Timeslot!]
}
type Timeslot {
  start: DateTime! end: DateTime durationMinutes: Int resourceId: ID healthcareServiceId: ID
  resource: Resource healthcareService: HealthcareService careUnit: CareUnit!
}
"""


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    return build_schema(COMMITTED)


def test_committed_sdl_is_what_the_types_print() -> None:
    assert print_sdl(build_gateway_schema(sort=True)) == COMMITTED


def test_schema_breaks_no_promised_field(schema: GraphQLSchema) -> None:
    assert find_breaking_changes(build_schema(PROMISED), schema) == []


def test_sdl_is_sorted(schema: GraphQLSchema) -> None:
    names = [line.split()[1] for line in COMMITTED.splitlines() if line.startswith(("type ", "interface ", "scalar "))]
    assert names == sorted(names)
    for definition in schema.type_map.values():
        if isinstance(definition, GraphQLObjectType) and not definition.name.startswith("__"):
            assert list(definition.fields) == sorted(definition.fields)


def test_everything_has_a_description(schema: GraphQLSchema) -> None:
    described = {"String", "Int", "Boolean", "ID", "Float"}
    silent = []
    for name, definition in schema.type_map.items():
        if name.startswith("__") or name in described:
            continue
        if not definition.description:
            silent.append(name)
        if isinstance(definition, GraphQLObjectType | GraphQLInterfaceType):
            for field_name, field in definition.fields.items():
                if not field.description:
                    silent.append(f"{name}.{field_name}")
                silent += [f"{name}.{field_name}({arg})" for arg, a in field.args.items() if not a.description]
        if isinstance(definition, GraphQLEnumType):
            silent += [f"{name}.{value}" for value, v in definition.values.items() if not v.description]
    assert silent == []


@pytest.mark.parametrize(
    ("type_name", "fhir"),
    [
        ("CareUnit", "Location"),
        ("Resource", "PractitionerRole or Device"),
        ("HealthcareService", "HealthcareService"),
        ("Timeslot", "Slot"),
    ],
)
def test_types_name_their_fhir_counterpart(type_name: str, fhir: str, schema: GraphQLSchema) -> None:
    assert f"FHIR R4: {fhir}." in (schema.type_map[type_name].description or "")
