"""More clients than the concurrency limit: those beyond it get a 503 at once, and the others are answered as ever."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from tests.harness import Gateway, Simulator

PLACES, SECONDS = 20, 1.2
# With so slow an upstream the places are what is scarce, not the processor that all share here.
LATENCY_MS = 300
# A client that is turned away comes again far sooner than the second that it is told.
IMPATIENCE = 0.25
# Each wants an answer from after its beginning, so each has a call of its own.
OWN_CALL = {"cache-control": "no-cache"}


@dataclass
class Seen:
    """The responses that a number of clients got."""

    statuses: Counter[int] = field(default_factory=Counter)
    without_advice: int = 0

    def note(self, response: httpx.Response) -> None:
        self.statuses[response.status_code] += 1
        if response.status_code == 503:
            error = response.json()["errors"][0]["extensions"]
            self.without_advice += "retry-after" not in response.headers or error["code"] != "OVERLOADED"


async def press(url: str, clients: int) -> Seen:
    """So many clients ask, one request after the other each, for some seconds."""
    seen = Seen()
    end = time.monotonic() + SECONDS

    async def client(http: httpx.AsyncClient) -> None:
        while time.monotonic() < end:
            response = await http.post("/graphql", json={"query": "{ careUnits { leyrId } }"}, headers=OWN_CALL)
            seen.note(response)
            if response.status_code == 503:
                await asyncio.sleep(IMPATIENCE)

    async with httpx.AsyncClient(base_url=url, timeout=30, limits=httpx.Limits(max_connections=None)) as http:
        await asyncio.gather(*(client(http) for _ in range(clients)))
    return seen


async def test_three_times_the_clients_are_answered_or_503(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway(gateway_max_concurrent_requests=PLACES)
    simulator.behaviour("webdoc", latency_ms=LATENCY_MS, latency_jitter=0)

    before = await press(gateway.url, PLACES)
    storm = await press(gateway.url, 3 * PLACES)
    after = await press(gateway.url, PLACES)

    assert set(before.statuses) == set(after.statuses) == {200}
    assert set(storm.statuses) == {200, 503}
    # How many answers that makes is measured by benchmarks/soak.py: in a test it would tell of the machine.
    assert storm.without_advice == 0
    assert simulator.http.get("/__calls").json()["max_in_flight"]["webdoc"] <= PLACES
    # A request that gets a 503 takes no upstream call.
    assert sum(simulator.count().values()) == sum(each.statuses[200] for each in (before, storm, after))
