"""What the gateway's process holds after traffic that never comes twice, beside what it may hold.

    python -m benchmarks.memory [--cache-mb N] [--share S] [--kind NAME]

For each kind of traffic a gateway is started anew, warmed up, and asked. Exits with 1 where one holds more than
`most_growth` afterwards. Linux only: memory is read from `/proc`.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qs

import uvloop
from starlette.types import Receive, Scope, Send

from benchmarks.processes import Server, running
from benchmarks.soak import Client, clean_environment, http_request, rss_bytes, tell
from gateway.domain.ids import NodeType, node_id
from gateway.domain.models import CareUnitKey
from gateway.server.serving import listening_socket, serve_in_thread

MEBIBYTE = 2**20
CONNECTIONS = 4
SETTLE_SECONDS = 30
# GATEWAY_KEPT_HEAP_MB unless it is set.
KEPT_BYTES = 64 * MEBIBYTE
UNITS, PEOPLE = 40, 10
_ANSWERED = {200, 400}
LONG_NAME = "Mottagningen Söder " * 220_000
DAY = datetime(2026, 12, 1, tzinfo=UTC)
TIMESLOTS = """query($start: DateTime!, $end: DateTime!) {
  careUnits { id timeslots(start: $start, end: $end) { start end resourceId } }
}"""


def most_growth(cache_mb: int) -> int:
    """By how many bytes a process may grow: its caches, what the allocator keeps for itself, and what is no cache."""
    return int(1.5 * cache_mb * MEBIBYTE) + 32 * MEBIBYTE + KEPT_BYTES


class StatusError(Exception):
    """A request was not answered as it should be; the argument is the status."""


class Leyr:
    """An upstream whose EHR `webdoc` has short names, and `takecare` a name of 4 MB in each care unit."""

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        """Answer one call."""
        if scope["type"] != "http":
            return
        body = json.dumps(self._answer(scope), ensure_ascii=False).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, scope: Scope) -> list[dict[str, str]]:
        if scope["path"].endswith("/care-units"):
            emr = scope["path"].split("/")[-2]
            return [{"id": f"{emr}{number}", "name": f"Clinic {number}"} for number in range(UNITS)]
        emr, _, unit, endpoint = scope["path"].split("/")[-4:]
        if endpoint == "timeslots":
            start = datetime.fromisoformat(parse_qs(scope["query_string"].decode())["start"][0])
            return [_slot(unit, start + timedelta(minutes=number), number) for number in range(100)]
        names = [LONG_NAME] if emr == "takecare" else [f"Person {number}" for number in range(PEOPLE)]
        return [{"id": f"{unit}-{number}", "name": name} for number, name in enumerate(names)]


def _slot(unit: str, start: datetime, number: int) -> dict[str, str]:
    return {
        "start": start.isoformat(),
        "end": (start + timedelta(minutes=20)).isoformat(),
        "resource_id": f"{unit}-{number % PEOPLE}",
        "healthcare_service_id": f"{unit}-service-{number % 3}",
    }


Request: TypeAlias = tuple[str, Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Kind:
    """Traffic of one kind: the requests with a number each, and how many make a long run."""

    name: str
    request: Callable[[int], Request]
    long_run: int
    headers: Callable[[int], Sequence[str]] = lambda _: ()
    registered: bool = False

    def http_request(self, url: str, number: int) -> bytes:
        """The request of a number as it goes over the wire."""
        document, variables = self.request(number)
        named = {"version": 1, "sha256Hash": sha256(document.encode()).hexdigest()}
        more = {"extensions": {"persistedQuery": named}} if self.registered else {}
        return http_request(url, document, variables, *self.headers(number), **more)


def _window(number: int) -> Request:
    start = DAY + timedelta(days=number % 3_000, minutes=number)
    return TIMESLOTS, {"start": start.isoformat(), "end": (start + timedelta(hours=2)).isoformat()}


def _settings(number: int) -> Request:
    names = [f"v{each}" for each in range(14)]
    head = ", ".join(f"${name}: Boolean!" for name in names)
    fields = " ".join(f"x{name}: name @skip(if: ${name})" for name in names)
    return f"query({head}) {{ careUnits {{ id {fields} }} }}", {
        name: bool(number >> place & 1) for place, name in enumerate(names)
    }


def _long_id(number: int) -> str:
    return node_id(NodeType.RESOURCE, CareUnitKey("webdoc", f"{number:06}{'å' * 900}"), "r")


def _plain(form: str) -> Callable[[int], Request]:
    """Requests without variables, whose document holds the number in place of each `#`."""
    return lambda number: (form.replace("#", str(number)), {})


def _by_id(make: Callable[[int], str]) -> Callable[[int], Request]:
    return lambda number: ("query($id: ID!) { node(id: $id) { id } }", {"id": make(number)})


WARM_UP = Kind("warm-up", _plain("{ w#: careUnits { id } }"), 50)
KINDS = (
    Kind("short documents", _plain("{ a#: careUnits { id } }"), 25_000),
    Kind("documents with rows", _plain("{ careUnits { a#: name resources { b#: id } } }"), 25_000),
    Kind(
        "long documents", _plain(f"query Q# {{ careUnits {{ {'name ' * 400} resources {{ {'id ' * 400} }} }} }}"), 3_000
    ),
    Kind("documents with errors", _plain(f"query Q# {{ careUnits {{ {'x ' * 800} }} }}"), 5_000),
    Kind("broken documents", _plain("{ a# { "), 25_000),
    Kind("settings of directives", _settings, 16_000),
    Kind("windows", _window, 600),
    Kind("windows twice", lambda number: _window(number // 2), 600),
    Kind("registered documents", _plain("{ a#: __typename }"), 25_000, registered=True),
    Kind("names of 4 MB", _plain('{ careUnits(emr: "takecare") { resources { id } } }'), 3),
    Kind("long ids", _by_id(_long_id), 6_000),
    Kind("long headers", _plain("{ __typename }"), 3_000, lambda number: [f"accept: */*, a/{'b' * 7_000}{number}"]),
    Kind("long variables", _by_id(lambda number: f"{number}" * 10_000), 3_000),
)


async def ask(url: str, kind: Kind, numbers: Iterable[int]) -> None:
    """Send the requests of some numbers over a few connections."""
    left = iter(numbers)

    async def client() -> None:
        mine = Client(url)
        for number in left:
            status, _ = await mine.ask(kind.http_request(url, number))
            if status not in _ANSWERED:
                raise StatusError(status)
        mine.leave()

    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))


@contextmanager
def gateway(cache_mb: int, folder: Path) -> Iterator[Server]:
    """A gateway with so large a cache, as a process of its own; the upstream is a thread of this one."""
    with serve_in_thread(Leyr(), listening_socket("127.0.0.1", 0)) as upstream:
        settings = {
            "LEYR_BASE_URL": upstream,
            "LEYR_CLIENT_ID": "simulator",
            "LEYR_CLIENT_SECRET": "simulator",
            "LEYR_EMRS": "webdoc,takecare",
            "GATEWAY_CACHE_MAX_MB": str(cache_mb),
        }
        command = [sys.executable, "-u", "-m", "gateway", "serve", "--port", "0"]
        with running(command, {**clean_environment(), **settings}, folder, None) as server:
            yield server


def warmed_up(server: Server) -> int:
    """The bytes that a process holds after its first requests."""
    send(server, WARM_UP, WARM_UP.long_run)
    return rss_bytes(server.pid)


def send(server: Server, kind: Kind, number: int) -> None:
    """Send so many requests of a kind."""
    uvloop.run(ask(server.url, kind, range(number)))


def growth(server: Server, before: int, most: int) -> int:
    """By how many bytes a process has grown; above `most` it gets a while to give memory back."""
    until = time.monotonic() + SETTLE_SECONDS
    while (grown := rss_bytes(server.pid) - before) > most and time.monotonic() < until:
        time.sleep(1)
    return grown


def main() -> int:
    """Send each kind of traffic to a gateway of its own."""
    parser = argparse.ArgumentParser(description="What the gateway holds after traffic that never comes twice.")
    parser.add_argument("--cache-mb", type=int, action="append", help="GATEWAY_CACHE_MAX_MB (1, 16 and 64)")
    parser.add_argument("--share", type=float, default=1.0, help="of the requests that make a long run (1.0)")
    parser.add_argument("--kind", action="append", choices=[kind.name for kind in KINDS], help="one kind (all)")
    options = parser.parse_args()
    is_within = True
    for cache_mb in options.cache_mb or (1, 16, 64):
        for kind in KINDS:
            if options.kind and kind.name not in options.kind:
                continue
            number, most = max(1, round(kind.long_run * options.share)), most_growth(cache_mb)
            with tempfile.TemporaryDirectory() as folder, gateway(cache_mb, Path(folder)) as server:
                before = warmed_up(server)
                send(server, kind, number)
                grown = growth(server, before, most)
            is_within &= grown <= most
            tell(f"{cache_mb:>4} MB  {number:>6} {kind.name:<24} {grown / 1e6:6.1f} of {most / 1e6:.1f} MB")
    return 0 if is_within else 1


if __name__ == "__main__":
    sys.exit(main())
