"""The simulator and the gateway as tests see them: running, over real HTTP."""

import json
import socket
import ssl
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from time import sleep
from typing import Any
from uuid import uuid4

import httpx

from gateway.http.error_responses import server_error_body
from gateway.telemetry.metrics import Metrics

# What the gateway's own command line has the server say of a request that it rejects.
ERROR_BODY = server_error_body(lambda: str(uuid4()))
# The simulated world begins just before the change to winter time.
TODAY = date(2026, 10, 12)
NOW = datetime(2026, 10, 12, 5, 0, tzinfo=UTC)
CLIENT_ID = "simulator"
CLIENT_SECRET = "simulator-secret-canary"
# The seconds between two looks at what is waited for.
_A_MOMENT = 0.01
# No call that hangs is given up and tried again while a test looks on, however slow the machine.
PATIENT = {"gateway_attempt_seconds": 60, "gateway_deadline_seconds": 60}
# What the caches do by default, for tests that are about them.
CACHES_ON = {
    "gateway_cache_catalog_seconds": 300,
    "gateway_cache_catalog_stale_seconds": 86_400,
    "gateway_cache_timeslots_seconds": 15,
    "gateway_cache_timeslots_stale_seconds": 15,
}


@dataclass(frozen=True)
class Simulator:
    """The running simulator, as a test controls it and reads its call log."""

    url: str
    emrs: tuple[str, ...]
    http: httpx.Client

    def rest(self, path: str, **params: str) -> Any:
        """The answer of Leyr's REST API, with credentials."""
        headers = {"x-leyr-client-id": CLIENT_ID, "x-leyr-client-secret": CLIENT_SECRET}
        response = self.http.get(f"/api{path}", params=params, headers=headers)
        assert response.status_code == 200, response.text
        return response.json()

    def calls(self) -> list[dict[str, Any]]:
        """Every call so far, oldest first."""
        found: list[dict[str, Any]] = self.http.get("/__calls").json()["calls"]
        return found

    def count(self) -> Counter[str]:
        """How many calls each endpoint got."""
        return Counter(call["endpoint"] for call in self.calls())

    def arrived(self, number: int) -> Counter[str]:
        """Wait until so many calls have arrived, ten seconds at most; how many each endpoint got.

        For calls that no answer waits for, and which may still be on their way when it is there.
        """
        for _ in range(1_000):
            if self.count().total() >= number:
                break
            sleep(_A_MOMENT)
        return self.count()

    def forget(self) -> None:
        """Back to no calls, no faults and the behaviour of the start."""
        self.http.post("/__reset").raise_for_status()

    def fault(self, name: str, **where: Any) -> None:
        """Order a fault."""
        self.http.post("/__faults", json={"fault": name, **where}).raise_for_status()

    def behaviour(self, emr: str, **changes: Any) -> None:
        """Switch how an EHR behaves."""
        response = self.http.patch(f"/__manners/{emr}", json=changes)
        assert response.status_code == 200, response.text


def no_certificates() -> ssl.SSLContext:
    """What a client of plain HTTP verifies with: httpx would read all authorities' certificates for each client."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def leyr_settings(url: str, emrs: tuple[str, ...]) -> dict[str, Any]:
    """What a gateway needs to be told of the Leyr that it is to call."""
    return {
        "leyr_base_url": f"{url}/api",
        "leyr_client_id": CLIENT_ID,
        "leyr_client_secret": CLIENT_SECRET,
        "leyr_emrs": emrs,
        # The simulator shares this process, so that a connection may take as long as all else that runs here.
        "gateway_connect_seconds": 30,
    }


@dataclass
class Clock:
    """A gateway's clock and its time of day, which stand still until a test moves them."""

    seconds: float = 1_000.0
    times_asked: int = 0
    """How often the time of day was asked for: once for each request that was executed."""

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        self.times_asked += 1
        return NOW + timedelta(seconds=self.seconds - 1_000)


@dataclass(frozen=True)
class Gateway:
    """A running gateway."""

    url: str
    http: httpx.Client
    log: StringIO = field(default_factory=StringIO)
    metrics: Metrics | None = None
    """What it counts, where it runs in this process."""

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The whole answer to a query."""
        response = self.http.post("/graphql", json={"query": query, "variables": variables})
        answer: dict[str, Any] = response.json()
        return answer

    def data(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of an answer that must have no errors."""
        answer = self.ask(query, **variables)
        assert "errors" not in answer, answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data

    def settle(self) -> None:
        """Wait until no background refresh is under way. Raises AssertionError after a while.

        Nothing else may send requests meanwhile. A call that waits before it is tried again counts as ended.
        """
        quiet = 0
        for _ in range(5_000):
            # When this is answered, whatever was begun before has been sent, and whatever ended before is remembered.
            self.http.get("/livez")
            quiet = 0 if self.gauge("gateway_gate_in_flight", "gateway_gate_waiting") else quiet + 1
            if quiet == 2:
                return
            sleep(_A_MOMENT / 10)
        raise AssertionError("calls are still under way")

    def gauge(self, *names: str) -> float:
        """The sum of what metrics say now."""
        assert self.metrics is not None, "it runs elsewhere"
        found = [sample for family in self.metrics.collect() for sample in family.samples]
        return sum(each.value for each in found if each.name in names)

    def lines(self) -> list[dict[str, Any]]:
        """The log's lines."""
        # A line is written after its answer, but before anything else is answered.
        self.http.get("/livez")
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


@contextmanager
def nobody_listens() -> Iterator[str]:
    """An address that refuses connections, and that no other process can bind meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def refusal(response: httpx.Response) -> tuple[int, str]:
    """The status, and the code of the only error; a refused request has no data, and its response is not cached."""
    body = response.json()
    assert body.keys() == {"errors"}
    assert response.headers["cache-control"] == "no-store"
    (error,) = body["errors"]
    return response.status_code, error["extensions"]["code"]
