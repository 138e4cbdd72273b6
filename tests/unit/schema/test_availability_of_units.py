"""An availability of several care units is what all have, though some fail, and in whatever zones they work."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.errors import GatewayError, UpstreamUnavailable
from gateway.domain.ids import NodeType, care_unit_id, node_id
from gateway.domain.models import Access, CareUnit, CareUnitKey
from gateway.domain.queries import Step
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import time_zone
from tests.unit.schema.graph import Answered, Graph
from tests.unit.schema.world import Unit, World, mark

ONE, TWO, LONDON = (CareUnitKey(*names) for names in (("se", "u1"), ("se", "u2"), ("uk", "u1")))
SE, UK = EhrProfile("se", "SE"), EhrProfile("uk", "UK", time_zone=time_zone("Europe/London"))


class SickWorld(World):
    """A world some of whose care units give no free times."""

    sick: dict[CareUnitKey, GatewayError]
    lists_are_sick: bool = False

    async def care_units(self, emr: str) -> Sequence[CareUnit]:
        found = await super().care_units(emr)
        if self.lists_are_sick and emr in {key.emr for key in self.sick}:
            raise UpstreamUnavailable("sick")
        return found

    async def timeslots(self, step: Step) -> TimeslotList:
        found = await super().timeslots(step)
        if step.care_unit in self.sick:
            raise self.sick[step.care_unit]
        return found


def world(*sick: CareUnitKey) -> SickWorld:
    made = SickWorld({ONE: Unit(days=2), TWO: Unit(("r1",), ("s1",), 1), LONDON: Unit(("r1",), ("s1",), 3)})
    made.sick = {key: UpstreamUnavailable("sick", retryable=True, retry_after=7.5) for key in sick}
    return made


def ask(of: World, selection: str, *keys: CareUnitKey, arguments: str = "", **options: Any) -> Answered:
    ids = ", ".join(f'"{care_unit_id(key)}"' for key in keys)
    text = f"{{ availability(careUnitIds: [{ids}]{arguments}) {{ {selection} }} }}"
    return asyncio.run(Graph(of, [SE, UK]).ask(text, **options))


def found(answer: Answered) -> dict[str, Any]:
    assert answer.errors == []
    assert answer.data is not None
    whole: dict[str, Any] = answer.data["availability"]
    return whole


def test_counts_days_and_times_are_those_of_all_care_units() -> None:
    whole = found(ask(world(), "timeslotCount days { timeslotCount } times { timeslotCount }", ONE, TWO, LONDON))

    counts = [{"timeslotCount": 4}, {"timeslotCount": 3}, {"timeslotCount": 1}]
    assert whole == {"timeslotCount": 8, "days": counts, "times": counts}


def test_each_slot_is_of_its_own_care_unit_in_the_order_in_which_these_are_asked_for() -> None:
    selection = "timeslots { nodes { careUnit { id } resource { name } } edges { node { careUnit { id } } } }"
    whole = found(ask(world(), selection, LONDON, ONE, TWO))["timeslots"]

    of_day = [LONDON, ONE, ONE, TWO]
    assert [each["careUnit"]["id"] for each in whole["nodes"]][:4] == [care_unit_id(key) for key in of_day]
    assert [each["node"]["careUnit"] for each in whole["edges"]] == [each["careUnit"] for each in whole["nodes"]]
    assert whole["nodes"][0]["resource"]["name"] == mark("resource", LONDON, "r1")


def test_the_time_zone_is_null_where_care_units_work_in_several_and_none_was_asked() -> None:
    of_units = "timeZone byCareUnit { timeZone }"
    own = found(ask(world(), of_units, ONE, LONDON))
    asked = found(ask(world(), of_units, ONE, LONDON, arguments=', timeZone: "Europe/Oslo"'))

    zones = [{"timeZone": "Europe/Stockholm"}, {"timeZone": "Europe/London"}]
    assert own == {"timeZone": None, "byCareUnit": zones}
    assert asked == {"timeZone": "Europe/Oslo", "byCareUnit": [{"timeZone": "Europe/Oslo"}] * 2}


def test_a_care_unit_that_failed_is_a_gap_and_never_nothing_free() -> None:
    gaps = "coverage { complete gaps { careUnitId reason code retryable retryAfterSeconds } }"
    of_units = f"byCareUnit {{ timeslotCount asOf {gaps} }} byResource {{ careUnit {{ id }} }}"
    whole = found(ask(world(TWO), f"timeslotCount {gaps} {of_units}", ONE, TWO))

    gap = {"careUnitId": care_unit_id(TWO), "reason": "FAILED", "code": "UPSTREAM_UNAVAILABLE"}
    lacking = {"complete": False, "gaps": [{**gap, "retryable": True, "retryAfterSeconds": 7.5}]}
    assert (whole["timeslotCount"], whole["coverage"]) == (4, lacking)
    assert whole["byCareUnit"][0]["coverage"] == {"complete": True, "gaps": []}
    assert whole["byCareUnit"][1] == {"timeslotCount": 0, "asOf": None, "coverage": lacking}
    assert whole["byResource"] == [{"careUnit": {"id": care_unit_id(ONE)}}] * 2


def test_an_ehr_that_gives_nothing_at_all_takes_nothing_from_others() -> None:
    clinics = world(LONDON)
    clinics.lists_are_sick = True

    of_units = "byCareUnit { careUnit { id name timeZone emr { code } } timeslotCount coverage { complete } }"
    _, failed = found(ask(clinics, of_units, ONE, LONDON))["byCareUnit"]

    unit = {"id": care_unit_id(LONDON), "name": "u1", "timeZone": "Europe/London", "emr": {"code": "uk"}}
    assert failed == {"careUnit": unit, "timeslotCount": 0, "coverage": {"complete": False}}


def test_a_care_unit_that_does_not_exist_takes_nothing_from_others() -> None:
    gone = CareUnitKey("se", "gone")

    of_units = "byCareUnit { careUnit { name } timeslotCount coverage { gaps { code } } }"
    whole = found(ask(world(), of_units, ONE, gone))["byCareUnit"]

    assert whole[0]["careUnit"] == {"name": mark("care unit", ONE)}
    assert whole[1] == {"careUnit": {"name": "gone"}, "timeslotCount": 0, "coverage": {"gaps": [{"code": "NOT_FOUND"}]}}


def test_a_care_unit_whose_id_may_be_a_personal_number_is_not_asked_for_anything() -> None:
    clinics, odd = world(), CareUnitKey("se", "19121212-1212")

    answer = ask(clinics, "byCareUnit { careUnit { resources { id } } }", ONE, odd)

    assert answer.codes == {"NOT_FOUND"}
    assert not any(odd.care_unit in call for call in clinics.calls)


def test_where_none_could_be_had_it_is_null_with_one_error() -> None:
    answer = ask(world(ONE, TWO), "timeslotCount", ONE, TWO)

    assert answer.data == {"availability": None}
    assert [error["extensions"]["code"] for error in answer.errors] == ["UPSTREAM_UNAVAILABLE"]


def test_ids_of_care_units_that_are_not_asked_are_ignored() -> None:
    ids = ", ".join(f'"{node_id(NodeType.RESOURCE, key, "r1")}"' for key in (ONE, LONDON))
    whole = found(ask(world(), "timeslotCount", ONE, TWO, arguments=f", filter: {{resourceIds: [{ids}]}}"))

    assert whole == {"timeslotCount": 2}


def test_a_service_by_name_reaches_over_care_units_with_their_lists_and_no_other_call() -> None:
    names = ", ".join(f'"{mark("service", key, "s1").upper()}"' for key in (ONE, TWO, LONDON))
    clinics = world()

    answer = ask(
        clinics, "timeslotCount", ONE, TWO, LONDON, arguments=f", filter: {{healthcareServiceNames: [{names}]}}"
    )

    assert found(answer) == {"timeslotCount": 2 + 1 + 3}
    assert clinics.counts() == {"timeslots": 3, "healthcare-services": 3}


@pytest.mark.parametrize(
    ("keys", "arguments", "why"),
    [
        ((), "", "careUnitIds may not be empty"),
        ((ONE,), ', filter: {resourceIds: ["r1"]}', "This is not a node id"),
        ((ONE,), ", range: {days: {count: 0}}", "count must be at least 1"),
        ((ONE,), ', timeZone: "Nowhere"', "no IANA time zone"),
    ],
)
def test_arguments_that_are_refused_call_nothing(keys: tuple[CareUnitKey, ...], arguments: str, why: str) -> None:
    clinics = world()

    answer = ask(clinics, "timeslotCount", *keys, arguments=arguments)

    assert answer.codes == {"BAD_USER_INPUT"}
    assert why in next(iter(answer.messages))
    assert clinics.count == 0


def test_the_id_of_something_else_is_refused() -> None:
    wrong = node_id(NodeType.RESOURCE, ONE, "r1")

    answer = asyncio.run(Graph(world(), [SE]).ask(f'{{ availability(careUnitIds: ["{wrong}"]) {{ timeslotCount }} }}'))

    assert answer.messages == {"This is the id of a Resource; pass the ids of CareUnits"}


def test_a_care_unit_that_the_caller_may_not_see_is_forbidden() -> None:
    clinics = world()

    answer = ask(clinics, "timeslotCount", ONE, TWO, access=Access(care_units=frozenset({ONE})))

    assert answer.codes == {"FORBIDDEN"}
    assert clinics.count == 0


def test_an_odd_id_is_confirmed_by_its_list_before_it_is_asked_for() -> None:
    odd = CareUnitKey("se", "19121212-1212")
    clinics = world()

    answer = ask(clinics, "timeslotCount", odd)

    assert answer.codes == {"NOT_FOUND"}
    assert clinics.counts() == {"care-units": 1}


def test_pages_go_on_over_care_units() -> None:
    clinics, seen = world(), []
    after = ""
    for _ in range(4):
        page = f"timeslots(first: 3{after}) {{ nodes {{ id }} pageInfo {{ hasNextPage endCursor }} }}"
        connection = found(ask(clinics, page, ONE, TWO, LONDON))["timeslots"]
        seen += connection["nodes"]
        after = f', after: "{connection["pageInfo"]["endCursor"]}"'
        if not connection["pageInfo"]["hasNextPage"]:
            break

    assert seen == found(ask(clinics, "timeslots { nodes { id } }", ONE, TWO, LONDON))["timeslots"]["nodes"]
    assert len(seen) == 8


def test_no_care_unit_is_searched_behind_what_another_one_has_next() -> None:
    clinics = world()
    of_all = "nextAfter { timeslot { careUnit { id } } searchedUntil complete }"

    whole = found(ask(clinics, of_all, TWO, LONDON, ONE, arguments=", range: {days: {count: 1}}"))["nextAfter"]

    assert whole["timeslot"] == {"careUnit": {"id": care_unit_id(LONDON)}}
    assert whole["complete"] is True
    # Each has the range and the first stretch; the first of them has nothing in either.
    assert clinics.counts() == {"timeslots": 3 + 3, "care-units": 2}
