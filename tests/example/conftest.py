"""The booking page of `examples`, as built, in a real browser beside a gateway of its own."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from fcntl import LOCK_EX, flock
from pathlib import Path
from shutil import copytree
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

AXE = Path("node_modules", "axe-core", "axe.min.js")
EXAMPLE = ROOT / "examples" / "booking-page"
DESKTOP = {"width": 1200, "height": 900}


class BookingVisit(Visit):
    """The booking page that somebody looks at; `asked` are the operations that it sent, in order."""

    asked: list[str]
    sent: list[tuple[str, dict[str, Any]]]
    """Each operation with its variables."""
    urls: list[str]
    said: list[str]
    """What went to the console."""

    def count_operations(self) -> None:
        """Write down the name of every GraphQL operation from now on, however many a request may hold."""
        self.asked, self.sent, self.urls, self.said = [], [], [], []
        self.page.on("request", self._count_operation)
        self.page.on("console", lambda message: self.said.append(message.text))

    def variables_of(self, operation: str) -> list[dict[str, Any]]:
        """The variables of every operation of this name."""
        return [variables for name, variables in self.sent if name == operation]

    def free_slots(self) -> list[dict[str, Any]]:
        """Those of the chosen time that are still free, as the gateway says it."""
        (*_, variables) = self.variables_of("StillFree")
        query = "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }"
        return [node for node in self.gateway.data(query, **variables)["nodes"] if node]

    def another_tab(self) -> "BookingVisit":
        """The same page in another tab of the same browser."""
        other = BookingVisit(self.page.context.new_page(), self.gateway)
        other.count_operations()
        other.page.goto(self.page.url)
        expect(other.status).to_contain_text("Choose one")
        return other

    def reload(self) -> None:
        """Load the page anew; what the tab keeps is there again."""
        self.page.reload()

    def _count_operation(self, request: PageRequest) -> None:
        self.urls.append(request.url)
        if request.method == "POST":
            sent = json.loads(request.post_data or "{}")
            self.asked.append(sent["operationName"])
            self.sent.append((sent["operationName"], sent["variables"]))

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

    def faults(self) -> list[Any]:
        """What axe calls a violation, with the elements that it is about."""
        if self.page.evaluate("typeof axe") == "undefined":
            self.page.evaluate((EXAMPLE / AXE).read_text(encoding="utf-8"))
        found = self.page.evaluate("axe.run()")["violations"]
        return [(each["id"], [node["html"] for node in each["nodes"]]) for each in found]


@contextmanager
def build_lock() -> Iterator[None]:
    """Nobody else builds the page meanwhile, since the tests of other files run beside these."""
    with (EXAMPLE / "package.json").open(encoding="utf-8") as lock:
        flock(lock, LOCK_EX)
        yield


def is_built() -> bool:
    """Whether the page is newer than all that it is made of."""
    built = EXAMPLE / "dist" / "index.html"
    sources = [ROOT / "schema.graphql", *EXAMPLE.glob("*.*"), *EXAMPLE.glob("src/**/*.*")]
    return built.exists() and built.stat().st_mtime > max(each.stat().st_mtime for each in sources)


@pytest.fixture(scope="session")
def built_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the page, with types that were made from this schema; whatever is built later leaves it alone."""
    need_node()
    with build_lock():
        install(EXAMPLE)
        # The tests of another file may just have built it.
        if not is_built():
            npm(EXAMPLE, "run", "build")
        return copytree(EXAMPLE / "dist", tmp_path_factory.mktemp("page") / "dist")


@pytest.fixture
def alone() -> Iterator[None]:
    """Nobody else builds the page during the test."""
    with build_lock():
        yield


def page_app(folder: Path, gateway: str) -> Starlette:
    """Serve the page for a gateway, with a policy that lets it run nothing inline and ask nobody else."""
    policy = (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src {gateway}; "
        "form-action 'none'; require-trusted-types-for 'script'"
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
