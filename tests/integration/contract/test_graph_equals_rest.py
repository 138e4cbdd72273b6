"""One query gives what many REST calls give, for every EHR and in its more difficult behaviours."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from gateway.domain.ids import NodeId, care_unit_id, parse_node_id
from gateway.domain.models import CareUnitKey
from gateway.simulator.ehrs import EHRS
from tests.harness import NOW, Gateway, Simulator

START, END = NOW, NOW + timedelta(days=15)
PLAIN = "start end resourceId healthcareServiceId"
LINKED = f"{PLAIN} durationMinutes resource {{ id }} healthcareService {{ id }} careUnit {{ id }}"
UNIT = """
fragment Unit on CareUnit {
  id leyrId emrId name emr { code }
  resources { id leyrId emrId name careUnit { id } timeslots(start: $start, end: $end) { SLOT } }
  healthcareServices { id leyrId emrId name careUnit { id } timeslots(start: $start, end: $end) { SLOT } }
  timeslots(start: $start, end: $end) { SLOT }
}""".replace("SLOT", PLAIN)
GRAPH = UNIT + "query Graph($emr: String, $start: DateTime, $end: DateTime) { careUnits(emr: $emr) { ...Unit } }"
ONE = UNIT + "query One($id: ID!, $start: DateTime, $end: DateTime) { careUnit(id: $id) { ...Unit } }"
LINKS = """
query Links($emr: String, $start: DateTime, $end: DateTime) {
  careUnits(emr: $emr) {
    id
    resources { id }
    healthcareServices { id }
    timeslots(start: $start, end: $end) { SLOT }
  }
}""".replace("SLOT", LINKED)
FILTERED = """
query Filtered($unit: ID!, $start: DateTime, $end: DateTime, $resource: ID, $service: ID) {
  careUnit(id: $unit) {
    timeslots(start: $start, end: $end, resourceId: $resource, healthcareServiceId: $service) {
      start end resourceId healthcareServiceId
    }
  }
}"""
HARDER: list[dict[str, Any]] = [
    {},
    {"time_format": "utc"},
    {"wrapped_lists": True},
    {"longest_window_days": 7},
    {"longest_window_days": 31},
    {"ignores_filters": True},
    {"empty_answer": "error"},
    {"service_ids": "null"},
    {"resource_ids": "null"},
    {"filter_policy": "any_one"},
    {"filter_policy": "resource"},
    {"filter_policy": "service"},
    {"filter_policy": "both"},
]


class Rest:
    """Leyr's REST API, called one request at a time by its documentation."""

    def __init__(self, simulator: Simulator, emr: str) -> None:
        self._simulator = simulator
        self._base = f"/emrs/{emr}/care-units"

    def units(self) -> list[dict[str, Any]]:
        return rows(self._simulator.rest(self._base))

    def listed(self, unit: str, kind: str) -> list[dict[str, Any]]:
        return rows(self._simulator.rest(f"{self._base}/{quote(unit, safe='')}/{kind}"))

    def slots(self, unit: str, **filters: str) -> set[tuple[Any, ...]]:
        params = {"start": START.isoformat(), "end": END.isoformat(), **filters}
        found = rows(self._simulator.rest(f"{self._base}/{quote(unit, safe='')}/timeslots", **params))
        return {(s["start"], s["end"], s["resource_id"], s["healthcare_service_id"]) for s in found}


def rows(found: Any) -> list[dict[str, Any]]:
    unwrapped: list[dict[str, Any]] = found["items"] if isinstance(found, dict) else found
    return unwrapped


def leyr(node_id: str | None) -> str | None:
    if node_id is None:
        return None
    found = parse_node_id(node_id)
    assert isinstance(found, NodeId)
    return found.leyr_id


def as_rest(slots: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    found = [(s["start"], s["end"], leyr(s["resourceId"]), leyr(s["healthcareServiceId"])) for s in slots]
    assert len(set(found)) == len(found)
    assert found == sorted(found, key=lambda s: (datetime.fromisoformat(s[0]), s[2] or "", s[3] or ""))
    return set(found)


def shown_name(row: dict[str, Any]) -> str:
    return row.get("name") or " ".join(filter(None, (row.get("first_name"), row.get("last_name")))) or str(row["id"])


@pytest.mark.parametrize("emr", EHRS)
def test_graph_equals_rest_field_by_field(emr: str, gateway: Gateway, simulator: Simulator) -> None:
    rest = Rest(simulator, emr)

    units = gateway.data(GRAPH, emr=emr, start=START.isoformat(), end=END.isoformat())["careUnits"]

    by_hand = rest.units()
    assert [(u["leyrId"], u["emrId"], u["name"]) for u in units] == [
        (u["id"], u.get("emr_id"), shown_name(u)) for u in by_hand
    ]
    for unit in units:
        assert unit["emr"]["code"] == emr
        for field, kind, key in (
            ("resources", "resources", "resource_id"),
            ("healthcareServices", "healthcare-services", "healthcare_service_id"),
        ):
            listed = rest.listed(unit["leyrId"], kind)
            assert [(x["leyrId"], x["emrId"], x["name"]) for x in unit[field]] == [
                (x["id"], x.get("emr_id"), shown_name(x)) for x in listed
            ]
            for each in unit[field]:
                assert each["careUnit"]["id"] == unit["id"]
                assert as_rest(each["timeslots"]) == rest.slots(unit["leyrId"], **{key: each["leyrId"]})
        everything = set().union(*(rest.slots(unit["leyrId"], resource_id=r["leyrId"]) for r in unit["resources"]))
        assert as_rest(unit["timeslots"]) == everything
        assert everything, "a world without free times proves nothing"


@pytest.mark.parametrize("emr", EHRS)
def test_slots_link_to_the_listed_objects(emr: str, gateway: Gateway) -> None:
    units = gateway.data(LINKS, emr=emr, start=START.isoformat(), end=END.isoformat())["careUnits"]

    for unit in units:
        resources = {each["id"] for each in unit["resources"]}
        services = {each["id"] for each in unit["healthcareServices"]}
        for slot in unit["timeslots"]:
            assert slot["resource"]["id"] == slot["resourceId"]
            assert slot["healthcareService"]["id"] == slot["healthcareServiceId"]
            assert slot["careUnit"]["id"] == unit["id"]
            assert slot["resourceId"] in resources
            assert slot["healthcareServiceId"] in services
            minutes = datetime.fromisoformat(slot["end"]) - datetime.fromisoformat(slot["start"])
            assert timedelta(minutes=slot["durationMinutes"]) == minutes


@pytest.mark.parametrize("behaviour", HARDER, ids=str)
@pytest.mark.parametrize("emr", ["webdoc", "takecare", "physica"])
def test_graph_equals_rest_whatever_the_behaviour_of_the_ehr(
    emr: str, behaviour: dict[str, Any], simulator: Simulator, serve_gateway: Callable[..., Gateway], tmp_path: Path
) -> None:
    profile = {key: behaviour[key] for key in ("filter_policy", "longest_window_days") if key in behaviour}
    wanted = Rest(simulator, emr)
    first = wanted.units()[0]["id"]
    truth = {
        kind: {x["id"]: wanted.slots(first, **{key: x["id"]}) for x in wanted.listed(first, kind)}
        for kind, key in (("resources", "resource_id"), ("healthcare-services", "healthcare_service_id"))
    }
    simulator.behaviour(emr, **behaviour)

    table = tmp_path / "profiles.toml"
    table.write_text("\n".join((f"[{emr}]", *(f"{key} = {json.dumps(value)}" for key, value in profile.items()))))
    gateway = serve_gateway(leyr_profiles=table)
    unit_id = care_unit_id(CareUnitKey(emr, first))
    unit = gateway.data(ONE, id=unit_id, start=START.isoformat(), end=END.isoformat())["careUnit"]

    for field, kind in (("resources", "resources"), ("healthcareServices", "healthcare-services")):
        for each in unit[field]:
            assert hidden(as_rest(each["timeslots"]), {}) == hidden(truth[kind][each["leyrId"]], behaviour)
    everything = set().union(*truth["resources"].values())
    assert hidden(as_rest(unit["timeslots"]), {}) == hidden(everything, behaviour)


def hidden(slots: set[tuple[Any, ...]], behaviour: dict[str, Any]) -> set[tuple[Any, ...]]:
    """Slots as instants, without the ids that an EHR of these behaviour does not tell."""
    return {
        (
            datetime.fromisoformat(start),
            datetime.fromisoformat(end),
            None if behaviour.get("resource_ids") == "null" else resource,
            None if behaviour.get("service_ids") == "null" else service,
        )
        for start, end, resource, service in slots
    }


@pytest.mark.parametrize("emr", ["webdoc", "takecare", "physica"])
@pytest.mark.parametrize("raw", [True, False], ids=["raw ids", "node ids"])
def test_filters_equal_rest(emr: str, raw: bool, gateway: Gateway, simulator: Simulator) -> None:  # a case
    rest = Rest(simulator, emr)
    lists = "id leyrId resources { id leyrId } healthcareServices { id leyrId }"
    query = f"query($emr: String) {{ careUnits(emr: $emr) {{ {lists} }} }}"
    unit = gateway.data(query, emr=emr)["careUnits"][-1]
    given = "leyrId" if raw else "id"

    for resource in (None, *unit["resources"][:3]):
        for service in (None, *unit["healthcareServices"][:3]):
            if resource is service is None and emr == "takecare":
                continue
            answer = gateway.data(
                FILTERED,
                unit=unit["id"],
                start=START.isoformat(),
                end=END.isoformat(),
                resource=resource and resource[given],
                service=service and service[given],
            )
            filters = {
                **({"resource_id": resource["leyrId"]} if resource else {}),
                **({"healthcare_service_id": service["leyrId"]} if service else {}),
            }
            assert as_rest(answer["careUnit"]["timeslots"]) == rest.slots(unit["leyrId"], **filters)


def test_offsets_change_with_winter_time_as_the_ehr_wrote_them(gateway: Gateway) -> None:
    query = "query($start: DateTime, $end: DateTime) { careUnits { timeslots(start: $start, end: $end) { start } } }"
    units = gateway.data(query, start=START.isoformat(), end=END.isoformat())["careUnits"]

    offsets = {slot["start"][-6:] for unit in units for slot in unit["timeslots"]}
    assert offsets == {"+02:00", "+01:00"}
