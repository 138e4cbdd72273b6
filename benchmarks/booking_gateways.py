"""Gateways on one journal that are killed and started again, each where it was."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Self

import httpx

_STARTS_WITHIN_SECONDS = 60.0
_A_MOMENT = 0.05


class Gateways:
    """Several `gateway serve`, which a context manager ends; what they say goes into files of the folder."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path, number: int = 2) -> None:
        self._command, self._environment, self._folder = command, environment, folder
        self._ports = _free_ports(number)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._restarting: set[int] = set()
        self.urls = [f"http://127.0.0.1:{port}" for port in self._ports]
        self.kills = 0

    def __enter__(self) -> Self:
        self._processes = [self._started(number) for number in range(len(self._ports))]
        for url in self.urls:
            asyncio.run(_ready(url))
        return self

    def __exit__(self, *_: object) -> None:
        # Nothing is asked any more, and how they stop in order is for others to see.
        for process in self._processes:
            process.kill()
            process.wait()

    async def restart_one(self, chance: Random) -> None:
        """Kill one that runs, as a machine does that takes memory back, and start it again."""
        running = [number for number in range(len(self._processes)) if number not in self._restarting]
        if not running:
            return
        number = chance.choice(running)
        self._restarting.add(number)
        self.kills += 1
        os.kill(self._processes[number].pid, signal.SIGKILL)
        await asyncio.to_thread(self._processes[number].wait)
        self._processes[number] = self._started(number)
        await _ready(self.urls[number])
        self._restarting.discard(number)

    def _started(self, number: int) -> subprocess.Popen[bytes]:
        with (self._folder / f"gateway-{number}.log").open("ab") as said:
            return subprocess.Popen(
                [*self._command, "--port", str(self._ports[number])], env=self._environment, cwd=self._folder,
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip


def _free_ports(number: int) -> list[int]:
    """Ports that nobody has now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


async def _ready(url: str) -> None:
    """Wait until a gateway answers. Raises TimeoutError."""
    until = time.monotonic() + _STARTS_WITHIN_SECONDS
    async with httpx.AsyncClient(trust_env=False) as http:
        while time.monotonic() < until:
            try:
                if (await http.get(f"{url}/readyz")).is_success:
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(_A_MOMENT)
    raise TimeoutError(f"{url} is not ready")
