"""Where an EHR is asked owner by owner, one whose call fails is a gap, and what the others have free is delivered."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.ehr_profile import EhrProfile, FanOut, FilterPolicy
from gateway.domain.errors import DeadlineExceeded, GatewayError, UpstreamUnavailable
from gateway.domain.ids import NodeType, care_unit_id, node_id
from gateway.domain.models import CareUnitKey
from gateway.domain.queries import Filters, Step
from gateway.domain.timeslots import TimeslotList
from gateway.fetch.fetch_scope import FetchScope
from tests.unit.schema.graph import NOW, UNLIMITED, Answered, Graph
from tests.unit.schema.world import Unit, World

UNIT = CareUnitKey("se", "u1")
# Of nine slots r1 has s1, s2, s3 in turn, and so on: each service is offered by each resource once.
CLINIC = Unit(("r1", "r2", "r3"), ("s1", "s2", "s3"), days=3)
GAPS = "coverage { complete gaps { resourceId healthcareServiceId reason code retryable } }"


@dataclass
class SickWorld(World):
    """A clinic whose free times cannot be had for some owners, at once or ever."""

    sick: dict[Filters, GatewayError] = field(default_factory=dict)
    silent: frozenset[Filters] = frozenset()

    async def timeslots(self, step: Step) -> TimeslotList:
        found = await super().timeslots(step)
        if step.filters in self.silent:
            await asyncio.Event().wait()
        if step.filters in self.sick:
            raise self.sick[step.filters]
        return found


def profile(fan_out: FanOut = FanOut.SERVICES, policy: FilterPolicy = FilterPolicy.ANY_ONE, **more: Any) -> EhrProfile:
    return EhrProfile("se", "SE", filter_policy=policy, fan_out=fan_out, **more)


def world(*sick: Filters, silent: frozenset[Filters] = frozenset()) -> SickWorld:
    error = UpstreamUnavailable("sick", retryable=True)
    return SickWorld({UNIT: CLINIC}, sick=dict.fromkeys(sick, error), silent=silent)


def ask(of: World, selection: str, asked: EhrProfile) -> Answered:
    return asyncio.run(Graph(of, [asked]).ask(f'{{ careUnit(id: "{care_unit_id(UNIT)}") {{ {selection} }} }}'))


def availability(answer: Answered) -> dict[str, Any]:
    assert answer.errors == []
    assert answer.data is not None
    whole: dict[str, Any] = answer.data["careUnit"]["availability"]
    return whole


def gap(node_type: NodeType, leyr_id: str) -> dict[str, Any]:
    own = node_id(node_type, UNIT, leyr_id)
    owner = {"resourceId": own if node_type is NodeType.RESOURCE else None}
    owner["healthcareServiceId"] = own if node_type is NodeType.HEALTHCARE_SERVICE else None
    return {**owner, "reason": "FAILED", "code": "UPSTREAM_UNAVAILABLE", "retryable": True}


def failed(whole: dict[str, Any]) -> list[dict[str, Any]]:
    """The gaps for what failed; those for what no filter finds are there in any case."""
    return [each for each in whole["coverage"]["gaps"] if each["reason"] == "FAILED"]


@pytest.mark.parametrize(
    ("fan_out", "sick", "node_type"),
    [
        (FanOut.SERVICES, (None, "s2"), NodeType.HEALTHCARE_SERVICE),
        (FanOut.RESOURCES, ("r2", None), NodeType.RESOURCE),
    ],
)
def test_an_owner_whose_call_fails_is_a_gap_beside_what_the_others_have(
    fan_out: FanOut, sick: Filters, node_type: NodeType
) -> None:
    clinic = world(sick)

    answer = ask(clinic, f"availability {{ timeslotCount days {{ timeslotCount }} {GAPS} }}", profile(fan_out))
    whole = availability(answer)

    assert whole["timeslotCount"] == 6
    assert whole["days"] == [{"timeslotCount": 2}] * 3
    assert whole["coverage"]["complete"] is False
    assert failed(whole) == [gap(node_type, next(filter(None, sick)))]
    assert clinic.counts()["timeslots"] == 3


def test_a_group_is_complete_but_for_its_own_gap_and_that_of_no_filter() -> None:
    groups = f"byHealthcareService {{ healthcareServiceId timeslotCount {GAPS} }}"
    whole = availability(ask(world((None, "s2")), f"availability {{ {groups} }}", profile()))

    found = [(each["timeslotCount"], failed(each)) for each in whole["byHealthcareService"]]
    assert found == [(3, []), (0, [gap(NodeType.HEALTHCARE_SERVICE, "s2")]), (3, [])]


@pytest.mark.parametrize(
    ("policy", "fan_out", "resources", "services"),
    [
        (FilterPolicy.ANY_ONE, FanOut.SERVICES, False, True),
        (FilterPolicy.ANY_ONE, FanOut.RESOURCES, True, False),
        (FilterPolicy.ANY_ONE, FanOut.BOTH, True, True),
        (FilterPolicy.SERVICE, FanOut.SERVICES, False, True),
        (FilterPolicy.BOTH, FanOut.BOTH, False, False),
    ],
)
def test_the_group_of_a_listed_owner_who_is_asked_alone_lacks_nothing(
    policy: FilterPolicy, fan_out: FanOut, *, resources: bool, services: bool
) -> None:
    groups = " ".join(f"{name} {{ coverage {{ complete }} }}" for name in ("byResource", "byHealthcareService"))
    whole = availability(ask(world(), f"availability {{ {groups} coverage {{ complete }} }}", profile(fan_out, policy)))

    assert whole["coverage"] == {"complete": False}
    assert whole["byResource"] == [{"coverage": {"complete": resources}}] * 3
    assert whole["byHealthcareService"] == [{"coverage": {"complete": services}}] * 3


def test_where_both_are_asked_one_failed_owner_leaves_what_the_other_kind_holds() -> None:
    whole = availability(ask(world((None, "s2")), f"availability {{ timeslotCount {GAPS} }}", profile(FanOut.BOTH)))

    assert whole["timeslotCount"] == 9
    assert failed(whole) == [gap(NodeType.HEALTHCARE_SERVICE, "s2")]


def test_where_each_owners_call_fails_it_is_null_with_one_error() -> None:
    answer = ask(world((None, "s1"), (None, "s2"), (None, "s3")), "availability { timeslotCount }", profile())

    assert answer.data == {"careUnit": {"availability": None}}
    assert answer.codes == {"UPSTREAM_UNAVAILABLE"}


def test_a_plain_list_of_timeslots_is_whole_or_null_beside_it() -> None:
    answer = ask(world((None, "s2")), "timeslots { start } availability { timeslotCount }", profile())

    assert answer.data == {"careUnit": {"timeslots": None, "availability": {"timeslotCount": 6}}}
    assert [error["path"] for error in answer.errors] == [["careUnit", "timeslots"]]


def test_an_owner_who_never_answers_is_a_gap_when_the_time_is_over() -> None:
    async def asked() -> Answered:
        graph, reading = Graph(world(silent=frozenset({(None, "s3")})), [profile()]), FetchScope(1_000.0)
        # Long after the others have answered, which they do in a few turns of the loop.
        asyncio.get_running_loop().call_later(0.2, reading.expire)
        text = f'{{ careUnit(id: "{care_unit_id(UNIT)}") {{ availability {{ timeslotCount {GAPS} }} }} }}'
        return await graph.ask_within(reading, text)

    whole = availability(asyncio.run(asked()))

    assert whole["timeslotCount"] == 6
    late = {**gap(NodeType.HEALTHCARE_SERVICE, "s3"), "code": DeadlineExceeded("").code}
    assert failed(whole) == [late]


def test_a_search_for_what_is_next_ends_before_a_stretch_of_which_an_owner_is_not_known() -> None:
    clinic = world()
    clinic.units[UNIT] = Unit(CLINIC.resources, CLINIC.services, days=0)

    async def timeslots(step: Step) -> TimeslotList:
        if step.service == "s1" and step.window.start > NOW.replace(year=NOW.year + 1, month=1):
            raise UpstreamUnavailable("sick", retryable=True)
        return await World.timeslots(clinic, step)

    clinic.timeslots = timeslots  # type: ignore[method-assign] # fails far ahead only
    whole = availability(
        ask(clinic, "availability { nextAfter(withinDays: 300) { timeslot { id } searchedUntil complete } }", profile())
    )

    assert whole["nextAfter"]["timeslot"] is None
    assert whole["nextAfter"]["complete"] is False
    assert whole["nextAfter"]["searchedUntil"] == "2027-03-29T00:00:00+02:00"


@given(
    st.sampled_from([FilterPolicy.ANY_ONE, FilterPolicy.RESOURCE, FilterPolicy.SERVICE, FilterPolicy.BOTH]),
    st.sampled_from(list(FanOut)),
    st.sets(st.sampled_from([(r, s) for r in (None, "r1", "r2", "r3") for s in (None, "s1", "s2", "s3")])),
)
def test_what_is_delivered_is_what_the_calls_that_did_not_fail_hold_and_each_other_is_a_gap(
    policy: FilterPolicy, fan_out: FanOut, sick: set[Filters]
) -> None:
    clinic = world(*sick)
    answer = ask(clinic, f"availability {{ timeslots {{ nodes {{ id }} }} {GAPS} }}", profile(fan_out, policy))
    well = [step for step in clinic.steps if step.filters not in sick]
    lost = dict.fromkeys(step.filters for step in clinic.steps if step.filters in sick)

    if not well:
        assert answer.codes == {"UPSTREAM_UNAVAILABLE"}
        return
    whole = availability(answer)
    everything = clinic.free(UNIT)
    held = [each for each in everything if any(_holds(step.filters, each) for step in well)]
    assert len(whole["timeslots"]["nodes"]) == len(held)
    names = [
        (
            resource and node_id(NodeType.RESOURCE, UNIT, resource),
            service and node_id(NodeType.HEALTHCARE_SERVICE, UNIT, service),
        )
        for resource, service in lost
    ]
    found = [(each["resourceId"], each["healthcareServiceId"]) for each in failed(whole)]
    assert sorted(found, key=str) == sorted(names, key=str)


def _holds(filters: Filters, slot: Any) -> bool:
    resource, service = filters
    return resource in {None, slot.resource_id} and service in {None, slot.healthcare_service_id}


def test_limits_of_the_gateway_refuse_it_whole() -> None:
    async def asked() -> Answered:
        graph = Graph(world((None, "s2")), [profile()])
        text = f'{{ careUnit(id: "{care_unit_id(UNIT)}") {{ availability {{ timeslotCount }} }} }}'
        return await graph.ask(text, limits=UNLIMITED.__class__(upstream_calls=3))

    assert asyncio.run(asked()).codes == {"OPERATION_TOO_LARGE"}
