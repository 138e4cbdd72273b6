"""Fanning out over lists that are empty, sick or wrong, and learning from refusals only what is proved."""

import pytest

from gateway.domain.ehr_profile import EhrProfile, FilterPolicy
from gateway.domain.errors import FilterRequired, UpstreamInvalidAnswer, UpstreamUnavailable
from gateway.domain.models import CareUnitKey
from gateway.domain.queries import Step, UnitLists
from gateway.domain.timeslots import TimeslotList
from gateway.fetch.profiles import Profiles
from tests.unit.asking import Gateway, Request
from tests.unit.model_ehr import DAY, START, ModelEhr, ModelRosters, TrueSlot, query

ANY_ONE = EhrProfile("model", "Model", FilterPolicy.ANY_ONE)
PLAIN = EhrProfile("model", "Model")
SLOTS = [TrueSlot(START + DAY, "r1", "s1"), TrueSlot(START + DAY, "r2", "s2")]
BOTH = UnitLists(resources=True, services=True)


class SickServices(ModelRosters):
    async def service_ids(self, care_unit: CareUnitKey) -> tuple[str, ...]:
        await super().service_ids(care_unit)
        raise UpstreamUnavailable("no list", retryable=True)


def reader(ehr: ModelEhr, unit_lists: ModelRosters, profile: EhrProfile = ANY_ONE) -> Request:
    return Gateway(ehr, Profiles([profile])).request(unit_lists)


@pytest.mark.parametrize("at_hand", [UnitLists(), UnitLists(resources=True), UnitLists(services=True), BOTH])
@pytest.mark.parametrize("empty", ["resources", "services"])
async def test_an_empty_list_gives_way_to_the_other(empty: str, at_hand: UnitLists) -> None:
    ehr = ModelEhr(SLOTS, ANY_ONE)
    unit_lists = ModelRosters(at_hand, resources=()) if empty == "resources" else ModelRosters(at_hand, services=())

    [answer] = await reader(ehr, unit_lists).answer([query(0, 5)])

    assert isinstance(answer, TimeslotList)
    assert len(answer) == 2


@pytest.mark.parametrize("at_hand", [UnitLists(), UnitLists(services=True), BOTH])
async def test_a_sick_list_gives_way_to_the_other(at_hand: UnitLists) -> None:
    [answer] = await reader(ModelEhr(SLOTS, ANY_ONE), SickServices(at_hand)).answer([query(0, 5)])

    assert isinstance(answer, TimeslotList)
    assert len(answer) == 2


async def test_a_sick_list_leaves_queries_that_need_none() -> None:
    profile = EhrProfile("model", "Model", FilterPolicy.SERVICE)
    asked = reader(ModelEhr(SLOTS, profile), SickServices(UnitLists()), profile)

    everything, one = await asked.answer([query(0, 5), query(0, 5, service="s1")])

    assert isinstance(everything, UpstreamUnavailable)
    assert isinstance(one, TimeslotList)
    assert len(one) == 1


async def test_a_listed_id_that_leyr_refuses_is_leyrs_fault() -> None:
    unit_lists = ModelRosters(UnitLists(services=True), services=("s1", "gone"))

    [answer] = await reader(ModelEhr(SLOTS, ANY_ONE), unit_lists).answer([query(0, 5)])

    assert isinstance(answer, UpstreamInvalidAnswer)


async def test_a_refusal_that_no_success_proves_is_forgotten() -> None:
    class Moody(ModelEhr):
        def fetch(self, step: Step) -> TimeslotList:
            if step.resource is not None:
                raise FilterRequired("for no good reason")
            return super().fetch(step)

    profiles = Profiles([PLAIN])
    asked = Gateway(Moody(SLOTS, PLAIN), profiles).request(ModelRosters(UnitLists()))

    [answer] = await asked.answer([query(0, 5, "r1")])

    assert isinstance(answer, FilterRequired)
    assert profiles.default == PLAIN
