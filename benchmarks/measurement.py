"""What one round of one contender in one scenario took."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import uvloop

from benchmarks.load import Bounds, ask
from benchmarks.processes import Server

T = TypeVar("T")

_WARM_UP = 0.15
"""The share of a round's time that is spent before measuring begins: connections open, code and caches get warm."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """The figures, each for one answer unless it says otherwise."""

    answers: int
    cpu_seconds: float
    p50_seconds: float
    p99_seconds: float
    peak_bytes: int
    """The most memory that the contender held, in all."""
    upstream_calls: float
    upstream_cpu_seconds: float
    busy: float
    """The share of the time in which the contender's processor worked for it; far below 1, the load is too slow."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """The simulator, and how to ask it what it saw."""

    server: Server
    admin: httpx.Client

    def forget_calls(self) -> None:
        """Begin counting anew."""
        self.admin.post("/__reset").raise_for_status()

    def calls(self) -> int:
        """How many calls came."""
        told = self.admin.get("/__calls")
        told.raise_for_status()
        total: int = told.json()["total"]
        return total


def measure(
    contender: Server,
    upstream: Upstream,
    request: Callable[[], bytes],
    judge: Callable[[int, bytes], None],
    bounds: Bounds,
) -> Measurement:
    """Ask for a while and read what it took. Raises what `judge` raises."""
    warm_up = Bounds(bounds.connections, bounds.seconds * _WARM_UP, bounds.most)
    run(ask(contender.url, request, judge, warm_up))
    upstream.forget_calls()
    contender.forget_peak()
    before, upstream_before = contender.cpu_seconds(), upstream.server.cpu_seconds()
    asked = run(ask(contender.url, request, judge, bounds))
    took, upstream_took = contender.cpu_seconds() - before, upstream.server.cpu_seconds() - upstream_before
    answers = len(asked.latencies)
    return Measurement(
        answers=answers,
        cpu_seconds=took / answers,
        p50_seconds=asked.latency(0.5),
        p99_seconds=asked.latency(0.99),
        peak_bytes=contender.peak_bytes(),
        upstream_calls=upstream.calls() / answers,
        upstream_cpu_seconds=upstream_took / answers,
        busy=took / asked.seconds,
    )


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, on the cheaper event loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
