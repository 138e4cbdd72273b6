"""`gateway plan`: the calls that a query would make, and no call."""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.domain.ids import NodeType, TimeslotIds, care_unit_id, node_id
from gateway.domain.models import CareUnitKey, Timeslot
from gateway.dry_run import DryRun, Sizes, dry_run
from gateway.settings import Settings
from tests.harness import Gateway, Simulator
from tests.processes import ENVIRONMENT, ROOT, run_gateway

GRAPH = "{ careUnits { resources { timeslots { start } } healthcareServices { name } timeslots { start } } }"
UNIT = CareUnitKey("webdoc", "L0_1")


def settings() -> Settings:
    emrs = ("webdoc", "takecare")
    return Settings.model_validate({"leyr_client_id": "x", "leyr_client_secret": "x", "leyr_emrs": emrs})


def planned(document: str, sizes: Sizes | None = None, **variables: object) -> DryRun:
    return dry_run(settings(), document, variables, None, sizes or Sizes())


def kinds(found: DryRun) -> Counter[str]:
    counted: Counter[str] = Counter()
    for target, count in found.calls.items():
        path = target.partition("?")[0]
        filters = "".join(f"+{name}" for name in ("resource_id", "healthcare_service_id") if f"{name}=" in target)
        counted[path.rpartition("/")[2] + filters] += count
    return counted


def test_a_graph_is_one_call_and_three_for_each_care_unit() -> None:
    assert kinds(planned(GRAPH, Sizes(care_units=4))) == {
        "care-units": 1,
        "resources": 4,
        "healthcare-services": 4,
        "timeslots": 4,
    }


def test_placeholders_stand_for_what_the_query_does_not_name() -> None:
    targets = list(planned(GRAPH).calls)

    assert targets[0] == "/emrs/webdoc/care-units"
    assert "/emrs/webdoc/care-units/{care_unit_id}/resources" in targets


def test_a_timeslot_that_the_query_names_is_asked_for_by_its_owners_and_is_free() -> None:
    slot = Timeslot("2099-12-01T09:00:00+01:00", "2099-12-01T09:30:00+01:00", "R1", "S1")
    links = "resource { name } healthcareService { name } careUnit { name }"

    found = planned(f"query($id: ID!) {{ timeslot(id: $id) {{ {links} }} }}", id=TimeslotIds(UNIT)(slot))

    assert found.errors == ()
    assert kinds(found) == {
        "timeslots+resource_id+healthcare_service_id": 1,
        "resources": 1,
        "healthcare-services": 1,
        "care-units": 1,
    }


def test_care_units_of_all_ehrs_are_planned_in_one_document() -> None:
    assert kinds(planned("{ emrs { careUnits { resources { id } } } }", Sizes(care_units=2))) == {
        "care-units": 2,
        "resources": 4,
    }


def test_a_fan_out_is_counted_by_services_beside_each_resource_that_is_asked_for() -> None:
    document = GRAPH.replace("careUnits", 'careUnits(emr: "takecare")')

    found = kinds(planned(document, Sizes(resources=7, healthcare_services=3)))

    assert found["timeslots+healthcare_service_id"] == 3
    assert found["timeslots+resource_id"] == 7
    assert sum(found.values()) == 13


def test_an_ehrs_quota_of_calls_hides_none_of_them(tmp_path: Path) -> None:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text("[webdoc]\ncalls_per_minute = 2\n")

    found = dry_run(settings().model_copy(update={"leyr_profiles": profiles}), GRAPH, {}, None, Sizes(care_units=4))

    assert found.errors == ()
    assert found.total == planned(GRAPH, Sizes(care_units=4)).total


def test_ids_in_the_query_are_taken_as_they_are() -> None:
    document = "query($id: ID!, $doctor: ID) { careUnit(id: $id) { timeslots(resourceId: $doctor) { start } } }"

    found = planned(document, id=care_unit_id(UNIT), doctor=node_id(NodeType.RESOURCE, UNIT, "R 7"))

    assert found.errors == ()
    last_target = list(found.calls)[-1]
    assert "/emrs/webdoc/care-units/L0_1/timeslots" in last_target
    assert last_target.endswith("&resource_id=R 7")


@pytest.mark.parametrize("selection", ["name", "resources { name }", "timeslots { resource { name } }"])
def test_what_is_planned_is_what_is_called(
    selection: str, serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    document = f"query($id: ID!) {{ careUnit(id: $id) {{ {selection} }} }}"
    serve_gateway().data(document, id=care_unit_id(UNIT))

    found = planned(document, id=care_unit_id(UNIT))

    called = Counter(call["endpoint"].replace("_", "-") for call in simulator.calls())
    assert kinds(found) == called


def test_a_wrong_query_is_reported_and_calls_nothing() -> None:
    found = planned("{ careUnits { nothing } }")

    assert found.total == 0
    assert "nothing" in found.errors[0]


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return run_gateway("plan", *arguments, stdin=stdin, LEYR_EMRS="webdoc")


def test_the_command_prints_calls_and_their_number(tmp_path: Path) -> None:
    document, variables = tmp_path / "query.graphql", tmp_path / "vars.json"
    document.write_text("query($emr: String) { careUnits(emr: $emr) { resources { name } } }")
    variables.write_text('{"emr": "webdoc"}')

    shown = run(str(document), "--variables", str(variables), "--care-units", "3")

    assert shown.returncode == 0, shown.stderr
    assert re.search(r"^ +3 x GET /emrs/webdoc/care-units/\{care_unit_id\}/resources$", shown.stdout, re.MULTILINE)
    assert shown.stdout.endswith("   4 calls\n")


def test_the_command_prints_json_for_machines() -> None:
    shown = run("-", "--json", stdin="{ careUnits { name } }")

    assert json.loads(shown.stdout) == {
        "total": 1,
        "calls": [{"method": "GET", "target": "/emrs/webdoc/care-units", "count": 1}],
        "errors": [],
    }


def test_the_command_fails_for_a_query_that_would() -> None:
    shown = run("-", stdin="{ careUnits { nothing } }")

    assert shown.returncode == 1
    assert "nothing" in shown.stderr


@pytest.mark.parametrize("text", ["{", "[]", "\x00", f"{'[' * 5_000}", '{"n": NaN}', f"{'[' * 600}{']' * 600}"])
def test_variables_that_are_no_object_are_refused(text: str, tmp_path: Path) -> None:
    variables = tmp_path / "vars.json"
    variables.write_text(text)

    shown = run("-", "--variables", str(variables), stdin="{ __typename }")

    assert shown.returncode == 1
    assert "Traceback" not in shown.stderr


def test_an_integer_of_more_than_64_bits_may_be_an_id(tmp_path: Path) -> None:
    variables = tmp_path / "vars.json"
    variables.write_text('{"id": 18446744073709551616}')

    shown = run("-", "--variables", str(variables), stdin="query($id: ID!) { node(id: $id) { id } }")

    assert shown.returncode == 1
    assert "gateway: This is not a node id" in shown.stderr


def test_a_document_that_is_not_text_is_refused(tmp_path: Path) -> None:
    document = tmp_path / "query.graphql"
    document.write_bytes(b"{ careUnits { name } } # \xff")

    with document.open() as stdin:
        shown = subprocess.run(
            [sys.executable, "-m", "gateway", "plan", "-"], cwd=ROOT, stdin=stdin, capture_output=True, text=True,
            env={**ENVIRONMENT, "PYTHONIOENCODING": "utf-8:surrogateescape"}, timeout=60, check=False,
        )  # fmt: skip

    assert shown.returncode == 1
    assert shown.stderr.startswith("gateway: a file cannot be read")


def test_a_booking_is_planned_with_its_patient_and_nothing_is_booked() -> None:
    slot = TimeslotIds(UNIT)(Timeslot("2099-12-01T09:00:00+01:00", "2099-12-01T09:30:00+01:00", "R1", "S1"))
    document = """mutation($input: BookAppointmentInput!) { bookAppointment(input: $input) {
      ... on BookingSuccess { appointment { careUnit { name } resource { name } } } } }"""
    patient = {"details": {"firstName": "Tolvan", "lastName": "Tolvansson"}}

    found = planned(document, input={"idempotencyKey": "k" * 16, "timeslotIds": [slot], "patient": patient})

    assert found.errors == ()
    assert found.calls == {
        "POST /emrs/webdoc/care-units/L0_1/patients": 1,
        "POST /emrs/webdoc/care-units/L0_1/appointments": 1,
        "/emrs/webdoc/care-units": 1,
        "/emrs/webdoc/care-units/L0_1/resources": 1,
    }
