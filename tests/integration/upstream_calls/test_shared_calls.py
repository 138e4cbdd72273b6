"""Concurrent requests share an upstream call, whichever of them is cancelled and whenever."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from gateway.app import create_app
from gateway.domain.ids import care_unit_id
from gateway.domain.models import CareUnitKey
from gateway.settings import Settings
from tests.harness import CACHES_ON, NOW, Clock, Gateway, Simulator, leyr_settings

UNIT = care_unit_id(CareUnitKey("webdoc", "L0_1"))
SLOTS = """
query($id: ID!) {
  careUnit(id: $id) { timeslots(start: "2026-10-13T06:00:00Z", end: "2026-10-13T16:00:00Z") { start } }
}
"""
UNITS = "{ careUnits { name } }"
CROWD, FOLLOWERS = 500, 99
JSON = {"content-type": "application/json"}


def body(query: str, **variables: Any) -> bytes:
    return json.dumps({"query": query, "variables": variables}).encode()


def head(content: bytes, url: str) -> bytes:
    address = httpx.URL(url)
    return (
        f"POST /graphql HTTP/1.1\r\nhost: {address.host}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
    ).encode() + content


async def connect(url: str, content: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which a request was sent."""
    address = httpx.URL(url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(head(content, url))
    return reader, writer


def data_of(answer: dict[str, Any]) -> dict[str, Any]:
    """The data of a whole answer; when they were read stands beside them."""
    assert answer.keys() == {"data", "extensions"}
    data: dict[str, Any] = answer["data"]
    return data


async def ask(url: str, content: bytes) -> dict[str, Any]:
    reader, writer = await connect(url, content)
    try:
        heading, _, answer = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    assert heading.startswith(b"HTTP/1.1 200 "), heading
    return data_of(json.loads(answer))


async def crowd(url: str, content: bytes, number: int = CROWD) -> list[dict[str, Any]]:
    return await asyncio.gather(*(ask(url, content) for _ in range(number)))


async def until_called(simulator: Simulator) -> None:
    for _ in range(1_000):
        if simulator.calls():
            return
        await asyncio.sleep(0.002)
    raise AssertionError


@pytest.mark.parametrize("later", [301, 300 + 86_401], ids=["stale", "too old"])
async def test_five_hundred_requests_for_an_expired_list_make_one_call(
    later: float, serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    clock = Clock()
    gateway = serve_gateway(clock=clock, **CACHES_ON)
    known = gateway.data(UNITS)
    simulator.forget()
    simulator.behaviour("webdoc", latency_ms=300, latency_jitter=0)
    clock.seconds += later

    answers = await crowd(gateway.url, body(UNITS))

    assert answers == [known] * CROWD
    gateway.settle()
    assert simulator.count() == {"care_units": 1}


async def test_five_hundred_requests_for_expired_timeslots_make_one_call(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    clock = Clock()
    gateway = serve_gateway(clock=clock, **CACHES_ON)
    known = gateway.data(SLOTS, id=UNIT)
    simulator.forget()
    simulator.behaviour("webdoc", latency_ms=300, latency_jitter=0)
    clock.seconds += 31

    answers = await crowd(gateway.url, body(SLOTS, id=UNIT))

    assert answers == [known] * CROWD
    gateway.settle()
    assert simulator.count() == {"timeslots": 1}


@pytest.mark.parametrize("query", [UNITS, SLOTS], ids=["list", "free times"])
async def test_shared_call_goes_on_when_the_first_client_disconnects(
    query: str, serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway()
    content = body(query, **({"id": UNIT} if query is SLOTS else {}))
    known = await ask(gateway.url, content)
    simulator.behaviour("webdoc", latency_ms=250, latency_jitter=0)

    for moment in range(5):
        simulator.http.post("/__reset")
        simulator.behaviour("webdoc", latency_ms=250, latency_jitter=0)
        _, leader = await connect(gateway.url, content)
        await until_called(simulator)
        followers = asyncio.gather(*(ask(gateway.url, content) for _ in range(FOLLOWERS)))
        await asyncio.sleep(moment * 0.05)
        leader.transport.abort()

        assert await followers == [known] * FOLLOWERS
        assert await ask(gateway.url, content) == known

    assert '"request.fault"' not in gateway.log.getvalue()


@asynccontextmanager
async def gateway_inside(simulator: Simulator) -> AsyncIterator[Starlette]:
    """A gateway in this loop, whose requests can be cancelled as tasks."""
    settings: dict[str, Any] = {
        **leyr_settings(simulator.url, simulator.emrs),
        "gateway_log_level": "error",
        "gateway_cache_catalog_seconds": 0,
        "gateway_cache_timeslots_seconds": 0,
    }
    app = create_app(Settings(**settings), now=lambda: NOW)
    async with app.router.lifespan_context(app):
        yield app


@pytest.mark.parametrize("turns", range(20))
async def test_cancelling_the_first_request_at_any_turn_cancels_no_other(turns: int, simulator: Simulator) -> None:
    simulator.behaviour("webdoc", latency_ms=30, latency_jitter=0)
    async with (
        gateway_inside(simulator) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway", timeout=20) as http,
    ):

        async def asks() -> dict[str, Any]:
            return data_of((await http.post("/graphql", content=body(SLOTS, id=UNIT), headers=JSON)).json())

        leader = asyncio.create_task(asks())
        await asyncio.sleep(0)
        followers = [asyncio.create_task(asks()) for _ in range(FOLLOWERS)]
        for _ in range(turns):
            await asyncio.sleep(0)
        leader.cancel()

        answers = await asyncio.gather(*followers)
        assert len(answers) == FOLLOWERS
        assert all(answer == answers[0] and answer["careUnit"]["timeslots"] for answer in answers)
        assert (await asyncio.gather(leader, return_exceptions=True))[0].__class__ is asyncio.CancelledError
        assert await asks() == answers[0]
