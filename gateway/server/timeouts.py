"""How long a connection is waited for: for what its client sends, and for its taking what it is sent."""

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from math import inf

if sys.platform == "linux":
    import socket
    import struct
    import termios
    from fcntl import ioctl

_LOOKS = 20


class IdleTimer:
    """A connection's timer, which is moved by a note.

    Each request moves it, and arming and cancelling a timer of the event loop each time would cost more than all
    else that is done to guard a connection. The loop's timer goes off at the earliest time that was ever noted, and
    looks then what is waited for by now.
    """

    __slots__ = ("_armed_for", "_due", "_loop", "_then", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due = inf
        self._armed_for = inf
        self._then: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def wait(self, seconds: float, then: Callable[[], None]) -> None:
        """Call `then` in so many seconds, instead of what was waited for until now."""
        self._then = then
        self._due = self._loop.time() + seconds
        if self._due < self._armed_for:
            self._arm()

    def end(self) -> None:
        """Wait for nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._then = self._timer = None
        self._due = self._armed_for = inf

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed_for = self._due
        self._timer = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        if self._loop.time() < self._due:
            self._arm()
            return
        then = self._then
        self.end()
        if then is not None:
            then()


class WriteTimeout:
    """Drops a connection whose client takes nothing of what is written to it for so many seconds.

    However slowly a client takes, it is not dropped as long as it takes something between two looks.
    """

    __slots__ = ("_idle_looks", "_left", "_seconds", "_timer", "_transport", "_watching")

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, seconds: float) -> None:
        self._transport = transport
        self._seconds = seconds
        self._timer = IdleTimer(loop)
        self._watching = False
        self._left: float = inf
        self._idle_looks = 0

    def watch(self) -> None:
        """Look from now on, until all that is written is taken."""
        if not self._watching:
            self._watching = True
            self._left = _untaken(self._transport)
            self._idle_looks = 0
            self._timer.wait(self._seconds / _LOOKS, self._look)

    def is_all_taken(self) -> bool:
        """Did the client's machine take all that is written?"""
        return not _untaken(self._transport)

    def moved(self) -> None:
        """The client took something."""
        self._left = inf

    def end(self) -> None:
        """Look no more."""
        self._timer.end()

    def _look(self) -> None:
        left = _untaken(self._transport)
        if not left:
            self._watching = False
            return
        self._idle_looks = 0 if left < self._left else self._idle_looks + 1
        self._left = left
        if self._idle_looks < _LOOKS:
            self._timer.wait(self._seconds / _LOOKS, self._look)
        else:
            _drop(self._transport)


def _untaken(transport: asyncio.Transport) -> int:
    """The bytes that the client's machine has not acknowledged.

    The kernel asks for more only when a good part of its own buffer is free, megabytes where there is memory, so the
    transport's buffer alone may stand still for long though a slow client reads.
    """
    waiting = transport.get_write_buffer_size()
    if sys.platform == "linux":
        try:
            # tcp(7): SIOCOUTQ, which has the number of the terminals' request.
            held = ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
        except OSError:
            pass  # closed meanwhile
        else:
            waiting += int.from_bytes(held, sys.byteorder)
    return waiting


def has_unread(transport: asyncio.Transport) -> bool:
    """Did bytes come that were not read yet? False where the system does not tell."""
    if sys.platform == "linux":
        # It may have been closed meanwhile.
        with suppress(OSError):
            # tcp(7): SIOCINQ, which has the number of the terminals' request too.
            came = ioctl(transport.get_extra_info("socket").fileno(), termios.FIONREAD, b"\0\0\0\0")
            return any(came)
    return False


def _drop(transport: asyncio.Transport) -> None:
    if sys.platform == "linux":
        # The kernel would keep what it holds for as long as the client's machine says that it is alive; and where the
        # socket is closed already, it holds nothing.
        with suppress(OSError), socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
