"""Many faults at once: everybody hears in time, what is well is delivered whole, and no call is left behind."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx

from gateway.domain.errors import GatewayError
from tests.harness import Gateway, Simulator

REQUESTS, AT_A_TIME = 1_000, 80
DEADLINE = 1.5
# The gateway, the simulator and all clients share one process here, and the machine has other work.
MARGIN = 1.0
QUERY = """
query($left: String!, $right: String!, $start: DateTime!, $end: DateTime!) {
  left: careUnits(emr: $left) { ...unit }
  right: careUnits(emr: $right) { ...unit }
}
fragment unit on CareUnit { leyrId resources { leyrId } timeslots(start: $start, end: $end) { start } }
"""
WINDOWS = [
    {"start": f"2026-10-{day}T{hour:02}:00:00Z", "end": f"2026-10-{day}T{hour + 1:02}:00:00Z"}
    for day in range(13, 23)
    for hour in range(6, 14)
]
# An EHR without any entry is well, and so is each care unit that no entry names.
STRUCK: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "webdoc": [("hang", {"path": "/api/emrs/webdoc/care-units/L0_1/timeslots"})],
    "kaddio": [("html_200", {"path": "/api/emrs/kaddio/care-units/sYEqS3YudHGEqDsZE/resources"})],
    "pridok": [
        ("malformed_json", {"path": "/api/emrs/pridok/care-units/1/timeslots"}),
        ("drip", {"path": "/api/emrs/pridok/care-units/2/timeslots", "seconds": 4}),
    ],
    "cliniko": [("service_unavailable", {"emr": "cliniko"})],
    "takecare": [("too_many_requests", {"emr": "takecare"})],
    "konfidens": [("cut", {"emr": "konfidens"})],
    "anitasystems": [("hang", {"emr": "anitasystems"})],
    "physica": [],
}
SICK_UNITS = {("webdoc", "L0_1"), ("kaddio", "sYEqS3YudHGEqDsZE"), ("pridok", "1"), ("pridok", "2")}
SICK_EHRS = ("cliniko", "takecare", "konfidens", "anitasystems")
EXPECTED = {"DEADLINE_EXCEEDED", "UPSTREAM_UNAVAILABLE", "UPSTREAM_INVALID_ANSWER", "UPSTREAM_RATE_LIMITED"}
WELL_EHRS = tuple(emr for emr in STRUCK if emr not in SICK_EHRS)


@dataclass(frozen=True)
class Heard:
    """What a client asked and got, and how long that took."""

    asked: dict[str, str]
    status: int
    answer: dict[str, Any]
    seconds: float


def codes(kind: type[GatewayError] = GatewayError) -> set[str]:
    """The closed set."""
    return {kind.code}.union(*(codes(each) for each in kind.__subclasses__()))


def requests(chance: Random) -> Iterator[dict[str, str]]:
    for _ in range(REQUESTS):
        left, right = chance.sample(list(STRUCK), 2)
        yield {"left": left, "right": right, **chance.choice(WINDOWS)}


async def storm(url: str, wanted: Iterator[dict[str, str]]) -> list[Heard]:
    heard: list[Heard] = []

    async def client(http: httpx.AsyncClient) -> None:
        for asked in wanted:
            began = time.monotonic()
            response = await http.post("/graphql", json={"query": QUERY, "variables": asked})
            heard.append(Heard(asked, response.status_code, response.json(), time.monotonic() - began))

    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        await asyncio.gather(*(client(http) for _ in range(AT_A_TIME)))
    return heard


def truths(gateway: Gateway) -> dict[tuple[str, str, str], Any]:
    """What each care unit that stays well has in each window, asked before anything is struck."""
    found = {}
    for window in WINDOWS:
        for left, right in zip(WELL_EHRS[::2], WELL_EHRS[1::2], strict=True):
            data = gateway.data(QUERY, left=left, right=right, **window)
            for emr, units in ((left, data["left"]), (right, data["right"])):
                found.update({(emr, unit["leyrId"], window["start"]): unit for unit in units})
    return {key: unit for key, unit in found.items() if key[:2] not in SICK_UNITS}


async def calm(simulator: Simulator) -> None:
    """Wait until no call is under way."""
    for _ in range(50):
        left = [call for call in simulator.calls() if call["ended_at"] is None]
        if not left:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(left)


async def test_a_storm_is_over_in_time_and_what_is_well_comes_whole(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway(gateway_deadline_seconds=DEADLINE)
    truth = truths(gateway)
    assert {key[0] for key in truth} == set(WELL_EHRS)
    simulator.forget()
    for faults in STRUCK.values():
        for fault, where in faults:
            simulator.fault(fault, **where)

    heard = await storm(gateway.url, requests(Random(11)))  # noqa: S311 # the cases of a test

    assert Counter(each.status for each in heard) == {200: REQUESTS}
    assert max(each.seconds for each in heard) < DEADLINE + MARGIN
    told = Counter(error["extensions"]["code"] for each in heard for error in each.answer.get("errors", ()))
    assert set(told) <= codes() - {"INTERNAL"}
    assert set(told) >= EXPECTED
    assert wrong(heard, truth) == []
    await calm(simulator)
    most = simulator.http.get("/__calls").json()["max_in_flight"]
    # An upstream that drips does not notice at once that nobody listens any more.
    assert max(most[emr] for emr in most if emr != "pridok") <= 64
    assert '"request.fault"' not in gateway.log.getvalue()


def wrong(heard: list[Heard], truth: dict[tuple[str, str, str], Any]) -> list[Any]:
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
