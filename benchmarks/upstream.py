"""The simulator without a web server around it, so that asking upstream costs far less than what is measured.

An answer is the simulator's own, made when a request first comes and then sent as the finished bytes to every
request that is the same byte for byte. Faults, latency and the journal of calls stay with `gateway simulator`; calls
are only counted, at `/__calls`, until `/__reset`.
"""

import argparse
import asyncio
import socket
from collections import Counter, OrderedDict
from collections.abc import Mapping
from datetime import date
from typing import Any, NamedTuple, cast

import orjson
import uvloop
from starlette.types import ASGIApp, Message, Scope

from benchmarks.get_requests import HEAD_END, GetRequests
from gateway.simulator import SimulatorSettings, create_simulator

_MOST_BYTES = 64 * 2**20


class Answer(NamedTuple):
    """What goes back, and the name under which the call is counted."""

    kind: str
    head: bytes
    body: bytes


class Upstream:
    """Answers by the bytes of a request; the longest unused give way."""

    def __init__(self, simulator: ASGIApp, most_bytes: int = _MOST_BYTES) -> None:
        self._simulator = simulator
        self._most_bytes = most_bytes
        self._kept: OrderedDict[bytes, Answer] = OrderedDict()
        self._calls: Counter[str] = Counter()
        self.kept_bytes = 0

    def answer(self, request: bytes) -> Answer:
        """The answer to a request, given without the empty line at its end."""
        answer = self._kept.get(request)
        if answer is not None:
            self._kept.move_to_end(request)
        else:
            scope = _scope(request)
            if scope["path"].startswith("/__"):
                return self._of_its_own(scope["path"])
            answer = _ask(self._simulator, scope)
            self._keep(request, answer)
        self._calls[answer.kind] += 1
        return answer

    def _of_its_own(self, path: str) -> Answer:
        if path == "/__reset":
            self._calls.clear()
        return _told("", 200, {}, orjson.dumps({"total": self._calls.total(), "by_endpoint": self._calls}))

    def _keep(self, request: bytes, answer: Answer) -> None:
        self._kept[request] = answer
        self.kept_bytes += len(answer.body)
        while self.kept_bytes > self._most_bytes:
            _, dropped = self._kept.popitem(last=False)
            self.kept_bytes -= len(dropped.body)


class Connection(GetRequests):
    """Answers at once."""

    def __init__(self, upstream: Upstream) -> None:
        super().__init__()
        self._upstream = upstream

    def respond(self, request: bytes) -> None:
        """Write the answer."""
        answer = self._upstream.answer(request)
        self.transport.writelines([answer.head, answer.body])


def _scope(request: bytes) -> Scope:
    first, *lines = request.split(b"\r\n")
    method, target, _ = first.split(b" ")
    path, _, query = target.partition(b"?")
    pairs = (line.partition(b":") for line in lines)
    return {
        "type": "http",
        "method": method.decode("latin-1"),
        "path": path.decode("latin-1"),
        "raw_path": path,
        "query_string": query,
        "headers": [(name.lower(), value.strip()) for name, _, value in pairs],
    }


def _ask(simulator: ASGIApp, scope: Scope) -> Answer:
    """Ask the simulator, which has nothing to wait for: it has no latency, and its answer is only taken down."""
    sent: list[Message] = []

    async def receive() -> Message:
        raise NotImplementedError

    async def send(message: Message) -> None:
        sent.append(message)

    asking = cast("Any", simulator(scope, receive, send))
    try:
        asking.send(None)
    except StopIteration:
        start, body = sent
        kind = scope["raw_path"].rpartition(b"/")[2].decode("latin-1")
        return _told(kind, start["status"], dict(start["headers"]), body["body"])
    raise RuntimeError("the simulator waits for something")


def _told(kind: str, status: int, headers: Mapping[bytes, bytes], body: bytes) -> Answer:
    told = {b"content-type": b"application/json", b"content-length": b"%d" % len(body), **headers}
    lines = [b"HTTP/1.1 %d -" % status, *(b"%s: %s" % header for header in told.items())]
    return Answer(kind, b"\r\n".join(lines) + HEAD_END, body)


async def serve(upstream: Upstream, bound: socket.socket) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(lambda: Connection(upstream), sock=bound)
    print(f"Listening on http://127.0.0.1:{bound.getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve on a free port of the loopback interface, and print which."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--today", type=date.fromisoformat, required=True)
    options = parser.parse_args()
    settings = SimulatorSettings(scale=options.scale, today=options.today, latency_ms=0)
    with socket.create_server(("127.0.0.1", 0), backlog=512) as bound:
        uvloop.run(serve(Upstream(create_simulator(settings)), bound))


if __name__ == "__main__":
    main()
