"""The places where a journal may be, each with processes that share it: a file, and a store over several machines."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Protocol
from uuid import uuid4

from gateway.booking.booking_secret import BookingSecret
from gateway.booking.journal import Journal
from gateway.booking.journal_events import JournalTrouble
from gateway.booking.journal_session import JournalSecrets, JournalSession, SharedJournalConfig
from gateway.booking.shared_journal import SharedJournal
from gateway.booking.sqlite_journal import SqliteJournal
from gateway.shared_store.address import StoreAddress
from gateway.shared_store.connection import ServerConnection
from gateway.shared_store.errors import AwayReason
from gateway.shared_store.store import SharedStore, StoreConfig
from tests.unit.booking.entries import LAST, LATER, NOW, WHEN, done, entry, hold, sent

FILE = "journal.sqlite"
SECRET = BookingSecret(b"s" * 32)
# Processes die in moments here, and no test waits for a life to end but where that is what it is about.
QUICK = SharedJournalConfig(life_seconds=1.0, renew_seconds=0.1)
DIES = """
import sys
from tests.unit.booking.journals import dies
dies(*sys.argv[1:])
"""


class Time:
    """A time of day that tests move."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


class Place(Protocol):
    """Where a journal is; each `process` is one that uses it."""

    def process(self, now: Callable[[], datetime] = ...) -> AbstractAsyncContextManager[Journal]: ...

    @property
    def arguments(self) -> tuple[str, str]:
        """What another process finds it by: its kind, and where it is."""


class InAFile:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def arguments(self) -> tuple[str, str]:
        return "file", str(self.folder)

    def process(self, now: Callable[[], datetime] = lambda: NOW) -> SqliteJournal:
        return SqliteJournal(self.folder / FILE, lambda: uuid4().hex, now)


class Heard:
    """What was said of the journal and of the store."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def opened(self) -> None:
        self.said.append("opened")

    def trouble(self, what: JournalTrouble) -> None:
        self.said.append(what)

    def store_up(self) -> None:
        self.said.append("up")

    def store_away(self, reason: AwayReason) -> None:
        self.said.append(f"away: {reason}")

    def store_refused(self, kind: str) -> None:
        self.said.append(f"refused: {kind}")

    def store_garbage(self) -> None:
        self.said.append("garbage")


class InAStore:
    """In a running server, among names that begin with `prefix`."""

    def __init__(self, socket: Path, prefix: str, *, heard: Heard | None = None, username: str | None = None) -> None:
        self.socket, self.prefix, self.heard, self.username = socket, prefix, heard or Heard(), username
        self.config, self.secret, self.timeout_seconds = QUICK, SECRET, 2.0

    @property
    def arguments(self) -> tuple[str, str]:
        return "store", f"{self.socket} {self.prefix}"

    def process(self, now: Callable[[], datetime] = lambda: NOW) -> AbstractAsyncContextManager[SharedJournal]:
        return self._process(now)

    @asynccontextmanager
    async def _process(self, now: Callable[[], datetime]) -> AsyncIterator[SharedJournal]:
        address = StoreAddress(path=str(self.socket), username=self.username, password=self.username)
        store = SharedStore(
            # A machine that is busy with other tests is no store that is away.
            StoreConfig(address, timeout_seconds=self.timeout_seconds, prefix=self.prefix),
            self.heard,
            connect=ServerConnection.open,
            clock=monotonic,
            new_secret=lambda: os.urandom(32),
            chance=lambda: 0.5,
        )
        secrets = JournalSecrets(
            self.secret.digests("journal entries"), self.secret.digests("journal"), self.secret.digest("journal names")
        )
        session = JournalSession(
            store, secrets, self.heard, now=now, new_secret=lambda: os.urandom(32), config=self.config
        )
        async with store, SharedJournal(session, lambda: uuid4().hex) as journal:
            yield journal


def place(kind: str, where: str) -> Place:
    if kind == "file":
        return InAFile(Path(where))
    socket, prefix = where.split()
    return InAStore(Path(socket), prefix)


def doomed(found: Place, keys: int) -> "subprocess.Popen[bytes]":
    """A process that works on so many keys, and then is killed."""
    return subprocess.Popen([sys.executable, "-c", DIES, *found.arguments, str(keys)], stdout=subprocess.PIPE)


def dies(kind: str, where: str, keys: str) -> None:
    """Work on so many keys, each of which holds another time, and die."""

    async def main() -> None:
        async with place(kind, where).process() as own:
            for number in range(int(keys)):
                each = entry(b"%d" % number)
                await own.claim(each)
                if number % 3:
                    await own.write(sent(each))
                if number % 3 == 2:
                    await own.write(done(each))
                # Later than a process does that works on a key: it holds what it has to, however far it came.
                await own.hold(hold(each.key, when=(WHEN, LATER, LAST)[number % 3]))
                os.write(1, b"%d\n" % number)
            os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(main())


async def until_dead(own: Journal, owner: str) -> None:
    """Wait until it shows that a process has died."""
    for _ in range(600):
        if not await own.is_alive(owner):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it counts as alive")
