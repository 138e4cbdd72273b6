"""A store that hangs, dies, forgets, refuses or is full: said once with what to do, and up again when it is well."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path

import pytest

from gateway.logging import build_log
from gateway.shared_store.address import StoreAddress
from gateway.shared_store.errors import AwayReason, StoreAwayError, StoreRefusedError
from gateway.shared_store.event_log import EventLogs, NewValue
from gateway.shared_store.sealing import Sealing
from gateway.shared_store.store import SharedStore
from gateway.telemetry.shared_store_log import SharedStoreEvents
from tests.stores import ECHO, KEEP, Heard, Store, running_store, store_at, store_up, until

pytestmark = pytest.mark.anyio
SECRET = "canary-password"  # it must never be seen


class Said:
    """The real log's lines, and what it heard."""

    def __init__(self) -> None:
        self.text = StringIO()
        self.events = SharedStoreEvents(build_log("info", self.text))

    @property
    def lines(self) -> list[tuple[str, str]]:
        """Each event with its reason or kind."""
        found = []
        for line in map(json.loads, self.text.getvalue().splitlines()):
            assert line["event"] == "shared_store.up" or len(line["action"]) > 20
            found.append((line["event"].partition(".")[2], line.get("reason", line.get("kind", ""))))
        return found


@asynccontextmanager
async def said(address: StoreAddress | Path, seconds: float = 0.3) -> AsyncIterator[tuple[SharedStore, Said]]:
    """A store that is being connected to, and what the log says of it; nothing secret is ever in it."""
    log = Said()
    store = store_at(address, log.events, seconds=seconds)
    async with store:
        yield store, log
    assert SECRET not in log.text.getvalue()
    assert "store-user" not in log.text.getvalue()


async def works(store: SharedStore) -> bool:
    await store.run(KEEP, ["name"], ["value"])
    return bool((await store.run(ECHO, [], ["echo"])).value == b"echo")


async def test_a_stopped_server_is_away_once_and_up_again_when_it_goes_on(server: Store) -> None:
    async with said(server.socket) as (store, log):
        await until(lambda: store.is_up)
        server.signal(signal.SIGSTOP)
        for _ in range(3):
            with pytest.raises(StoreAwayError):
                await store.run(ECHO, [], ["x"])
        # Two attempts to connect meanwhile say nothing further.
        await asyncio.sleep(1.2)
        server.signal(signal.SIGCONT)
        await until(lambda: store.is_up)
        assert await works(store)
        assert log.lines == [("up", ""), ("away", "timeout"), ("up", "")]


async def test_a_server_that_hangs_while_nobody_asks_is_found_out(
    server: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.shared_store.store._NOTE_SECONDS", 0.05)
    async with said(server.socket) as (store, log):
        await until(lambda: store.is_up)
        await asyncio.sleep(0.3)
        assert log.lines == [("up", "")]
        server.signal(signal.SIGSTOP)
        await until(lambda: not store.is_up)
        server.signal(signal.SIGCONT)
        await until(lambda: store.is_up)
        assert log.lines == [("up", ""), ("away", "timeout"), ("up", "")]


async def test_a_killed_server_is_away_and_up_again_after_its_restart() -> None:
    with running_store() as server:
        async with said(server.socket) as (store, log):
            await until(lambda: store.is_up)
            assert await works(store)
            server.kill()
            await until(lambda: not store.is_up)
            with pytest.raises(StoreAwayError) as away:
                await store.run(ECHO, [], ["x"])
            assert away.value.reason is AwayReason.UNREACHABLE
            await asyncio.sleep(0.7)
            server.start()
            await until(lambda: store.is_up)
            # It knows no script any more.
            assert await works(store)
            assert log.lines == [("up", ""), ("away", "unreachable"), ("up", "")]


@pytest.mark.parametrize("command", [("FLUSHALL",), ("SCRIPT", "FLUSH"), ("CLIENT", "NO-EVICT", "ON")])
async def test_what_it_forgets_takes_nothing_away(server: Store, command: tuple[str, ...]) -> None:
    async with said(server.socket) as (store, log):
        await until(lambda: store.is_up)
        assert await works(store)
        server.command(*command)
        assert await works(store)
        assert log.lines == [("up", "")]


async def test_a_killed_connection_is_made_anew_and_follows_its_channels_again(server: Store) -> None:
    heard: list[bytes] = []
    log = Said()
    store = store_at(server.socket, log.events)
    store.follow("news", heard.append)
    async with store_up(store):
        server.command("CLIENT", "KILL", "TYPE", "pubsub")
        await until(lambda: not store.is_up)
        await until(lambda: store.is_up)
        server.command("PUBLISH", store.channel("news"), "x")
        await until(lambda: heard == [b"x"])
        assert log.lines == [("up", ""), ("away", "unreachable"), ("up", "")]


async def test_a_full_server_goes_on_reading_and_says_once_what_to_set() -> None:
    with running_store("--maxmemory", "2mb", "--maxmemory-policy", "noeviction") as server:
        async with said(server.socket, 2) as (store, log):
            await until(lambda: store.is_up)
            assert await works(store)
            for number in range(40):
                try:
                    await store.run(KEEP, [f"large{number}"], [b"x" * 100_000])
                except StoreRefusedError as refused:
                    assert refused.kind == "OOM"  # noqa: PT017 # the first ones have room
            assert (await store.run(ECHO, [], ["read"])).value == b"read"
            assert log.lines == [("up", ""), ("refused", "OOM")]
            server.command("FLUSHALL")
            assert await works(store)


async def test_a_replica_goes_on_reading_and_says_once_what_to_set() -> None:
    with running_store() as server:
        async with said(server.socket, 2) as (store, log):
            await until(lambda: store.is_up)
            server.command("REPLICAOF", "127.0.0.1", "1")
            for _ in range(2):
                with pytest.raises(StoreRefusedError) as refused:
                    await store.run(KEEP, ["name"], ["x"])
                assert refused.value.kind == "READONLY"
            assert (await store.run(ECHO, [], ["read"])).value == b"read"
            assert log.lines == [("up", ""), ("refused", "READONLY")]
            server.command("REPLICAOF", "NO", "ONE")
            assert await works(store)


async def test_a_server_that_cannot_save_goes_on_reading_and_says_once_what_to_look_at() -> None:
    with running_store("--enable-protected-configs", "yes") as server:
        gone = server.folder / "gone"
        gone.mkdir()
        server.command("CONFIG", "SET", "dir", str(gone))
        gone.rmdir()
        server.command("CONFIG", "SET", "save", "1 1")
        server.command("BGSAVE")
        async with said(server.socket, 2) as (store, log):
            await until(lambda: store.is_up)
            await until(lambda: b"last_bgsave_status:err" in server.command("INFO", "persistence"))
            with pytest.raises(StoreRefusedError):
                await store.run(KEEP, ["name"], ["x"])
            assert (await store.run(ECHO, [], ["read"])).value == b"read"
            assert log.lines == [("up", ""), ("refused", "MISCONF")]


def user(server: Store, *rules: str) -> StoreAddress:
    server.command("ACL", "SETUSER", "store-user", "reset", "on", f">{SECRET}", *rules)
    return StoreAddress(path=str(server.socket), username="store-user", password=SECRET)


async def test_a_wrong_password_is_said_once_and_up_when_it_is_right(server: Store) -> None:
    address = user(server, "allcommands", "allkeys", "allchannels")
    server.command("ACL", "SETUSER", "store-user", "resetpass", ">another")
    async with said(address) as (store, log):
        await asyncio.sleep(1.3)
        assert log.lines == [("away", "login")]
        server.command("ACL", "SETUSER", "store-user", f">{SECRET}")
        await until(lambda: store.is_up)
        assert await works(store)


async def test_a_password_that_is_asked_for_later_is_said(server: Store) -> None:
    address = user(server, "allcommands", "allkeys", "allchannels")
    async with said(address) as (store, log):
        await until(lambda: store.is_up)
        server.command("ACL", "DELUSER", "store-user")
        await until(lambda: ("away", "login") in log.lines)
        user(server, "allcommands", "allkeys", "allchannels")
        await until(lambda: store.is_up)
        assert await works(store)


NEEDED = ("+@read", "+eval_ro", "+evalsha_ro", "+time", "+subscribe")


# What the store and its event logs use, and nothing else.
SUFFICIENT = (
    *("+subscribe", "+eval", "+evalsha", "+eval_ro", "+evalsha_ro", "+time", "+get", "+mget", "+set", "+del"),
    *("+pexpire", "+publish", "+xadd", "+xrange", "+xrevrange", "+xtrim", "~leyr-gateway:*", "&leyr-gateway:*"),
)


async def test_few_rights_are_enough(server: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.shared_store.store._NOTE_SECONDS", 0.02)
    log = Said()
    store = store_at(user(server, *SUFFICIENT), log.events)
    logs = EventLogs(store, Sealing(b"secret", ("1",), lambda: os.urandom(32)))
    async with store_up(store):
        name, lease = logs.sealing.name("log", "rights"), logs.sealing.name("lease", "rights")
        await logs.append(name, b"began", lease=lease, value=NewValue(name, b"value", 10_000))
        assert (await logs.read(name)).events[0].event == b"began"
        assert list(await logs.values([name])) == [b"value"]
        logs.renew([lease])
        assert list(await logs.alive([lease])) == [True]
        logs.end(lease)
        assert list(await logs.alive([lease])) == [False]
        await until(lambda: server.command("EXISTS", "leyr-gateway:clock") == b":1\r\n")
    assert log.lines == [("up", "")]


async def test_without_the_right_to_write_reading_goes_on(server: Store) -> None:
    address = user(server, *NEEDED, "+eval", "+evalsha", "~leyr-gateway:*", "&leyr-gateway:*")
    async with said(address, 2) as (store, log):
        await until(lambda: store.is_up)
        for _ in range(2):
            with pytest.raises(StoreRefusedError) as refused:
                await store.run(KEEP, ["name"], ["x"])
            assert refused.value.kind == "NOPERM"
        assert (await store.run(ECHO, [], ["read"])).value == b"read"
        assert log.lines == [("up", ""), ("refused", "NOPERM")]


@pytest.mark.parametrize(
    "rules",
    [
        (*NEEDED, "~leyr-gateway:*"),
        ("+@read", "+time", "+subscribe", "~*", "&*"),
        ("+@read", "+eval_ro", "+evalsha_ro", "+time", "~*", "&*"),
        ("+@read", "+eval_ro", "+evalsha_ro", "+subscribe", "~*", "&*"),
    ],
    ids=["channel", "scripts", "subscribe", "time"],
)
async def test_without_what_every_process_needs_it_is_away_and_says_what_to_give(
    server: Store, rules: tuple[str, ...]
) -> None:
    log = Said()
    store = store_at(user(server, *rules), log.events)
    store.follow("news", lambda _: None)
    async with store:
        await until(lambda: bool(log.lines))
        assert log.lines == [("away", "permission")]
        assert not store.is_up
        user(server, "allcommands", "allkeys", "allchannels")
        await until(lambda: store.is_up)
    assert SECRET not in log.text.getvalue()


async def test_another_database_is_another_store(server: Store) -> None:
    keep, get = KEEP, ECHO
    address = StoreAddress(path=str(server.socket), database=3)
    async with store_up(store_at(address)) as third:
        await third.run(keep, ["in-third"], ["x"])
        assert (await third.run(get, [], ["y"])).value == b"y"
    assert server.command("EXISTS", "leyr-gateway:in-third") == b":0\r\n"


async def test_a_database_that_is_not_there_is_said(server: Store) -> None:
    heard = Heard()
    async with store_at(StoreAddress(path=str(server.socket), database=10**6), heard):
        await until(lambda: bool(heard.events))
        assert heard.events == [AwayReason.PROTOCOL]


async def test_the_server_and_who_watches_it_see_no_name_no_value_and_no_secret(server: Store) -> None:
    canaries = [b"careunit-4711", b"doctor", b"19121212-1212", SECRET.encode(), b"https://leyr.example"]
    monitor = await asyncio.open_unix_connection(server.socket)
    monitor[1].write(b"MONITOR\r\n")
    assert await monitor[0].readline() == b"+OK\r\n"
    async with store_up(store_at(server.socket)) as store:
        context = ("1", "https://leyr.example")
        sealing = Sealing(SECRET.encode(), context, lambda: os.urandom(32))
        logs = EventLogs(store, sealing)
        heard: list[object] = []
        logs.follow(heard.append)
        name, value = sealing.name("log", "careunit-4711"), sealing.name("value", "doctor", "19121212-1212")
        lease = sealing.name("lease", "careunit-4711")
        await logs.append(name, b"doctor", lease=lease, value=NewValue(value, b"19121212-1212", 60_000))
        assert (await logs.read(name)).events[0].event == b"doctor"
        assert await logs.values([value]) == [b"19121212-1212"]
    monitor[1].write(b"QUIT\r\n")
    seen = await monitor[0].read(2**20)
    monitor[1].close()
    server.command("CONFIG", "SET", "rdbcompression", "no")
    assert server.command("SAVE") == b"+OK\r\n"
    kept = (server.folder / "dump.rdb").read_bytes()
    assert b"leyr-gateway:log:" in seen
    assert b"leyr-gateway:value:" in kept
    for canary in canaries:
        assert canary not in seen
        assert canary not in kept
