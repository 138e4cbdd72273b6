"""Commands of the gateway as processes, untouched by settings of the machine."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from gateway.cli import main
from gateway.server.allocator import heap_variables

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("LEYR_", "GATEWAY_"))},
    # So that no process begins anew to be told so.
    **heap_variables(64),
}
STARTS_WITHIN, STOPS_WITHIN = 60, 30
_A_MOMENT = 0.02


def run_python(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run Python to its end."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env={**ENVIRONMENT, **environment}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip


def run_gateway(*arguments: str, stdin: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of the gateway to its end, in a process that is forked from one that has imported the gateway.

    Importing takes most of a second. `PythonProcess` and others start `python -m gateway` itself.
    """
    forking = get_context("forkserver")
    forking.set_forkserver_preload(["gateway.cli"])
    with TemporaryDirectory() as folder:
        streams = [Path(folder, name) for name in ("stdin", "stdout", "stderr")]
        streams[0].write_text(stdin, encoding="utf-8")
        given = {**ENVIRONMENT, **environment}
        process = forking.Process(target=_command, args=(arguments, given, [str(each) for each in streams]))
        process.start()
        process.join(120)
        if process.is_alive():
            process.kill()
            process.join()
        _, stdout, stderr = (each.read_text(encoding="utf-8") for each in streams)
        status = process.exitcode
        process.close()
    assert status is not None
    return subprocess.CompletedProcess(arguments, status, stdout, stderr)


def _command(arguments: tuple[str, ...], environment: Mapping[str, str], streams: list[str]) -> None:
    """Be the command, in a process of its own."""
    for number, stream in enumerate(streams):
        opened = os.open(stream, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    sys.exit(main(arguments))


class PythonProcess:
    """Python that goes on until it is stopped; what it prints goes to a file, since a full pipe would stop it."""

    def __init__(self, output: Path, *arguments: str, **environment: str) -> None:
        self._output = output
        with output.open("wb") as to:
            self.process = subprocess.Popen(
                [sys.executable, "-u", *arguments], cwd=ROOT, env={**ENVIRONMENT, **environment},
                stdout=to, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def output(self) -> str:
        return self._output.read_text(encoding="utf-8")

    def printed(self, pattern: str) -> str:
        """The first group of a pattern, as soon as the output holds it."""
        until = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < until:
            if found := re.search(pattern, self.output):
                return found[1]
            assert self.process.poll() is None, self.output
            time.sleep(_A_MOMENT)
        raise AssertionError(self.output)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout=STOPS_WITHIN)


class Serving(PythonProcess):
    """`gateway serve`."""

    def url(self, event: str = "gateway.serving") -> str:
        return self.printed(rf'"event":"{event}","url":"(http://[^"]+)"')

    async def ended(self) -> int:
        """Its exit status."""
        return await asyncio.to_thread(self.process.wait, timeout=STOPS_WITHIN)

    def events(self, level: str | None = None) -> Counter[str]:
        """How many log events there were of each kind."""
        return Counter(line["event"] for line in self.lines() if level in (None, line["level"]))

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """The log's lines, of one event or of all."""
        lines: list[dict[str, Any]] = [json.loads(line) for line in self.output.splitlines()]
        return [line for line in lines if event in (None, line["event"])]
