"""A store that several gateways share, which is killed and started again where it was."""

import asyncio
import os
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Self

_STARTS_WITHIN_SECONDS = 30.0
_LONGEST_AWAY_SECONDS = 2.0
_A_MOMENT = 0.02


class SharedStoreServer:
    """A Valkey or Redis server that syncs each write to its disk; a context manager ends it.

    Its socket lies in a folder of its own, since the path of a socket may have a hundred letters.
    """

    def __init__(self, folder: Path, appendfsync: str = "always") -> None:
        self._folder, self._appendfsync = folder, appendfsync
        self._short = TemporaryDirectory(prefix="store")
        self._socket = Path(self._short.name) / "s"
        self._process: subprocess.Popen[bytes] | None = None
        self._is_restarting = False
        self.kills = 0

    @property
    def url(self) -> str:
        """What GATEWAY_SHARED_URL is to be."""
        return f"unix://{self._socket}"

    def __enter__(self) -> Self:
        self._start()
        asyncio.run(self._answers())
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()
        self._short.cleanup()

    async def restart(self, chance: Random) -> None:
        """Kill it, as a machine does that fails, and start it again after up to two seconds."""
        if self._is_restarting:
            return
        self._is_restarting = True
        self.kills += 1
        await asyncio.to_thread(self._kill)
        await asyncio.sleep(_LONGEST_AWAY_SECONDS * chance.random())
        self._start()
        await self._answers()
        self._is_restarting = False

    def _start(self) -> None:
        listen = ("--port", "0", "--unixsocket", str(self._socket), "--dir", str(self._folder))
        disk = ("--save", "", "--appendonly", "yes", "--appendfsync", self._appendfsync)
        with (self._folder / "store.log").open("ab") as said:
            self._process = subprocess.Popen([_server(), *listen, *disk], stdout=said, stderr=said)

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._socket.unlink(missing_ok=True)

    async def _answers(self) -> None:
        """Wait until it answers. Raises TimeoutError."""
        until = time.monotonic() + _STARTS_WITHIN_SECONDS
        while time.monotonic() < until:
            with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
                client.settimeout(1)
                client.connect(str(self._socket))
                client.sendall(b"PING\r\n")
                if client.recv(64).startswith(b"+PONG"):
                    return
            await asyncio.sleep(_A_MOMENT)
        raise TimeoutError("the store does not answer")


def _server() -> str:
    found = os.environ.get("STORE_SERVER") or shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise FileNotFoundError("valkey-server or redis-server is needed")
    return found
