"""A real Valkey or Redis server for tests, on a unix socket of its own, without a disk."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

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
