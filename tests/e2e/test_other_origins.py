"""Pages of other sites in a real browser: what those of allowed origins can ask and read, and what others cannot."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Browser, Page
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from gateway.server.serving import listening_socket, serve_in_thread
from tests.harness import Gateway

QUERY = "{ __typename }"
GET = f"/graphql?query={quote(QUERY)}"
# What Apollo Client with client awareness, Sentry, Datadog and OpenTelemetry put beside a query.
TRACED = (
    "apollographql-client-name", "apollographql-client-version", "graphql-client-name", "sentry-trace", "baggage",
    "tracestate", "x-datadog-trace-id", "x-correlation-id",
)  # fmt: skip
_FETCH = """async ([url, options]) => {
  try {
    const response = await fetch(url, options);
    return { status: response.status, body: await response.json() };
  } catch (error) {
    return { status: null, body: String(error) };
  }
}"""


class Site:
    """A page that is open at some origin, and the gateway that it asks."""

    def __init__(self, page: Page, gateway: Gateway) -> None:
        self.page, self.gateway = page, gateway

    def fetch(self, path: str = "/graphql", **options: Any) -> tuple[int | None, Any]:
        """What the page's code gets; no status where the browser keeps the answer from it."""
        answer = self.page.evaluate(_FETCH, [f"{self.gateway.url}{path}", options])
        return answer["status"], answer["body"]


@pytest.fixture
def open_site(browser: Browser, serve_gateway: Callable[..., Gateway]) -> Iterator[Callable[..., Site]]:
    """Open pages of `http://HOST.example`, with a gateway whose settings name `origins` with the pages' port."""
    with ExitStack() as stack:
        pages = Starlette(routes=[Route("/", lambda _: HTMLResponse("<title>Book</title>"))])
        port = urlsplit(stack.enter_context(serve_in_thread(pages, listening_socket("127.0.0.1", 0)))).port

        def start(host: str, *origins: str, **settings: Any) -> Site:
            named = tuple(f"{origin}:{port}" for origin in origins)
            gateway = serve_gateway(gateway_cors_origins=named, **settings)
            context = stack.enter_context(closing(browser.new_context()))
            page = context.new_page()
            page.goto(f"http://{host}.example:{port}/")
            return Site(page, gateway)

        yield start


def test_a_get_without_own_headers_is_answered_for_a_named_origin(open_site: Callable[..., Site]) -> None:
    site = open_site("book", "http://book.example")

    with site.page.expect_request(lambda request: "graphql" in request.url) as request:
        status, body = site.fetch(GET)

    assert request.value.all_headers()["sec-fetch-site"] == "cross-site"
    assert (status, body["data"]) == (200, {"__typename": "Query"})


def test_a_get_of_a_page_of_another_origin_is_refused_unread(open_site: Callable[..., Site]) -> None:
    site = open_site("evil", "http://book.example")

    status, _ = site.fetch(GET)

    assert status is None
    assert site.gateway.lines()[-1]["status"] == 403


def test_a_pattern_lets_in_subdomains_alone(open_site: Callable[..., Site]) -> None:
    origins = ("http://*.preview.example",)

    assert open_site("pr-7.preview", *origins).fetch(GET)[0] == 200
    assert open_site("preview", *origins).fetch(GET)[0] is None
    assert open_site("evilpreview", *origins).fetch(GET)[0] is None


def test_a_page_of_a_named_origin_may_send_any_header(open_site: Callable[..., Site]) -> None:
    headers = {"content-type": "application/json", **dict.fromkeys(TRACED, "1")}
    ask: dict[str, Any] = {"method": "POST", "headers": headers, "body": f'{{"query": "{QUERY}"}}'}

    assert open_site("book", "http://book.example").fetch(**ask)[0] == 200
    assert open_site("evil", "http://book.example").fetch(**ask)[0] is None


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [(f"{GET}{'a' * 9_000}", {}, 414), (f"{GET}{'a' * 20_000}", {}, 414), ("/graphql", {"x-large": "a" * 20_000}, 431)],
)
def test_a_page_of_a_named_origin_can_read_why_a_large_head_is_refused(
    open_site: Callable[..., Site], path: str, headers: dict[str, str], status: int
) -> None:
    found, body = open_site("book", "http://book.example").fetch(path, headers=headers)

    assert found == status
    assert "limit" in body["errors"][0]["message"]
    assert open_site("evil", "http://book.example").fetch(path, headers=headers)[0] is None
