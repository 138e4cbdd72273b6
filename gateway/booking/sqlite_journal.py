"""The journal in an SQLite file that all processes of a machine share."""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Self

from gateway.booking.journal import Hold, JournalEntry, JournalState, JournalUnavailableError
from gateway.booking.process_lock import ProcessLock
from gateway.booking.sqlite_tables import (
    appointments_of,
    connected,
    find_entry,
    has_entry_at,
    kept_secret,
    note_secret,
    put_entry,
    put_hold,
    remove_entry,
    remove_expired,
    unsettled_entries,
)
from gateway.booking.sqlite_thread import SqliteThread
from gateway.domain.appointments import Appointment
from gateway.domain.models import CareUnitKey

# Their locks do not hold over machines, or not at all.
_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "gpfs", "beegfs", "ocfs2", "gfs2"}
)
_NETWORK_PREFIXES = ("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.gcsfuse", "fuse.juicefs")


@dataclass(slots=True, eq=False)
class SqliteJournal:
    """See `Journal`. An async context manager, entered in the process that uses it, after any fork.

    `new_owner` gives 32 random hexadecimal digits; `secrets` are digests of the accepted secrets, first the one that
    keys are kept under, so that it is not opened under another; `max_mb` bounds the file, beyond which no booking is
    taken; `observe` is told how many seconds each operation took, the wait for the disk included.
    """

    path: Path
    new_owner: Callable[[], str]
    now: Callable[[], datetime]
    secrets: Sequence[bytes] = ()
    max_mb: int = 1_024
    observe: Callable[[float], None] = lambda _: None
    clock: Callable[[], float] = monotonic
    _lock: ProcessLock | None = field(default=None, init=False)
    _thread: SqliteThread = field(init=False)

    def __post_init__(self) -> None:
        self._thread = SqliteThread(self.observe, self.clock)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._open)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def owner(self) -> str:
        """The name of this process in entries."""
        return self._own_lock.name

    @property
    def size_bytes(self) -> int:
        """What the file and what is not yet written into it take on the disk."""
        files = (self.path, self.path.with_name(f"{self.path.name}-wal"))
        return sum(each.stat().st_size for each in files if each.exists())

    async def claim(self, entry: JournalEntry) -> JournalEntry | None:
        """See `Journal.claim`."""
        own, is_alive, now = replace(entry, state=JournalState.CLAIMED, owner=self.owner), self._is_alive, self.now()

        def work(connection: sqlite3.Connection) -> JournalEntry | None:
            remove_expired(connection, now)
            kept = find_entry(connection, entry.key, now)
            if kept is not None:
                is_left = kept.state is JournalState.CLAIMED and not is_alive(kept.owner)
                if not is_left or kept.input != entry.input:
                    return kept
            put_entry(connection, own)
            return None

        return await self._thread.do(work)

    async def write(self, entry: JournalEntry) -> bool:
        """See `Journal.write`."""
        own, now = replace(entry, owner=self.owner), self.now()

        def work(connection: sqlite3.Connection) -> bool:
            kept = find_entry(connection, entry.key, now)
            if kept is None or kept.owner != own.owner:
                return False
            put_entry(connection, own)
            if own.state is JournalState.DONE:
                connection.execute("DELETE FROM holds WHERE key = ?", (own.key,))
            return True

        return await self._thread.do(work)

    async def find(self, key: bytes) -> JournalEntry | None:
        """See `Journal.find`."""
        now = self.now()
        return await self._thread.do(lambda connection: find_entry(connection, key, now), only_reads=True)

    async def take_over(self, entry: JournalEntry) -> JournalEntry | None:
        """See `Journal.take_over`."""
        owner, is_alive, now = self.owner, self._is_alive, self.now()

        def work(connection: sqlite3.Connection) -> JournalEntry | None:
            kept = find_entry(connection, entry.key, now)
            if kept is None or kept.state is JournalState.DONE:
                return None
            if kept.owner != owner and kept.state is not JournalState.UNKNOWN and is_alive(kept.owner):
                return None
            state = JournalState.UNKNOWN if kept.state is JournalState.SENT else kept.state
            taken = replace(kept, state=state, owner=owner)
            put_entry(connection, taken)
            return taken

        return await self._thread.do(work)

    async def release(self, key: bytes) -> None:
        """See `Journal.release`."""
        owner, now = self.owner, self.now()

        def work(connection: sqlite3.Connection) -> None:
            kept = find_entry(connection, key, now)
            if kept is not None and kept.owner == owner and kept.state is JournalState.CLAIMED:
                remove_entry(connection, key)
                connection.execute("DELETE FROM holds WHERE key = ?", (key,))

        await self._thread.do(work)

    async def is_alive(self, owner: str) -> bool:
        """See `Journal.is_alive`."""
        return await asyncio.to_thread(self._is_alive, owner)

    async def hold(self, hold: Hold) -> bool:
        """See `Journal.hold`."""
        owner, is_alive, now = self.owner, self._is_alive, self.now()

        def is_void(connection: sqlite3.Connection, key: bytes, held_by: str) -> bool:
            if is_alive(held_by):
                return False
            kept = find_entry(connection, key, now)
            return kept is None or kept.state in {JournalState.CLAIMED, JournalState.DONE}

        return await self._thread.do(lambda connection: put_hold(connection, hold, owner, now, is_void))

    async def let_go(self, key: bytes) -> None:
        """See `Journal.let_go`."""
        await self._thread.do(lambda connection: connection.execute("DELETE FROM holds WHERE key = ?", (key,)))

    async def unsettled(self, hold: Hold) -> Sequence[JournalEntry]:
        """See `Journal.unsettled`; the latest hundred."""
        now = self.now()
        return await self._thread.do(lambda connection: unsettled_entries(connection, hold, now), only_reads=True)

    async def was_asked(self, hold: Hold) -> bool:
        """See `Journal.was_asked`."""
        now = self.now()
        return await self._thread.do(lambda connection: has_entry_at(connection, hold, now), only_reads=True)

    async def known(self, care_unit: CareUnitKey, appointments: Collection[str]) -> Mapping[str, Appointment]:
        """See `Journal.known`."""
        now = self.now()
        return await self._thread.do(
            lambda connection: appointments_of(connection, care_unit, appointments, now), only_reads=True
        )

    async def count_attempt(self, appointment: bytes, expires_at: datetime) -> int:
        """See `Journal.count_attempt`."""
        statement = (
            "INSERT INTO attempts VALUES (?, 1, ?) ON CONFLICT (appointment) "
            "DO UPDATE SET number = iif(expires < ?, 0, number) + 1, expires = max(expires, excluded.expires) "
            "RETURNING number"
        )
        parameters = appointment, expires_at.timestamp(), self.now().timestamp()
        return await self._thread.do(lambda connection: int(connection.execute(statement, parameters).fetchone()[0]))

    async def attempts(self, appointment: bytes) -> int:
        """See `Journal.attempts`."""
        statement = "SELECT coalesce(max(number), 0) FROM attempts WHERE appointment = ? AND expires >= ?"
        parameters = appointment, self.now().timestamp()
        return await self._thread.do(
            lambda connection: int(connection.execute(statement, parameters).fetchone()[0]), only_reads=True
        )

    async def close(self) -> None:
        """See `Journal.close`. What waits is done before."""
        if not self._thread.is_open:
            return
        owner = self.owner

        def work(connection: sqlite3.Connection) -> None:
            statement = "SELECT key FROM entries WHERE owner = ? AND state = ?"
            for (key,) in connection.execute(statement, (owner, JournalState.CLAIMED)).fetchall():
                remove_entry(connection, key)
                connection.execute("DELETE FROM holds WHERE key = ?", (key,))

        try:
            # Where it cannot be written, others find that this process is dead, and take over.
            with suppress(JournalUnavailableError):
                await self._thread.do(work)
        finally:
            await self._thread.close()
            self._own_lock.close()

    @property
    def _own_lock(self) -> ProcessLock:
        if self._lock is None:
            raise JournalUnavailableError("the journal is not open")
        return self._lock

    @property
    def _is_alive(self) -> Callable[[str], bool]:
        return self._own_lock.is_alive

    def kept_secret(self, name: str, new: bytes) -> bytes:
        """A secret that the file keeps under a name: a new one where it has none.

        It is read before anything else is, so that a file that cannot be used is found out at the start. Raises
        JournalUnavailableError.
        """
        try:
            with closing(self._connected()) as connection:
                return kept_secret(connection, name, new)
        except (OSError, sqlite3.Error) as error:
            raise _unusable(error) from None

    def _open(self) -> None:
        path = self.path.resolve()
        try:
            connection = self._connected()
            self._lock = ProcessLock(path.with_name(f"{path.name}.processes"), self.new_owner())
            self._lock.remove_dead()
        except (OSError, sqlite3.Error) as error:
            raise _unusable(error) from None
        self._thread.start(connection, partial(_is_same, path, path.stat()))

    def _connected(self) -> sqlite3.Connection:
        """Raises JournalUnavailableError for a network file system, OSError and sqlite3.Error."""
        path = self.path.resolve()
        kind = file_system_of(path)
        if kind in _NETWORK_FILE_SYSTEMS or kind.startswith(_NETWORK_PREFIXES):
            raise JournalUnavailableError(f"it lies on a network file system ({kind}), whose locks cannot be relied on")
        # Made here, since SQLite gives new files to everybody who may read the folder.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = connected(path, self.max_mb)
        if self.secrets:
            try:
                note_secret(connection, self.secrets, self.now())
            except sqlite3.Error:
                connection.close()
                raise
        return connection


def _is_same(path: Path, opened: os.stat_result) -> bool:
    """Whether a path still leads to the file that was opened; one that was removed keeps what no other process sees."""
    try:
        return os.path.samestat(path.stat(), opened)
    except OSError:
        return False


def _unusable(error: OSError | sqlite3.Error) -> JournalUnavailableError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return JournalUnavailableError(f"it cannot be opened: {reason}")


def file_system_of(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """The kind of file system that a path lies on, as Linux names it; an empty text where that is not known."""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    found = ""
    longest = -1
    for line in lines:
        before, _, after = line.partition(" - ")
        point = before.split(" ")[4].replace("\\040", " ")
        if path.is_relative_to(point) and len(point) >= longest:
            longest, found = len(point), after.split(" ")[0]
    return found
