"""Servers as processes: started on a processor of their own, measured with their children, and ended by their id."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PROC = Path("/proc")
_URL = re.compile(rb"http://127\.0\.0\.1:\d+")
_START_SECONDS, _STOP_SECONDS = 60, 30
_FORGET_PEAK = "5"
"""What `clear_refs` takes to let the peak of memory begin anew (man 5 proc)."""


class StartError(Exception):
    """A server did not come up; the message ends with what it said."""


class Server:
    """A running server and what it takes."""

    def __init__(self, pid: int, url: str) -> None:
        self.pid = pid
        self.url = url

    def cpu_seconds(self) -> float:
        """Processor time of it and its children so far, the kernel's part included."""
        return sum(_cpu_ticks(pid) for pid in _tree(self.pid)) / os.sysconf("SC_CLK_TCK")

    def peak_bytes(self) -> int:
        """The most memory it and its children have held since `forget_peak`."""
        return sum(_peak_kib(pid) for pid in _tree(self.pid)) * 1024

    def forget_peak(self) -> None:
        """Let the peak begin anew."""
        for pid in _tree(self.pid):
            (PROC / str(pid) / "clear_refs").write_text(_FORGET_PEAK, encoding="ascii")


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, processor: int | None
) -> Iterator[Server]:
    """Run a server that prints its URL; what it says goes into a file that only a failure shows. Raises StartError."""
    with tempfile.TemporaryFile() as said:
        # A session of its own, so that Ctrl-C reaches the runner alone and what it stops stops in order.
        process = subprocess.Popen(
            command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            start_new_session=True,
        )  # fmt: skip
        try:
            pin(process.pid, processor)
            yield Server(process.pid, _await_url(process, said))
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await_url(process: subprocess.Popen[bytes], said: IO[bytes]) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        # Not by `read`: parent and child share the file's position.
        text = os.pread(said.fileno(), 2**16, 0)
        if found := _URL.search(text):
            return found[0].decode()
        if process.poll() is not None:
            break
        time.sleep(0.02)
    text = os.pread(said.fileno(), 2**16, 0)
    raise StartError(f"a server did not start: {text[-500:].decode(errors='replace')}")


def processors() -> tuple[int, int] | None:
    """One processor for the contender and another for everything else, where there are two to choose from."""
    if sys.platform == "linux":
        ours = sorted(os.sched_getaffinity(0))
        if len(ours) > 1:
            return ours[0], ours[1]
    return None


def pin(pid: int, processor: int | None) -> None:
    """Keep a process on a processor; with None it may go where it likes."""
    if sys.platform == "linux" and processor is not None:
        os.sched_setaffinity(pid, {processor})


@contextmanager
def pinned(processor: int | None) -> Iterator[None]:
    """Keep this thread on a processor while the block runs."""
    before = os.sched_getaffinity(0) if sys.platform == "linux" else None
    pin(0, processor)
    try:
        yield
    finally:
        if sys.platform == "linux" and before is not None:
            os.sched_setaffinity(0, before)


def _tree(root: int) -> list[int]:
    pids = [root]
    for pid in pids:
        for children in (PROC / str(pid) / "task").glob("*/children"):
            pids += [int(child) for child in children.read_text(encoding="ascii").split()]
    return pids


def _cpu_ticks(pid: int) -> int:
    # After the name, which may hold anything: utime, stime, and both of children that have ended, as 12th to 15th.
    fields = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15])


def _peak_kib(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", (PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace"))
    return int(found[1]) if found else 0
