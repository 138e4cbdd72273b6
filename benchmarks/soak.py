"""A long run against one gateway process: what it holds afterwards, and how many answers it gives when too many ask.

    python -m benchmarks.soak [--operations N]

Operations are mixed: a fifth is given up by the client at some moment, a twentieth meets an EHR that misbehaves. Exits
with 1 where memory grows by more than a megabyte for 10 000 operations after the warm-up, or descriptors are not given
back, or tasks are left. Linux only: memory and descriptors are read from `/proc`.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from statistics import quantiles
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import uvloop

from benchmarks.processes import PROC, Server, processors, running

CLIENTS = 32
STRETCH = 10_000
MOST_GROWTH_BYTES = 1_000_000
GIVEN_UP, FAULTED = 0.20, 0.05
LONGEST_PATIENCE_SECONDS = 0.03
LATENCY_MS = 5
SETTLE_SECONDS = 60
WELL = ("webdoc", "takecare", "anitasystems", "physica")
STRUCK = {"kaddio": "html_200", "cliniko": "cut_mid_body", "pridok": "drip", "konfidens": "hang"}
PLACES, PRESS_SECONDS, IMPATIENCE_SECONDS = 32, 8.0, 0.1
PRESS_LATENCY_MS = 100
DOCUMENTS = (
    "query($emr: String) { careUnits(emr: $emr) { id name resources { id name } healthcareServices { id } } }",
    """query($emr: String, $start: DateTime!, $end: DateTime!) {
      careUnits(emr: $emr) { id timeslots(start: $start, end: $end) { start end } }
    }""",
    """query($emr: String, $start: DateTime!, $end: DateTime!) {
      careUnits(emr: $emr) { resources { id timeslots(start: $start, end: $end, first: 3) { start } } }
    }""",
)
SETTINGS = {
    "LEYR_CLIENT_ID": "simulator",
    "LEYR_CLIENT_SECRET": "simulator",
    "LEYR_EMRS": ",".join((*WELL, *STRUCK)),
    "GATEWAY_DEADLINE_SECONDS": "0.5",
    # Full before the warm-up is over, so that what grows afterwards is none of it.
    "GATEWAY_CACHE_MAX_MB": "4",
}


class Operation(NamedTuple):
    """What one client asks, and after how many seconds it leaves; None where it stays."""

    request: bytes
    timer: float | None


@dataclass(slots=True)
class Counts:
    """What became of the operations."""

    statuses: Counter[int] = field(default_factory=Counter)
    given_up: int = 0
    with_errors: int = 0


class Client:
    """One connection, which is made anew after it was given up."""

    def __init__(self, url: str) -> None:
        self._host, _, self._port = urlsplit(url).netloc.partition(":")
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """The status and the body of the answer."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, int(self._port))
        reader, writer = self._streams
        writer.write(request)
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        length = next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
        return int(status.split()[1]), await reader.readexactly(length)

    def leave(self) -> None:
        """Close the connection, whatever is still to come."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


def http_request(url: str, document: str, variables: Mapping[str, object], *headers: str, **more: object) -> bytes:
    """A query as it goes over the wire, with what else its body should hold."""
    body = json.dumps({"query": document, "variables": variables, **more}).encode()
    lines = (
        "POST /graphql HTTP/1.1",
        f"host: {urlsplit(url).netloc}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *headers,
    )
    return "\r\n".join((*lines, "", "")).encode() + body


def operations(url: str, chance: Random, today: datetime) -> Iterator[Operation]:
    """Without end."""
    while True:
        document = chance.choice(DOCUMENTS)
        start = today + timedelta(minutes=chance.randrange(30 * 24 * 60))
        variables = {"emr": chance.choice(tuple(STRUCK) if chance.random() < FAULTED else WELL)}
        if "$start" in document:
            variables |= {"start": start.isoformat(), "end": (start + timedelta(hours=2)).isoformat()}
        leaves = chance.random() < GIVEN_UP
        timer = chance.random() * LONGEST_PATIENCE_SECONDS if leaves else None
        yield Operation(http_request(url, document, variables), timer)


async def work(url: str, wanted: Iterator[Operation], number: int, counts: Counts) -> None:
    """So many operations, by all clients together."""
    left = number

    async def client() -> None:
        nonlocal left
        mine = Client(url)
        while left > 0:
            left -= 1
            operation = next(wanted)
            if operation.timer is None:
                status, body = await mine.ask(operation.request)
                counts.statuses[status] += 1
                counts.with_errors += b'"errors":[' in body
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(operation.timer):
                    await mine.ask(operation.request)
            counts.given_up += 1
            mine.leave()
        mine.leave()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))


def tell(line: str) -> None:
    """Say something to whoever runs this, at once."""
    print(line, flush=True)  # noqa: T201 # what a command says


def rss_bytes(pid: int) -> int:
    """The memory that a process holds now."""
    pages = int((PROC / str(pid) / "statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> int:
    """How many files and sockets a process has open."""
    return len(list((PROC / str(pid) / "fd").iterdir()))


def threads(pid: int) -> int:
    """How many threads a process has."""
    return len(list((PROC / str(pid) / "task").iterdir()))


def tasks(pid: int, told: Path) -> int:
    """How many asyncio tasks a process has that was started by `benchmarks.counted` with that file."""
    told.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    end = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < end:
        with suppress(FileNotFoundError, ValueError):
            return int(told.read_text(encoding="ascii"))
        time.sleep(0.01)
    raise TimeoutError


def descriptors_at_rest(gateway: Server, most: int) -> int:
    """The open descriptors, as soon as there are no more than so many, or after a while: idle connections wait."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        found = descriptors(gateway.pid)
        if found <= most or time.monotonic() > end:
            return found
        time.sleep(1)


def soak(gateway: Server, told: Path, number: int) -> bool:
    """Run the operations, print what the process holds, and say whether that is all right; `told` is for its tasks."""
    wanted = operations(gateway.url, Random(5), datetime.now(UTC).replace(microsecond=0))  # noqa: S311 # the load's mix
    counts = Counts()
    # It tells its URL before it serves.
    httpx.get(f"{gateway.url}/readyz").raise_for_status()
    tasks_before, before, threads_before = tasks(gateway.pid, told), descriptors(gateway.pid), threads(gateway.pid)
    sizes: list[int] = []
    began = time.monotonic()
    for done in range(STRETCH, number + 1, STRETCH):
        uvloop.run(work(gateway.url, wanted, STRETCH, counts))
        sizes.append(rss_bytes(gateway.pid))
        tell(f"{done:>7} operations  {sizes[-1] / 1e6:6.1f} MB  {time.monotonic() - began:5.0f} s")
    after = descriptors_at_rest(gateway, before)
    growth = (sizes[-1] - sizes[0]) / max(1, len(sizes) - 1)
    tell(f"answers {dict(counts.statuses)}, of which {counts.with_errors} with errors; given up {counts.given_up}")
    tell(f"growth {growth / 1e6:+.2f} MB for {STRETCH} operations after the first {STRETCH}")
    left = tasks(gateway.pid, told)
    tell(
        f"descriptors {before} before, {after} after; tasks {tasks_before} and {left};"
        f" threads {threads_before} and {threads(gateway.pid)}"
    )
    return growth <= MOST_GROWTH_BYTES and after <= before and left <= tasks_before


async def press(url: str, clients: int) -> tuple[float, list[float]]:
    """Good answers a second when so many ask without a pause, and how long each refusal took."""
    request = http_request(url, "{ careUnits { id } }", {}, "cache-control: no-cache")
    good, refusals = 0, []
    began = time.monotonic()

    async def client() -> None:
        nonlocal good
        mine = Client(url)
        while (asked_at := time.monotonic()) < began + PRESS_SECONDS:
            status, _ = await mine.ask(request)
            if status == httpx.codes.OK:
                good += 1
            else:
                refusals.append(time.monotonic() - asked_at)
                await asyncio.sleep(IMPATIENCE_SECONDS)
        mine.leave()

    await asyncio.gather(*(client() for _ in range(clients)))
    return good / (time.monotonic() - began), refusals


def goodput(gateway: Server) -> None:
    """Print what three times the clients get of what as many as there are places get."""
    peak, _ = uvloop.run(press(gateway.url, PLACES))
    pressed, refusals = uvloop.run(press(gateway.url, 3 * PLACES))
    tell(f"goodput {peak:.0f}/s with {PLACES} clients, {pressed:.0f}/s with {3 * PLACES}: {pressed / peak:.1%}")
    if len(refusals) > 1:
        cuts = quantiles(refusals, n=100)
        tell(f"{len(refusals)} turned away, after {cuts[49] * 1e3:.1f} ms (p50) and {cuts[98] * 1e3:.1f} ms (p99)")


def main() -> int:
    """Run both, each against a gateway of its own."""
    parser = argparse.ArgumentParser(description="Run a gateway for long, and press it hard.")
    parser.add_argument("--operations", type=int, default=50_000, help="how many (50000)")
    options = parser.parse_args()
    python, clean = [sys.executable, "-u", "-m", "gateway"], clean_environment()
    ours, other = processors() or (None, None)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        simulator = stack.enter_context(
            running([*python, "simulator", "--port", "0", "--latency", str(LATENCY_MS)], clean, folder, other)
        )
        leyr = httpx.Client(base_url=simulator.url)
        for emr, fault in STRUCK.items():
            leyr.post("/__faults", json={"fault": fault, "emr": emr, "seconds": 0.2}).raise_for_status()
        environment = {**clean, **SETTINGS, "LEYR_BASE_URL": f"{simulator.url}/api"}
        counted, told = [sys.executable, "-u", "-m", "benchmarks.counted"], folder / "tasks"
        with running([*counted, str(told), "serve", "--port", "0"], environment, folder, ours) as gateway:
            is_calm = soak(gateway, told, max(2 * STRETCH, options.operations))
        leyr.patch("/__manners/webdoc", json={"latency_ms": PRESS_LATENCY_MS, "latency_jitter": 0}).raise_for_status()
        environment |= {"GATEWAY_MAX_CONCURRENT_REQUESTS": str(PLACES), "GATEWAY_DEADLINE_SECONDS": "5"}
        with running([*python, "serve", "--port", "0"], environment, folder, ours) as gateway:
            goodput(gateway)
    return 0 if is_calm else 1


def clean_environment() -> dict[str, str]:
    """This process's environment without settings of a gateway, and with this checkout to import from."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("LEYR_", "GATEWAY_"))}
    return {**ours, "PYTHONPATH": str(Path(__file__).parents[1])}


if __name__ == "__main__":
    sys.exit(main())
