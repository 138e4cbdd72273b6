"""Lists in pages: each page is a call, and counts like any other."""

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest
from starlette.types import Receive, Scope, Send

from gateway.server.serving import listening_socket, serve_in_thread
from tests.harness import CACHES_ON, Gateway

SLOTS = "{ careUnits { timeslots { start } } }"
RESOURCES = "{ careUnits { resources { name } } }"


class PagedLeyr:
    """An ASGI application with one care unit, whose other lists have so many pages in every window."""

    def __init__(self) -> None:
        self.pages = 60
        self.calls = 0

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self.calls += 1
        found: object = [{"id": "u1"}]
        if "u1" in scope["path"]:
            page = int(parse_qs(scope["query_string"].decode()).get("page", ["1"])[0])
            rows = [{"id": f"r{page}", "start": f"2026-10-13T06:{page:02}:00Z"}]
            found = {"data": rows, "next": f"?page={page + 1}" if page < self.pages else None}
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(found).encode()})


@pytest.fixture
def leyr() -> PagedLeyr:
    return PagedLeyr()


@pytest.fixture
def serve(leyr: PagedLeyr, serve_gateway: Callable[..., Gateway]) -> Iterator[Callable[..., Gateway]]:
    with serve_in_thread(leyr, listening_socket("127.0.0.1", 0)) as url:

        def start(**settings: Any) -> Gateway:
            return serve_gateway(**{**CACHES_ON, "leyr_base_url": f"{url}/api", **settings})

        yield start


def codes(answer: dict[str, Any]) -> list[str]:
    return [error["extensions"]["code"] for error in answer.get("errors", ())]


@pytest.mark.parametrize("query", [SLOTS, RESOURCES])
def test_pages_count_as_calls_of_the_operation(query: str, leyr: PagedLeyr, serve: Callable[..., Gateway]) -> None:
    leyr.pages = 8

    assert codes(serve(gateway_max_upstream_calls=8).ask(query)) == ["OPERATION_TOO_LARGE"]
    assert leyr.calls == 8
    assert codes(serve(gateway_max_upstream_calls=9).ask(query)) == []


@pytest.mark.parametrize("query", [SLOTS, RESOURCES])
def test_pages_count_as_calls_of_the_caller(query: str, leyr: PagedLeyr, serve: Callable[..., Gateway]) -> None:
    leyr.pages = 8
    gateway = serve(gateway_calls_per_minute=16, gateway_max_upstream_calls=8)

    assert codes(gateway.ask(query)) in (["RATE_LIMITED"], ["OPERATION_TOO_LARGE"])
    assert leyr.calls == 8


def test_windows_that_are_halved_for_their_pages_stay_within_the_limit(
    leyr: PagedLeyr, serve: Callable[..., Gateway]
) -> None:
    assert codes(serve(gateway_max_upstream_calls=100).ask(SLOTS)) == ["OPERATION_TOO_LARGE"]

    assert leyr.calls <= 100
