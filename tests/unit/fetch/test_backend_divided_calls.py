"""Answers that are too large come in parts: the same slots, within the limits of whoever waits."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.errors import OperationTooLarge, RateLimited, UpstreamAnswerTooLarge, UpstreamUnavailable
from gateway.domain.queries import Step, TimeslotQuery, UnitLists
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import time_zone
from gateway.fetch.cache_budget import Lifetimes
from gateway.fetch.profiles import Profiles
from tests.unit import strategies
from tests.unit.asking import NOTHING_KEPT, Answer, Gateway, shown
from tests.unit.model_ehr import DAY, START, UNIT, ModelEhr, ModelUnitLists, TrueSlot, query, window

HOUR = timedelta(hours=1)
PLAIN = EhrProfile("model", "Model", time_zone=time_zone("UTC"))
law = settings(max_examples=120, deadline=None)


class LargeEhr(ModelEhr):
    """Its answers hold at most so many slots; they may spill over the window, to whole days."""

    def __init__(
        self, slots: Sequence[TrueSlot], most: int, profile: EhrProfile = PLAIN, *, spills: bool = False
    ) -> None:
        super().__init__(slots, profile)
        self.most = most
        self.spills = spills
        self.refused = 0

    def fetch(self, step: Step) -> TimeslotList:
        found = super().fetch(step)
        if len(found) > self.most:
            self.refused += 1
            raise UpstreamAnswerTooLarge("too large")
        if not self.spills:
            return found
        days = query(
            (step.window.start - START) // DAY, (step.window.end - START) // DAY + 1, step.resource, step.service
        )
        return self.owned(days)


def every_hour(hours: int) -> list[TrueSlot]:
    return [TrueSlot(START + hour * HOUR, "r1", "s1") for hour in range(hours)]


def gateway(ehr: ModelEhr, lifetimes: Lifetimes = NOTHING_KEPT) -> Gateway:
    return Gateway(ehr, Profiles([ehr.profile]), lifetimes)


async def ask(one: Gateway, *queries: TimeslotQuery, most_calls: float = 1_000) -> list[Answer]:
    request = one.request(ModelUnitLists(UnitLists.NONE))
    request.scope.most_calls = most_calls
    try:
        return await request.answer(queries)
    finally:
        request.close()


@law
@given(
    st.lists(st.lists(strategies.queries(), min_size=1, max_size=3), min_size=1, max_size=3),
    strategies.profiles,
    strategies.slots,
    st.integers(3, 12),
    st.booleans(),
    st.sampled_from([NOTHING_KEPT, Lifetimes(15, 15)]),
)
def test_answers_in_parts_hold_what_one_answer_would(
    batches: list[list[TimeslotQuery]],
    profile: EhrProfile,
    slots: list[TrueSlot],
    most: int,
    spills: bool,
    lifetimes: Lifetimes,
) -> None:
    distinct = list({slot.start.replace(minute=0, second=0): slot for slot in slots}.values())
    ehr = LargeEhr(distinct, most, profile, spills=spills)
    one = gateway(ehr, lifetimes)

    async def answers() -> list[list[Answer]]:
        return [await ask(one, *batch) for batch in batches]

    found = asyncio.run(answers())

    # What an earlier question taught of long windows changes the calls, never the answers.
    assert [[shown(each) for each in batch] for batch in found] == [
        [ehr.expected(each).slots for each in batch] for batch in batches
    ]


async def test_large_answer_takes_two_calls_more_and_next_time_two_in_all() -> None:
    ehr = LargeEhr(every_hour(48), most=24)
    one = gateway(ehr)

    for calls, refused in ((3, 1), (2, 0), (2, 0)):
        ehr.calls.clear()
        ehr.refused = 0
        [answer] = await ask(one, query(0, 2))
        assert shown(answer) == ehr.owned(query(0, 2)).slots
        assert (len(ehr.calls), ehr.refused) == (calls, refused)


async def test_window_that_is_shorter_than_those_that_were_too_large_is_one_call() -> None:
    ehr = LargeEhr(every_hour(96), most=24)
    one = gateway(ehr)
    await ask(one, query(0, 4))
    ehr.calls.clear()

    await ask(one, query(1, 2))

    assert [each.window for each in ehr.calls] == [window(1, 2)]


async def test_days_that_have_room_are_not_divided_for_those_that_have_none() -> None:
    ehr = LargeEhr([*every_hour(24), TrueSlot(START + 5 * DAY, "r1", "s1")], most=12)
    one = gateway(ehr)
    await ask(one, query(0, 8))
    ehr.calls.clear()

    # It begins a little later, as one from now on does.
    moved = query(0.01, 8)
    [answer] = await ask(one, moved)

    assert shown(answer) == ehr.owned(moved).slots
    assert ehr.refused == 4
    assert [each.window.length // DAY for each in ehr.calls] == [0, 0, 1, 2, 4]


async def test_windows_that_were_too_large_are_forgotten_after_an_hour() -> None:
    ehr = LargeEhr(every_hour(48), most=24)
    one = gateway(ehr)
    await ask(one, query(0, 2))
    ehr.most = 48
    ehr.calls.clear()

    one.now += 3_600
    await ask(one, query(0, 2))

    assert len(ehr.calls) == 1


async def test_answer_that_is_too_large_for_an_hour_is_invalid_each_time() -> None:
    ehr = LargeEhr([TrueSlot(START + minute * timedelta(minutes=1), "r1", "s1") for minute in range(60)], most=20)
    one = gateway(ehr)

    for _ in range(2):
        ehr.calls.clear()
        [answer] = await ask(one, query(0, 32))
        assert isinstance(answer, UpstreamAnswerTooLarge)
        assert answer.code == "UPSTREAM_INVALID_ANSWER"
        assert not answer.retryable
        # One for each halving of 32 days, and none for other days.
        assert len(ehr.calls) <= 11


async def test_part_that_fails_fails_the_whole_and_ends_the_others() -> None:
    ehr = LargeEhr(every_hour(96), most=24)
    one = gateway(ehr)
    await ask(one, query(0, 4))
    ehr.sick_at = START

    [answer] = await ask(one, query(0, 4))

    assert isinstance(answer, UpstreamUnavailable)


async def test_calls_for_parts_count_for_the_request_and_are_not_made_beyond_its_limit() -> None:
    ehr = LargeEhr(every_hour(96), most=24)

    [answer] = await ask(gateway(ehr), query(0, 4), most_calls=6)

    assert isinstance(answer, OperationTooLarge)
    assert answer.message == "The operation would take 7 upstream calls or more; the limit is 6"
    assert len(ehr.calls) < 6
    [whole] = await ask(gateway(ehr), query(0, 4), most_calls=7)
    assert shown(whole) == ehr.owned(query(0, 4)).slots


async def test_known_length_takes_no_more_calls_than_a_request_may_make() -> None:
    # Only the first of eight days has so many slots that a day is an answer.
    ehr = LargeEhr(every_hour(24), most=23)
    one = gateway(ehr)
    fewest = await ask(one, query(0, 8), most_calls=9)
    assert shown(fewest[0]) == ehr.owned(query(0, 8)).slots

    again = await ask(one, query(0, 8), most_calls=9)

    assert shown(again[0]) == shown(fewest[0])


async def test_whoever_joined_gets_the_whole_and_counts_where_the_first_may_not() -> None:
    ehr = LargeEhr(every_hour(48), most=24)
    one = gateway(ehr)

    poor, rich = await asyncio.gather(
        ask(one, query(0, 2), most_calls=1), ask(one, query(0, 2), most_calls=3), return_exceptions=False
    )

    assert shown(poor[0]) == shown(rich[0]) == ehr.owned(query(0, 2)).slots
    assert len(ehr.calls) == 3


async def test_budget_of_calls_that_is_used_up_ends_the_parts() -> None:
    ehr = LargeEhr(every_hour(48), most=24)
    request = gateway(ehr).request(ModelUnitLists(UnitLists.NONE))

    def take(calls: int) -> None:
        if calls > 1:
            raise RateLimited("no more", retryable=True)

    request.scope.take_calls = take

    assert shown((await request.answer([query(0, 2)]))[0]) is RateLimited


async def test_parts_are_remembered_as_one_answer_as_old_as_its_first_call() -> None:
    ehr = LargeEhr(every_hour(48), most=24)
    one = gateway(ehr, Lifetimes(15, 15))
    await ask(one, query(0, 2))
    ehr.calls.clear()

    [answer] = await ask(one, query(0.5, 1.5))

    assert shown(answer) == ehr.owned(query(0.5, 1.5)).slots
    assert ehr.calls == []
    [snapshot] = one.snapshots.known(query(0, 2), PLAIN)
    assert snapshot.fetched_at == one.now
    assert snapshot.step == Step(UNIT, window(0, 2))


async def test_empty_parts_share_no_list_with_others() -> None:
    ehr = LargeEhr(every_hour(48), most=0)
    one = gateway(ehr)
    ehr.slots = [TrueSlot(START, "r1", "s1")]

    answers = await ask(one, query(0, 2))
    ehr.slots = []
    empty = await ask(one, query(3, 5))

    assert isinstance(answers[0], UpstreamAnswerTooLarge)
    assert shown(empty[0]) == ()
