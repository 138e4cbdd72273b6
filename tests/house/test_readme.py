"""The README is true: its answer, its commands, its tables."""

import json
import os
import re
import shlex
import signal
import subprocess
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path

import httpx
import pytest

from gateway.app import create_app
from gateway.auth.api_keys import ApiKeyVerifier, read_api_keys
from gateway.auth.caller import Rate
from gateway.domain.errors import GatewayError
from gateway.fetch.profiles import ProfileOverride
from gateway.server.serving import listening_socket, serve_in_thread
from gateway.settings import Settings, settings_table
from gateway.simulator import SimulatorSettings, create_simulator
from tests.harness import ERROR_BODY

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SERVE = "LEYR_CLIENT_ID=... LEYR_CLIENT_SECRET=... LEYR_EMRS=webdoc,takecare .venv/bin/gateway serve --port 8000"
DOCKER_RUN = (
    "docker run -p 8000:8000 -e LEYR_CLIENT_ID -e LEYR_CLIENT_SECRET -e LEYR_EMRS=webdoc "
    "-e GATEWAY_ALLOW_ANONYMOUS=yes leyr-graphql-gateway"
)
PLAN = next(line for line in README.splitlines() if ".venv/bin/gateway plan" in line)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def codes(kind: type[GatewayError]) -> set[str]:
    return {kind.code}.union(*(codes(each) for each in kind.__subclasses__()))


def test_the_query_gives_the_answer_that_is_shown() -> None:
    [query], [answer] = blocks("graphql"), blocks("json")
    simulated = SimulatorSettings(today=date(2026, 11, 23), latency_ms=0)
    settings = {"leyr_client_id": "simulator", "leyr_client_secret": "simulator", "leyr_emrs": simulated.emrs}

    with serve_in_thread(create_simulator(simulated), listening_socket("127.0.0.1", 0)) as leyr:
        app = create_app(
            Settings.model_validate({"leyr_base_url": f"{leyr}/api", **settings}),
            now=lambda: datetime(2026, 11, 23, 7, 0, tzinfo=UTC),
        )
        with serve_in_thread(app, listening_socket("127.0.0.1", 0), error_body=ERROR_BODY) as url:
            given = httpx.post(f"{url}/graphql", json={"query": query}, timeout=30).json()
        calls = httpx.get(f"{leyr}/__calls", timeout=30).json()

    shown = json.loads(answer)
    assert given["data"] == shown["data"]
    # The milliseconds are the machine's.
    seconds = [{name: text[:19] for name, text in each["extensions"]["gateway"].items()} for each in (given, shown)]
    assert seconds[0] == seconds[1]
    assert given.keys() == shown.keys()
    assert calls["total"] == 13


def test_make_run_answers_the_command_that_is_shown() -> None:
    command = next(line for block in blocks("sh") for line in block.splitlines() if line.startswith("curl"))
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LEYR_", "GATEWAY_", "MAKE"))}
    environment = {**clean, "GATEWAY_PORT": "0", "PYTHONUNBUFFERED": "1"}
    serving = subprocess.Popen(
        ["make", "run"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert serving.stdout is not None
        # Read until it says where it listens; it ends without a match where the command does.
        said = (re.search(r"GraphQL: +http://[^/]+:(\d+)/", line) for line in serving.stdout)
        port = next(found[1] for found in said if found)
        arguments = shlex.split(command.replace(":8000/", f":{port}/"))
        answered = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=True)
        units = json.loads(answered.stdout)["data"]["careUnits"]
    finally:
        os.killpg(serving.pid, signal.SIGINT)
        serving.communicate(timeout=60)

    assert len(units) == 4
    assert all(unit["timeslots"][0]["resource"]["name"] for unit in units)


def test_every_command_is_tried_somewhere() -> None:
    tried = {
        "make run": "above",
        "make test": "by .ci/run, which must pass",
        SERVE: "in tests/cli",
        "docker build -t leyr-graphql-gateway .": "not run: said so beside it; the stages are tried in tests/packaging",
        DOCKER_RUN: "as above",
        PLAN: "below",
    }
    commands = [line for block in blocks("sh") for line in block.splitlines() if not line.startswith("curl")]

    assert set(commands) == set(tried)
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_plan_command_prints_the_calls() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LEYR_", "GATEWAY_"))}

    shown = subprocess.run(
        ["sh", "-c", PLAN], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=True
    ).stdout

    assert "   1 x GET /emrs/webdoc/care-units\n" in shown
    assert shown.endswith("   9 calls\n")


def test_the_settings_table_is_the_printed_one() -> None:
    shown = re.search(r"<!-- settings:.*?-->\n(.*?)<!-- /settings -->", README, flags=re.DOTALL)

    assert shown is not None
    assert shown[1] == settings_table(), "paste what `gateway settings` prints"


def test_every_error_code_is_explained() -> None:
    explained = set(re.findall(r"`([A-Z_]{8,})`", README.split("## Errors")[1].split("## Limits")[0]))

    assert explained == codes(GatewayError)


def test_the_profile_example_is_taken() -> None:
    for table in tomllib.loads(blocks("toml")[0]).values():
        assert ProfileOverride.model_validate(table).model_fields_set == set(ProfileOverride.model_fields)


def test_the_example_of_callers_is_taken() -> None:
    text = blocks("toml")[1].replace("9f86d0...", "9f86d0" + 58 * "0")

    assert isinstance(read_api_keys(text, Rate(1, 1)), ApiKeyVerifier)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_links_lead_somewhere(target: str) -> None:
    assert (ROOT / target).exists()
