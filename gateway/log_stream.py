"""A stream of lines that never waits for whoever reads it: what a reader leaves is kept up to a size, then lost."""

import os
import socket
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from select import select
from stat import S_ISFIFO, S_ISREG, S_ISSOCK
from threading import Condition, Thread
from typing import TextIO

_MAX_BYTES = 4 * 1024 * 1024


class LogStream:
    """Writes lines to the descriptor of a stream, each in one piece so that several processes can share a pipe.

    A line that would have to wait goes to a thread, which the first of them starts: a thread from before a fork would
    be in the parent alone. `lost` counts the lines for which there was no room, and `on_lost` is told of them by that
    thread as soon as half of the room is free again. `process` is what each line says of the process that wrote it,
    where several share a log.
    """

    line_buffering = True

    def __init__(self, to: TextIO, max_bytes: int = _MAX_BYTES) -> None:
        self.lost = 0
        self.on_lost: Callable[[int], None] = lambda _: None
        self.process: dict[str, object] = {}
        self._descriptor = to.fileno()
        self._isatty = to.isatty()
        self._encoding = to.encoding or "utf-8"
        self._max_bytes = max_bytes
        self._changed = Condition()
        # The first of them is being written.
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = self._untold = 0
        self._thread_of: int | None = None
        self._write_at_once = _writer_at_once(self._descriptor)

    def begin_in_fork(self, **process: object) -> None:
        """Begin anew in a process that was forked: what waits, and is lost, is the parent's, and so is its thread."""
        self.process.update(process)
        self._changed = Condition()
        self._waiting.clear()
        self.lost = self._waiting_bytes = self._untold = 0

    def isatty(self) -> bool:
        """Whether a person looks on."""
        return self._isatty

    def flush(self) -> None:
        """Do nothing: every line is on its way."""

    def write(self, line: str) -> int:
        """Write a line, or keep it for the thread, or count it as lost."""
        data = line.encode(self._encoding, "backslashreplace")
        with self._changed:
            rest = data if self._waiting else data[self._write_at_once(data) :]
            # The rest of a line that was begun is kept in any case.
            if len(rest) == len(data) and self._waiting_bytes + len(data) > self._max_bytes:
                self.lost += 1
                self._untold += 1
            elif rest:
                self._waiting.append(rest)
                self._waiting_bytes += len(rest)
                self._start_thread()
                self._changed.notify_all()
        return len(line)

    def close(self, seconds: float = 1) -> None:
        """Wait until every line is written, but no longer than this."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting, seconds)

    def _start_thread(self) -> None:
        if self._thread_of != os.getpid():
            self._thread_of = os.getpid()
            # Nobody waits for its end: a reader that stalls must not stop the stop either.
            Thread(target=self._write_waiting, name="log", daemon=True).start()

    def _write_waiting(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                data = self._waiting[0]
            self._write_all(data)
            with self._changed:
                self._waiting.popleft()
                self._waiting_bytes -= len(data)
                lost = self._untold if self._waiting_bytes <= self._max_bytes // 2 else 0
                self._untold -= lost
                self._changed.notify_all()
            if lost:
                self.on_lost(lost)

    def _write_all(self, data: bytes) -> None:
        # A broken pipe or a full disk: there is nowhere to log it, and requests go on.
        with suppress(OSError):
            while data:
                try:
                    data = data[os.write(self._descriptor, data) :]
                except BlockingIOError:
                    select((), (self._descriptor,), ())


def _writer_at_once(descriptor: int) -> Callable[[bytes], int]:
    """Make a function that writes what can be written without waiting, and says how many bytes that was.

    The descriptor itself is not made non-blocking, since other processes may have the same open file.
    """
    write: Callable[[bytes], int] = lambda _: 0  # noqa: E731 # one of four
    kind = os.fstat(descriptor).st_mode
    if S_ISREG(kind):
        write = lambda data: os.write(descriptor, data)  # noqa: E731 # one of four
    elif S_ISSOCK(kind) and sys.platform != "win32":
        connection = socket.socket(fileno=os.dup(descriptor))
        write = lambda data: connection.send(data, socket.MSG_DONTWAIT)  # noqa: E731 # one of four
    elif S_ISFIFO(kind) and sys.platform == "linux":
        # Opened anew it is an open file of our own; where that is forbidden, as for another user's, the thread writes.
        with suppress(OSError):
            own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            write = lambda data: os.write(own, data)  # noqa: E731 # one of four

    def attempt(data: bytes) -> int:
        try:
            return write(data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)

    return attempt
