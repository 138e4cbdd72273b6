"""Slots of ids that the lists leave out, at an EHR that refuses to filter by these: the same whatever was asked."""

import asyncio
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.errors import NotFound
from gateway.domain.queries import TimeslotQuery, UnitLists
from gateway.fetch.cache_budget import Lifetimes
from gateway.fetch.profiles import Profiles
from tests.unit import strategies
from tests.unit.asking import Gateway, shown
from tests.unit.model_ehr import (
    SERVICES,
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
    st.sampled_from([None, UNLISTED_RESOURCE]),
    st.sampled_from([None, SERVICES[0], UNLISTED_SERVICE]),
)
requests = st.lists(st.lists(queries, min_size=1, max_size=4), min_size=1, max_size=4)
# Those that name no owner would have each query asked by itself.
slots = strategies.slots.map(
    lambda found: [TrueSlot(each.start, UNLISTED_RESOURCE, each.service or SERVICES[0]) for each in found]
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
