"""A worker: a process that was forked from a parent, and what it keeps of it.

Parent and worker hold the two ends of a *channel*. The parent asks by one byte how the worker is, and a thread of the
worker answers; when the parent ends, whatever ended it, the channel closes, and the worker ends too.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from socket import socket
from threading import Thread
from time import sleep
from typing import Any, NoReturn

import structlog

_QUESTION = b"?"
_LENGTH_BYTES = 4
_MOST_BYTES = 16 * 1024 * 1024
# Of answers that are on their way when a further one is asked for.
_MOST_ASKED = 2
_DESCRIPTORS = Path("/proc/self/fd")


def open_descriptors() -> set[int]:
    """The file descriptors that are open in this process."""
    # The one that reads the directory is closed when all are read.
    found = [int(each.name) for each in list(_DESCRIPTORS.iterdir())]
    return {each for each in found if _is_open(each)}


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def let_go(kept: Collection[int]) -> None:
    """Let go of all open files but these.

    Their descriptors stay in use, of nothing: objects of the parent's would close them some day, when they were
    somebody else's.
    """
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in open_descriptors().difference(kept, (nothing,)):
        os.dup2(nothing, descriptor, inheritable=False)


def be_worker(
    work: Callable[[], int],
    tell: Callable[[], bytes],
    channel: socket,
    *,
    kept: Collection[int],
    handlers: Mapping[signal.Signals, Any],
    stop_seconds: float,
    log: structlog.typing.FilteringBoundLogger,
) -> NoReturn:
    """Be a worker, in a process that was just forked, until `work` gives the exit status.

    `tell` makes the answers. Of the parent's files only the `kept` are left, and signals are handled as `handlers`
    says. Signals that the parent has blocked stay so, but for those.
    """
    status = 1
    try:
        # The parent's loop would be told of this process's signals.
        signal.set_wakeup_fd(-1)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, handlers)
        let_go({channel.fileno(), *kept})
        # A terminal's Ctrl-C would come twice: from the terminal, and from the parent.
        os.setpgid(0, 0)
        Thread(target=_answer, args=(channel, tell, stop_seconds, log), name="channel", daemon=True).start()
        status = work()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException as error:  # noqa: BLE001 # the parent's code, below which this runs, must not see it
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        os._exit(status)


def _answer(
    channel: socket, tell: Callable[[], bytes], stop_seconds: float, log: structlog.typing.FilteringBoundLogger
) -> None:
    """Answer the parent until it ends; then stop this process, without the drain: its address may be wanted again."""
    with suppress(OSError):  # the parent has gone in the middle of a scrape
        while channel.recv(1):
            told = tell()
            channel.sendall(_framed(told if len(told) <= _MOST_BYTES else b""))
    log.error("gateway.parent_died", action="start the gateway again; this worker ends what it has begun, and stops")
    os.kill(os.getpid(), signal.SIGINT)
    sleep(stop_seconds)
    os._exit(1)


def _framed(told: bytes) -> bytes:
    return len(told).to_bytes(_LENGTH_BYTES, "big") + told


class Channel(asyncio.Protocol):
    """The parent's end; `on_told` gets each answer."""

    def __init__(self, on_told: Callable[[bytes], None]) -> None:
        self._on_told = on_told
        self._transport: asyncio.Transport | None = None
        self._arrived = bytearray()
        self._asked = self._told = 0
        self._waiting: dict[asyncio.Future[None], int] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready to ask."""
        self._transport = transport if isinstance(transport, asyncio.Transport) else None

    async def ask(self) -> None:
        """Ask, and wait until it is answered, or the worker has ended."""
        if self._transport is None or self._transport.is_closing():
            return
        # A worker that stands still is not asked ever more.
        if self._asked - self._told < _MOST_ASKED:
            self._asked += 1
            self._transport.write(_QUESTION)
        answered = asyncio.get_running_loop().create_future()
        self._waiting[answered] = self._asked
        try:
            await answered
        finally:
            del self._waiting[answered]

    def data_received(self, data: bytes) -> None:
        """Take answers."""
        self._arrived += data
        while len(self._arrived) >= _LENGTH_BYTES:
            end = _LENGTH_BYTES + int.from_bytes(self._arrived[:_LENGTH_BYTES], "big")
            if end > _LENGTH_BYTES + _MOST_BYTES:
                # No worker of ours says so; without its channel it ends.
                self.close()
                self._arrived.clear()
            if len(self._arrived) < end:
                break
            told = bytes(self._arrived[_LENGTH_BYTES:end])
            del self._arrived[:end]
            self._told += 1
            if told:
                self._on_told(told)
            self._settle(self._told)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 # asyncio's signature
        """Let nobody wait any longer."""
        self._settle(self._asked)

    def close(self) -> None:
        """Close this end, at which a worker that lives would end."""
        if self._transport is not None:
            self._transport.abort()

    def _settle(self, number: int) -> None:
        for answered, asked in self._waiting.items():
            if asked <= number and not answered.done():
                answered.set_result(None)
