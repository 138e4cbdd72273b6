"""Callers who share the caches of a gateway get what each may see, as if each had a gateway to itself."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import httpx
import orjson
import pytest

from gateway.app import create_app
from gateway.domain.models import Access, CareUnitKey
from gateway.settings import Settings
from tests.harness import CACHES_ON, Clock, Simulator, leyr_settings
from tests.security.rights import EMRS, LISTED, UNITS, Ask, Rights, Thing, ask, asks, hidden_texts, texts_in, things

ONE = Rights("one", Access(emrs=frozenset({"webdoc", "kaddio"})))
OTHER = Rights("other", Access(emrs=frozenset({"kaddio", "takecare", "physica"})))
NARROW = Rights(
    "narrow",
    Access(
        care_units=frozenset(
            {CareUnitKey("webdoc", "L0_2"), CareUnitKey("takecare", "10"), CareUnitKey("physica", "åsen å3")}
        )
    ),
)
CACHES_OFF = dict.fromkeys(CACHES_ON, 0)
AT_ONCE = 50
Wanted = Mapping[tuple[str, Ask], Any]


class Way(NamedTuple):
    """How an operation is sent."""

    is_get: bool = False
    by_hash: bool = False
    explained: bool = False
    uncached: bool = False
    if_none_match: str | None = None


@dataclass
class Served:
    """A gateway in this very loop, its calls over real HTTP."""

    client: httpx.AsyncClient
    clock: Clock
    log: StringIO

    async def send(self, rights: Rights, ask: Ask, way: Way = Way(), *, leave: bool = False) -> httpx.Response:  # noqa: B008 # Way is frozen
        """Send an operation; `leave` it under its hash too, as Apollo's clients do."""
        hashed = b'{"persistedQuery":{"version":1,"sha256Hash":"%b"}}' % ask.sha256.encode()
        parts = {"variables": ask.variables}
        if not way.by_hash:
            parts["query"] = orjson.dumps(ask.query).decode()
        if way.by_hash or leave:
            parts["extensions"] = hashed.decode()
        headers = {**rights.headers, "x-gateway-explain": str(int(way.explained))}
        if way.uncached:
            headers["cache-control"] = "no-cache"
        if way.if_none_match is not None:
            headers["if-none-match"] = way.if_none_match
        if way.is_get:
            parts |= {} if way.by_hash else {"query": ask.query}
            return await self.client.get("/graphql", params=parts, headers=headers)
        body = "{" + ",".join(f'"{name}":{text}' for name, text in parts.items()) + "}"
        return await self.client.post("/graphql", content=body, headers={**headers, "content-type": "application/json"})

    def lines(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.log.getvalue().splitlines()]


@dataclass
class World:
    """The simulated world, and gateways in it."""

    simulator: Simulator
    things: Sequence[Thing]
    keys: Path

    @asynccontextmanager
    async def serving(self, callers: Iterable[Rights], settings: Mapping[str, float]) -> AsyncIterator[Served]:
        self.keys.write_text("".join(each.table for each in callers), encoding="utf-8")
        given: dict[str, Any] = {
            **leyr_settings(self.simulator.url, EMRS),
            "gateway_auth": "api-keys",
            "gateway_api_keys": self.keys,
            **settings,
        }
        clock, log = Clock(), StringIO()
        app = create_app(Settings(**given), now=clock.now, clock=clock, new_reference=lambda: "reference", log_to=log)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://gateway", timeout=60) as client,
        ):
            yield Served(client, clock, log)

    async def wanted(self, callers: Iterable[Rights], pool: Sequence[Ask]) -> Wanted:
        """What each caller gets of a gateway of its own without caches.

        Its calls are about nothing that the caller may not see.
        """
        found: dict[tuple[str, Ask], Any] = {}
        for rights in callers:
            self.simulator.forget()
            async with self.serving([rights], CACHES_OFF) as alone:
                for ask in pool:
                    found[rights.name, ask] = essence(await alone.send(rights, ask))
            asked = {(call["emr"], call["care_unit"]) for call in self.simulator.calls()}
            assert all(rights.access.sees_emr(emr) for emr, unit in asked if unit is None)
            assert all(rights.access.sees(CareUnitKey(emr, unit)) for emr, unit in asked if unit is not None)
        return found


@pytest.fixture
def world(simulator: Simulator, tmp_path: Path) -> World:
    return World(simulator, things(simulator), tmp_path / "callers.toml")


def essence(response: httpx.Response) -> Any:
    """What an answer says, without what it took to make it and what it goes by in a log."""
    body = response.json()
    errors = body.get("errors", [])
    for error in errors:
        del error["extensions"]["reference"]
    return body.get("data"), sorted(errors, key=orjson.dumps)


@dataclass
class Judge:
    """Looks at each answer for data of another caller, and compares it with the one that is wanted."""

    wanted: Wanted
    hidden: Mapping[str, frozenset[str]]
    crossings: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    tags: dict[Ask, tuple[str, str]] = field(default_factory=dict)
    """The tag that the last answer to a GET had, and whose it was."""

    def look(self, rights: Rights, ask: Ask, way: Way, owner: str, response: httpx.Response) -> None:
        """Note what is wrong; `owner` is the caller whose response had the tag that this request names."""
        wanted = self.wanted[rights.name, ask]
        self.statuses[response.status_code] += 1
        if response.status_code == 304:
            # To be told that nothing changed is to be told what another caller was sent.
            if wanted != self.wanted[owner, ask]:
                self.crossings.append(f"{rights.name} {way}: told that its answer is {owner}'s: {ask}")
            return
        leaked = texts_in(response.json(), ask) & self.hidden[rights.name]
        if leaked:
            self.crossings.append(f"{rights.name} {way}: {sorted(leaked)[:5]}: {ask}")
        if essence(response) != wanted:
            self.crossings.append(f"{rights.name} {way}: another answer than alone: {ask}")
        if way.is_get and "etag" in response.headers:
            self.tags[ask] = response.headers["etag"], rights.name


def judge_of(world: World, callers: Iterable[Rights], wanted: Wanted) -> Judge:
    return Judge(wanted, {each.name: hidden_texts(world.things, each.access) for each in callers})


def a_way(random: Random, tag: str | None) -> Way:
    is_get = random.random() < 0.5
    return Way(
        is_get,
        by_hash=random.random() < 0.3,
        explained=random.random() < 0.1,
        uncached=random.random() < 0.03,
        if_none_match=tag if is_get and random.random() < 0.3 else None,
    )


async def ask_at_once(
    served: Served, judge: Judge, callers: Sequence[Rights], usual: Sequence[Ask], random: Random
) -> None:
    """Fifty operations, some of them sent by every caller in the same way, while time goes on."""

    async def one(rights: Rights, ask: Ask, way: Way, owner: str) -> None:
        judge.look(rights, ask, way, owner, await served.send(rights, ask, way))

    async def move_on() -> None:
        await asyncio.sleep(0)
        served.clock.seconds += random.choice((0, 0, 1, 6, 16, 31))

    sent: list[Coroutine[Any, Any, None]] = []
    while len(sent) < AT_ONCE:
        ask = random.choice(usual)
        tag, owner = judge.tags.get(ask, (None, ""))
        way = a_way(random, tag)
        by = callers if random.random() < 0.3 else [random.choice(callers)]
        sent += [one(rights, ask, way, owner) for rights in by[: AT_ONCE - len(sent)]]
    await asyncio.gather(*sent, move_on())


@pytest.mark.parametrize(("callers", "requests"), [([ONE, OTHER], 4_000), ([ONE, OTHER, NARROW], 6_000)])
async def test_no_caller_gets_data_that_only_another_may_see(
    world: World, callers: list[Rights], requests: int
) -> None:
    random = Random(requests)  # noqa: S311 # the same mixture each time
    pool = asks(world.things, random)
    judge = judge_of(world, callers, await world.wanted(callers, pool))
    async with world.serving(callers, CACHES_ON) as served:
        for number, ask in enumerate(pool):
            # Every document is left by one caller, and named by all.
            await served.send(callers[number % len(callers)], ask, leave=True)
        for number in range(requests // AT_ONCE):
            if number % 10 == 0:
                # Few at a time come again often, as answers that were kept whole.
                usual = random.sample(pool, 10)
            await ask_at_once(served, judge, callers, usual, random)

    lines = served.lines()
    assert judge.crossings == []
    assert judge.statuses.keys() == {200, 304}
    assert judge.statuses.total() == requests
    # What the callers share was shared indeed.
    assert all(sum(line[name] for line in lines) > 50 for name in ("joined", "cached", "stale"))
    assert {line["outcome"] for line in lines} == {"ok", "partial", "finished"}
    assert Counter(line["outcome"] for line in lines)["finished"] > 100


@pytest.mark.parametrize("first", [0, 1, 2])
async def test_callers_who_share_calls_get_only_what_each_may_see(world: World, first: int) -> None:
    callers = [ONE, OTHER, NARROW]
    pool = [ask(query, emr=emr) for query in (LISTED, UNITS) for emr in ("webdoc", "kaddio", "takecare")]
    judge = judge_of(world, callers, await world.wanted(callers, pool))
    for emr in EMRS:
        world.simulator.behaviour(emr, latency_ms=50)
    joined = Counter[str]()
    for each in pool:
        before = world.simulator.count()["care_units"]
        # The first caller makes the calls that the others join.
        turns = [*callers[first:], *callers[:first]] * 5
        async with world.serving(callers, CACHES_ON) as served:
            answers = await asyncio.gather(*(served.send(rights, each) for rights in turns))
        for rights, answer in zip(turns, answers, strict=True):
            judge.look(rights, each, Way(), "", answer)
        for line in served.lines():
            joined[line["caller"]] += line["joined"]
        # However many may see some of an EHR's care units, they are listed once.
        assert world.simulator.count()["care_units"] == before + 1

    assert judge.crossings == []
    assert all(joined[each.name] > 0 for each in callers)


async def test_hidden_care_units_do_not_count_towards_the_call_limit(world: World) -> None:
    listed = ask(LISTED, emr="webdoc")
    wanted = await world.wanted([NARROW], [listed])
    async with world.serving([ONE, NARROW], {**CACHES_ON, "gateway_max_upstream_calls": 6}) as served:
        # Once one caller has had the care units listed, a gateway knows before it calls how many there are.
        await served.send(ONE, ask(UNITS, emr="webdoc"))
        refused = (await served.send(ONE, listed)).json()
        answered = await served.send(NARROW, listed)

    assert {error["extensions"]["code"] for error in refused["errors"]} == {"OPERATION_TOO_LARGE"}
    assert essence(answered) == wanted[NARROW.name, listed]
    assert answered.json().keys() == {"data", "extensions"}
