"""The log's stream: whoever reads it, or does not, no line is waited for."""

import os
import pty
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from queue import Queue
from typing import TextIO

import pytest

from gateway.log_stream import LogStream

LINES = [f"{number:0999}\n" for number in range(500)]
ROOM = 100 * 1000
Ends = tuple[int, TextIO]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as found:
        yield found


def pipe() -> tuple[int, int]:
    return os.pipe()


def connected() -> tuple[int, int]:
    reader, writer = socket.socketpair()
    return reader.detach(), writer.detach()


def opened(make: Callable[[], tuple[int, int]], stack: ExitStack) -> Ends:
    reader, writer = make()
    stack.callback(os.close, reader)
    return reader, stack.enter_context(os.fdopen(writer, "w", encoding="utf-8"))


def read(reader: int, lines: int) -> list[str]:
    """Read until so many lines are there."""
    found = b""
    while found.count(b"\n") < lines:
        found += os.read(reader, 65_536)
    return found.decode().replace("\r\n", "\n").splitlines(keepends=True)


@pytest.mark.parametrize("make", [pipe, connected])
def test_a_reader_that_stalls_is_not_waited_for_and_what_is_lost_is_counted_and_said(
    make: Callable[[], tuple[int, int]], stack: ExitStack
) -> None:
    reader, to = opened(make, stack)
    stream, told = LogStream(to, ROOM), Queue[int]()
    stream.on_lost = told.put

    for line in LINES:
        stream.write(line)
    stream.close(0)
    kept = len(LINES) - stream.lost
    found = read(reader, kept)

    assert 0 < stream.lost < len(LINES)
    assert found == LINES[:kept], "in order, each whole"
    assert told.get(timeout=30) == stream.lost


@pytest.mark.parametrize("make", [pipe, connected, pty.openpty])
def test_lines_arrive_in_order(make: Callable[[], tuple[int, int]], stack: ExitStack) -> None:
    reader, to = opened(make, stack)
    stream = LogStream(to)

    for line in LINES:
        stream.write(line)

    assert read(reader, len(LINES)) == LINES
    assert stream.lost == 0


def test_a_file_has_every_line_at_once(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w", encoding="utf-8") as to:
        stream = LogStream(to, max_bytes=0)
        for line in (*LINES, "å \ud800\n"):
            stream.write(line)

        assert (tmp_path / "log").read_text(encoding="utf-8") == "".join(LINES) + "å \\ud800\n"


def test_a_reader_that_has_gone_is_no_error(stack: ExitStack) -> None:
    reader, writer = os.pipe()
    to = stack.enter_context(os.fdopen(writer, "w", encoding="utf-8"))
    stream = LogStream(to)
    os.close(reader)

    for line in LINES:
        stream.write(line)
    stream.close()

    assert stream.lost == 0


def test_the_pipe_itself_stays_as_it_was(stack: ExitStack) -> None:
    _, to = opened(pipe, stack)

    LogStream(to).write("x\n")

    assert os.get_blocking(to.fileno()), "other processes share it"


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_fork_writes_its_own_lines_and_none_that_wait_in_its_parent(stack: ExitStack) -> None:
    reader, to = opened(pipe, stack)
    stream = LogStream(to)
    for line in LINES:
        stream.write(line)

    child = os.fork()
    if not child:
        stream.begin_in_fork(worker=2)
        stream.write("of the child\n")
        stream.close(30)
        os._exit(stream.lost)
    found = read(reader, len(LINES) + 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [each for each in found if each != "of the child\n"] == LINES
    assert stream.process == {}
