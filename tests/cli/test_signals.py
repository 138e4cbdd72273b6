"""Signals to a gateway that serves: the files are read again, and none of them kills it silently."""

import json
import signal
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from tests.cli.test_commands import AT_ONCE, CREDENTIALS, LISTENING, Running
from tests.harness import Simulator


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


def table(name: str, key: str) -> str:
    return f'[{name}]\nkey_sha256 = "{sha256(key.encode()).hexdigest()}"\n'


def test_sighup_reads_all_files_again_or_none(
    simulator: Simulator, run: Callable[..., Running], tmp_path: Path
) -> None:
    keys, documents, profiles = (tmp_path / name for name in ("keys", "documents", "profiles"))
    keys.write_text(table("first", "k1"))
    documents.write_text(json.dumps({"a": "{ emrs { code } }"}))
    profiles.write_text('[webdoc]\nname = "One"')
    serving = run(
        "serve", "--port", "0", LEYR_BASE_URL=f"{simulator.url}/api", GATEWAY_AUTH="api-keys",
        GATEWAY_API_KEYS=str(keys), GATEWAY_DOCUMENTS=str(documents), LEYR_PROFILES=str(profiles),
        **CREDENTIALS, **AT_ONCE,
    )  # fmt: skip
    url = serving.url(LISTENING)

    def status(key: str, document: str) -> int:
        return httpx.post(f"{url}/graphql", json={"documentId": document}, headers={"x-api-key": key}).status_code

    def names(document: str) -> str:
        return httpx.post(f"{url}/graphql", json={"documentId": document}, headers={"x-api-key": "k2"}).text

    keys.write_text(table("second", "k2"))
    documents.write_text(json.dumps({"b": "{ emrs { name } }"}))
    profiles.write_text("[webdoc")
    serving.process.send_signal(signal.SIGHUP)
    serving.url('("gateway.reload_failed","reason":"LEYR_PROFILES: )')
    assert (status("k1", "a"), status("k2", "a")) == (200, 401), "nothing has changed"

    profiles.write_text('[webdoc]\nname = "Two"')
    serving.process.send_signal(signal.SIGHUP)
    serving.url('("gateway.reloaded")')
    assert (status("k1", "a"), status("k2", "b"), status("k2", "b")) == (401, 200, 200)
    assert '"Two"' in names("b")
    assert "PERSISTED_QUERY_NOT_FOUND" in names("a"), "it is trusted no longer"

    documents.write_text(json.dumps({"c": "{ emrs { code } }"}))
    serving.process.send_signal(signal.SIGHUP)
    serving.url('("gateway.reloaded"(?s:.)*"gateway.reloaded")')
    assert "PERSISTED_QUERY_NOT_FOUND" in names("b"), "nor is its kept answer given"
    assert serving.stop() == 0


def test_other_signals_do_not_kill_silently(simulator: Simulator, run: Callable[..., Running]) -> None:
    serving = run("serve", "--port", "0", LEYR_BASE_URL=f"{simulator.url}/api", **CREDENTIALS, **AT_ONCE)
    url = serving.url(LISTENING)

    for number in (signal.SIGUSR1, signal.SIGUSR2):
        serving.process.send_signal(number)
        assert serving.url(f'"gateway.signal_ignored","signal":"({number.name})"') == number.name
    assert httpx.get(f"{url}/livez").status_code == 200
    assert serving.stop(signal.SIGQUIT) == 0
    assert '"gateway.stopping"' in serving.output
