"""Every snippet and command of the README and the pages beside it does what they say."""

import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from graphql import build_schema, parse, validate

from gateway.app import create_app
from gateway.auth.api_keys import ApiKeyVerifier, read_api_keys
from gateway.auth.caller import Rate
from gateway.fetch.profiles import ProfileOverride
from gateway.http.persisted_documents import read_manifest
from gateway.server.serving import listening_socket, serve_in_thread
from gateway.settings import Settings
from gateway.simulator import SimulatorSettings, create_simulator
from tests.audit.npm import install
from tests.e2e.requirement import need_node
from tests.harness import ERROR_BODY, leyr_settings
from tests.house.pages import BLOCKS, README, ROOT, Block, blocks
from tests.processes import ENVIRONMENT, PythonProcess

SCHEMA = build_schema((ROOT / "schema.graphql").read_text(encoding="utf-8"))
CLIENTS = ROOT / "tests" / "client_caches"
URL = "http://127.0.0.1:8000"
# When the answers that are shown were given.
NOW = datetime(2026, 11, 23, 7, 0, tzinfo=UTC)
CLINIC = "Ängby läkargrupp"
MANIFEST = "persisted-documents.json"
# What a day, a machine and earlier requests decide.
CHANGING = {"timeslotsAsOf", "catalogAsOf", "ageSeconds", "reference", "fetched", "cached", "reads"}
COMMANDS = [(block, line) for block in blocks("sh") for line in block.text.splitlines()]


@pytest.fixture(scope="module")
def leyr() -> Iterator[str]:
    simulated = SimulatorSettings(today=date(2026, 11, 23), latency_ms=0)
    with serve_in_thread(create_simulator(simulated, now=NOW.timestamp), listening_socket("127.0.0.1", 0)) as url:
        yield url


@contextmanager
def serving(leyr: str, **settings: Any) -> Iterator[str]:
    given = {**leyr_settings(leyr, SimulatorSettings(today=NOW.date()).emrs), **settings}
    given |= {"leyr_client_id": "simulator", "leyr_client_secret": "simulator"}
    app = create_app(Settings.model_validate(given), now=lambda: NOW)
    with serve_in_thread(app, listening_socket("127.0.0.1", 0), error_body=ERROR_BODY) as url:
        yield url


@pytest.fixture(scope="module")
def url(leyr: str) -> Iterator[str]:
    with serving(leyr) as url:
        yield url


def shell(command: str) -> str:
    """What a command prints, with the `python` of the tests in front of `.venv`'s."""
    done = subprocess.run(
        ["sh", "-c", command.replace(".venv/bin/gateway", f"{shlex.quote(sys.executable)} -m gateway")],
        cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_shown(shown: Any, given: Any, *, exactly: bool = True) -> None:
    """Compare what is shown with what was given, which may have longer lists; what changes must be of the same type."""
    if isinstance(shown, dict):
        assert shown.keys() == given.keys()
        for name, value in shown.items():
            assert_shown(value, given[name], exactly=exactly and name not in CHANGING)
    elif isinstance(shown, list):
        assert 0 < len(shown) <= len(given)
        for value, other in zip(shown, given, strict=False):
            assert_shown(value, other, exactly=exactly)
    else:
        assert shown == given if exactly else type(shown) is type(given)


def shown_answer(block: Block) -> Any:
    """The answer that stands right after a block, or after the command that follows it; None where there is none."""
    after = BLOCKS[BLOCKS.index(block) + 1 :]
    following = [each for each in after[:2] if each.page == block.page]
    if following and following[0].language == "sh" and block.language == "graphql":
        following = following[1:]
    is_shown = following and (following[0].language, following[0].name) == ("json", "")
    return json.loads(following[0].text) if is_shown else None


def assert_answered(block: Block, answer: Any) -> None:
    shown = shown_answer(block)
    if shown is None:
        assert "errors" not in answer
    else:
        assert_shown(shown, answer)


@pytest.mark.parametrize("block", blocks("graphql"), ids=str)
def test_a_query_is_valid_and_gives_the_answer_that_is_shown(block: Block, url: str) -> None:
    assert validate(SCHEMA, parse(block.text)) == []

    assert_answered(block, httpx.post(f"{url}/graphql", json={"query": block.text}, timeout=30).json())


def test_every_answer_belongs_to_a_query_or_a_command() -> None:
    shown = [shown_answer(block) for block in BLOCKS if block.language in {"graphql", "sh"}]

    assert all(json.loads(block.text) in shown for block in blocks("json"))


def test_the_readmes_query_takes_the_calls_that_are_named(leyr: str) -> None:
    (query,) = (block for block in blocks("graphql") if block.page == README)
    with serving(leyr) as url:
        httpx.post(f"{leyr}/__reset").raise_for_status()
        for _ in range(2):
            httpx.post(f"{url}/graphql", json={"query": query.text}, timeout=30).raise_for_status()

    assert "It takes 13 calls in two round trips" in README.read_text(encoding="utf-8")
    assert httpx.get(f"{leyr}/__calls", timeout=30).json()["total"] == 13


def try_curl(line: str, url: str, block: Block, _: Path) -> None:
    assert URL in line
    assert_answered(block, json.loads(shell(line.replace(URL, url))))


def try_gateway(line: str, _: str, __: Block, folder: Path) -> None:
    """Start a command that serves, on ports that are free, until it says where; then stop it."""
    words = shlex.split(line)
    variables = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
    _program, *arguments = words[len(variables) :]
    arguments = ["0" if before == "--port" else word for before, word in zip(["", *arguments], arguments, strict=False)]
    variables = {name: "0" if name.endswith("_PORT") else value for name, value in variables.items()}
    free = {"GATEWAY_PORT": "0", "GATEWAY_DRAIN_SECONDS": "0"} if "serve" in arguments else {}

    with PythonProcess(folder / "output", "-m", "gateway", *arguments, **free, **variables) as process:
        where = process.printed(r'(?:"gateway.serving","url":"|Listening on )(http://[\d.:]+)')
        assert httpx.get(f"{where}/livez" if free else f"{where}/__calls", timeout=20).status_code == 200
        assert process.stop() == 0


def try_plan(line: str, _: str, __: Block, ___: Path) -> None:
    printed = shell(line)

    assert "   1 x GET /emrs/webdoc/care-units\n" in printed
    assert printed.endswith("   9 calls\n")


def try_key(line: str, _: str, __: Block, ___: Path) -> None:
    key, digest = re.fullmatch(r"key: ([0-9a-f]{64})\n([0-9a-f]{64})  -\n", shell(line)).groups()  # type: ignore[union-attr] # fails the test

    assert hashlib.sha256(key.encode()).hexdigest() == digest
    assert isinstance(read_api_keys(f'[caller]\nkey_sha256 = ["{digest}"]\n', Rate(1, 1)), ApiKeyVerifier)


def try_docker(line: str, _: str, __: Block, ___: Path) -> None:
    """Not run, as the page says; tests/packaging runs what the stages do."""
    settings = {name.upper() for name in Settings.model_fields}

    assert {name.partition("=")[0] for name in re.findall(r"-e (\S+)", line)} <= settings
    assert "leyr-graphql-gateway" in line.split()


def try_manifests(line: str, _: str, __: Block, ___: Path) -> None:
    """Not run, as the page says; test_several_processes.py looks into the files."""
    assert all((ROOT / each).is_file() for each in re.findall(r"-f (\S+)", line))


def try_make(line: str, _: str, __: Block, ___: Path) -> None:
    """`make run` has a test below, `make sbom` has some in tests/packaging, and `make test` is what .ci/run does."""
    target = line.removeprefix("make ")

    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert target in {"run", "sbom"} or line in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


TRIES: dict[str, Callable[[str, str, Block, Path], None]] = {
    r"curl ": try_curl,
    r"([A-Z_]+=\S+ )*\.venv/bin/gateway (serve|simulator)\b": try_gateway,
    r"echo .* \| \.venv/bin/gateway plan ": try_plan,
    r"KEY=": try_key,
    r"docker (build|run) ": try_docker,
    r"(docker compose|kubectl apply) ": try_manifests,
    r"make ": try_make,
}


@pytest.mark.parametrize(("block", "line"), COMMANDS, ids=str)
def test_a_command_does_what_is_said(block: Block, line: str, url: str, tmp_path: Path) -> None:
    (attempt,) = (attempt for pattern, attempt in TRIES.items() if re.match(pattern, line))

    attempt(line, url, block, tmp_path)


def test_make_run_answers_the_readmes_command() -> None:
    command = next(line for block, line in COMMANDS if block.page == README and line.startswith("curl"))
    environment = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("MAKE")}
    run = subprocess.Popen(
        ["make", "run"], cwd=ROOT, env={**environment, "GATEWAY_PORT": "0", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert run.stdout is not None
        # Read until it says where it listens; it ends without a match where the command does.
        said = (re.search(r"GraphQL: +(http://[^/]+)/", line) for line in run.stdout)
        units = json.loads(shell(command.replace(URL, next(found[1] for found in said if found))))["data"]["careUnits"]
    finally:
        os.killpg(run.pid, signal.SIGINT)
        run.communicate(timeout=60)

    assert len(units) == 4
    assert all(unit["timeslots"][0]["resource"]["name"] for unit in units)


@pytest.mark.parametrize("block", blocks("js"), ids=str)
def test_a_snippet_for_javascript_prints_the_clinics(block: Block, url: str) -> None:
    need_node()
    install(CLIENTS)

    done = subprocess.run(
        ["node", "--input-type=module", "-"], cwd=CLIENTS, input=block.text.replace(URL, url),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    assert CLINIC in done.stdout


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_a_snippet_for_python_prints_the_clinics(block: Block, url: str) -> None:
    assert CLINIC in shell(f"{shlex.quote(sys.executable)} -c {shlex.quote(block.text.replace(URL, url))}")


def test_the_file_of_profiles_is_taken_and_names_every_key() -> None:
    (block,) = blocks("toml", "profiles.toml")

    for table in tomllib.loads(block.text).values():
        assert ProfileOverride.model_validate(table).model_fields_set == set(ProfileOverride.model_fields)


def test_the_file_of_keys_is_taken() -> None:
    (block,) = blocks("toml", "keys.toml")

    assert isinstance(read_api_keys(block.text.replace("9f86d0...", "9f86d0" + 58 * "0"), Rate(1, 1)), ApiKeyVerifier)


def test_a_trusted_document_is_asked_for_by_its_hash(leyr: str, tmp_path: Path) -> None:
    (manifest,), (request,) = blocks("json", MANIFEST), blocks("json", "request")
    (tmp_path / MANIFEST).write_text(manifest.text, encoding="utf-8")

    with serving(leyr, gateway_documents=tmp_path / MANIFEST, gateway_documents_only=True) as url:
        answer = httpx.post(f"{url}/graphql", json=json.loads(request.text), timeout=30).json()

    for name, document in read_manifest(manifest.text.encode()).items():
        assert hashlib.sha256(document.encode()).hexdigest() == name
    assert answer["data"]["careUnits"][0]["name"] == CLINIC


def test_the_configuration_of_codegen_is_the_one_that_is_tried() -> None:
    (block,) = blocks("ts", "codegen.ts")
    tried = (ROOT / "tests" / "codegen" / "codegen.ts").read_text(encoding="utf-8")

    assert block.text.replace(f'"{URL}/schema.graphql"', 'process.env.SCHEMA ?? "../../schema.graphql"') == tried


def test_no_block_is_of_a_kind_that_nothing_tries() -> None:
    tried = {("graphql", ""), ("json", ""), ("sh", ""), ("js", ""), ("python", ""), ("ts", "codegen.ts")}
    tried |= {("toml", "profiles.toml"), ("toml", "keys.toml"), ("json", MANIFEST), ("json", "request")}
    # By the tests of the page about booking.
    tried |= {("graphql", "booking"), ("yaml", "alerts")}
    # By the tests of the page about several processes.
    tried |= {("text", "users.acl")}

    assert {(block.language, block.name) for block in BLOCKS} == tried
