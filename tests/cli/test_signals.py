"""Signals to a gateway that serves: the files are read again, and none of them kills it silently."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
    keys.write_text(f"deep = {'[' * 5_000}")
    serving.process.send_signal(signal.SIGHUP)
    serving.url('("gateway.reload_failed","reason":"GATEWAY_API_KEYS: the file is not TOML)')
    keys.write_text(table("second", "k2"))

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


OWN = {"k1": "webdoc", "k2": "kaddio"}
ASKS = """query Asks($own: String, $other: String) {
  emrs { code }
  careUnits(emr: $own) { emr { code } timeslots(first: 1) { start } }
  other: careUnits(emr: $other) { name }
}"""


def write_anew(keys: Path, profiles: Path, number: int) -> None:
    """Write another caller beside those that ask, other rates for these, another name for an EHR."""
    tables = [
        f'{table(f"caller-{key}", key)}emrs = ["{emr}"]\nrate_per_second = {10_000 + number}\nburst = 10000\n'
        "calls_per_minute = 1000000\n"
        for key, emr in OWN.items()
    ]
    tables.append(table(f"other{number}", f"other{number}"))
    for path, text in ((keys, "".join(tables)), (profiles, f'[webdoc]\nname = "Number {number}"\n')):
        new = path.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        new.replace(path)


def ask_until(is_over: threading.Event, answered: threading.Semaphore, url: str, key: str) -> None:
    """Ask as a caller, whose every answer must show what it may see and nothing else."""
    other = next(emr for emr in OWN.values() if emr != OWN[key])
    body = {"query": ASKS, "variables": {"own": OWN[key], "other": other}}
    with httpx.Client(headers={"x-api-key": key}, timeout=60) as client:
        while not is_over.is_set():
            response = client.post(f"{url}/graphql", json=body)
            assert response.status_code == 200, response.text
            data, errors = response.json()["data"], response.json()["errors"]
            assert data["emrs"] == [{"code": OWN[key]}]
            assert {unit["emr"]["code"] for unit in data["careUnits"]} == {OWN[key]}
            assert None not in [unit["timeslots"] for unit in data["careUnits"]]
            assert data["other"] is None
            assert [error["extensions"]["code"] for error in errors] == ["FORBIDDEN"]
            answered.release()


def test_reloads_under_load_fail_no_request_and_keep_rights(
    simulator: Simulator, run: Callable[..., Running], tmp_path: Path
) -> None:
    keys, profiles = tmp_path / "keys", tmp_path / "profiles"
    write_anew(keys, profiles, 0)
    serving = run(
        "serve", "--port", "0", LEYR_BASE_URL=f"{simulator.url}/api", LEYR_EMRS="webdoc,kaddio",
        GATEWAY_AUTH="api-keys", GATEWAY_API_KEYS=str(keys), LEYR_PROFILES=str(profiles), **CREDENTIALS, **AT_ONCE,
    )  # fmt: skip
    url, is_over, answered = serving.url(LISTENING), threading.Event(), threading.Semaphore(0)

    assert serving.process.stdout is not None
    with ThreadPoolExecutor() as pool:
        asking = [pool.submit(ask_until, is_over, answered, url, key) for key in OWN for _ in range(2)]
        try:
            for number in range(1, 21):
                for _ in asking:
                    answered.acquire(timeout=30)
                write_anew(keys, profiles, number)
                serving.process.send_signal(signal.SIGHUP)
                event = next(line for line in serving.process.stdout if '"gateway.reload' in line)
                assert '"gateway.reloaded"' in event
        finally:
            is_over.set()

    for each in asking:
        each.result()
    # The last files count.
    last, before = (
        httpx.post(f"{url}/graphql", json={"query": "{ emrs { name } }"}, headers={"x-api-key": f"other{number}"})
        for number in (20, 19)
    )
    assert last.json()["data"]["emrs"][0] == {"name": "Number 20"}
    assert before.status_code == 401
    assert serving.stop() == 0


def test_other_signals_do_not_kill_silently(simulator: Simulator, run: Callable[..., Running]) -> None:
    serving = run("serve", "--port", "0", LEYR_BASE_URL=f"{simulator.url}/api", **CREDENTIALS, **AT_ONCE)
    url = serving.url(LISTENING)

    for number in (signal.SIGUSR1, signal.SIGUSR2):
        serving.process.send_signal(number)
        assert serving.url(f'"gateway.signal_ignored","signal":"({number.name})"') == number.name
    assert httpx.get(f"{url}/livez").status_code == 200
    serving.process.send_signal(signal.SIGQUIT)
    while serving.process.poll() is None:
        serving.process.send_signal(signal.SIGHUP)
        time.sleep(0.002)
    rest, _ = serving.process.communicate()
    assert serving.process.returncode == 0, "the stop is a success whatever comes meanwhile"
    assert '"gateway.stopping"' in rest
