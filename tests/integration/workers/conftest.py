"""Several workers as processes, and clients that each have a connection of their own."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.harness import CLIENT_ID, CLIENT_SECRET, Simulator, no_certificates
from tests.processes import Serving

EMRS = "query { emrs { code } }"


class SeveralWorkers(Serving):
    """`gateway serve --workers N`, started."""

    def pids(self) -> dict[int, int]:
        """The processes by number; where one was replaced, the last."""
        return {line["worker"]: line["pid"] for line in self.lines("gateway.worker_started")}

    def started(self, number: int) -> None:
        """Wait until so many were started, with those that replaced others."""
        self.printed(rf'((?:"gateway.worker_started"(?s:.)*?){{{number}}})')

    def ask(self, query: str = EMRS, **variables: Any) -> httpx.Response:
        """Ask over a connection of its own."""
        with self.client() as client:
            return client.post("/graphql", json={"query": query, "variables": variables})

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url(), timeout=30, verify=no_certificates())

    def client_of(self, worker: int) -> httpx.Client:
        """A client whose only connection is to this worker."""
        while True:
            client = self.client()
            request = client.post("/graphql", json={"query": EMRS}).headers["x-request-id"]
            if self.printed(rf'"request_id":"{request}".*"worker":(\d+)') == str(worker):
                return client
            client.close()

    def metrics(self) -> dict[str, float]:
        """The numbers of a scrape."""
        text = httpx.get(self.url("gateway.metrics"), timeout=30, verify=no_certificates()).text
        return {name: float(value) for name, value in re.findall(r"^([^#\n]+) (\S+)$", text, re.MULTILINE)}


@pytest.fixture
def serve(simulator: Simulator, tmp_path: Path) -> Iterator[Callable[..., SeveralWorkers]]:
    starts = count()
    with ExitStack() as stack:

        def start(workers: int = 2, **settings: str) -> SeveralWorkers:
            environment = {
                "LEYR_BASE_URL": f"{simulator.url}/api",
                "LEYR_CLIENT_ID": CLIENT_ID,
                "LEYR_CLIENT_SECRET": CLIENT_SECRET,
                "GATEWAY_DRAIN_SECONDS": "0",
                "GATEWAY_METRICS_PORT": "0",
                **settings,
            }
            command = ("-m", "gateway", "serve", "--port", "0", "--workers", str(workers))
            output = tmp_path / f"output-{next(starts)}"
            serving = stack.enter_context(SeveralWorkers(output, *command, **environment))
            serving.started(workers)
            return serving

        yield start
