"""Callers get an error or nothing for what they may not see, and no upstream call is made for it."""

import asyncio
from base64 import b64encode
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from pydantic import SecretStr

from gateway.domain.ehr_profile import shipped_profile
from gateway.domain.ids import NodeType, TimeslotIds, care_unit_id, emr_id, node_id
from gateway.domain.models import EVERYTHING, Access, CareUnitKey, Timeslot
from gateway.leyr.client import LeyrClient, LeyrTransport
from gateway.leyr.resilience import PolicyConfig, PolicyDependencies, UpstreamPolicies
from gateway.logging import build_log
from tests.harness import CLIENT_ID, CLIENT_SECRET, NOW, Simulator
from tests.unit.schema.graph import Answered, Graph

SEEN = CareUnitKey("webdoc", "L0_1")
HIDDEN = CareUnitKey("webdoc", "L0_2")
ELSEWHERE = CareUnitKey("takecare", "10")
ONE_UNIT = Access(care_units=frozenset({SEEN}))
ONE_EHR = Access(emrs=frozenset({"takecare"}))
NOTHING = Access(emrs=frozenset())
Ask = Callable[..., Answered]


@pytest.fixture
def ask(simulator: Simulator) -> Ask:
    """Ask the schema below HTTP, on the simulator and without caches."""

    def asked(text: str, access: Access, **variables: Any) -> Answered:
        async def answer() -> Answered:
            url, secret = f"{simulator.url}/api", SecretStr(CLIENT_SECRET)
            async with LeyrTransport(url, CLIENT_ID, secret) as transport:
                policies = UpstreamPolicies(PolicyConfig(), PolicyDependencies())
                client = LeyrClient(transport, build_log("info", StringIO()), policies, lambda: NOW)
                graph = Graph(client, [shipped_profile(code) for code in simulator.emrs])
                return await graph.ask(text, access, **variables)

        return asyncio.run(answer())

    return asked


def test_lists_hold_only_what_is_visible(ask: Ask, simulator: Simulator) -> None:
    query = "{ emrs { code } careUnits { id resources { name timeslots(first: 1) { start } } } }"

    answer = ask(query, ONE_UNIT)

    assert answer.data is not None
    assert answer.data["emrs"] == [{"code": "webdoc"}]
    assert [unit["id"] for unit in answer.data["careUnits"]] == [care_unit_id(SEEN)]
    assert simulator.count() == {"care_units": 1, "resources": 1, "timeslots": 1}


def test_care_units_without_an_ehr_are_of_the_first_visible_one(ask: Ask, simulator: Simulator) -> None:
    answer = ask("{ careUnits { emr { code } } }", ONE_EHR)

    assert answer.data is not None
    assert {unit["emr"]["code"] for unit in answer.data["careUnits"]} == {"takecare"}
    assert {call["emr"] for call in simulator.calls()} == {"takecare"}


@pytest.mark.parametrize(
    ("access", "emr", "code", "message"),
    [
        (NOTHING, "", "FORBIDDEN", "You may not see any EHR"),
        (NOTHING, '(emr: "webdoc")', "FORBIDDEN", "You may not see this EHR"),
        (ONE_EHR, '(emr: "webdoc")', "FORBIDDEN", "You may not see this EHR"),
        (ONE_UNIT, '(emr: "takecare")', "FORBIDDEN", "You may not see this EHR"),
        (ONE_EHR, '(emr: "elsewhere")', "FORBIDDEN", "You may not see this EHR"),
        (NOTHING, '(emr: "elsewhere")', "FORBIDDEN", "You may not see this EHR"),
    ],
)
def test_an_ehr_that_is_not_visible_is_refused_whether_it_exists_or_not(
    access: Access, emr: str, code: str, message: str, ask: Ask, simulator: Simulator
) -> None:
    answer = ask(f"{{ careUnits{emr} {{ id }} }}", access)

    assert (answer.data, answer.codes, answer.messages) == ({"careUnits": None}, {code}, {message})
    assert simulator.calls() == []


@pytest.mark.parametrize("key", [HIDDEN, CareUnitKey("webdoc", "L9_9"), ELSEWHERE, CareUnitKey("other", "1")])
@pytest.mark.parametrize("kind", [kind for kind in NodeType if kind is not NodeType.EMR])
@pytest.mark.parametrize("leyr_id", ["R1", "nobody"])
def test_hidden_id_is_forbidden_before_any_call_whether_it_exists_or_not(
    key: CareUnitKey, kind: NodeType, leyr_id: str, ask: Ask, simulator: Simulator
) -> None:
    unit = care_unit_id(key)
    texts = {
        NodeType.CARE_UNIT: unit,
        NodeType.TIMESLOT: TimeslotIds(key)(Timeslot("2026-10-20T09:00:00+02:00", None, leyr_id)),
    }
    text = texts.get(kind) or node_id(kind, key, leyr_id)
    query = """
    query($unit: ID!, $id: ID!) {
      careUnit(id: $unit) { name timeslots { start } }
      node(id: $id) { id ... on Resource { careUnit { name } timeslots { start } } }
      nodes(ids: [$id, $id]) { id }
    }"""

    answer = ask(query, ONE_UNIT, unit=unit, id=text)

    assert answer.data == {"careUnit": None, "node": None, "nodes": [None, None]}
    assert (answer.codes, answer.messages) == ({"FORBIDDEN"}, {"You may not see this care unit"})
    assert simulator.calls() == []


@pytest.mark.parametrize("access", [NOTHING, ONE_EHR])
@pytest.mark.parametrize("code", ["webdoc", "elsewhere"])
def test_an_ehr_that_is_not_visible_is_forbidden_by_its_code_and_by_its_id(
    access: Access, code: str, ask: Ask, simulator: Simulator
) -> None:
    query = """
    query($id: ID!, $code: String!) {
      emr(code: $code) { careUnits { id } }
      node(id: $id) { ... on Emr { careUnits { id } } }
      nodes(ids: [$id]) { id }
    }"""

    answer = ask(query, access, id=emr_id(code), code=code)

    assert answer.data == {"emr": None, "node": None, "nodes": [None]}
    assert (answer.codes, answer.messages) == ({"FORBIDDEN"}, {"You may not see this EHR"})
    assert simulator.calls() == []


def test_care_units_of_an_ehr_are_those_that_the_caller_may_see(ask: Ask, simulator: Simulator) -> None:
    query = "{ emrs { code careUnits { leyrId emr { careUnits { leyrId } } } } }"

    answer = ask(query, ONE_UNIT)

    seen = {"leyrId": SEEN.care_unit}
    assert answer.data == {"emrs": [{"code": SEEN.emr, "careUnits": [{**seen, "emr": {"careUnits": [seen]}}]}]}
    assert simulator.count() == {"care_units": 1}


@pytest.mark.parametrize("emr", ["elsewhere", "takecare"])
def test_an_unrestricted_caller_is_told_which_ehrs_there_are(emr: str, ask: Ask) -> None:
    query = "query($id: ID!, $emr: String) { node(id: $id) { id } careUnits(emr: $emr) { id } }"

    answer = ask(query, EVERYTHING, id=b64encode(f"CareUnit:{emr}/1".encode()).decode(), emr=emr)

    if emr == "elsewhere":
        assert answer.codes == {"BAD_USER_INPUT"}
        assert {each.partition(":")[0] for each in answer.messages} == {
            "This EHR is not configured here; the configured ones are"
        }
    else:
        assert "BAD_USER_INPUT" not in answer.codes


def test_nodes_gives_the_visible_ones(ask: Ask, simulator: Simulator) -> None:
    ids = [node_id(NodeType.RESOURCE, key, "R1") for key in (HIDDEN, SEEN, ELSEWHERE)]

    answer = ask("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", ONE_UNIT, ids=ids)

    assert answer.data == {"nodes": [None, {"id": ids[1]}, None]}
    assert [error["path"] for error in answer.errors] == [["nodes", 0], ["nodes", 2]]
    assert simulator.count() == {"resources": 1}


def test_a_visible_care_unit_that_does_not_exist_is_not_found(ask: Ask) -> None:
    nowhere = CareUnitKey("webdoc", "L9_9")

    answer = ask(
        "query($id: ID!) { careUnit(id: $id) { id } }",
        Access(care_units=frozenset({nowhere})),
        id=care_unit_id(nowhere),
    )

    assert answer.codes == {"NOT_FOUND"}


def test_ids_of_another_care_unit_are_refused_within_a_visible_one(ask: Ask, simulator: Simulator) -> None:
    query = "query($id: ID!, $other: ID) { careUnit(id: $id) { id timeslots(resourceId: $other) { start } } }"

    answer = ask(query, ONE_UNIT, id=care_unit_id(SEEN), other=node_id(NodeType.RESOURCE, HIDDEN, "R1"))

    assert answer.data == {"careUnit": {"id": care_unit_id(SEEN), "timeslots": None}}
    assert answer.messages == {"This Resource belongs to another care unit"}
    assert simulator.count() == {"care_units": 1}


def test_raw_ids_within_a_visible_care_unit_are_its_own(ask: Ask, simulator: Simulator) -> None:
    query = 'query($id: ID!) { careUnit(id: $id) { timeslots(resourceId: "R1") { resource { careUnit { id } } } } }'

    answer = ask(query, ONE_UNIT, id=care_unit_id(SEEN))

    assert answer.data is not None
    slots = answer.data["careUnit"]["timeslots"]
    assert {slot["resource"]["careUnit"]["id"] for slot in slots} == {care_unit_id(SEEN)}
    assert {call["care_unit"] for call in simulator.calls() if call["care_unit"]} == {"L0_1"}
