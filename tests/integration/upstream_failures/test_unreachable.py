"""Leyr that cannot be reached: operators learn why, from the log, the metrics and the details of `/readyz`."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread

import httpx
import pytest

from gateway.server.serving import listening_socket, serve_in_thread
from gateway.telemetry.metrics import metrics_app
from tests.harness import Gateway, Simulator, nobody_listens
from tests.stand_ins.http_client import UpstreamScript
from tests.unit.http_client.certificates import DAY, new_authority

CARE_UNITS = "{ careUnits { name } }"


@dataclass
class TlsServer:
    """A server that only shakes hands, and counts how often."""

    port: int
    handshakes: int = 0


@contextmanager
def tls_server(tls: ssl.SSLContext) -> Iterator[TlsServer]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server, is_over = TlsServer(listener.getsockname()[1]), Event()

        def work() -> None:
            while True:
                connection, _ = listener.accept()
                with connection:
                    if is_over.is_set():
                        return
                    server.handshakes += 1
                    with suppress(OSError), tls.wrap_socket(connection, server_side=True) as secure:
                        secure.recv(1)

        thread = Thread(target=work)
        thread.start()
        try:
            yield server
        finally:
            is_over.set()
            socket.create_connection(("127.0.0.1", server.port)).close()
            thread.join()


def told(gateway: Gateway) -> tuple[str, str, str]:
    """The kind of failure by the log, by `/readyz` of the metrics' port, and the line of the metric."""
    (kind,) = {line["kind"] for line in gateway.lines() if line["event"] == "upstream.unreachable"}
    assert gateway.metrics is not None
    with serve_in_thread(metrics_app(gateway.metrics), listening_socket("127.0.0.1", 0)) as url:
        emrs = httpx.get(f"{url}/readyz").json()["emrs"]
        lines = httpx.get(f"{url}/metrics").text.splitlines()
    name = "gateway_upstream_unreachable_total"
    (counted,) = (line.removeprefix(name) for line in lines if line.startswith(name) and not line.endswith(" 0.0"))
    return kind, emrs["webdoc"]["unreachable"], counted


@pytest.mark.parametrize("kind", ["tls_untrusted", "tls_expired"])
def test_a_wrong_certificate_is_asked_once_and_not_retryable(
    serve_gateway: Callable[..., Gateway], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    authority = new_authority(tmp_path, "private")
    until = None
    if kind == "tls_expired":
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        until = datetime.now(UTC) - DAY
    with tls_server(authority.server(valid_until=until)) as leyr:
        gateway = serve_gateway(leyr_base_url=f"https://127.0.0.1:{leyr.port}/api", leyr_emrs=("webdoc",))

        errors = [gateway.ask(CARE_UNITS)["errors"][0]["extensions"]]
        assert leyr.handshakes == 1
        # The circuit breaker, which opens meanwhile, does not say that it will soon be better either.
        errors += [gateway.ask(CARE_UNITS)["errors"][0]["extensions"] for _ in range(10)]

        assert leyr.handshakes < 11
        assert told(gateway) == (kind, kind, f'{{emr="webdoc",kind="{kind}"}} {leyr.handshakes}.0')
    assert {(error["code"], error["retryable"]) for error in errors} == {("UPSTREAM_UNAVAILABLE", False)}
    assert not any("retryAfter" in error for error in errors)
    assert "unreachable" not in gateway.http.get("/readyz").text


def test_a_refused_connection_is_retried_and_retryable(serve_gateway: Callable[..., Gateway]) -> None:
    with nobody_listens() as url:
        gateway = serve_gateway(leyr_base_url=f"{url}/api", leyr_emrs=("webdoc",))

        error = gateway.ask(CARE_UNITS)["errors"][0]["extensions"]

    assert told(gateway) == ("refused", "refused", '{emr="webdoc",kind="refused"} 3.0')
    assert error["retryable"]


def test_a_kind_is_said_by_readyz_until_leyr_answers_again(
    simulator: Simulator, serve_gateway: Callable[..., Gateway]
) -> None:
    script = UpstreamScript(error=ConnectionResetError("gone"))
    gateway = serve_gateway(connections=script.connections)
    gateway.ask(CARE_UNITS)
    assert told(gateway)[:2] == ("reset", "reset")

    script.error = None
    assert simulator.emrs[0] == "webdoc"
    gateway.data(CARE_UNITS)

    assert gateway.metrics is not None
    assert gateway.metrics.health()["webdoc"].failure is None
