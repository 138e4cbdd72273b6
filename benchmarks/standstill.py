"""How long one hostile request, or a few clients, keep the gateway from everybody else, and what they take.

    python -m benchmarks.standstill [--kind PART ...] [--scale 1] [--timeout 20] [--caches on off] [--checkout .]

Each kind of `standstill_kinds` meets a fresh `gateway serve`, as it is shipped, and an upstream as hostile as the kind
says. Meanwhile a second connection asks /livez every 20 ms, and a third an ordinary query about another EHR, both from
another address. Prints a Markdown table; exits with 1 where the gateway died, did not answer in time, answered with an
unexpected code, or failed the others. Linux only.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from threading import Lock
from urllib.parse import urlsplit

import httpx

from benchmarks.blocking_client import Answer, Connection, Probe
from benchmarks.hostile_upstream import CALM_EMR
from benchmarks.processes import PROC, Server, pinned, processors, running
from benchmarks.soak import clean_environment, http_request, tell
from benchmarks.standstill_kinds import Kind, kinds

CHECKOUT = Path(__file__).parents[1]
LIVEZ_SECONDS, ORDINARY_SECONDS = 0.02, 0.1
TIMEOUT_SECONDS = 20.0
HOSTILE_ADDRESS = "127.0.0.2"
"""Not the others' address, since an anonymous caller is known by it."""
ORDINARY = f'{{ careUnits(emr: "{CALM_EMR}") {{ id name resources {{ id }} }} }}'
CACHES: Mapping[str, Mapping[str, str]] = {
    "on": {},
    "off": {"GATEWAY_CACHE_CATALOG_SECONDS": "0", "GATEWAY_CACHE_TIMESLOTS_SECONDS": "0"},
}
_EXIT_CODE = 49
"""Where a process's wait status stands after its name (man 5 proc): the signal, unless it is more than 255."""
GATEWAY = (sys.executable, "-u", "-m", "gateway", "serve", "--port", "0")


@dataclass(slots=True)
class Outcome:
    """What came of one kind.

    `end` is why there was no answer: a time-out, a connection cut off, or a gateway that died. The longest step of the
    event loop takes no more than the processor time of its thread while one /livez waits: `livez.worst_cpu_seconds`.
    """

    answers: list[Answer] = field(default_factory=list)
    end: str = ""
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    livez: Probe | None = None
    ordinary: Probe | None = None
    upstream_calls: int = 0

    @property
    def statuses(self) -> Counter[int]:
        """How many answers had each status."""
        return Counter(answer.status for answer in self.answers)

    @property
    def codes(self) -> list[str]:
        """The error codes of all answers."""
        return sorted({code for answer in self.answers for code in answer.codes})

    def faults(self, kind: Kind) -> list[str]:
        """What is wrong with it."""
        found = [self.end] if self.end else []
        found += [code for code in self.codes if code not in kind.codes]
        for name, probe in (("/livez", self.livez), ("others", self.ordinary)):
            if probe is None:
                continue
            failed = probe.unanswered + sum(
                number for status, number in probe.statuses.items() if status != httpx.codes.OK
            )
            if failed or not probe.statuses:
                found.append(f"{name} failed {failed} of {probe.statuses.total() + probe.unanswered}")
        return found


def request_of(url: str, kind: Kind, number: int) -> bytes:
    """A kind's request as it goes over the wire."""
    document = kind.document.replace("#", str(number)) if kind.load.distinct else kind.document
    return http_request(url, document, kind.variables, "connection: keep-alive", *kind.headers)


def sent(url: str, kind: Kind, timeout: float, outcome: Outcome) -> None:
    """Send a kind's requests by all its clients, and note their answers, or that there are none."""
    load, lock, numbers = kind.load, Lock(), count()
    until = time.monotonic() + load.seconds

    def next_number() -> int | None:
        with lock:
            number = next(numbers)
        return number if number < load.requests and time.monotonic() < until else None

    def client() -> None:
        try:
            waits, is_slow = load.leaves_after or timeout, load.slow_bytes is not None
            with Connection(url, waits, source=HOSTILE_ADDRESS, is_slow=is_slow) as connection:
                while (number := next_number()) is not None:
                    request = request_of(url, kind, number)
                    if load.slow_bytes is not None:
                        connection.take_slowly(request, load.slow_bytes, until)
                    else:
                        outcome.answers.append(connection.ask(request))
        except TimeoutError:
            outcome.end = outcome.end if load.leaves_after else "timeout"
        except (OSError, EOFError):
            outcome.end = outcome.end or "cut off"

    with ThreadPoolExecutor(load.clients) as pool:
        for done in [pool.submit(client) for _ in range(load.clients)]:
            done.result()


def measured(gateway: Server, kind: Kind, upstream: Server, timeout: float = TIMEOUT_SECONDS) -> Outcome:
    """Send a kind's requests to a gateway that has answered nothing yet, and see what becomes of it and of others."""
    url, outcome = gateway.url, Outcome()
    # With the report, so that it is executed each time and none of its answers is a kept one.
    ordinary = http_request(url, ORDINARY, {}, "x-gateway-explain: 1")
    livez = f"GET /livez HTTP/1.1\r\nhost: {urlsplit(url).netloc}\r\n\r\n".encode()
    with Connection(url, timeout) as first:
        first.ask(ordinary)
    before = gateway.cpu_seconds()

    def loop_cpu() -> float:
        return _thread_cpu_seconds(gateway.pid)

    with (
        Probe(url, livez, LIVEZ_SECONDS, timeout, loop_cpu) as outcome.livez,
        Probe(url, ordinary, ORDINARY_SECONDS, timeout, loop_cpu) as outcome.ordinary,
    ):
        # A few probes before and after it, whatever it is.
        time.sleep(5 * LIVEZ_SECONDS)
        sent(url, kind, timeout, outcome)
        # What goes on after a client has left counts too.
        time.sleep(1 if kind.load.leaves_after else 5 * LIVEZ_SECONDS)
    if is_dead(gateway.pid):
        outcome.end = f"died, wait status {_stat(gateway.pid)[_EXIT_CODE]}"
        return outcome
    outcome.cpu_seconds = gateway.cpu_seconds() - before
    outcome.peak_bytes = gateway.peak_bytes()
    outcome.upstream_calls = httpx.get(f"{upstream.url}/__calls").json()["total"]
    return outcome


def is_dead(pid: int) -> bool:
    """Whether a child has ended."""
    return _stat(pid)[0] == "Z"


def _stat(path: int | str) -> list[str]:
    """The fields after a process's name (man 5 proc), which may hold anything."""
    return (PROC / str(path) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def _thread_cpu_seconds(pid: int) -> float:
    """The processor time of a process's first thread, which runs the event loop."""
    try:
        fields = _stat(f"{pid}/task/{pid}")
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(
    kind: Kind,
    caches: str,
    folder: Path,
    *,
    command: Sequence[str] = GATEWAY,
    timeout: float = TIMEOUT_SECONDS,
    checkout: Path = CHECKOUT,
) -> Outcome:
    """Measure a kind against an upstream of its own and a gateway of its own, which is imported from a checkout."""
    ours, other = processors() or (None, None)
    clean = clean_environment()
    hostile = [sys.executable, "-u", "-m", "benchmarks.hostile_upstream", kind.manner.as_argument()]
    with ExitStack() as stack:
        stack.enter_context(pinned(other))
        upstream = stack.enter_context(running(hostile, clean, folder, other))
        environment = {
            **clean,
            "PYTHONPATH": str(checkout.resolve()),
            "LEYR_BASE_URL": f"{upstream.url}/api",
            "LEYR_CLIENT_ID": "simulator",
            "LEYR_CLIENT_SECRET": "simulator",
            "LEYR_EMRS": f"{kind.emr},{CALM_EMR}",
            **CACHES[caches],
            **kind.settings,
        }
        gateway = stack.enter_context(running(command, environment, folder, ours))
        try:
            return measured(gateway, kind, upstream, timeout)
        finally:
            # It would wait for its probes to notice, and a standstill may go on for long.
            os.kill(gateway.pid, signal.SIGKILL)


def row(kind: Kind, outcomes: Sequence[Outcome]) -> str:
    """A row of the table; where there are two outcomes, that with caches on stands first."""
    figures = [
        dict.fromkeys(_answer(kind, outcome) for outcome in outcomes),
        [f"{max((answer.seconds for answer in outcome.answers), default=0):.2f}" for outcome in outcomes],
        [f"{outcome.cpu_seconds:.2f}" for outcome in outcomes],
        [f"{outcome.peak_bytes / 1e6:.0f}" for outcome in outcomes],
        [f"{outcome.livez.worst_cpu_seconds * 1e3:.0f}" if outcome.livez else "" for outcome in outcomes],
        [f"{outcome.livez.worst_seconds * 1e3:.0f}" if outcome.livez else "" for outcome in outcomes],
        [str(outcome.upstream_calls) for outcome in outcomes],
    ]
    return f"| {kind.name} | " + " | ".join(" / ".join(each) for each in figures) + " |"


HEADER = (
    "| Kind | Answer | After, s | CPU, s | Peak RSS, MB | Longest step at most, ms of CPU | Worst /livez, ms"
    " | Upstream calls |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |"
)


def _answer(kind: Kind, outcome: Outcome) -> str:
    statuses = ", ".join(
        f"{number} x {status}" if number > 1 else str(status) for status, number in outcome.statuses.items()
    )
    size = max((answer.size for answer in outcome.answers), default=0)
    parts = [statuses, *outcome.codes, f"{size / 1e6:.1f} MB"] if outcome.answers else ["none taken"]
    faults = outcome.faults(kind)
    return ", ".join(filter(None, parts)) + (f" **{'; '.join(faults)}**" if faults else "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the kinds that are asked for, and print the table."""
    parser = argparse.ArgumentParser(description="Send hostile requests, and see for how long others wait.")
    parser.add_argument("--kind", nargs="+", default=[""], help="parts of kinds' names; all when left out")
    parser.add_argument("--scale", type=float, default=1.0, help="times the lists' and loads' size (%(default)s)")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_SECONDS, help="seconds (%(default)s)")
    parser.add_argument("--caches", nargs="+", choices=list(CACHES), default=list(CACHES), help="(on off)")
    parser.add_argument("--checkout", type=Path, default=CHECKOUT, help="another checkout, whose gateway to measure")
    options = parser.parse_args(arguments)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    chosen = [kind.scaled(options.scale) for kind in kinds(today) if any(part in kind.name for part in options.kind)]
    is_fine = True
    tell(f"Caches {' / '.join(options.caches)}.\n\n{HEADER}")
    with tempfile.TemporaryDirectory() as folder:
        for kind in chosen:
            outcomes = [
                run(kind, caches, Path(folder), timeout=options.timeout, checkout=options.checkout)
                for caches in options.caches
            ]
            tell(row(kind, outcomes))
            is_fine &= not any(outcome.faults(kind) for outcome in outcomes)
    return 0 if is_fine else 1


if __name__ == "__main__":
    sys.exit(main())
