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
_TIMEOUTS_PER_PERIOD = 3
# linux/tcp.h: tcpi_bytes_acked in struct tcp_info.
_BYTES_ACKED_AT = 120


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


class LeastRate:
    """Decides whether a client takes too little, by the bytes that its machine acknowledges in each period.

    Only what was handed over before a period began is due in it, and no more of it than the rate: so a client is not
    judged by what the server writes late, little or not at all, nor by the time of a round trip.
    """

    __slots__ = ("_acknowledged", "_due", "_most")

    def __init__(self, bytes_per_second: float, period_seconds: float) -> None:
        self._most = bytes_per_second * period_seconds
        self._due = self._acknowledged = 0.0

    def begin(self, unacknowledged: float, acknowledged: float) -> None:
        """Begin a period, with the bytes that are not acknowledged yet, and all that ever were."""
        self._due, self._acknowledged = min(unacknowledged, self._most), acknowledged

    def is_missed(self, acknowledged: float) -> bool:
        """At a period's end: was less acknowledged than was due?"""
        # Where the system tells nothing the difference is not a number, for which this is false.
        return acknowledged - self._acknowledged < self._due


class WriteTimeout:
    """Resets a connection whose client takes nothing of what was written to it for so many seconds, or too little.

    However slowly a client reads, its connection stays while it acknowledges something between two checks, and
    `bytes_per_second` over each period of three times as many seconds. A mobile client may have a bad minute, but one
    that takes a few bytes now and then would otherwise keep a response of any size in memory for as long as it likes.
    """

    __slots__ = (
        "_checks_in_period", "_checks_without_progress", "_interval", "_is_watching", "_least_rate", "_timer",
        "_transport", "_unacknowledged",
    )  # fmt: skip

    def __init__(
        self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, seconds: float, bytes_per_second: float
    ) -> None:
        self._transport = transport
        self._interval = seconds / _CHECKS_PER_TIMEOUT
        self._timer = IdleTimer(loop)
        self._least_rate = LeastRate(bytes_per_second, seconds * _TIMEOUTS_PER_PERIOD)
        self._is_watching = False
        self._unacknowledged: float = inf
        self._checks_without_progress = self._checks_in_period = 0

    def watch(self) -> None:
        """Check from now on, until all that is written is acknowledged."""
        if not self._is_watching:
            self._is_watching = True
            self._unacknowledged = _unacknowledged_bytes(self._transport)
            self._checks_without_progress = 0
            # Most responses are taken before the first check, and the system need not be asked about them.
            self._checks_in_period = -1
            self._timer.start(self._interval, self._check)

    def is_all_acknowledged(self) -> bool:
        """Did the client's machine acknowledge all that was written?"""
        return not _unacknowledged_bytes(self._transport)

    def record_progress(self) -> None:
        """Count whatever the next check finds as progress, since the transport's buffer has emptied."""
        self._unacknowledged = inf

    def cancel(self) -> None:
        """Check no more."""
        self._timer.cancel()

    def _begin_period(self, unacknowledged: float) -> None:
        self._checks_in_period = 0
        self._least_rate.begin(unacknowledged, _acknowledged_bytes(self._transport))

    def _check(self) -> None:
        unacknowledged = _unacknowledged_bytes(self._transport)
        if not unacknowledged:
            self._is_watching = False
            return
        made_progress = unacknowledged < self._unacknowledged
        self._checks_without_progress = 0 if made_progress else self._checks_without_progress + 1
        self._unacknowledged = unacknowledged
        if self._checks_without_progress >= _CHECKS_PER_TIMEOUT or self._takes_too_little(unacknowledged):
            _reset(self._transport)
        else:
            self._timer.start(self._interval, self._check)

    def _takes_too_little(self, unacknowledged: int) -> bool:
        # Periods are counted in checks: while this process stands still and sends nothing, there are none.
        if self._checks_in_period < 0:
            self._begin_period(unacknowledged)
        self._checks_in_period += 1
        if self._checks_in_period < _CHECKS_PER_TIMEOUT * _TIMEOUTS_PER_PERIOD:
            return False
        is_missed = self._least_rate.is_missed(_acknowledged_bytes(self._transport))
        self._begin_period(unacknowledged)
        return is_missed


def _unacknowledged_bytes(transport: asyncio.Transport) -> int:
    """Count the bytes that the client's machine has not acknowledged, in the transport's and the kernel's buffers.

    The kernel asks for more only when a good part of its own buffer is free, megabytes where there is memory, so the
    transport's buffer alone may stand still for long though a slow client reads.
    """
    # tcp(7): SIOCOUTQ.
    return transport.get_write_buffer_size() + _kernel_bytes(transport, "TIOCOUTQ")


def _acknowledged_bytes(transport: asyncio.Transport) -> float:
    """Count the bytes that the client's machine ever acknowledged; without end where the system does not tell."""
    if sys.platform == "linux":
        # The socket may have been closed meanwhile; before Linux 4.1 the structure is shorter.
        with suppress(OSError, struct.error):
            info = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            (acknowledged,) = struct.unpack_from("=Q", info, _BYTES_ACKED_AT)
            return float(acknowledged)
    return inf


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


def close_at_once(transport: asyncio.Transport) -> None:
    """Close a connection, and tell its client so before the loop's next step, lest it sends a request meanwhile."""
    if sys.platform == "linux":
        # The socket may have been closed meanwhile, by either side.
        with suppress(OSError), socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as same:
            same.shutdown(socket.SHUT_WR)
    transport.close()


def _reset(transport: asyncio.Transport) -> None:
    if sys.platform == "linux":
        # Without SO_LINGER the kernel would keep what it holds for as long as the client's machine says that it is
        # alive. Where the socket is closed already, it holds nothing.
        with suppress(OSError), socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
