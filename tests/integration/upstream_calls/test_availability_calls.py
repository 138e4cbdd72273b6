"""The exact upstream calls of availabilities, as the simulator counts them."""

from collections.abc import Callable

import pytest

from gateway.domain.ids import care_unit_id
from gateway.domain.models import CareUnitKey
from tests.harness import Gateway, Simulator

WEBDOC = care_unit_id(CareUnitKey("webdoc", "L0_1"))
TAKECARE = care_unit_id(CareUnitKey("takecare", "10"))
MONTH = "range: {days: {count: 30}}"
WEEK = 'range: {days: {from: "2026-10-19", count: 7}}'
FEW = 'range: {instants: {start: "2026-10-14T00:00:00+02:00", end: "2026-10-15T00:00:00+02:00"}}'
PARTS = "timeslotCount distinctStartCount first { id start } times { start timeslotCount timeslots { id } }"
PAGE = "timeslots(first: 5) { totalCount nodes { id } edges { cursor } pageInfo { hasNextPage endCursor } }"
DAYS = f"days(includeEmpty: true) {{ date {PARTS} {PAGE} }}"
ALL = f"{PARTS} {PAGE} {DAYS} excludedByFilterCount coverage {{ complete }} asOf"
LISTS = {"resources": 1, "healthcare_services": 1}
TIMES = {"timeslots": 1}
TABLE: list[tuple[str, str, dict[str, int]]] = [
    ("a month's days", "availability { days { date timeslotCount } }", TIMES),
    ("all that is counted", f"availability({MONTH}) {{ {ALL} }}", TIMES),
    ("resources", f"availability {{ byResource {{ resource {{ name }} {PARTS} }} }}", {**TIMES, "resources": 1}),
    (
        "services",
        f"availability {{ byHealthcareService {{ healthcareService {{ name }} {PARTS} }} }}",
        {**TIMES, "healthcare_services": 1},
    ),
    (
        "everything",
        (
            f"availability {{ {ALL} byResource {{ {PARTS} careUnit {{ name }} }} byHealthcareService {{ {PARTS} }} "
            f"byCareUnit {{ {PARTS} careUnit {{ name }} }} }}"
        ),
        {**TIMES, **LISTS},
    ),
    (
        "several beside timeslots",
        (
            f"a: availability {{ timeslotCount }} b: availability({WEEK}) {{ timeslotCount }} "
            f'c: availability({FEW}, filter: {{resourceIds: ["R1"]}}) {{ timeslotCount }} timeslots {{ start }}'
        ),
        TIMES,
    ),
    (
        "filters that look at times",
        (
            'availability(filter: {weekdays: [MONDAY], timeOfDay: {from: "08:00", to: "12:00"}, '
            "minimumNoticeMinutes: 60, minimumDurationMinutes: 20}) { days { date } excludedByFilterCount }"
        ),
        TIMES,
    ),
    ("two resources", 'availability(filter: {resourceIds: ["R1", "R2"]}) { timeslotCount }', TIMES),
    (
        "services by name, beside all",
        'availability(filter: {healthcareServiceNames: ["NAME"]}) { timeslotCount } all: availability { asOf }',
        {**TIMES, "healthcare_services": 1},
    ),
    ("nobody", "availability(filter: {resourceIds: []}) { timeslotCount }", {}),
    ("days that are past", 'availability(range: {days: {from: "2026-10-10", count: 2}}) { timeslotCount }', {}),
    ("a range that is refused", "availability(range: {days: {count: 0}}) { timeslotCount }", {}),
]


@pytest.mark.parametrize(("selection", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_availability_of_a_care_unit_takes_exactly_these_calls(
    selection: str, expected: dict[str, int], gateway: Gateway, simulator: Simulator
) -> None:
    name = simulator.rest("/emrs/webdoc/care-units/L0_1/healthcare-services")[0]["name"]
    simulator.http.post("/__reset")

    answer = gateway.ask(f'{{ careUnit(id: "{WEBDOC}") {{ {selection.replace("NAME", name.upper())} }} }}')

    assert answer["data"]["careUnit"] is not None
    assert simulator.count() == {"care_units": 1, **expected}


def test_the_widest_window_of_a_document_is_fetched_once_whatever_filters_stand_beside(
    gateway: Gateway, simulator: Simulator
) -> None:
    narrow = f'availability({WEEK}, filter: {{resourceIds: ["R1"], weekdays: [FRIDAY]}}) {{ timeslotCount }}'
    document = (
        f'{{ careUnit(id: "{WEBDOC}") {{ {narrow} timeslots(resourceId: "R1") {{ start }} all: timeslots {{ id }} }} }}'
    )

    gateway.ask(document)

    (call,) = [call for call in simulator.calls() if call["endpoint"] == "timeslots"]
    assert "resource" not in call["query"]


def test_an_ehr_that_wants_a_filter_gets_no_more_calls_for_availability_than_for_timeslots(
    gateway: Gateway, simulator: Simulator
) -> None:
    gateway.ask(f'{{ careUnit(id: "{TAKECARE}") {{ timeslots {{ start }} }} }}')
    alone = simulator.count()
    simulator.http.post("/__reset")

    both = "timeslots { start } availability { timeslotCount coverage { complete } }"
    found = gateway.ask(f'{{ careUnit(id: "{TAKECARE}") {{ {both} }} }}')["data"]["careUnit"]

    assert simulator.count() == alone
    assert found["availability"] == {"timeslotCount": len(found["timeslots"]), "coverage": {"complete": False}}


def test_what_is_next_behind_an_empty_range_takes_at_most_three_more_calls(
    gateway: Gateway, simulator: Simulator
) -> None:
    empty = 'availability(range: {days: {from: "2027-03-01", count: 30}}) { timeslotCount NEXT }'
    found = gateway.data(
        f'{{ careUnit(id: "{WEBDOC}") {{ {empty.replace("NEXT", "nextAfter(withinDays: 100) { complete }")} }} }}'
    )["careUnit"]["availability"]

    assert found == {"timeslotCount": 0, "nextAfter": {"complete": True}}
    assert simulator.count() == {"care_units": 1, "timeslots": 1 + 3}


def test_availability_of_all_clinics_takes_a_call_each_and_a_list_each(gateway: Gateway, simulator: Simulator) -> None:
    units = simulator.rest("/emrs/webdoc/care-units")
    ids = ", ".join(f'"{care_unit_id(CareUnitKey("webdoc", unit["id"]))}"' for unit in units)
    simulator.http.post("/__reset")

    days = gateway.data(f"{{ availability(careUnitIds: [{ids}]) {{ days {{ date timeslotCount }} }} }}")["availability"]
    alone = simulator.count()
    groups = f"byResource {{ timeslotCount }} byCareUnit {{ {PARTS} }}"
    gateway.data(f"{{ availability(careUnitIds: [{ids}]) {{ {groups} }} }}")

    assert len(days["days"]) > 10
    assert alone == {"timeslots": 4}
    assert simulator.count() == {"timeslots": 8, "resources": 4}


def test_availability_of_each_resource_is_cut_from_one_call(gateway: Gateway, simulator: Simulator) -> None:
    count = "availability { timeslotCount }"
    owners = f"resources {{ {count} }} healthcareServices {{ {count} }}"
    unit = gateway.data(f'{{ careUnit(id: "{WEBDOC}") {{ {count} {owners} }} }}')["careUnit"]

    assert simulator.count() == {"care_units": 1, **LISTS, **TIMES}
    for several in (unit["resources"], unit["healthcareServices"]):
        assert sum(each["availability"]["timeslotCount"] for each in several) == unit["availability"]["timeslotCount"]


def test_availability_is_counted_before_the_first_call(
    serve_gateway: Callable[..., Gateway], simulator: Simulator
) -> None:
    gateway = serve_gateway(gateway_max_upstream_calls=2)
    fields = "availability { byResource { timeslotCount } byHealthcareService { timeslotCount } }"

    answer = gateway.ask(f'{{ careUnit(id: "{WEBDOC}") {{ {fields} }} }}')

    (error,) = answer["errors"]
    assert error["extensions"]["code"] == "OPERATION_TOO_LARGE"
    assert "would take 4 upstream calls" in error["message"]
    assert simulator.count() == {}


@pytest.mark.parametrize(
    "beside",
    [
        f'careUnit(id: "{WEBDOC}") {{ timeslots {{ start }} }}',
        "careUnits { resources { id } availability { timeslotCount } }",
        f'node(id: "{WEBDOC}") {{ ... on CareUnit {{ resources {{ timeslots {{ start }} }} }} }}',
        f'all: availability(careUnitIds: ["{WEBDOC}"]) {{ timeslotCount }}',
    ],
)
def test_what_stands_beside_availability_of_care_units_is_fetched_with_it(
    beside: str, gateway: Gateway, simulator: Simulator
) -> None:
    narrow = f'availability(careUnitIds: ["{WEBDOC}"], {WEEK}) {{ timeslotCount }}'

    gateway.data(f"{{ {narrow} {beside} }}")

    calls = [call for call in simulator.calls() if call["endpoint"] == "timeslots" and call["care_unit"] == "L0_1"]
    assert len(calls) == 1
