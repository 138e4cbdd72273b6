"""A browser that sees the gateway alone, and writes down whatever goes wrong in it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.e2e.requirement import need_browser, need_explorer
from tests.harness import NOW, Gateway

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # The network is cut: no name can be looked up, and those of examples are this machine.
    "--host-resolver-rules=MAP *.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
# Playwright's own clock replaces `performance.measure` too, and Monaco stumbles over that.
_SET_CLOCK = """
{
  const shift = NOW - Date.now();
  globalThis.Date = new Proxy(Date, {
    construct: (date, given, to) => Reflect.construct(date, given.length ? given : [date.now() + shift], to),
    get: (date, name) => (name === "now" ? () => date.now() + shift : date[name]),
  });
}"""
_REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`CSP: ${event.violatedDirective} refused ${event.blockedURI}`));
"""


def set_clock(context: BrowserContext, now: datetime) -> None:
    """Let the browser's clock say `now`, and go on from there."""
    context.add_init_script(_SET_CLOCK.replace("NOW", str(int(now.timestamp() * 1000))))


@dataclass
class Visit:
    """A page of the gateway that somebody looks at, and what came of it."""

    page: Page
    gateway: Gateway
    hosts: set[str] = field(default_factory=set)
    refusals: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def record(self, context: BrowserContext) -> None:
        """Write down every request, refusal and complaint from now on."""
        context.add_init_script(_REPORT_VIOLATIONS)
        context.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        context.on("requestfailed", lambda request: self.refusals.append(f"{request.url} {request.failure}"))
        context.on("response", lambda answer: self._record_status(answer.status, answer.url))
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("console", lambda message: self._record_message(message.type, message.text))

    def open(self) -> None:
        """Open the page and wait until the schema is read."""
        with self.page.expect_response(
            lambda answer: "IntrospectionQuery" in (answer.request.post_data or "")
        ) as introspection:
            self.page.goto(f"{self.gateway.url}/graphql")
        assert introspection.value.ok
        expect(self.page.locator(".graphiql-query-editor .view-line").first).to_be_visible()

    def reload(self) -> None:
        """Open the page again, as who comes back to it does."""
        self.open()
        # Leaving a page aborts what it was still loading, its workers' scripts above all.
        self.refusals[:] = [each for each in self.refusals if not each.endswith("net::ERR_ABORTED")]

    def _record_status(self, status: int, url: str) -> None:
        if status >= 400:
            self.refusals.append(f"{status} {url}")

    def _record_message(self, kind: str, text: str) -> None:
        if kind in {"error", "warning", "assert"}:
            self.complaints.append(f"{kind}: {text}")


# While Playwright's synchronous interface is up no other event loop can run in this thread, so it goes with its module.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = need_browser()
    # As long as Playwright waits for anything else.
    expect.set_options(timeout=30_000)
    with (
        sync_playwright() as playwright,
        closing(playwright.chromium.launch(executable_path=chromium, args=_FLAGS)) as browser,
    ):
        yield browser


@pytest.fixture
def prepare_visit(browser: Browser, serve_gateway: Callable[..., Gateway]) -> Iterator[Callable[..., Visit]]:
    """Make a visit to a gateway with these settings, whose page is not open yet; the browser's clock says `now`."""
    need_explorer()
    with ExitStack() as stack:

        def prepare(now: datetime = NOW, **settings: Any) -> Visit:
            gateway = serve_gateway(gateway_graphiql=True, gateway_introspection=True, **settings)
            context = stack.enter_context(closing(browser.new_context(viewport={"width": 1440, "height": 900})))
            set_clock(context, now)
            visit = Visit(context.new_page(), gateway)
            visit.record(context)
            return visit

        yield prepare


@pytest.fixture
def visit(prepare_visit: Callable[..., Visit]) -> Visit:
    """GraphiQL, opened for the first time, at the gateway's own idea of now."""
    visit = prepare_visit(notice="All data here is simulated")
    visit.open()
    return visit
