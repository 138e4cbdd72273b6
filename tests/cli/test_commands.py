"""The commands as a person runs them: started as processes, watched from outside, stopped by signals."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from gateway.settings import settings_table
from tests.harness import Simulator, nobody_listens
from tests.processes import run_gateway
from tests.stand_ins.raw_client import RawConnection

ROOT = Path(__file__).parents[2]
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("LEYR_", "GATEWAY_"))}
CREDENTIALS = {"LEYR_CLIENT_ID": "simulator", "LEYR_CLIENT_SECRET": "simulator-secret-canary"}

# No client of these has to see first that they stop.
AT_ONCE = {"GATEWAY_DRAIN_SECONDS": "0"}


class Running:
    """A command that serves; its output is read until it says where."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "gateway", *arguments],
            env={**CLEAN, **environment}, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.output = ""

    def url(self, pattern: str) -> str:
        assert self.process.stdout is not None
        while (found := re.search(pattern, self.output)) is None:
            line = self.process.stdout.readline()
            assert line, f"the command ended: {self.output}"
            self.output += line
        return found[1]

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=60)
        self.output += rest
        return self.process.returncode


@pytest.fixture
def run() -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(*arguments: str, **environment: str) -> Running:
        started.append(Running(*arguments, **environment))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.communicate()


LISTENING = r'"url":"(http://[^"]+)"'


def test_serve_without_credentials_says_what_to_set() -> None:
    refused = run_gateway("serve", "--port", "0")

    assert refused.returncode == 1
    assert "LEYR_CLIENT_ID and LEYR_CLIENT_SECRET" in refused.stderr
    assert "gateway dev" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_serve_with_half_the_credentials_names_the_other_half() -> None:
    refused = run_gateway("serve", "--port", "0", LEYR_CLIENT_ID="half")

    assert refused.returncode == 1
    assert "Set LEYR_CLIENT_SECRET " in refused.stderr


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("GATEWAY_GRAPHIQL_ON", "yes", "did you mean GATEWAY_GRAPHIQL?"),
        ("LEYR_SECRET_CANARY", "x", "is not a setting"),
        ("GATEWAY_PORT", "many", "GATEWAY_PORT"),
        ("GATEWAY_PORT", "70000", "GATEWAY_PORT"),
        ("GATEWAY_AUTH", "none", "GATEWAY_AUTH"),
        ("LEYR_EMRS", " , ", "LEYR_EMRS"),
        ("LEYR_EMRS", "web/doc", "LEYR_EMRS"),
        ("LEYR_BASE_URL", "api.leyr.io", "LEYR_BASE_URL"),
        ("LEYR_BASE_URL", "http://leyr.example:nope/api", "LEYR_BASE_URL"),
        ("LEYR_BASE_URL", "http://leyr.example:99999/api", "LEYR_BASE_URL"),
        ("LEYR_BASE_URL", "http://a b/api", "LEYR_BASE_URL"),
        ("LEYR_BASE_URL", "http://a%zz/api", "LEYR_BASE_URL"),
        ("gateway_prot", "8000", "GATEWAY_PORT"),
        ("GATEWAY_CORS_ORIGINS", "*", "GATEWAY_CORS_ORIGINS"),
        ("LEYR_PROFILES", "/nowhere/profiles.toml", "LEYR_PROFILES"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str, said: str) -> None:
    refused = run_gateway("serve", **{**CREDENTIALS, name: value})

    assert refused.returncode == 1
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    "table",
    ["[webdoc]\nfilter = 'any_one'", "[webdoc]\nfilter_policy = 'sometimes'", "[webdoc]\ntime_zone = 'Europe/Nowhere'",
     "[webdoc]\nlongest_window_days = 0", "webdoc = 1", "[webdoc"],
)  # fmt: skip
def test_a_wrong_profile_is_refused(table: str, tmp_path: Path) -> None:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(table)

    refused = run_gateway("serve", "--port", "0", **CREDENTIALS, LEYR_PROFILES=str(profiles))

    assert refused.returncode == 1
    assert "LEYR_PROFILES" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_schema_prints_the_committed_file() -> None:
    printed = run_gateway("schema")

    assert printed.returncode == 0
    assert printed.stdout == (ROOT / "schema.graphql").read_text(encoding="utf-8")


def test_settings_prints_the_table() -> None:
    assert run_gateway("settings").stdout == settings_table()


def test_healthcheck_of_nothing_fails() -> None:
    with nobody_listens() as url:
        assert run_gateway("healthcheck", "--port", url.rpartition(":")[2]).returncode == 1


def test_metrics_have_a_port_of_their_own(simulator: Simulator, run: Callable[..., Running]) -> None:
    settings = {"LEYR_BASE_URL": f"{simulator.url}/api", "GATEWAY_METRICS_PORT": "0", **CREDENTIALS, **AT_ONCE}
    serving = run("serve", "--port", "0", **settings)
    metrics = serving.url(r'"event":"gateway.metrics","url":"(http[^"]+)"')
    url = serving.url(r'"event":"gateway.serving","url":"(http[^"]+)"')

    for query in ("{ careUnits { name } }", "{ careUnits { name } }", "{ nothing }"):
        httpx.post(f"{url}/graphql", json={"query": query}, timeout=20)
    httpx.post(f"{url}/graphql", content=b"", timeout=20)
    # A request is counted after its answer was sent, but before the next is read.
    httpx.get(f"{url}/livez", timeout=20)
    shown = httpx.get(metrics, timeout=20).text

    assert 'gateway_upstream_calls_total{emr="webdoc",endpoint="care_units",outcome="answered"} 1.0' in shown
    assert 'gateway_operations_total{operation="query",outcome="ok"} 2.0' in shown
    assert 'gateway_refusals_total{code="BAD_USER_INPUT"} 1.0' in shown
    assert 'gateway_reads_total{origin="cached"} 1.0' in shown
    assert httpx.get(f"{url}/metrics", timeout=20).status_code == 404
    assert serving.stop() == 0


EVERYWHERE = "0.0.0.0"  # noqa: S104 # what is refused


def test_anonymous_serve_listens_on_loopback_only_unless_allowed(
    simulator: Simulator, run: Callable[..., Running]
) -> None:
    settings = {"LEYR_BASE_URL": f"{simulator.url}/api", **CREDENTIALS}

    refused = run_gateway("serve", "--host", EVERYWHERE, "--port", "0", **settings)
    allowed = run("serve", "--host", EVERYWHERE, "--port", "0", GATEWAY_ALLOW_ANONYMOUS="yes", **settings)

    assert refused.returncode == 1
    assert "GATEWAY_ALLOW_ANONYMOUS=yes" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert httpx.get(f"{allowed.url(LISTENING)}/livez", timeout=20).status_code == 200


@pytest.mark.parametrize(
    ("command", "chosen_by"),
    [
        (["serve", "--port", "{port}"], "GATEWAY_PORT or --port"),
        (["serve", "--port", "0", "metrics"], "GATEWAY_METRICS_PORT"),
        (["dev", "--port", "{port}"], "GATEWAY_PORT or --port"),
        (["dev", "--port", "0", "--simulator-port", "{port}"], "--simulator-port"),
        (["simulator", "--port", "{port}"], "--port"),
    ],
)
def test_a_taken_port_is_reported_with_what_chooses_another(
    command: list[str], chosen_by: str, simulator: Simulator
) -> None:
    port = simulator.url.rpartition(":")[2]
    metrics = {"GATEWAY_METRICS_PORT": port} if "metrics" in command else {}

    refused = run_gateway(*(each.format(port=port) for each in command if each != "metrics"), **CREDENTIALS, **metrics)

    assert refused.returncode == 1
    said = (
        f"gateway: cannot listen on 127.0.0.1 port {port}: Address already in use; choose another port with {chosen_by}"
    )
    assert refused.stderr.endswith(f"{said}\n")
    assert "Traceback" not in refused.stderr


def test_serve_keeps_idle_connections_open_for_as_long_as_is_set(run: Callable[..., Running]) -> None:
    serving = run("serve", "--port", "0", **CREDENTIALS, **AT_ONCE, GATEWAY_KEEP_ALIVE_SECONDS="0.2")

    with RawConnection(serving.url(LISTENING)) as wire:
        assert wire.send(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").answer().status == 200
        assert wire.ends()

    assert serving.stop() == 0


def test_dev_serves_simulated_data_and_says_so(run: Callable[..., Running]) -> None:
    dev = run("dev", "--port", "0", "--simulator-port", "0", "--latency", "0")
    url = dev.url(r"GraphQL: +(http://\S+)")

    answer = httpx.post(url, json={"query": "{ emrs { code } careUnits { name } }"}, timeout=20).json()
    page = httpx.get(url, headers={"accept": "text/html"}, timeout=20)
    # A page that somebody develops beside it.
    vite = {"origin": "http://localhost:5173"}
    of_vite = httpx.get(url, params={"query": "{ __typename }"}, headers=vite, timeout=20)

    assert of_vite.status_code == 200
    assert of_vite.headers["access-control-allow-origin"] == vite["origin"]
    assert len(answer["data"]["emrs"]) >= 5
    assert answer["data"]["careUnits"]
    assert page.headers["content-type"].startswith("text/html")
    assert "SIMULATED DATA" in dev.output
    assert "public documentation" in dev.output
    assert dev.stop() == 0


def test_dev_heeds_the_settings_of_serve(run: Callable[..., Running]) -> None:
    dev = run("dev", "--port", "0", "--simulator-port", "0", "--latency", "0", GATEWAY_METRICS_PORT="0")
    metrics = dev.url(r'"event":"gateway.metrics","url":"(http[^"]+)"')
    url = dev.url(r"GraphQL: +(http://\S+)")

    httpx.post(url, json={"query": "{ careUnits { name } }"}, timeout=20)
    httpx.get(url, timeout=20)

    assert 'gateway_operations_total{operation="query",outcome="ok"} 1.0' in httpx.get(metrics, timeout=20).text
    assert dev.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_finishes_what_is_in_flight_and_stops(
    number: int, run: Callable[..., Running], simulator: Simulator
) -> None:
    settings = {"LEYR_BASE_URL": f"{simulator.url}/api", "GATEWAY_KEPT_HEAP_MB": "32", **CREDENTIALS, **AT_ONCE}
    serving = run("serve", "--port", "0", **settings)
    url = serving.url(LISTENING)
    if sys.platform == "linux":
        begun_with = Path(f"/proc/{serving.process.pid}/environ").read_bytes()
        assert b"MALLOC_TRIM_THRESHOLD_=33554432" in begun_with
    simulator.behaviour("webdoc", latency_ms=700, latency_jitter=0)

    with ThreadPoolExecutor() as pool:
        asked = pool.submit(httpx.post, f"{url}/graphql", json={"query": "{ careUnits { name } }"}, timeout=20)
        assert simulator.arrived(1) == {"care_units": 1}
        status = serving.stop(number)

    assert status == 0
    assert len(asked.result().json()["data"]["careUnits"]) == 4
    assert "simulator-secret-canary" not in serving.output
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/livez")


def test_simulator_serves_with_behaviour_given_in_its_older_spelling(run: Callable[..., Running]) -> None:
    simulator = run("simulator", "--port", "0", "--latency", "0", "--manners", "*.time_format=utc", "--scale", "2")
    url = simulator.url(r"Listening on (http://\S+)")

    headers = {"x-leyr-client-id": "simulator", "x-leyr-client-secret": "simulator"}
    units = httpx.get(f"{url}/api/emrs/webdoc/care-units", headers=headers, timeout=20)
    behaviour = httpx.get(f"{url}/__manners", timeout=20).json()

    assert units.status_code == 200
    assert behaviour["webdoc"]["time_format"] == "utc"
    assert "public documentation" in simulator.output
    assert simulator.stop() == 0


def test_a_wrong_behaviour_switch_is_refused() -> None:
    assert run_gateway("simulator", "--port", "0", "--behaviour", "webdoc.mood=bad").returncode == 1
    assert run_gateway("simulator", "--port", "0", "--behaviour", "webdoc").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "99999"], "cannot listen on 127.0.0.1 port 99999: a port is a number from 0 to 65535"),
        (["--port", "-1"], "a port is a number from 0 to 65535"),
        (["--host", f"{'a' * 70}.example"], "cannot listen on aaa"),
        (["--host", "192.0.2.1", "--port", "0"], "listen on 192.0.2.1 port 0: Cannot assign requested address\n"),
        (["--host", "nowhere.invalid"], "cannot listen on nowhere.invalid port 9000: "),
        (["--latency", "nan"], "latency_ms must be a number that is not negative"),
        (["--latency", "inf"], "latency_ms must be a number that is not negative"),
    ],
)
def test_an_argument_that_cannot_be_meant_is_refused(arguments: list[str], said: str) -> None:
    refused = run_gateway("simulator", *arguments)

    assert refused.returncode == 1
    assert said in refused.stderr
    assert "choose another port" not in refused.stderr
    assert "Traceback" not in refused.stderr
