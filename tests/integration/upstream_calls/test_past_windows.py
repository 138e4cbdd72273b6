"""Windows that begin in the past, at EHRs that take no past instants, and answers that are kept while slots begin."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from starlette.types import Receive, Scope, Send

from gateway.domain.ids import care_unit_id
from gateway.domain.models import CareUnitKey
from gateway.server.serving import listening_socket, serve_in_thread
from tests.harness import CACHES_ON, NOW, Clock, Gateway, Simulator

UNIT = care_unit_id(CareUnitKey("webdoc", "L0_1"))
MIDNIGHT = "2026-10-12T00:00:00+02:00"
TOMORROW = "2026-10-13T00:00:00+02:00"
TODAY = f'start: "{MIDNIGHT}", end: "{TOMORROW}"'
Serve = Callable[..., Gateway]


def asked(arguments: str, selection: str = "start") -> str:
    return f'{{ careUnit(id: "{UNIT}") {{ timeslots{arguments} {{ {selection} }} }} }}'


def starts(answer: dict[str, Any]) -> list[datetime]:
    assert "errors" not in answer, answer["errors"]
    return [datetime.fromisoformat(slot["start"]) for slot in answer["data"]["careUnit"]["timeslots"]]


@pytest.fixture
def without_past(tmp_path: Path, simulator: Simulator) -> Path:
    """The profiles file of an EHR that takes no past instants."""
    simulator.behaviour("webdoc", takes_past=False, membership="by_start")
    profiles = tmp_path / "profiles.toml"
    profiles.write_text("[webdoc]\npast = false\n")
    return profiles


def of_today(simulator: Simulator) -> list[datetime]:
    """When slots of today begin, by Leyr's own answer."""
    slots = simulator.rest("/emrs/webdoc/care-units/L0_1/timeslots", start=NOW.isoformat(), end=TOMORROW)
    return sorted(datetime.fromisoformat(slot["start"]) for slot in slots)


def test_window_from_midnight_is_asked_from_now_on(
    without_past: Path, serve_gateway: Serve, simulator: Simulator
) -> None:
    expected = of_today(simulator)
    clock = Clock(seconds=1_000 + (expected[0] - NOW).total_seconds() + 1)

    answer = serve_gateway(clock=clock, leyr_profiles=without_past).ask(asked(f"({TODAY})"))

    assert starts(answer) == [each for each in expected if each > expected[0]]


@pytest.mark.parametrize("arguments", [f"({TODAY})", ""], ids=["from midnight", "from now"])
def test_window_from_now_on_is_not_past_when_its_call_arrives_within_the_second(
    arguments: str, without_past: Path, serve_gateway: Serve
) -> None:
    async def leyr(scope: Scope, _: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        # The gateway's now is the beginning of a second.
        window = parse_qs(scope["query_string"].decode())
        is_past = bool(window) and datetime.fromisoformat(window["start"][0]) < NOW + timedelta(seconds=0.999)
        refusal = {"code": "BAD_REQUEST", "errors": [{"error_code": "BAD_INPUT"}]}
        slots = [{"start": TOMORROW}, {"start": "2026-10-12T07:00:02+02:00"}]
        found: object = refusal if is_past else slots if window else [{"id": "L0_1"}]
        await send({"type": "http.response.start", "status": 400 if is_past else 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(found).encode()})

    with serve_in_thread(leyr, listening_socket("127.0.0.1", 0)) as url:
        gateway = serve_gateway(leyr_profiles=without_past, leyr_base_url=f"{url}/api")

        assert starts(gateway.ask(asked(arguments)))[0] == NOW + timedelta(seconds=2)


def test_window_that_is_past_is_empty_without_a_call(
    without_past: Path, serve_gateway: Serve, simulator: Simulator
) -> None:
    gateway = serve_gateway(leyr_profiles=without_past)

    for arguments in (f'(start: "2026-10-11T00:00:00Z", end: "{NOW.isoformat()}")', '(start: "2026-01-01T00:00:00Z")'):
        assert starts(gateway.ask(asked(arguments))) == []
    assert simulator.count()["timeslots"] == 0


def test_window_that_is_past_is_refused_where_it_is_too_wide(without_past: Path, serve_gateway: Serve) -> None:
    arguments = '(start: "2025-01-01T00:00:00Z", end: "2025-06-01T00:00:00Z")'

    [error] = serve_gateway(leyr_profiles=without_past).ask(asked(arguments))["errors"]

    assert error["extensions"]["code"] == "BAD_USER_INPUT"


def test_other_ehrs_answer_for_the_past(serve_gateway: Serve, simulator: Simulator) -> None:
    serve_gateway().data(asked(f"({TODAY})"))

    [call] = [each for each in simulator.calls() if each["endpoint"] == "timeslots"]
    assert call["params"]["start"] == MIDNIGHT


@pytest.mark.parametrize("repeated", [True, False], ids=["the same request", "another request"])
@pytest.mark.parametrize("arguments", [f"({TODAY})", ""], ids=["from midnight", "from now"])
def test_slot_that_has_begun_is_not_delivered_from_what_is_cached(
    arguments: str, repeated: bool, without_past: Path, serve_gateway: Serve, simulator: Simulator
) -> None:
    first, *_ = expected = of_today(simulator)
    clock = Clock(seconds=1_000 + (first - NOW).total_seconds() - 5)
    gateway = serve_gateway(clock=clock, leyr_profiles=without_past, **CACHES_ON)
    # A response is kept when its request comes the second time.
    for _ in range(2):
        assert starts(gateway.ask(asked(arguments)))[0] == first
    calls = simulator.count()

    clock.seconds += 10
    later = starts(gateway.ask(asked(arguments, "start" if repeated else "start end")))

    assert simulator.count() == calls
    assert min(later) > first
    assert [each for each in later if each < NOW + timedelta(hours=17)] == [each for each in expected if each > first]


def test_kept_answer_from_now_on_ends_when_its_first_slot_begins(serve_gateway: Serve, simulator: Simulator) -> None:
    first = of_today(simulator)[0]
    clock = Clock(seconds=1_000 + (first - NOW).total_seconds() - 5)
    gateway = serve_gateway(clock=clock, **CACHES_ON)
    for _ in range(2):
        gateway.data(asked(""))
    clock.times_asked = 0

    clock.seconds += 4
    assert starts(gateway.ask(asked("")))[0] == first
    assert clock.times_asked == 0
    clock.seconds += 2
    assert starts(gateway.ask(asked("")))[0] > first
