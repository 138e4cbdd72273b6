"""Several workers on one port: who answers, what is counted, and what becomes of one that dies."""

import os
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from tests.harness import no_certificates
from tests.integration.workers.conftest import EMRS, SeveralWorkers
from tests.processes import run_gateway
from tests.unit.auth.issuer import AUDIENCE, ISSUER, key_set, private_key, public_jwk, said, signed

Serve = Callable[..., SeveralWorkers]
OPERATIONS = 'gateway_operations_total{operation="query",outcome="ok"}'
CREDENTIALS = {"LEYR_CLIENT_ID": "client", "LEYR_CLIENT_SECRET": "secret"}
WITHIN = 30


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    ends_at = time.monotonic() + WITHIN
    while not holds():
        assert time.monotonic() < ends_at
        time.sleep(0.02)


def counters(numbers: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in numbers.items() if name.split("{")[0].endswith(("_total", "_count", "_sum"))}


def test_all_workers_answer_and_their_metrics_add_up(serve: Serve) -> None:
    serving = serve(3)

    assert {serving.ask().status_code for _ in range(60)} == {200}
    numbers = serving.metrics()
    ready = httpx.get(serving.url("gateway.metrics").replace("/metrics", "/readyz"), verify=no_certificates())

    answered = serving.lines("operation.answered")
    assert {line["worker"] for line in answered} == {1, 2, 3}
    assert len(answered) == numbers[OPERATIONS] == 60
    assert numbers['gateway_operation_seconds_bucket{le="+Inf",outcome="ok"}'] == 60
    assert (numbers["gateway_workers"], numbers["gateway_worker_deaths_total"], numbers["gateway_ready"]) == (3, 0, 1)
    assert numbers["gateway_cache_max_bytes"] == 3 * 64 * 1024 * 1024
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert serving.stop() == 0
    assert {line.get("worker") for line in serving.lines("gateway.stopping")} == {1, 2, 3}


def test_a_worker_that_stands_still_counts_with_what_it_said_before(serve: Serve) -> None:
    serving = serve(2)
    for worker in (1, 2):
        serving.client_of(worker).close()
    before = serving.metrics()[OPERATIONS]
    stopped = serving.pids()[1]
    os.kill(stopped, signal.SIGSTOP)
    try:
        meanwhile = [serving.metrics()[OPERATIONS] for _ in range(2)]
    finally:
        os.kill(stopped, signal.SIGCONT)
    serving.client_of(1).close()
    after = serving.metrics()[OPERATIONS]

    assert meanwhile == [before] * 2
    assert after == len(serving.lines("operation.answered"))


def test_a_worker_that_is_killed_is_replaced_and_no_counter_falls(serve: Serve) -> None:
    serving = serve(2)
    scrapes = []

    def ask() -> list[int]:
        with serving.client() as client:
            return [client.post("/graphql", json={"query": EMRS}).status_code for _ in range(5)]

    for worker in (1, 2, 1):
        for _ in range(4):
            assert set(ask()) == {200}
        scrapes.append(serving.metrics())
        os.kill(serving.pids()[worker], signal.SIGKILL)
        # From the first moment on: what waits at the socket of a dead worker is served by the next.
        with ThreadPoolExecutor(8) as pool:
            assert {status for found in pool.map(lambda _: ask(), range(8)) for status in found} == {200}
        scrapes.append(serving.metrics())

    for earlier, later in pairwise(scrapes):
        assert {name for name, value in counters(earlier).items() if later[name] < value} == set()
    assert [line["signal"] for line in serving.lines("gateway.worker_died")] == ["SIGKILL"] * 3
    assert (scrapes[-1]["gateway_workers"], scrapes[-1]["gateway_worker_deaths_total"]) == (2, 3)
    assert scrapes[-1][OPERATIONS] == len(serving.lines("operation.answered"))
    assert serving.stop() == 0


def test_a_worker_that_is_stopped_by_itself_is_replaced_and_nobody_notices(serve: Serve) -> None:
    serving = serve(2)

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(serving.ask) for _ in range(200)]
        os.kill(serving.pids()[1], signal.SIGTERM)
        statuses = {each.result().status_code for each in asked}

    assert statuses == {200}
    serving.started(3)
    assert [(line["worker"], line["status"]) for line in serving.lines("gateway.worker_died")] == [(1, 0)]


def test_a_token_has_the_same_caller_in_all_workers(serve: Serve, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_bytes(key_set(public_jwk(private_key("ES256"), "k1")))
    names = {"GATEWAY_JWT_ISSUER": ISSUER, "GATEWAY_JWT_AUDIENCE": AUDIENCE, "GATEWAY_JWT_JWKS": str(keys)}
    serving = serve(2, GATEWAY_AUTH="jwt", **names)
    token = signed(said(exp=time.time() + 600), "ES256", "k1")

    for _ in range(20):
        with serving.client() as client:
            headers = {"authorization": f"Bearer {token}"}
            assert client.post("/graphql", json={"query": EMRS}, headers=headers).status_code == 200

    answered = serving.lines("operation.answered")
    assert {line["worker"] for line in answered} == {1, 2}
    assert len({line["caller"] for line in answered}) == 1


def test_workers_that_keep_dying_end_the_gateway(serve: Serve) -> None:
    serving = serve(2)

    for deaths in range(1, 6):
        os.kill(serving.pids()[1], signal.SIGKILL)
        if deaths < 5:
            serving.started(2 + deaths)

    assert serving.process.wait(timeout=WITHIN) == 1
    assert len(serving.lines("gateway.worker_died")) == 5
    assert [line["deaths"] for line in serving.lines("gateway.workers_keep_dying")] == [5]
    assert [line["worker"] for line in serving.lines("gateway.stopping")] == [2]


def test_workers_end_with_their_parent_and_free_the_port(serve: Serve) -> None:
    # No load balancer is waited for: whoever starts the gateway again wants its port.
    serving = serve(2, GATEWAY_DRAIN_SECONDS="300")
    address = httpx.URL(serving.url())

    serving.process.kill()
    serving.process.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in serving.pids().values()))

    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((address.host, address.port))
        other.listen()
    assert {line["worker"] for line in serving.lines("gateway.parent_died")} == {1, 2}


def test_sighup_reloads_all_workers_and_those_that_come_later(serve: Serve, tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text(table("first", "k1"))
    serving = serve(2, GATEWAY_AUTH="api-keys", GATEWAY_API_KEYS=str(keys))

    def statuses() -> set[tuple[str, int]]:
        def status(key: str) -> int:
            return client.post("/graphql", json={"query": EMRS}, headers={"x-api-key": key}).status_code

        with serving.client() as client:
            return {(key, status(key)) for key in ("k1", "k2")}

    assert statuses() == {("k1", 200), ("k2", 401)}
    keys.write_text(table("second", "k2"))
    serving.process.send_signal(signal.SIGHUP)
    until(lambda: {line["worker"] for line in serving.lines("gateway.reloaded")} == {1, 2})
    assert set().union(*(statuses() for _ in range(10))) == {("k1", 401), ("k2", 200)}

    for pid in serving.pids().values():
        os.kill(pid, signal.SIGKILL)
    serving.started(4)
    assert set().union(*(statuses() for _ in range(10))) == {("k1", 401), ("k2", 200)}
    serving.process.send_signal(signal.SIGUSR1)
    until(lambda: {line["worker"] for line in serving.lines("gateway.signal_ignored")} == {1, 2})


def table(name: str, key: str) -> str:
    return f'[{name}]\nkey_sha256 = "{sha256(key.encode()).hexdigest()}"\n'


@pytest.mark.parametrize("shares", [False, True])
def test_a_port_that_another_program_has_is_refused_though_it_would_share_it(shares: bool) -> None:
    with socket.socket() as other:
        if shares:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        refused = run_gateway("serve", "--workers", "2", "--port", port, **CREDENTIALS)

    assert refused.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in refused.stderr
    assert "--port" in refused.stderr


@pytest.mark.parametrize("number", ["0", "257", "many"])
def test_a_number_of_workers_that_cannot_be_is_named(number: str) -> None:
    refused = run_gateway("serve", GATEWAY_WORKERS=number, **CREDENTIALS)

    assert refused.returncode == 1
    assert "GATEWAY_WORKERS" in refused.stderr
