"""Idle connections of load balancers and pools: none is closed before its time, or while a request is there."""

import asyncio
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

from gateway.server.request_head import ConnectionLimits
from gateway.server.serving import listening_socket, serve_in_thread
from tests.cli.test_commands import CREDENTIALS, LISTENING, Running
from tests.e2e.requirement import need_nginx
from tests.harness import ERROR_BODY, Simulator
from tests.stand_ins.echo_application import Echo
from tests.stand_ins.raw_client import RawConnection

GET = b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n"
KEEP_ALIVE_SECONDS = 0.3
ROUNDS, AT_A_TIME = 6, 40
# Retries are off, so that each request that meets a closed connection is a 502.
NGINX = """
daemon off; master_process off; pid FOLDER/pid; error_log FOLDER/errors warn;
events { worker_connections 1024; }
http {
  access_log off; proxy_next_upstream off; proxy_http_version 1.1; proxy_set_header Connection "";
  client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy; fastcgi_temp_path FOLDER/fastcgi;
  uwsgi_temp_path FOLDER/uwsgi; scgi_temp_path FOLDER/scgi;
  upstream below { server GATEWAY max_fails=0; keepalive 256; keepalive_timeout 280ms; }
  upstream above { server GATEWAY max_fails=0; keepalive 256; keepalive_timeout 350ms; }
  server { listen unix:FOLDER/below; location / { proxy_pass http://below; } }
  server { listen unix:FOLDER/above; location / { proxy_pass http://above; } }
}
"""


def test_an_idle_connection_is_closed_no_earlier_than_its_client_counts() -> None:
    limits = ConnectionLimits(keep_alive_seconds=KEEP_ALIVE_SECONDS)
    with (
        serve_in_thread(Echo(), listening_socket("127.0.0.1", 0), error_body=ERROR_BODY, limits=limits) as url,
        RawConnection(url) as client,
    ):
        for _ in range(3):
            assert client.send(GET).answer().status == 200
        idle_since = time.monotonic()

        assert client.ends()
        assert time.monotonic() - idle_since >= KEEP_ALIVE_SECONDS


def test_a_request_that_arrives_while_the_time_runs_out_is_answered() -> None:
    limits = ConnectionLimits(keep_alive_seconds=KEEP_ALIVE_SECONDS)
    is_busy, is_sent = threading.Event(), threading.Event()

    def work() -> None:
        is_busy.set()
        is_sent.wait(30)

    async def application(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001 # an ASGI application
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        if not is_busy.is_set():
            # In the same step as the connection's own timer, and before it, so that nothing is read in between.
            asyncio.get_running_loop().call_later(limits.idle_seconds, work)
        await send({"type": "http.response.body", "body": b"ok"})

    with (
        serve_in_thread(application, listening_socket("127.0.0.1", 0), error_body=ERROR_BODY, limits=limits) as url,
        RawConnection(url) as client,
    ):
        assert client.send(GET).answer().body == b"ok"
        assert is_busy.wait(30)
        client.send(GET)
        is_sent.set()

        assert client.answer().body == b"ok"


@pytest.fixture
def gateway_url(simulator: Simulator) -> Iterator[str]:
    serving = Running(
        "serve", "--port", "0", LEYR_BASE_URL=f"{simulator.url}/api", GATEWAY_DRAIN_SECONDS="0",
        GATEWAY_KEEP_ALIVE_SECONDS=str(KEEP_ALIVE_SECONDS), **CREDENTIALS,
    )  # fmt: skip
    try:
        yield serving.url(LISTENING)
    finally:
        serving.process.kill()
        serving.process.communicate()


@pytest.fixture
def nginx(gateway_url: str, tmp_path: Path) -> Iterator[Path]:
    """The folder of the sockets `below` and `above` of an nginx in front of the gateway."""
    configuration = tmp_path / "nginx.conf"
    text = NGINX.replace("FOLDER", str(tmp_path)).replace("GATEWAY", gateway_url.removeprefix("http://"))
    configuration.write_text(text, encoding="utf-8")
    running = subprocess.Popen([need_nginx(), "-p", tmp_path, "-c", configuration, "-e", tmp_path / "errors"])
    try:
        for _ in range(1_000):
            if (tmp_path / "above").exists():
                break
            assert running.poll() is None, (tmp_path / "errors").read_text(encoding="utf-8")
            time.sleep(0.01)
        yield tmp_path
    finally:
        running.terminate()
        running.wait(30)


async def test_nobody_who_keeps_connections_about_as_long_meets_a_closed_one(nginx: Path, gateway_url: str) -> None:
    body = {"query": "{ careUnits { name resources { name } healthcareServices { name } } }"}
    got: Counter[object] = Counter()

    async def behind_nginx(client: httpx.AsyncClient, number: int) -> None:
        await asyncio.sleep(number / AT_A_TIME / 10)
        response = await client.post("/graphql", json=body)
        got[response.status_code, "errors" in response.text] += 1

    async def of_a_pool(client: aiohttp.ClientSession, number: int) -> None:
        await asyncio.sleep(number / AT_A_TIME / 10)
        # It does not ask again, since a POST need not be idempotent.
        async with client.post(f"{gateway_url}/graphql", json=body) as response:
            got[response.status, "errors" in await response.text()] += 1

    async with (
        httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(nginx / "below")), base_url="http://a") as below,
        httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(nginx / "above")), base_url="http://a") as above,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=0.35)) as pool,
    ):
        for number in range(ROUNDS):
            asked = [behind_nginx(client, each) for client in (below, above) for each in range(AT_A_TIME)]
            await asyncio.gather(*asked, *(of_a_pool(pool, each) for each in range(AT_A_TIME)))
            # About as long as the gateway says that it keeps them.
            await asyncio.sleep(KEEP_ALIVE_SECONDS - 0.1 + number * 0.03)

    assert got == {(200, False): 3 * ROUNDS * AT_A_TIME}
