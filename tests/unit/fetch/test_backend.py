"""Spreading queries over lists that are empty, fail to load or are wrong; learning only what a call proves."""

from dataclasses import replace

import pytest

from gateway.domain.ehr_profile import EhrProfile, FanOut, FilterPolicy
from gateway.domain.errors import FilterRequired, UpstreamInvalidAnswer, UpstreamUnavailable
from gateway.domain.models import CareUnitKey
from gateway.domain.queries import Step, UnitLists
from gateway.domain.timeslots import TimeslotList
from gateway.fetch.profiles import Profiles
from tests.unit.asking import Gateway, Request
from tests.unit.model_ehr import DAY, START, ModelEhr, ModelUnitLists, TrueSlot, query

ANY_ONE = EhrProfile("model", "Model", FilterPolicy.ANY_ONE)
PLAIN = EhrProfile("model", "Model")
SLOTS = [TrueSlot(START + DAY, "r1", "s1"), TrueSlot(START + DAY, "r2", "s2")]
BOTH = UnitLists.BOTH


class FailingServices(ModelUnitLists):
    async def service_ids(self, care_unit: CareUnitKey) -> tuple[str, ...]:
        await super().service_ids(care_unit)
        raise UpstreamUnavailable("no list", retryable=True)


def new_request(ehr: ModelEhr, unit_lists: ModelUnitLists, profile: EhrProfile = ANY_ONE) -> Request:
    return Gateway(ehr, Profiles([profile])).request(unit_lists)


@pytest.mark.parametrize("loaded", [UnitLists.NONE, UnitLists.RESOURCES, UnitLists.SERVICES, BOTH])
@pytest.mark.parametrize(("empty", "found"), [("resources", 2), ("services", 0)])
async def test_an_empty_list_is_not_replaced_by_the_other(empty: str, found: int, loaded: UnitLists) -> None:
    ehr = ModelEhr(SLOTS, ANY_ONE)
    unit_lists = ModelUnitLists(loaded, resources=()) if empty == "resources" else ModelUnitLists(loaded, services=())

    [answer] = await new_request(ehr, unit_lists).answer([query(0, 5)])

    assert isinstance(answer, TimeslotList)
    assert len(answer) == found


@pytest.mark.parametrize("loaded", [UnitLists.NONE, UnitLists.SERVICES, BOTH])
@pytest.mark.parametrize(
    ("fan_out", "outcome"),
    [(FanOut.SERVICES, UpstreamUnavailable), (FanOut.RESOURCES, TimeslotList), (FanOut.BOTH, UpstreamUnavailable)],
)
async def test_a_list_that_fails_to_load_is_not_replaced_by_the_other(
    loaded: UnitLists, fan_out: FanOut, outcome: type
) -> None:
    profile = replace(ANY_ONE, fan_out=fan_out)

    [answer] = await new_request(ModelEhr(SLOTS, profile), FailingServices(loaded), profile).answer([query(0, 5)])

    assert isinstance(answer, outcome)


async def test_a_list_that_fails_to_load_fails_no_query_that_is_spread_over_the_other() -> None:
    profile = EhrProfile("model", "Model", FilterPolicy.BOTH)
    asked = new_request(ModelEhr(SLOTS, profile), FailingServices(UnitLists.NONE), profile)

    of_resource, of_service = await asked.answer([query(0, 5, "r1"), query(0, 5, service="s1")])

    assert isinstance(of_resource, UpstreamUnavailable)
    assert isinstance(of_service, TimeslotList)
    assert len(of_service) == 1


async def test_a_list_that_fails_to_load_fails_no_query_that_needs_none() -> None:
    profile = EhrProfile("model", "Model", FilterPolicy.SERVICE)
    asked = new_request(ModelEhr(SLOTS, profile), FailingServices(UnitLists.NONE), profile)

    everything, one = await asked.answer([query(0, 5), query(0, 5, service="s1")])

    assert isinstance(everything, UpstreamUnavailable)
    assert isinstance(one, TimeslotList)
    assert len(one) == 1


async def test_a_listed_id_that_leyr_refuses_is_leyrs_fault() -> None:
    unit_lists = ModelUnitLists(UnitLists.SERVICES, services=("s1", "gone"))

    [answer] = await new_request(ModelEhr(SLOTS, ANY_ONE), unit_lists).answer([query(0, 5)])

    assert isinstance(answer, UpstreamInvalidAnswer)


async def test_a_refusal_that_no_success_proves_is_forgotten() -> None:
    class Moody(ModelEhr):
        def fetch(self, step: Step) -> TimeslotList:
            if step.resource is not None:
                raise FilterRequired("for no good reason")
            return super().fetch(step)

    profiles = Profiles([PLAIN])
    asked = Gateway(Moody(SLOTS, PLAIN), profiles).request(ModelUnitLists(UnitLists.NONE))

    [answer] = await asked.answer([query(0, 5, "r1")])

    assert isinstance(answer, FilterRequired)
    assert profiles.default == PLAIN
