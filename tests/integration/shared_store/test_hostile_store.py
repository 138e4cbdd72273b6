"""A store behind a proxy that drips, cuts, swaps, repeats and replaces replies: refused in time, never believed."""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from gateway.shared_store.errors import AwayReason, StoreAwayError, StoreRefusedError
from gateway.shared_store.script import ScriptResult
from gateway.shared_store.store import SharedStore
from tests.stand_ins.store_proxy import StoreProxy
from tests.stores import ECHO, Heard, Store, store_at, store_up, until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def proxy(server: Store) -> AsyncIterator[StoreProxy]:
    async with StoreProxy(server.socket, server.folder / f"p{os.urandom(4).hex()}") as found:
        yield found


async def ask(store: SharedStore, count: int) -> list[ScriptResult | BaseException]:
    return await asyncio.gather(*(store.run(ECHO, [], [number]) for number in range(count)), return_exceptions=True)


def own_answers_or_none(answers: Sequence[ScriptResult | BaseException]) -> bool:
    """Whether each has its own answer, or learnt that the store is away."""
    return all(
        isinstance(each, StoreAwayError) or (isinstance(each, ScriptResult) and int(each.value) == place)
        for place, each in enumerate(answers)
    )


def only_first(change: Callable[[bytes], bytes | None]) -> Callable[[Sequence[bytes]], list[bytes]]:
    """Changes the first reply to a script, and passes the others on."""
    done: list[bool] = []

    def rewrite(replies: Sequence[bytes]) -> list[bytes]:
        out = []
        for each in replies:
            changed = None if done or not each.startswith(b"*5") else change(each)
            if changed is not None:
                done.append(True)
            out.append(each if changed is None else changed)
        return out

    return rewrite


async def test_two_replies_that_are_swapped_reach_nobody(proxy: StoreProxy) -> None:
    heard = Heard()
    async with store_up(store_at(proxy.path, heard)) as store:
        await ask(store, 1)
        proxy.rewrite = lambda replies: replies[::-1] if len(replies) > 1 else replies
        answers = await ask(store, 20)
        assert own_answers_or_none(answers)
        if AwayReason.PROTOCOL not in heard.events:
            pytest.fail(str(heard.events))


@pytest.mark.parametrize("count", [1, 20])
async def test_a_reply_that_comes_twice_reaches_one_caller(proxy: StoreProxy, count: int) -> None:
    heard = Heard()
    async with store_up(store_at(proxy.path, heard)) as store:
        await ask(store, 1)
        proxy.rewrite = only_first(lambda reply: 2 * reply)
        assert own_answers_or_none(await ask(store, count))
        await until(lambda: AwayReason.PROTOCOL in heard.events)


async def test_a_reply_that_was_lost_shifts_no_others(proxy: StoreProxy) -> None:
    heard = Heard()
    async with store_up(store_at(proxy.path, heard)) as store:
        await ask(store, 1)
        proxy.rewrite = only_first(lambda _: b"")
        answers = await ask(store, 20)
        assert own_answers_or_none(answers)
        assert heard.events[:2] == ["up", AwayReason.PROTOCOL]


GARBAGE = {
    "null": b"_\r\n",
    "null bulk": b"$-1\r\n",
    "number": b":1\r\n",
    "short array": b"*2\r\n:1\r\n:2\r\n",
    "array of nulls": b"*5\r\n_\r\n_\r\n_\r\n_\r\n_\r\n",
    "no protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "map with lists for keys": b"%1\r\n*0\r\n:1\r\n",
    "deep arrays": b"*1\r\n" * 10_000,
    "array of a billion": b"*1000000000\r\n",
    "nested array of a billion": b"*5\r\n*1000000000\r\n",
    "bulk of a tera": b"$999999999999\r\n" + b"x" * 100,
    "number that is none": b":twelve\r\n",
    "stray message": b">3\r\n*1\r\n$1\r\na\r\n*0\r\n$-1\r\n_\r\n",
    "message of nobody's": b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n_\r\n",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_what_is_no_answer_takes_the_store_away_at_once(proxy: StoreProxy, garbage: bytes) -> None:
    heard = Heard()
    async with store_up(store_at(proxy.path, heard, seconds=0.5)) as store:
        await ask(store, 1)
        proxy.rewrite = only_first(lambda _: garbage)
        assert own_answers_or_none(await ask(store, 3))
        assert heard.events[1:] in ([AwayReason.PROTOCOL], [AwayReason.TIMEOUT])
        await until(lambda: store.is_up)
        assert own_answers_or_none(await ask(store, 3))


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_what_is_no_greeting_lets_nobody_in_and_is_tried_again(proxy: StoreProxy, garbage: bytes) -> None:
    heard = Heard()
    proxy.rewrite = lambda _: [garbage]
    async with store_at(proxy.path, heard, seconds=0.5) as store:
        await until(lambda: bool(heard.events))
        assert not store.is_up
        assert heard.events[0] in {AwayReason.PROTOCOL, AwayReason.TIMEOUT}
        proxy.rewrite = lambda replies: replies
        await until(lambda: store.is_up)


async def test_one_reply_may_take_no_more_than_a_bound(proxy: StoreProxy) -> None:
    heard = Heard()
    async with store_up(store_at(proxy.path, heard, seconds=20)) as store:
        await ask(store, 1)
        proxy.rewrite = only_first(
            lambda _: b"*5\r\n$90000000\r\n" + b"x" * 90_000_000 + b"\r\n:1\r\n:1\r\n:1\r\n:1\r\n"
        )
        assert own_answers_or_none(await ask(store, 1))
        assert heard.events == ["up", AwayReason.PROTOCOL]


async def test_all_replies_that_come_while_one_call_waits_have_a_bound(
    proxy: StoreProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.shared_store.pipeline._MOST_BYTES_MEANWHILE", 300_000)
    heard = Heard()
    async with store_up(store_at(proxy.path, heard)) as store:
        await ask(store, 1)
        few = await asyncio.gather(*(store.run(ECHO, [], [b"x" * 50_000]) for _ in range(5)))
        assert [len(each.value) for each in few] == [50_000] * 5
        many = await asyncio.gather(*(store.run(ECHO, [], [b"x" * 50_000]) for _ in range(9)), return_exceptions=True)
        assert [type(each) for each in many] == [*([ScriptResult] * 5), *([StoreAwayError] * 4)]
        assert heard.events == ["up", AwayReason.PROTOCOL]


@pytest.mark.parametrize("place", [1, 4, 30, -1])
async def test_a_connection_that_is_cut_within_a_reply_gives_nobody_half_of_it(proxy: StoreProxy, place: int) -> None:
    heard = Heard()
    async with store_up(store_at(proxy.path, heard)) as store:
        await ask(store, 1)

        def cut(reply: bytes) -> bytes:
            asyncio.get_running_loop().call_later(0.02, proxy.cut)
            return reply[:place]

        passed = only_first(cut)
        proxy.rewrite = lambda replies: passed(replies)[:1]
        answers = await ask(store, 5)
        assert {type(each) for each in answers} == {StoreAwayError}
        assert heard.events[1] in {AwayReason.UNREACHABLE, AwayReason.PROTOCOL}
        proxy.rewrite = lambda replies: replies
        await until(lambda: store.is_up)
        assert own_answers_or_none(await ask(store, 5))


async def test_a_store_that_drips_is_away_after_the_time_for_one_answer(proxy: StoreProxy) -> None:
    heard = Heard()
    async with store_up(store_at(proxy.path, heard, seconds=0.15)) as store:
        await ask(store, 1)
        proxy.pause = 0.01
        began = time.monotonic()
        assert own_answers_or_none(await ask(store, 100))
        assert time.monotonic() - began > 0.1
        assert heard.events == ["up", AwayReason.TIMEOUT]


@pytest.mark.parametrize("error", ["OOM", "READONLY", "MISCONF", "NOPERM", "NOREPLICAS", "ERR"])
async def test_an_error_is_the_callers_alone_and_nothing_of_its_text_is_kept(proxy: StoreProxy, error: str) -> None:
    heard = Heard()
    async with store_up(store_at(proxy.path, heard)) as store:
        await ask(store, 1)
        proxy.rewrite = only_first(lambda _: f"-{error} secret-canary\r\n".encode())
        answers = await ask(store, 3)
        assert [type(each) for each in answers] == [StoreRefusedError, ScriptResult, ScriptResult]
        assert str(answers[0]) == error
        assert heard.events == ["up", error]


async def test_a_word_that_no_server_says_is_not_kept(proxy: StoreProxy) -> None:
    heard = Heard()
    async with store_up(store_at(proxy.path, heard)) as store:
        await ask(store, 1)
        proxy.rewrite = only_first(lambda _: b"-CANARY \xff\xfe\r\n")
        (answer,) = await ask(store, 1)
        assert str(answer) == "ERR"


GREETINGS = {
    b"-ERR unknown command 'HELLO'\r\n": AwayReason.PROTOCOL,
    b"-NOPROTO unsupported protocol version\r\n": AwayReason.PROTOCOL,
    b"-LOADING Redis is loading the dataset in memory\r\n": AwayReason.LOADING,
    b"-MASTERDOWN Link with MASTER is down\r\n": AwayReason.LOADING,
    b"-WRONGPASS invalid username-password pair\r\n": AwayReason.LOGIN,
    b"-NOAUTH Authentication required.\r\n": AwayReason.LOGIN,
    b"-DENIED Redis is running in protected mode\r\n": AwayReason.LOGIN,
    b"-ERR max number of clients reached\r\n": AwayReason.PROTOCOL,
}


@pytest.mark.parametrize(("refusal", "reason"), GREETINGS.items(), ids=lambda each: str(each)[:12])
@pytest.mark.parametrize("place", ["%", "*5"], ids=["login", "probe"])
async def test_a_refused_greeting_says_why_and_is_tried_again(
    proxy: StoreProxy, refusal: bytes, reason: AwayReason, place: str
) -> None:
    heard = Heard()
    proxy.rewrite = lambda replies: [refusal if each.startswith(place.encode()) else each for each in replies]
    async with store_at(proxy.path, heard) as store:
        await until(lambda: bool(heard.events))
        assert store.away_reason is reason
        proxy.rewrite = lambda replies: replies
        await until(lambda: store.is_up)


async def test_a_server_that_begins_to_load_is_away_until_it_is_done(proxy: StoreProxy) -> None:
    heard = Heard()
    async with store_up(store_at(proxy.path, heard)) as store:
        await ask(store, 1)
        proxy.rewrite = only_first(lambda _: b"-LOADING Redis is loading\r\n")
        assert {type(each) for each in await ask(store, 3)} == {StoreAwayError}
        assert heard.events == ["up", AwayReason.LOADING]
        await until(lambda: store.is_up)


def shifted(seconds: int) -> Callable[[Sequence[bytes]], list[bytes]]:
    """Moves the server's clock in all replies to scripts."""

    def shift(reply: bytes) -> bytes:
        def later(found: re.Match[bytes]) -> bytes:
            return b"\r\n$10\r\n%d\r\n" % (int(found[1]) + seconds)

        return re.sub(rb"\r\n\$10\r\n(\d{10})\r\n", later, reply, count=1) if reply.startswith(b"*5") else reply

    return lambda replies: list(map(shift, replies))


@pytest.mark.parametrize("jump", [-3_600, 3_600])
async def test_a_clock_that_jumps_is_said_and_makes_nothing_younger(proxy: StoreProxy, jump: int) -> None:
    heard = Heard()
    async with store_up(store_at(proxy.path, heard)) as store:
        await ask(store, 1)
        stamped, at = store.clock.to_server(time.monotonic()), time.monotonic()
        proxy.rewrite = shifted(jump)
        await ask(store, 3)
        assert heard.events == ["up", "CLOCK"]
        # By the former clock; and what looks as if it were of it, since an hour passes until the new one is past it.
        assert store.clock.to_local(stamped) <= at + 0.01
        assert store.clock.to_local(stamped - 5_000_000) <= at - 4.99
        assert store.clock.to_local(store.clock.to_server(at)) <= at + 0.01


@pytest.mark.parametrize("jump", [-3_600, 3_600])
async def test_a_process_that_starts_after_the_clock_was_put_back_learns_of_it(
    server: Store, proxy: StoreProxy, monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    monkeypatch.setattr("gateway.shared_store.store._NOTE_SECONDS", 0.02)
    server.command("FLUSHALL")
    async with store_up(store_at(proxy.path)) as store:
        await ask(store, 1)
        stamped, at = store.clock.to_server(time.monotonic()), time.monotonic()
        await until(lambda: server.command("EXISTS", "leyr-gateway:clock") == b":1\r\n")
    proxy.rewrite = shifted(jump)
    heard = Heard()
    async with store_up(store_at(proxy.path, heard)) as store:
        assert heard.events == (["CLOCK", "up"] if jump < 0 else ["up"])
        assert store.clock.to_local(stamped) <= at + 0.1


@pytest.mark.parametrize("value", ["x", "-1", "9" * 17, "1.5", ""])
async def test_a_last_time_that_somebody_else_wrote_keeps_nobody_out(
    server: Store, proxy: StoreProxy, value: str
) -> None:
    server.command("SET", "leyr-gateway:clock", value)
    async with store_up(store_at(proxy.path)) as store:
        assert own_answers_or_none(await ask(store, 2))
    server.command("DEL", "leyr-gateway:clock")
    server.command("LPUSH", "leyr-gateway:clock", value)
    async with store_up(store_at(proxy.path)) as store:
        assert own_answers_or_none(await ask(store, 2))
    server.command("DEL", "leyr-gateway:clock")


@pytest.mark.parametrize("second", [b"-1", b"99999999999999999999", b"1" * 5_000, b"x"])
async def test_a_time_that_is_none_is_not_taken(proxy: StoreProxy, second: bytes) -> None:
    heard = Heard()
    async with store_up(store_at(proxy.path, heard)) as store:
        await ask(store, 1)
        bulk = b"\r\n$%d\r\n%b\r\n" % (len(second), second)
        proxy.rewrite = lambda replies: [re.sub(rb"\r\n\$10\r\n\d{10}\r\n", bulk, each, count=1) for each in replies]
        assert {type(each) for each in await ask(store, 2)} == {StoreAwayError}
        assert heard.events[:2] == ["up", AwayReason.PROTOCOL]
