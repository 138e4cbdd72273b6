"""The wheel, installed as the image installs it and run as the image runs it: no rights, no HOME, nothing writable."""

import re
import signal
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from zipfile import ZipFile

import httpx
import pytest

from tests.e2e.requirement import need_explorer
from tests.harness import CLIENT_ID, CLIENT_SECRET, Gateway, Simulator
from tests.packaging.conftest import ROOT, Image

GATEWAY = "/opt/gateway/bin/gateway"
CARE_UNITS = "{ careUnits { leyrId } }"


@dataclass
class Process:
    """A started gateway, and how it ended."""

    gateway: Gateway
    running: subprocess.Popen[str]
    written: str

    @property
    def port(self) -> str:
        return self.gateway.url.rpartition(":")[2]

    def stop(self) -> str:
        """Stop it as Docker does; what it wrote."""
        self.running.send_signal(signal.SIGTERM)
        rest, _ = self.running.communicate(timeout=60)
        return self.written + rest


@pytest.fixture(scope="module")
def packed(image: Image) -> set[str]:
    """The names of the files in the wheel."""
    with ZipFile(image.wheel) as wheel:
        return set(wheel.namelist())


@contextmanager
def started(image: Image, *arguments: str, **variables: str) -> Iterator[Process]:
    environment = image.environment(GATEWAY_PORT="0", **variables)
    running = subprocess.Popen(
        image.command(*arguments), cwd="/", env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    with running:
        try:
            url, written = said(running)
            with httpx.Client(base_url=url, timeout=30) as http:
                assert http.get("/livez").json() == {"status": "alive"}
                yield Process(Gateway(url, http), running, written)
        finally:
            running.kill()


def said(running: subprocess.Popen[str]) -> tuple[str, str]:
    """The address that a gateway says it listens on, from when on it takes connections, and what it wrote so far."""
    assert running.stdout is not None
    written = ""
    for line in running.stdout:
        written += line
        if found := re.search(r'(?:"url":"|GraphQL: +)(http://[^/"]+)', line):
            return found[1], written
    pytest.fail(f"the gateway ended: {written}")


def test_the_wheel_holds_the_package_alone(packed: set[str]) -> None:
    ours = {str(path.relative_to(ROOT)) for path in (ROOT / "gateway").rglob("*.py")}
    rest = {name for name in packed if not name.startswith(("gateway/http/static/", "leyr_graphql_gateway-"))}

    assert rest == {name for name in ours if not name.startswith("gateway/explorer/")} | {"gateway/py.typed"}


def test_the_wheel_holds_the_explorer(image: Image, packed: set[str]) -> None:
    need_explorer()
    with ZipFile(image.wheel) as wheel:
        page = wheel.read("gateway/http/static/index.html").decode()

    links = set(re.findall(r'"/graphql/(assets/[^"]+)"', page))
    assert {link.rpartition(".")[2] for link in links} >= {"js", "css"}
    assert {f"gateway/http/static/{link}" for link in links} <= packed
    assets = {name for name in packed if "/static/assets/" in name}
    assert all(re.search(r"-[\w-]{8}\.\w+$", name) for name in assets)


def test_the_wheel_names_its_licence_and_holds_it(image: Image, packed: set[str]) -> None:
    (metadata,) = (name for name in packed if name.endswith(".dist-info/METADATA"))
    with ZipFile(image.wheel) as wheel:
        said = wheel.read(metadata).decode()
        licence = wheel.read(metadata.replace("METADATA", "licenses/LICENSE"))

    assert "License-Expression: MIT\nLicense-File: LICENSE\n" in said
    assert licence == (ROOT / "LICENSE").read_bytes()


def test_the_environment_is_the_lock_and_the_wheel(image: Image) -> None:
    listing = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"

    installed = image.run("/opt/gateway/bin/python", "-I", "-c", listing).stdout.decode().split()

    pins = re.findall(r"^([\w.-]+==[\w.]+)", (ROOT / "requirements/runtime.txt").read_text("utf-8"), re.MULTILINE)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    ours = f"leyr-graphql-gateway=={version}"
    assert ours in plain(installed)
    assert plain(installed) - {ours} <= plain(pins)


def plain(names: list[str]) -> set[str]:
    """Names as PEP 503 spells them."""
    return {re.sub(r"[-_.]+", "-", name.partition("==")[0]).lower() + "==" + name.partition("==")[2] for name in names}


def test_help_names_the_commands(image: Image) -> None:
    done = image.run(GATEWAY, "--help")

    assert done.returncode == 0
    assert {b"serve", b"dev", b"simulator", b"schema", b"settings", b"healthcheck"} <= set(done.stdout.split())


def test_schema_is_the_repositorys(image: Image) -> None:
    done = image.run(GATEWAY, "schema")

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == (ROOT / "schema.graphql").read_bytes()


def test_serve_without_credentials_says_what_to_set(image: Image) -> None:
    done = image.run(GATEWAY, "serve")

    assert done.returncode == 1
    assert b"Set LEYR_CLIENT_ID and LEYR_CLIENT_SECRET" in done.stderr
    assert b"Traceback" not in done.stderr


def test_the_image_serves_is_healthy_and_stops(image: Image, simulator: Simulator) -> None:
    runtime = image.stages["runtime"]
    start = [*runtime.exec_form("ENTRYPOINT"), *runtime.exec_form("CMD")]
    credentials = {"LEYR_CLIENT_ID": CLIENT_ID, "LEYR_CLIENT_SECRET": CLIENT_SECRET}
    at_once = {"GATEWAY_DRAIN_SECONDS": "0"}
    host = {"GATEWAY_HOST": runtime.environment()["GATEWAY_HOST"], "GATEWAY_ALLOW_ANONYMOUS": "yes"}

    with started(image, *start, LEYR_BASE_URL=f"{simulator.url}/api", **credentials, **host, **at_once) as process:
        answer = process.gateway.data(CARE_UNITS)
        healthy = image.run(*runtime.exec_form("HEALTHCHECK"), GATEWAY_PORT=process.port)
        written = process.stop()
        ill = image.run(*runtime.exec_form("HEALTHCHECK"), GATEWAY_PORT=process.port)

    ids = {each["leyrId"] for each in answer["careUnits"]}
    assert ids == {each["id"] for each in simulator.rest("/emrs/webdoc/care-units")}
    assert (healthy.returncode, ill.returncode) == (0, 1)
    assert process.running.returncode == 0
    assert "Traceback" not in written
    assert CLIENT_SECRET not in written


def test_dev_serves_simulated_data_and_stops(image: Image) -> None:
    with started(image, GATEWAY, "dev", "--simulator-port", "0") as process:
        answer = process.gateway.data(CARE_UNITS)
        page = process.gateway.http.get("/graphql", headers={"accept": "text/html"})
        assets = [process.gateway.http.get(link) for link in re.findall(r'"(/graphql/assets/[^"]+)"', page.text)]
        written = process.stop()

    assert answer["careUnits"]
    assert "GraphiQL" in page.text
    assert {asset.status_code for asset in assets} <= {200}
    assert process.running.returncode == 0
    assert "SIMULATED DATA" in written
    assert "Traceback" not in written
