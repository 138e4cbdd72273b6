"""The fetch report that `x-gateway-explain: 1` adds to a response."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from gateway.domain.ids import care_unit_id
from gateway.domain.models import CareUnitKey
from tests.harness import CACHES_ON, PATIENT, Clock, Gateway, Simulator
from tests.stand_ins.http_client import UpstreamScript

ORIGINS = ("fetched", "joined", "shared", "cached", "stale")
NAMES = {"care-units": "care_units", "healthcare-services": "healthcare_services"}
SELECTIONS = [
    "name",
    "resources { name } again: resources { id }",
    "resources { timeslots { start } } timeslots { start }",
    "timeslots { resource { name } healthcareService { name } careUnit { name } }",
]


def explained(gateway: Gateway, selection: str, emr: str = "webdoc", care_unit: str = "L0_1") -> dict[str, Any]:
    """The fetch report of a response about one care unit."""
    question = {
        "query": f"query($id: ID!) {{ careUnit(id: $id) {{ {selection} }} }}",
        "variables": {"id": care_unit_id(CareUnitKey(emr, care_unit))},
    }
    answer = gateway.http.post("/graphql", json=question, headers={"x-gateway-explain": "1"}).json()
    assert "errors" not in answer, answer
    assert list(answer["extensions"]) == ["gateway"]
    found: dict[str, Any] = answer["extensions"]["gateway"]
    assert sum(found[origin] for origin in ORIGINS) == found["planned"] == len(found["reads"])
    return found


@pytest.mark.parametrize(("emr", "care_unit"), [("webdoc", "L0_1"), ("takecare", "10")])
@pytest.mark.parametrize("selection", SELECTIONS)
def test_fetched_reads_are_the_upstream_calls(
    selection: str, emr: str, care_unit: str, gateway: Gateway, simulator: Simulator
) -> None:
    first = explained(gateway, selection, emr, care_unit)
    calls = simulator.count()
    again = explained(gateway, selection, emr, care_unit)

    assert first["fetched"] == first["planned"] == calls.total()
    assert [read["origin"] for read in first["reads"]] == ["fetched"] * calls.total()
    by_endpoint = [NAMES.get(read["endpoint"], read["endpoint"]) for read in first["reads"]]
    assert {name: by_endpoint.count(name) for name in by_endpoint} == calls
    assert (again["fetched"], again["cached"]) == (0, again["planned"])
    assert again["planned"] <= first["planned"]
    assert simulator.count() == calls


def test_reads_that_shared_a_call_are_counted_as_merged(gateway: Gateway, simulator: Simulator) -> None:
    people = len(simulator.rest("/emrs/webdoc/care-units/L0_1/resources"))
    selection = "resources { timeslots { start } } timeslots { start }"

    cold, warm = (explained(gateway, selection) for _ in range(2))

    # The care unit, its resources, everybody's timeslots and each one's were asked for.
    for found in (cold, warm):
        assert found["planned"] == 3
        assert found["merged"] == 2 + people + 1 - 3


def test_age_is_that_of_the_oldest_data(gateway: Gateway, clock: Clock) -> None:
    explained(gateway, "name")
    clock.seconds += 7
    explained(gateway, "name resources { name }")
    clock.seconds += 3.25

    found = explained(gateway, "name resources { name } timeslots { start }")

    assert found["ageSeconds"] == 10.25
    assert {read["endpoint"]: read["ageSeconds"] for read in found["reads"]} == {
        "care-units": 10.25,
        "resources": 3.25,
        "timeslots": 0,
    }
    assert (found["cached"], found["fetched"], found["stale"]) == (2, 1, 0)


def test_stale_data_are_reported_and_their_refresh_is_not(gateway: Gateway, simulator: Simulator, clock: Clock) -> None:
    explained(gateway, "timeslots { start }")
    simulator.fault("hang", endpoint="timeslots")
    clock.seconds += 20

    found = explained(gateway, "timeslots { start }")

    assert (found["stale"], found["cached"], found["fetched"]) == (1, 1, 0)
    assert found["ageSeconds"] == 20


async def test_reads_that_wait_for_another_requests_call_are_joined(
    serve_gateway: Callable[..., Gateway], simulator: Simulator, clock: Clock
) -> None:
    script = UpstreamScript(held=True)
    gateway = serve_gateway(clock=clock, connections=script.connections, **CACHES_ON, **PATIENT)
    question = {
        "query": "query($id: ID!) { careUnit(id: $id) { name timeslots { start } } }",
        "variables": {"id": care_unit_id(CareUnitKey("webdoc", "L0_1"))},
    }

    async with httpx.AsyncClient(base_url=gateway.url, headers={"x-gateway-explain": "1"}, timeout=30) as http:
        asking = asyncio.gather(*(http.post("/graphql", json=question) for _ in range(10)))
        async with asyncio.timeout(20):
            while gateway.gauge("gateway_requests_inside") < 10:  # noqa: ASYNC110 # it happens in another thread
                await asyncio.sleep(0.01)
            # When this is answered, the last of them has begun what it waits for.
            await http.get("/livez")
        script.released.set()
        answers = await asking

    found = [answer.json()["extensions"]["gateway"] for answer in answers]
    assert sum(each["fetched"] for each in found) == simulator.count().total() == 2
    assert sum(each["joined"] for each in found) == 2 * 10 - 2


def test_each_read_names_its_subject(gateway: Gateway) -> None:
    found = explained(gateway, 'timeslots(resourceId: "R1", start: "2026-10-13T00:00:00+02:00") { start }')

    [_, read] = found["reads"]
    assert read.pop("end").startswith("2026-11-1")
    assert read == {
        "endpoint": "timeslots",
        "origin": "fetched",
        "emr": "webdoc",
        "careUnit": "L0_1",
        "resource": "R1",
        "start": "2026-10-13T00:00:00+02:00",
        "ageSeconds": 0.0,
    }


@pytest.mark.parametrize("headers", [{}, {"x-gateway-explain": "0"}, {"x-gateway-explain": ""}])
def test_response_without_the_header_has_no_report(headers: dict[str, str], gateway: Gateway) -> None:
    answer = gateway.http.post("/graphql", json={"query": "{ careUnits { name } }"}, headers=headers).json()

    assert list(answer) == ["data", "extensions"]
    assert answer["extensions"] == {"gateway": {"catalogAsOf": "2026-10-12T05:00:00.000Z"}}


def test_request_that_was_not_executed_has_no_report(gateway: Gateway) -> None:
    answer = gateway.http.post("/graphql", json={"query": "{ nothing }"}, headers={"x-gateway-explain": "1"}).json()

    assert list(answer) == ["errors"]
