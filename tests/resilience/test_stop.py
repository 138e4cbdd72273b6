"""A gateway that is told to stop: what is in flight is answered, and nobody new is let in."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.harness import CLIENT_ID, CLIENT_SECRET, Simulator

ROOT = Path(__file__).parents[2]
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("LEYR_", "GATEWAY_"))}
IN_FLIGHT = 200
# Each wants an answer from after its beginning, so each has a call of its own.
OWN_CALL = {"content-type": "application/json", "cache-control": "no-cache"}
QUERY = "query($emr: String!) { careUnits(emr: $emr) { leyrId } }"
STARTS_WITHIN = 20


@contextmanager
def gateway_process(simulator: Simulator) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`gateway serve` and its URL."""
    command = [sys.executable, "-u", "-m", "gateway", "serve", "--port", "0"]
    environment = {
        **CLEAN,
        "LEYR_BASE_URL": f"{simulator.url}/api",
        "LEYR_CLIENT_ID": CLIENT_ID,
        "LEYR_CLIENT_SECRET": CLIENT_SECRET,
        "LEYR_EMRS": ",".join(simulator.emrs),
    }
    with subprocess.Popen(command, env=environment, cwd=ROOT, text=True, stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            first = process.stderr.readline()
            found = re.search(r'"url":"(http://[^"]+)"', first)
            assert found, first
            yield process, found[1]
        finally:
            process.kill()


async def asks(http: httpx.AsyncClient, emr: str) -> httpx.Response:
    return await http.post("/graphql", json={"query": QUERY, "variables": {"emr": emr}}, headers=OWN_CALL)


async def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit status and what it logged."""
    _, log = await asyncio.to_thread(process.communicate, timeout=STARTS_WITHIN)
    return process.returncode, log
