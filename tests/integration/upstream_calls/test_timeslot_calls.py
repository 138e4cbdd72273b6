"""The exact upstream calls of `timeslot(id:)`, which asks anew whether a time is still free, and of `Emr.careUnits`."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.domain.ids import NodeType, TimeslotId, TimeslotIds, care_unit_id, emr_id, node_id, parse_node_id
from gateway.domain.models import CareUnitKey, Timeslot
from tests.harness import CACHES_ON, PATIENT, Gateway, Simulator

WEBDOC = CareUnitKey("webdoc", "L0_1")
TAKECARE = CareUnitKey("takecare", "10")
SLOT = "id start end durationMinutes resourceId healthcareServiceId"
STILL_FREE = f"query($id: ID!) {{ timeslot(id: $id) {{ {SLOT} }} }}"
LISTED = f"query($id: ID!) {{ careUnit(id: $id) {{ timeslots {{ {SLOT} }} }} }}"


def listed(gateway: Gateway, simulator: Simulator, key: CareUnitKey = WEBDOC) -> list[dict[str, Any]]:
    """What is free; the calls that told are forgotten."""
    found: list[dict[str, Any]] = gateway.data(LISTED, id=care_unit_id(key))["careUnit"]["timeslots"]
    simulator.http.post("/__reset")
    assert len(found) > 9
    return found


def timeslots_calls(simulator: Simulator) -> list[dict[str, Any]]:
    return [call["params"] for call in simulator.calls() if call["endpoint"] == "timeslots"]


def same_day(slots: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The slots of the first day on which several are free."""
    days = [slot["start"][:10] for slot in slots]
    day = next(each for each in days if days.count(each) > 2)
    return [slot for slot in slots if slot["start"].startswith(day)]


def aliases(slots: list[dict[str, Any]], selection: str = SLOT) -> str:
    return " ".join(f'a{n}: timeslot(id: "{slot["id"]}") {{ {selection} }}' for n, slot in enumerate(slots))


@pytest.mark.parametrize("field", ["timeslot", "node"])
@pytest.mark.parametrize("caches", [{}, CACHES_ON], ids=["no caches", "caches"])
def test_a_free_time_is_asked_for_once_each_time_and_is_the_slot_itself(
    field: str, caches: dict[str, Any], serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway(**caches)
    slot = listed(gateway, simulator)[3]
    query = (
        STILL_FREE if field == "timeslot" else f"query($id: ID!) {{ node(id: $id) {{ ... on Timeslot {{ {SLOT} }} }} }}"
    )

    found = [gateway.data(query, id=slot["id"])[field] for _ in range(3)]

    assert found == [slot] * 3
    assert simulator.count() == {"timeslots": 3}
    named = parse_node_id(slot["id"])
    assert isinstance(named, TimeslotId)
    for params in timeslots_calls(simulator):
        assert (params["resource_id"], params["healthcare_service_id"]) == (named.resource, named.service)
        assert datetime.fromisoformat(params["start"]) == datetime.fromisoformat(slot["start"])
        assert datetime.fromisoformat(params["end"]) >= datetime.fromisoformat(slot["end"])


@pytest.mark.parametrize("query", [STILL_FREE, "query($id: ID!) { timeslot: node(id: $id) { id } }"])
def test_a_time_that_is_gone_is_null_without_an_error(
    query: str, serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway(**CACHES_ON)
    slot = listed(gateway, simulator)[0]
    simulator.fault("empty_list", endpoint="timeslots")

    assert gateway.data(query, id=slot["id"]) == {"timeslot": None}
    assert simulator.count() == {"timeslots": 1}


def test_a_slot_that_differs_in_its_end_alone_is_another_one(gateway: Gateway, simulator: Simulator) -> None:
    slot = listed(gateway, simulator)[0]
    named = parse_node_id(slot["id"])
    assert isinstance(named, TimeslotId)
    later = (datetime.fromisoformat(slot["end"]) + timedelta(minutes=1)).isoformat()
    ids = TimeslotIds(named.care_unit)
    others = [ids(Timeslot(slot["start"], end, named.resource, named.service)) for end in (later, None)]

    data = gateway.data("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=[*others, slot["id"]])

    assert data == {"nodes": [None, None, {"id": slot["id"]}]}
    assert simulator.count() == {"timeslots": 1}


@pytest.mark.parametrize("caches", [{}, CACHES_ON], ids=["no caches", "caches"])
def test_several_of_a_care_unit_and_a_day_are_one_call(
    caches: dict[str, Any], serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway(**caches)
    slots = same_day(listed(gateway, simulator))[:5]
    ids = [slot["id"] for slot in slots[1:]]

    named = f"nodes(ids: $ids) {{ ... on Timeslot {{ {SLOT} }} }}"
    data = gateway.data(f"query($ids: [ID!]!) {{ {aliases(slots[:2])} {named} }}", ids=ids)

    assert data == {"a0": slots[0], "a1": slots[1], "nodes": slots[1:]}
    assert simulator.count()["timeslots"] == 1


def test_where_the_ehr_wants_a_filter_the_slots_owners_are_the_filters(gateway: Gateway, simulator: Simulator) -> None:
    slots = same_day(listed(gateway, simulator, TAKECARE))[:5]

    data = gateway.data(f"{{ {aliases(slots)} }}")

    assert list(data.values()) == slots
    owners = {(slot["resourceId"], slot["healthcareServiceId"]) for slot in slots}
    calls = timeslots_calls(simulator)
    assert all("resource_id" in params or "healthcare_service_id" in params for params in calls)
    assert 1 <= len(calls) <= len(owners)


def test_a_slot_that_names_no_owner_is_found_by_a_fan_out_where_the_ehr_wants_a_filter(
    serve_gateway: Callable[..., Gateway], simulator: Simulator, tmp_path: Path
) -> None:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text('[takecare]\nfilter_policy = "resource"\n')
    gateway = serve_gateway(leyr_profiles=profiles, gateway_max_upstream_calls=1_000)
    changes = {"filter_policy": "resource", "resource_ids": "null"}
    simulator.behaviour("takecare", **changes)
    slot = gateway.data(LISTED, id=care_unit_id(TAKECARE))["careUnit"]["timeslots"][0]
    resources = len(simulator.rest("/emrs/takecare/care-units/10/resources"))
    simulator.forget()
    simulator.behaviour("takecare", **changes)

    assert slot["resourceId"] is None
    assert gateway.data(STILL_FREE, id=slot["id"]) == {"timeslot": slot}
    # The service's id may be a personal number, so that the list has to hold it first.
    assert simulator.count() == {"healthcare_services": 1, "resources": 1, "timeslots": resources}
    assert all("resource_id" in params for params in timeslots_calls(simulator))


BELOW = "resource { name careUnit { id } } healthcareService { name } careUnit { name timeslots(first: 1) { id } }"


async def test_what_is_below_a_timeslot_takes_one_round_trip_more(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway(**PATIENT)
    slot = listed(gateway, simulator)[0]
    second = {"care_units": 1, "resources": 1, "healthcare_services": 1}
    for endpoint in second:
        simulator.fault("hang", endpoint=endpoint)

    async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as http:
        question = {"query": f"query($id: ID!) {{ timeslot(id: $id) {{ {BELOW} }} }}", "variables": {"id": slot["id"]}}
        asking = asyncio.create_task(http.post("/graphql", json=question))
        found = await asyncio.to_thread(simulator.arrived, 5)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    assert found == {**second, "timeslots": 2}


def test_what_is_below_a_timeslot_is_what_lists_hold(gateway: Gateway, simulator: Simulator) -> None:
    slot = listed(gateway, simulator)[0]
    links = "resource { id } healthcareService { id } careUnit { id }"

    found = gateway.data(f"query($id: ID!) {{ timeslot(id: $id) {{ {links} }} }}", id=slot["id"])["timeslot"]

    assert found["resource"]["id"] == slot["resourceId"]
    assert found["healthcareService"]["id"] == slot["healthcareServiceId"]
    assert found["careUnit"]["id"] == care_unit_id(WEBDOC)
    assert simulator.count() == {"care_units": 1, "resources": 1, "healthcare_services": 1, "timeslots": 1}


def test_a_document_that_asks_for_a_timeslot_asks_all_of_its_care_unit_anew_and_nothing_else(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway(**CACHES_ON)
    lists = f"careUnits {{ leyrId timeslots {{ {SLOT} }} resources {{ timeslots {{ id }} }} }}"
    before = gateway.data(f"{{ {lists} }}")["careUnits"]
    (own,) = [unit for unit in before if unit["leyrId"] == WEBDOC.care_unit]
    simulator.forget()
    simulator.fault("empty_list", endpoint="timeslots")

    answer = gateway.data(f"{{ {lists} {aliases(own['timeslots'][:1])} }}")

    for was, unit in zip(before, answer["careUnits"], strict=True):
        is_own = unit["leyrId"] == WEBDOC.care_unit
        assert unit["timeslots"] == ([] if is_own else was["timeslots"])
        assert not is_own or not any(each["timeslots"] for each in unit["resources"])
    assert answer["a0"] is None
    assert {call["care_unit"] for call in simulator.calls()} == {WEBDOC.care_unit}
    # Nothing is free for the slot's service any more: a list tells whether there still is such a service.
    assert simulator.count() == {"timeslots": 1, "healthcare_services": 1}


async def test_a_call_that_began_before_the_question_is_not_joined(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway(**CACHES_ON, **PATIENT)
    slot = listed(gateway, simulator)[0]
    question = {"query": STILL_FREE, "variables": {"id": slot["id"]}}
    simulator.fault("hang", endpoint="timeslots", times=1)

    async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as http:
        earlier = asyncio.create_task(http.post("/graphql", json=question))
        await asyncio.to_thread(simulator.arrived, 1)
        answer = (await http.post("/graphql", json=question)).json()
        earlier.cancel()
        await asyncio.gather(earlier, return_exceptions=True)

    assert "errors" not in answer
    assert answer["data"] == {"timeslot": slot}
    assert simulator.count() == {"timeslots": 2}


def test_an_answer_to_get_is_stored_by_nobody_and_never_kept(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway(**CACHES_ON)
    slot = listed(gateway, simulator)[0]
    asked = {"query": f'{{ timeslot(id: "{slot["id"]}") {{ id }} }}'}

    responses = [
        gateway.http.get("/graphql", params=asked, headers={"x-requested-with": "fetch", "if-none-match": "*"})
        for _ in range(4)
    ]

    assert [response.status_code for response in responses] == [200] * 4
    assert {response.headers["cache-control"] for response in responses} == {"no-store"}
    assert all("etag" not in response.headers for response in responses)
    assert simulator.count() == {"timeslots": 4}


@pytest.mark.parametrize(
    "text", [care_unit_id(WEBDOC), node_id(NodeType.RESOURCE, WEBDOC, "R1"), emr_id("webdoc"), "nonsense", ""]
)
def test_an_id_of_anything_else_is_refused_without_a_call(text: str, gateway: Gateway, simulator: Simulator) -> None:
    answer = gateway.ask(STILL_FREE, id=text)

    assert answer["data"] == {"timeslot": None}
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["BAD_USER_INPUT"]
    assert simulator.calls() == []


@pytest.mark.parametrize(
    ("key", "slot", "calls"),
    [
        # Leyr refuses to filter by nobody, who may have slots for all that: it is asked without the filter.
        (WEBDOC, Timeslot("2026-10-20T09:00:00+02:00", None, "nobody"), 2),
        (CareUnitKey("webdoc", "L9_9"), Timeslot("2026-10-20T09:00:00+02:00"), 1),
        (WEBDOC, Timeslot("1971-10-20T09:00:00+02:00", "9999-12-31T00:00:00Z"), 1),
    ],
)
def test_what_was_never_free_is_gone_too(
    key: CareUnitKey, slot: Timeslot, calls: int, gateway: Gateway, simulator: Simulator
) -> None:
    data = gateway.data(STILL_FREE, id=TimeslotIds(key)(slot))

    assert data == {"timeslot": None}
    assert simulator.count() == {"timeslots": calls}


def test_a_slot_beyond_the_calendar_is_refused_without_a_call(gateway: Gateway, simulator: Simulator) -> None:
    answer = gateway.ask(STILL_FREE, id=TimeslotIds(WEBDOC)(Timeslot("9999-12-31T23:59:59-05:00")))

    assert [error["extensions"]["code"] for error in answer["errors"]] == ["BAD_USER_INPUT"]
    assert simulator.calls() == []


def test_ids_that_may_be_personal_numbers_leave_only_where_lists_hold_them(
    gateway: Gateway, simulator: Simulator
) -> None:
    number = "191212121212"
    slot = Timeslot("2026-10-20T09:00:00+02:00", None, number)

    resource = gateway.data(STILL_FREE, id=TimeslotIds(WEBDOC)(slot))
    unit = gateway.data(STILL_FREE, id=TimeslotIds(CareUnitKey("webdoc", number))(Timeslot(slot.start)))

    assert resource == unit == {"timeslot": None}
    assert simulator.count() == {"resources": 1, "care_units": 1, "timeslots": 1}
    assert not any(number in f"{call['path']}?{call['query']}" for call in simulator.calls())


def test_a_failed_call_is_an_error_and_not_a_time_that_is_gone(gateway: Gateway, simulator: Simulator) -> None:
    slot = listed(gateway, simulator)[0]
    simulator.fault("emr_error_500", endpoint="timeslots")

    answer = gateway.ask(STILL_FREE, id=slot["id"])

    assert answer["data"] == {"timeslot": None}
    assert [error["path"] for error in answer["errors"]] == [["timeslot"]]


EMRS = ("webdoc", "kaddio", "cliniko")
ALL = "{ emrs { code careUnits { name timeZone timeslots(first: 5) { start } } } }"


def test_care_units_of_all_ehrs_take_one_document_without_aliases(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway(leyr_emrs=EMRS)

    data = gateway.data(ALL)

    units = [unit for emr in data["emrs"] for unit in emr["careUnits"]]
    assert [emr["code"] for emr in data["emrs"]] == list(EMRS)
    assert {unit["timeZone"] for unit in units} == {"Europe/Stockholm"}
    assert all(len(unit["timeslots"]) == 5 for unit in units)
    assert simulator.count() == {"care_units": 3, "timeslots": len(units)}


def test_care_units_of_an_ehr_are_the_same_from_every_side(gateway: Gateway, simulator: Simulator) -> None:
    below = "resources { id } timeslots(first: 2) { id }"
    query = f"""query($id: ID!) {{
      careUnits(emr: "kaddio") {{ id {below} }}
      emr(code: "kaddio") {{ id code name timeZone careUnits {{ id {below} emr {{ careUnits {{ id {below} }} }} }} }}
      node(id: $id) {{ ... on Emr {{ careUnits {{ id {below} }} }} }}
    }}"""

    data = gateway.data(query, id=emr_id("kaddio"))

    units = data["careUnits"]
    nested = data["emr"]["careUnits"]
    assert data["emr"] == {
        "id": emr_id("kaddio"), "code": "kaddio", "name": "Kaddio", "timeZone": "Europe/Stockholm", "careUnits": nested
    }  # fmt: skip
    assert data["node"]["careUnits"] == units == [{key: unit[key] for key in units[0]} for unit in nested]
    assert all(unit["emr"]["careUnits"] == units for unit in nested)
    assert simulator.count() == {"care_units": 1, "resources": len(units), "timeslots": len(units)}


def test_ehrs_without_their_care_units_take_no_call(gateway: Gateway, simulator: Simulator) -> None:
    assert gateway.data('{ emrs { id name } emr(code: "webdoc") { timeZone } }')["emr"]
    assert simulator.calls() == []


def test_care_units_of_an_ehr_that_fails_are_null_beside_those_of_others(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway(leyr_emrs=EMRS)
    simulator.fault("emr_error_401", endpoint="care_units", emr="kaddio")

    answer = gateway.ask("{ emrs { code careUnits { name } } }")

    assert [bool(emr["careUnits"]) for emr in answer["data"]["emrs"]] == [True, False, True]
    assert [error["path"] for error in answer["errors"]] == [["emrs", 1, "careUnits"]]


def test_an_ehr_that_is_not_configured_is_refused(gateway: Gateway, simulator: Simulator) -> None:
    answer = gateway.ask('{ emr(code: "elsewhere") { careUnits { id } } }')

    assert answer["data"] == {"emr": None}
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["BAD_USER_INPUT"]
    assert simulator.calls() == []


async def test_care_units_of_an_ehr_take_two_round_trips(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway(**PATIENT, leyr_emrs=("webdoc",))
    second = {"resources": 4, "timeslots": 4}
    for endpoint in second:
        simulator.fault("hang", endpoint=endpoint)

    async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as http:
        query = "{ emrs { careUnits { resources { timeslots { start } } } } }"
        asking = asyncio.create_task(http.post("/graphql", json={"query": query}))
        found = await asyncio.to_thread(simulator.arrived, 9)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    assert found == {"care_units": 1, **second}


def test_calls_for_care_units_of_ehrs_are_counted(serve_gateway: Callable[..., Gateway], simulator: Simulator) -> None:
    gateway = serve_gateway(leyr_emrs=EMRS, gateway_max_upstream_calls=2)

    answer = gateway.ask("{ emrs { careUnits { name } } }")

    assert {error["extensions"]["code"] for error in answer["errors"]} == {"OPERATION_TOO_LARGE"}
    assert simulator.calls() == []
