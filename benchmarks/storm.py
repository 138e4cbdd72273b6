"""Many faults at once against one gateway process: how long after its deadline a request hears, and what is well whole.

    python -m benchmarks.storm [--requests N] [--at-a-time N ...]

Each request asks for two EHRs, and most EHRs misbehave: they hang, drip, cut, answer with 503, 429, HTML or broken
JSON. Exits with 1 where an answer came more than 100 ms after the deadline, or did not hold what was well. Times are
those of the client, which shares its processor with the simulator: nothing is subtracted, and how late the client's
own event loop ran is told beside them. Linux only.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path
from random import Random
from statistics import quantiles
from typing import Any, NamedTuple, TypeAlias

import httpx
import uvloop

from benchmarks.processes import Server, pinned, processors, running
from benchmarks.soak import Client, clean_environment, http_request, tell

REQUESTS, AT_A_TIME = 1_000, (10, 20, 40, 80)
DEADLINE_SECONDS = 1.5
MOST_OVERDUE_SECONDS = 0.1
# Far longer than any deadline here.
DRIP_SECONDS = 60
TICK_SECONDS = 0.005
QUERY = """
query($left: String!, $right: String!, $start: DateTime!, $end: DateTime!) {
  left: careUnits(emr: $left) { ...unit }
  right: careUnits(emr: $right) { ...unit }
}
fragment unit on CareUnit { leyrId resources { leyrId } timeslots(start: $start, end: $end) { start } }
"""
STRUCK: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "webdoc": [{"fault": "hang", "path": "/api/emrs/webdoc/care-units/L0_1/timeslots"}],
    "kaddio": [{"fault": "html_200", "path": "/api/emrs/kaddio/care-units/sYEqS3YudHGEqDsZE/resources"}],
    "pridok": [
        {"fault": "malformed_json", "path": "/api/emrs/pridok/care-units/1/timeslots"},
        {"fault": "drip", "path": "/api/emrs/pridok/care-units/2/timeslots", "seconds": DRIP_SECONDS},
    ],
    "cliniko": [{"fault": "service_unavailable", "emr": "cliniko"}],
    "takecare": [{"fault": "too_many_requests", "emr": "takecare"}],
    "konfidens": [{"fault": "cut", "emr": "konfidens"}],
    "anitasystems": [{"fault": "hang", "emr": "anitasystems"}],
    "physica": [],
}
"""The faults of each EHR; a fault without a path strikes all of it."""
SICK_UNITS = {("webdoc", "L0_1"), ("kaddio", "sYEqS3YudHGEqDsZE"), ("pridok", "1"), ("pridok", "2")}
SICK_EHRS = frozenset({"cliniko", "takecare", "konfidens", "anitasystems"})
WELL_EHRS = tuple(emr for emr in STRUCK if emr not in SICK_EHRS)
SETTINGS = {
    "LEYR_CLIENT_ID": "simulator",
    "LEYR_CLIENT_SECRET": "simulator",
    "LEYR_EMRS": ",".join(STRUCK),
    "GATEWAY_DEADLINE_SECONDS": str(DEADLINE_SECONDS),
    # Nothing is remembered, so that each request meets the faults of its own EHRs.
    "GATEWAY_CACHE_CATALOG_SECONDS": "0",
    "GATEWAY_CACHE_TIMESLOTS_SECONDS": "0",
}

Unit: TypeAlias = tuple[str, str, str]
"""An EHR, one of its care units, and when the window begins."""


class Heard(NamedTuple):
    """What a client asked and got, and the seconds from its first byte out to its last byte in."""

    asked: Mapping[str, str]
    status: int
    answer: Mapping[str, Any]
    seconds: float


class Storm(NamedTuple):
    """What all clients heard, and by how many seconds each tick of their event loop was late."""

    heard: Sequence[Heard]
    lags: Sequence[float]


def windows(first_day: date) -> list[dict[str, str]]:
    """Hours in which clinics work, of ten days."""
    midnight = datetime.combine(first_day, time_of_day(), UTC)
    starts = [midnight + timedelta(days=day, hours=hour) for day in range(1, 11) for hour in range(6, 14)]
    return [{"start": start.isoformat(), "end": (start + timedelta(hours=1)).isoformat()} for start in starts]


def wishes(number: int, chance: Random, wanted: Sequence[Mapping[str, str]]) -> Iterator[Mapping[str, str]]:
    """The variables of so many requests."""
    for _ in range(number):
        left, right = chance.sample(list(STRUCK), 2)
        yield {"left": left, "right": right, **chance.choice(wanted)}


async def storm(url: str, wanted: Iterator[Mapping[str, str]], at_a_time: int) -> Storm:
    """Ask for everything, by so many clients that each wait for their answer. Raises OSError and EOFError."""
    heard: list[Heard] = []
    lags: list[float] = []

    async def client() -> None:
        mine = Client(url)
        for asked in wanted:
            request = http_request(url, QUERY, asked)
            began = time.monotonic()
            status, body = await mine.ask(request)
            seconds = time.monotonic() - began
            heard.append(Heard(asked, status, json.loads(body), seconds))
        mine.leave()

    ticking = asyncio.create_task(_tick(lags))
    await asyncio.gather(*(client() for _ in range(at_a_time)))
    ticking.cancel()
    with suppress(asyncio.CancelledError):
        await ticking
    return Storm(heard, lags)


async def _tick(lags: list[float]) -> None:
    while True:
        due = time.monotonic() + TICK_SECONDS
        await asyncio.sleep(TICK_SECONDS)
        lags.append(time.monotonic() - due)


async def truths(url: str, wanted: Sequence[Mapping[str, str]]) -> dict[Unit, Any]:
    """What each care unit that stays well has in each window, asked before anything is struck."""
    pairs = list(zip(WELL_EHRS[::2], WELL_EHRS[1::2], strict=True))
    asked = [{"left": left, "right": right, **window} for left, right in pairs for window in wanted]
    found = {}
    for each in (await storm(url, iter(asked), 1)).heard:
        for side in ("left", "right"):
            emr, start = each.asked[side], each.asked["start"]
            found.update({(emr, unit["leyrId"], start): unit for unit in each.answer["data"][side]})
    return {key: unit for key, unit in found.items() if key[:2] not in SICK_UNITS}


def strike(leyr: httpx.Client) -> None:
    """Let a simulator forget what it saw, and order all faults. Raises httpx.HTTPError."""
    leyr.post("/__reset").raise_for_status()
    for faults in STRUCK.values():
        for fault in faults:
            leyr.post("/__faults", json=fault).raise_for_status()


def wrong(heard: Sequence[Heard], truth: Mapping[Unit, Any]) -> list[Any]:
    """Whatever was well and did not come as it is."""
    found = []
    for each in heard:
        for side in ("left", "right"):
            emr, start = each.asked[side], each.asked["start"]
            if emr in SICK_EHRS:
                continue
            units = {unit["leyrId"]: unit for unit in each.answer["data"][side] or ()}
            found += [
                (key, units.get(key[1]), each.seconds, each.answer.get("errors"))
                for key, unit in truth.items()
                if key[0] == emr and key[2] == start and units.get(key[1]) != unit
            ]
    return found


def codes(heard: Sequence[Heard]) -> Counter[str]:
    """How often each code was told."""
    return Counter(error["extensions"]["code"] for each in heard for error in each.answer.get("errors", ()))


def report(found: Storm, truth: Mapping[Unit, Any], at_a_time: int, cpu_seconds: float) -> bool:
    """Print how late answers were, and say whether that is all right."""
    late = [each.seconds - DEADLINE_SECONDS for each in found.heard if each.seconds >= DEADLINE_SECONDS]
    beyond = sum(each > MOST_OVERDUE_SECONDS for each in late)
    lost = len(wrong(found.heard, truth))
    statuses = Counter(each.status for each in found.heard)
    tell(
        f"{at_a_time:>3} at a time  past the deadline {_spread(late)}, {beyond} of {len(late)} beyond"
        f" {MOST_OVERDUE_SECONDS * 1e3:.0f} ms; the client's loop late by {_spread(found.lags)}"
    )
    tell(
        f"    gateway's CPU {cpu_seconds:.1f} s; statuses {dict(statuses)}, codes {dict(codes(found.heard))};"
        f" {lost} care units that are well did not come whole"
    )
    return not beyond and not lost and set(statuses) == {httpx.codes.OK}


def _spread(seconds: Sequence[float]) -> str:
    cuts = quantiles(seconds, n=100) if len(seconds) > 1 else [0.0] * 99
    return f"p50 {cuts[49] * 1e3:.1f} p99 {cuts[98] * 1e3:.1f} max {max(seconds, default=0.0) * 1e3:.1f} ms"


def main() -> int:
    """Run one storm for each number of clients, each against a gateway of its own."""
    parser = argparse.ArgumentParser(description="Let most EHRs misbehave, and see when requests hear of it.")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="how many each time (%(default)s)")
    parser.add_argument("--at-a-time", type=int, nargs="+", default=AT_A_TIME, help="clients (10 20 40 80)")
    options = parser.parse_args()
    python, clean = [sys.executable, "-u", "-m", "gateway"], clean_environment()
    ours, other = processors() or (None, None)
    wanted = windows(datetime.now(UTC).date())
    is_fine = True
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        simulator = stack.enter_context(
            running([*python, "simulator", "--port", "0", "--latency", "1"], clean, folder, other)
        )
        leyr = stack.enter_context(httpx.Client(base_url=simulator.url))
        stack.enter_context(pinned(other))
        environment = {**clean, **SETTINGS, "LEYR_BASE_URL": f"{simulator.url}/api"}
        for at_a_time in options.at_a_time:
            leyr.post("/__reset").raise_for_status()
            with running([*python, "serve", "--port", "0"], environment, folder, ours) as gateway:
                is_fine &= _one(gateway, leyr, wishes(options.requests, Random(11), wanted), at_a_time, wanted)  # noqa: S311 # the load's mix
    return 0 if is_fine else 1


def _one(
    gateway: Server,
    leyr: httpx.Client,
    asked: Iterator[Mapping[str, str]],
    at_a_time: int,
    wanted: Sequence[Mapping[str, str]],
) -> bool:
    truth = uvloop.run(truths(gateway.url, wanted))
    strike(leyr)
    before = gateway.cpu_seconds()
    found = uvloop.run(storm(gateway.url, asked, at_a_time))
    return report(found, truth, at_a_time, gateway.cpu_seconds() - before)


if __name__ == "__main__":
    sys.exit(main())
