"""The journal in a file: one process has a key at a time, what is written is durable, and what fails says so."""

import asyncio
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from gateway.booking.journal import JournalState, JournalUnavailableError
from gateway.booking.sqlite_journal import SqliteJournal, file_system_of
from tests.unit.booking.entries import NOW, done, entry, sent

FILE = "journal.sqlite"
DIES = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.unit.booking.entries import done, entry, sent
from tests.unit.booking.test_sqlite_journal import journal

async def main():
    async with journal(Path(sys.argv[1])) as own:
        for number in range(int(sys.argv[2])):
            each = entry(b"%d" % number)
            await own.claim(each)
            if number % 3:
                await own.write(sent(each))
            if number % 3 == 2:
                await own.write(done(each))
            print(number, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


class Time:
    """A time of day that tests move."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def journal(folder: Path, now: Callable[[], datetime] = lambda: NOW, **options: Any) -> SqliteJournal:
    return SqliteJournal(folder / FILE, lambda: uuid4().hex, now, **options)


def modes(folder: Path) -> list[int]:
    return [stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()]


def process(folder: Path, keys: int) -> "subprocess.Popen[bytes]":
    """A process that works on so many keys, and then is killed."""
    return subprocess.Popen([sys.executable, "-c", DIES, str(folder), str(keys)], stdout=subprocess.PIPE)


def test_a_key_is_claimed_once_and_what_is_there_is_given_to_others(tmp_path: Path) -> None:
    async def check() -> None:
        async with journal(tmp_path) as own, journal(tmp_path) as other:
            found = await asyncio.gather(*(each.claim(entry()) for each in (own, other) * 20))

            assert found.count(None) == 1
            kept = next(each for each in found if each is not None)
            assert kept == replace(entry(), owner=kept.owner)
            assert {kept.owner} < {own.owner, other.owner}

    asyncio.run(check())


def test_who_does_not_own_an_entry_cannot_write_release_or_take_it_over(tmp_path: Path) -> None:
    async def check() -> None:
        async with journal(tmp_path) as own, journal(tmp_path) as other:
            await own.claim(entry())

            assert await other.write(sent(entry())) is False
            assert await other.take_over(entry()) is None
            await other.release(b"key")
            assert await own.write(done(entry())) is True
            assert await other.find(b"key") == replace(done(entry()), owner=own.owner)

    asyncio.run(check())


def test_what_was_not_sent_is_forgotten_when_released_or_closed_and_what_was_sent_is_not(tmp_path: Path) -> None:
    async def check() -> None:
        async with journal(tmp_path) as own:
            for key in (b"released", b"closed", b"sent"):
                await own.claim(entry(key))
            await own.release(b"released")
            await own.write(sent(entry(b"sent")))
            await own.release(b"sent")
            assert await own.find(b"released") is None
        async with journal(tmp_path) as later:
            kept = [await later.find(key) for key in (b"released", b"closed", b"sent")]
            assert [each is not None and each.state for each in kept] == [False, False, JournalState.SENT]

    asyncio.run(check())


def test_of_a_process_that_was_killed_claims_are_taken_over_and_what_was_sent_is_unknown(tmp_path: Path) -> None:
    with process(tmp_path, 3) as killed:
        assert killed.communicate()[0].split() == [b"0", b"1", b"2"]

    async def check() -> None:
        async with journal(tmp_path) as own:
            claimed, was_sent, finished = [await own.find(b"%d" % number) for number in range(3)]
            assert claimed is not None
            assert was_sent is not None
            assert finished is not None
            assert not await own.is_alive(claimed.owner)
            assert (claimed.state, was_sent.state) == (JournalState.CLAIMED, JournalState.SENT)

            assert await own.claim(replace(entry(b"0"), input=b"other")) == claimed
            assert await own.claim(entry(b"0")) is None
            assert await own.claim(entry(b"1")) == was_sent
            taken = await own.take_over(was_sent)
            assert taken == replace(was_sent, state=JournalState.UNKNOWN, owner=own.owner)
            assert await own.take_over(finished) is None
            assert await own.find(b"2") == replace(done(entry(b"2")), owner=finished.owner)
            # Nothing is left of it but what it wrote.
            assert [path.name for path in (tmp_path / f"{FILE}.processes").iterdir()] == [own.owner]

    asyncio.run(check())


def test_what_a_process_reported_as_written_is_there_at_whatever_moment_it_is_killed(tmp_path: Path) -> None:
    with process(tmp_path, 100_000) as killed:
        assert killed.stdout is not None
        reported = [int(killed.stdout.readline()) for _ in range(40)]
        killed.send_signal(signal.SIGKILL)
        reported += map(int, killed.stdout.read().split(b"\n")[:-1])

    async def check() -> None:
        async with journal(tmp_path) as own:
            states = JournalState.CLAIMED, JournalState.SENT, JournalState.DONE
            for number in reported:
                kept = await own.find(b"%d" % number)
                assert kept is not None
                assert kept.state is states[number % 3]

    asyncio.run(check())


def test_entries_and_attempts_are_forgotten_after_their_time(tmp_path: Path) -> None:
    async def check() -> None:
        time = Time()
        async with journal(tmp_path, time) as own:
            await own.claim(entry())
            assert [await own.count_attempt(b"a", NOW + timedelta(days=1)) for _ in range(3)] == [1, 2, 3]
            assert (await own.attempts(b"a"), await own.attempts(b"b")) == (3, 0)
            time.now += timedelta(days=2, seconds=1)
            await own.claim(entry(b"other"))

            assert await own.find(b"key") is None
            assert await own.attempts(b"a") == 0

    asyncio.run(check())


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


def test_a_caller_that_leaves_takes_nothing_of_others_with_it(tmp_path: Path) -> None:
    async def check() -> None:
        async with journal(tmp_path) as own:
            tasks = [asyncio.create_task(own.claim(entry(b"%d" % number))) for number in range(300)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert None not in [await own.find(b"%d" % number) for number in range(300)]

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


def test_after_it_is_closed_it_is_unavailable(tmp_path: Path) -> None:
    async def check() -> None:
        async with journal(tmp_path) as own:
            pass
        with pytest.raises(JournalUnavailableError, match="closed"):
            await own.find(b"key")

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
