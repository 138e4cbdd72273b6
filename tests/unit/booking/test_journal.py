"""What every journal does: one process has a key at a time, what is written is there for all, also after a crash."""

import asyncio
import signal
from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.booking.journal import JournalState, JournalUnavailableError
from tests.unit.booking.entries import NOW, done, entry, sent
from tests.unit.booking.journals import Place, Time, doomed, until_dead


def test_a_key_is_claimed_once_and_what_is_there_is_given_to_others(place: Place) -> None:
    async def check() -> None:
        async with place.process() as own, place.process() as other:
            found = await asyncio.gather(*(each.claim(entry()) for each in (own, other) * 20))

            assert found.count(None) == 1
            kept = next(each for each in found if each is not None)
            assert kept == replace(entry(), owner=kept.owner)
            assert {kept.owner} < {own.owner, other.owner}

    asyncio.run(check())


def test_who_does_not_own_an_entry_cannot_write_release_or_take_it_over(place: Place) -> None:
    async def check() -> None:
        async with place.process() as own, place.process() as other:
            await own.claim(entry())

            assert await other.write(sent(entry())) is False
            assert await other.take_over(entry()) is None
            await other.release(b"key")
            assert await own.write(done(entry())) is True
            assert await other.find(b"key") == replace(done(entry()), owner=own.owner)

    asyncio.run(check())


def test_what_was_not_sent_is_forgotten_when_released_or_closed_and_what_was_sent_is_not(place: Place) -> None:
    async def check() -> None:
        async with place.process() as own:
            for key in (b"released", b"closed", b"sent"):
                await own.claim(entry(key))
            await own.release(b"released")
            await own.write(sent(entry(b"sent")))
            await own.release(b"sent")
            assert await own.find(b"released") is None
        async with place.process() as later:
            kept = [await later.find(key) for key in (b"released", b"closed", b"sent")]
            assert [each is not None and each.state for each in kept] == [False, False, JournalState.SENT]

    asyncio.run(check())


def test_of_a_process_that_was_killed_claims_are_taken_over_and_what_was_sent_is_unknown(place: Place) -> None:
    with doomed(place, 3) as killed:
        assert killed.communicate()[0].split() == [b"0", b"1", b"2"]

    async def check() -> None:
        async with place.process() as own:
            claimed, was_sent, finished = [await own.find(b"%d" % number) for number in range(3)]
            assert claimed is not None
            assert was_sent is not None
            assert finished is not None
            await until_dead(own, claimed.owner)
            assert (claimed.state, was_sent.state) == (JournalState.CLAIMED, JournalState.SENT)

            assert await own.claim(replace(entry(b"0"), input=b"other")) == claimed
            assert await own.claim(entry(b"0")) is None
            assert await own.claim(entry(b"1")) == was_sent
            taken = await own.take_over(was_sent)
            assert taken == replace(was_sent, state=JournalState.UNKNOWN, owner=own.owner)
            assert await own.take_over(finished) is None
            assert await own.find(b"2") == replace(done(entry(b"2")), owner=finished.owner)

    asyncio.run(check())


def test_what_a_process_reported_as_written_is_there_at_whatever_moment_it_is_killed(place: Place) -> None:
    with doomed(place, 100_000) as killed:
        assert killed.stdout is not None
        reported = [int(killed.stdout.readline()) for _ in range(40)]
        killed.send_signal(signal.SIGKILL)
        reported += map(int, killed.stdout.read().split(b"\n")[:-1])

    async def check() -> None:
        async with place.process() as own:
            states = JournalState.CLAIMED, JournalState.SENT, JournalState.DONE
            for number in reported:
                kept = await own.find(b"%d" % number)
                assert kept is not None
                assert kept.state is states[number % 3]

    asyncio.run(check())


def test_entries_and_attempts_are_forgotten_after_their_time(place: Place) -> None:
    async def check() -> None:
        time = Time()
        async with place.process(time) as own:
            await own.claim(entry())
            assert [await own.count_attempt(b"a", NOW + timedelta(days=1)) for _ in range(3)] == [1, 2, 3]
            assert (await own.attempts(b"a"), await own.attempts(b"b")) == (3, 0)
            time.now += timedelta(days=2, seconds=1)
            await own.claim(entry(b"other"))

            assert await own.find(b"key") is None
            assert await own.attempts(b"a") == 0

    asyncio.run(check())


def test_a_caller_that_leaves_takes_nothing_of_others_with_it(place: Place) -> None:
    async def check() -> None:
        async with place.process() as own:
            tasks = [asyncio.create_task(own.claim(entry(b"%d" % number))) for number in range(300)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert None not in [await own.find(b"%d" % number) for number in range(1, 300, 2)]

    asyncio.run(check())


def test_after_it_is_closed_it_is_unavailable(place: Place) -> None:
    async def check() -> None:
        async with place.process() as own:
            pass
        with pytest.raises(JournalUnavailableError, match="closed"):
            await own.find(b"key")

    asyncio.run(check())
