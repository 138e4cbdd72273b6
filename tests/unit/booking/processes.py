"""Processes that share a journal and an EHR in virtual time, and may die at any step."""

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

from gateway.booking.bookings import Bookings
from gateway.booking.dependencies import BookingConfig, BookingDependencies
from gateway.booking.turns import Turns
from gateway.domain.appointments import Capabilities
from tests.unit.booking.model_ehr import ANYTHING, START, ModelAppointments, ModelDigests, ModelFreeTimes
from tests.unit.booking.model_journal import ModelJournal, Store
from tests.unit.leyr.virtual_time import VirtualLoop

_PROCESS: ContextVar["Process | None"] = ContextVar("process", default=None)


@dataclass(eq=False)
class Process:
    """One process: its service, and all tasks that it made."""

    name: str
    bookings: Bookings
    tasks: set["asyncio.Task[Any]"] = field(default_factory=set)
    steps_left: int | None = None
    is_dead: bool = False

    def dies_now(self) -> bool:
        """Count a step; whether it is the last."""
        if self.steps_left is not None:
            self.steps_left -= 1
            self.is_dead = self.is_dead or self.steps_left <= 0
        return self.is_dead


class Machine:
    """A machine with a journal, an EHR that all its processes call, and a loop whose time passes at once."""

    def __init__(
        self,
        ehr: ModelAppointments | None = None,
        capabilities: Capabilities = ANYTHING,
        config: BookingConfig | None = None,
        digests: ModelDigests | None = None,
    ) -> None:
        self.loop = VirtualLoop()
        # What it is given is for Task to check, and of which kind that is changes with Python's versions.
        self.loop.set_task_factory(cast("Any", _made))
        self.ehr = ehr or ModelAppointments()
        self.free_times = ModelFreeTimes(self.ehr)
        self.store = Store(self.now)
        self.capabilities = capabilities
        self.config = config or BookingConfig()
        self.digests = digests or ModelDigests()
        self.unlisted: set[str] = set()
        self._births = 0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.loop.time())

    def process(self) -> Process:
        self._births += 1
        process: Process
        journal = ModelJournal(self.store, f"p{self._births}", lambda: process.dies_now())  # noqa: PLW0108 # it is made below
        dependencies = BookingDependencies(
            journal=journal,
            backend=self.ehr,
            free_times=self.free_times,
            digests=self.digests,
            capabilities=lambda _: self.capabilities,
            now=self.now,
            config=self.config,
            turns=Turns(journal),
            unlisted=self.unlisted,
        )
        process = Process(journal.owner, Bookings(dependencies))
        return process

    def start(self, process: Process, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Begin what a client asks of a process."""
        token = _PROCESS.set(process)
        try:
            return self.loop.create_task(work)
        finally:
            _PROCESS.reset(token)

    def run(self, process: Process, work: Coroutine[Any, Any, Any]) -> Any:
        """What a client is answered."""
        return self.loop.run_until_complete(self.start(process, work))

    def wait(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def kill(self, process: Process) -> None:
        """End a process without a word."""
        process.is_dead = True
        self.store.alive.discard(process.name)
        for task in list(process.tasks):
            task.cancel()
        self.wait(0)

    def close(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.wait(0.1)
        self.loop.close()


def _made(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **rest: Any) -> "asyncio.Task[Any]":
    task = asyncio.Task(work, loop=loop, **rest)
    process = _PROCESS.get() if rest.get("context") is None else None
    if process is not None:
        process.tasks.add(task)
        task.add_done_callback(process.tasks.discard)
    return task
