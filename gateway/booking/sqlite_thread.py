"""A thread that works on an SQLite file for an event loop: what waits meanwhile is committed together.

Each commit waits for the disk, so the loop must not do it; and nothing is reported as done before it is durable (WAL
with synchronous FULL).
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any, Generic, TypeVar

from gateway.booking.journal import JournalUnavailableError

T = TypeVar("T")

# What waits for the disk at a time; each is a request, which can be told to come again.
_MOST_WAITING = 2_000
_MOST_TOGETHER = 200


@dataclass(slots=True)
class _Order(Generic[T]):
    """What the thread is to do within a transaction, and who waits for it."""

    work: Callable[[sqlite3.Connection], T]
    future: "asyncio.Future[T]"
    only_reads: bool = False
    result: T | None = None
    error: Exception | None = None


@dataclass(slots=True, eq=False)
class SqliteThread:
    """Owns a connection from `start` to `close`; `observe` is told how many seconds each piece of work took."""

    observe: Callable[[float], None] = lambda _: None
    clock: Callable[[], float] = monotonic
    _orders: "SimpleQueue[_Order[Any] | None]" = field(default_factory=SimpleQueue, init=False)
    _waiting: int = field(default=0, init=False)
    _thread: Thread | None = field(default=None, init=False)

    @property
    def is_open(self) -> bool:
        """Whether it takes work."""
        return self._thread is not None

    def start(self, connection: sqlite3.Connection, is_there: Callable[[], bool] = lambda: True) -> None:
        """Begin to work on a connection, which no other thread may use any more.

        Nothing is written while `is_there` does not say that its file is where others will look for it.
        """
        self._thread = Thread(target=self._run, args=(connection, is_there), name="journal", daemon=True)
        self._thread.start()

    async def do(self, work: Callable[[sqlite3.Connection], T], *, only_reads: bool = False) -> T:
        """What some work within a transaction gives, when that is durable. Raises JournalUnavailableError.

        What only reads is done also while nothing can be written. It is done, whoever waits for it: a cancelled caller
        does not know whether it was.
        """
        if self._thread is None:
            raise JournalUnavailableError("the journal is closed")
        if self._waiting >= _MOST_WAITING:
            raise JournalUnavailableError("too many wait for the journal")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        began = self.clock()
        self._waiting += 1
        self._orders.put(_Order(work, future, only_reads))
        future.add_done_callback(self._on_done)
        try:
            return await asyncio.shield(future)
        finally:
            self.observe(self.clock() - began)

    async def close(self) -> None:
        """Do what waits, and close the connection."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._orders.put(None)
            await asyncio.to_thread(thread.join)

    def _on_done(self, future: "asyncio.Future[Any]") -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()

    def _run(self, connection: sqlite3.Connection, is_there: Callable[[], bool]) -> None:
        """Do what is ordered, until None is."""
        while (first := self._orders.get()) is not None:
            orders = [first, *self._others()]
            done = [each for each in orders if each is not None]
            _do_all(connection, done, is_there)
            # A loop that was closed has nobody who waits.
            with suppress(RuntimeError):
                first.future.get_loop().call_soon_threadsafe(_settle, done)
            if orders[-1] is None:
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


def _do_all(connection: sqlite3.Connection, orders: list[_Order[Any]], is_there: Callable[[], bool]) -> None:
    """Do several orders together; where nothing can be written, those that only read by themselves."""
    writes = [each for each in orders if not each.only_reads]
    if writes:
        try:
            if not is_there():
                raise sqlite3.OperationalError("its file was removed or replaced; stop all processes, then start them")
            _commit_all(connection, orders)
        except sqlite3.Error as error:
            # Each by itself would wait for the lock as long again.
            for order in writes:
                order.error = error
        else:
            return
    reads = [each for each in orders if each.only_reads]
    if reads:
        try:
            _commit_all(connection, reads, "BEGIN")
        except sqlite3.Error as error:
            for order in reads:
                order.error = error


def _commit_all(connection: sqlite3.Connection, orders: list[_Order[Any]], begin: str = "BEGIN IMMEDIATE") -> None:
    """Do several orders in one transaction; one that fails takes none of the others with it.

    Raises sqlite3.Error where the transaction cannot be begun.
    """
    connection.execute(begin)
    try:
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
        _commit_one_by_one(connection, orders, begin)


def _commit_one_by_one(connection: sqlite3.Connection, orders: list[_Order[Any]], begin: str) -> None:
    for number, order in enumerate(orders):
        order.error = None
        try:
            _commit_all(connection, [order], begin)
        except sqlite3.Error as error:
            for each in orders[number:]:
                each.error = error
            return


def _settle(orders: list[_Order[Any]]) -> None:
    for order in orders:
        if order.future.done():
            continue
        if order.error is None:
            order.future.set_result(order.result)
        else:
            # Of SQLite's errors the texts say what is wrong with the file, and quote nothing of what is in it.
            order.future.set_exception(JournalUnavailableError(str(order.error)))
