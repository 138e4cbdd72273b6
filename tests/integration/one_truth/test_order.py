"""What a client sees of a slot never goes back, over real HTTP: whoever asks, how, and in whatever order calls land."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from gateway.domain.ids import NodeType, care_unit_id, node_id
from gateway.domain.models import CareUnitKey
from gateway.server.serving import listening_socket, serve_in_thread
from tests.harness import CACHES_ON, Gateway, no_certificates
from tests.stand_ins.versioned_leyr import START, OwnedSlot, VersionedLeyr

EMR = "webdoc"
KEY = CareUnitKey(EMR, "u1")
UNIT = care_unit_id(KEY)
SLOT = "{ start end resourceId healthcareServiceId }"
Seen = dict[tuple[str, str, str], int]


@dataclass
class Order:
    """The newest version of each slot that any answer has shown."""

    newest: Seen = field(default_factory=dict)
    answers: int = 0
    is_told: bool = True
    """Whether slots name their owners; else an answer may hold two calls that cannot be told from each other."""

    def check(self, before: Seen, data: Any) -> None:
        """Check an answer to a request that began when `before` was the newest."""
        self.answers += 1
        found = set(_versions(data))
        assert not self.is_told or len(found) == len(dict(found)), "the answer contradicts itself"
        for key, version in found:
            assert version >= before.get(key, 0), f"{key} went back from {before[key]} to {version}"
            self.newest[key] = max(version, self.newest.get(key, 0))


def _versions(data: Any) -> Iterator[tuple[tuple[str, str, str], int]]:
    if isinstance(data, list):
        for each in data:
            yield from _versions(each)
    elif isinstance(data, dict):
        if "start" in data:
            length = datetime.fromisoformat(data["end"]) - datetime.fromisoformat(data["start"])
            yield (data["start"], data["resourceId"], data["healthcareServiceId"]), length // timedelta(seconds=1)
        for each in data.values():
            yield from _versions(each)


def document(random: Random) -> str:
    """A document about free times: few are asked often, so that whole answers are kept too."""
    first, days = random.choice([(13, 7), (13, 1), (14, 1), (13, 3)])
    window = f'start: "2026-10-{first}T00:00:00Z", end: "2026-10-{first + days}T00:00:00Z"'
    days_of = f'range: {{days: {{from: "2026-10-{first}", count: {days}}}}}, timeZone: "UTC"'
    selection = random.choice(
        [
            f"timeslots({window}) {SLOT}",
            f"timeslots({window}) {SLOT}",
            f'timeslots({window}, resourceId: "r1") {SLOT}',
            f'timeslots({window}, healthcareServiceId: "s2") {SLOT}',
            f"resources {{ timeslots({window}) {SLOT} }}",
            f"availability({days_of}) {{ first {SLOT} times(first: 3) {{ timeslots {SLOT} }} }}",
            f'availability({days_of}, filter: {{resourceIds: ["r1"]}}) {{ timeslots {{ nodes {SLOT} }} }}',
            f"healthcareServices {{ timeslots({window}) {SLOT} }}",
            f'resources {{ timeslots({window}, healthcareServiceId: "s1") {SLOT} }} timeslots({window}) {SLOT}',
        ]
    )
    return f'{{ careUnit(id: "{UNIT}") {{ {selection} }} }}'


async def asked_for_lists(url: str) -> None:
    """One document about all lists, so that there are connections enough for later."""
    lists = "{ careUnits { resources { name } healthcareServices { name } } }"
    async with httpx.AsyncClient(base_url=url, timeout=30, verify=no_certificates()) as http:
        await http.post("/graphql", json={"query": lists}, headers={"cache-control": "no-cache"})


async def client(url: str, random: Random, order: Order, requests: int) -> None:
    """One client that asks one thing after the other."""
    async with httpx.AsyncClient(base_url=url, timeout=30, verify=no_certificates()) as http:
        for _ in range(requests):
            headers = {"x-requested-with": "fetch"}
            if random.random() < 0.2:
                headers["cache-control"] = "no-cache"
            if random.random() < 0.2:
                headers["x-gateway-explain"] = "1"
            before, query = dict(order.newest), document(random)
            if random.random() < 0.3:
                response = await http.get("/graphql", params={"query": query}, headers=headers)
            else:
                response = await http.post("/graphql", json={"query": query}, headers=headers)
            answer = response.json()
            assert "errors" not in answer, answer["errors"]
            order.check(before, answer["data"])


@pytest.mark.parametrize("policy", ["none_required", "any_one", "resource"])
@pytest.mark.parametrize(("cache_max_mb", "lacking"), [(64, False), (1, False), (64, True)])
def test_versions_that_clients_see_of_a_slot_never_fall(
    policy: str, cache_max_mb: int, *, lacking: bool, serve_gateway: Callable[..., Gateway], tmp_path: Path
) -> None:
    random = Random(f"{policy} {cache_max_mb} {lacking}")  # noqa: S311 # no secret is made of it
    leyr = VersionedLeyr(wants_filter=policy != "none_required", spill=timedelta(days=1))
    if lacking:
        # No error follows from what cannot be told apart.
        leyr.free |= {OwnedSlot(START + timedelta(hours=hours), "r1", None) for hours in range(1, 72, 12)}
        leyr.free |= {OwnedSlot(START + timedelta(hours=hours), None, "s2") for hours in range(2, 72, 12)}
    # Late answers overtake each other.
    leyr.delay = lambda: random.choice([0.002, 0.01, 0.03])
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(f'[{EMR}]\nfilter_policy = "{policy}"\n')
    order = Order(is_told=not lacking)

    async def crowd(url: str) -> None:
        # A call on a new connection may arrive behind one that was sent a moment later on a connection that is kept.
        await asyncio.gather(*(asked_for_lists(url) for _ in range(12)))
        each = [Random(number) for number in range(6)]  # noqa: S311 # no secret is made of it
        await asyncio.gather(*(client(url, own, order, 50) for own in each))

    with serve_in_thread(leyr, listening_socket("127.0.0.1", 0)) as url:
        gateway = serve_gateway(
            **CACHES_ON,
            leyr_base_url=f"{url}/api",
            leyr_emrs=(EMR,),
            leyr_profiles=profiles,
            gateway_cache_max_mb=cache_max_mb,
        )
        asyncio.run(crowd(gateway.url))

    assert order.answers == 300
    assert max(order.newest.values()) > 10


def booked(leyr: VersionedLeyr) -> OwnedSlot:
    """A slot that is free no more."""
    slot = OwnedSlot(START + timedelta(hours=24), "r1", "s1")
    leyr.free.discard(slot)
    return slot


def asked(gateway: Gateway, selection: str, **headers: str) -> set[str]:
    """The slots that a document shows, by their starts and owners."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    query = f'{{ careUnit(id: "{UNIT}") {{ {selection} }} }}'
    answer = gateway.http.post("/graphql", json={"query": query}, headers=named).json()
    return {"|".join(key) for key, _ in _versions(answer["data"])}


DAY = 'start: "2026-10-14T00:00:00Z", end: "2026-10-15T00:00:00Z"'
WEEK = 'start: "2026-10-13T00:00:00Z", end: "2026-10-20T00:00:00Z"'
WIDE = [
    f"timeslots({WEEK}) {SLOT}",
    f'timeslots({WEEK}, resourceId: "r1") {SLOT}',
    f"resources {{ timeslots({WEEK}) {SLOT} }}",
    f"healthcareServices {{ timeslots({DAY}) {SLOT} }}",
]


@pytest.mark.parametrize("explain", [{}, {"x_gateway_explain": "1"}])
@pytest.mark.parametrize(
    "narrow", [f'timeslots({DAY}, resourceId: "r1") {SLOT}', f'timeslots({DAY}, healthcareServiceId: "s1") {SLOT}']
)
def test_time_that_a_narrow_no_cache_answer_shows_as_gone_is_in_no_later_answer(
    narrow: str, explain: dict[str, str], serve_gateway: Callable[..., Gateway]
) -> None:
    leyr = VersionedLeyr(spill=timedelta(days=2))
    with serve_in_thread(leyr, listening_socket("127.0.0.1", 0)) as url:
        gateway = serve_gateway(**CACHES_ON, leyr_base_url=f"{url}/api", leyr_emrs=(EMR,))
        for selection in (*WIDE, *WIDE, *WIDE):
            assert asked(gateway, selection)
        slot = booked(leyr)
        resource = node_id(NodeType.RESOURCE, KEY, slot.resource or "")
        service = node_id(NodeType.HEALTHCARE_SERVICE, KEY, slot.service or "")
        gone = f"{slot.start.isoformat()}|{resource}|{service}"
        assert any(gone in asked(gateway, selection) for selection in WIDE)
        calls = len(leyr.queries)

        assert gone not in asked(gateway, narrow, cache_control="no-cache")

        assert [gone in asked(gateway, selection, **explain) for selection in (*WIDE, *WIDE)] == [False] * 2 * len(WIDE)
        # What is remembered was corrected, and not forgotten.
        assert len(leyr.queries) == calls + 1
