"""The recorded calls, the latency and the simulator's own pages."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from itertools import count

import httpx
import pytest

from gateway.simulator import SimulatorSettings, announcement, create_simulator
from gateway.simulator.clinics import rng

UNITS = "/api/emrs/webdoc/care-units"


@pytest.fixture
async def client_with_secrets() -> AsyncIterator[httpx.AsyncClient]:
    """A client with credentials that nothing else looks like, and a clock that counts."""
    settings = SimulatorSettings(today=date(2026, 3, 2), latency_ms=0, client_id="id-4711", client_secret="s3cret-0815")
    ticks = count(1)
    app = create_simulator(settings, clock=lambda: float(next(ticks)))
    headers = {"x-leyr-client-id": "id-4711", "x-leyr-client-secret": "s3cret-0815"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://leyr.test", headers=headers) as client:
        yield client


async def test_a_call_is_recorded_as_received_without_credentials(client_with_secrets: httpx.AsyncClient) -> None:
    query = "start=2026-03-02T00:00:00%2B01:00&end=2026-03-03T00:00:00%2B01:00&x=1&x=2"
    path = "/api/emrs/physica/care-units/avd%252F5/timeslots"
    headers = {"authorization": "Bearer t0ken", "accept": "application/json", "x-other": "o"}
    assert (await client_with_secrets.get(f"{path}?{query}", headers=headers)).status_code == 200
    answer = await client_with_secrets.get("/__calls")
    assert answer.json() == {
        "total": 1,
        "calls": [
            {
                "method": "GET",
                "path": path,
                "query": query,
                "endpoint": "timeslots",
                "emr": "physica",
                "care_unit": "avd%2F5",
                "resource": None,
                "params": {
                    "start": "2026-03-02T00:00:00+01:00",
                    "end": "2026-03-03T00:00:00+01:00",
                    "x": ["1", "2"],
                },
                "status": 200,
                "headers": {
                    "accept": "application/json",
                    "x-leyr-client-id": "present",
                    "x-leyr-client-secret": "present",
                    "authorization": "present",
                },
                "started_at": 1.0,
                "ended_at": 2.0,
            }
        ],
        "by_endpoint": {"timeslots": 1},
        "max_in_flight": {"physica": 1},
    }
    for secret in ("s3cret-0815", "id-4711", "t0ken"):
        assert secret not in answer.text


async def test_counts_and_filter_by_ehr(leyr: httpx.AsyncClient) -> None:
    for path in (UNITS, UNITS, f"{UNITS}/L0_1/resources", "/api/emrs/kaddio/care-units", "/api/fhir"):
        await leyr.get(path)
    all_calls = (await leyr.get("/__calls")).json()
    assert all_calls["total"] == 5
    assert all_calls["by_endpoint"] == {"care_units": 3, "resources": 1, "unknown": 1}
    webdoc = (await leyr.get("/__calls", params={"emr": "webdoc"})).json()
    assert webdoc["total"] == len(webdoc["calls"]) == 3
    assert webdoc["by_endpoint"] == {"care_units": 2, "resources": 1}


async def test_admin_calls_are_not_counted_and_reset_forgets(leyr: httpx.AsyncClient) -> None:
    await leyr.get(UNITS)
    await leyr.post("/__faults", json={"fault": "cut"})
    await leyr.post("/__reset")
    for path in ("/", "/__calls", "/__manners", "/__faults", "/__nothing"):
        await leyr.get(path)
    shown = (await leyr.get("/__calls")).json()
    assert shown == {"total": 0, "calls": [], "by_endpoint": {}, "max_in_flight": {}}
    assert (await leyr.get(UNITS)).status_code == 200


async def test_max_in_flight_is_counted_by_ehr(leyr: httpx.AsyncClient) -> None:
    await leyr.patch("/__manners/webdoc", json={"latency_ms": 20, "latency_jitter": 0})
    await asyncio.gather(*(leyr.get(UNITS) for _ in range(7)), leyr.get("/api/emrs/kaddio/care-units"))
    await leyr.get(UNITS)
    assert (await leyr.get("/__calls")).json()["max_in_flight"] == {"webdoc": 7, "kaddio": 1}


async def test_latency_varies_by_the_given_random_numbers() -> None:
    async def durations() -> list[float]:
        settings = SimulatorSettings(today=date(2026, 3, 2), latency_ms=30)
        transport = httpx.ASGITransport(create_simulator(settings, random=rng("latency test")))
        async with httpx.AsyncClient(transport=transport, base_url="http://leyr.test") as client:
            for _ in range(4):
                await client.get(UNITS)
            calls = (await client.get("/__calls")).json()["calls"]
        return [call["ended_at"] - call["started_at"] for call in calls]

    jitters = rng("latency test")
    expected = [0.03 * (1 + jitters.uniform(-0.3, 0.3)) for _ in range(4)]
    shortest = await durations()
    # A busy machine makes some longer, but hardly the same one each time.
    for _ in range(20):
        if all(took - meant < 0.005 for took, meant in zip(shortest, expected, strict=True)):
            break
        shortest = [min(pair) for pair in zip(shortest, await durations(), strict=True)]
    assert all(-0.002 < took - meant < 0.005 for took, meant in zip(shortest, expected, strict=True))


async def test_home_page_is_the_announcement(leyr: httpx.AsyncClient, settings: SimulatorSettings) -> None:
    text = (await leyr.get("/")).text
    assert text == announcement(settings)
    assert "built from Leyr's public documentation, not from\nLeyr's code" in text
    assert "webdoc, kaddio, cliniko" in text


def test_over_real_http(served: str) -> None:
    headers = {"x-leyr-client-id": "simulator", "x-leyr-client-secret": "simulator"}
    with httpx.Client(base_url=served, headers=headers) as client:
        client.post("/__reset")
        units = client.get("/api/emrs/physica/care-units").json()
        path = "/api/emrs/physica/care-units/avd%252F5/resources/stol%2F1"
        assert client.get(path).json()["id"] == "stol/1"
        calls = client.get("/__calls").json()["calls"]
    assert [one["id"] for one in units][-1] == "a..b"
    assert [call["path"] for call in calls] == ["/api/emrs/physica/care-units", path]
