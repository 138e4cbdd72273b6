"""The switches of an EHR's behaviour: what each changes in its answers."""

from datetime import date, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest

from gateway.simulator import Behaviour, SimulatorSettings, create_simulator

SLOTS = "/api/emrs/webdoc/care-units/L0_1/timeslots"
HEADERS = {"x-leyr-client-id": "simulator", "x-leyr-client-secret": "simulator"}


async def switch(leyr: httpx.AsyncClient, emr: str = "webdoc", **switches: object) -> None:
    assert (await leyr.patch(f"/__manners/{emr}", json=switches)).status_code == 200


def error_code(answer: httpx.Response) -> str:
    assert answer.status_code == 400
    return str(answer.json()["errors"][0]["error_code"])


async def first_ids(leyr: httpx.AsyncClient, emr: str, unit: str) -> dict[str, str]:
    base = f"/api/emrs/{emr}/care-units/{unit}"
    return {
        "resource_id": (await leyr.get(f"{base}/resources")).json()[0]["id"],
        "healthcare_service_id": (await leyr.get(f"{base}/healthcare-services")).json()[0]["id"],
    }


@pytest.mark.parametrize(
    ("policy", "refused"),
    [
        ("none_required", [False, False, False, False]),
        ("any_one", [True, False, False, False]),
        ("resource", [True, False, True, False]),
        ("service", [True, True, False, False]),
        ("both", [True, True, True, False]),
    ],
)
async def test_filter_policies(
    leyr: httpx.AsyncClient, window: dict[str, str], policy: str, refused: list[bool]
) -> None:
    await switch(leyr, filter_policy=policy)
    ids = await first_ids(leyr, "webdoc", "L0_1")
    names: list[tuple[str, ...]] = [(), ("resource_id",), ("healthcare_service_id",), tuple(ids)]
    for sent, refuses in zip(names, refused, strict=True):
        answer = await leyr.get(SLOTS, params={**window, **{name: ids[name] for name in sent}})
        assert (answer.status_code == 400) == refuses
        if refuses:
            assert error_code(answer) == "MISSING_REQUIRED_FIELD"


async def test_ehrs_that_require_a_filter(leyr: httpx.AsyncClient) -> None:
    shown = (await leyr.get("/__manners")).json()
    strict = {emr for emr, behaviour in shown.items() if behaviour["filter_policy"] == "any_one"}
    assert strict == {"takecare", "anitasystems", "konfidens"}
    assert {behaviour["filter_policy"] for behaviour in shown.values()} == {"any_one", "none_required"}


@pytest.mark.parametrize("days", [7, 31])
async def test_longest_window(leyr: httpx.AsyncClient, days: int) -> None:
    await switch(leyr, longest_window_days=days)
    start = datetime.fromisoformat("2026-03-02T00:00:00+01:00")
    for extra, status in ((0, 200), (1, 400)):
        end = start + timedelta(days=days, seconds=extra)
        answer = await leyr.get(SLOTS, params={"start": start.isoformat(), "end": end.isoformat()})
        assert answer.status_code == status
    assert error_code(answer) == "BAD_INPUT"


async def test_a_start_in_the_past_is_refused_where_the_ehr_takes_none(settings: SimulatorSettings) -> None:
    now = datetime.fromisoformat("2026-03-02T10:00:00+01:00")
    transport = httpx.ASGITransport(create_simulator(settings, now=now.timestamp))
    async with httpx.AsyncClient(transport=transport, base_url="http://leyr.test", headers=HEADERS) as leyr:
        end = (now + timedelta(days=1)).isoformat()
        for takes_past, seconds_ago, status in ((True, 3600, 200), (False, 61, 400), (False, 60, 200)):
            await switch(leyr, takes_past=takes_past)
            start = (now - timedelta(seconds=seconds_ago)).isoformat()
            answer = await leyr.get(SLOTS, params={"start": start, "end": end})
            assert answer.status_code == status
            if status == 400:
                assert error_code(answer) == "BAD_INPUT"


@pytest.mark.parametrize(
    ("switched", "field"), [("resource_ids", "resource_id"), ("service_ids", "healthcare_service_id")]
)
async def test_hidden_ids_still_filter(
    leyr: httpx.AsyncClient, window: dict[str, str], switched: str, field: str
) -> None:
    ids = await first_ids(leyr, "webdoc", "L0_1")
    query = {**window, field: ids[field]}
    named = (await leyr.get(SLOTS, params=query)).json()
    await switch(leyr, **{switched: "null"})
    assert (await leyr.get(SLOTS, params=query)).json() == [{**slot, field: None} for slot in named]


async def test_utc(leyr: httpx.AsyncClient, window: dict[str, str]) -> None:
    local = (await leyr.get(SLOTS, params=window)).json()
    await switch(leyr, time_format="utc")
    utc = (await leyr.get(SLOTS, params=window)).json()
    assert all(slot["start"].endswith("Z") and slot["end"].endswith("Z") for slot in utc)
    for one, other in zip(local, utc, strict=True):
        assert datetime.fromisoformat(one["start"]) == datetime.fromisoformat(other["start"])


async def test_nothing_free(leyr: httpx.AsyncClient) -> None:
    past = {"start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z"}
    assert (await leyr.get(SLOTS, params=past)).json() == []
    await switch(leyr, empty_answer="error")
    assert error_code(await leyr.get(SLOTS, params=past)) == "NO_TIMESLOTS_AVAILABLE"


async def test_membership(leyr: httpx.AsyncClient, window: dict[str, str]) -> None:
    slots = (await leyr.get(SLOTS, params=window)).json()
    slot = max(slots, key=lambda one: datetime.fromisoformat(one["start"]))
    start, end = (datetime.fromisoformat(slot[name]) for name in ("start", "end"))
    shorter = {"start": slot["start"], "end": (end - timedelta(minutes=1)).isoformat()}
    exact = {"start": slot["start"], "end": slot["end"]}
    before = {"start": (start - timedelta(minutes=1)).isoformat(), "end": slot["start"]}

    async def holds(query: dict[str, str]) -> bool:
        return slot in (await leyr.get(SLOTS, params=query)).json()

    assert [await holds(query) for query in (shorter, exact, before)] == [False, True, False]
    await switch(leyr, membership="by_start")
    assert [await holds(query) for query in (shorter, exact, before)] == [True, True, False]


async def test_wrapped_lists(leyr: httpx.AsyncClient, window: dict[str, str]) -> None:
    paths: list[tuple[str, dict[str, str]]] = [
        ("/api/emrs/webdoc/care-units", {}),
        ("/api/emrs/webdoc/care-units/L0_1/resources", {}),
        (SLOTS, window),
    ]
    bare = [(await leyr.get(path, params=query)).json() for path, query in paths]
    await switch(leyr, wrapped_lists=True)
    wrapped = [(await leyr.get(path, params=query)).json() for path, query in paths]
    assert wrapped == [{"items": items} for items in bare]


async def test_ignored_filters(leyr: httpx.AsyncClient, window: dict[str, str]) -> None:
    everything = (await leyr.get(SLOTS, params=window)).json()
    await switch(leyr, ignores_filters=True)
    ids = await first_ids(leyr, "webdoc", "L0_1")
    assert (await leyr.get(SLOTS, params={**window, **ids})).json() == everything


async def test_switches_touch_one_ehr_and_reset_restores(leyr: httpx.AsyncClient) -> None:
    before = (await leyr.get("/__manners")).json()
    await switch(leyr, "takecare", filter_policy="both", latency_ms=1)
    await switch(leyr, "takecare", wrapped_lists=True)
    changed = (await leyr.get("/__manners")).json()
    expected = {"filter_policy": "both", "latency_ms": 1, "wrapped_lists": True}
    assert changed == {**before, "takecare": {**before["takecare"], **expected}}
    await switch(leyr, "takecare", filter_policy=None, latency_ms=None, wrapped_lists=False)
    assert (await leyr.get("/__manners")).json() == before
    await switch(leyr, "takecare", wrapped_lists=True)
    await leyr.post("/__reset")
    assert (await leyr.get("/__manners")).json() == before


@pytest.mark.parametrize(
    "patch",
    [{"utc": True}, {"time_format": "UTC"}, {"longest_window_days": 0}, {"latency_ms": -1}, ["utc"], None],
)
async def test_bad_switches(leyr: httpx.AsyncClient, patch: Any) -> None:
    answer = await leyr.patch("/__manners/webdoc", json=patch)
    assert answer.status_code == 400
    assert "time_format" in answer.json()["error"]


async def test_switching_an_unknown_ehr(leyr: httpx.AsyncClient) -> None:
    assert (await leyr.patch("/__manners/nobody", json={})).status_code == 400


async def test_behaviour_at_start() -> None:
    behaviour = {"takecare": Behaviour(time_format="utc"), "webdoc": Behaviour(filter_policy="both", latency_ms=7)}
    settings = SimulatorSettings(today=date(2026, 3, 2), latency_ms=3, behaviour=behaviour)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_simulator(settings))) as client:
        shown = (await client.get("http://leyr.test/__manners")).json()
    own = [(shown[emr]["filter_policy"], shown[emr]["latency_ms"]) for emr in ("takecare", "webdoc", "pridok")]
    assert own == [("any_one", 3), ("both", 7), ("none_required", 3)]
    assert shown["takecare"]["time_format"] == "utc"


def test_unknown_switch_is_refused_in_python() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"utc": True}, Behaviour)
