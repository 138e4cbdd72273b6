"""Slots whose owners the lists leave out, where Leyr refuses to filter by these: free is free, whoever asks how."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from gateway.domain.ids import care_unit_id
from gateway.domain.models import CareUnitKey
from gateway.server.serving import listening_socket, serve_in_thread
from tests.harness import Gateway
from tests.stand_ins.versioned_leyr import RESOURCES, SERVICES, START, OwnedSlot, VersionedLeyr

UNIT = care_unit_id(CareUnitKey("webdoc", "u1"))
LISTED = f"""{{ careUnit(id: "{UNIT}") {{
    timeslots(start: "2026-10-13T00:00:00Z", end: "2026-10-20T00:00:00Z") {{ id start end }} }} }}"""
STILL_FREE = "query($id: ID!) { timeslot(id: $id) { id start end } }"
KNOWN = {
    "resource_id": (RESOURCES, "INVALID_RESOURCE_ID"),
    "healthcare_service_id": (SERVICES, "INVALID_HEALTHCARE_SERVICE_ID"),
}


class LeyrThatKnowsItsListsAlone(VersionedLeyr):
    """Filters by listed ids only; its slots last as long in each answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.version = 1_200
        asked = parse_qs(scope.get("query_string", b"").decode())
        refusals = [code for name, (ids, code) in KNOWN.items() if name in asked and asked[name][0] not in ids]
        if refusals:
            self.queries.append(scope["query_string"].decode())
            refusal = {"code": "BAD_REQUEST", "errors": [{"error_code": code} for code in refusals]}
            await JSONResponse(refusal, 400)(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


@pytest.fixture
def leyr() -> LeyrThatKnowsItsListsAlone:
    return LeyrThatKnowsItsListsAlone()


@pytest.fixture
def gateway_with(
    leyr: LeyrThatKnowsItsListsAlone, serve_gateway: Callable[..., Gateway], tmp_path: Path
) -> Iterator[Callable[[str], Gateway]]:
    """Gateways in front of this Leyr by filter policy."""
    with serve_in_thread(leyr, listening_socket("127.0.0.1", 0)) as url:

        def start(policy: str) -> Gateway:
            leyr.wants_filter = policy != "none_required"
            profiles = tmp_path / "profiles.toml"
            profiles.write_text(f'[webdoc]\nfilter_policy = "{policy}"\nfan_out = "both"\n')
            return serve_gateway(leyr_base_url=f"{url}/api", leyr_emrs=("webdoc",), leyr_profiles=profiles)

        yield start


def listed(gateway: Gateway) -> dict[str, Any]:
    """The only slot that lists show."""
    (found,) = gateway.data(LISTED)["careUnit"]["timeslots"]
    return dict(found)


@pytest.mark.parametrize(
    ("policy", "owner", "calls"),
    [
        ("none_required", ("r1", "s1"), 1),
        ("none_required", ("r9", "s1"), 2),
        ("none_required", ("r9", None), 2),
        ("none_required", ("r9", "s9"), 2),
        ("any_one", ("r9", "s1"), 2),
        ("any_one", ("r1", "s9"), 3),
        ("resource", ("r1", "s9"), 2),
        ("service", ("r9", "s1"), 2),
    ],
)
def test_slot_that_lists_show_is_still_free_though_leyr_refuses_to_filter_by_its_owner(
    policy: str,
    owner: tuple[str, str | None],
    calls: int,
    leyr: LeyrThatKnowsItsListsAlone,
    gateway_with: Callable[[str], Gateway],
) -> None:
    leyr.free = {OwnedSlot(START + timedelta(hours=1), *owner)}
    gateway = gateway_with(policy)
    slot = listed(gateway)
    before = len(leyr.queries)

    found = gateway.data(STILL_FREE, id=slot["id"])["timeslot"]

    assert found == slot
    assert len(leyr.queries) == before + calls


def test_slot_of_an_unlisted_owner_that_was_booked_is_gone(
    leyr: LeyrThatKnowsItsListsAlone, gateway_with: Callable[[str], Gateway]
) -> None:
    leyr.free = {OwnedSlot(START + timedelta(hours=1), "r9", "s1")}
    gateway = gateway_with("none_required")
    slot = listed(gateway)
    leyr.free.clear()

    assert gateway.data(STILL_FREE, id=slot["id"]) == {"timeslot": None}


@pytest.mark.parametrize(
    ("policy", "owner", "asked", "calls"),
    [
        ("none_required", ("r9", "s1"), 'resourceId: "r9"', 2),
        ("none_required", ("r1", "s9"), 'resourceId: "r1", healthcareServiceId: "s9"', 2),
        ("any_one", ("r9", "s1"), 'resourceId: "r9", healthcareServiceId: "s1"', 2),
        ("service", ("r9", "s1"), 'resourceId: "r9"', 2 * len(SERVICES)),
    ],
)
def test_slots_of_an_unlisted_owner_are_the_same_alone_and_beside_a_list_that_shows_them(
    policy: str,
    owner: tuple[str, str],
    asked: str,
    calls: int,
    leyr: LeyrThatKnowsItsListsAlone,
    gateway_with: Callable[[str], Gateway],
) -> None:
    leyr.free = {OwnedSlot(START + timedelta(hours=1), *owner)}
    window = 'start: "2026-10-13T00:00:00Z", end: "2026-10-20T00:00:00Z"'
    field = f"timeslots({window}, {asked}) {{ id start end }}"
    alone = f'{{ careUnit(id: "{UNIT}") {{ {field} }} }}'
    beside = f"""{{ careUnit(id: "{UNIT}") {{
        {field} all: timeslots({window}) {{ id }} healthcareServices {{ timeslots({window}) {{ id }} }} }} }}"""

    found = gateway_with(policy).data(alone)["careUnit"]["timeslots"]
    made = len(leyr.queries)

    assert found == gateway_with(policy).data(beside)["careUnit"]["timeslots"]
    assert len(found) == 1
    assert made == calls
