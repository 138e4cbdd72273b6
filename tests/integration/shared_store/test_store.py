"""A store over a real server: one pipeline a turn, in time or not at all, and nobody gets another's answer."""

import asyncio
import gc
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from gateway.shared_store.errors import AwayReason, StoreAwayError, StoreRefusedError
from gateway.shared_store.script import Script, ScriptResult
from gateway.shared_store.store import SharedStore
from tests.stand_ins.store_proxy import StoreProxy
from tests.stores import ECHO, KEEP, Heard, Store, store_at, store_up, until

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@pytest.fixture
async def store(server: Store) -> AsyncIterator[SharedStore]:
    async with store_up(store_at(server.socket)) as found:
        yield found


@pytest.fixture
async def proxy(server: Store) -> AsyncIterator[StoreProxy]:
    async with StoreProxy(server.socket, server.folder / f"p{os.urandom(4).hex()}") as found:
        yield found


def cancel(*tasks: asyncio.Task[ScriptResult]) -> None:
    for each in tasks:
        each.cancel()


async def test_all_scripts_of_one_turn_leave_together_and_each_gets_its_own_answer(proxy: StoreProxy) -> None:
    async with store_up(store_at(proxy.path)) as store:
        proxy.requests.clear()
        answers = await asyncio.gather(*(store.run(ECHO, [], [number]) for number in range(50)))
        assert [int(each.value) for each in answers] == list(range(50))
        # Whole once, then by its digest.
        assert [(each.count(b"EVAL_RO"), each.count(b"EVALSHA_RO")) for each in proxy.requests] == [(1, 49)]
        assert proxy.connections == 1


async def test_nothing_overtakes_a_script_that_the_server_does_not_have(server: Store) -> None:
    get = Script("return redis.call('GET', KEYS[1])", only_reads=True)
    for number in range(3):
        server.command("SCRIPT", "FLUSH")
        async with store_up(store_at(server.socket)) as store:
            # It is known, but what comes before is not.
            await store.run(get, ["overtaken"], [])
            for turn in range(3):
                value = b"%d-%d" % (number, turn)
                store.tell(KEEP, ["overtaken"], [value])
                assert (await store.run(get, ["overtaken"], [])).value == value


async def test_a_script_whose_first_run_was_cancelled_runs_all_the_same(server: Store) -> None:
    server.command("SCRIPT", "FLUSH")
    async with store_up(store_at(server.socket)) as store:
        first = asyncio.create_task(store.run(ECHO, [], ["first"]))
        second = asyncio.create_task(store.run(ECHO, [], ["second"]))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).value == b"second"


async def test_a_script_that_the_server_lost_is_sent_whole_and_runs_once(server: Store, store: SharedStore) -> None:
    count = Script("return redis.call('INCR', KEYS[1])")
    server.command("SCRIPT", "FLUSH")
    answers = await asyncio.gather(*(store.run(count, ["counted"], []) for _ in range(20)), store.run(ECHO, [], ["e"]))
    assert sorted(each.value for each in answers[:-1]) == list(range(1, 21))
    assert answers[-1].value == b"e"
    server.command("FLUSHALL")


@pytest.mark.parametrize("value", ["nil", "false"])
async def test_a_script_without_a_value_gives_none(store: SharedStore, value: str) -> None:
    assert (await store.run(Script(f"return {value}"), [], [])).value is None


async def test_an_error_in_a_script_is_refused_by_its_kind_and_takes_nothing_else_away(store: SharedStore) -> None:
    await store.run(KEEP, ["text"], ["x"])
    for source in ("return redis.call('INCR', KEYS[1])", "return nil + 1", "return redis.error_reply('OOM x')"):
        with pytest.raises(StoreRefusedError) as refused:
            await store.run(Script(source), ["text"], [])
        assert refused.value.kind in {"ERR", "OOM"}
    with pytest.raises(StoreRefusedError) as refused:
        await store.run(Script("return redis.call('XLEN', KEYS[1])"), ["text"], [])
    assert refused.value.kind == "WRONGTYPE"
    assert store.is_up


async def test_hung_server_fails_all_that_waits_at_one_instant_and_further_calls_at_once(server: Store) -> None:
    heard = Heard()
    async with store_up(store_at(server.socket, heard, seconds=0.15)) as store:
        server.command("CLIENT", "PAUSE", "800", "ALL")
        began = time.monotonic()
        early = [asyncio.create_task(store.run(ECHO, [], [number])) for number in range(10)]
        await asyncio.sleep(0.1)
        late = asyncio.create_task(store.run(ECHO, [], ["late"]))
        failed = await asyncio.gather(*early, late, return_exceptions=True)
        assert {type(each) for each in failed} == {StoreAwayError}
        assert time.monotonic() - began >= 0.14
        with pytest.raises(StoreAwayError):
            await store.run(ECHO, [], ["later"])
        assert heard.events == ["up", AwayReason.TIMEOUT]
        await until(lambda: store.is_up)
        assert (await store.run(ECHO, [], ["again"])).value == b"again"


async def test_a_loop_that_was_held_does_not_count_as_the_stores_slowness(server: Store) -> None:
    async with store_up(store_at(server.socket, seconds=0.3)) as store:
        for _ in range(4):
            waiting = [asyncio.create_task(store.run(ECHO, [], [b"x" * 1_000])) for _ in range(20)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            time.sleep(0.4)  # noqa: ASYNC251 # a step that holds the loop
            assert [len((await each).value) for each in waiting] == [1_000] * 20


async def test_a_closed_port_costs_a_call_no_turn_of_the_loop(tmp_path: Path) -> None:
    heard = Heard()
    async with store_at(tmp_path / "none", heard) as store:
        await until(lambda: bool(heard.events))
        turned: list[bool] = []
        asyncio.get_running_loop().call_soon(turned.append, True)  # noqa: FBT003 # a mark
        with pytest.raises(StoreAwayError) as away:
            await store.run(ECHO, [], [])
        store.tell(ECHO, [], [])
        assert turned == []
        assert away.value.reason is AwayReason.UNREACHABLE


async def test_a_server_that_does_not_read_makes_no_tasks_and_its_queue_is_bounded(server: Store) -> None:
    heard = Heard()
    async with store_up(store_at(server.socket, heard, seconds=20)) as store:
        server.signal(signal.SIGSTOP)
        tasks = len(asyncio.all_tasks())
        for _ in range(40):
            store.tell(KEEP, ["large"], [b"x" * 1_000_000])
            await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == tasks
        assert "FULL" in heard.events
        assert heard.events.count("FULL") < 20
        for _ in range(11_000):
            store.tell(ECHO, [], [])
        with pytest.raises(StoreAwayError) as full:
            await store.run(ECHO, [], [])
        assert full.value.reason is AwayReason.FULL
        server.signal(signal.SIGCONT)
        await until(lambda: store._pipeline is not None and not store._pipeline._sent)  # noqa: SLF001 # no other sign
        assert (await store.run(ECHO, [], ["well"])).value == b"well"
        assert AwayReason.TIMEOUT not in heard.events


async def test_a_hundred_thousand_cancellations_mix_up_no_answers_and_lose_no_connection(proxy: StoreProxy) -> None:
    heard, chance = Heard(), Random(18)  # noqa: S311 # chance, not a secret
    wrong = answered = 0
    async with store_up(store_at(proxy.server, heard, seconds=20)) as store:
        for batch in range(100):
            numbers = range(batch * 1_000, batch * 1_000 + 1_000)
            tasks = [asyncio.create_task(store.run(ECHO, [], [number])) for number in numbers]
            for turn in range(4):
                await asyncio.sleep(0)
                for task in tasks[turn::4]:
                    if chance.random() < 0.6:
                        task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            for number, result in zip(numbers, done, strict=True):
                if not isinstance(result, BaseException):
                    answered += 1
                    wrong += int(result.value) != number
        assert wrong == 0
        assert answered > 20_000
        assert heard.events == ["up"]


async def test_who_is_cancelled_in_the_turn_of_a_failure_leaves_no_fault_behind(proxy: StoreProxy) -> None:
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    store = store_at(proxy.path)
    async with store_up(store):
        await store.run(ECHO, [], ["x"])
        tasks = [asyncio.create_task(store.run(ECHO, [], [number])) for number in range(20)]
        store.on_away(lambda: cancel(*tasks))
        await asyncio.sleep(0)
        proxy.cut()
        await asyncio.wait(tasks)
        tasks.clear()
    gc.collect()
    await asyncio.sleep(0)
    assert faults == []


async def test_a_follower_that_fails_takes_nothing_away(server: Store, store: SharedStore) -> None:
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["exception"]))
    heard = Heard()
    follower = store_at(server.socket, heard)

    def fail(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    follower.on_up(fail)
    follower.on_away(fail)
    follower.follow("news", fail)
    async with store_up(follower):
        publish = Script("return redis.call('PUBLISH', ARGV[1], 'x')")
        await store.run(publish, [], [store.channel("news")])
        await until(lambda: AwayReason.PROTOCOL in heard.events)
        await until(lambda: follower.is_up)
        assert (await follower.run(ECHO, [], ["on"])).value == b"on"
    assert {type(each) for each in faults} == {RuntimeError}


@pytest.mark.parametrize("moment", [0.0, 0.001, 0.01, 0.1])
async def test_leaving_is_quick_at_any_moment_and_leaves_no_task(server: Store, moment: float) -> None:
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(server.folder / f"h{os.urandom(4).hex()}"))
        hanging.listen()
        before = asyncio.all_tasks()
        for path in (server.socket, Path(hanging.getsockname()), server.folder / "none"):
            store = store_at(path)
            async with store:
                await asyncio.sleep(moment)
                waiting = asyncio.ensure_future(store.run(ECHO, [], []))
                await asyncio.sleep(0)
            assert asyncio.all_tasks() <= before | {waiting}
            await asyncio.wait({waiting})
            assert waiting.exception() is None or isinstance(waiting.exception(), StoreAwayError | StoreRefusedError)
            with pytest.raises(StoreAwayError) as closed:
                await store.run(ECHO, [], [])
            assert closed.value.reason is AwayReason.CLOSED
