"""What cached lists are charged for: about what they take in memory, with all that is made of them."""

import asyncio
import gc
import json
import tracemalloc
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.ids import NodeType
from gateway.domain.models import CareUnitKey, Resource, Timeslot
from gateway.domain.queries import Step
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import Window
from gateway.fetch.cache_budget import CacheBudget, CacheConfig, Lifetimes
from gateway.fetch.catalog import Catalog, CatalogList
from gateway.fetch.fetch_scope import FetchScope
from gateway.fetch.profiles import Profiles
from gateway.fetch.snapshots import Snapshot, Snapshots
from gateway.fetch.timeslot_calls import TimeslotCalls
from gateway.leyr.decoding import ListDecoder
from gateway.schema.node import Nodes
from gateway.schema.query import node_types
from tests.harness import Gateway
from tests.unit.model_ehr import ModelEhr

ENOUGH = 10**9
START = datetime(2026, 12, 1, tzinfo=UTC)
PROFILE = EhrProfile("model", "Model")
TIMESLOTS = ListDecoder(Timeslot, "start", max_items=100_000, instants=("start", "end"))
RESOURCES = ListDecoder(Resource, "id", max_items=10_000)
Item = dict[str, Any]


def charge_ratio(budget: CacheBudget, fill: Callable[[int], None]) -> float:
    """What a budget counts for entries, beside what these take in memory."""
    # What is made once is none of it.
    for number in range(3):
        fill(number)
    gc.collect()
    before = budget.bytes
    tracemalloc.start()
    for number in range(1_000, 1_020):
        fill(number)
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (budget.bytes - before) / size


def received(items: Sequence[Item]) -> bytes:
    return json.dumps(items, ensure_ascii=False).encode()


class Clinic(ModelEhr):
    """A clinic whose resources a test makes of its number."""

    def __init__(self, items: Callable[[int], list[Item]]) -> None:
        super().__init__([], PROFILE)
        self.items = items

    async def resources(self, care_unit: CareUnitKey) -> Sequence[Resource]:
        return RESOURCES.decode(received(self.items(int(care_unit.care_unit)))).items


@pytest.mark.parametrize(
    "items",
    [
        pytest.param(lambda _: [], id="none"),
        pytest.param(lambda u: [{"id": f"{u}", "name": "x"}], id="one"),
        pytest.param(lambda u: [{"id": f"{u}-{n}", "name": f"Person {n}"} for n in range(10)], id="short names"),
        pytest.param(lambda u: [{"id": f"{u}-{n}", "name": None} for n in range(30)], id="nulls"),
        pytest.param(lambda u: [{"id": f"{u}{n}", "first_name": "A", "last_name": "B"} for n in range(30)], id="split"),
        pytest.param(lambda u: [{"id": f"{u}", "name": "Söder" * 100_000}], id="a long name"),
        pytest.param(lambda u: [{"id": f"{u}", "name": "Söder" * 100_000 + " "}], id="a long name to be stripped"),
        pytest.param(lambda u: [{"id": f"{u}", "name": "x" * 100_000 + "\U0001f600"}], id="a wide name"),
        pytest.param(lambda u: [{"id": f"{u}" * 1_000}], id="a long id"),
        pytest.param(lambda u: [{"id": f"å{u}" * 1_000}], id="a long id in Unicode"),
        pytest.param(lambda u: [{"id": f"{u}-{n}"} for n in range(3_000)], id="many"),
    ],
)
def test_a_catalogue_list_is_charged_for_what_it_takes_with_its_nodes(items: Callable[[int], list[Item]]) -> None:
    budget = CacheBudget(ENOUGH)
    # What is derived takes all that it may.
    config = CacheConfig(Lifetimes(300, 0), budget, lambda: 0.0, bytearray)
    clinic = Clinic(items)
    catalog = Catalog(clinic, config)
    calls = TimeslotCalls(clinic, Profiles([PROFILE]), Snapshots(config), lambda: 0.0)

    def fill(number: int) -> None:
        async def read() -> None:
            nodes = Nodes(catalog, calls, node_types(), FetchScope(0.0))
            await nodes.listed(NodeType.RESOURCE, CareUnitKey("model", str(number)))
            nodes.close()

        asyncio.run(read())

    assert 0.8 < charge_ratio(budget, fill) < 2


def slot(minute: int, resource: str | None = None, service: str | None = None, **more: object) -> Item:
    start = START + timedelta(minutes=minute)
    item = {"start": start.isoformat(), "end": (start + timedelta(minutes=20)).isoformat()}
    return {**item, "resource_id": resource, "healthcare_service_id": service, **more}


@pytest.mark.parametrize("count", [0, 1, 10, 1_000])
@pytest.mark.parametrize(
    "item",
    [
        pytest.param(lambda u, n: slot(n // 4, f"0b5a{u:04}-0000-{n % 10}", f"1b5a{u:04}-0000-{n % 3}"), id="usual"),
        pytest.param(lambda _, n: {"start": slot(n)["start"]}, id="starts alone"),
        pytest.param(lambda _, n: slot(n), id="nulls"),
        pytest.param(lambda u, n: slot(n, f"r{u}-{n}", f"s{u}-{n}"), id="an owner each"),
        pytest.param(lambda u, n: slot(n, f"{u}" * 200 + f"{n % 5}"), id="long ids"),
        pytest.param(lambda u, n: slot(n, f"å{u}" * 20), id="Unicode"),
        pytest.param(lambda _, n: slot(n, "x" * 200_000 if n == 3 else "r"), id="one long text"),
        pytest.param(lambda _, n: slot(n, "x" * 200_000 + "\U0001f600" if n == 3 else "r"), id="one long wide text"),
        pytest.param(lambda u, n: slot(n, f"r{u}", name="Åsa" * 40), id="unknown fields"),
    ],
)
def test_a_snapshot_is_charged_for_what_it_takes_with_its_parts(item: Callable[[int, int], Item], count: int) -> None:
    budget = CacheBudget(ENOUGH)
    snapshots = Snapshots(CacheConfig(Lifetimes(15, 15), budget, lambda: 0.0, bytearray))

    def fill(number: int) -> None:
        decoded = TIMESLOTS.decode(received([item(number, each) for each in range(count)]))
        answer = TimeslotList(decoded.items, times=decoded.times, text_bytes=decoded.text_bytes)
        window = Window(START, START + timedelta(days=9))
        snapshots.keep(Snapshot(Step(CareUnitKey("model", f"{number}"), window), answer, 0.0))
        answer.of_resource("r")
        answer.of_service("s")

    assert 0.8 < charge_ratio(budget, fill) < 2


@pytest.mark.parametrize("texts", [1, 400])
def test_what_a_long_list_takes_is_told_by_some_of_it_unless_more_was_received(texts: int) -> None:
    usual = [Timeslot(slot(each)["start"], resource_id="r" * texts) for each in range(1_000)]
    budget = CacheBudget(ENOUGH)
    snapshots = Snapshots(CacheConfig(Lifetimes(15, 15), budget, lambda: 0.0))
    charged = []
    for most in (None, 100_000, 10_000_000):
        step = Step(CareUnitKey("model", f"{most or 0:>9}"), Window(START, START + timedelta(days=9)))
        before = budget.bytes
        snapshots.keep(Snapshot(step, TimeslotList(usual, text_bytes=most), 0.0))
        charged.append(budget.bytes - before)

    exact, sampled, doubted = charged
    assert doubted == exact
    assert 0.95 < sampled / exact < 1.05


WINDOW = 'start: "2026-10-12T00:00:00Z", end: "2026-10-13T00:00:00Z"'
LINKS = "resource { name careUnit { name } } healthcareService { name } careUnit { name }"
MANY = " ".join(f"a{each}: timeslots({WINDOW}, first: {each}) {{ start }}" for each in range(25))


@pytest.mark.parametrize(
    "selected",
    [
        pytest.param("id", id="short"),
        pytest.param(f"id timeslots({WINDOW}) {{ start }}", id="timeslots"),
        pytest.param(f"resources {{ timeslots({WINDOW}) {{ start {LINKS} }} }}", id="links"),
        pytest.param("resources { careUnit { resources { careUnit { healthcareServices { id name } } } } }", id="deep"),
        pytest.param(MANY, id="many timeslots"),
    ],
)
def test_a_document_is_charged_for_what_it_takes_once_it_was_executed(gateway: Gateway, selected: str) -> None:
    def fill(numbers: range) -> None:
        for number in numbers:
            gateway.data(f"query Q{number} {{ careUnits {{ {selected} }} }}")

    # Lists are fetched and fragments are made with the first ones.
    fill(range(1_000, 1_005))
    gateway.settle()
    gc.collect()
    before = gateway.gauge("gateway_cache_bytes")
    tracemalloc.start()
    fill(range(30))
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert 0.7 < (gateway.gauge("gateway_cache_bytes") - before) / size < 2


@pytest.mark.parametrize("letter", ["r", "å", "\U0001f600"])
def test_a_snapshot_is_charged_for_the_ids_that_a_client_asked_for(letter: str) -> None:
    budget = CacheBudget(ENOUGH)
    snapshots = Snapshots(CacheConfig(Lifetimes(15, 15), budget, lambda: 0.0, bytearray))

    def fill(number: int) -> None:
        resource, service = f"{letter * 1_000}{number}", f"{letter * 1_000}{-number}"
        step = Step(CareUnitKey("model", "u"), Window(START, START + timedelta(days=9)), resource, service)
        snapshots.keep(Snapshot(step, TimeslotList(), 0.0))

    assert 0.8 < charge_ratio(budget, fill) < 2


@pytest.mark.parametrize("letter", ["u", "\U0001f600"])
def test_charging_a_list_of_a_care_unit_with_a_long_id_takes_no_memory_for_each_character(letter: str) -> None:
    listed = CatalogList(Resource(f"r{number}") for number in range(10_000))
    key = CareUnitKey("model", letter * 1_000)
    tracemalloc.start()
    listed.size(key)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 1_000_000
