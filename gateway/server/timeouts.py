"""Timers of a connection: for what its client sends, and for its client's acknowledging what it is sent."""

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

_CHECKS_PER_TIMEOUT = 20


class IdleTimer:
    """A connection's only timer; starting it again replaces its deadline and its callback.

    Each request restarts it, and arming and cancelling a timer of the event loop each time would cost more than all
    else that is done to guard a connection. So the loop's timer stays at the earliest deadline there was, and when it
    fires before the present deadline, it is armed again.
    """

    __slots__ = ("_armed_for", "_callback", "_deadline", "_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._deadline = inf
        self._armed_for = inf
        self._callback: Callable[[], None] | None = None
        self._handle: asyncio.TimerHandle | None = None

    def start(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call `callback` in so many seconds, and no callback that was given before."""
        self._callback = callback
        self._deadline = self._loop.time() + seconds
        if self._deadline < self._armed_for:
            self._arm()

    def cancel(self) -> None:
        """Call nothing any more."""
        if self._handle is not None:
            self._handle.cancel()
        self._callback = self._handle = None
        self._deadline = self._armed_for = inf

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._armed_for = self._deadline
        self._handle = self._loop.call_at(self._deadline, self._on_timer)

    def _on_timer(self) -> None:
        if self._loop.time() < self._deadline:
            self._arm()
            return
        callback = self._callback
        self.cancel()
        if callback is not None:
            callback()


class WriteTimeout:
    """Resets a connection whose client acknowledges nothing of what was written to it for so many seconds.

    However slowly a client reads, its connection stays as long as it acknowledges something between two checks.
    """

    __slots__ = ("_checks_without_progress", "_is_watching", "_seconds", "_timer", "_transport", "_unacknowledged")

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, seconds: float) -> None:
        self._transport = transport
        self._seconds = seconds
        self._timer = IdleTimer(loop)
        self._is_watching = False
        self._unacknowledged: float = inf
        self._checks_without_progress = 0

    def watch(self) -> None:
        """Check from now on, until all that is written is acknowledged."""
        if not self._is_watching:
            self._is_watching = True
            self._unacknowledged = _unacknowledged_bytes(self._transport)
            self._checks_without_progress = 0
            self._timer.start(self._seconds / _CHECKS_PER_TIMEOUT, self._check)

    def is_all_acknowledged(self) -> bool:
        """Did the client's machine acknowledge all that was written?"""
        return not _unacknowledged_bytes(self._transport)

    def record_progress(self) -> None:
        """Count whatever the next check finds as progress, since the transport's buffer has emptied."""
        self._unacknowledged = inf

    def cancel(self) -> None:
        """Check no more."""
        self._timer.cancel()

    def _check(self) -> None:
        unacknowledged = _unacknowledged_bytes(self._transport)
        if not unacknowledged:
            self._is_watching = False
            return
        made_progress = unacknowledged < self._unacknowledged
        self._checks_without_progress = 0 if made_progress else self._checks_without_progress + 1
        self._unacknowledged = unacknowledged
        if self._checks_without_progress < _CHECKS_PER_TIMEOUT:
            self._timer.start(self._seconds / _CHECKS_PER_TIMEOUT, self._check)
        else:
            _reset(self._transport)


def _unacknowledged_bytes(transport: asyncio.Transport) -> int:
    """Count the bytes that the client's machine has not acknowledged, in the transport's and the kernel's buffers.

    The kernel asks for more only when a good part of its own buffer is free, megabytes where there is memory, so the
    transport's buffer alone may stand still for long though a slow client reads.
    """
    # tcp(7): SIOCOUTQ.
    return transport.get_write_buffer_size() + _kernel_bytes(transport, "TIOCOUTQ")


def has_unread_bytes(transport: asyncio.Transport) -> bool:
    """Does the kernel hold bytes that were not read yet? False where the system does not tell."""
    # tcp(7): SIOCINQ.
    return _kernel_bytes(transport, "FIONREAD") > 0


def _kernel_bytes(transport: asyncio.Transport, request: str) -> int:
    """Ask the kernel how much one of its buffers holds, by the name of the terminals' request of the same number."""
    if sys.platform == "linux":
        # The socket may have been closed meanwhile.
        with suppress(OSError):
            socket_number = transport.get_extra_info("socket").fileno()
            return int.from_bytes(ioctl(socket_number, getattr(termios, request), b"\0\0\0\0"), sys.byteorder)
    return 0


def _reset(transport: asyncio.Transport) -> None:
    if sys.platform == "linux":
        # Without SO_LINGER the kernel would keep what it holds for as long as the client's machine says that it is
        # alive. Where the socket is closed already, it holds nothing.
        with suppress(OSError), socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
