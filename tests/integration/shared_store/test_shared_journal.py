"""The journal in the store when something goes wrong: hung processes, a store that is away, full or emptied."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest

from gateway.booking.booking_secret import BookingSecret
from gateway.booking.journal import JournalEntry, JournalState, JournalUnavailableError
from gateway.booking.journal_events import JournalTrouble
from gateway.booking.journal_scripts import CLAIM
from gateway.booking.journal_session import BASE
from gateway.booking.shared_journal import SharedJournal
from gateway.shared_store.errors import AwayReason, StoreAwayError
from tests.stores import Store, running_store
from tests.unit.booking.entries import NOW, UNIT, WHEN, done, entry, hold, sent
from tests.unit.booking.journals import QUICK, InAStore, Time, until_dead

ON_DISK = "--appendonly", "yes", "--appendfsync", "always"


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    with running_store(*ON_DISK) as store:
        yield store


@pytest.fixture
def place(server: Store) -> InAStore:
    return InAStore(server.socket, f"{uuid4().hex}:")


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


async def answered(own: SharedJournal) -> None:
    """Wait until the journal takes something again."""
    for _ in range(500):
        try:
            await own.is_alive("nobody")
        except JournalUnavailableError:
            await asyncio.sleep(0.02)
        else:
            return
    raise AssertionError("it never opens again")


async def answered_with(own: SharedJournal, key: bytes) -> JournalEntry:
    """The entry of a key, once the journal has it."""
    for _ in range(500):
        with suppress(JournalUnavailableError):
            found = await own.find(key)
            if found is not None:
                return found
        await asyncio.sleep(0.02)
    raise AssertionError("it never has it")


def names(server: Store, place: InAStore, of: str) -> list[str]:
    found = server.command("KEYS", f"{place.prefix}{BASE}{of}*").split(b"\r\n")
    return [each.decode() for each in found if each.startswith(place.prefix.encode())]


async def test_process_that_hung_finds_that_it_lost_what_others_took_over(place: InAStore) -> None:
    hung = InAStore(place.socket, place.prefix)
    hung.config = replace(QUICK, life_seconds=0.2, renew_seconds=60)
    async with place.process() as own, hung.process() as other:
        for key in (b"claimed", b"sent", b"held"):
            await other.claim(entry(key))
        assert await other.hold(hold(b"held"))
        await until_dead(own, other.owner)
        # What it claimed and what it holds goes to others, and what it sent is looked up by them.
        assert await own.claim(entry(b"claimed")) is None
        assert await own.hold(hold(b"another"))
        assert not await other.write(sent(entry(b"claimed")))
        assert not await other.write(sent(entry(b"held")))

        assert await other.write(sent(entry(b"sent")))
        # Which shows that it lives: nobody looks up what has just been written.
        assert await own.take_over(entry(b"sent")) is None
        await until_dead(own, other.owner)
        taken = await own.take_over(entry(b"sent"))
        assert taken is not None
        assert taken.state is JournalState.UNKNOWN
        # Who sent it knows more than that it was sent.
        assert not await other.write(sent(entry(b"sent")))
        assert await other.write(done(entry(b"sent")))
        assert not await own.write(replace(taken, state=JournalState.UNKNOWN))
        assert await own.find(b"sent") == replace(done(entry(b"sent")), owner=other.owner)


async def test_what_was_sent_is_dated_by_the_server_for_machines_whose_clocks_differ(place: InAStore) -> None:
    ahead = timedelta(minutes=3)
    async with place.process() as own, place.process(lambda: NOW + ahead) as other:
        await own.claim(entry())
        await own.write(sent(entry()))
        found, mine = await other.find(b"key"), await own.find(b"key")
        assert mine is not None
        assert found is not None
        assert found.sent_at is not None
        assert mine.sent_at == NOW
        # By its own clock it was sent three minutes ago, when it was not.
        assert timedelta() <= NOW + ahead - found.sent_at < timedelta(seconds=60)


@pytest.mark.parametrize("comes_first", ["old", "new"])
async def test_store_that_was_emptied_takes_nothing_new_and_keeps_what_became_of_calls(
    server: Store, place: InAStore, comes_first: str
) -> None:
    time, slow = Time(), InAStore(place.socket, place.prefix)
    slow.config = replace(QUICK, renew_seconds=60 if comes_first == "new" else 0.05)
    async with slow.process(time) as own:
        for key in (b"key", b"claimed"):
            await own.claim(entry(key))
        await own.write(sent(entry()))
        for name in names(server, place, ""):
            server.command("DEL", name)
        async with place.process(time) as other:
            if comes_first == "new":
                # It does not know that there was another before.
                assert await other.claim(entry(b"early")) is None
                with pytest.raises(JournalUnavailableError, match="anew"):
                    await own.find(b"key")
            await until(lambda: JournalTrouble.EMPTIED in slow.heard.said)
            await answered(own)
            for each in (own, other):
                with pytest.raises(JournalUnavailableError, match="lost"):
                    await each.claim(entry(b"new"))
            for work in (other.hold(hold(b"new")), other.find(b"used before, or not")):
                with pytest.raises(JournalUnavailableError, match="lost"):
                    await work
            # What this process knows it writes again by itself; what was not sent yet is not.
            found = await answered_with(other, b"key")
            assert found.state is JournalState.SENT
            assert not await own.write(sent(entry(b"claimed")))
            assert await own.write(done(entry()))
            assert await other.find(b"key") == replace(done(entry()), owner=own.owner)

            time.now += timedelta(seconds=QUICK.held_back_seconds + 1)
            assert await other.claim(entry(b"new")) is None
            # Whoever books now asks whether the time is free, as others may have it whose keys are gone.
            assert await other.was_asked(hold(b"x"))
            time.now += timedelta(days=1)
            assert not await other.was_asked(hold(b"x"))


async def test_store_that_lost_what_it_acknowledged_takes_nothing_new(server: Store, place: InAStore) -> None:
    async with place.process() as own, place.process() as other:
        await own.claim(entry())
        await other.claim(entry(b"other"))
        await own.write(done(entry()))
        (lost,) = [
            each for each in names(server, place, "entry:") if server.command("HGET", each, "s").endswith(b"done\r\n")
        ]
        server.command("DEL", lost)
        server.command("HSET", f"{place.prefix}{BASE}process:{own.owner}", "n", "0")
        server.command("CLIENT", "KILL", "TYPE", "normal")
        await until(lambda: JournalTrouble.WENT_BACK in place.heard.said)
        await answered(other)
        with pytest.raises(JournalUnavailableError, match="lost"):
            await other.claim(entry(b"new"))
        assert await answered_with(other, b"key") == replace(done(entry()), owner=own.owner)
        assert place.heard.said.count(JournalTrouble.WENT_BACK) == 1


async def test_store_that_is_away_is_no_journal_and_one_that_is_back_is() -> None:
    with running_store(*ON_DISK) as server:
        own_place, time = InAStore(server.socket, "x:"), Time()
        own_place.timeout_seconds = 0.3
        async with own_place.process(time) as own:
            await own.claim(entry())
            server.signal(signal.SIGSTOP)
            began = monotonic()
            answers = await asyncio.gather(*(own.find(b"key") for _ in range(100)), return_exceptions=True)
            assert {type(each) for each in answers} == {JournalUnavailableError}
            # Once for all, and a little longer for a store that comes back.
            assert monotonic() - began < 10
            with pytest.raises(JournalUnavailableError, match="does not answer"):
                await own.claim(entry(b"other"))
            server.signal(signal.SIGCONT)
            await answered(own)
            server.kill()
            await until(lambda: f"away: {AwayReason.UNREACHABLE}" in own_place.heard.said)
            with pytest.raises(JournalUnavailableError):
                await own.claim(entry(b"other"))
            server.start()
            await answered(own)
            # Others may know more than the server that was started again, and are given time to tell.
            with pytest.raises(JournalUnavailableError, match="lost"):
                await own.claim(entry(b"other"))
            time.now += timedelta(seconds=QUICK.settling_seconds + 1)
            assert await own.find(b"key") == replace(entry(), owner=own.owner)
            assert await own.claim(entry(b"other")) is None
            assert not {*own_place.heard.said} & {JournalTrouble.EMPTIED, JournalTrouble.WENT_BACK}


async def test_process_that_starts_without_the_store_books_once_it_is_there() -> None:
    with running_store(*ON_DISK) as server:
        server.kill()
        late = InAStore(server.socket, "x:")
        late.config = replace(QUICK, wait_seconds=0.1)
        async with late.process() as own:
            with pytest.raises(JournalUnavailableError, match="does not answer"):
                await own.claim(entry())
            server.start()
            await answered(own)
            assert await own.claim(entry()) is None


async def test_answer_that_is_lost_is_asked_for_again_and_a_key_is_still_claimed_once(
    place: InAStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with place.process() as own, place.process() as other:
        store: Any = own._session._store  # noqa: SLF001 # between it and the server something is lost
        run = store.run
        lost: list[object] = []

        async def deaf(*arguments: Any) -> Any:
            found = await run(*arguments)
            if not lost:
                lost.append(found)
                own._session._wake.set()  # noqa: SLF001 # as the store does that is up again
                own._session._is_open = False  # noqa: SLF001 # as above
                raise StoreAwayError(AwayReason.TIMEOUT)
            return found

        for work in (
            lambda: own.claim(entry()),
            lambda: own.hold(hold(b"key")),
            lambda: own.write(sent(entry())),
            lambda: own.count_attempt(b"a", NOW + timedelta(days=1)),
            lambda: own.write(done(entry())),
        ):
            lost.clear()
            monkeypatch.setattr(store, "run", deaf)
            assert await work() in {None, True}
            monkeypatch.setattr(store, "run", run)
        assert await other.claim(entry()) == replace(done(entry()), owner=own.owner)
        assert await other.attempts(b"a") == 1


async def test_what_comes_late_over_an_earlier_connection_is_refused(server: Store, place: InAStore) -> None:
    async with place.process() as own:
        session: Any = own._session  # noqa: SLF001 # what it sent before is sent again
        late = [*session._common(), *own._written(entry())]  # noqa: SLF001 # as above
        opened = place.heard.said.count("opened")
        server.command("CLIENT", "KILL", "TYPE", "normal")
        await until(lambda: place.heard.said.count("opened") > opened)
        assert (await session._store.run(CLAIM, [BASE], late)).value == [b"stale"]  # noqa: SLF001 # as above
        assert await own.find(b"key") is None


async def test_keys_are_kept_under_a_secret_and_found_under_the_next(place: InAStore) -> None:
    time = Time()

    async def check(current: bytes, former: bytes | None = None) -> bytes:
        place.secret = BookingSecret(current, former)
        async with place.process(time) as own:
            await own.claim(entry(current))
            await own.write(sent(entry(current)))
            if former is not None:
                assert await own.find(former) is not None
            return own.names

    one, two, three = b"1" * 32, b"2" * 32, b"3" * 32
    first = await check(one)
    # What callers are named by, and where holds are, stays.
    assert [await check(*each) for each in ((one,), (two, one), (two,), (three, two))] == [first] * 4
    place.config = replace(QUICK, wait_seconds=0.2)
    for secrets in ((one,), (two,)):
        place.heard.said.clear()
        with pytest.raises(JournalUnavailableError, match="another secret"):
            await check(*secrets)
        assert JournalTrouble.OTHER_SECRET in place.heard.said
    time.now += timedelta(days=400)
    assert await check(one) == first


async def test_process_that_does_not_know_the_next_secret_takes_nothing_any_more(place: InAStore) -> None:
    async with place.process() as own:
        await own.claim(entry())
        place.secret = BookingSecret(b"2" * 32, place.secret.current)
        async with place.process() as other:
            assert await other.find(b"key") == replace(entry(), owner=own.owner)
            with pytest.raises(JournalUnavailableError):
                await own.claim(entry(b"new"))


async def test_nothing_of_bookings_can_be_read_in_the_server() -> None:
    with running_store(*ON_DISK) as server:
        async with InAStore(server.socket, "x:").process() as own:
            await own.claim(entry(b"clients-key", b"clients-input"))
            await own.hold(hold(b"clients-key", appointment="appointment-7"))
            await own.write(replace(sent(entry(b"clients-key", b"clients-input")), patient=b"patient-digest"))
            await own.write(done(entry(b"clients-key")))
            await own.known(UNIT, ["a1"])
            await own.count_attempt(b"clients-appointment", NOW + timedelta(days=1))
        written = b"".join(each.read_bytes() for each in (server.folder / "appendonlydir").iterdir())

    assert b"journal:entry:" in written
    canaries = ("webdoc", "L0_1", "clients-", "appointment-7", "a1", "r1", "page", "patient", "2026-", "Booked")
    # Two letters may stand in what is sealed by chance.
    assert [each for each in canaries if each.encode() in written and len(each) > 2] == []


async def test_store_that_may_forget_keys_is_refused_and_one_that_cannot_be_asked_is_told_of() -> None:
    with running_store(*ON_DISK, "--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru") as server:
        # What docs/booking.md lists.
        rights = "~y:*", "+@connection", "+@scripting", "+@read", "+@write", "+time"
        server.command("ACL", "SETUSER", "u", "on", ">u", *rights)
        evicting, blind = InAStore(server.socket, "x:"), InAStore(server.socket, "y:", username="u")
        evicting.config = replace(QUICK, wait_seconds=0.5)
        async with evicting.process() as own, blind.process() as other:
            with pytest.raises(JournalUnavailableError, match="maxmemory-policy"):
                await own.claim(entry())
            assert evicting.heard.said.count(JournalTrouble.EVICTS) == 1
            assert await other.claim(entry()) is None
            assert await other.hold(hold(b"key"))
            for each in (sent(entry()), done(entry())):
                assert await other.write(each)
            assert JournalTrouble.NOT_TOLD in blind.heard.said
            server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
            await answered(own)
            assert await own.claim(entry()) is None


async def test_store_that_is_full_takes_nothing_and_can_be_read() -> None:
    with running_store() as server:
        place = InAStore(server.socket, "x:")
        async with place.process() as own:
            assert JournalTrouble.NOT_ON_DISK in place.heard.said
            await own.claim(entry())
            server.command("CONFIG", "SET", "maxmemory", "1")
            with pytest.raises(JournalUnavailableError, match="OOM"):
                await own.claim(entry(b"other"))
            assert JournalTrouble.REFUSED in place.heard.said
            assert await own.find(b"key") is not None
            assert not await own.was_asked(hold(b"x", when=WHEN))
            server.command("CONFIG", "SET", "maxmemory", "0")
            assert await own.claim(entry(b"other")) is None


async def test_entry_that_somebody_else_wrote_or_changed_is_an_error_for_it_alone(
    server: Store, place: InAStore
) -> None:
    async with place.process() as own:
        for key in (b"one", b"two"):
            await own.claim(entry(key))
        one, _ = names(server, place, "entry:")
        server.command("HSET", one, "s", "done")
        answers = await asyncio.gather(*(own.find(key) for key in (b"one", b"two")), return_exceptions=True)
        assert sorted(isinstance(each, JournalUnavailableError) for each in answers) == [False, True]
