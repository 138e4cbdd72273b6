"""Slots of ids that the lists leave out, at an EHR that refuses to filter by these: the same whatever was asked."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.ehr_profile import EhrProfile, FilterPolicy
from gateway.domain.errors import NotFound
from gateway.domain.queries import TimeslotQuery, UnitLists
from gateway.fetch.cache_budget import Lifetimes
from gateway.fetch.profiles import Profiles
from tests.unit import strategies
from tests.unit.asking import Gateway, shown
from tests.unit.model_ehr import (
    DAY,
    RESOURCES,
    SERVICES,
    START,
    UNIT,
    UNLISTED_RESOURCE,
    UNLISTED_SERVICE,
    ModelEhr,
    ModelUnitLists,
    TrueSlot,
    query,
)

queries = st.builds(
    query,
    st.sampled_from([0, 1]),
    st.sampled_from([3, 8]),
    st.sampled_from([None, RESOURCES[0], UNLISTED_RESOURCE]),
    st.sampled_from([None, SERVICES[0], UNLISTED_SERVICE]),
)
requests = st.lists(st.lists(queries, min_size=1, max_size=4), min_size=1, max_size=4)
# Those that name no owner would have each query asked by itself.
slots = strategies.slots.map(
    lambda found: [
        TrueSlot(each.start, each.resource or UNLISTED_RESOURCE, each.service or SERVICES[0]) for each in found
    ]
)


async def answered(gateway: Gateway, asked: Sequence[Sequence[TimeslotQuery]], loaded: UnitLists) -> list[list[object]]:
    """What requests get one after the other; where it is nothing, Leyr may say that there is no such id."""
    answers: list[list[object]] = []
    for each in asked:
        request = gateway.request(ModelUnitLists(loaded))
        found = [shown(answer) for answer in await request.answer(each)]
        answers.append([() if answer is NotFound else answer for answer in found])
        request.close()
        gateway.now += 1
    return answers


@settings(max_examples=100, deadline=None)
@given(requests, strategies.profiles, slots, strategies.lists)
def test_slots_of_an_id_that_the_ehr_refuses_to_filter_by_are_those_that_asking_alone_gives(
    asked: list[list[TimeslotQuery]], profile: EhrProfile, slots: list[TrueSlot], loaded: UnitLists
) -> None:
    ehr = ModelEhr(slots, profile, knows_lists_alone=True)

    answers = asyncio.run(answered(Gateway(ehr, Profiles([profile]), Lifetimes(15, 15)), asked, loaded))

    for each, found in zip(asked, answers, strict=True):
        alone = [answered(Gateway(ehr, Profiles([profile])), [[one]], UnitLists.NONE) for one in each]
        assert [[one] for one in found] == [asyncio.run(one)[0] for one in alone]


@pytest.mark.parametrize(
    ("wide", "narrow", "found"),
    [
        (query(0, 3, UNLISTED_RESOURCE), query(0, 3, UNLISTED_RESOURCE, SERVICES[0]), (UNLISTED_RESOURCE, SERVICES[0])),
        (
            query(0, 3, None, UNLISTED_SERVICE),
            query(1, 2, RESOURCES[0], UNLISTED_SERVICE),
            (RESOURCES[0], UNLISTED_SERVICE),
        ),
    ],
)
def test_a_refused_id_whose_call_served_a_wider_query_too_is_looked_for_as_by_itself(
    wide: TimeslotQuery, narrow: TimeslotQuery, found: tuple[str, str]
) -> None:
    profile = EhrProfile(UNIT.emr, "Model", FilterPolicy.ANY_ONE)
    ehr = ModelEhr([TrueSlot(START + 1.5 * DAY, *found)], profile, knows_lists_alone=True)

    async def asked(*queries: TimeslotQuery) -> list[object]:
        request = Gateway(ehr, Profiles([profile])).request(ModelUnitLists(UnitLists.NONE))
        return [shown(answer) for answer in await request.answer(queries)]

    together, alone = asyncio.run(asked(wide, narrow)), asyncio.run(asked(narrow))

    assert together == [NotFound, ehr.owned(narrow).slots]
    assert alone == together[1:]
