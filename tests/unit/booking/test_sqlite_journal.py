"""The journal in a file, beside what every journal does: a file that is full, gone, or not to be used says so."""

import asyncio
import sqlite3
import stat
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from gateway.booking.journal import JournalUnavailableError
from gateway.booking.sqlite_journal import SqliteJournal, file_system_of
from tests.unit.booking.entries import NOW, entry, sent
from tests.unit.booking.journals import FILE, Time


def journal(folder: Path, now: Callable[[], datetime] = lambda: NOW, **options: Any) -> SqliteJournal:
    return SqliteJournal(folder / FILE, lambda: uuid4().hex, now, **options)


def modes(folder: Path) -> list[int]:
    return [stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()]


def test_a_full_journal_says_so_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    async def check() -> None:
        time = Time()
        async with journal(tmp_path, time, max_mb=1) as own:
            large = replace(entry(), caller="x" * 50_000)
            claims = [own.claim(replace(large, key=b"%d" % number)) for number in range(30)]
            with pytest.raises(JournalUnavailableError, match="full"):
                await asyncio.gather(*claims)
            assert await own.find(b"0") is not None
            time.now += timedelta(days=3)
            assert await own.claim(entry()) is None

    asyncio.run(check())


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_journal_that_was_removed_takes_nothing_and_can_be_read(tmp_path: Path, is_replaced: bool) -> None:
    async def check() -> None:
        async with journal(tmp_path) as own:
            await own.claim(entry())
            (tmp_path / FILE).rename(tmp_path / "former")
            if is_replaced:
                (tmp_path / FILE).touch()
            assert await own.find(b"key") is not None
            with pytest.raises(JournalUnavailableError, match="removed or replaced"):
                await own.claim(entry(b"other"))
            (tmp_path / "former").rename(tmp_path / FILE)
            assert await own.claim(entry(b"other")) is None
            (tmp_path / FILE).unlink()

    asyncio.run(check())


def test_an_entry_that_cannot_be_read_is_an_error_for_it_alone(tmp_path: Path) -> None:
    async def check() -> None:
        async with journal(tmp_path) as own:
            await own.claim(entry())
            with sqlite3.connect(tmp_path / FILE) as connection:
                connection.execute("UPDATE entries SET body = ?", (b'{"key": 7}',))
            connection.close()
            found = await asyncio.gather(own.find(b"key"), own.claim(entry(b"other")), return_exceptions=True)

            assert isinstance(found[0], JournalUnavailableError)
            assert found[1] is None

    asyncio.run(check())


def test_more_than_may_wait_are_refused_at_once(tmp_path: Path) -> None:
    async def check() -> None:
        async with journal(tmp_path) as own:
            work = [own.find(b"%d" % number) for number in range(2_500)]
            found = await asyncio.gather(*work, return_exceptions=True)
            refused = [each for each in found if isinstance(each, JournalUnavailableError)]
            assert len(refused) == 500
            assert await own.find(b"key") is None

    asyncio.run(check())


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    async def check() -> None:
        async with journal(tmp_path) as own:
            await own.claim(entry())
            assert set(modes(tmp_path)) == {0o600}
            assert own.size_bytes > 4_096

    asyncio.run(check())


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.write_bytes(b"no database, but something that somebody needs"), "not a database"),
        (lambda path: path.parent.rmdir(), "No such file"),
    ],
)
def test_a_path_that_cannot_be_used_says_why(tmp_path: Path, prepare: Callable[[Path], object], message: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    prepare(folder / FILE)

    with pytest.raises(JournalUnavailableError, match=message):
        asyncio.run(journal(folder).__aenter__())


def test_a_file_of_another_version_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()

    with pytest.raises(JournalUnavailableError, match="another version"):
        asyncio.run(journal(tmp_path).__aenter__())


def test_a_file_whose_keys_are_kept_under_another_secret_is_not_opened(tmp_path: Path) -> None:
    time = Time()

    async def check(*secrets: bytes, key: bytes = b"") -> None:
        async with journal(tmp_path, time, secrets=secrets) as own:
            await own.claim(entry(key or secrets[0]))
            await own.write(sent(entry(key or secrets[0])))

    for secrets in ((b"one",), (b"one",), (b"two", b"one"), (b"two",), (b"three", b"two")):
        asyncio.run(check(*secrets))
    for others in ((b"one",), (b"two",), (b"four", b"two")):
        with pytest.raises(JournalUnavailableError, match="another secret"):
            asyncio.run(check(*others))
    # Once nothing is kept, any will do.
    time.now += timedelta(days=400)
    asyncio.run(check(b"four"))


def test_a_network_file_system_is_refused(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 0:21 / / rw - ext4 /dev/sda rw\n"
        f"23 22 0:22 / {tmp_path}/share rw shared:7 - nfs4 server:/x rw\n"
        f"24 22 0:23 / {tmp_path}/two\\040words rw - cifs //server/x rw\n"
    )

    kinds = [file_system_of(tmp_path / each / FILE, mounts) for each in ("share", "two words", "shared", ".")]
    assert kinds == ["nfs4", "cifs", "ext4", "ext4"]
    assert file_system_of(tmp_path, tmp_path / "none") == ""


def test_a_secret_that_the_file_keeps_is_the_first_that_was_given(tmp_path: Path) -> None:
    assert journal(tmp_path).kept_secret("names", b"first") == b"first"
    assert journal(tmp_path).kept_secret("names", b"second") == b"first"
    assert journal(tmp_path).kept_secret("others", b"third") == b"third"


def test_a_file_that_cannot_be_used_is_found_out_before_anything_waits_for_it(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()

    with pytest.raises(JournalUnavailableError, match="Is a directory"):
        journal(tmp_path).kept_secret("names", b"first")
