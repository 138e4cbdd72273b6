"""Clients that close their side of the connection after a request: some still read, some are gone."""

import json
from collections.abc import Callable, Iterator
from socket import SHUT_WR

import pytest

from gateway.server.serving import listening_socket, serve_in_thread
from tests.harness import PATIENT, Gateway, Simulator
from tests.stand_ins.echo_application import Echo
from tests.stand_ins.raw_client import RawConnection

GET = b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n"
WAITING = GET.replace(b"one", b"waiting")
POST = b"POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def url(echo: Echo) -> Iterator[str]:
    with serve_in_thread(echo, listening_socket("127.0.0.1", 0)) as url:
        yield url
        # The server stops once its requests have ended.
        echo.released.set()


def close_side(wire: RawConnection, url: str, path: bytes = b"/one") -> None:
    """Close a connection's side, and wait until the server has seen it."""
    wire.socket.shutdown(SHUT_WR)
    # What arrives later is read later.
    with RawConnection(url) as other:
        assert other.send(GET.replace(b"/one", path)).answer().status == 200


def test_a_client_that_closes_its_side_gets_its_answer(url: str, echo: Echo) -> None:
    with RawConnection(url) as wire:
        wire.send(WAITING)
        close_side(wire, url)
        echo.released.set()

        answer = wire.answer()

        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert wire.ends()


@pytest.mark.parametrize("requests", [GET, GET * 3, GET.replace(b"one", b"large")])
def test_a_client_that_closes_its_side_at_once_gets_all_its_answers(url: str, requests: bytes) -> None:
    with RawConnection(url) as wire:
        wire.send(requests)
        wire.socket.shutdown(SHUT_WR)

        assert [wire.answer().status for _ in range(requests.count(b"GET"))] == [200] * requests.count(b"GET")
        assert wire.ends()


@pytest.mark.parametrize("rest", [b"x y z\r\n\r\n", b'"}', GET.replace(b"Host: a\r\n", b"")])
def test_what_is_no_request_behind_one_takes_nobody_the_answer(url: str, echo: Echo, rest: bytes) -> None:
    with RawConnection(url) as wire:
        wire.send(WAITING + rest)
        close_side(wire, url)
        echo.released.set()

        assert [wire.answer().status for _ in range(2)] == [200, 400]
        assert wire.ends()


def test_a_client_that_closed_its_side_counts_as_gone_after_a_while(url: str) -> None:
    with RawConnection(url) as wire:
        wire.send(WAITING)
        close_side(wire, url)

        assert wire.ends()


@pytest.mark.parametrize("begun", [b"", GET[:10], POST])
def test_a_client_that_closes_its_side_before_its_request_is_whole_is_gone(url: str, begun: bytes) -> None:
    with RawConnection(url) as wire:
        wire.send(begun)
        wire.socket.shutdown(SHUT_WR)

        assert wire.ends()


def test_no_further_call_is_begun_for_a_client_that_closed_its_side(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway(**PATIENT)
    simulator.fault("delay", endpoint="care_units", seconds=0.5)
    body = json.dumps({"query": "{ careUnits { name resources { name } } }"}).encode()
    head = b"POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with RawConnection(gateway.url) as wire:
        wire.send(head % len(body) + body)
        simulator.arrived(1)
        close_side(wire, gateway.url, b"/livez")

        answer = wire.answer().json()

    assert answer["data"]["careUnits"]
    assert all(each["name"] and each["resources"] is None for each in answer["data"]["careUnits"])
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"DEADLINE_EXCEEDED"}
    assert simulator.count() == {"care_units": 1}
