"""How much more several workers answer than one, on processors that nothing else uses.

    python -m benchmarks.workers [--workers N] [--rounds N] [--seconds S]

Each answer is a month's days of four care units, counted from thousands of timeslots that are remembered: short, so
that the load takes little of the processors that it shares with the workers, and what it takes is printed beside. In
the same rounds plain loops are run as one process and as several, which is what the machine has to give: where that is
not as many times as much as there are workers, it was not quiet. Linux only.
"""

import argparse
import asyncio
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from statistics import median

from benchmarks.contenders import CREDENTIALS, ROOT, clean_environment
from benchmarks.load import Bounds, ask
from benchmarks.processes import Server, running
from benchmarks.scenarios import EMR, SCENARIOS, Calendar, first_day
from benchmarks.soak import http_request, tell

_SCENARIO = next(each for each in SCENARIOS if each.name == "medium")
_CONNECTIONS = 16
_DOCUMENT = """query($start: DateTime!, $end: DateTime!) {
  careUnits {
    id availability(range: {instants: {start: $start, end: $end}}) { timeslotCount days { date timeslotCount } }
  }
}"""
_MOST = 100_000
_UNLIMITED = "1000000"


class WrongAnswerError(Exception):
    """An answer is not what all others are."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What some workers made of a load."""

    answers_per_second: float
    cpu_ms: float
    """Of an answer, in the gateway."""
    load_ms: float
    """Of an answer, in the load."""


def measured(server: Server, calendar: Calendar, seconds: float) -> Measured:
    """Ask for a while, from connections that are made anew, so that the kernel shares them out anew. Raises OSError."""
    bodies: set[bytes] = set()
    sent = 0

    def request() -> bytes:
        nonlocal sent
        sent += 1
        window = calendar.window(_SCENARIO, sent)
        return http_request(server.url, _DOCUMENT, {"start": window.start, "end": window.end})

    def judge(status: int, body: bytes) -> None:
        # Behind the data stands when they were read.
        bodies.add(body.partition(b',"extensions":')[0])
        if status != 200 or b"errors" in body or len(bodies) > 1:  # noqa: PLR2004 # HTTP's plain success
            raise WrongAnswerError(status, body[:500])

    before, load_before = server.cpu_seconds(), time.process_time()
    asked = asyncio.run(ask(server.url, request, judge, Bounds(_CONNECTIONS, seconds, _MOST)))
    answers = len(asked.latencies)
    return Measured(
        answers / asked.seconds,
        (server.cpu_seconds() - before) / answers * 1_000,
        (time.process_time() - load_before) / answers * 1_000,
    )


@contextmanager
def serving(simulator: Server, workers: int) -> Iterator[Server]:
    """Run a gateway with so many workers. Raises StartError."""
    settings = {
        "LEYR_BASE_URL": f"{simulator.url}/api",
        "LEYR_CLIENT_ID": CREDENTIALS[0],
        "LEYR_CLIENT_SECRET": CREDENTIALS[1],
        "LEYR_EMRS": EMR,
        "GATEWAY_WORKERS": str(workers),
        "GATEWAY_RATE_PER_SECOND": _UNLIMITED,
        "GATEWAY_RATE_BURST": _UNLIMITED,
        "GATEWAY_DRAIN_SECONDS": "0",
    }
    command = [sys.executable, "-m", "gateway", "serve", "--port", "0"]
    with running(command, {**clean_environment(ROOT), **settings}, ROOT, None) as server:
        yield server


def loops(processes: int, seconds: float) -> int:
    """How many loops of plain Python some processes get through at a time."""
    with get_context("fork").Pool(processes) as pool:
        return sum(pool.map(_loops, [seconds] * processes))


def _loops(seconds: float) -> int:
    ends_at, found = time.monotonic() + seconds, 0
    while time.monotonic() < ends_at:
        found += sum(1 for _ in range(1_000))
    return found


def compared(workers: int, rounds: int, seconds: float) -> tuple[dict[int, list[Measured]], list[float]]:
    """One worker and several, round by round, so that a slow minute of the machine meets both."""
    today = first_day(datetime.now(UTC).date())
    command = [
        *(sys.executable, "-m", "benchmarks.upstream"),
        *("--scale", str(_SCENARIO.scale), "--today", today.isoformat()),
    ]
    calendar, found, given = Calendar(today), dict[int, list[Measured]](), list[float]()
    with ExitStack() as stack:
        simulator = stack.enter_context(running(command, clean_environment(ROOT), ROOT, None))
        servers = {each: stack.enter_context(serving(simulator, each)) for each in (1, workers)}
        for server in servers.values():
            measured(server, calendar, seconds)
        for _ in range(rounds):
            for count, server in servers.items():
                found.setdefault(count, []).append(measured(server, calendar, seconds))
            given.append(loops(workers, seconds / 2) / loops(1, seconds / 2))
    return found, given


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, and print what came of it; the exit status is 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args(arguments)
    gc.freeze()
    tell(f"load average {os.getloadavg()[0]:.2f}, {len(os.sched_getaffinity(0))} processors")
    found, given = compared(options.workers, options.rounds, options.seconds)

    def middle(count: int, of: Callable[[Measured], float]) -> float:
        return median(map(of, found[count]))

    for count in found:
        rate, cpu, load = (
            middle(count, of)
            for of in (lambda each: each.answers_per_second, lambda each: each.cpu_ms, lambda each: each.load_ms)
        )
        tell(f"{count} workers: {rate:7.1f} answers/s, {cpu:5.2f} ms CPU each, and {load:5.2f} ms of the load")
    pairs = zip(found[1], found[options.workers], strict=True)
    ratio = median(several.answers_per_second / one.answers_per_second for one, several in pairs)
    tell(f"{ratio:.2f} times as many answers with {options.workers} workers; plain loops {median(given):.2f} times")
    return 0


if __name__ == "__main__":
    sys.exit(main())
