"""What several processes ask of Leyr, and what they take, with and without a store that they share.

    python -m benchmarks.fleet [--processes N] [--rounds N] [--requests N] [--latency MS]

The same storm of requests meets one process, several, and several that share a store, all of them new: booking pages
that show a care unit for some days, which come in any order, 16 at a time, and to the processes in turn; one of twenty
wants them anew. Then one more process is started, and asked for a page that was asked before. All answers for a page
must be equal, whoever gave them. Linux only.
"""

import argparse
import asyncio
import gc
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import httpx

from benchmarks.booking_store import SharedStoreServer
from benchmarks.contenders import CREDENTIALS, ROOT, clean_environment
from benchmarks.processes import Server, running
from benchmarks.scenarios import EMR
from benchmarks.soak import tell
from gateway.domain.ids import care_unit_id
from gateway.domain.models import CareUnitKey

_CONNECTIONS = 16
_CARE_UNITS, _LENGTHS, _FIRST_DAYS = 8, (1, 7, 14), 20
_ANEW = 0.05
# Connecting to the store is done beside serving, and takes some milliseconds.
_CONNECTED_WITHIN_SECONDS = 0.5
_DOCUMENT = """query($unit: ID!, $start: DateTime!, $end: DateTime!) {
  careUnit(id: $unit) {
    name
    resources { name }
    healthcareServices { name }
    availability(range: {instants: {start: $start, end: $end}}) { timeslotCount days { date timeslotCount } }
  }
}"""


class WrongAnswerError(Exception):
    """An answer is no success, or another than those before it for the same page."""


@dataclass(frozen=True, slots=True)
class Page:
    """A care unit, for some days from so many days after today."""

    unit: str
    first: int
    days: int

    def body(self) -> Mapping[str, Any]:
        """The request for it."""
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        start = today + timedelta(days=self.first)
        window = {"start": start.isoformat(), "end": (start + timedelta(days=self.days)).isoformat()}
        return {"query": _DOCUMENT, "variables": {"unit": self.unit, **window}}


@dataclass(frozen=True, slots=True)
class Contender:
    """So many processes, which share a store or not."""

    processes: int
    shares: bool

    def __str__(self) -> str:
        count = "1 process" if self.processes == 1 else f"{self.processes} processes"
        return f"{count}, one store" if self.shares else count


@dataclass(slots=True)
class Measured:
    """What a storm took; times are seconds."""

    calls: int = 0
    cpu: float = 0.0
    latencies: list[float] = field(default_factory=list)
    first: float = 0.0
    first_calls: int = 0

    def latency(self, share: float) -> float:
        """The time within which a share of the answers came."""
        return sorted(self.latencies)[min(len(self.latencies) - 1, int(len(self.latencies) * share))]


class Storms:
    """A simulator, and what is asked of processes in front of it; the truth is what all of them answer."""

    def __init__(self, simulator: Server, requests: int) -> None:
        self._simulator = simulator
        self._requests = requests
        self._truth: dict[Page, Any] = {}
        headers = dict(zip(("x-leyr-client-id", "x-leyr-client-secret"), CREDENTIALS, strict=True))
        found = httpx.get(f"{simulator.url}/api/emrs/{EMR}/care-units", headers=headers, timeout=60).raise_for_status()
        self._units = [care_unit_id(CareUnitKey(EMR, each["id"])) for each in found.json()]

    def measure(self, contender: Contender, seed: int) -> Measured:
        """Start the processes, ask them, and then one more. Raises StartError, WrongAnswerError and ClientError."""
        chance, found = Random(seed), Measured()  # noqa: S311 # the cases of a benchmark
        pages = [
            Page(chance.choice(self._units), 1 + chance.randrange(_FIRST_DAYS), chance.choice(_LENGTHS))
            for _ in range(self._requests)
        ]
        anew = [chance.random() < _ANEW for _ in pages]
        with ExitStack() as stack:
            settings = {}
            if contender.shares:
                folder = Path(stack.enter_context(TemporaryDirectory()))
                settings["GATEWAY_SHARED_URL"] = stack.enter_context(SharedStoreServer(folder, "no")).url
            gateways = [stack.enter_context(self._gateway(settings)) for _ in range(contender.processes)]
            time.sleep(_CONNECTED_WITHIN_SECONDS)
            self._forget()
            before = sum(each.cpu_seconds() for each in gateways)
            asyncio.run(self._ask([each.url for each in gateways], list(zip(pages, anew, strict=True)), found))
            found.cpu = sum(each.cpu_seconds() for each in gateways) - before
            found.calls = self._calls()
            new = stack.enter_context(self._gateway(settings))
            time.sleep(_CONNECTED_WITHIN_SECONDS)
            latest = Measured()
            asyncio.run(self._ask([new.url], [(pages[-1], False)], latest))
            (found.first,), found.first_calls = latest.latencies, self._calls() - found.calls
        return found

    async def _ask(self, urls: Sequence[str], pages: Sequence[tuple[Page, bool]], found: Measured) -> None:
        left = iter(enumerate(pages))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

            async def connection() -> None:
                for number, (page, anew) in left:
                    headers = {"cache-control": "no-cache"} if anew else {}
                    began = time.perf_counter()
                    url = f"{urls[number % len(urls)]}/graphql"
                    async with http.post(url, json=page.body(), headers=headers) as response:
                        answer = await response.json()
                        found.latencies.append(time.perf_counter() - began)
                        self._judge(page, response.status, answer)

            await asyncio.gather(*(connection() for _ in range(_CONNECTIONS)))

    def _judge(self, page: Page, status: int, answer: Mapping[str, Any]) -> None:
        data = answer.get("data")
        if status != HTTPStatus.OK or "errors" in answer or data != self._truth.setdefault(page, data):
            raise WrongAnswerError(page, status, str(answer)[:500])

    @contextmanager
    def _gateway(self, settings: Mapping[str, str]) -> Iterator[Server]:
        given = {
            "LEYR_BASE_URL": f"{self._simulator.url}/api",
            "LEYR_CLIENT_ID": CREDENTIALS[0],
            "LEYR_CLIENT_SECRET": CREDENTIALS[1],
            "LEYR_EMRS": EMR,
            "GATEWAY_DRAIN_SECONDS": "0",
            **settings,
        }
        command = [sys.executable, "-m", "gateway", "serve", "--port", "0"]
        with running(command, {**clean_environment(ROOT), **given}, ROOT, None) as server:
            yield server

    def _calls(self) -> int:
        total: int = httpx.get(f"{self._simulator.url}/__calls", timeout=60).json()["total"]
        return total

    def _forget(self) -> None:
        httpx.post(f"{self._simulator.url}/__reset", timeout=60).raise_for_status()


def table(found: Mapping[Contender, Sequence[Measured]]) -> list[str]:
    """The medians of all rounds, as Markdown; calls and processor time beside those of the first contender."""
    lines = [
        "| Who | Calls to Leyr | times | CPU s | times | p50 ms | p99 ms | New process: calls | and ms |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    base = next(iter(found.values()))
    for contender, rounds in found.items():
        calls, cpu = median(each.calls for each in rounds), median(each.cpu for each in rounds)
        more = median(each.calls / other.calls for each, other in zip(rounds, base, strict=True))
        dearer = median(each.cpu / max(other.cpu, 0.01) for each, other in zip(rounds, base, strict=True))
        p50, p99 = (1_000 * median(each.latency(share) for each in rounds) for share in (0.5, 0.99))
        first, first_calls = median(each.first for each in rounds), median(each.first_calls for each in rounds)
        lines.append(
            f"| {contender} | {calls:.0f} | {more:.2f} | {cpu:.2f} | {dearer:.2f} | {p50:.0f} | {p99:.0f} "
            f"| {first_calls:.0f} | {1_000 * first:.0f} |"
        )
    return lines


def run(contenders: Sequence[Contender], rounds: int, requests: int, latency: int) -> dict[Contender, list[Measured]]:
    """All contenders in each round, so that a slow minute of the machine meets all of them."""
    found: dict[Contender, list[Measured]] = {each: [] for each in contenders}
    simulator = [sys.executable, "-m", "gateway", "simulator", "--port", "0", "--care-units", str(_CARE_UNITS)]
    with running([*simulator, "--latency", str(latency)], clean_environment(ROOT), ROOT, None) as server:
        storms = Storms(server, requests)
        for seed in range(rounds):
            for contender, measured in found.items():
                measured.append(storms.measure(contender, seed))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table; the exit status is 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--latency", type=int, default=300)
    options = parser.parse_args(arguments)
    gc.freeze()
    tell(f"load average {os.getloadavg()[0]:.2f}, {len(os.sched_getaffinity(0))} processors")
    several = options.processes
    contenders = [Contender(1, shares=False), Contender(several, shares=False), Contender(several, shares=True)]
    for line in table(run(contenders, options.rounds, options.requests, options.latency)):
        tell(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
