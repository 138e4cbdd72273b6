"""What the allocator is told, and when a process begins anew for that."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.server.allocator import heap_variables, restart_with_kept_heap
from tests.processes import ENVIRONMENT, ROOT

SET = {"MALLOC_TRIM_THRESHOLD_": "67108864", "MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TOP_PAD_": "4194304"}
RESTARTED = """
import os, sys
from gateway.server.allocator import heap_variables, restart_with_kept_heap
told = os.environ.get("MALLOC_TRIM_THRESHOLD_"), os.environ.get("MALLOC_TOP_PAD_")
print(os.getpid(), sys.argv[1:], *told, flush=True)
restart_with_kept_heap(64, os.environ)
print("served")
"""


def run_python(*arguments: str, **told: str) -> "subprocess.CompletedProcess[str]":
    """Python whose allocator was told nothing else."""
    environment = {name: value for name, value in ENVIRONMENT.items() if name not in SET} | told
    command = [sys.executable, "-c", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_no_more_is_fetched_beside_what_is_needed_than_is_kept() -> None:
    assert heap_variables(64) == SET
    assert heap_variables(1) == dict.fromkeys(SET, "1048576")


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_a_process_begins_anew_once_with_its_arguments_and_what_others_have_set() -> None:
    ended = run_python(RESTARTED, "--port", "å", MALLOC_TOP_PAD_="5")

    assert ended.returncode == 0, ended.stderr
    first, second, end = ended.stdout.splitlines()
    assert end == "served"
    process = first.split()[0]
    assert first == f"{process} ['--port', 'å'] None 5"
    assert second == f"{process} ['--port', 'å'] 67108864 5"


LOST = """
import os, sys
from gateway.server.allocator import restart_with_kept_heap
begun = int(os.environ.get("BEGUN", "0")) + 1
print(begun, flush=True)
sys.executable = sys.argv[1]
if begun < 5:
    restart_with_kept_heap(64, {**os.environ, "BEGUN": str(begun)})
print("served")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_a_process_whose_loader_takes_the_variables_away_begins_anew_once(tmp_path: Path) -> None:
    # As recent versions of glibc do for an interpreter with capabilities of its own, such as to listen on port 443.
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nunset {" ".join(SET)}\nexec {sys.executable} "$@"\n', encoding="utf-8")
    python.chmod(0o700)

    assert run_python(LOST, str(python)).stdout.split() == ["1", "2", "served"]


@pytest.mark.parametrize(("kept_mb", "environment"), [(0, {}), (64, SET)])
def test_a_process_goes_on_where_there_is_nothing_to_tell(kept_mb: int, environment: dict[str, str]) -> None:
    before = os.getpid()

    restart_with_kept_heap(kept_mb, environment)

    assert os.getpid() == before


LARGE_LISTS = """
import sys
from pathlib import Path
from pathlib import Path

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

before = resident()
# One that has come and gone lets glibc put the next ones into its heap, unless it was told otherwise.
large = [b"x" * 4_000_000]
large.clear()
large = [b"x" * 4_000_000 for _ in range(60)]
stays = [b"y" * 4_000_000]
large.clear()
print(resident() - before)
"""


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="needs glibc")
@pytest.mark.parametrize("told", [True, False])
def test_memory_below_a_list_that_stays_is_given_back_where_glibc_was_told(told: bool) -> None:
    ended = run_python(LARGE_LISTS, **(SET if told else {}))

    assert ended.returncode == 0, ended.stderr
    assert (int(ended.stdout) <= 64 * 1024 * 1024) is told


@pytest.mark.parametrize("executable", ["/no/such/python", "", None])
def test_an_interpreter_that_may_not_be_begun_again_goes_on(
    monkeypatch: pytest.MonkeyPatch, executable: str | None
) -> None:
    monkeypatch.setattr(sys, "executable", executable)

    restart_with_kept_heap(64, {})


def test_an_environment_that_cannot_be_handed_on_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")

    restart_with_kept_heap(64, {"": "a variable without a name"})
