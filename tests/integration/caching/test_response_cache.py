"""Equal requests get the bytes of a former response while all its data are fresh."""

from datetime import datetime
from typing import Any

import pytest

from gateway.domain.ids import care_unit_id
from gateway.domain.models import CareUnitKey
from tests.harness import NOW, Clock, Gateway, Simulator

QUESTION: dict[str, Any] = {
    "query": "query($id: ID!) { careUnit(id: $id) { name timeslots(first: 3) { start } } }",
    "variables": {"id": care_unit_id(CareUnitKey("webdoc", "L0_1"))},
}
JSON = "application/json"
GRAPHQL = "application/graphql-response+json"


class Client:
    """Sends a request and says whether it was executed: each execution reads the time of day once."""

    def __init__(self, gateway: Gateway, clock: Clock) -> None:
        self._gateway = gateway
        self.clock = clock
        self.body = ""

    def is_executed(self, question: dict[str, Any] | None = None, **headers: str) -> bool:
        before = self.clock.times_asked
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        response = self._gateway.http.post("/graphql", json=question or QUESTION, headers=names)
        assert response.headers["content-type"].partition(";")[0] == headers.get("accept", JSON)
        self.body = response.text
        return self.clock.times_asked > before


@pytest.fixture
def client(gateway: Gateway, clock: Clock) -> Client:
    return Client(gateway, clock)


def test_third_equal_request_is_served_from_the_response_cache(client: Client, simulator: Simulator) -> None:
    executed = [client.is_executed()]
    first = client.body
    executed += [client.is_executed() for _ in range(4)]

    assert executed == [True, True, False, False, False]
    assert client.body == first
    assert simulator.count() == {"care_units": 1, "timeslots": 1}


def test_responses_to_get_are_cached(gateway: Gateway, clock: Clock) -> None:
    for _ in range(4):
        assert gateway.http.get(
            "/graphql", params={"query": "{ careUnits { name } }"}, headers={"x-requested-with": "test"}
        ).json()["data"]

    assert clock.times_asked == 2


def test_different_request_is_executed(client: Client) -> None:
    for _ in range(3):
        client.is_executed()

    assert client.is_executed({**QUESTION, "variables": {"id": care_unit_id(CareUnitKey("webdoc", "L0_2"))}})
    assert client.is_executed({**QUESTION, "query": QUESTION["query"].replace("first: 3", "first: 4")})


def test_each_media_type_has_responses_of_its_own(client: Client) -> None:
    executed = [client.is_executed(accept=accept) for accept in (JSON, JSON, JSON, GRAPHQL, GRAPHQL, GRAPHQL, JSON)]

    assert executed == [True, True, False, True, True, False, False]


def test_cached_response_expires_with_its_freshest_data(
    client: Client, gateway: Gateway, clock: Clock, simulator: Simulator
) -> None:
    for _ in range(3):
        client.is_executed()
    fresh = client.body

    clock.seconds += 14.9
    assert not client.is_executed()
    clock.seconds += 0.1
    assert client.is_executed()

    assert client.body == fresh
    # That had the data fetched anew. Who asked while they still came would be given these, from before the fault.
    gateway.settle()
    simulator.fault("empty_list", endpoint="timeslots")
    clock.seconds += 30
    assert client.is_executed()
    assert client.body != fresh


def test_response_with_stale_data_is_not_cached(client: Client, clock: Clock, simulator: Simulator) -> None:
    client.is_executed()
    clock.seconds += 15
    simulator.fault("hang", endpoint="timeslots")

    assert [client.is_executed() for _ in range(4)] == [True] * 4


def test_no_cache_request_is_executed_and_replaces_the_cached_response(client: Client, simulator: Simulator) -> None:
    for _ in range(3):
        client.is_executed()
    older = client.body
    simulator.fault("empty_list", endpoint="timeslots")

    assert [client.is_executed(cache_control="no-cache") for _ in range(2)] == [True, True]
    newer = client.body

    assert not client.is_executed()
    assert client.body == newer != older


def test_responses_with_a_fetch_report_bypass_the_response_cache(client: Client) -> None:
    assert [client.is_executed(x_gateway_explain="1") for _ in range(4)] == [True] * 4
    assert [client.is_executed() for _ in range(3)] == [True, True, False]
    assert client.is_executed(x_gateway_explain="1")
    assert "extensions" in client.body


@pytest.mark.parametrize(
    "question",
    [
        {"query": "{ nothing }"},
        {"query": "{ careUnits { timeslots(first: -1) { start } } }"},
        {**QUESTION, "variables": {"id": care_unit_id(CareUnitKey("webdoc", "stranger"))}},
        {"query": "{ __typename }"},
    ],
)
def test_responses_with_errors_or_without_reads_are_not_cached(question: dict[str, Any], client: Client) -> None:
    bodies = set()
    for _ in range(4):
        client.is_executed(question)
        bodies.add(client.body)

    assert "__typename" in str(question) or len(bodies) == 4, "each error has a reference of its own"


def test_response_with_a_failed_part_is_not_cached(client: Client, simulator: Simulator) -> None:
    simulator.fault("emr_error_500", endpoint="timeslots", times=3)

    for _ in range(3):
        assert client.is_executed()
        assert '"errors"' in client.body

    assert client.is_executed()
    assert '"errors"' not in client.body


def test_response_is_kept_only_as_long_as_what_is_next_leaves_the_notice(client: Client, gateway: Gateway) -> None:
    def question(notice: int) -> dict[str, Any]:
        past, asked = 'range: {days: {from: "2026-10-10", count: 1}}', f"filter: {{minimumNoticeMinutes: {notice}}}"
        found = f"availability({past}, {asked}) {{ nextAfter {{ timeslot {{ start }} }} }}"
        return {"query": f'{{ careUnit(id: "{QUESTION["variables"]["id"]}") {{ {found} }} }}'}

    availability = gateway.data(question(0)["query"])["careUnit"]["availability"]
    starts = datetime.fromisoformat(availability["nextAfter"]["timeslot"]["start"])
    # It begins at a full minute, so that in five seconds it leaves the notice no more.
    client.clock.seconds += 55
    just_enough = question(int((starts - NOW).total_seconds() // 60) - 1)
    executed = [client.is_executed(just_enough) for _ in range(3)]
    kept = client.body
    client.clock.seconds += 6

    assert executed == [True, True, False]
    assert starts.isoformat() in kept
    assert client.is_executed(just_enough)
    assert starts.isoformat() not in client.body


@pytest.mark.parametrize(
    ("selection", "where"),
    [
        ("coverage { gaps { code } }", {"emr": "kaddio", "endpoint": "timeslots"}),
        ("byCareUnit { careUnit { name } }", {"emr": "kaddio", "endpoint": "care_units"}),
        ("timeslotCount nextAfter { complete }", {"emr": "kaddio", "endpoint": "timeslots"}),
    ],
)
def test_response_that_tells_a_failure_as_data_is_not_cached(
    selection: str, where: dict[str, str], client: Client, gateway: Gateway, simulator: Simulator
) -> None:
    units = gateway.data('{ webdoc: careUnits { id } kaddio: careUnits(emr: "kaddio") { id } }')
    ids = [each["id"] for several in units.values() for each in several[:1]]
    client.clock.seconds += 1_000_000
    failing = {"query": f"query($ids: [ID!]!) {{ availability(careUnitIds: $ids) {{ {selection} }} }}"}
    simulator.fault("emr_error_500", times=3, **where)

    told = []
    for _ in range(3):
        assert client.is_executed({**failing, "variables": {"ids": ids}})
        told.append(client.body)
    assert client.is_executed({**failing, "variables": {"ids": ids}})

    assert all('"errors"' not in body for body in told)
    assert client.body not in told
