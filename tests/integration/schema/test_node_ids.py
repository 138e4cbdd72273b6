"""Node ids: each finds its object, and bad ids and arguments are refused without a call."""

from base64 import b64encode
from typing import Any

import pytest

from gateway.domain.ids import NodeType, care_unit_id, node_id
from gateway.domain.models import CareUnitKey
from tests.harness import Gateway, Simulator

WEBDOC = CareUnitKey("webdoc", "L0_1")
OTHER = CareUnitKey("webdoc", "L0_2")
RESOURCE = node_id(NodeType.RESOURCE, WEBDOC, "R1")
NODE = "query($id: ID!) { node(id: $id) { __typename id ... on Resource { leyrId careUnit { id } } } }"


def raw(text: str) -> str:
    return b64encode(text.encode()).decode()


def test_every_id_of_the_graph_finds_its_object(gateway: Gateway) -> None:
    plain = "__typename id name"
    query = f'{{ careUnits(emr: "physica") {{ {plain} resources {{ {plain} }} healthcareServices {{ {plain} }} }} }}'
    units = gateway.data(query)["careUnits"]
    objects = [unit for unit in units for unit in (unit, *unit.pop("resources"), *unit.pop("healthcareServices"))]

    named = "... on CareUnit { name } ... on Resource { name } ... on HealthcareService { name }"
    found = gateway.data(
        f"query($ids: [ID!]!) {{ nodes(ids: $ids) {{ __typename id {named} }} }}", ids=[o["id"] for o in objects]
    )

    assert found["nodes"] == objects
    assert len({each["id"] for each in objects}) == len(objects)


def test_nodes_fetches_each_list_once(gateway: Gateway, simulator: Simulator) -> None:
    ids = [node_id(NodeType.RESOURCE, WEBDOC, f"R{number}") for number in (1, 2, 3, 1)]

    found = gateway.data("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=ids)

    assert [each["id"] for each in found["nodes"]] == ids
    assert simulator.count() == {"resources": 1}


def test_nodes_has_nulls_and_errors_for_ids_that_find_nothing(gateway: Gateway) -> None:
    ids = [RESOURCE, "nonsense", node_id(NodeType.RESOURCE, WEBDOC, "nobody"), care_unit_id(WEBDOC)]

    answer = gateway.ask("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=ids)

    assert [each and each["id"] for each in answer["data"]["nodes"]] == [RESOURCE, None, None, ids[3]]
    assert [(e["path"], e["extensions"]["code"]) for e in sorted(answer["errors"], key=lambda e: e["path"][1])] == [
        (["nodes", 1], "BAD_USER_INPUT"),
        (["nodes", 2], "NOT_FOUND"),
    ]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("", "BAD_USER_INPUT"),
        ("R1", "BAD_USER_INPUT"),
        ("191212121212", "BAD_USER_INPUT"),
        (raw("Resource:webdoc/L0_1"), "BAD_USER_INPUT"),
        (raw("Resource:webdoc/L0_1/R1/more"), "BAD_USER_INPUT"),
        (raw("Clinic:webdoc/L0_1"), "BAD_USER_INPUT"),
        (raw("CareUnit:webdoc/.."), "BAD_USER_INPUT"),
        (raw("CareUnit:webdoc/."), "BAD_USER_INPUT"),
        (raw("CareUnit:webdoc/%00"), "BAD_USER_INPUT"),
        (raw("CareUnit:webdoc/"), "BAD_USER_INPUT"),
        (raw("CareUnit:webdoc/a b"), "BAD_USER_INPUT"),
        (raw("CareUnit:elsewhere/L0_1"), "BAD_USER_INPUT"),
        (RESOURCE[:-4], "BAD_USER_INPUT"),
        (care_unit_id(CareUnitKey("webdoc", "L9_9")), "NOT_FOUND"),
        (node_id(NodeType.RESOURCE, WEBDOC, "nobody"), "NOT_FOUND"),
        (node_id(NodeType.RESOURCE, CareUnitKey("webdoc", "L9_9"), "R1"), "NOT_FOUND"),
    ],
)
def test_bad_ids_are_refused(given: str, code: str, gateway: Gateway, simulator: Simulator) -> None:
    answer = gateway.ask(NODE, id=given)

    assert answer["data"] == {"node": None}
    [error] = answer["errors"]
    assert error["path"] == ["node"]
    assert error["extensions"]["code"] == code
    assert error["extensions"]["origin"] == "client"
    assert error["extensions"]["retryable"] is False
    assert error["extensions"]["reference"]
    if code == "BAD_USER_INPUT":
        assert simulator.calls() == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"resourceId": node_id(NodeType.RESOURCE, OTHER, "R1")}, "BAD_USER_INPUT"),
        ({"resourceId": node_id(NodeType.HEALTHCARE_SERVICE, WEBDOC, "R1")}, "BAD_USER_INPUT"),
        ({"healthcareServiceId": RESOURCE}, "BAD_USER_INPUT"),
        ({"resourceId": care_unit_id(WEBDOC)}, "BAD_USER_INPUT"),
        ({"resourceId": ""}, "BAD_USER_INPUT"),
        ({"resourceId": "."}, "BAD_USER_INPUT"),
        ({"resourceId": "a\u0000b"}, "BAD_USER_INPUT"),
        ({"resourceId": "a\nb"}, "BAD_USER_INPUT"),
        ({"resourceId": "x" * 5000}, "BAD_USER_INPUT"),
        ({"resourceId": "nobody"}, "NOT_FOUND"),
        ({"healthcareServiceId": "nothing"}, "NOT_FOUND"),
        ({"first": -1}, "BAD_USER_INPUT"),
        ({"start": "2026-10-20T00:00:00Z", "end": "2026-10-20T00:00:00Z"}, "BAD_USER_INPUT"),
        ({"start": "2026-10-20T00:00:00Z", "end": "2026-10-19T00:00:00Z"}, "BAD_USER_INPUT"),
        ({"start": "2026-10-20T00:00:00Z", "end": "2027-10-19T00:00:00Z"}, "BAD_USER_INPUT"),
        ({"start": "9999-12-31T23:59:59-12:00"}, "BAD_USER_INPUT"),
        ({"start": "0001-01-01T00:00:00+12:00"}, "BAD_USER_INPUT"),
    ],
)
def test_bad_arguments_are_refused_at_their_field(arguments: dict[str, Any], code: str, gateway: Gateway) -> None:
    query = """
    query($id: ID!, $start: DateTime, $end: DateTime, $resourceId: ID, $healthcareServiceId: ID, $first: Int) {
      careUnit(id: $id) {
        name
        timeslots(
          start: $start, end: $end, resourceId: $resourceId, healthcareServiceId: $healthcareServiceId, first: $first
        ) { start }
      }
    }"""

    answer = gateway.ask(query, id=care_unit_id(WEBDOC), **arguments)

    codes = [error["extensions"]["code"] for error in answer["errors"]]
    assert codes == [code]
    if "path" in answer["errors"][0]:
        assert answer["data"]["careUnit"]["name"]
        assert answer["data"]["careUnit"]["timeslots"] is None


@pytest.mark.parametrize(
    "text",
    [
        "2026-10-20",
        "2026-10-20T09:00:00",
        "2026-10-20T25:00:00Z",
        "2026-02-30T09:00:00Z",
        "soon",
        "20261020T090000Z",
        5,
        True,
        ["x"],
    ],
)
def test_date_times_without_an_offset_or_a_meaning_are_refused(
    text: Any, gateway: Gateway, simulator: Simulator
) -> None:
    answer = gateway.ask("query($start: DateTime) { careUnits { timeslots(start: $start) { start } } }", start=text)

    assert "data" not in answer
    [error] = answer["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert "DateTime" in error["message"]
    assert simulator.calls() == []


def test_date_time_literal_without_an_offset_is_refused(gateway: Gateway) -> None:
    answer = gateway.ask('{ careUnits { timeslots(start: "2026-10-20T09:00:00") { start } } }')

    assert "data" not in answer
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["BAD_USER_INPUT"]


def test_an_id_that_does_not_exist_is_not_found_beside_a_wider_query(gateway: Gateway) -> None:
    query = '{ careUnits { all: timeslots { start } none: timeslots(resourceId: "nobody") { start } } }'

    answer = gateway.ask(query)

    assert all(unit["all"] and unit["none"] is None for unit in answer["data"]["careUnits"])
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"NOT_FOUND"}


def test_unconfigured_ehr_is_refused_without_a_call(gateway: Gateway, simulator: Simulator) -> None:
    answer = gateway.ask('{ careUnits(emr: "elsewhere") { id } emrs { code } }')

    assert answer["data"]["careUnits"] is None
    assert [e["code"] for e in answer["data"]["emrs"]] == list(simulator.emrs)
    assert answer["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    assert "webdoc" in answer["errors"][0]["message"]
    assert simulator.calls() == []


def test_the_default_window_is_thirty_days_from_now(gateway: Gateway, simulator: Simulator) -> None:
    gateway.data("query($id: ID!) { careUnit(id: $id) { timeslots { start } } }", id=care_unit_id(WEBDOC))

    params = simulator.calls()[-1]["params"]
    assert params == {"start": "2026-10-12T05:00:00+00:00", "end": "2026-11-11T05:00:00+00:00"}


def test_first_limits_to_the_earliest_timeslots(gateway: Gateway) -> None:
    slots = "all: timeslots { start } few: timeslots(first: 3) { start } none: timeslots(first: 0) { start }"
    query = f"query($id: ID!) {{ careUnit(id: $id) {{ {slots} }} }}"

    unit = gateway.data(query, id=care_unit_id(WEBDOC))["careUnit"]

    assert unit["few"] == unit["all"][:3]
    assert unit["none"] == []
