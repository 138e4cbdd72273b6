"""Leyr's endpoints: the exact paths and queries, and what each response becomes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import quote

import httpx
import pytest
import structlog
from pydantic import SecretStr
from structlog.testing import LogCapture

from gateway.domain.errors import NotFound, UpstreamError, UpstreamInvalidAnswer, UpstreamUnavailable
from gateway.domain.models import CareUnit, CareUnitKey, HealthcareService, Resource, Timeslot
from gateway.domain.queries import Step
from gateway.domain.window import Window
from gateway.leyr.call_events import LoggedCallEvents
from gateway.leyr.client import LeyrClient, LeyrTransport
from gateway.leyr.resilience import PolicyConfig, PolicyDependencies, UpstreamPolicies
from tests.unit.leyr.mock_http_client import mock_http_client

UNIT = CareUnitKey("webdoc", "L0_1")
NOW = datetime(2026, 12, 1, tzinfo=UTC)
CET = timezone(timedelta(hours=1))
WINDOW = Window(datetime(2026, 12, 1, 9, tzinfo=CET), datetime(2026, 12, 2, 9, tzinfo=CET))
SPECIAL = {
    "a b": "a%20b",
    "a/b": "a%2Fb",
    "å": "%C3%A5",
    "#1": "%231",
    "%2F": "%252F",
    "a..b": "a..b",
    "...": "...",
    "a+b": "a%2Bb",
    "a?b": "a%3Fb",
    "a&b=c": "a%26b%3Dc",
    "a;b": "a%3Bb",
    "a\\b": "a%5Cb",
    "a:b@c": "a%3Ab%40c",
    "😀": "%F0%9F%98%80",
    "~-_.": "~-_.",
}


class FakeLeyr:
    """Sends the same response to every request, and keeps the raw path and query of each."""

    def __init__(self, found: object = (), status: int = 200, sent: str | None = None) -> None:
        self.targets: list[str] = []
        self.log = LogCapture()
        self._body = json.dumps(found) if sent is None else sent
        self._status = status

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.targets.append(request.url.raw_path.decode())
        return httpx.Response(self._status, content=self._body.encode())

    @asynccontextmanager
    async def client(self) -> AsyncIterator[LeyrClient]:
        log = structlog.wrap_logger(None, processors=[self.log], wrapper_class=structlog.make_filtering_bound_logger(0))
        transport = LeyrTransport(
            "https://leyr.example/api",
            "c",
            SecretStr("s"),
            connections=mock_http_client(httpx.MockTransport(self.handle)),
        )
        async with transport:
            policies = UpstreamPolicies(PolicyConfig(), PolicyDependencies(LoggedCallEvents(log)))
            yield LeyrClient(transport, log, policies, lambda: NOW)


@pytest.mark.parametrize(("leyr_id", "segment"), SPECIAL.items())
async def test_each_id_is_one_percent_encoded_path_segment(leyr_id: str, segment: str) -> None:
    leyr = FakeLeyr()

    async with leyr.client() as client:
        await client.care_units(leyr_id)
        await client.resources(CareUnitKey("webdoc", leyr_id))
        await client.healthcare_services(CareUnitKey(leyr_id, leyr_id))

    assert leyr.targets == [
        f"/api/emrs/{segment}/care-units",
        f"/api/emrs/webdoc/care-units/{segment}/resources",
        f"/api/emrs/{segment}/care-units/{segment}/healthcare-services",
    ]


@pytest.mark.parametrize(("leyr_id", "value"), SPECIAL.items())
async def test_each_filter_is_one_percent_encoded_query_value(leyr_id: str, value: str) -> None:
    leyr = FakeLeyr()

    async with leyr.client() as client:
        await client.timeslots(Step(UNIT, WINDOW, leyr_id, leyr_id))

    path, _, sent = leyr.targets[0].partition("?")
    assert path == "/api/emrs/webdoc/care-units/L0_1/timeslots"
    assert sent.split("&") == [
        "start=2026-12-01T09%3A00%3A00%2B01%3A00",
        "end=2026-12-02T09%3A00%3A00%2B01%3A00",
        f"resource_id={value}",
        f"healthcare_service_id={value}",
    ]


async def test_filters_that_are_not_set_are_not_sent() -> None:
    leyr = FakeLeyr()

    async with leyr.client() as client:
        await client.timeslots(Step(UNIT, WINDOW))
        await client.timeslots(Step(UNIT, WINDOW, resource="r"))
        await client.timeslots(Step(UNIT, WINDOW, service="s"))

    times = "start=2026-12-01T09%3A00%3A00%2B01%3A00&end=2026-12-02T09%3A00%3A00%2B01%3A00"
    path = "/api/emrs/webdoc/care-units/L0_1/timeslots"
    assert leyr.targets == [
        f"{path}?{times}",
        f"{path}?{times}&resource_id=r",
        f"{path}?{times}&healthcare_service_id=s",
    ]


@pytest.mark.parametrize("offset", ["+01:00", "-03:30", "+00:00"])
async def test_times_in_a_query_keep_their_offset(offset: str) -> None:
    leyr = FakeLeyr()
    start = datetime.fromisoformat(f"2026-12-01T09:00:00.000001{offset}")

    async with leyr.client() as client:
        await client.timeslots(Step(UNIT, Window(start, start + timedelta(days=1))))

    assert f"start={quote(start.isoformat(), safe='')}&" in leyr.targets[0]
    assert "+" not in leyr.targets[0]


@pytest.mark.parametrize("leyr_id", ["", ".", "..", "a\nb", "\x7f", "x" * 1025])
async def test_a_care_unit_id_that_cannot_stand_in_a_url_is_not_requested(leyr_id: str) -> None:
    leyr = FakeLeyr()

    async with leyr.client() as client:
        with pytest.raises(UpstreamInvalidAnswer):
            await client.resources(CareUnitKey("webdoc", leyr_id))

    assert leyr.targets == []


async def test_lists_are_decoded_to_structs() -> None:
    async with FakeLeyr([{"id": "1", "name": "One", "emr_id": "e"}]).client() as client:
        assert await client.care_units("webdoc") == [CareUnit("1", "e", "One")]
        assert await client.resources(UNIT) == [Resource("1", "e", "One")]
        assert await client.healthcare_services(UNIT) == [HealthcareService("1", "e", "One")]


async def test_timeslots_are_sorted_and_without_duplicates() -> None:
    later, earlier = "2026-12-01T09:20:00+01:00", "2026-12-01T08:00:00Z"

    async with FakeLeyr([{"start": later}, {"start": earlier}, {"start": earlier}]).client() as client:
        found = await client.timeslots(Step(UNIT, WINDOW))

    assert found.slots == (Timeslot(earlier), Timeslot(later))


@pytest.mark.parametrize("status", [400, 404, 422])
async def test_no_timeslots_available_is_an_empty_list(status: int) -> None:
    envelope = {"code": "BAD_REQUEST", "errors": [{"error_code": "NO_TIMESLOTS_AVAILABLE"}]}

    async with FakeLeyr(envelope, status).client() as client:
        assert (await client.timeslots(Step(UNIT, WINDOW))).slots == ()


@pytest.mark.parametrize(
    ("status", "sent"), [(204, ""), (200, ""), (200, " \n"), (202, ""), (200, "null"), (200, " null ")]
)
async def test_nothing_free_in_other_words_is_an_empty_list(status: int, sent: str) -> None:
    async with FakeLeyr(status=status, sent=sent).client() as client:
        assert (await client.timeslots(Step(UNIT, WINDOW))).slots == ()


@pytest.mark.parametrize(("status", "sent"), [(204, ""), (200, "null")])
async def test_no_content_and_null_are_empty_catalogue_lists(status: int, sent: str) -> None:
    async with FakeLeyr(status=status, sent=sent).client() as client:
        assert await client.resources(UNIT) == []
        assert await client.healthcare_services(UNIT) == []
        assert await client.care_units("webdoc") == []


NOTHING_FREE = {"error_code": "NO_TIMESLOTS_AVAILABLE"}


@pytest.mark.parametrize(
    ("status", "envelope"),
    [
        (401, {"code": "EMR_ERROR", "errors": [NOTHING_FREE]}),
        (400, {"code": "BAD_REQUEST", "errors": [NOTHING_FREE, {"error_code": "BAD_INPUT"}]}),
        (400, {"code": "UNKNOWN_ERROR", "errors": [NOTHING_FREE]}),
    ],
)
async def test_no_timeslots_available_beside_anything_else_is_a_failure(status: int, envelope: object) -> None:
    async with FakeLeyr(envelope, status).client() as client:
        with pytest.raises(UpstreamError):
            await client.timeslots(Step(UNIT, WINDOW))


@pytest.mark.parametrize(
    ("status", "envelope"),
    [(404, {}), (400, {"code": "BAD_REQUEST", "errors": [{"error_code": "INVALID_CARE_UNIT_ID"}]})],
)
async def test_an_unknown_care_unit_is_not_found(status: int, envelope: object) -> None:
    async with FakeLeyr(envelope, status).client() as client:
        with pytest.raises(NotFound):
            await client.resources(UNIT)


async def test_an_ehr_code_that_leyr_does_not_know_is_an_invalid_answer_rather_than_not_found() -> None:
    instance = "6f1c8f0e-2f0b-4d3e-9d63-0a6d6f1f3b11"

    async with FakeLeyr({"instance": instance}, 404).client() as client:
        with pytest.raises(UpstreamInvalidAnswer) as failure:
            await client.care_units("webdoc")

    assert failure.value.reference == instance


async def test_an_error_status_with_a_list_in_its_body_is_an_error() -> None:
    async with FakeLeyr([{"id": "1"}], 503).client() as client:
        with pytest.raises(UpstreamUnavailable):
            await client.resources(UNIT)


@pytest.mark.parametrize(
    ("found", "event"),
    [
        ([{"id": "1"}, {"name": "Nobody"}], {"event": "upstream.items_dropped", "count": 1}),
        ([7, {"id": 7}, None, {"id": "1", "name": []}], {"event": "upstream.items_dropped", "count": 2}),
        ({"data": [{"id": "1"}]}, {"event": "upstream.list_wrapped"}),
        ([{"id": "1"}], None),
    ],
)
async def test_dropped_items_and_wrapped_lists_are_logged(found: object, event: dict[str, object] | None) -> None:
    leyr = FakeLeyr(found)

    async with leyr.client() as client:
        await client.resources(UNIT)

    expected = [] if event is None else [{"log_level": "warning", "endpoint": "resources", "emr": "webdoc", **event}]
    assert leyr.log.entries == expected


async def test_a_large_list_lets_others_go_on_while_it_is_read_and_comes_in_order() -> None:
    start = datetime(2026, 12, 1, tzinfo=UTC)
    listed = [{"start": (start + timedelta(minutes=n * 7_919 % 20_000)).isoformat()} for n in range(20_000)]
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with FakeLeyr(listed).client() as client:
        task = asyncio.create_task(other())
        found, again = await asyncio.gather(client.timeslots(Step(UNIT, WINDOW)), client.timeslots(Step(UNIT, WINDOW)))
        task.cancel()

    assert [slot.start for slot in found.slots] == sorted(slot["start"] for slot in listed)
    assert again.slots == found.slots
    # Each of both is read, checked and sorted in pieces of five thousand.
    assert turns > 2 * 3 * 20_000 / 5_000


async def test_a_list_of_more_items_than_the_gateway_reads_is_refused() -> None:
    async with FakeLeyr([{"id": "1"}] * 10_001).client() as client:
        with pytest.raises(UpstreamInvalidAnswer, match="more items"):
            await client.resources(UNIT)
