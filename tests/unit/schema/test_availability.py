"""An availability is what a model finds that looks at every slot: in each field, whatever the EHR, zone and filter."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.ehr_profile import EhrProfile, FilterPolicy
from gateway.domain.ids import NodeType, care_unit_id, node_id
from gateway.domain.models import CareUnitKey, HealthcareService
from tests.unit import strategies
from tests.unit.domain.local_days import DAY, MACHINES, machine_in, noon, zones_and_days
from tests.unit.model_ehr import RESOURCES, SERVICES, UNIT, UNLISTED_RESOURCE, UNLISTED_SERVICE, TrueSlot
from tests.unit.schema.availability_model import SELECTION, WEEKDAYS, Model
from tests.unit.schema.clinic import Clinic
from tests.unit.schema.graph import Graph

HALF_HOUR = timedelta(minutes=30)
NOBODY = "nobody"


@pytest.fixture(autouse=True, scope="module", params=MACHINES)
def _machine(request: pytest.FixtureRequest) -> Iterator[None]:
    with machine_in(request.param):
        yield


def chosen(name: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An entry of an input object, which is left out as a rule."""
    return st.one_of(st.just({}), st.just({}), st.just({}), values.map(lambda value: {name: value}))


local_times = st.integers(0, 47).map(lambda half: f"{half // 2:02}:{half % 2 * 30:02}")
some_of_resources = st.lists(st.sampled_from([*RESOURCES, *RESOURCES, UNLISTED_RESOURCE]), max_size=3)
some_of_services = st.lists(st.sampled_from([*SERVICES, *SERVICES, UNLISTED_SERVICE]), max_size=2)
hours = st.tuples(local_times, local_times).filter(lambda both: both[0] != both[1])
filters = st.tuples(
    chosen("resourceIds", some_of_resources),
    chosen("healthcareServiceIds", some_of_services),
    chosen("healthcareServiceNames", st.lists(st.sampled_from(["S1", " s2 ", "s3"]), max_size=2)),
    chosen("weekdays", st.lists(st.sampled_from(WEEKDAYS), max_size=4)),
    chosen("timeOfDay", hours.map(lambda both: {"from": both[0], "to": both[1]})),
    chosen("minimumNoticeMinutes", st.sampled_from([0, 90, 4_000])),
    chosen("minimumDurationMinutes", st.sampled_from([0, 20, 21])),
).map(lambda parts: {name: value for part in parts for name, value in part.items()})


@st.composite
def ranges(draw: st.DrawFn, day: date) -> dict[str, Any] | None:
    match draw(st.sampled_from(["none", "today", "days", "days", "instants"])):
        case "none":
            return None
        case "today":
            return {"days": {"count": draw(st.integers(1, 5))}}
        case "days":
            first = day + draw(st.integers(-2, 2)) * DAY
            return {"days": {"from": first.isoformat(), "count": draw(st.integers(1, 5))}}
        case _:
            start = noon(day) + draw(st.integers(-150, 150)) * HALF_HOUR
            end = start + draw(st.integers(1, 200)) * HALF_HOUR
            return {"instants": {"start": start.isoformat(), "end": end.isoformat()}}


@st.composite
def slots(draw: st.DrawFn, around: datetime) -> list[TrueSlot]:
    slot = st.builds(
        TrueSlot,
        st.integers(-200, 200).map(lambda each: around + each * HALF_HOUR),
        st.sampled_from([*RESOURCES, *RESOURCES, UNLISTED_RESOURCE, None]),
        st.sampled_from([*SERVICES, *SERVICES, UNLISTED_SERVICE, None]),
        st.sampled_from([True, True, True, True, False]),
        st.sampled_from([True, True, True, True, False]),
    )
    return draw(st.lists(slot, max_size=20))


@st.composite
def questions(draw: st.DrawFn) -> tuple[Graph, Clinic, Model]:
    """A clinic, and what is asked of it."""
    zone, day = draw(zones_and_days)
    profile = replace(draw(st.one_of(st.just(EhrProfile(UNIT.emr, "Model")), strategies.profiles)), time_zone=zone)
    now = noon(day) + draw(st.integers(-100, 100)) * HALF_HOUR
    clinic = Clinic(draw(slots(noon(day))), profile)
    other_zone = draw(st.sampled_from([None, None, "Europe/London", "Pacific/Kiritimati"]))
    asked = {"range": draw(ranges(day)), "filter": draw(filters), "zone": other_zone}
    model = Model(UNIT, clinic.expected, zone, RESOURCES, SERVICES, now, draw(st.sampled_from([*OWNERS])), asked)
    return Graph(clinic, [profile], instant=now), clinic, model


FIELD = f"availability(range: $range, timeZone: $zone, filter: $filter) {SELECTION}"
ARGUMENTS = "$range: AvailabilityRange, $zone: String, $filter: AvailabilityFilter"


OWNERS = {
    (None, None): ("CareUnit", care_unit_id(UNIT)),
    ("r1", None): ("Resource", node_id(NodeType.RESOURCE, UNIT, "r1")),
    (None, "s2"): ("HealthcareService", node_id(NodeType.HEALTHCARE_SERVICE, UNIT, "s2")),
}


def document(own: tuple[str | None, str | None]) -> str:
    kind, leyr_id = OWNERS[own]
    return f'query({ARGUMENTS}) {{ node(id: "{leyr_id}") {{ ... on {kind} {{ {FIELD} }} }} }}'


@settings(max_examples=50)
@given(questions())
def test_every_field_is_what_the_model_says(question: tuple[Graph, Clinic, Model]) -> None:
    graph, _, model = question

    answer = asyncio.run(graph.ask(document(model.own), **model.asked))

    if answer.messages == {"The days of the range do not exist in this time zone"}:
        return
    assert answer.errors == []
    assert answer.data is not None
    found = answer.data["node"]["availability"]
    coverage = found.pop("coverage")
    assert found == model.availability()
    assert coverage["complete"] is (coverage["gaps"] == [])
    assert {gap["reason"] for gap in coverage["gaps"]} <= {"OUTSIDE_EVERY_FILTER"}


def ask(graph: Graph, filter_text: str, selection: str) -> Any:
    field = f"availability(filter: {{{filter_text}}}) {{ {selection} }}"
    return asyncio.run(graph.ask(f'{{ careUnit(id: "{care_unit_id(UNIT)}") {{ {field} }} }}'))


NOW = noon(date(2026, 10, 20))
FREE = [TrueSlot(NOW + DAY, "r1", "s1"), TrueSlot(NOW + DAY, "r2", "s1"), TrueSlot(NOW + 2 * DAY, "r1", "s2")]
GAPS = "timeslotCount coverage { complete gaps { careUnitId resourceId reason code retryable retryAfterSeconds } }"


def graph_of(clinic: Clinic, **profile: Any) -> Graph:
    return Graph(clinic, [EhrProfile(UNIT.emr, "Model", **profile)], instant=NOW)


def test_an_owner_who_is_not_known_is_a_gap_beside_those_who_are() -> None:
    graph = graph_of(Clinic(FREE, EhrProfile(UNIT.emr, "Model")))

    answer = ask(graph, f'resourceIds: ["r2", "{NOBODY}"]', GAPS + " byResource { resourceId coverage { complete } }")

    assert answer.errors == []
    found = answer.data["careUnit"]["availability"]
    gap = {
        "careUnitId": care_unit_id(UNIT),
        "resourceId": node_id(NodeType.RESOURCE, UNIT, NOBODY),
        "reason": "FAILED",
        "code": "NOT_FOUND",
        "retryable": False,
        "retryAfterSeconds": None,
    }
    assert found["timeslotCount"] == 1
    assert found["coverage"] == {"complete": False, "gaps": [gap]}
    assert found["byResource"] == [
        {"resourceId": node_id(NodeType.RESOURCE, UNIT, "r2"), "coverage": {"complete": True}}
    ]


def test_where_no_owner_is_known_it_is_null_with_an_error() -> None:
    graph = graph_of(Clinic(FREE, EhrProfile(UNIT.emr, "Model")))

    answer = ask(graph, f'resourceIds: ["{NOBODY}"]', GAPS)

    assert answer.codes == {"NOT_FOUND"}
    assert answer.data == {"careUnit": {"availability": None}}


def test_a_filter_that_means_nobody_finds_nothing_and_calls_nothing() -> None:
    clinic = Clinic(FREE, EhrProfile(UNIT.emr, "Model"))

    answer = ask(graph_of(clinic), "resourceIds: []", GAPS)

    assert answer.data["careUnit"]["availability"] == {"timeslotCount": 0, "coverage": {"complete": True, "gaps": []}}
    assert clinic.calls == []


def test_services_that_are_named_are_meant_also_on_days_that_are_past() -> None:
    names = 'healthcareServiceIds: ["s1"], healthcareServiceNames: ["s2"]'
    graph = graph_of(Clinic(FREE, EhrProfile(UNIT.emr, "Model")))
    field = f'availability(range: {{days: {{from: "2026-10-18", count: 1}}}}, filter: {{{names}}})'

    answer = asyncio.run(
        graph.ask(
            f'{{ careUnit(id: "{care_unit_id(UNIT)}") {{ {field} {{ byHealthcareService {{ timeslotCount }} }} }} }}'
        )
    )

    assert answer.data == {"careUnit": {"availability": {"byHealthcareService": []}}}


def test_slots_outside_every_filter_are_a_gap_of_their_care_unit() -> None:
    wanting = EhrProfile(UNIT.emr, "Model", FilterPolicy.ANY_ONE)
    graph = graph_of(Clinic(FREE, wanting), filter_policy=FilterPolicy.ANY_ONE)

    answer = ask(graph, "", GAPS)

    (gap,) = answer.data["careUnit"]["availability"]["coverage"]["gaps"]
    assert (gap["reason"], gap["resourceId"], gap["code"]) == ("OUTSIDE_EVERY_FILTER", None, None)
    assert answer.data["careUnit"]["availability"]["timeslotCount"] == 3


def test_counts_and_days_stay_where_a_list_cannot_be_had() -> None:
    class WithoutServices(Clinic):
        async def healthcare_services(self, care_unit: CareUnitKey) -> Sequence[HealthcareService]:
            raise ValueError(care_unit)

    graph = graph_of(WithoutServices(FREE, EhrProfile(UNIT.emr, "Model")))

    answer = ask(
        graph, "", "timeslotCount days { date } byResource { timeslotCount } byHealthcareService { timeslotCount }"
    )

    found = answer.data["careUnit"]["availability"]
    assert answer.codes == {"INTERNAL"}
    assert found["byHealthcareService"] is None
    assert (found["timeslotCount"], len(found["days"]), len(found["byResource"])) == (3, 2, 3)
