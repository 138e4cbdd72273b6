"""The schema as a contract: committed, sorted, described everywhere, and compatible with what was promised."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from graphql import GraphQLSchema, build_schema, find_breaking_changes
from graphql.type import GraphQLEnumType, GraphQLInterfaceType, GraphQLObjectType

from gateway.domain.errors import GatewayError
from gateway.schema.query import sdl
from tests.harness import Gateway

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
    assert sdl() == COMMITTED


def test_schema_breaks_no_promised_field(schema: GraphQLSchema) -> None:
    assert find_breaking_changes(build_schema(PROMISED), schema) == []


def test_sdl_is_sorted(schema: GraphQLSchema) -> None:
    names = [
        line.split()[1]
        for line in COMMITTED.splitlines()
        if line.startswith(("type ", "interface ", "scalar ", "enum "))
    ]
    assert names == sorted(names)
    for definition in schema.type_map.values():
        if isinstance(definition, GraphQLObjectType) and not definition.name.startswith("__"):
            assert list(definition.fields) == sorted(definition.fields)


def codes(kind: type[GatewayError]) -> set[str]:
    return {kind.code}.union(*(codes(each) for each in kind.__subclasses__()))


def test_error_codes_of_the_schema_are_those_of_the_error_tree(schema: GraphQLSchema) -> None:
    # tests/house holds the same set together with the table that people read.
    listed = schema.type_map["ErrorCode"]

    assert isinstance(listed, GraphQLEnumType)
    assert set(listed.values) == codes(GatewayError)


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


def test_the_schema_is_served(gateway: Gateway) -> None:
    response = gateway.http.get("/schema.graphql")

    assert response.text == COMMITTED
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["content-encoding"] == "gzip"
    assert response.headers["cache-control"] == "public, max-age=300"
    known = {"if-none-match": response.headers["etag"]}
    assert gateway.http.get("/schema.graphql", headers=known).status_code == 304
    assert gateway.http.head("/schema.graphql").content == b""
    assert gateway.http.post("/schema.graphql").status_code == 405


def test_the_schema_is_not_served_where_it_is_turned_off(serve_gateway: Callable[..., Gateway]) -> None:
    assert serve_gateway(gateway_schema=False).http.get("/schema.graphql").status_code == 404


def test_the_schema_is_served_to_those_alone_who_may_ask(serve_gateway: Callable[..., Gateway], tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text(f'[web]\nkey_sha256 = ["{sha256(b"a-key-of-our-own").hexdigest()}"]\n', encoding="utf-8")
    gateway = serve_gateway(gateway_auth="api-keys", gateway_api_keys=keys)

    refused = gateway.http.get("/schema.graphql")
    served = gateway.http.get("/schema.graphql", headers={"x-api-key": "a-key-of-our-own"})

    assert refused.status_code == 401
    assert refused.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert refused.headers["cache-control"] == "no-store"
    assert gateway.lines()[-1]["code"] == "UNAUTHENTICATED"
    assert served.text == COMMITTED
    assert served.headers["cache-control"] == "private, max-age=300"


def test_the_schema_counts_against_a_callers_rate(serve_gateway: Callable[..., Gateway], tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    key = sha256(b"a-key-of-our-own").hexdigest()
    keys.write_text(f'[web]\nkey_sha256 = ["{key}"]\nrate_per_second = 0.001\nburst = 1\n', encoding="utf-8")
    gateway = serve_gateway(gateway_auth="api-keys", gateway_api_keys=keys)

    asked = [gateway.http.get("/schema.graphql", headers={"x-api-key": "a-key-of-our-own"}) for _ in range(2)]

    assert [response.status_code for response in asked] == [200, 429]
