"""Connections of a server that shuts down: requests in flight are answered whole, idle connections closed."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.server.serving import listening_socket, serve_in_thread
from tests.stand_ins.echo_application import Echo
from tests.stand_ins.raw_client import RawConnection, RawResponse

ROOT = Path(__file__).parents[3]
GET = b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
WAITING, RELEASE, HUGE, STUCK = (GET.replace(b"one", name) for name in (b"waiting", b"release", b"huge", b"stuck"))
STOPS_WITHIN = 20

SERVED = """
import asyncio
import sys
from gateway.server.serving import ShutdownTimeouts, listening_socket, serve, url_of
from tests.stand_ins.echo_application import Echo

class Served(Echo):
    async def __call__(self, scope, receive, send):
        match scope.get("path"):
            case "/release":
                self.released.set()
            case "/stuck":
                print("stuck", flush=True)
                await asyncio.Event().wait()
        await super().__call__(scope, receive, send)

bound = listening_socket("127.0.0.1", 0)
print(url_of(bound), flush=True)
drain_seconds, grace_seconds = map(float, sys.argv[1:])
serve(Served(), bound, stop=ShutdownTimeouts(drain_seconds, grace_seconds=grace_seconds))
"""


@dataclass(frozen=True)
class Served:
    """A server as a process."""

    process: subprocess.Popen[str]
    url: str

    def stop(self) -> None:
        """Send a signal, and wait until responses close their connection."""
        self.process.send_signal(signal.SIGTERM)
        while not is_last(self.answer(GET)):
            time.sleep(0.01)

    def answer(self, request: bytes) -> RawResponse:
        with RawConnection(self.url) as wire:
            return wire.send(request).answer()


@pytest.fixture
def serve() -> Iterator[Callable[[float, float], Served]]:
    with ExitStack() as stack:

        def start(drain_seconds: float, grace_seconds: float) -> Served:
            command = [sys.executable, "-c", SERVED, str(drain_seconds), str(grace_seconds)]
            process = stack.enter_context(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            assert process.stdout is not None
            served = Served(process, process.stdout.readline().strip())
            # It serves, so it takes signals.
            assert served.answer(GET).status == 200
            return served

        yield start


def is_last(answer: RawResponse) -> bool:
    return answer.headers.get("connection") == "close"


def test_during_the_drain_the_last_response_of_a_connection_closes_it(
    serve: Callable[[float, float], Served],
) -> None:
    served = serve(300, 10)
    with RawConnection(served.url) as wire, RawConnection(served.url) as kept, RawConnection(served.url) as begun:
        wire.send(WAITING)
        assert not is_last(kept.send(GET).answer())
        begun.send(GET[:10])
        served.stop()
        # More requests on the same connection, when the first of them is the last one so far.
        wire.send(GET + GET)
        assert served.answer(RELEASE).status == 200
        answers = [wire.answer() for _ in range(3)]

        assert [is_last(each) for each in answers] == [False, False, True]
        assert [each.json()["path"] for each in answers] == ["/waiting", "/one", "/one"]
        assert wire.ends()
        for each, rest in ((kept, GET), (begun, GET[10:])):
            assert is_last(each.send(rest).answer())
            assert each.ends()
    served.process.terminate()
    assert served.process.wait(STOPS_WITHIN) == 0


def test_requests_in_flight_are_answered_and_idle_connections_closed() -> None:
    with ExitStack() as stack, ThreadPoolExecutor() as threads:
        with serve_in_thread(Echo(), listening_socket("127.0.0.1", 0)) as url:
            idle, head, body = (stack.enter_context(RawConnection(url)) for _ in range(3))
            fresh = stack.enter_context(RawConnection(url))
            assert [each.send(GET).answer().status for each in (idle, head, body)] == [200, 200, 200]
            head.send(GET[:10])
            body.send(POST)

            def finish() -> list[RawResponse]:
                assert idle.ends()
                # A new connection without a request yet gets a little more time.
                return [fresh.send(GET).answer(), head.send(GET[10:]).answer(), body.send(b"a" * 9).answer()]

            # The stop waits for what the thread sends.
            finished = threads.submit(finish)
        answers = finished.result()
        ended = [each.ends() for each in (fresh, head, body)]

    assert [each.status for each in answers] == [200, 200, 200]
    assert answers[2].json()["size"] == 9
    assert all(map(is_last, answers))
    assert ended == [True, True, True]


def test_slow_clients_and_stuck_responses_are_cut_off_after_the_grace(
    serve: Callable[[float, float], Served],
) -> None:
    served = serve(0, 1)
    with (
        RawConnection(served.url, buffer=65_536) as huge,
        RawConnection(served.url) as stuck,
        RawConnection(served.url) as head,
    ):
        huge.send(HUGE).socket.recv(1, socket.MSG_PEEK)
        stuck.send(STUCK)
        assert served.process.stdout is not None
        assert served.process.stdout.readline() == "stuck\n"
        head.send(GET[:10])
        served.process.terminate()
        for _ in range(STOPS_WITHIN * 20):
            if served.process.poll() is not None:
                break
            # However slowly it reads, it is never dropped for that.
            with suppress(ConnectionResetError):
                huge.socket.recv(10_000)
            time.sleep(0.05)
        assert stuck.ends()
        assert head.ends()

    assert served.process.returncode == 0
