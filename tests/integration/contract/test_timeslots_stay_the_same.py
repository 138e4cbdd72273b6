"""The answers of `timeslots` are, byte for byte, those that were given before there was `availability`.

The file beside this one holds length and digest of each body. The tree of commit 95220a4 wrote it, the last one
without anything of availability: this test ran there without the file, which it then writes, and fails.
"""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.ids import care_unit_id
from gateway.domain.models import CareUnitKey
from tests.harness import Clock, Gateway, Simulator

GOLDEN = Path(__file__).with_name("timeslots_bodies.json")
# With the change to winter time, with what is past, with nothing, and with other offsets than the clinics'.
WINDOWS = {
    "month": "",
    "autumn": 'start: "2026-10-24T00:00:00+02:00", end: "2026-10-27T00:00:00+01:00"',
    "quarter": 'start: "2026-10-12T00:00:00Z", end: "2027-01-11T00:00:00-05:00"',
    "spring": 'start: "2027-03-26T12:00:00+01:00", end: "2027-03-30T12:00:00+02:00"',
    "past": 'start: "2026-10-01T00:00:00+14:00", end: "2026-10-12T09:00:00+02:00"',
    "night": 'start: "2026-10-14T01:00:00+02:00", end: "2026-10-14T01:30:00+02:00"',
}
PLAIN = "start end resourceId healthcareServiceId"
LINKED = (
    f"id {PLAIN} durationMinutes resource {{ id name }} healthcareService {{ leyrId name }} "
    "careUnit { name emr { code } } __typename"
)
SELECTIONS = {
    "linked": f"timeslots(ARGS) {{ {LINKED} }}",
    "of one": (
        f'timeslots(ARGS resourceId: "RESOURCE") {{ {PLAIN} }} '
        f'for: timeslots(ARGS healthcareServiceId: "SERVICE") {{ {PLAIN} }}'
    ),
    "first": f"none: timeslots(ARGS first: 0) {{ start }} few: timeslots(ARGS first: 3) {{ id {PLAIN} }}",
    "of each": (
        "resources { id timeslots(ARGS) { start healthcareServiceId } } "
        "healthcareServices { leyrId timeslots(ARGS) { id end } } timeslots(ARGS) { start }"
    ),
}
BEHAVIOURS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "nobody named": {"resource_ids": "null", "service_ids": "null"},
    "in UTC": {"time_format": "utc", "longest_window_days": 31},
    "any filter": {"filter_policy": "any_one"},
    "both filters": {"filter_policy": "both", "membership": "by_start"},
}
CASES = [
    ("webdoc", "as it is", tuple(WINDOWS)),
    ("takecare", "as it is", ("month", "quarter")),
    ("physica", "as it is", ("autumn", "night")),
    *(("webdoc", behaviour, ("autumn", "past")) for behaviour in list(BEHAVIOURS)[1:]),
]


def bodies(gateway: Gateway, simulator: Simulator, emr: str, windows: tuple[str, ...]) -> dict[str, bytes]:
    """The body of each selection in each window, of the EHR's second care unit."""
    unit = care_unit_id(CareUnitKey(emr, simulator.rest(f"/emrs/{emr}/care-units")[1]["id"]))
    lists = gateway.data(f'{{ careUnit(id: "{unit}") {{ resources {{ id }} healthcareServices {{ id }} }} }}')[
        "careUnit"
    ]
    ids = {"RESOURCE": lists["resources"][0]["id"], "SERVICE": lists["healthcareServices"][0]["id"]}
    found = {}
    for window in windows:
        for selection, text in SELECTIONS.items():
            for placeholder, value in {"ARGS": WINDOWS[window], **ids}.items():
                text = text.replace(placeholder, value)  # noqa: PLW2901 # one after the other
            document = f'{{ careUnit(id: "{unit}") {{ {text.replace("()", "")} }} }}'
            found[f"{window}, {selection}"] = gateway.http.post("/graphql", json={"query": document}).content
    return found


@pytest.mark.parametrize(
    ("emr", "behaviour", "windows"), CASES, ids=[f"{emr} {behaviour}" for emr, behaviour, _ in CASES]
)
def test_a_body_with_timeslots_is_what_it_was_before_availability(
    emr: str,
    behaviour: str,
    windows: tuple[str, ...],
    serve_gateway: Callable[..., Gateway],
    simulator: Simulator,
) -> None:
    simulator.behaviour(emr, **BEHAVIOURS[behaviour])

    found = bodies(serve_gateway(clock=Clock()), simulator, emr, windows)

    digests = {
        f"{emr}, {behaviour}, {name}": f"{len(body)} {sha256(body).hexdigest()[:32]}" for name, body in found.items()
    }
    golden: dict[str, str] = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if not set(digests) & set(golden):
        GOLDEN.write_text(json.dumps({**golden, **digests}, indent=0) + "\n")
        pytest.fail("There were no bodies to compare with")
    assert all(b'"errors"' not in body for body in found.values())
    assert digests == {name: golden.get(name) for name in digests}
