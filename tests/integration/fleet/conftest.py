"""Gateways as processes that share a store, an nginx in front of them, and a simulator of today below."""

import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

import httpx
import pytest

from gateway.server.serving import listening_socket, serve_in_thread
from gateway.simulator import SimulatorSettings, create_simulator
from tests.e2e.requirement import need_nginx
from tests.harness import CLIENT_ID, CLIENT_SECRET, Simulator, no_certificates
from tests.processes import ROOT, Serving
from tests.stores import Store, running_store

USERS = ROOT / "examples" / "compose" / "users.acl"
SECONDS = 30
LATENCY_MS = 100
GATEWAYS = 4
# Requests a second of the caller `limited`, and at once.
LIMITED = (50, 20)
# Requests take turns, and none is asked twice by nginx itself.
NGINX = """
daemon off; master_process off; pid FOLDER/pid; error_log FOLDER/errors warn;
events { worker_connections 1024; }
http {
  access_log off; proxy_next_upstream off; proxy_http_version 1.1; proxy_set_header Connection "";
  client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy; fastcgi_temp_path FOLDER/fastcgi;
  uwsgi_temp_path FOLDER/uwsgi; scgi_temp_path FOLDER/scgi;
  upstream fleet { SERVERS keepalive 64; }
  server { listen unix:FOLDER/fleet; location / { proxy_pass http://fleet; add_header x-by $upstream_addr always; } }
}
"""
AVAILABILITY = """query($unit: ID!, $start: DateTime!, $end: DateTime!) {
  careUnit(id: $unit) {
    name
    resources { leyrId name }
    healthcareServices { leyrId name }
    availability(range: { instants: { start: $start, end: $end } }) {
      timeslotCount asOf days { date timeslotCount }
    }
    timeslots(start: $start, end: $end) { id start end resource { leyrId } healthcareService { leyrId } }
  }
}"""
UNITS = "query($emr: String!) { careUnits(emr: $emr) { id leyrId } }"
_CALLERS = {"page": (100_000, 100_000), "limited": LIMITED}


def midnight(days: int) -> str:
    """The instant at which the day begins that comes so many days after today."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (today + timedelta(days=days)).isoformat()


def key_of(caller: str) -> Mapping[str, str]:
    """The headers of a caller."""
    return {"x-api-key": f"key-of-the-caller-{caller}-0123456789"}


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    ends_at = monotonic() + SECONDS
    while not holds():
        assert monotonic() < ends_at
        sleep(0.01)


@dataclass(frozen=True)
class Client:
    """Asks a gateway, or nginx in front of several, as one caller."""

    http: httpx.Client
    caller: str = "page"

    def post(self, query: str, *, headers: Mapping[str, str] | None = None, **variables: Any) -> httpx.Response:
        body = {"query": query, "variables": variables}
        return self.http.post("/graphql", json=body, headers={**key_of(self.caller), **(headers or {})})

    def data(self, query: str, *, headers: Mapping[str, str] | None = None, **variables: Any) -> Any:
        """The data of an answer that must have no errors."""
        answer = self.post(query, headers=headers, **variables).json()
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def page(self, unit: str, days: tuple[int, int], **headers: str) -> Any:
        """What a booking page shows of a care unit, whose windows begin and end so many days from now."""
        window = {"start": midnight(days[0]), "end": midnight(days[1])}
        return self.data(AVAILABILITY, headers=headers, unit=unit, **window)["careUnit"]

    def units(self, emr: str) -> Sequence[str]:
        return [each["id"] for each in self.data(UNITS, emr=emr)["careUnits"]]


@dataclass(frozen=True)
class Process:
    """A gateway, and a client of it alone."""

    serving: Serving
    client: Client

    def said(self, event: str) -> None:
        """Wait until its log holds an event."""
        self.serving.printed(f'"event":"({event})"')


@dataclass(frozen=True)
class Fleet:
    """Gateways that share a store, nginx in front of them, and a gateway that shares nothing."""

    processes: Sequence[Process]
    nginx: Client
    alone: Client
    emrs: Sequence[str]
    shared: Mapping[str, str]
    """The settings of those that share."""

    @property
    def clients(self) -> Sequence[Client]:
        return [each.client for each in self.processes]


Start = Callable[..., Process]


@pytest.fixture(scope="package")
def simulator_server() -> Iterator[Simulator]:
    settings = SimulatorSettings(
        today=datetime.now(UTC).date(), latency_ms=LATENCY_MS, client_id=CLIENT_ID, client_secret=CLIENT_SECRET
    )
    with (
        serve_in_thread(create_simulator(settings), listening_socket("127.0.0.1", 0)) as url,
        httpx.Client(base_url=url, timeout=SECONDS, verify=no_certificates()) as http,
    ):
        yield Simulator(url, settings.emrs, http)


@pytest.fixture(scope="package")
def store() -> Iterator[Store]:
    """A server whose user for gateways may do what the page says, and no more."""
    with running_store(*user_options()) as running:
        yield running


@pytest.fixture(scope="module")
def start(simulator_server: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start a gateway, which is then to be waited for; it ends with the tests of the module."""
    folder = tmp_path_factory.mktemp("gateways")
    keys = folder / "keys.toml"
    keys.write_text("".join(_table(*each) for each in _CALLERS.items()), encoding="utf-8")
    ports = count(1)
    with ExitStack() as stack:

        def start(*arguments: str, **settings: str) -> Process:
            environment = {
                "LEYR_BASE_URL": f"{simulator_server.url}/api",
                "LEYR_CLIENT_ID": CLIENT_ID,
                "LEYR_CLIENT_SECRET": CLIENT_SECRET,
                "LEYR_EMRS": ",".join(simulator_server.emrs),
                "GATEWAY_AUTH": "api-keys",
                "GATEWAY_API_KEYS": str(keys),
                "GATEWAY_JOURNAL": str(folder / "journal.sqlite"),
                "GATEWAY_BOOKING_SECRET": "a secret of the tests' own for bookings",
                "GATEWAY_DRAIN_SECONDS": "0",
                # As long as may be, so that nothing ends while tests look on.
                "GATEWAY_CACHE_TIMESLOTS_SECONDS": "30",
                "GATEWAY_CACHE_TIMESLOTS_STALE_SECONDS": "0",
                **settings,
            }
            command = ("-m", "gateway", "serve", "--port", "0", *arguments)
            serving = stack.enter_context(Serving(folder / f"output-{next(ports)}", *command, **environment))
            # It is started by now, but does not listen yet.
            http = stack.enter_context(httpx.Client(timeout=SECONDS, verify=no_certificates()))
            return Process(serving, Client(http))

        yield start


def serves(process: Process) -> Process:
    """A process that listens."""
    process.client.http.base_url = httpx.URL(process.serving.url())
    return process


def _table(caller: str, rate: tuple[int, int]) -> str:
    digest = sha256(key_of(caller)["x-api-key"].encode()).hexdigest()
    return (
        f'[{caller}]\nkey_sha256 = "{digest}"\nmay_book = true\nrate_per_second = {rate[0]}\nburst = {rate[1]}\n'
        "calls_per_minute = 1000000\n"
    )


@pytest.fixture(scope="module")
def fleet(
    start: Start, store: Store, simulator_server: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """Gateways whose store is up, and nginx in front of them."""
    shared = shared_with(store)
    processes, alone = [start(**shared) for _ in range(GATEWAYS)], start()
    for each in processes:
        serves(each).said("shared_store.up")
    with in_front_of(processes, tmp_path_factory.mktemp("nginx")) as http:
        yield Fleet(processes, Client(http), serves(alone).client, simulator_server.emrs, shared)


def shared_with(store: Store) -> dict[str, str]:
    """The settings of gateways that share what no others share, where the machine may be slow."""
    return {
        "GATEWAY_SHARED_URL": store.url,
        "GATEWAY_SHARED_USERNAME": "leyr-gateway",
        "GATEWAY_SHARED_PASSWORD": "change-this-password",
        "GATEWAY_SHARED_PREFIX": f"leyr-gateway:{uuid4()}:",
        "GATEWAY_SHARED_TIMEOUT_MS": "5000",
        "GATEWAY_JOURNAL": "shared",
    }


def user_options(*, but: Collection[str] = ()) -> list[str]:
    """A server's options for the user of the example, without some of its rights."""
    (user,) = (line for line in USERS.read_text(encoding="utf-8").splitlines() if line.startswith("user leyr-gateway "))
    return [f"--{user.partition(' ')[0]}", *(each for each in user.split()[1:] if each not in but)]


@contextmanager
def in_front_of(processes: Sequence[Process], folder: Path) -> Iterator[httpx.Client]:
    """A client of an nginx whose requests go to the processes in turn."""
    addresses = [each.serving.url().removeprefix("http://") for each in processes]
    servers = " ".join(f"server {each} max_fails=0;" for each in addresses)
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX.replace("FOLDER", str(folder)).replace("SERVERS", servers), encoding="utf-8")
    running = subprocess.Popen([need_nginx(), "-p", folder, "-c", configuration, "-e", folder / "errors"])
    try:
        until(lambda: (folder / "fleet").exists() or running.poll() is not None)
        assert running.poll() is None, (folder / "errors").read_text(encoding="utf-8")
        transport = httpx.HTTPTransport(uds=str(folder / "fleet"))
        with httpx.Client(transport=transport, base_url="http://fleet", timeout=SECONDS) as http:
            yield http
    finally:
        running.terminate()
        running.wait(SECONDS)


def at_once(work: Sequence[Callable[[], Any]], threads: int) -> list[Any]:
    """What pieces of work give, so many at a time."""
    with ThreadPoolExecutor(threads) as pool:
        return [each.result() for each in [pool.submit(piece) for piece in work]]
