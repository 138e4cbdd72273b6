"""More clients than places: those beyond hear so at once, and the others are answered as well as ever."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from tests.harness import CACHES_ON, Clock, Gateway, Simulator

PLACES, SECONDS = 20, 1.2
# With so slow an upstream the places are what is scarce, not the processor that all share here.
LATENCY_MS = 300
# A client that is turned away comes again far sooner than the second that it is told.
IMPATIENCE = 0.25
# Each wants an answer from after its beginning, so each has a call of its own.
OWN_CALL = {"cache-control": "no-cache"}
CATALOGUE = "{ careUnits { leyrId name resources { leyrId } healthcareServices { leyrId } } }"


@dataclass
class Seen:
    """What a number of clients saw."""

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


async def test_three_times_the_clients_are_answered_or_turned_away(
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
    # Whoever was turned away cost upstream nothing.
    assert sum(simulator.count().values()) == sum(each.statuses[200] for each in (before, storm, after))


def test_the_catalogue_is_there_while_upstream_is_down_for_five_minutes(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    clock = Clock()
    gateway = serve_gateway(clock=clock, **CACHES_ON)
    known = gateway.data(CATALOGUE)
    simulator.forget()
    for fault in ("cut", "service_unavailable", "bad_gateway_html"):
        simulator.fault(fault, times=40)
    simulator.fault("service_unavailable")
    clock.seconds += 300

    for _ in range(300):
        clock.seconds += 1
        assert gateway.data(CATALOGUE) == known

    # A list is tried again every five seconds at most, and an EHR that fails again and again is left alone.
    lists = 1 + 2 * len(known["careUnits"])
    assert 0 < sum(simulator.count().values()) <= lists * (300 / 5 + 1)
    assert '"request.fault"' not in gateway.log.getvalue()
    simulator.http.request("DELETE", "/__faults")
    assert gateway.data(CATALOGUE) == known
