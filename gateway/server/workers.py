"""The parent of several workers: it forks them, passes signals to all of them, and replaces one that dies.

Everything that workers have in common is made before the first is forked. The parent serves no requests, so that it has
no thread whose locks a fork would copy while they are held, and a worker that dies is replaced by a fork at any time.

Each worker accepts connections from a listening socket of its own. The parent holds all of them open until a stop, so
that what waits at the socket of a worker that dies is served by the next. It never accepts a connection itself.
"""

import asyncio
import gc
import os
import signal
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from socket import socket, socketpair
from typing import Any, NoReturn

import structlog
import uvicorn

from gateway.server.graceful_shutdown import ShutdownTimeouts
from gateway.server.protocol import Readiness
from gateway.server.worker import Channel, be_worker, open_descriptors

_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_PASSED_ON = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_MOST_DEATHS, _DEATH_SECONDS = 5, 30.0
# Beyond what a stop may take by itself.
_LATE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker does: `serve` until it is stopped, which gives its exit status, and `tell` how it is.

    `serve` is called with the worker's number, from 1 on, and its listening socket, and `tell` in a thread.
    """

    serve: Callable[[int, socket], int]
    tell: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Told:
    """Hears what workers tell; `process` is another number for each process, also where it replaces one."""

    learn: Callable[[int, bytes], None] = lambda _process, _told: None
    end: Callable[[int], None] = lambda _process: None


@dataclass(frozen=True, slots=True)
class _Worker:
    number: int
    pid: int
    process: int
    channel: Channel


class Workers:
    """Workers, one for each listening socket; `run` is to be called in the main thread.

    `readiness` ends with the first signal that stops. After SIGHUP was passed on, `on_hangup` lets the parent take over
    what workers take over, for those that it forks later.
    """

    def __init__(  # each by name
        self,
        listeners: Sequence[socket],
        work: Work,
        *,
        stop: ShutdownTimeouts,
        readiness: Readiness,
        log: structlog.typing.FilteringBoundLogger,
        on_hangup: Callable[[], None] = lambda: None,
    ) -> None:
        self._listeners = dict(enumerate(listeners, 1))
        self._work = work
        self._stop_seconds = stop.longest_seconds + _LATE_SECONDS
        self._readiness = readiness
        self._log = log
        self._on_hangup = on_hangup
        # What is opened from here on is the parent's.
        self._kept = open_descriptors().difference(each.fileno() for each in listeners)
        self._handlers: dict[signal.Signals, Any] = {}
        self._told = Told()
        self._alive: dict[int, _Worker] = {}
        self._forked = 0
        self._recent_deaths: deque[float] = deque(maxlen=_MOST_DEATHS)
        self._status = 0
        self.deaths = 0
        """How many workers have died that nobody had told to stop."""

    @property
    def alive(self) -> int:
        """How many workers there are."""
        return len(self._alive)

    async def ask(self, seconds: float) -> None:
        """Ask all workers how they are, and wait for their answers, but no longer than this."""
        asked = [asyncio.ensure_future(each.channel.ask()) for each in self._alive.values()]
        if asked:
            _, late = await asyncio.wait(asked, timeout=seconds)
            for each in late:
                each.cancel()

    def run(self, told: Told, server: uvicorn.Server | None = None, served_on: socket | None = None) -> int:
        """Run the workers until they are stopped, and meanwhile a server of the parent's own; gives the exit status."""
        self._told = told
        self._loop = loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._take_signals()
        # Pages that no collection writes to stay common to all.
        gc.collect()
        gc.freeze()
        self._replace()
        serving = None
        if server is not None and served_on is not None:
            serving = loop.create_task(server.serve([served_on]))
        while self._alive or not self._readiness.is_stopping:
            loop.run_until_complete(self._changed.wait())
            self._changed.clear()
            self._replace()
        if server is not None and serving is not None:
            server.should_exit = True
            loop.run_until_complete(serving)
        loop.close()
        return self._status

    def _take_signals(self) -> None:
        found = {each: signal.getsignal(each) for each in (*_PASSED_ON, signal.SIGCHLD)}
        self._handlers = {number: handler for number, handler in found.items() if handler is not None}
        for number in _STOPS:
            self._loop.add_signal_handler(number, self._stop, number)
        for number in _PASSED_ON:
            self._loop.add_signal_handler(number, self._pass_on, number)
        self._loop.add_signal_handler(signal.SIGCHLD, self._bury)

    def _stop(self, number: signal.Signals) -> None:
        if not self._readiness.is_stopping:
            self._readiness.is_stopping = True
            # Before the workers are told, so that each is the only one that holds its own, and can close it.
            for each in self._listeners.values():
                each.close()
            self._loop.call_later(self._stop_seconds, self._kill)
            self._changed.set()
        self._send(number)

    def _kill(self) -> None:
        for each in self._alive.values():
            action = "it did not stop in time; see what its last lines say, and whether its machine is too busy"
            self._log.error("gateway.worker_killed", worker=each.number, action=action)
        self._send(signal.SIGKILL)

    def _pass_on(self, number: signal.Signals) -> None:
        self._send(number)
        if number is signal.SIGHUP:
            self._on_hangup()

    def _send(self, number: signal.Signals) -> None:
        for pid in self._alive:
            # It is not reaped before it is taken out, so that its number is nobody else's.
            os.kill(pid, number)

    def _bury(self) -> None:
        """Find those that have ended."""
        for pid in list(self._alive):
            found, result = os.waitpid(pid, os.WNOHANG)
            if found:
                worker = self._alive.pop(pid)
                worker.channel.close()
                self._told.end(worker.process)
                self._on_end(worker, os.waitstatus_to_exitcode(result))
                self._changed.set()

    def _on_end(self, worker: _Worker, status: int) -> None:
        if self._readiness.is_stopping:
            self._status = self._status or int(status != 0)
            return
        by = {"signal": signal.Signals(-status).name} if status < 0 else {"status": status}
        action = "it is replaced; look at what it said before, and whether the machine is out of memory"
        self._log.error("gateway.worker_died", worker=worker.number, pid=worker.pid, **by, action=action)
        self._count_death()

    def _count_death(self) -> None:
        self.deaths += 1
        now = self._loop.time()
        self._recent_deaths.append(now)
        if len(self._recent_deaths) == _MOST_DEATHS and now - self._recent_deaths[0] <= _DEATH_SECONDS:
            action = "look at why they died; nothing is replaced any more, and all stop"
            self._log.error("gateway.workers_keep_dying", deaths=_MOST_DEATHS, seconds=_DEATH_SECONDS, action=action)
            self._status = 1
            self._stop(signal.SIGTERM)

    def _replace(self) -> None:
        """Fork the workers that are missing."""
        here = {each.number for each in self._alive.values()}
        for number in self._listeners:
            if number not in here and not self._readiness.is_stopping:
                self._fork(number)

    def _fork(self, number: int) -> None:
        ours, theirs = socketpair()
        blocked = (*_STOPS, *_PASSED_ON, signal.SIGCHLD)
        # Until the worker can tell its own signals from the parent's.
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        try:
            with warnings.catch_warnings():
                # Of the log's thread, which there is while nobody reads the log; a worker begins the log anew.
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
            if not pid:
                self._be_worker(number, theirs)
        except OSError as error:
            ours.close()
            self._log.error("gateway.fork_failed", worker=number, reason=error.strerror, action="free some memory")
            self._count_death()
            self._changed.set()
            return
        finally:
            theirs.close()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        self._forked += 1
        channel = Channel(partial(self._learn, self._forked))
        self._alive[pid] = _Worker(number, pid, self._forked, channel)
        self._loop.run_until_complete(self._loop.create_connection(lambda: channel, sock=ours))
        self._log.info("gateway.worker_started", worker=number, pid=pid)

    def _learn(self, process: int, told: bytes) -> None:
        if any(each.process == process for each in self._alive.values()):
            self._told.learn(process, told)

    def _be_worker(self, number: int, channel: socket) -> NoReturn:
        listener = self._listeners[number]
        be_worker(
            partial(self._work.serve, number, listener),
            self._work.tell,
            channel,
            kept={*self._kept, listener.fileno()},
            handlers=self._handlers,
            stop_seconds=self._stop_seconds,
            log=self._log,
        )
