"""The normalising caches of Apollo Client and urql: they warn of nothing, and one thing is one entity."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from graphql import GraphQLNonNull, GraphQLObjectType, GraphQLScalarType, build_schema

from gateway.server.serving import listening_socket, serve_in_thread
from tests.audit.npm import install
from tests.e2e.requirement import need_node
from tests.harness import Gateway, Simulator, leyr_settings
from tests.stand_ins.canned_application import CannedApplication, CannedResponse

HERE = Path(__file__).parent
SCHEMA = HERE.parents[1] / "schema.graphql"
# What belongs to the field that it was asked with, and is nothing by itself.
PARTS = {
    "Availability", "AvailabilityDay", "CareUnitAvailability", "Coverage", "CoverageGap", "FreeTime",
    "HealthcareServiceAvailability", "NextFreeTime", "PageInfo", "ResourceAvailability", "TimeslotConnection",
    "TimeslotEdge",
}  # fmt: skip
# What a mutation came to, and what an EHR can do. An appointment has an id that is its caller's alone.
OUTCOMES = {
    "Appointment", "AppointmentAwaitingConfirmation", "AppointmentBooked", "AppointmentCancelled",
    "BookingOutcomeUnknown", "BookingProblem", "BookingRefused", "Capabilities", "TimeslotTaken",
}  # fmt: skip
CLIENTS = ("apollo", "urql")
Step = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def clients() -> None:
    need_node()
    install(HERE)


def asked(
    gateway: Gateway, steps: list[Step], type_policies: dict[str, Any] | None = None
) -> dict[str, dict[str, Any]]:
    """What each client says after these steps; Apollo's warns only as the build for development."""
    done = subprocess.run(
        ["node", "--conditions=development", "caches.js", f"{gateway.url}/graphql"],
        cwd=HERE,
        input=json.dumps({"schema": str(SCHEMA), "steps": steps, "typePolicies": type_policies or {}}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    assert set(found) == set(CLIENTS)
    return found


def entities(report: dict[str, Any], kind: str) -> set[str]:
    return {each.removeprefix(f"{kind}:") for each in report["entities"] if each.startswith(f"{kind}:")}


def ids(found: Any, kind: str) -> set[str]:
    """The ids of the objects of a type in an answer."""
    if isinstance(found, list):
        return set().union(*(ids(each, kind) for each in found))
    if not isinstance(found, dict):
        return set()
    own = {found["id"]} if found.get("__typename") == kind else set()
    return own.union(*(ids(each, kind) for each in found.values()))


def documents(identity: str) -> list[str]:
    """Queries that ask different things of the same objects, in nested lists and under two aliases.

    `identity` is what is selected as the id of slots and EHRs.
    """
    own, other = f"__typename {identity}", "__typename id"
    return [
        f"""{{ emrs {{ {own} code careUnits {{
          {other} name emr {{ {own} name }}
          timeslots(first: 5) {{ {own} start end }}
          resources {{ {other} name timeslots(first: 3) {{ {own} start resource {{ {other} leyrId }} }} }}
        }} }} }}""",
        f"""{{ careUnits {{
          {other} leyrId emr {{ {own} code timeZone }}
          timeslots(first: 5) {{ {own} durationMinutes careUnit {{ {other} timeZone }} }}
          a: timeslots(first: 5) {{ {own} resourceId }}
          b: timeslots(first: 7) {{ {own} healthcareService {{ {other} name }} }}
          resources {{ {other} timeslots(first: 3) {{ {own} end }} }}
        }} }}""",
    ]


@pytest.fixture
def gateway(serve_gateway: Callable[..., Gateway]) -> Gateway:
    return serve_gateway(leyr_emrs=("webdoc", "kaddio"))


def test_caches_warn_of_nothing_and_hold_each_thing_once(gateway: Gateway, simulator: Simulator) -> None:
    first, second = documents("id")
    gone = {"url": f"{simulator.url}/__faults", "body": {"fault": "empty_list", "endpoint": "timeslots"}}
    steps: list[Step] = [
        {"query": first, "before": {"url": f"{simulator.url}/__reset"}},
        {"query": second},
        {"query": first, "refetch": True},
        {"query": second, "refetch": True, "before": gone},
    ]

    for report in asked(gateway, steps).values():
        assert report["warnings"] == []
        for kind in ("Emr", "CareUnit", "Resource", "HealthcareService", "Timeslot"):
            assert entities(report, kind) == ids(report["answers"], kind) != set()
        assert ids(report["answers"][0], "Timeslot")
        assert not ids(report["answers"][3], "Timeslot")


@pytest.mark.parametrize("is_told", [True, False])
def test_apollo_warns_of_a_list_that_got_shorter_without_a_refetch_unless_it_is_told_to_replace_lists(
    is_told: bool, gateway: Gateway, simulator: Simulator
) -> None:
    gone = {"url": f"{simulator.url}/__faults", "body": {"fault": "empty_list", "endpoint": "timeslots"}}
    query = "{ careUnits { id timeslots(first: 5) { id } } }"
    steps: list[Step] = [
        {"query": query, "before": {"url": f"{simulator.url}/__reset"}},
        {"query": query, "before": gone},
    ]

    reports = asked(gateway, steps, {"CareUnit": {"fields": {"timeslots": {"merge": False}}}} if is_told else None)

    assert reports["urql"]["warnings"] == []
    assert bool(reports["apollo"]["warnings"]) is not is_told


def test_caches_would_warn_if_slots_and_ehrs_had_no_ids(gateway: Gateway) -> None:
    reports = asked(gateway, [{"query": query} for query in documents("")])

    assert any("Cache data may be lost" in each for each in reports["apollo"]["warnings"])
    assert any("no key could be generated" in each for each in reports["urql"]["warnings"])


def test_slots_that_differ_in_their_end_alone_are_two_entities_and_one_slot_is_one(
    serve_gateway: Callable[..., Gateway],
) -> None:
    start, ends = "2026-10-13T09:00:00+02:00", ["2026-10-13T09:30:00+02:00", "2026-10-13T10:00:00+02:00", None]
    slots = [{"start": start, "end": end, "resource_id": "R1", "healthcare_service_id": None} for end in ends]
    upstream = CannedApplication(
        CannedResponse(200, json.dumps(slots).encode()), CannedResponse(200, b'[{"id": "L0_1", "name": "Clinic"}]')
    )
    again = "careUnits { id a: timeslots { id start } b: timeslots(first: 2) { id end } }"
    steps: list[Step] = [{"query": "{ careUnits { id timeslots { id end } } }"}, {"query": f"{{ {again} }}"}]

    with serve_in_thread(upstream, listening_socket("127.0.0.1", 0)) as url:
        reports = asked(serve_gateway(**leyr_settings(url, ("webdoc",))), steps)

    for report in reports.values():
        assert report["warnings"] == []
        (unit,) = report["answers"][0]["careUnits"]
        assert {slot["end"] for slot in unit["timeslots"]} == set(ends)
        assert entities(report, "Timeslot") == {slot["id"] for slot in unit["timeslots"]}
        assert len(entities(report, "Timeslot")) == 3


def test_every_type_has_the_id_that_the_readme_calls_a_cache_key_but_the_parts_of_an_availability() -> None:
    schema = build_schema(SCHEMA.read_text(encoding="utf-8"))
    types = {
        name: each
        for name, each in schema.type_map.items()
        if isinstance(each, GraphQLObjectType)
        and each not in (schema.query_type, schema.mutation_type)
        and not name.startswith("__")
    }
    nodes = {each.name: each for each in types.values() if "Node" in {one.name for one in each.interfaces}}

    assert set(nodes) == {"Emr", "CareUnit", "Resource", "HealthcareService", "Timeslot"}
    assert set(types) - set(nodes) == PARTS | OUTCOMES
    for each in nodes.values():
        kind = each.fields["id"].type
        assert isinstance(kind, GraphQLNonNull)
        assert isinstance(kind.of_type, GraphQLScalarType)
        assert kind.of_type.name == "ID"
