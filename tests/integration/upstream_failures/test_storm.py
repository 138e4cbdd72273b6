"""Many faults at once: every answer is in time, healthy data are whole, and no call is left behind.

Gateway and simulator are processes of their own, and what hangs does so for much longer than any machine is slow: how
exactly deadlines are kept is for `benchmarks.storm` to measure.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from benchmarks.storm import SETTINGS, WELL_EHRS, codes, storm, strike, truths, windows, wishes, wrong
from gateway.domain.errors import GatewayError
from tests.processes import PythonProcess

REQUESTS, AT_A_TIME = 1_000, 80
# Longer than the benchmark's, so that what is well comes in time on a machine that does other things too.
DEADLINE_SECONDS = 3
# Far after the deadline; what misses it hangs for minutes, or drips for one.
LATEST_SECONDS = 15
EXPECTED = {"DEADLINE_EXCEEDED", "UPSTREAM_UNAVAILABLE", "UPSTREAM_INVALID_ANSWER", "UPSTREAM_RATE_LIMITED"}
MOST_CALLS_PER_EHR = 64
METRICS = re.compile(r'"event":"gateway.metrics","url":"(http[^"]+)"')
IN_FLIGHT = re.compile(r'^gateway_gate_in_flight\{emr="(\w+)"\} (\S+)$', re.MULTILINE)
# It goes on though nobody listens.
DRIPS = "/api/emrs/pridok/care-units/2/timeslots"


@contextmanager
def running(log: Path, *command: str, **settings: str) -> Iterator[str]:
    """A command of the gateway that serves, and writes where it does into the log before anything else."""
    with PythonProcess(log, "-m", "gateway", *command, "--port", "0", **settings) as process:
        yield process.printed(r"(http://127\.0\.0\.1:\d++)(?!/metrics)")


async def look_at_permits(metrics: str, most: Counter[str]) -> None:
    """Note the most calls to each EHR that are in flight at a moment, as the gateway says, until it is cancelled."""
    async with httpx.AsyncClient(timeout=30) as http:
        while True:
            for emr, value in re.findall(IN_FLIGHT, (await http.get(metrics)).text):
                most[emr] = max(most[emr], int(float(value)))
            await asyncio.sleep(0.05)


@pytest.fixture
def leyr(tmp_path: Path) -> Iterator[httpx.Client]:
    """A simulator in a process of its own."""
    with (
        running(tmp_path / "simulator.log", "simulator", "--latency", "0") as url,
        httpx.Client(base_url=url, timeout=30) as http,
    ):
        yield http


def closed_set(kind: type[GatewayError] = GatewayError) -> set[str]:
    """Every code that there is."""
    return {kind.code}.union(*(closed_set(each) for each in kind.__subclasses__()))


async def calm(leyr: httpx.Client) -> None:
    """Wait until no call is under way; those of requests whose time was over go on for twenty seconds."""
    for _ in range(300):
        left = [call for call in seen(leyr)["calls"] if call["ended_at"] is None and call["path"] != DRIPS]
        if not left:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(left)


def seen(leyr: httpx.Client) -> dict[str, Any]:
    """What the simulator saw."""
    found: dict[str, Any] = leyr.get("/__calls").json()
    return found


async def test_many_faults_at_once_leave_every_answer_in_time_and_healthy_data_whole(
    leyr: httpx.Client, tmp_path: Path
) -> None:
    wanted, log = windows(datetime.now(UTC).date()), tmp_path / "gateway.log"
    settings = {**SETTINGS, "GATEWAY_DEADLINE_SECONDS": str(DEADLINE_SECONDS), "LEYR_BASE_URL": f"{leyr.base_url}/api"}
    settings |= {"GATEWAY_METRICS_PORT": "0", "GATEWAY_CALLS_PER_EHR": str(MOST_CALLS_PER_EHR)}
    most: Counter[str] = Counter()
    with running(log, "serve", **settings) as url:
        truth = await truths(url, wanted)
        assert {key[0] for key in truth} == set(WELL_EHRS)
        strike(leyr)

        [metrics] = METRICS.findall(log.read_text())
        looking = asyncio.create_task(look_at_permits(metrics, most))
        heard, _ = await storm(url, wishes(REQUESTS, Random(11), wanted), AT_A_TIME)  # noqa: S311 # the cases of a test
        looking.cancel()
        await calm(leyr)

    assert Counter(each.status for each in heard) == {200: REQUESTS}
    assert max(each.seconds for each in heard) < LATEST_SECONDS
    told = set(codes(heard))
    assert told <= closed_set() - {"INTERNAL"}
    assert told >= EXPECTED
    assert wrong(heard, truth) == []
    # Not as the simulator counts: what is given up for others that wait, it sees end a moment later.
    assert set(most) >= set(WELL_EHRS)
    assert max(most.values()) <= MOST_CALLS_PER_EHR
    assert '"request.fault"' not in log.read_text()
