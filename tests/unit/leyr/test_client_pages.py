"""Lists in pages over real HTTP: followed to the end, or refused; never delivered short."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import pytest
import structlog
from pydantic import SecretStr
from structlog.testing import LogCapture

from gateway.domain.errors import DeadlineExceeded, UpstreamInvalidAnswer
from gateway.domain.models import CareUnitKey, Timeslot
from gateway.domain.queries import Step
from gateway.leyr.call_events import CallEvents, CallResult
from gateway.leyr.client import LeyrClient, LeyrTransport
from gateway.leyr.resilience import PolicyConfig, PolicyDependencies, UpstreamPolicies
from tests.unit.http_client.scripted_server import Peer, Server, sized
from tests.unit.leyr.test_client import NOW, WINDOW

UNIT = CareUnitKey("pmo", "7")
PATH = "/leyr/emrs/pmo/care-units/7/resources"
Pages = Mapping[str, bytes]


def page(found: object, *fields: bytes) -> bytes:
    return sized(json.dumps(found).encode(), *fields)


def failed(status: bytes, found: object) -> bytes:
    return page(found).replace(b"200 OK", status, 1)


class Heard(CallEvents):
    """Keeps the results of all attempts."""

    def __init__(self) -> None:
        self.results: list[str] = []

    def attempt_ended(self, emr: str, endpoint: str, result: CallResult, seconds: float) -> None:
        assert (emr, endpoint) in {("pmo", "resources"), ("pmo", "timeslots")}
        assert seconds >= 0
        self.results.append(result)


class Leyr:
    """A client of a server that has a response for each path and query."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.events = Heard()
        self.log = LogCapture()

    @property
    def asked(self) -> list[str]:
        return [head.split(b" ")[1].decode() for head in self.server.heads]

    @asynccontextmanager
    async def client(self, clock: Callable[[], float] = monotonic) -> AsyncIterator[LeyrClient]:
        log = structlog.wrap_logger(None, processors=[self.log], wrapper_class=structlog.make_filtering_bound_logger(0))
        policies = UpstreamPolicies(PolicyConfig(), PolicyDependencies(self.events, clock))
        async with LeyrTransport(f"{self.server.url}/leyr", "c", SecretStr("s")) as transport:
            yield LeyrClient(transport, log, policies, lambda: NOW)


@asynccontextmanager
async def serving(pages: Callable[[str], Pages]) -> AsyncIterator[Leyr]:
    """Serve pages, which are made with the server's own URL."""

    async def script(peer: Peer) -> None:
        while head := await peer.request():
            found = pages(server.url).get(head.split(b" ")[1].decode(), failed(b"404 Not Found", {}))
            await peer.send(found)

    async with Server(script) as server:
        yield Leyr(server)


async def ids(pages: Callable[[str], Pages]) -> tuple[list[str], list[str]]:
    """The ids of the resources, and the targets that were asked for."""
    async with serving(pages) as leyr, leyr.client() as client:
        return [each.id for each in await client.resources(UNIT)], leyr.asked


ONE, TWO = [{"id": "1"}, {"id": "2"}], [{"id": "3"}]
LINKS: dict[str, Callable[[str], Any]] = {
    "next": lambda link: {"data": ONE, "next": link},
    "links.next": lambda link: {"data": ONE, "links": {"self": "/x", "next": link}},
    "links.next.href": lambda link: {"items": ONE, "links": {"next": {"href": link}}},
    "_links.next.href": lambda link: {"resources": ONE, "_links": {"next": {"href": link}, "self": {"href": "/"}}},
    "meta.next": lambda link: {"data": ONE, "meta": {"next": link, "total": 3}},
    "pagination.next_url": lambda link: {"data": ONE, "pagination": {"next_url": link, "total_pages": 2}},
    "@odata.nextLink": lambda link: {"value": ONE, "@odata.nextLink": link},
    "a link with its relation": lambda link: {"data": ONE, "links": [{"rel": "next", "href": link}]},
    "beside a token": lambda link: {"data": ONE, "next": link, "next_cursor": "ab/c", "has_more": True},
}
ADDRESSES = [
    "{url}/leyr/emrs/pmo/care-units/7/resources?page=2",
    "/leyr/emrs/pmo/care-units/7/resources?page=2",
    "?page=2",
    "resources?page=2",
    "./resources?page=2#top",
    "//{host}/leyr/emrs/pmo/care-units/7/resources?page=2",
]


@pytest.mark.parametrize("shape", LINKS.values(), ids=LINKS)
@pytest.mark.parametrize("last", [TWO, {"data": TWO}, {"data": TWO, "next": None, "total": 3}])
async def test_a_link_to_a_next_page_is_followed(shape: Callable[[str], Any], last: object) -> None:
    found, asked = await ids(
        lambda url: {PATH: page(shape(f"{url}{PATH}?page=2")), f"{PATH}?page=2": page(last)},
    )

    assert found == ["1", "2", "3"]
    assert asked == [PATH, f"{PATH}?page=2"]


@pytest.mark.parametrize("address", ADDRESSES)
async def test_a_link_below_the_base_url_may_be_written_in_any_way(address: str) -> None:
    def pages(url: str) -> Pages:
        link = address.format(url=url, host=url.partition("//")[2])
        return {PATH: page({"data": ONE, "next": link}), f"{PATH}?page=2": page(TWO)}

    assert await ids(pages) == (["1", "2", "3"], [PATH, f"{PATH}?page=2"])


@pytest.mark.parametrize(
    "fields",
    [
        (b'Link: <?page=2>; rel="next"',),
        (b'link: <?page=1>; rel=first, <?page=2>; title="a, b"; rel=next',),
        (b'link: <?page=2>; rel="last next"', b"link: <?page=1>; rel=first"),
    ],
)
@pytest.mark.parametrize("first", [ONE, {"data": ONE}])
async def test_a_link_header_is_followed(fields: tuple[bytes, ...], first: object) -> None:
    found, asked = await ids(lambda _: {PATH: page(first, *fields), f"{PATH}?page=2": page(TWO)})

    assert (found, asked) == (["1", "2", "3"], [PATH, f"{PATH}?page=2"])


async def refused(pages: Callable[[str], Pages]) -> list[str]:
    async with serving(pages) as leyr, leyr.client() as client:
        with pytest.raises(UpstreamInvalidAnswer):
            await client.resources(UNIT)
        return leyr.asked


ELSEWHERE = [
    "http://127.0.0.1:9/leyr/emrs/pmo/care-units/7/resources?page=2",
    "https://{host}/leyr/emrs/pmo/care-units/7/resources?page=2",
    "http://leyr@{host}/leyr/emrs?page=2",
    "/other/emrs?page=2",
    "/leyrs/emrs?page=2",
    "/leyr/../other?page=2",
    "/leyr/%2e%2e/other?page=2",
    "/leyr/..\\other?page=2",
    "http://[/?page=2",
    "http://{host}x/leyr/?page=2",
]


@pytest.mark.parametrize("address", ELSEWHERE)
async def test_a_link_that_leads_elsewhere_is_refused_and_not_followed(address: str) -> None:
    def pages(url: str) -> Pages:
        return {PATH: page({"data": ONE, "next": address.format(host=url.partition("//")[2])})}

    assert await refused(pages) == [PATH]


@pytest.mark.parametrize(
    "beside",
    [
        {"next_page_token": "abc"},
        {"has_more": True},
        {"meta": {"has_more": True}},
        {"next_cursor": 7},
        {"next": 2},
        {"next": "QUJD"},
        {"next": {"page": 2}},
        {"total": 3},
        {"meta": {"total_count": "3"}},
        {"page": {"totalElements": 30, "totalPages": 15}},
        {"totalPages": 2},
        {"links": [{"rel": "next", "url": 5}]},
    ],
)
async def test_a_list_that_goes_on_without_a_link_is_refused(beside: dict[str, Any]) -> None:
    assert await refused(lambda _: {PATH: page({"data": ONE, **beside})}) == [PATH]


@pytest.mark.parametrize("field", [b"x-total-count: 3", b"link: ?page=2; rel=next"])
async def test_a_header_that_says_that_there_is_more_refuses_the_list(field: bytes) -> None:
    assert await refused(lambda _: {PATH: page(ONE, field)}) == [PATH]


@pytest.mark.parametrize(
    "beside",
    [
        {"total": 2, "count": 2},
        {"next": None, "links": {"next": None}, "_links": {}},
        {"has_more": False, "next_cursor": "", "next_page_token": None},
        {"page": 1, "per_page": 50, "total_pages": 1, "meta": {"took": 3}},
        {"nextAvailable": "2026-12-01"},
    ],
)
async def test_a_list_that_says_that_it_is_whole_is_a_list(beside: dict[str, Any]) -> None:
    fields = (b'link: <?page=1>; rel="prev"', b"x-total-count: 2")
    assert await ids(lambda _: {PATH: page({"data": ONE, **beside}, *fields)}) == (["1", "2"], [PATH])


async def test_a_page_that_leads_back_is_refused() -> None:
    asked = await refused(
        lambda _: {PATH: page({"data": ONE, "next": "?p=2"}), f"{PATH}?p=2": page({"data": TWO, "next": PATH})}
    )

    assert asked == [PATH, f"{PATH}?p=2"]


async def test_pages_are_followed_to_a_bound() -> None:
    def pages(_: str) -> Pages:
        rest = {f"{PATH}?p={n}": page({"data": TWO, "next": f"?p={n + 1}"}) for n in range(1, 99)}
        return {PATH: page({"data": ONE, "next": "?p=1"}), **rest}

    assert len(await refused(pages)) == 50


async def test_the_bound_of_items_holds_for_all_pages_together() -> None:
    many = [{"id": "a"}] * 6_000

    asked = await refused(
        lambda _: {PATH: page({"data": many, "next": "?p=2"}), f"{PATH}?p=2": page({"data": many, "next": "?p=3"})}
    )

    assert asked == [PATH, f"{PATH}?p=2"]


@pytest.mark.parametrize("status", [b"404 Not Found", b"400 Bad Request", b"422 Unprocessable Content"])
async def test_a_page_that_is_refused_says_nothing_about_the_request(status: bytes) -> None:
    envelope = {"code": "BAD_REQUEST", "errors": [{"error_code": "MISSING_REQUIRED_FIELD"}]}

    assert await refused(
        lambda _: {PATH: page({"data": ONE, "next": "?p=2"}), f"{PATH}?p=2": failed(status, envelope)}
    ) == [PATH, f"{PATH}?p=2"]


async def test_each_page_is_a_call_with_its_own_attempts_and_events() -> None:
    attempts = 0

    def pages(_: str) -> Pages:
        nonlocal attempts
        attempts += 1
        second = failed(b"503 Service Unavailable", {}) if attempts == 2 else page(TWO)
        return {PATH: page({"data": ONE, "next": "?p=2"}), f"{PATH}?p=2": second}

    async with serving(pages) as leyr, leyr.client() as client:
        assert len(await client.resources(UNIT)) == 3

        assert leyr.asked == [PATH, f"{PATH}?p=2", f"{PATH}?p=2"]
        assert leyr.events.results == ["answered", "unavailable", "answered"]


async def test_the_deadline_of_a_call_covers_all_pages() -> None:
    seconds = 0.0

    def pages(_: str) -> Pages:
        nonlocal seconds
        seconds += 6
        rest = {f"{PATH}?p={n}": page({"data": TWO, "next": f"?p={n + 1}"}) for n in range(1, 9)}
        return {PATH: page({"data": ONE, "next": "?p=1"}), **rest}

    async with serving(pages) as leyr, leyr.client(lambda: seconds) as client:
        with pytest.raises(DeadlineExceeded):
            await client.resources(UNIT)

    # Each page took six of the twenty seconds that a call may take.
    assert leyr.asked == [PATH, *(f"{PATH}?p={number}" for number in range(1, 4))]


async def test_rows_that_are_dropped_are_counted_over_all_pages_and_one_page_may_have_no_other() -> None:
    def pages(_: str) -> Pages:
        return {PATH: page({"data": [None, 1], "next": "?p=2"}), f"{PATH}?p=2": page([{"id": "a"}, {}])}

    async with serving(pages) as leyr, leyr.client() as client:
        found = await client.resources(UNIT)

    assert ([each.id for each in found], found.dropped) == (["a"], 3)
    assert [each["event"] for each in leyr.log.entries] == ["upstream.items_dropped", "upstream.list_wrapped"]


async def test_pages_of_which_no_row_is_usable_are_refused() -> None:
    asked = await refused(lambda _: {PATH: page({"data": [None], "next": "?p=2"}), f"{PATH}?p=2": page([{}])})

    assert len(asked) == 2


async def test_pages_of_timeslots_are_one_sorted_list() -> None:
    first, second = "2026-12-01T10:00:00+01:00", "2026-12-01T11:00:00+01:00"
    path = PATH.replace("resources", "timeslots")

    async def script(peer: Peer) -> None:
        while head := await peer.request():
            is_second = b"?page=2 " in head
            await peer.send(page([{"start": first}] if is_second else {"data": [{"start": second}], "next": "?page=2"}))

    async with Server(script) as server:
        leyr = Leyr(server)
        async with leyr.client() as client:
            found = await client.timeslots(Step(UNIT, WINDOW))

    assert found.slots == (Timeslot(first), Timeslot(second))
    assert leyr.asked[0].startswith(f"{path}?start=")
