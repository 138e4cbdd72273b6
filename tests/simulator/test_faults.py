"""Faults: what each sends, and which requests it is for."""

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.simulator.faults import FAULT_NAMES

UNITS = "/api/emrs/webdoc/care-units"
RESOURCES = f"{UNITS}/L0_1/resources"
CREDENTIALS = {"x-leyr-client-id": "simulator", "x-leyr-client-secret": "simulator"}


async def with_fault(leyr: httpx.AsyncClient, fault: str, path: str = UNITS, **params: str) -> httpx.Response:
    return await leyr.get(path, headers={"x-simulator-fault": fault}, params=params)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("service_unavailable", 503, "SERVICE_UNAVAILABLE"),
        ("too_many_requests", 429, "TOO_MANY_REQUESTS"),
        ("too_many_requests_bare", 429, "TOO_MANY_REQUESTS"),
        ("emr_error_401", 401, "EMR_ERROR"),
        ("emr_error_429", 429, "EMR_ERROR"),
        ("emr_error_500", 500, "EMR_ERROR"),
        ("unknown_error", 401, "UNKNOWN_ERROR"),
    ],
)
async def test_envelopes(leyr: httpx.AsyncClient, fault: str, status: int, code: str) -> None:
    answer = await with_fault(leyr, fault)
    assert (answer.status_code, answer.json()["status"], answer.json()["code"]) == (status, status, code)
    assert ("retry-after" in answer.headers) == (fault == "too_many_requests")
    assert ("191212121212" in answer.text) == (fault.startswith("emr_error") or fault == "unknown_error")


@pytest.mark.parametrize(
    ("fault", "status"), [("bad_gateway_html", 502), ("html_200", 200), ("unauthorized_html", 401)]
)
async def test_html(leyr: httpx.AsyncClient, fault: str, status: int) -> None:
    answer = await with_fault(leyr, fault)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html")
    assert answer.text.startswith("<!doctype html>")


@pytest.mark.parametrize("fault", ["malformed_json", "truncated_json"])
async def test_broken_json(leyr: httpx.AsyncClient, fault: str) -> None:
    answer = await with_fault(leyr, fault)
    assert answer.status_code == 200
    with pytest.raises(ValueError, match="line 1"):
        answer.json()


async def test_wrong_shapes(leyr: httpx.AsyncClient, window: dict[str, str]) -> None:
    right = (await leyr.get(UNITS)).json()
    assert (await with_fault(leyr, "empty_list")).json() == []
    assert isinstance((await with_fault(leyr, "object_body")).json(), dict)
    assert all(one["id"] == {"value": 12345} for one in (await with_fault(leyr, "wrong_types")).json())
    without = (await with_fault(leyr, "item_without_id")).json()
    assert "id" not in without[0]
    assert without[1:] == right[1:]
    slots = (await with_fault(leyr, "item_without_id", f"{UNITS}/L0_1/timeslots", **window)).json()
    assert ["start" in slot for slot in slots[:2]] == [False, True]
    one = (await with_fault(leyr, "wrong_types", f"{RESOURCES}/R1")).json()
    assert one["id"] == {"value": 12345}


async def test_wrong_shapes_within_a_wrapped_list(leyr: httpx.AsyncClient) -> None:
    await leyr.patch("/__manners/webdoc", json={"wrapped_lists": True})
    assert "id" not in (await with_fault(leyr, "item_without_id")).json()["items"][0]


async def test_faults_of_shape_leave_error_envelopes_alone(leyr: httpx.AsyncClient) -> None:
    answer = await with_fault(leyr, "wrong_types", "/api/emrs/nobody/care-units")
    assert answer.json()["code"] == "BAD_REQUEST"


async def test_redirect(leyr: httpx.AsyncClient) -> None:
    answer = await with_fault(leyr, "redirect")
    assert answer.status_code == 302
    assert answer.headers["location"].startswith("https://elsewhere.invalid/")


async def test_delay_and_drip(leyr: httpx.AsyncClient) -> None:
    right = (await leyr.get(UNITS)).json()
    for fault in ("delay:0.1", "drip:0.1"):
        begin = time.monotonic()
        assert (await with_fault(leyr, fault)).json() == right
        # Without seconds in the header it takes two.
        assert 0.1 <= time.monotonic() - begin < 2


@pytest.mark.parametrize("fault", ["explode", "delay:soon", "delay:-1"])
async def test_unknown_fault_in_header(leyr: httpx.AsyncClient, fault: str) -> None:
    answer = await with_fault(leyr, fault)
    assert answer.status_code == 400
    assert "service_unavailable" in answer.text


async def test_a_queued_fault_ends_after_so_many_requests(leyr: httpx.AsyncClient) -> None:
    fault = {"fault": "service_unavailable", "times": 2}
    assert (await leyr.post("/__faults", json=fault)).status_code == 200
    assert [(await leyr.get(UNITS)).status_code for _ in range(3)] == [503, 503, 200]
    assert (await leyr.get("/__faults")).json() == {"faults": []}


@pytest.mark.parametrize(
    ("match", "matched", "other"),
    [
        ({"emr": "webdoc"}, UNITS, "/api/emrs/kaddio/care-units"),
        ({"endpoint": "resources"}, RESOURCES, f"{RESOURCES}/R1"),
        ({"endpoint": "resource"}, f"{RESOURCES}/R1", RESOURCES),
        ({"path": RESOURCES}, f"{RESOURCES}/R1", "/api/emrs/webdoc/care-units/L0_11/resources"),
        ({"path": "/api/emrs/webdoc/care-units/L0_1"}, RESOURCES, f"{UNITS}/L0_10/resources"),
        ({"path": "/api/emrs/*/L0_2/*"}, f"{UNITS}/L0_2/resources", RESOURCES),
        (
            {"path": "/api/emrs/physica/care-units/avd%252F5"},
            "/api/emrs/physica/care-units/avd%252F5/resources",
            "/api/emrs/physica/care-units/avd%2F1/resources",
        ),
        ({"emr": "webdoc", "endpoint": "resources"}, RESOURCES, UNITS),
    ],
)
async def test_a_fault_is_for_matching_requests_only(
    leyr: httpx.AsyncClient, match: dict[str, str], matched: str, other: str
) -> None:
    await leyr.post("/__faults", json={"fault": "service_unavailable", **match})
    assert (await leyr.get(matched)).status_code == 503
    assert (await leyr.get(other)).status_code != 503
    await leyr.delete("/__faults")
    assert (await leyr.get(matched)).status_code == 200


@pytest.mark.parametrize(
    "fault",
    [{}, {"fault": "explode"}, {"fault": "cut", "when": 1}, {"fault": "cut", "times": 0}, []],
)
async def test_a_bad_fault_is_refused(leyr: httpx.AsyncClient, fault: Any) -> None:
    answer = await leyr.post("/__faults", json=fault)
    assert answer.status_code == 400
    assert "known faults" in answer.json()["error"]


def test_cut_sends_not_a_byte(served: str) -> None:
    with (
        httpx.Client(base_url=served, headers=CREDENTIALS) as client,
        pytest.raises(httpx.RemoteProtocolError, match="without sending a response"),
    ):
        client.get(UNITS, headers={"x-simulator-fault": "cut"})


def test_cut_mid_body(served: str) -> None:
    with (
        httpx.Client(base_url=served, headers=CREDENTIALS) as client,
        pytest.raises(httpx.RemoteProtocolError, match=r"incomplete|without sending complete"),
    ):
        client.get(UNITS, headers={"x-simulator-fault": "cut_mid_body"})


def test_hang_lasts_until_the_client_goes(served: str) -> None:
    with httpx.Client(base_url=served, headers=CREDENTIALS) as client:
        client.post("/__reset")
        with pytest.raises(httpx.ReadTimeout):
            client.get(UNITS, headers={"x-simulator-fault": "hang"}, timeout=0.2)
        # The simulator may notice later than the client gave up.
        for _ in range(1_000):
            calls = client.get("/__calls").json()["calls"]
            if calls and calls[0]["ended_at"] is not None:
                break
            time.sleep(0.005)
    assert [(call["status"], call["ended_at"] is not None) for call in calls] == [(None, True)]


def test_huge_list(served: str) -> None:
    with httpx.Client(base_url=served, headers=CREDENTIALS) as client:
        with client.stream("GET", UNITS, headers={"x-simulator-fault": "huge_list"}) as answer:
            pieces = list(answer.iter_raw())
        body = b"".join(pieces)
    assert len(body) > 64 * 2**20
    assert body.startswith(b'[{"id":"L0_1"')
    assert body.endswith(b"}]")


def test_every_fault_is_tested() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in FAULT_NAMES if f'"{name}' not in text] == []
