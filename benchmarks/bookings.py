"""Bookings under faults and restarts: at most once for each key, and in the end everybody knows.

    python -m benchmarks.bookings [--bookings 10000] [--kills 20] [--races 50] [--processes 4 --shared --store-kills 10]

Several `gateway serve` share a journal: a file, or a store that is killed and started again too. A third of the calls
that book meet a fault: before the write, after it, in the middle of the answer, or the write lands seconds later;
gateways are killed at random moments, and clients repeat with the same key until they know. Then 200 clients race for
one timeslot, several times. What the simulator holds and its log of calls judge. Prints a Markdown table; exits with 1
where a law is broken.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import product
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import httpx
import uvloop

from benchmarks.booking_clients import Clients, Order, Told
from benchmarks.booking_gateways import Gateways
from benchmarks.booking_races import race_all
from benchmarks.booking_store import SharedStoreServer
from benchmarks.booking_verdict import Verdict, judge, table
from benchmarks.processes import running
from benchmarks.soak import clean_environment, tell

BOOKINGS, KILLS, RACES, AT_A_TIME, SEED = 10_000, 20, 50, 48, 7
LISTING_EHRS, OTHER_EHRS = ("webdoc", "kaddio", "cliniko", "pridok"), ("anitasystems",)
WEEKS, BOOKINGS_A_SCALE = 4, 1_500
LATENCY_MS = 3
SETTLE_SECONDS, SHOWN_KEYS = 30, 5
POOL = 20
"""Patients of each care unit who are there before."""
MIXTURE: Sequence[Mapping[str, Any]] = (
    {"fault": "cut", "write": "skipped", "share": 0.06},
    {"fault": "service_unavailable", "write": "skipped", "share": 0.03},
    {"fault": "cut", "write": "done", "share": 0.07},
    {"fault": "emr_error_500", "write": "done", "share": 0.03},
    {"fault": "cut_mid_body", "share": 0.10},
    {"fault": "cut", "write": "late", "share": 0.07},
    {"fault": "service_unavailable", "write": "late", "share": 0.03},
)
"""Faults of calls that book; each one's share is of what those before it left, a third of all together."""
CALLER, API_KEY = "benchmark", "benchmark-of-bookings-0123456789"
HEADERS = {"authorization": f"Bearer {API_KEY}"}
SLOTS = """query($emr: String!, $start: DateTime!, $end: DateTime!) {
  careUnits(emr: $emr) { leyrId timeslots(start: $start, end: $end) { id start end resourceId } }
}"""
_CREDENTIALS = {"x-leyr-client-id": "simulator", "x-leyr-client-secret": "simulator"}
Row = Mapping[str, Any]
Kill = Callable[[Random], Coroutine[Any, Any, None]]
"""Kills somebody, and starts it again."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a call may take, and how much later its write may still land; the mixture's late ones land before."""

    call_seconds: float = 3.0
    landing_seconds: float = 4.0


def settings(folder: Path, leyr: str, bounds: Bounds, store: SharedStoreServer | None) -> dict[str, str]:
    """What the gateways are told: one journal for all, and rates that stop nobody."""
    journal = {"GATEWAY_JOURNAL": str(folder / "journal.sqlite")}
    if store is not None:
        journal = {"GATEWAY_JOURNAL": "shared", "GATEWAY_SHARED_URL": store.url}
    keys = folder / "keys.toml"
    keys.write_text(
        f'[{CALLER}]\nkey_sha256 = "{sha256(API_KEY.encode()).hexdigest()}"\nrate_per_second = 1000000\n'
        'burst = 1000000\nmay_book = true\npatient_by = ["leyr_id", "emr_id", "national_number", "details"]\n'
        "bookings_per_minute = 1000000\ncalls_per_minute = 10000000\n",
        encoding="utf-8",
    )
    return {
        **journal,
        "LEYR_BASE_URL": f"{leyr}/api",
        "LEYR_CLIENT_ID": "simulator",
        "LEYR_CLIENT_SECRET": "simulator",
        "LEYR_EMRS": ",".join((*LISTING_EHRS, *OTHER_EHRS)),
        "GATEWAY_AUTH": "api-keys",
        "GATEWAY_API_KEYS": str(keys),
        "GATEWAY_BOOKING_SECRET": "a secret of the benchmark's own, long enough",
        "GATEWAY_BOOKING_SECONDS": str(bounds.call_seconds),
        "GATEWAY_BOOKING_LANDING_SECONDS": str(bounds.landing_seconds),
        "GATEWAY_BOOKINGS_PER_PATIENT": "1000000",
    }


@dataclass(slots=True)
class Town:
    """The free times and the patients of all care units, as orders are made of them."""

    leyr: httpx.Client
    gateway: str
    emrs: Sequence[str]
    slots: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    patients: dict[tuple[str, str], list[Row]] = field(default_factory=dict)

    def look(self) -> None:
        """Ask for everything, before anything is struck. Raises httpx.HTTPError."""
        start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=2)
        for emr, week in product(self.emrs, range(WEEKS)):
            begin, end = (start + timedelta(days=7 * number) for number in (week, week + 1))
            variables = {"emr": emr, "start": begin.isoformat(), "end": end.isoformat()}
            body = {"query": SLOTS, "variables": variables}
            answer = httpx.post(f"{self.gateway}/graphql", json=body, headers=HEADERS, timeout=60).json()
            for unit in answer["data"]["careUnits"]:
                self.slots.setdefault((emr, unit["leyrId"]), []).extend(_apart(unit["timeslots"]))
        self.patients = {unit: [self._person(*unit, number) for number in range(POOL)] for unit in self.slots}

    def orders(self, number: int, chance: Random) -> Iterator[Order]:
        """So many orders: of one to three times, of which one in ten is wanted by somebody else too."""
        left = {unit: chance.sample(slots, len(slots)) for unit, slots in self.slots.items()}
        former: dict[tuple[str, str], list[str]] = {unit: [] for unit in left}
        for count in range(number):
            units = [unit for unit, slots in left.items() if len(slots) > 3]  # noqa: PLR2004 # as many as one order takes
            emr, unit = chance.choice(units)
            wanted = [left[emr, unit].pop() for _ in range(1 if chance.random() < 0.7 else chance.randint(2, 3))]  # noqa: PLR2004 # a share
            if former[emr, unit] and chance.random() < 0.1:  # noqa: PLR2004 # a share
                wanted[0] = chance.choice(former[emr, unit])
            former[emr, unit].append(wanted[0])
            key = f"booking-{count:06d}-{chance.getrandbits(64):016x}"
            yield Order(key, emr, emr in LISTING_EHRS, wanted, self._patient(emr, unit, count, chance))

    def _person(self, emr: str, unit: str, number: int) -> Row:
        body = {"first_name": "Test", "last_name": f"Testsson {number}", "phones": [f"+47900{number:05d}"]}
        path = f"/api/emrs/{emr}/care-units/{quote(unit, safe='')}/patients"
        found: Row = self.leyr.post(path, json=body, headers=_CREDENTIALS).raise_for_status().json()
        return found

    def _patient(self, emr: str, unit: str, number: int, chance: Random) -> Mapping[str, Any]:
        """Somebody new, somebody known in one of three ways."""
        known = chance.choice(self.patients[emr, unit])
        kind = chance.choices(["details", "leyr_id", "emr_id", "national_number"], [4, 3, 2, 1])[0]
        if kind == "leyr_id":
            return {"leyrId": known["id"]}
        if kind == "emr_id" and known["emr_id"] is not None:
            return {"emrId": known["emr_id"]}
        if kind == "national_number" and emr in {"webdoc", "kaddio"}:
            return {"nationalNumber": {"country": "SE", "number": "191212121212"}}
        return {
            "details": {"firstName": "Ny", "lastName": f"Nysson {number}", "phones": [f"+47910{number % 100_000:05d}"]}
        }


def _apart(slots: Sequence[Row]) -> Iterator[str]:
    """The ids of times that do not overlap at their resource."""
    ends: dict[str, str] = {}
    for each in slots:
        owner = each["resourceId"]
        if owner is not None and ends.get(owner, "") <= each["start"]:
            ends[owner] = each["end"]
            yield each["id"]


def strike(leyr: httpx.Client, late_seconds: float) -> None:
    """Order the mixture of faults. Raises httpx.HTTPError."""
    for fault in MIXTURE:
        asked = {"endpoint": "book_appointment", "seconds": late_seconds, **fault}
        leyr.post("/__faults", json=asked).raise_for_status()
    # Looking up may fail too.
    listing = {"fault": "service_unavailable", "endpoint": "appointments", "share": 0.05}
    leyr.post("/__faults", json=listing).raise_for_status()


async def book_all(
    orders: Sequence[Order], urls: Sequence[str], kills: Sequence[Kill], chance: Random
) -> Sequence[Told]:
    """Book everything, while somebody is killed at random moments; gives what clients were told."""
    clients = Clients(urls, HEADERS, chance, AT_A_TIME)
    moments = sorted(chance.sample(range(len(orders) // 20, len(orders)), len(kills)))
    left = list(zip(moments, chance.sample(kills, len(kills)), strict=True))
    finished = 0
    restarts: set[asyncio.Task[None]] = set()
    started = asyncio.Semaphore(4 * AT_A_TIME)

    async def book(order: Order) -> Told:
        nonlocal finished
        async with started:
            told = await clients.book(order)
        finished += 1
        if left and finished >= left[0][0]:
            _, kill = left.pop(0)
            restarts.add(asyncio.create_task(kill(chance)))
        return told

    try:
        told = await asyncio.gather(*map(book, orders))
        await asyncio.gather(*restarts)
    finally:
        clients.close()
    return told


def settled(leyr: httpx.Client) -> tuple[Sequence[Row], Sequence[Row]]:
    """What is booked when no write is under way any more, and the calls that booked. Raises TimeoutError."""
    until = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < until:
        held = leyr.get("/__appointments").json()
        if not held["late_writes"]:
            calls = leyr.get("/__calls", params={"endpoint": "book_appointment"}).json()["calls"]
            return held["appointments"], calls
        time.sleep(0.1)
    raise TimeoutError("writes are still under way")


def report(told: Sequence[Told], verdict: Verdict, calls: Sequence[Row]) -> None:
    """Print the table, and of each broken law some keys with what is known of them."""
    for line in table(told, verdict, calls):
        tell(line)
    by_key = {each.order.key: each for each in told}
    for law, keys in verdict.broken.items():
        for key in keys[:SHOWN_KEYS]:
            told_of = by_key.get(key)
            tell(f"{law}: {key} {told_of and (told_of.end, dict(told_of.answers))} {verdict.held.get(key)}")


@dataclass(frozen=True, slots=True)
class Fleet:
    """How many processes there are, and with `shared` how often the store of their journal is killed."""

    processes: int = 2
    shared: bool = False
    store_kills: int = 0
    appendfsync: str = "always"


def run(
    folder: Path,
    *,
    bookings: int,
    kills: int,
    races: int,
    seed: int = SEED,
    emrs: Sequence[str] = (*LISTING_EHRS, *OTHER_EHRS),
    bounds: Bounds = Bounds(),
    fleet: Fleet = Fleet(),
) -> tuple[Verdict, bool]:
    """Book and race against processes of its own; gives the verdict, and whether each race was won once."""
    python, clean = [sys.executable, "-u", "-m", "gateway"], clean_environment()
    scale = 1 + bookings // BOOKINGS_A_SCALE
    simulator = [*python, "simulator", "--port", "0", "--latency", str(LATENCY_MS), "--scale", str(scale)]
    chance = Random(seed)  # noqa: S311 # the load's mix
    with ExitStack() as stack:
        server = stack.enter_context(running(simulator, clean, folder, None))
        leyr = stack.enter_context(httpx.Client(base_url=server.url, timeout=60, trust_env=False))
        store = stack.enter_context(SharedStoreServer(folder, fleet.appendfsync)) if fleet.shared else None
        environment = {**clean, **settings(folder, server.url, bounds, store)}
        gateways = stack.enter_context(Gateways([*python, "serve"], environment, folder, fleet.processes))
        town = Town(leyr, gateways.urls[0], emrs)
        town.look()
        orders = list(town.orders(bookings, chance))
        strike(leyr, bounds.landing_seconds / 2)
        began = time.monotonic()
        killing = [gateways.restart_one] * kills + ([] if store is None else [store.restart] * fleet.store_kills)
        told = uvloop.run(book_all(orders, gateways.urls, killing, chance))
        seconds = time.monotonic() - began
        held, calls = settled(leyr)
        verdict = judge(told, held, calls)
        report(told, verdict, calls)
        of_the_store = "" if store is None else f", {store.kills} of the store"
        tell(f"{bookings} bookings in {seconds:.0f} s; {gateways.kills} kills{of_the_store}")
        leyr.delete("/__faults").raise_for_status()
        return verdict, race_all(leyr, gateways.urls, HEADERS, town, races)


def main() -> int:
    """Run it; 1 where a law is broken."""
    parser = argparse.ArgumentParser(description="Book under faults and restarts, and judge by the EHRs' schedules.")
    parser.add_argument("--bookings", type=int, default=BOOKINGS, help="how many (%(default)s)")
    parser.add_argument("--kills", type=int, default=KILLS, help="how often a gateway is killed (%(default)s)")
    parser.add_argument("--races", type=int, default=RACES, help="how many timeslots are raced for (%(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of the load's mix (%(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="how many gateways (%(default)s)")
    parser.add_argument("--shared", action="store_true", help="keep their journal in a store")
    parser.add_argument("--store-kills", type=int, default=0, help="how often that is killed (%(default)s)")
    parser.add_argument("--appendfsync", default="always", help="when that syncs its file (%(default)s)")
    options = vars(parser.parse_args())
    fleet = Fleet(**{each.name: options.pop(each.name) for each in fields(Fleet)})
    with tempfile.TemporaryDirectory() as folder:
        verdict, is_won = run(Path(folder), **options, fleet=fleet)
    return 0 if verdict.is_fine and is_won else 1


if __name__ == "__main__":
    sys.exit(main())
