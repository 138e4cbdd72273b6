"""`/metrics` over real HTTP: its two formats, other requests, and scrapes of a busy gateway."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from threading import Event, Thread
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from gateway.http.request_context import RequestIds, RequestRecord
from gateway.http_client.failures import FailureKind
from gateway.leyr.call_events import CallResult
from gateway.leyr.circuit_breaker import BreakerState
from gateway.leyr.resilience import UpstreamHealth
from gateway.server.serving import listening_socket, serve_in_thread
from gateway.telemetry.metrics import Gauges, Metrics, metrics_app

TEXT = "text/plain; version=0.0.4; charset=utf-8"
PERSONAL_NUMBER = "191212121212"
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


class Scraped(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str


class Scraper:
    def __init__(self, url: str) -> None:
        self._address = urlsplit(url).netloc

    def __call__(self, path: str = "/metrics", method: str = "GET", **headers: str) -> Scraped:
        connection = HTTPConnection(self._address, timeout=10)
        try:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Scraped(response.status, found, response.read().decode())
        finally:
            connection.close()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(["pmo"])


@pytest.fixture
def scrape(metrics: Metrics) -> Iterator[Scraper]:
    with serve_in_thread(metrics_app(metrics), listening_socket("127.0.0.1", 0)) as url:
        yield Scraper(url)


def test_text_format_is_the_default(scrape: Scraper, metrics: Metrics) -> None:
    metrics.finished(RequestRecord(RequestIds("id"), 403, 0.1, "FORBIDDEN", codes=("FORBIDDEN",)))

    found = scrape()

    assert found.status == 200
    assert found.headers["content-type"] == TEXT
    assert found.headers["cache-control"] == "no-store"
    assert 'gateway_refusals_total{code="FORBIDDEN"} 1.0\n' in found.body
    assert {family.name for family in text_string_to_metric_families(found.body)} >= {"gateway_operations"}


@pytest.mark.parametrize(
    "accept", ["application/openmetrics-text", "text/plain, Application/OpenMetrics-Text; version=1.0.0", PROMETHEUS]
)
def test_openmetrics_is_served_where_accepted(scrape: Scraper, accept: str) -> None:
    found = scrape(accept=accept)

    assert found.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert found.body.endswith("# EOF\n")
    parse: Any = openmetrics.text_string_to_metric_families  # the library leaves it without types
    assert {family.name for family in parse(found.body)} >= {"gateway_operations"}


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "",
        "application/openmetrics-text;q=0.00",
        "application/openmetrics-text;version=0.0.1",
        "application/openmetrics-text;version=one",
        f"application/openmetrics-text;version={PERSONAL_NUMBER}",
        f"text/plain;version=1.0.0;escaping={PERSONAL_NUMBER}",
        f"application/openmetrics-text;version=1.0.0;q=0;{PERSONAL_NUMBER}",
        ";;=,,;version",
    ],
)
def test_other_accept_headers_get_text_and_are_not_echoed(scrape: Scraper, accept: str) -> None:
    found = scrape(accept=accept)

    assert (found.status, found.headers["content-type"]) == (200, TEXT)
    assert PERSONAL_NUMBER not in f"{found.headers}{found.body}"


@pytest.mark.parametrize("path", ["/", "/metrics/", f"/{PERSONAL_NUMBER}", "/graphql", "/livez"])
def test_other_paths_are_404(scrape: Scraper, path: str) -> None:
    found = scrape(path)

    assert found.status == 404
    assert PERSONAL_NUMBER not in f"{found.headers}{found.body}"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_405(scrape: Scraper, method: str) -> None:
    found = scrape(method=method)

    assert found.status == 405
    assert {each.strip() for each in found.headers["allow"].split(",")} == {"GET", "HEAD"}


def test_head_has_the_headers_of_get(scrape: Scraper) -> None:
    found = scrape(method="HEAD")

    assert (found.status, found.headers["content-type"], found.body) == (200, TEXT, "")


def test_query_string_is_ignored_and_not_echoed(scrape: Scraper) -> None:
    found = scrape(f"/metrics?name[]={PERSONAL_NUMBER}")

    assert found.status == 200
    assert "gateway_operations_total" in found.body
    assert PERSONAL_NUMBER not in found.body


def test_counters_only_rise_between_scrapes_of_a_busy_gateway(scrape: Scraper, metrics: Metrics) -> None:
    is_over = Event()

    def work() -> None:
        while not is_over.is_set():
            for emr in ("pmo", "elsewhere"):
                metrics.attempt_ended(emr, "timeslots", CallResult.ANSWERED, 0.1)

    loop = Thread(target=work)
    loop.start()
    try:
        found = [scrape().body for _ in range(5)]
    finally:
        is_over.set()
        loop.join()

    name = 'gateway_upstream_seconds_count{emr="pmo",endpoint="timeslots"} '
    counts = [float(line.removeprefix(name)) for body in found for line in body.splitlines() if line.startswith(name)]
    assert len(counts) == 5
    assert counts == sorted(counts)


def test_readyz_of_the_metrics_port_says_how_each_ehr_is(scrape: Scraper, metrics: Metrics) -> None:
    ill = UpstreamHealth(BreakerState.OPEN, 12.34, 64, 0, 0, FailureKind.NO_ROUTE)
    before = scrape("/readyz")
    metrics.watch(Gauges(lambda: {"pmo": ill}, int, 1, int, dict, is_ready=lambda: True))

    after = scrape("/readyz")

    assert (before.status, json.loads(before.body)) == (
        200,
        {"status": "ready", "emrs": {"pmo": {"breaker": "closed"}}},
    )
    reported = {"breaker": "open", "retryAfter": 12.3, "unreachable": "no_route"}
    assert (after.status, json.loads(after.body)) == (200, {"status": "ready", "emrs": {"pmo": reported}})
