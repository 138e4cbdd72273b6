"""The limit on concurrent requests: which requests count, which get a 503, and when a place is free again."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPResponse
from io import StringIO
from select import select
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from gateway.app import create_app
from gateway.server.serving import listening_socket, serve_in_thread
from gateway.settings import Settings
from tests.harness import NOW, Simulator, leyr_settings
from tests.stand_ins.http_client import UpstreamScript

PLACES = 2
JSON = {"content-type": "application/json"}
STATIC = "{ __typename }"
PAUSE = 0.005


class Client:
    """A client on a connection of its own."""

    def __init__(self, url: str) -> None:
        at = urlsplit(url)
        self._connection = HTTPConnection(at.hostname or "", at.port, timeout=30)
        self._connection.connect()

    @property
    def socket(self) -> socket.socket:
        found: socket.socket = self._connection.sock
        return found

    def asks(self, query: str, **headers: str) -> "Client":
        body = json.dumps({"query": query})
        self._connection.request("POST", "/graphql", body, {**JSON, **headers})
        return self

    def gets(self, path: str) -> "Client":
        self._connection.request("GET", path, headers={"x-requested-with": "fetch"})
        return self

    def begins(self, body: bytes, *, rest: int) -> "Client":
        """Send a request but for so many bytes of its body."""
        self._connection.putrequest("POST", "/graphql")
        for name, value in {**JSON, "content-length": str(len(body))}.items():
            self._connection.putheader(name, value)
        self._connection.endheaders()
        self._connection.send(body[: len(body) - rest])
        return self

    def hears(self) -> tuple[HTTPResponse, Any]:
        response = self._connection.getresponse()
        return response, json.loads(response.read())

    def is_answered(self) -> bool:
        return bool(select([self.socket], [], [], PAUSE)[0])

    def leaves(self) -> None:
        self._connection.close()


class LimitedGateway:
    """A gateway with two places, whose calls to Leyr wait until a test releases them."""

    def __init__(self, url: str, emrs: tuple[str, ...], stack: ExitStack, upstream: UpstreamScript) -> None:
        self.url = url
        self.upstream = upstream
        self._emrs = emrs
        self._stack = stack

    def client(self) -> Client:
        client = Client(self.url)
        self._stack.callback(client.leaves)
        return client

    def fill(self) -> list[Client]:
        """Take every place, each by a call of its own."""
        return [self._enter(emr) for emr in self._emrs[:PLACES]]

    def _enter(self, emr: str) -> Client:
        """Send a request until it has a place, since the gateway may not have noticed yet that one is free."""
        before = self.upstream.waiting
        for _ in range(1_000):
            client = self.client().asks(f'{{ careUnits(emr: "{emr}") {{ name }} }}')
            while not client.is_answered():
                if self.upstream.waiting > before:
                    return client
        raise AssertionError("no place was given back")

    def has_room(self) -> bool:
        response, _ = self.client().asks(STATIC).hears()
        return response.status == 200


@pytest.fixture
def gateway(simulator: Simulator) -> Iterator[LimitedGateway]:
    upstream = UpstreamScript(held=True)
    settings = Settings.model_validate(
        {
            **leyr_settings(simulator.url, simulator.emrs),
            "gateway_max_concurrent_requests": PLACES,
            "gateway_cache_catalog_seconds": 0,
        }
    )
    app = create_app(settings, now=lambda: NOW, connections=upstream.connections, log_to=StringIO())
    with ExitStack() as stack:
        url = stack.enter_context(serve_in_thread(app, listening_socket("127.0.0.1", 0)))
        # Before the server stops, since it waits for what is inside.
        stack.callback(upstream.released.set)
        yield LimitedGateway(url, simulator.emrs, stack, upstream)


@pytest.mark.parametrize("accept", ["application/json", "application/graphql-response+json"])
def test_request_beyond_the_limit_is_503_at_once(accept: str, gateway: LimitedGateway) -> None:
    gateway.fill()

    for _ in range(3):
        response, answer = gateway.client().asks(STATIC, accept=accept).hears()

        assert response.status == 503
        assert response.getheader("content-type") == f"{accept}; charset=utf-8"
        assert response.getheader("retry-after") == "1"
        assert response.getheader("cache-control") == "no-store"
        assert answer.keys() == {"errors"}
        (error,) = answer["errors"]
        assert error["extensions"].pop("reference")
        assert error["extensions"] == {"code": "OVERLOADED", "origin": "gateway", "retryable": True, "retryAfter": 1.0}
    # Nobody inside was done meanwhile.
    assert gateway.upstream.waiting == PLACES


def test_get_beyond_the_limit_is_503(gateway: LimitedGateway) -> None:
    gateway.fill()

    response, answer = gateway.client().gets(f"/graphql?query={quote(STATIC)}").hears()

    assert response.status == 503
    assert response.getheader("retry-after") == "1"
    assert answer["errors"][0]["extensions"]["code"] == "OVERLOADED"


def test_places_are_free_again_after_answers(gateway: LimitedGateway) -> None:
    inside = gateway.fill()
    assert not gateway.has_room()
    gateway.upstream.released.set()

    for client in inside:
        response, answer = client.hears()
        assert response.status == 200
        assert answer["data"]["careUnits"]
        assert "errors" not in answer
    assert gateway.has_room()


def test_places_are_free_again_after_errors(gateway: LimitedGateway, simulator: Simulator) -> None:
    simulator.fault("service_unavailable", endpoint="care_units")
    inside = gateway.fill()
    gateway.upstream.released.set()

    for client in inside:
        _, answer = client.hears()
        assert answer["errors"]
    assert gateway.has_room()
    # What is refused after it was let in leaves its place too.
    for _ in range(PLACES + 1):
        client = gateway.client()
        assert client.asks("{ nothing }").hears()[1]["errors"]
        assert client.gets("/graphql?query=mutation{book}").hears()[0].status == 405
        assert client.gets("/graphql?documentId=unknown").hears()[1]["errors"]
    assert gateway.has_room()


def test_places_are_free_again_after_clients_that_left(gateway: LimitedGateway) -> None:
    for _ in range(3):
        for client in gateway.fill():
            client.leaves()
        gateway.upstream.release_waiting()

    assert len(gateway.fill()) == PLACES
    assert not gateway.has_room()


def test_idle_connections_do_not_count(gateway: LimitedGateway) -> None:
    idle = [gateway.client() for _ in range(5 * PLACES)]
    kept_alive = [gateway.client() for _ in range(PLACES)]
    for client in kept_alive:
        assert client.asks(STATIC).hears()[0].status == 200
    begun = [gateway.client() for _ in range(2 * PLACES)]
    for client in begun:
        client.socket.sendall(b"POST /graphql HTTP/1.1\r\nhost: a\r\n")

    assert len(gateway.fill()) == PLACES

    assert not gateway.has_room()
    assert len({client.socket for client in (*idle, *kept_alive, *begun)}) == 8 * PLACES


def test_request_does_not_count_until_its_body_is_whole(gateway: LimitedGateway) -> None:
    body = json.dumps({"query": STATIC}).encode()
    arriving = [gateway.client().begins(body, rest=1) for _ in range(3 * PLACES)]
    inside = gateway.fill()

    # A request whose body is whole now is too late; the others may still find a place.
    arriving[0].socket.sendall(body[-1:])
    assert arriving[0].hears()[0].status == 503
    gateway.upstream.released.set()
    for client in inside:
        assert client.hears()[0].status == 200
    for client in arriving[1:]:
        client.socket.sendall(body[-1:])
        response, answer = client.hears()
        assert response.status == 200
        assert answer == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_are_answered_when_every_place_is_taken(path: str, gateway: LimitedGateway) -> None:
    gateway.fill()

    for _ in range(2 * PLACES):
        assert gateway.client().gets(path).hears()[0].status == 200


def test_client_errors_are_answered_when_every_place_is_taken(gateway: LimitedGateway) -> None:
    gateway.fill()
    client = gateway.client()

    assert client.gets("/nothing").hears()[0].status == 404
    assert client.gets("/graphql").hears()[0].status == 400
    assert client.asks("", accept="image/png").hears()[0].status == 406
    assert client.asks(STATIC, **{"content-encoding": "gzip"}).hears()[0].status == 415
