"""The limits on upstream calls of an operation and on timeslots of an answer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.ids import NodeType, care_unit_id, node_id
from gateway.domain.models import CareUnitKey
from tests.harness import CACHES_ON, Gateway, Simulator

WEBDOC = CareUnitKey("webdoc", "L0_1")
UNIT = care_unit_id(WEBDOC)
OTHER = care_unit_id(CareUnitKey("webdoc", "L0_2"))
TAKECARE = care_unit_id(CareUnitKey("takecare", "10"))
RESOURCE = node_id(NodeType.RESOURCE, WEBDOC, "R1")
NEXT_WEEK = 'start: "2026-10-13T00:00:00+02:00", end: "2026-10-20T00:00:00+02:00"'
NOVEMBER = 'start: "2026-11-10T00:00:00+01:00", end: "2026-11-12T00:00:00+01:00"'
Serve = Callable[..., Gateway]


def unit(selection: str, node: str = UNIT) -> str:
    return f'careUnit(id: "{node}") {{ {selection} }}'


# Documents, the calls that they take, and how many of these have to be made before that is known.
TABLE = [
    ("{ careUnits { name } }", 1, 0),
    ("{ careUnits { resources { timeslots { start } } healthcareServices { name } } }", 13, 1),
    (f"{{ {unit('resources { id } healthcareServices { id } timeslots { start }')} }}", 4, 0),
    (f"{{ {unit(f'a: timeslots({NEXT_WEEK}) {{ end }} b: timeslots({NOVEMBER}) {{ end }}')} }}", 3, 0),
    (f"{{ a: {unit('timeslots { end }')} b: {unit('timeslots { end }', OTHER)} }}", 3, 0),
    (f"{{ a: {unit('name')} b: {unit('resources { id }', TAKECARE)} }}", 3, 0),
    (
        f'{{ nodes(ids: ["{RESOURCE}", "{UNIT}"]) {{ ... on Resource {{ careUnit {{ id }} timeslots {{ end }} }} }} }}',
        3,
        0,
    ),
]


def is_too_large(answer: dict[str, Any]) -> bool:
    """Whether an operation was refused as a whole."""
    codes = {error["extensions"]["code"] for error in answer.get("errors", ())}
    return codes == {"OPERATION_TOO_LARGE"} and not any((answer.get("data") or {}).values())


@pytest.mark.parametrize(("document", "calls", "known_after"), TABLE)
def test_call_limit_refuses_one_call_less_than_an_operation_takes(
    document: str, calls: int, known_after: int, serve_gateway: Serve, simulator: Simulator
) -> None:
    serve_gateway(gateway_max_upstream_calls=calls).data(document)
    assert simulator.count().total() == calls
    simulator.forget()

    if calls > 1:
        answer = serve_gateway(gateway_max_upstream_calls=calls - 1).ask(document)

        assert is_too_large(answer)
        message = f"The operation would take {calls} upstream calls; the limit is {calls - 1}"
        assert {error["message"] for error in answer["errors"]} == {message}
        assert simulator.count().total() == known_after


def test_call_limit_counts_two_lists_of_care_units_together(serve_gateway: Serve, simulator: Simulator) -> None:
    document = '{ careUnits { resources { id } } other: careUnits(emr: "physica") { resources { id } } }'
    serve_gateway().data(document)
    needed = simulator.count().total()
    simulator.forget()

    answer = serve_gateway(gateway_max_upstream_calls=needed - 1).ask(document)

    assert {error["extensions"]["code"] for error in answer["errors"]} == {"OPERATION_TOO_LARGE"}
    assert simulator.count().total() < needed


def test_call_limit_counts_by_a_cached_list_of_care_units(serve_gateway: Serve, simulator: Simulator) -> None:
    gateway = serve_gateway(gateway_max_upstream_calls=12, **CACHES_ON)
    gateway.data("{ careUnits { name } }")
    simulator.forget()

    answer = gateway.ask("{ careUnits { resources { timeslots { start } } healthcareServices { name } } }")

    assert is_too_large(answer)
    assert simulator.calls() == []


def test_call_limit_counts_cached_reads_too(serve_gateway: Serve, simulator: Simulator) -> None:
    gateway = serve_gateway(gateway_max_upstream_calls=3, **CACHES_ON)
    for selection in ("resources { id }", "healthcareServices { id }", "timeslots { start }"):
        gateway.data(f'{{ careUnit(id: "{UNIT}") {{ {selection} }} }}')
    simulator.forget()

    both = "resources { id } timeslots { start }"

    assert "errors" not in gateway.ask(f"{{ {unit(both)} }}")
    assert is_too_large(gateway.ask(f"{{ {unit(both + ' healthcareServices { id }')} }}"))
    assert simulator.calls() == []


def test_call_limit_counts_each_piece_of_a_long_window(
    serve_gateway: Serve, simulator: Simulator, tmp_path: Path
) -> None:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text("[webdoc]\nlongest_window_days = 7\n")
    simulator.behaviour("webdoc", longest_window_days=7)
    document = f'{{ careUnit(id: "{UNIT}") {{ timeslots {{ start }} }} }}'

    refused = serve_gateway(gateway_max_upstream_calls=5, leyr_profiles=profiles).ask(document)
    assert is_too_large(refused)
    assert simulator.calls() == []

    serve_gateway(gateway_max_upstream_calls=6, leyr_profiles=profiles).data(document)
    assert simulator.count() == {"care_units": 1, "timeslots": 5}


def test_call_limit_refuses_a_fan_out_before_its_first_call(serve_gateway: Serve, simulator: Simulator) -> None:
    services = len(simulator.rest("/emrs/takecare/care-units/10/healthcare-services"))
    simulator.http.post("/__reset")
    document = f'{{ careUnit(id: "{TAKECARE}") {{ name timeslots {{ start }} }} }}'

    answer = serve_gateway(gateway_max_upstream_calls=1 + services).ask(document)

    assert answer["data"]["careUnit"]["timeslots"] is None
    message = f"The operation would take {2 + services} upstream calls or more; the limit is {1 + services}"
    assert [error["message"] for error in answer["errors"]] == [message]
    assert simulator.count() == {"care_units": 1, "healthcare_services": 1}
    serve_gateway(gateway_max_upstream_calls=2 + services).data(document)


def test_call_limit_refuses_a_fan_out_over_cached_services_before_any_call(
    serve_gateway: Serve, simulator: Simulator
) -> None:
    services = len(simulator.rest("/emrs/takecare/care-units/10/healthcare-services"))
    gateway = serve_gateway(gateway_max_upstream_calls=1 + services, **CACHES_ON)
    gateway.data(f'{{ careUnit(id: "{TAKECARE}") {{ healthcareServices {{ id }} }} }}')
    simulator.http.post("/__reset")

    answer = gateway.ask(f'{{ careUnit(id: "{TAKECARE}") {{ name timeslots {{ start }} }} }}')

    assert is_too_large(answer)
    assert simulator.calls() == []


@pytest.mark.parametrize("policy", ["any_one", "both"])
def test_call_limit_holds_where_an_ehr_turns_out_to_require_filters(
    policy: str, serve_gateway: Serve, simulator: Simulator
) -> None:
    simulator.behaviour("webdoc", filter_policy=policy)
    gateway = serve_gateway(gateway_max_upstream_calls=6)

    answer = gateway.ask(f'{{ careUnit(id: "{UNIT}") {{ name resources {{ timeslots {{ start }} }} }} }}')

    assert "OPERATION_TOO_LARGE" in {error["extensions"]["code"] for error in answer["errors"]}
    assert simulator.count().total() <= 6


def test_call_limit_holds_for_ids_that_do_not_exist(serve_gateway: Serve, simulator: Simulator) -> None:
    fields = " ".join(f'a{number}: timeslots(resourceId: "nobody{number}") {{ start }}' for number in range(20))

    answer = serve_gateway(gateway_max_upstream_calls=8).ask(f'{{ careUnit(id: "{UNIT}") {{ {fields} }} }}')

    assert "OPERATION_TOO_LARGE" in {error["extensions"]["code"] for error in answer["errors"]}
    assert simulator.count().total() <= 8


def slots_in(value: Any) -> int:
    """How many timeslots an answer holds; fields of them are called `timeslots`, or by one letter."""
    if isinstance(value, dict):
        lists = [each for name, each in value.items() if name in {"timeslots", "a", "b", "c"} and each]
        return sum(map(len, lists)) + sum(map(slots_in, value.values()))
    return sum(map(slots_in, value)) if isinstance(value, list) else 0


@pytest.mark.parametrize(
    "selection",
    [
        "timeslots { start }",
        "a: timeslots { start } b: timeslots(first: 7) { start } c: timeslots { start }",
        "resources { timeslots(first: 3) { start } }",
        "resources { careUnit { timeslots(first: 2) { start } } }",
        "timeslots(first: 9) { start careUnit { timeslots(first: 4) { start } } }",
        "timeslots(first: 9) { start careUnit { resources { timeslots(first: 2) { start } } } }",
        "timeslots(first: 9) { start resource { timeslots(first: 3) { start } } }",
        "timeslots(first: 9) { start healthcareService { careUnit { timeslots(first: 3) { start } } } }",
        "timeslots(first: 5) { careUnit { timeslots(first: 3) { careUnit { timeslots(first: 2) { end } } } } }",
        "resources { timeslots(first: 2) { end resource { name careUnit { id } } careUnit { timeslots { end } } } }",
        "resources { timeslots(first: 2) { careUnit { timeslots(first: 3) { resource { timeslots { end } } } } } }",
    ],
)
@pytest.mark.parametrize("beside", ["", *(f'no: timeslots(resourceId: "{each}") {{ end }}' for each in ("", "nobody"))])
def test_timeslot_limit_refuses_one_timeslot_less_than_an_answer_holds(
    selection: str, beside: str, serve_gateway: Serve
) -> None:
    document = f'{{ careUnit(id: "{UNIT}") {{ {selection} {beside} }} }}'
    whole = serve_gateway(gateway_max_timeslots=10_000_000).ask(document)
    held = slots_in(whole["data"])

    assert held > 1
    assert serve_gateway(gateway_max_timeslots=held).ask(document)["data"] == whole["data"]

    answer = serve_gateway(gateway_max_timeslots=held - 1).ask(document)
    assert "OPERATION_TOO_LARGE" in {error["extensions"]["code"] for error in answer["errors"]}
    assert "data" not in answer


def test_timeslot_limit_counts_right_beside_a_failed_field(serve_gateway: Serve) -> None:
    document = f'{{ careUnit(id: "{UNIT}") {{ timeslots {{ start }} bad: timeslots(first: -1) {{ start }} }} }}'
    held = slots_in(serve_gateway().ask(document)["data"])

    answer = serve_gateway(gateway_max_timeslots=held).ask(document)

    assert len(answer["data"]["careUnit"]["timeslots"]) == held
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["BAD_USER_INPUT"]
