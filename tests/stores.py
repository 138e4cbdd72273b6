"""A real Valkey or Redis server for tests, on a unix socket of its own, without a disk; and stores over it."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

from gateway.shared_store.address import StoreAddress
from gateway.shared_store.connection import ServerConnection
from gateway.shared_store.errors import AwayReason
from gateway.shared_store.script import Script
from gateway.shared_store.store import SharedStore, StoreConfig, StoreEvents
from tests.e2e.requirement import need

_START_SECONDS = 20


@dataclass
class Store:
    """A running server, which a test may stop, kill, and start again."""

    folder: Path
    options: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.folder / "s"

    @property
    def url(self) -> str:
        """What GATEWAY_SHARED_URL is to be."""
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        listen = ("--port", "0", "--unixsocket", str(self.socket))
        quiet = ("--save", "", "--appendonly", "no", "--dir", str(self.folder), "--logfile", str(self.folder / "log"))
        self.process = subprocess.Popen([need_store_server(), *listen, *quiet, *self.options])
        until = monotonic() + _START_SECONDS
        while monotonic() < until:
            with suppress(OSError):
                if self.command("PING").startswith((b"+PONG", b"-NOAUTH", b"-NOPERM")):
                    return
            sleep(0.01)
        raise AssertionError((self.folder / "log").read_text())

    def command(self, *words: str) -> bytes:
        """What it answers to a command, as it comes, of at most 64 kB."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(self.socket))
            client.sendall(f"*{len(words)}\r\n".encode())
            client.sendall(b"".join(b"$%d\r\n%b\r\n" % (len(each.encode()), each.encode()) for each in words))
            return client.recv(65_536)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, such as SIGSTOP."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.socket.unlink(missing_ok=True)


def need_store_server() -> str:
    """Where valkey-server or redis-server is."""
    found = os.environ.get("STORE_SERVER") or shutil.which("valkey-server") or shutil.which("redis-server")
    need("store", there=found, how="install valkey-server or redis-server, or let STORE_SERVER name it")
    return str(found)


@contextmanager
def running_store(*options: str) -> Iterator[Store]:
    """A server with further options, as on its command line."""
    # A socket's path may have a hundred letters, and pytest's folders may be longer.
    with TemporaryDirectory(prefix="store") as folder:
        store = Store(Path(folder), options)
        store.start()
        try:
            yield store
        finally:
            if store.process is not None and store.process.poll() is None:
                store.process.kill()
                store.process.wait()


class Heard:
    """What a store says happened, in order."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def store_up(self) -> None:
        self.events.append("up")

    def store_away(self, reason: AwayReason) -> None:
        self.events.append(reason)

    def store_refused(self, kind: str) -> None:
        self.events.append(kind)

    def store_garbage(self) -> None:
        self.events.append("garbage")


ECHO = Script("return ARGV[1]", only_reads=True)
"""Returns what it is given."""
KEEP = Script("return redis.call('SET', KEYS[1], ARGV[1], 'PX', 60000)")
"""Keeps a value for a minute."""


def store_at(address: StoreAddress | Path, heard: StoreEvents | None = None, *, seconds: float = 2.0) -> SharedStore:
    """A store that is not entered yet; a test's machine may be slow, so each answer may take long unless told."""
    where = StoreAddress(path=str(address)) if isinstance(address, Path) else address
    return SharedStore(
        StoreConfig(where, seconds),
        heard or Heard(),
        connect=ServerConnection.open,
        clock=monotonic,
        new_secret=lambda: os.urandom(32),
        chance=lambda: 0.0,
    )


@asynccontextmanager
async def store_up(store: SharedStore) -> AsyncIterator[SharedStore]:
    """A store that answers."""
    async with store:
        await until(lambda: store.is_up)
        yield store


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 # what is waited for tells nobody
            await asyncio.sleep(0.002)
