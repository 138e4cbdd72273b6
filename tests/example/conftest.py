"""The booking page of `examples`, as built, in a real browser beside a gateway of its own."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect
from playwright.sync_api import Request as PageRequest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from gateway.server.serving import listening_socket, serve_in_thread
from tests.audit.npm import install, npm
from tests.e2e.conftest import Visit, browser, set_clock
from tests.e2e.requirement import need_node
from tests.harness import NOW, Gateway
from tests.house.pages import ROOT

__all__ = ["browser"]

EXAMPLE = ROOT / "examples" / "booking-page"
DESKTOP = {"width": 1200, "height": 900}


class BookingVisit(Visit):
    """The booking page that somebody looks at; `asked` are the operations that it sent, in order."""

    asked: list[str]

    def count_operations(self) -> None:
        """Write down the name of every GraphQL operation from now on, however many a request may hold."""
        self.asked = []
        self.page.on("request", self._count_operation)

    def _count_operation(self, request: PageRequest) -> None:
        if request.method == "POST":
            self.asked.append(json.loads(request.post_data or "{}")["operationName"])

    @property
    def status(self) -> Locator:
        """What is told to screen readers as soon as it changes."""
        return self.page.get_by_role("status")

    def choose(self, label: str, start: str) -> None:
        """Choose in a picker whatever begins with these words."""
        picker = self.page.get_by_label(label)
        # By its value, since its text changes with the month.
        option = picker.locator("option", has_text=re.compile(f"^{re.escape(start)}"))
        picker.select_option(option.get_attribute("value"))

    def choose_clinic(self, name: str) -> None:
        """Choose a clinic by its name, and wait for its month."""
        self.choose("Clinic", name)
        self.wait_for_month()

    def wait_for_month(self) -> None:
        """Wait until the month that is asked for is answered; it is busy from the moment when it is asked for."""
        expect(self.page.get_by_role("grid")).to_have_attribute("aria-busy", "false")

    def day(self, words: str) -> Locator:
        """The grid's cell for a day, by the beginning of what is announced of it."""
        return self.page.get_by_role("gridcell", name=re.compile(f"^{words}"))

    @property
    def times(self) -> Locator:
        """The buttons of the day's times."""
        return self.page.get_by_role("region", name=re.compile(r"\d{4}$")).locator(".times button")


@pytest.fixture(scope="session")
def built_page() -> Path:
    """The folder of the page, with types that were made from this schema."""
    need_node()
    install(EXAMPLE)
    npm(EXAMPLE, "run", "build")
    return EXAMPLE / "dist"


def page_app(folder: Path, gateway: str) -> Starlette:
    """Serve the page for a gateway, with a policy that lets it run nothing inline and ask nobody else."""
    policy = (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src {gateway}; "
        "require-trusted-types-for 'script'"
    )

    async def index(_: Request) -> HTMLResponse:
        html = (folder / "index.html").read_text(encoding="utf-8")
        html = re.sub(r'(name="gateway" content=")[^"]*', rf"\g<1>{gateway}/graphql", html)
        return HTMLResponse(html, headers={"content-security-policy": policy})

    return Starlette(routes=[Route("/", index), Mount("/", StaticFiles(directory=folder))])


@pytest.fixture
def open_page(
    browser: Browser, built_page: Path, serve_gateway: Callable[..., Gateway]
) -> Iterator[Callable[..., BookingVisit]]:
    """Open the page beside a gateway with these settings; `context` is about the browser, whose clock says `now`."""
    with ExitStack() as stack:

        def start(now: datetime = NOW, context: dict[str, Any] | None = None, **settings: Any) -> BookingVisit:
            gateway = serve_gateway(gateway_cors_origins=("http://127.0.0.1:*",), **settings)
            url = stack.enter_context(
                serve_in_thread(page_app(built_page, gateway.url), listening_socket("127.0.0.1", 0))
            )
            opened = stack.enter_context(closing(browser.new_context(**{"viewport": DESKTOP, **(context or {})})))
            set_clock(opened, now)
            visit = BookingVisit(opened.new_page(), gateway)
            visit.record(opened)
            visit.count_operations()
            visit.page.goto(url)
            expect(visit.status).to_contain_text("Choose one")
            return visit

        yield start
