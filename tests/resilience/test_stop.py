"""A gateway that is told to stop: what is in flight is answered, and nobody new is let in."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.harness import CLIENT_ID, CLIENT_SECRET, Simulator

ROOT = Path(__file__).parents[2]
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("LEYR_", "GATEWAY_"))}
IN_FLIGHT = 200
# Each wants an answer from after its beginning, so each has a call of its own.
OWN_CALL = {"content-type": "application/json", "cache-control": "no-cache"}
QUERY = "query($emr: String!) { careUnits(emr: $emr) { leyrId } }"
STARTS_WITHIN, STOPS_WITHIN = 20, 20


@dataclass(frozen=True)
class Serving:
    """`gateway serve` as a process that logs to a file, since a pipe that nobody reads would stop it."""

    process: subprocess.Popen[bytes]
    log: Path

    def url(self) -> str:
        for _ in range(STARTS_WITHIN * 100):
            if found := re.search(r'"url":"(http://[^"]+)"', self.log.read_text()):
                return found[1]
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.01)
        raise TimeoutError

    async def ended(self) -> int:
        """Its exit status."""
        return await asyncio.to_thread(self.process.wait, timeout=STOPS_WITHIN)

    def events(self, level: str | None = None) -> Counter[str]:
        """How many log events there were of each kind."""
        lines: list[dict[str, Any]] = [json.loads(line) for line in self.log.read_text().splitlines()]
        return Counter(line["event"] for line in lines if level in (None, line["level"]))


@pytest.fixture
def serve(simulator: Simulator, tmp_path: Path) -> Iterator[Callable[..., Serving]]:
    started: list[Serving] = []

    def start(**settings: str) -> Serving:
        environment = {
            **CLEAN,
            "LEYR_BASE_URL": f"{simulator.url}/api",
            "LEYR_CLIENT_ID": CLIENT_ID,
            "LEYR_CLIENT_SECRET": CLIENT_SECRET,
            "LEYR_EMRS": ",".join(simulator.emrs),
            **settings,
        }
        path = tmp_path / "log"
        with path.open("wb") as log:
            command = [sys.executable, "-m", "gateway", "serve", "--port", "0"]
            started.append(Serving(subprocess.Popen(command, env=environment, cwd=ROOT, stderr=log), path))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


async def asks(http: httpx.AsyncClient, emr: str) -> httpx.Response:
    return await http.post("/graphql", json={"query": QUERY, "variables": {"emr": emr}}, headers=OWN_CALL)


async def until_in_flight(simulator: Simulator, number: int) -> None:
    for _ in range(STARTS_WITHIN * 50):
        if sum(simulator.count().values()) >= number:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(simulator.count())


async def until_refused(url: str) -> None:
    """Wait until no connection is taken any more; one that is still taken hears that the gateway is ready."""
    async with asyncio.timeout(STARTS_WITHIN):
        while True:
            try:
                async with httpx.AsyncClient(base_url=url) as stranger:
                    await stranger.get("/readyz")
            except httpx.ConnectError:
                return
            except (httpx.ReadError, httpx.RemoteProtocolError):
                # It was in the queue of the socket when that closed.
                continue
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_two_hundred_in_flight_are_answered_while_nobody_new_comes_in(
    number: signal.Signals, serve: Callable[..., Serving], simulator: Simulator
) -> None:
    for emr in simulator.emrs:
        simulator.manners(emr, latency_ms=2_500, latency_jitter=0)
    serving = serve()
    url = serving.url()
    async with httpx.AsyncClient(base_url=url, timeout=30, limits=httpx.Limits(max_connections=None)) as http:
        emrs = [simulator.emrs[at % len(simulator.emrs)] for at in range(IN_FLIGHT)]
        asked = [asyncio.create_task(asks(http, emr)) for emr in emrs]
        await until_in_flight(simulator, IN_FLIGHT)

        serving.process.send_signal(number)
        await until_refused(url)
        unanswered = sum(not each.done() for each in asked)
        answers = await asyncio.gather(*asked)
        status = await serving.ended()

    assert unanswered == IN_FLIGHT
    assert Counter(each.status_code for each in answers) == {200: IN_FLIGHT}
    assert all(each.json()["data"]["careUnits"] for each in answers)
    assert status == 0
    assert serving.events()["operation.answered"] == IN_FLIGHT
    assert serving.events("error") == {}


async def test_what_hangs_at_the_stop_is_told_so_at_its_deadline(
    serve: Callable[..., Serving], simulator: Simulator
) -> None:
    simulator.fault("hang", emr="webdoc")
    serving = serve(GATEWAY_DEADLINE_SECONDS="1")
    async with httpx.AsyncClient(base_url=serving.url(), timeout=30) as http:
        asked = [asyncio.create_task(asks(http, "webdoc")) for _ in range(20)]
        await until_in_flight(simulator, 20)
        serving.process.send_signal(signal.SIGTERM)
        answers = await asyncio.gather(*asked)
        status = await serving.ended()

    assert {code for each in answers for code in codes(each)} == {"DEADLINE_EXCEEDED"}
    assert status == 0


async def test_clients_that_hold_connections_and_ask_nothing_do_not_hold_up_the_stop(
    serve: Callable[..., Serving],
) -> None:
    serving = serve()
    address = httpx.URL(serving.url())
    idle = [await asyncio.open_connection(address.host, address.port) for _ in range(50)]
    async with httpx.AsyncClient(base_url=address) as http:
        assert (await http.get("/readyz")).json()["status"] == "ready"
        serving.process.send_signal(signal.SIGTERM)
        status = await asyncio.wait_for(serving.ended(), 5)
    for _, writer in idle:
        writer.close()

    assert status == 0


def codes(response: httpx.Response) -> list[Any]:
    return [error["extensions"]["code"] for error in response.json()["errors"]]
