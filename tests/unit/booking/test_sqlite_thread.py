"""The journal's thread: a file that cannot be written is waited for once, and what only reads is done all the same."""

import asyncio
import sqlite3
from pathlib import Path

from gateway.booking.journal import JournalUnavailableError
from gateway.booking.sqlite_thread import SqliteThread

WAITING = 100


def opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=0.05, isolation_level=None, check_same_thread=False)


def put(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO kept VALUES (1)")


def count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM kept").fetchone()[0])


def test_a_locked_file_is_waited_for_once_by_all_who_wait_and_can_be_read(tmp_path: Path) -> None:
    path, statements = tmp_path / "file", list[str]()
    other = opened(path)
    other.executescript("PRAGMA journal_mode = WAL; CREATE TABLE kept (number); BEGIN IMMEDIATE;")

    async def check() -> None:
        thread, connection = SqliteThread(), opened(path)
        connection.set_trace_callback(statements.append)
        thread.start(connection)
        writes = [asyncio.ensure_future(thread.do(put)) for _ in range(WAITING)]
        read = await thread.do(count, only_reads=True)
        found = await asyncio.gather(*writes, return_exceptions=True)
        other.execute("ROLLBACK")
        await thread.do(put)

        assert read == 0
        assert {type(each) for each in found} == {JournalUnavailableError}
        assert statements.count("BEGIN IMMEDIATE") < WAITING / 5
        assert await thread.do(count, only_reads=True) == 1
        await thread.close()

    asyncio.run(check())
    other.close()


def test_a_file_that_is_not_there_any_more_is_read_and_not_written(tmp_path: Path) -> None:
    async def check() -> None:
        thread, connection = SqliteThread(), opened(tmp_path / "file")
        connection.execute("CREATE TABLE kept (number)")
        thread.start(connection, lambda: False)
        found = await asyncio.gather(thread.do(put), thread.do(count, only_reads=True), return_exceptions=True)

        assert isinstance(found[0], JournalUnavailableError)
        assert found[1] == 0
        await thread.close()

    asyncio.run(check())
