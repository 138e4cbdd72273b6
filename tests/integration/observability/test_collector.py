"""`gateway serve` delivers spans to a collector, and no request waits for the delivery."""

import gzip
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from threading import Thread

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gateway.http.request_context import RequestIds, RequestRecord
from gateway.logging import build_log
from gateway.telemetry.traces import traces_to
from tests.harness import CLIENT_ID, CLIENT_SECRET, Simulator
from tests.processes import PythonProcess, run_gateway

CREDENTIALS = {"LEYR_CLIENT_ID": CLIENT_ID, "LEYR_CLIENT_SECRET": CLIENT_SECRET}
UNITS = {"query": "{ careUnits { name } }"}
# What a stop may take of which the last spans get three seconds.
STOP_SECONDS = 8


@dataclass
class Collector:
    """Takes spans as OTLP by HTTP; `status` is what it answers."""

    url: str = ""
    status: int = 200
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    requests: list[ExportTraceServiceRequest] = field(default_factory=list)

    def spans(self) -> list[str]:
        scopes = [scope for each in self.requests for told in each.resource_spans for scope in told.scope_spans]
        return [span.name for scope in scopes for span in scope.spans]

    def resource(self) -> dict[str, str]:
        return {each.key: each.value.string_value for each in self.requests[0].resource_spans[0].resource.attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            found.paths.append(self.path)
            found.headers.append({name.lower(): value for name, value in self.headers.items()})
            found.requests.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(found.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


class Serving(PythonProcess):
    """`gateway serve` with traces."""

    def ask(self, times: int = 1) -> None:
        with httpx.Client(base_url=self.printed(r'"url":"(http://[^"]+)"')) as http:
            for _ in range(times):
                assert http.post("/graphql", json=UNITS).status_code == 200

    def seconds_to_stop(self) -> float:
        began = time.monotonic()
        assert self.stop(signal.SIGINT) == 0
        return time.monotonic() - began


@pytest.fixture
def serve(simulator: Simulator, tmp_path: Path) -> Iterator[Callable[..., Serving]]:
    with ExitStack() as stack:

        def start(url: str, **environment: str) -> Serving:
            settings = {"LEYR_BASE_URL": f"{simulator.url}/api", "GATEWAY_TRACES_URL": url, **CREDENTIALS}
            command = ("-m", "gateway", "serve", "--port", "0")
            return stack.enter_context(Serving(tmp_path / "output", *command, **settings, **environment))

        yield start


def test_spans_are_delivered_at_the_stop_with_the_configured_headers(
    serve: Callable[..., Serving], collector: Collector
) -> None:
    serving = serve(collector.url, OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20token-canary")
    serving.ask(times=2)

    assert serving.seconds_to_stop() < STOP_SECONDS

    assert sorted(collector.spans()) == ["graphql query", "graphql query", "leyr care_units"]
    assert {*collector.paths} == {"/v1/traces"}
    assert {each["authorization"] for each in collector.headers} == {"Bearer token-canary"}
    assert collector.resource()["service.name"] == "leyr-graphql-gateway"
    assert "token-canary" not in serving.output


def test_spans_are_delivered_while_serving_to_the_configured_path_and_service(
    serve: Callable[..., Serving], collector: Collector
) -> None:
    names = {"OTEL_SERVICE_NAME": "booking", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}
    serving = serve(f"{collector.url}/otlp/v1/traces", **names)
    serving.ask()

    for _ in range(200):
        if collector.spans():
            break
        time.sleep(0.05)

    assert sorted(collector.spans()) == ["graphql query", "leyr care_units"]
    assert {*collector.paths} == {"/otlp/v1/traces"}
    assert collector.resource()["service.name"] == "booking"


def test_spans_of_all_workers_are_delivered(serve: Callable[..., Serving], collector: Collector) -> None:
    serving = serve(collector.url, GATEWAY_WORKERS="2", GATEWAY_DRAIN_SECONDS="0")
    for _ in range(20):
        serving.ask()

    assert serving.seconds_to_stop() < STOP_SECONDS

    # The kind of an operation whose answer was kept is not known.
    assert sum(name.startswith("graphql") for name in collector.spans()) == 20
    assert {worker for worker in (1, 2) if f'"worker":{worker}}}' in serving.output} == {1, 2}


@contextmanager
def nobody() -> Iterator[str]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@contextmanager
def somebody_silent() -> Iterator[str]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@contextmanager
def somebody_busy() -> Iterator[str]:
    with collecting() as collector:
        collector.status = 503
        yield collector.url


@contextmanager
def somebody_else() -> Iterator[str]:
    with collecting() as collector:
        collector.status = 404
        yield collector.url


@pytest.mark.parametrize("there", [nobody, somebody_silent, somebody_busy, somebody_else])
def test_unusable_collector_delays_neither_answers_nor_the_stop(
    there: Callable[[], AbstractContextManager[str]], serve: Callable[..., Serving]
) -> None:
    with there() as url:
        serving = serve(url, OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20canary,broken canary")
        serving.ask(times=1_500)

        assert serving.seconds_to_stop() < STOP_SECONDS

    told = [line for line in serving.output.splitlines() if "operation.answered" not in line]
    assert [line for line in told if not line.startswith("{")] == []
    assert len([line for line in told if "traces.not_delivered" in line]) <= 1
    assert [line for line in told if "canary" in line or "Traceback" in line or url in line] == []
    assert len(told) < 10


def test_spans_beyond_the_queue_are_dropped_without_waiting() -> None:
    to = StringIO()
    with somebody_silent() as url:
        traces = traces_to(
            url, emrs=("webdoc",), ratio=1, now_ns=time.time_ns, chance=lambda: 0, log=build_log("info", to)
        )
        traces.start()
        for _ in range(10_000):
            assert traces.started(RequestIds("id")) is not None
            traces.finished(RequestRecord(RequestIds("id"), 500, 0.1, "INTERNAL", codes=("INTERNAL",)))
        began = time.monotonic()
        traces.close()

        assert time.monotonic() - began < STOP_SECONDS
    assert url not in to.getvalue()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_TRACES_URL", "collector:4318"),
        ("GATEWAY_TRACES_URL", "http://name:canary@collector:4318"),
        ("GATEWAY_TRACES_RATIO", "1.5"),
        ("GATEWAY_TRACES_RATIO", "nan"),
    ],
)
def test_invalid_setting_is_named(name: str, value: str) -> None:
    refused = run_gateway("serve", **{**CREDENTIALS, name: value})

    assert refused.returncode == 1
    assert name in refused.stderr
    assert "canary" not in refused.stderr


def test_invalid_setting_of_opentelemetry_is_told_as_such() -> None:
    settings = {"GATEWAY_TRACES_URL": "http://127.0.0.1:4318", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "canary"}
    refused = run_gateway("serve", **CREDENTIALS, **settings)

    assert refused.returncode == 1
    assert refused.stderr.startswith("gateway: OpenTelemetry does not take one of its own settings")
    assert "canary" not in refused.stderr
