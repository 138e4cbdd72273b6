"""A mutation is a mutation: each one that is sent runs, to its end, and by POST only."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from threading import Event
from time import sleep
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import strawberry
from strawberry.schema.config import StrawberryConfig

from gateway.app import create_app
from gateway.engine.engine import Engine
from gateway.http.endpoint import GraphQLEndpoint
from gateway.schema.care_unit import CareUnit
from gateway.schema.context import Info
from gateway.schema.query import Query, engine_config
from gateway.schema.scalars import scalar_map
from gateway.server.serving import listening_socket, serve_in_thread
from gateway.settings import Settings
from tests.harness import CACHES_ON, ERROR_BODY, NOW, Simulator, leyr_settings

BOOK = 'mutation { book(key: "a") { id name } }'


@dataclass
class Bookings:
    """What the mutations have done; they wait until `may_end`."""

    begun: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    may_end: Event = field(default_factory=Event)


def mutation_type(bookings: Bookings) -> type:
    @strawberry.type
    class Mutation:
        @strawberry.mutation
        async def book(self, info: Info, key: str) -> list[CareUnit] | None:
            bookings.begun.append(key)
            await asyncio.to_thread(bookings.may_end.wait, 10)
            found = (await info.context.nodes.care_units("webdoc")).all
            bookings.ended.append(key)
            return found

    return Mutation


@pytest.fixture
def bookings() -> Bookings:
    return Bookings()


@pytest.fixture
def url(simulator: Simulator, bookings: Bookings) -> Iterator[str]:
    """The gateway with its caches on, and with a mutation in its schema."""
    config = StrawberryConfig(info_class=Info, scalar_map=scalar_map())
    schema = strawberry.Schema(Query, mutation_type(bookings), config=config)
    settings: dict[str, Any] = {**leyr_settings(simulator.url, simulator.emrs), **CACHES_ON}
    app = create_app(Settings(**settings), now=lambda: NOW)
    (endpoint,) = (each.kwargs["to"] for each in app.user_middleware if "to" in each.kwargs)
    assert isinstance(endpoint, GraphQLEndpoint)
    endpoint.runner = replace(endpoint.runner, engine=Engine(schema, engine_config()))
    with serve_in_thread(app, listening_socket("127.0.0.1", 0), error_body=ERROR_BODY) as served:
        yield served


def wait_until(is_so: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if is_so():
            return
        sleep(0.01)
    pytest.fail("it does not happen")


def test_each_of_five_equal_mutations_runs_and_none_is_answered_from_the_cache(url: str, bookings: Bookings) -> None:
    bookings.may_end.set()

    answers = [httpx.post(f"{url}/graphql", json={"query": BOOK}) for _ in range(5)]

    assert bookings.begun == bookings.ended == ["a"] * 5
    assert all(answer.json()["data"]["book"] for answer in answers)
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}


def test_a_query_is_answered_from_the_cache_where_a_mutation_is_not(url: str, bookings: Bookings) -> None:
    bookings.may_end.set()
    both = f"query Q {{ careUnits {{ id }} }} {BOOK.replace('mutation', 'mutation M')}"

    for name in ("Q", "M", "Q", "M", "Q", "M"):
        sent = httpx.post(f"{url}/graphql", json={"query": both, "operationName": name})
        assert "errors" not in sent.json()

    assert bookings.ended == ["a"] * 3


def test_mutations_at_the_same_time_run_each_by_itself(url: str, bookings: Bookings) -> None:
    async def story() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=30) as http:
            sent = [asyncio.create_task(http.post(f"{url}/graphql", json={"query": BOOK})) for _ in range(3)]
            await asyncio.to_thread(wait_until, lambda: len(bookings.begun) == 3)
            bookings.may_end.set()
            return list(await asyncio.gather(*sent))

    answers = asyncio.run(story())

    assert [answer.status_code for answer in answers] == [200] * 3
    assert bookings.ended == ["a"] * 3


def test_a_mutation_whose_client_leaves_runs_to_its_end(url: str, bookings: Bookings) -> None:
    address = urlsplit(url)
    body = json.dumps({"query": BOOK})
    request = (
        f"POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )

    with socket.create_connection((address.hostname, address.port or 80)) as client:
        client.sendall((request + body).encode())
        wait_until(lambda: bookings.begun == ["a"])
    # The gateway has read the end of the connection by the time that it answers somebody else.
    httpx.get(f"{url}/livez")
    bookings.may_end.set()

    wait_until(lambda: bookings.ended == ["a"])


def test_a_mutation_by_get_is_refused_and_does_not_run(url: str, bookings: Bookings) -> None:
    bookings.may_end.set()

    answer = httpx.get(f"{url}/graphql", params={"query": BOOK}, headers={"x-requested-with": "x"})

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert bookings.begun == []
