"""One request's timeslots: the law holds through the fetcher too, and each step is one call."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.ehr_profile import EhrProfile, FilterPolicy
from gateway.domain.errors import FilterRequired, NotFound, NotSupported, OperationTooLarge, UpstreamUnavailable
from gateway.domain.models import CareUnitKey
from gateway.domain.queries import Step, TimeslotQuery, UnitLists, serves
from gateway.domain.timeslots import TimeslotList
from gateway.fetch.profiles import Profiles
from tests.unit import strategies
from tests.unit.asking import Answer, Gateway, Request, shown
from tests.unit.model_ehr import DAY, SERVICES, START, UNIT, ModelEhr, ModelUnitLists, TrueSlot, query

# How long an example takes says nothing on a shared machine.
law = settings(max_examples=120, deadline=None)

PLAIN = EhrProfile("model", "Model")


def new_request(ehr: ModelEhr, known: EhrProfile | Profiles, loaded: UnitLists | None = None) -> Request:
    profiles = known if isinstance(known, Profiles) else Profiles([known])
    return Gateway(ehr, profiles).request(ModelUnitLists(loaded or UnitLists.NONE))


async def answered(batches: Sequence[Sequence[TimeslotQuery]], asked: Request) -> list[list[Answer]]:
    return [await asked.answer(batch) for batch in batches]


@law
@given(
    st.lists(st.lists(strategies.queries(), min_size=1, max_size=4), min_size=1, max_size=2),
    strategies.profiles,
    strategies.slots,
    strategies.lists,
)
def test_each_query_gets_what_the_ehr_has_for_it(
    batches: list[list[TimeslotQuery]], profile: EhrProfile, slots: list[TrueSlot], loaded: UnitLists
) -> None:
    ehr = ModelEhr(slots, profile)

    answers = asyncio.run(answered(batches, new_request(ehr, profile, loaded)))

    expected = [[ehr.expected(each).slots for each in batch] for batch in batches]
    assert [[shown(answer) for answer in each] for each in answers] == expected
    assert set(Counter(ehr.calls).values()) <= {1}
    assert ehr.most_at_once <= 8


@law
@given(
    st.lists(strategies.queries(strangers=("stranger",)), min_size=1, max_size=6),
    strategies.profiles,
    strategies.slots,
    strategies.lists,
)
def test_an_id_that_does_not_exist_is_refused_as_it_is_alone(
    queries: list[TimeslotQuery], profile: EhrProfile, slots: list[TrueSlot], loaded: UnitLists
) -> None:
    ehr = ModelEhr(slots, profile)

    (together,) = asyncio.run(answered([queries], new_request(ehr, profile, loaded)))
    alone = [asyncio.run(answered([[each]], new_request(ehr, profile, loaded)))[0][0] for each in queries]

    assert [shown(answer) for answer in together] == [shown(answer) for answer in alone]


@law
@given(strategies.query_sets, strategies.profiles, strategies.slots, st.integers(0, 40))
def test_a_failing_step_fails_only_the_queries_that_it_serves(
    queries: list[TimeslotQuery], profile: EhrProfile, slots: list[TrueSlot], sick_day: int
) -> None:
    sick = START + sick_day * DAY
    ehr = ModelEhr(slots, profile, sick_at=sick)

    (answers,) = asyncio.run(answered([queries], new_request(ehr, profile, UnitLists.BOTH)))

    failed = [step for step in ehr.calls if step.window.start <= sick < step.window.end]
    for each, answer in zip(queries, answers, strict=True):
        if each.window.start <= sick < each.window.end:
            assert shown(answer) == UpstreamUnavailable
        elif isinstance(answer, TimeslotList):
            assert answer.slots == ehr.expected(each).slots
        else:
            assert shown(answer) == UpstreamUnavailable
            assert any(serves(step, each) for step in failed)


@law
@given(strategies.query_sets, strategies.policies, strategies.slots, strategies.lists)
def test_whatever_an_ehr_wants_is_learned_within_the_request(
    queries: list[TimeslotQuery], policy: FilterPolicy, slots: list[TrueSlot], loaded: UnitLists
) -> None:
    ehr = ModelEhr(slots, EhrProfile("model", "Model", policy))
    profiles = Profiles([PLAIN])

    (answers,) = asyncio.run(answered([queries], new_request(ehr, profiles, loaded)))

    assert [shown(answer) for answer in answers] == [ehr.expected(each).slots for each in queries]
    learned = profiles.of("model").filter_policy
    for resource, service in product((False, True), repeat=2):
        assert learned.allows(resource=resource, service=service) or not policy.allows(
            resource=resource, service=service
        )


async def test_concurrent_batches_share_the_call_of_a_step() -> None:
    ehr = ModelEhr([TrueSlot(START, "r1", "s1")], PLAIN)
    asked = new_request(ehr, PLAIN)

    await asyncio.gather(asked.answer([query(0, 9)]), asked.answer([query(0, 9)]), asked.answer([query(0, 3, "r1")]))

    assert ehr.calls == [Step(UNIT, query(0, 9).window)]


async def test_a_clinic_gets_eight_calls_at_once() -> None:
    ehr = ModelEhr([], PLAIN)

    await new_request(ehr, PLAIN).answer([query(10 * number, 10 * number + 1) for number in range(40)])

    assert len(ehr.calls) == 40
    assert ehr.most_at_once == 8


async def test_slots_without_an_owner_are_asked_for_again_by_resource() -> None:
    ehr = ModelEhr([TrueSlot(START, "r1", "s1", names_resource=False)], PLAIN)

    answers = await new_request(ehr, PLAIN).answer([query(0, 1, "r1"), query(0, 1, "r2")])

    assert [shown(answer) for answer in answers] == [ehr.owned(query(0, 1, "r1")).slots, ()]
    assert Counter(step.resource for step in ehr.calls) == {None: 1, "r1": 1, "r2": 1}


async def test_a_loaded_list_confirms_a_resource_without_slots() -> None:
    ehr = ModelEhr([TrueSlot(START, "r1", "s1")], PLAIN)

    answers = await new_request(ehr, PLAIN, UnitLists.RESOURCES).answer([query(0, 1, "r1"), query(0, 1, "r2")])

    assert shown(answers[1]) == ()
    assert len(ehr.calls) == 1


async def test_a_list_is_loaded_to_confirm_a_resource_without_slots() -> None:
    ehr = ModelEhr([TrueSlot(START, "r1", "s1")], PLAIN)
    unit_lists = ModelUnitLists(UnitLists.NONE)

    queries = [query(0, 1, "r1"), query(0, 1, "r2"), query(0, 1, "stranger")]
    answers = await Gateway(ehr, Profiles([PLAIN])).request(unit_lists).answer(queries)

    assert shown(answers[1]) == ()
    assert isinstance(answers[2], NotFound)
    assert [step.resource for step in ehr.calls] == [None, "stranger"]
    assert set(unit_lists.fetched) == {"resources"}


async def test_a_refusal_is_answered_by_filtered_calls_and_learned() -> None:
    ehr = ModelEhr([TrueSlot(START, "r1", "s1")], EhrProfile("model", "Model", FilterPolicy.SERVICE))
    profiles = Profiles([PLAIN])

    first = await new_request(ehr, profiles).answer([query(0, 1)])
    calls_of_first = len(ehr.calls)
    second = await new_request(ehr, profiles).answer([query(0, 1)])

    assert shown(first[0]) == shown(second[0]) == ehr.owned(query(0, 1)).slots
    assert calls_of_first == 1 + len(SERVICES)
    assert len(ehr.calls) == calls_of_first + len(SERVICES)


async def test_queries_that_one_refusal_hits_are_planned_anew() -> None:
    ehr = ModelEhr([TrueSlot(START, "r1", "s1")], EhrProfile("model", "Model", FilterPolicy.ANY_ONE))

    answers = await new_request(ehr, PLAIN).answer([query(0, 1), query(0, 1, "r1")])

    assert [shown(answer) for answer in answers] == [ehr.owned(query(0, 1)).slots] * 2
    assert set(Counter(ehr.calls).values()) == {1}


async def test_not_supported_teaches_about_calls_without_any_filter() -> None:
    ehr = ModelEhr([TrueSlot(START, "r1", "s1")], EhrProfile("model", "Model", FilterPolicy.ANY_ONE))
    ehr.refusal = lambda: NotSupported("not here")
    profiles = Profiles([PLAIN])

    answers = await new_request(ehr, profiles).answer([query(0, 1)])

    assert shown(answers[0]) == ehr.owned(query(0, 1)).slots
    assert profiles.of("model").filter_policy is FilterPolicy.ANY_ONE


async def test_not_supported_for_a_filtered_call_is_an_answer() -> None:
    ehr = ModelEhr([], EhrProfile("model", "Model", FilterPolicy.SERVICE))
    ehr.refusal = lambda: NotSupported("not here")
    profiles = Profiles([PLAIN])

    answers = await new_request(ehr, profiles).answer([query(0, 1, "r1")])

    assert isinstance(answers[0], NotSupported)
    assert profiles.of("model") == PLAIN


async def test_an_ehr_that_refuses_both_filters_ends_in_its_refusal() -> None:
    class Stubborn(ModelEhr):
        def fetch(self, step: Step) -> TimeslotList:
            self.calls.append(step)
            raise FilterRequired("never enough")

    stubborn = Stubborn([], PLAIN)

    answers = await new_request(stubborn, PLAIN).answer([query(0, 1, "r1", "s1")])

    assert isinstance(answers[0], FilterRequired)
    assert len(stubborn.calls) == 1


async def test_a_list_that_fails_to_load_fails_the_queries_that_need_it() -> None:
    class NoLists(ModelUnitLists):
        async def service_ids(self, care_unit: CareUnitKey) -> tuple[str, ...]:
            await super().service_ids(care_unit)
            raise UpstreamUnavailable("no list", retryable=True)

    ehr = ModelEhr([], EhrProfile("model", "Model", FilterPolicy.SERVICE))
    asked = Gateway(ehr, Profiles([ehr.profile])).request(NoLists(UnitLists.NONE))

    answers = await asked.answer([query(0, 1), query(0, 1, "r1")])

    assert [type(answer) for answer in answers] == [UpstreamUnavailable] * 2
    assert ehr.calls == []


async def test_closing_cancels_pending_calls() -> None:
    class Silent(ModelEhr):
        async def timeslots(self, step: Step) -> TimeslotList:
            await asyncio.Event().wait()
            return await super().timeslots(step)

    asked = new_request(Silent([], PLAIN), PLAIN)
    waiting = asyncio.create_task(asked.answer([query(0, 1)]))
    await asyncio.sleep(0.01)

    asked.close()

    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize(
    ("policy", "stranger"),
    [
        (FilterPolicy.SERVICE, query(0, 5, service="stranger")),
        (FilterPolicy.RESOURCE, query(0, 5, resource="stranger")),
        (FilterPolicy.BOTH, query(0, 5, resource="r1", service="stranger")),
    ],
)
async def test_an_unknown_id_is_refused_after_filtered_calls_too(policy: FilterPolicy, stranger: TimeslotQuery) -> None:
    profile = EhrProfile("model", "Model", policy)
    asked = new_request(ModelEhr([TrueSlot(START + DAY, "r1", "s1")], profile), profile)

    await asked.answer([query(0, 5)])

    assert isinstance((await asked.answer([stranger]))[0], NotFound)


@pytest.mark.parametrize("asked_for", [[query(0, 31)], [query(0, 31, "r1"), query(0, 31, "r2")]])
async def test_slots_of_a_call_are_counted_once_also_where_every_query_is_settled_at_once(
    asked_for: list[TimeslotQuery],
) -> None:
    slots = [TrueSlot(START + minute * DAY / 1440, f"r{minute % 2 + 1}", "s1") for minute in range(300)]
    for most, is_too_many in ((300, False), (299, True)):
        asked = new_request(ModelEhr(slots, PLAIN), PLAIN, UnitLists.BOTH)
        asked.scope.most_slots = most

        await asked.answer(asked_for)

        if is_too_many:
            with pytest.raises(OperationTooLarge, match="would read 300 timeslots or more; the limit is 299"):
                asked.scope.count_calls()
        else:
            asked.scope.count_calls()
