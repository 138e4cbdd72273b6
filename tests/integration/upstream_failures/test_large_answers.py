"""Answers of Leyr above the limit of bytes: timeslots come in parts, other lists do not come."""

from collections.abc import Iterator
from datetime import datetime, time
from typing import Any

import httpx
import pytest

from gateway.app import create_app
from gateway.domain.ids import care_unit_id
from gateway.domain.models import CareUnitKey
from gateway.domain.window import time_zone
from gateway.server.serving import listening_socket, serve_in_thread
from gateway.settings import Settings
from gateway.simulator import SimulatorSettings, create_simulator
from tests.harness import CLIENT_ID, CLIENT_SECRET, ERROR_BODY, NOW, TODAY, Gateway, Simulator, leyr_settings

MEBIBYTE = 2**20
STOCKHOLM = time_zone("Europe/Stockholm")
WINDOW = {"start": "2026-10-12T00:00:00+02:00", "end": "2026-12-10T00:00:00+01:00"}
UNIT = care_unit_id(CareUnitKey("webdoc", "L0_1"))
DOCUMENT = (
    f'{{ careUnit(id: "{UNIT}") '
    f'{{ timeslots(start: "{WINDOW["start"]}", end: "{WINDOW["end"]}") {{ start end resourceId }} }} }}'
)
HEADERS = {"x-leyr-client-id": CLIENT_ID, "x-leyr-client-secret": CLIENT_SECRET}
SLOTS_PATH = "/emrs/webdoc/care-units/L0_1/timeslots"


@pytest.fixture(scope="module")
def large_simulator() -> Iterator[Simulator]:
    settings = SimulatorSettings(today=TODAY, latency_ms=0, scale=12, client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
    with (
        serve_in_thread(create_simulator(settings), listening_socket("127.0.0.1", 0)) as url,
        httpx.Client(base_url=url, timeout=30) as http,
    ):
        yield Simulator(url, settings.emrs, http)


@pytest.fixture
def large(large_simulator: Simulator) -> Iterator[Simulator]:
    large_simulator.behaviour("webdoc", membership="by_start")
    yield large_simulator
    large_simulator.forget()


def gateway(simulator: Simulator, **settings: Any) -> Iterator[Gateway]:
    given = {"gateway_cache_timeslots_seconds": 0, **leyr_settings(simulator.url, simulator.emrs), **settings}
    app = create_app(Settings(**given), now=lambda: NOW)
    with (
        serve_in_thread(app, listening_socket("127.0.0.1", 0), error_body=ERROR_BODY) as url,
        httpx.Client(base_url=url, timeout=60) as http,
    ):
        yield Gateway(url, http)


@pytest.fixture
def narrow(large: Simulator) -> Iterator[Gateway]:
    """A gateway that reads a MiB of an answer."""
    yield from gateway(large, gateway_max_upstream_mb=1)


@pytest.fixture
def wide(large: Simulator) -> Iterator[Gateway]:
    """A gateway with the limit as shipped."""
    yield from gateway(large)


def test_timeslots_above_the_limit_come_whole_in_parts(large: Simulator, narrow: Gateway, wide: Gateway) -> None:
    size = len(large.http.get(f"/api{SLOTS_PATH}", params=WINDOW, headers=HEADERS).content)
    assert size > MEBIBYTE
    expected = wide.data(DOCUMENT)
    large.http.post("/__reset").raise_for_status()
    large.behaviour("webdoc", membership="by_start")

    assert narrow.data(DOCUMENT) == expected
    first = large.count()["timeslots"]
    assert narrow.data(DOCUMENT) == expected
    again = large.count()["timeslots"] - first

    # The second time no call is made whose answer is known to be too large.
    assert size // MEBIBYTE < again < first
    ends = [datetime.fromisoformat(call["params"]["end"]).astimezone(STOCKHOLM) for call in large.calls()[-again:]]
    assert {end.time() for end in ends} == {time.min}


def test_timeslots_above_the_limit_count_each_call(large: Simulator) -> None:
    for most_calls, is_refused in ((3, True), (60, False)):
        large.http.post("/__reset").raise_for_status()
        for limited in gateway(large, gateway_max_upstream_mb=1, gateway_max_upstream_calls=most_calls):
            answer = limited.ask(DOCUMENT)
            codes = {error["extensions"]["code"] for error in answer.get("errors", ())}
            assert codes == ({"OPERATION_TOO_LARGE"} if is_refused else set())
            assert large.count().total() <= most_calls


def test_timeslots_that_are_endless_in_every_window_are_an_invalid_answer(large: Simulator, narrow: Gateway) -> None:
    large.fault("huge_list", endpoint="timeslots")

    [error] = narrow.ask(DOCUMENT)["errors"]

    assert error["extensions"]["code"] == "UPSTREAM_INVALID_ANSWER"
    assert not error["extensions"]["retryable"]
    assert large.count()["timeslots"] <= 12


def test_list_of_resources_above_the_limit_is_an_invalid_answer(large: Simulator, narrow: Gateway) -> None:
    large.fault("huge_list", endpoint="resources")

    [error] = narrow.ask(f'{{ careUnit(id: "{UNIT}") {{ name resources {{ name }} }} }}')["errors"]

    assert error["extensions"]["code"] == "UPSTREAM_INVALID_ANSWER"
    assert large.count()["resources"] == 1
