"""The exact upstream calls that each document takes, as the simulator counts them."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from gateway.domain.ids import NodeType, care_unit_id, node_id
from gateway.domain.models import CareUnitKey
from tests.harness import PATIENT, Gateway, Simulator

WEBDOC = CareUnitKey("webdoc", "L0_1")
TAKECARE = CareUnitKey("takecare", "10")
NEXT_WEEK = 'start: "2026-10-13T00:00:00+02:00", end: "2026-10-20T00:00:00+02:00"'
THE_WEEK_AFTER = 'start: "2026-10-20T00:00:00+02:00", end: "2026-10-27T00:00:00+01:00"'
NOVEMBER = 'start: "2026-11-10T00:00:00+01:00", end: "2026-11-12T00:00:00+01:00"'

# Documents about one care unit: what stands in it, and the calls beside the one for the care unit itself.
LISTS = {"resources": 1, "healthcare_services": 1}
EMPTY_WINDOW = 'start: "2026-10-13T00:00:00Z", end: "2026-10-12T00:00:00Z"'
TABLE: list[tuple[str, str, dict[str, int]]] = [
    ("nothing further", "name", {}),
    ("a list", "resources { name }", {"resources": 1}),
    ("a list three times", "resources { id } again: resources { name } ...{ resources { leyrId } }", {"resources": 1}),
    ("the graph", "resources { id } healthcareServices { id } timeslots { start }", {**LISTS, "timeslots": 1}),
    ("resources' slots", "resources { timeslots { start } }", {"resources": 1, "timeslots": 1}),
    ("services' slots", "healthcareServices { timeslots { start } }", {"healthcare_services": 1, "timeslots": 1}),
    (
        "slots from three sides",
        "timeslots { start } resources { timeslots { start } } healthcareServices { timeslots { start } }",
        {**LISTS, "timeslots": 1},
    ),
    (
        "slots' links",
        "timeslots(first: 9) { resource { name } healthcareService { name } careUnit { name } }",
        {**LISTS, "timeslots": 1},
    ),
    (
        "there and back",
        "resources { careUnit { resources { timeslots(first: 1) { careUnit { healthcareServices { id } } } } } }",
        {**LISTS, "timeslots": 1},
    ),
    (
        "identical windows",
        f"a: timeslots({NEXT_WEEK}) {{ start }} b: timeslots({NEXT_WEEK}, first: 1) {{ end }}",
        {"timeslots": 1},
    ),
    (
        "touching windows",
        f"a: timeslots({NEXT_WEEK}) {{ start }} b: timeslots({THE_WEEK_AFTER}) {{ start }}",
        {"timeslots": 1},
    ),
    (
        "far windows",
        f"a: timeslots({NEXT_WEEK}) {{ start }} b: timeslots({NOVEMBER}) {{ start }}",
        {"timeslots": 2},
    ),
    ("a window inside", f"a: timeslots {{ start }} b: timeslots({NEXT_WEEK}) {{ start }}", {"timeslots": 1}),
    ("one filter", 'timeslots(resourceId: "R1") { start }', {"timeslots": 1}),
    ("a filter beside all", 'timeslots { start } one: timeslots(resourceId: "R1") { start }', {"timeslots": 1}),
    (
        "two filters",
        'a: timeslots(resourceId: "R1") { start } b: timeslots(resourceId: "R2") { start }',
        {"timeslots": 1},
    ),
    (
        "a service of each resource",
        'resources { timeslots(healthcareServiceId: "S1") { start } }',
        {"resources": 1, "timeslots": 1},
    ),
    ("skipped", "resources @skip(if: true) { id } timeslots @include(if: false) { start }", {}),
    (
        "a fragment on an interface",
        "...N } } fragment N on Node { ...on CareUnit { resources { timeslots { start } }",
        {"resources": 1, "timeslots": 1},
    ),
    (
        "an empty window beside a good one",
        f"timeslots {{ start }} resources {{ timeslots({EMPTY_WINDOW}) {{ start }} }}",
        {"resources": 1, "timeslots": 1},
    ),
]


@pytest.mark.parametrize(("selection", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_care_unit_document_takes_exactly_these_calls(
    selection: str, expected: dict[str, int], gateway: Gateway, simulator: Simulator
) -> None:
    service = simulator.rest("/emrs/webdoc/care-units/L0_1/healthcare-services")[0]["id"]
    simulator.http.post("/__reset")

    document = f"query($id: ID!) {{ careUnit(id: $id) {{ {selection.replace('S1', service)} }} }}"
    answer = gateway.ask(document, id=care_unit_id(WEBDOC))

    assert answer["data"]["careUnit"] is not None
    assert simulator.count() == {"care_units": 1, **expected}


def test_whole_graph_takes_one_call_and_three_a_care_unit(gateway: Gateway, simulator: Simulator) -> None:
    data = gateway.data("{ careUnits { resources { timeslots { start } } healthcareServices { name } } }")

    assert len(data["careUnits"]) == 4
    assert simulator.count() == {"care_units": 1, "resources": 4, "healthcare_services": 4, "timeslots": 4}


@pytest.mark.parametrize(
    "selection",
    [
        "resources { id } healthcareServices { id } timeslots { start }",
        "resources { timeslots { start } } healthcareServices { name }",
        "timeslots { resource { name } healthcareService { name } }",
        "resources { timeslots { healthcareService { name } careUnit { name } } }",
    ],
)
async def test_care_units_graph_takes_two_round_trips(
    selection: str, serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    second = dict.fromkeys(("resources", "healthcare_services", "timeslots"), 4)

    found = await hanging(serve_gateway(**PATIENT), simulator, second, query=f"{{ careUnits {{ {selection} }} }}")

    assert found == {"care_units": 1, **second}


async def test_node_takes_two_round_trips(serve_gateway: Callable[..., Gateway], simulator: Simulator) -> None:
    query = "query($id: ID!) { node(id: $id) { ... on Resource { careUnit { name } timeslots { careUnit { id } } } } }"
    second = {"care_units": 1, "timeslots": 1}
    variables = {"id": node_id(NodeType.RESOURCE, WEBDOC, "R1")}

    found = await hanging(serve_gateway(**PATIENT), simulator, second, query=query, variables=variables)

    assert found == {"resources": 1, **second}


async def hanging(gateway: Gateway, simulator: Simulator, second: dict[str, int], **question: object) -> dict[str, int]:
    """The calls that have arrived when none of the second round trip is ever answered: none waits for another."""
    for endpoint in second:
        simulator.fault("hang", endpoint=endpoint)
    async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as http:
        asking = asyncio.create_task(http.post("/graphql", json=question))
        found = await asyncio.to_thread(simulator.arrived, 1 + sum(second.values()))
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    return found


def test_empty_resource_id_makes_no_timeslots_call(gateway: Gateway, simulator: Simulator) -> None:
    gateway.ask('{ careUnits { timeslots(resourceId: "") { start } } }')

    assert simulator.count() == {"care_units": 1}


@pytest.mark.parametrize("policy", ["any_one", "resource", "service", "both"])
def test_calls_obey_the_filter_policy_of_the_ehr(
    policy: str, simulator: Simulator, serve_gateway: Callable[..., Gateway], tmp_path: Path
) -> None:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(f'[takecare]\nfilter_policy = "{policy}"\n')
    gateway = serve_gateway(leyr_profiles=profiles, gateway_max_upstream_calls=1_000)
    simulator.behaviour("takecare", filter_policy=policy)

    selection = "resources { timeslots { start } } healthcareServices { name } timeslots { start }"
    query = f'{{ careUnits(emr: "takecare") {{ {selection} }} }}'
    gateway.data(query)

    calls = simulator.calls()
    assert all(call["status"] == 200 for call in calls)
    assert sum(call["endpoint"] == "resources" for call in calls) == 6
    assert sum(call["endpoint"] == "healthcare_services" for call in calls) == 6
    slot_calls = [call for call in calls if call["endpoint"] == "timeslots"]
    keys = [
        (call["care_unit"], call["params"].get("resource_id"), call["params"].get("healthcare_service_id"))
        for call in slot_calls
    ]
    assert len(set(keys)) == len(keys)
    for _, resource, service in keys:
        assert {"any_one": resource or service, "resource": resource, "service": service, "both": resource and service}[
            policy
        ]


FAN_OUTS = [("resources", ["resources"]), ("services", ["services"]), ("both", ["resources", "services"])]


@pytest.mark.parametrize(("fan_out", "lists"), FAN_OUTS)
def test_slots_of_a_care_unit_are_one_call_for_each_id_of_the_fan_out(
    fan_out: str, lists: list[str], simulator: Simulator, serve_gateway: Callable[..., Gateway], tmp_path: Path
) -> None:
    listed = {
        "resources": len(simulator.rest("/emrs/takecare/care-units/10/resources")),
        "services": len(simulator.rest("/emrs/takecare/care-units/10/healthcare-services")),
    }
    simulator.http.post("/__reset")
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(f'[takecare]\nfan_out = "{fan_out}"\n')

    query = "query($id: ID!) { careUnit(id: $id) { resources { id } healthcareServices { id } timeslots { start } } }"
    serve_gateway(leyr_profiles=profiles).data(query, id=care_unit_id(TAKECARE))

    assert simulator.count()["timeslots"] == sum(listed[each] for each in lists)


def test_each_resource_is_asked_for_by_its_own_filter_where_one_is_wanted(
    gateway: Gateway, simulator: Simulator
) -> None:
    query = "query($id: ID!) { careUnit(id: $id) { healthcareServices { id } resources { timeslots { start } } } }"
    data = gateway.data(query, id=care_unit_id(TAKECARE))["careUnit"]

    assert any(resource["timeslots"] for resource in data["resources"])
    assert simulator.count()["timeslots"] == len(data["resources"])


@pytest.mark.parametrize("behind", ["names_resource", "names_service"])
def test_slots_that_do_not_name_their_owner_are_one_call_for_each_owner(
    behind: str, simulator: Simulator, serve_gateway: Callable[..., Gateway], tmp_path: Path
) -> None:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(f"[webdoc]\n{behind} = false\n")
    nodes = "resources" if behind == "names_resource" else "healthcareServices"

    query = f"query($id: ID!) {{ careUnit(id: $id) {{ {nodes} {{ timeslots {{ start }} }} }} }}"
    data = serve_gateway(leyr_profiles=profiles).data(query, id=care_unit_id(WEBDOC))["careUnit"]

    assert simulator.count()["timeslots"] == len(data[nodes])


def test_any_one_with_a_filter_given_is_one_call(gateway: Gateway, simulator: Simulator) -> None:
    resource = simulator.rest("/emrs/takecare/care-units/10/resources")[0]["id"]
    simulator.http.post("/__reset")

    query = "query($id: ID!) { node(id: $id) { ... on Resource { name timeslots { start } } } }"
    gateway.data(query, id=node_id(NodeType.RESOURCE, TAKECARE, resource))

    assert simulator.count() == {"resources": 1, "timeslots": 1}


def test_filtered_timeslots_call_does_not_wait_for_lists(gateway: Gateway, simulator: Simulator) -> None:
    resource = simulator.rest("/emrs/takecare/care-units/10/resources")[0]["id"]
    simulator.forget()
    simulator.behaviour("takecare", latency_ms=100, latency_jitter=0)

    query = "query($id: ID!, $one: ID) { careUnit(id: $id) { resources { id } timeslots(resourceId: $one) { start } } }"
    gateway.data(query, id=care_unit_id(TAKECARE), one=resource)

    _, *rest = simulator.calls()
    assert len(rest) == 2
    assert max(call["started_at"] for call in rest) < min(call["ended_at"] for call in rest)


def test_fan_out_is_limited_to_eight_concurrent_calls(gateway: Gateway, simulator: Simulator) -> None:
    sizes = {
        unit["id"]: len(simulator.rest(f"/emrs/takecare/care-units/{unit['id']}/resources"))
        for unit in simulator.rest("/emrs/takecare/care-units")
    }
    largest = max(sizes, key=lambda unit: sizes[unit])
    simulator.forget()
    simulator.behaviour("takecare", latency_ms=30)
    key = care_unit_id(CareUnitKey("takecare", largest))

    gateway.data("query($id: ID!) { careUnit(id: $id) { resources { timeslots { start } } } }", id=key)

    in_flight = simulator.http.get("/__calls").json()["max_in_flight"]["takecare"]
    assert simulator.count()["timeslots"] > 8
    assert in_flight <= 8


def test_long_window_is_cut_into_the_fewest_calls(
    simulator: Simulator, serve_gateway: Callable[..., Gateway], tmp_path: Path
) -> None:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text("[webdoc]\nlongest_window_days = 7\n")
    gateway = serve_gateway(leyr_profiles=profiles)
    simulator.behaviour("webdoc", longest_window_days=7)

    data = gateway.data("query($id: ID!) { careUnit(id: $id) { timeslots { start } } }", id=care_unit_id(WEBDOC))

    assert data["careUnit"]["timeslots"]
    calls = [call for call in simulator.calls() if call["endpoint"] == "timeslots"]
    assert [call["status"] for call in calls] == [200] * 5
    edges = sorted((call["params"]["start"], call["params"]["end"]) for call in calls)
    assert all(before[1] == after[0] for before, after in pairwise(edges))


def test_filter_required_error_is_learnt_for_the_next_query(gateway: Gateway, simulator: Simulator) -> None:
    simulator.behaviour("webdoc", filter_policy="any_one")
    query = "query($id: ID!) { careUnit(id: $id) { timeslots { start resourceId } } }"

    first = gateway.data(query, id=care_unit_id(WEBDOC))
    refused = [call for call in simulator.calls() if call["status"] == 400]
    simulator.http.post("/__reset")
    simulator.behaviour("webdoc", filter_policy="any_one")
    second = gateway.data(query, id=care_unit_id(WEBDOC))

    assert first == second
    assert first["careUnit"]["timeslots"]
    assert len(refused) == 1
    assert all(call["status"] == 200 for call in simulator.calls())


def test_request_has_the_documented_query_and_headers(gateway: Gateway, simulator: Simulator) -> None:
    query = f"query($id: ID!) {{ careUnit(id: $id) {{ timeslots({NEXT_WEEK}) {{ start }} }} }}"

    gateway.data(query, id=care_unit_id(WEBDOC))

    call = simulator.calls()[-1]
    assert "+" not in call["query"]
    assert call["query"].count("%2B") == 2
    assert parse_qs(call["query"]) == {"start": ["2026-10-13T00:00:00+02:00"], "end": ["2026-10-20T00:00:00+02:00"]}
    headers: dict[str, Any] = call["headers"]
    assert headers["x-leyr-client-id"] == headers["x-leyr-client-secret"] == "present"
    assert headers["content-type"] == "application/json"
    assert "x-leyr-standard" not in headers


def test_leyr_ids_are_sent_back_unchanged_as_one_path_segment(gateway: Gateway, simulator: Simulator) -> None:
    query = '{ careUnits(emr: "physica") { leyrId resources { leyrId timeslots(first: 1) { start } } } }'

    units = gateway.data(query)["careUnits"]

    by_hand = simulator.rest("/emrs/physica/care-units")
    assert [unit["leyrId"] for unit in units] == [unit["id"] for unit in by_hand]
    asked = {call["care_unit"] for call in simulator.calls() if call["endpoint"] == "resources"}
    assert asked >= {unit["leyrId"] for unit in units}
    paths = {call["path"] for call in simulator.calls()}
    assert "/api/emrs/physica/care-units/avd%252F5/resources" in paths
    assert "/api/emrs/physica/care-units/%C3%A5sen%20%C3%A53/resources" in paths
    assert "/api/emrs/physica/care-units/a..b/resources" in paths
