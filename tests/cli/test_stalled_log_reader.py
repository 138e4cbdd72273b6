"""A gateway whose log nobody reads, or that has none: it answers, counts what is lost, and stops."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.cli.test_commands import AT_ONCE, CLEAN, CREDENTIALS, ROOT
from tests.harness import Simulator, nobody_listens

REQUESTS = 400


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    os.close(ends[0])


def test_a_log_that_nobody_reads_stops_neither_answers_nor_the_stop(
    simulator: Simulator, pipe: tuple[int, int]
) -> None:
    reader, writer = pipe
    settings = {"LEYR_BASE_URL": f"{simulator.url}/api", **CREDENTIALS, **AT_ONCE}
    command = [sys.executable, "-m", "gateway", "serve", "--port", "0"]
    with subprocess.Popen(command, env={**CLEAN, **settings}, cwd=ROOT, stderr=writer) as process:
        os.close(writer)
        url = json.loads(os.read(reader, 4_096))["url"]
        with httpx.Client(base_url=url, timeout=30) as http:
            body = {"query": "{ emrs { code } }"}
            answered = [http.post("/graphql", json=body).status_code for _ in range(REQUESTS)]
        process.terminate()
        status = process.wait(60)

    # A pipe holds 64 KiB, and these lines are more.
    assert answered == [200] * REQUESTS
    assert status == 0


@pytest.mark.parametrize("command", [["serve"], ["dev", "--simulator-port", "0"]])
def test_a_standard_error_that_is_closed_stops_nothing(command: list[str]) -> None:
    with nobody_listens() as url:
        port = url.rpartition(":")[2]
    closed = ["sh", "-c", 'exec "$@" <&- 2>&-', "sh", sys.executable, "-m", "gateway", *command, "--port", port]
    environment = {**CLEAN, **CREDENTIALS, **AT_ONCE}
    with subprocess.Popen(closed, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        transport = httpx.HTTPTransport(retries=8)
        with httpx.Client(base_url=url, timeout=30, transport=transport) as http:
            answered = http.post("/graphql", json={"query": "{ emrs { code } }"}).status_code
        process.terminate()
        status = process.wait(60)

    assert (answered, status) == (200, 0)
