"""The journal in an SQLite file that all processes of a machine share.

A thread of its own writes, since each commit waits for the disk; what waits meanwhile is committed together. Nothing is
reported as written before it is durable (WAL with synchronous FULL).
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any, Generic, Self, TypeVar

from gateway.booking.journal import JournalEntry, JournalState, JournalUnavailableError
from gateway.booking.journal_codec import decoded, encoded
from gateway.booking.process_lock import ProcessLock

T = TypeVar("T")

_VERSION = 1
_BUSY_SECONDS = 5.0
# What waits for the disk at a time; each is a request, which can be told to come again.
_MOST_WAITING = 2_000
_MOST_TOGETHER = 200
_REMOVED_AT_ONCE = 200
_PAGE_BYTES = 4_096
# Their locks do not hold over machines, or not at all.
_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "gpfs", "beegfs", "ocfs2", "gfs2"}
)
_NETWORK_PREFIXES = ("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.gcsfuse", "fuse.juicefs")
_TABLES = """
CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, owner TEXT, state TEXT, expires REAL, body BLOB)
WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS expiring ON entries (expires);
CREATE TABLE IF NOT EXISTS attempts (appointment BLOB PRIMARY KEY, number INTEGER, expires REAL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS expiring_attempts ON attempts (expires);
"""


@dataclass(slots=True)
class _Order(Generic[T]):
    """What the thread is to do within a transaction, and who waits for it."""

    work: Callable[[sqlite3.Connection], T]
    future: "asyncio.Future[T]"
    result: T | None = None
    error: Exception | None = None


@dataclass(slots=True, eq=False)
class SqliteJournal:
    """See `Journal`. An async context manager, entered in the process that uses it, after any fork.

    `new_owner` gives 32 random hexadecimal digits; `max_mb` bounds the file, beyond which no booking is taken;
    `observe` is told how many seconds each operation took, the wait for the disk included.
    """

    path: Path
    new_owner: Callable[[], str]
    now: Callable[[], datetime]
    max_mb: int = 1_024
    observe: Callable[[float], None] = lambda _: None
    clock: Callable[[], float] = monotonic
    _orders: "SimpleQueue[_Order[Any] | None]" = field(default_factory=SimpleQueue, init=False)
    _waiting: int = field(default=0, init=False)
    _lock: ProcessLock | None = field(default=None, init=False)
    _thread: Thread | None = field(default=None, init=False)

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
        own, is_alive = replace(entry, state=JournalState.CLAIMED, owner=self.owner), self._own_lock.is_alive

        def work(connection: sqlite3.Connection) -> JournalEntry | None:
            self._remove_expired(connection)
            kept = _find(connection, entry.key)
            if kept is not None:
                is_left = kept.state is JournalState.CLAIMED and not is_alive(kept.owner)
                if not is_left or kept.input != entry.input:
                    return kept
            _put(connection, own)
            return None

        return await self._do(work)

    async def write(self, entry: JournalEntry) -> bool:
        """See `Journal.write`."""
        own = replace(entry, owner=self.owner)

        def work(connection: sqlite3.Connection) -> bool:
            row = connection.execute("SELECT owner FROM entries WHERE key = ?", (entry.key,)).fetchone()
            if row is None or row[0] != own.owner:
                return False
            _put(connection, own)
            return True

        return await self._do(work)

    async def find(self, key: bytes) -> JournalEntry | None:
        """See `Journal.find`."""
        return await self._do(lambda connection: _find(connection, key))

    async def take_over(self, entry: JournalEntry) -> JournalEntry | None:
        """See `Journal.take_over`."""
        owner, is_alive = self.owner, self._own_lock.is_alive

        def work(connection: sqlite3.Connection) -> JournalEntry | None:
            kept = _find(connection, entry.key)
            if kept is None or kept.state is JournalState.DONE:
                return None
            if kept.owner != owner and kept.state is not JournalState.UNKNOWN and is_alive(kept.owner):
                return None
            state = JournalState.UNKNOWN if kept.state is JournalState.SENT else kept.state
            taken = replace(kept, state=state, owner=owner)
            _put(connection, taken)
            return taken

        return await self._do(work)

    async def release(self, key: bytes) -> None:
        """See `Journal.release`."""
        parameters = key, self.owner, JournalState.CLAIMED
        statement = "DELETE FROM entries WHERE key = ? AND owner = ? AND state = ?"
        await self._do(lambda connection: connection.execute(statement, parameters))

    async def is_alive(self, owner: str) -> bool:
        """See `Journal.is_alive`."""
        return await asyncio.to_thread(self._own_lock.is_alive, owner)

    async def count_attempt(self, appointment: bytes, expires_at: datetime) -> int:
        """See `Journal.count_attempt`."""
        statement = (
            "INSERT INTO attempts VALUES (?, 1, ?) ON CONFLICT (appointment) "
            "DO UPDATE SET number = number + 1, expires = max(expires, excluded.expires) RETURNING number"
        )
        parameters = appointment, expires_at.timestamp()
        return await self._do(lambda connection: int(connection.execute(statement, parameters).fetchone()[0]))

    async def attempts(self, appointment: bytes) -> int:
        """See `Journal.attempts`."""
        statement = "SELECT coalesce(max(number), 0) FROM attempts WHERE appointment = ?"
        return await self._do(lambda connection: int(connection.execute(statement, (appointment,)).fetchone()[0]))

    async def close(self) -> None:
        """See `Journal.close`. What waits is done before."""
        thread, self._thread = self._thread, None
        if thread is not None:
            owned = "DELETE FROM entries WHERE owner = ? AND state = ?"
            parameters = self.owner, JournalState.CLAIMED
            try:
                await self._order(lambda connection: connection.execute(owned, parameters))
            finally:
                self._orders.put(None)
                await asyncio.to_thread(thread.join)
                self._own_lock.close()

    @property
    def _own_lock(self) -> ProcessLock:
        if self._lock is None:
            raise JournalUnavailableError("the journal is not open")
        return self._lock

    def _open(self) -> None:
        """Raises JournalUnavailableError with what is wrong with the path."""
        path = self.path.resolve()
        kind = file_system_of(path)
        if kind in _NETWORK_FILE_SYSTEMS or kind.startswith(_NETWORK_PREFIXES):
            raise JournalUnavailableError(f"it lies on a network file system ({kind}), whose locks cannot be relied on")
        try:
            connection = self._connected(path)
            self._lock = ProcessLock(path.with_name(f"{path.name}.processes"), self.new_owner())
            self._lock.remove_dead()
        except (OSError, sqlite3.Error) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise JournalUnavailableError(f"it cannot be opened: {reason}") from None
        self._thread = Thread(target=self._work, args=(connection,), name="journal", daemon=True)
        self._thread.start()

    def _connected(self, path: Path) -> sqlite3.Connection:
        """The connection that the thread will use. Raises OSError and sqlite3.Error."""
        # Made here, since SQLite gives new files to everybody who may read the folder.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in {0, _VERSION}:
                raise sqlite3.DatabaseError(f"another version of the gateway wrote it ({version})")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA max_page_count = {self.max_mb * 1_024 * 1_024 // _PAGE_BYTES}")
            connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._thread is None:
            raise JournalUnavailableError("the journal is closed")
        if self._waiting >= _MOST_WAITING:
            raise JournalUnavailableError("too many wait for the journal")
        return await self._order(work)

    async def _order(self, work: Callable[[sqlite3.Connection], T]) -> T:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        began = self.clock()
        self._waiting += 1
        self._orders.put(_Order(work, future))
        # What is ordered is done, whoever waits for it: a cancelled caller must not leave the count wrong.
        future.add_done_callback(self._on_done)
        try:
            return await asyncio.shield(future)
        finally:
            self.observe(self.clock() - began)

    def _on_done(self, future: "asyncio.Future[Any]") -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()

    def _work(self, connection: sqlite3.Connection) -> None:
        """Do what is ordered, until None is; in the thread."""
        while (first := self._orders.get()) is not None:
            orders = [first, *self._others()]
            is_last = orders[-1] is None
            done = [each for each in orders if each is not None]
            _commit_all(connection, done)
            # A loop that was closed has nobody who waits.
            with suppress(RuntimeError):
                first.future.get_loop().call_soon_threadsafe(_settle, done)
            if is_last:
                break
        connection.close()

    def _others(self) -> Iterator[_Order[Any] | None]:
        for _ in range(_MOST_TOGETHER):
            if self._orders.empty():
                return
            order = self._orders.get()
            yield order
            if order is None:
                return

    def _remove_expired(self, connection: sqlite3.Connection) -> None:
        now = self.now().timestamp()
        for table, key in (("entries", "key"), ("attempts", "appointment")):
            expired = f"SELECT {key} FROM {table} WHERE expires < ? LIMIT {_REMOVED_AT_ONCE}"  # noqa: S608 # names from above
            connection.execute(f"DELETE FROM {table} WHERE {key} IN ({expired})", (now,))  # noqa: S608 # as above


def _commit_all(connection: sqlite3.Connection, orders: list[_Order[Any]]) -> None:
    """Do several orders in one transaction; one that fails takes none of the others with it."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        for order in orders:
            connection.execute("SAVEPOINT one")
            try:
                order.result = order.work(connection)
            except Exception as error:  # noqa: BLE001 # whatever it is, the thread works for others too
                order.error = error
                connection.execute("ROLLBACK TO one")
            connection.execute("RELEASE one")
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if len(orders) == 1:
            # Where the disk is full SQLite has ended the transaction, and only the order's own error says why.
            orders[0].error = orders[0].error or error
            return
        for order in orders:
            order.error = None
            _commit_all(connection, [order])


def _settle(orders: list[_Order[Any]]) -> None:
    for order in orders:
        if order.future.done():
            continue
        if order.error is None:
            order.future.set_result(order.result)
        else:
            # Of SQLite's errors the texts say what is wrong with the file, and quote nothing of what is in it.
            order.future.set_exception(JournalUnavailableError(str(order.error)))


def _find(connection: sqlite3.Connection, key: bytes) -> JournalEntry | None:
    row = connection.execute("SELECT body FROM entries WHERE key = ?", (key,)).fetchone()
    return None if row is None else decoded(row[0])


def _put(connection: sqlite3.Connection, entry: JournalEntry) -> None:
    values = entry.key, entry.owner, entry.state, entry.expires_at.astimezone(UTC).timestamp(), encoded(entry)
    connection.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)", values)


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
