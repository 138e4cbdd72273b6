"""A request makes no more upstream calls than it was granted, and never gives a part of an answer for the whole."""

import asyncio
from collections.abc import Sequence
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.ehr_profile import EhrProfile, FilterPolicy
from gateway.domain.errors import OperationTooLarge, RateLimited
from gateway.domain.queries import TimeslotQuery, UnitLists
from gateway.domain.timeslots import TimeslotList
from gateway.fetch.cache_budget import CacheBudget, CacheConfig, Lifetimes
from gateway.fetch.catalog import Catalog
from gateway.fetch.fetch_scope import FetchScope, Incomplete, IncompleteReason, ReadTime
from gateway.fetch.profiles import Profiles
from gateway.fetch.single_flight import SharedCall
from tests.unit import strategies
from tests.unit.asking import Answer, Gateway, Request
from tests.unit.model_ehr import DAY, RESOURCES, SERVICES, START, UNIT, ModelEhr, ModelUnitLists, TrueSlot, query

SLOTS = [TrueSlot(START + day * DAY, RESOURCES[day % 3], SERVICES[day % 2]) for day in range(12)]
PROFILE = EhrProfile(UNIT.emr, "Model")
SECONDS = Lifetimes(15, 15)
batches = st.lists(strategies.query_sets, min_size=1, max_size=3)


def test_of_read_times_all_processes_find_the_same_one_the_oldest() -> None:
    # What one process takes for earlier, since an answer of the store took longer.
    first, second = ReadTime(10.002, 1_000_000), ReadTime(10.001, 1_001_000)

    assert min(first, second, inf) is min(inf, second, first) is first
    assert (first < second, first <= second, first > second, first >= second) == (True, True, False, False)
    assert (first < 10.001, first > 10.001, first <= 10.002, first >= 10.003) == (False, True, True, False)


def test_read_times_that_lie_apart_are_in_order_also_where_the_clock_of_all_was_put_back_between() -> None:
    before, after = ReadTime(10.0, 9_000_000), ReadTime(12.0, 1_000_000)

    assert (before < after, before <= after, before > after, before >= after) == (True, True, False, False)


def gateway(ehr: ModelEhr, lifetimes: Lifetimes = SECONDS) -> Gateway:
    return Gateway(ehr, Profiles([ehr.profile]), lifetimes)


def granted(made: Gateway, calls: int) -> Request:
    request = made.request(ModelUnitLists(UnitLists.NONE))
    request.scope.most_calls = calls
    return request


def test_what_is_incomplete_counts_each_subject_once_and_comes_in_order() -> None:
    scope = FetchScope(0.0)
    rows, outside = IncompleteReason.ROWS_DROPPED, IncompleteReason.OUTSIDE_EVERY_FILTER

    for _ in range(2):
        scope.report_incomplete("timeslots", "b", rows, "one call", 3)
        scope.report_incomplete("timeslots", "b", rows, "another", 4)
        scope.report_incomplete("timeslots", "b", outside, "one call", 1)
        scope.report_incomplete("timeslots", "a", rows, "one call", 2)
        scope.report_incomplete("resources", "b", rows, "one call", 1)

    assert scope.incomplete == [
        Incomplete("resources", "b", rows, 1),
        Incomplete("timeslots", "a", rows, 2),
        Incomplete("timeslots", "b", outside, 1),
        Incomplete("timeslots", "b", rows, 7),
    ]
    assert FetchScope(0.0).incomplete == ()


def test_calls_are_counted_all_or_none() -> None:
    scope = FetchScope(0.0, most_calls=3)

    scope.count_calls(2)
    with pytest.raises(OperationTooLarge, match="would take 4 upstream calls or more; the limit is 3"):
        scope.count_calls(2)
    assert scope.has_calls_left
    scope.count_calls()
    assert not scope.has_calls_left


def test_a_plan_of_too_many_calls_begins_none() -> None:
    ehr = ModelEhr(SLOTS, EhrProfile(UNIT.emr, "Model", FilterPolicy.RESOURCE))

    [answer] = asyncio.run(granted(gateway(ehr), len(RESOURCES) - 1).answer([query(0, 10)]))

    assert isinstance(answer, OperationTooLarge)
    assert ehr.calls == []


def test_a_known_range_of_a_refused_query_is_not_given_as_its_answer() -> None:
    ehr = ModelEhr(SLOTS, PROFILE)

    async def asked() -> list[Answer]:
        made = gateway(ehr)
        await made.request(ModelUnitLists(UnitLists.NONE)).answer([query(0, 5)])
        request = granted(made, 0)
        refused = await request.answer([query(0, 10)])
        return [*refused, *await request.answer([query(2, 8)]), *await request.answer([query(0, 5)])]

    wide, inside, known = asyncio.run(asked())

    assert isinstance(wide, OperationTooLarge)
    assert isinstance(inside, OperationTooLarge)
    assert isinstance(known, TimeslotList)
    assert known.slots == ehr.owned(query(0, 5)).slots
    assert len(ehr.calls) == 1


def test_stale_data_is_given_without_a_refresh_where_no_call_is_left() -> None:
    ehr = ModelEhr(SLOTS, PROFILE)

    async def asked() -> list[Answer]:
        made = gateway(ehr)
        await made.request(ModelUnitLists(UnitLists.NONE)).answer([query(0, 5)])
        made.now += 20
        return await granted(made, 0).answer([query(0, 5)])

    [answer] = asyncio.run(asked())

    assert isinstance(answer, TimeslotList)
    assert len(ehr.calls) == 1


def test_a_list_that_is_not_known_takes_a_call_and_a_stale_one_does_without() -> None:
    ehr = ModelEhr([], PROFILE)
    now = [0.0]

    async def read() -> None:
        catalog = Catalog(ehr, CacheConfig(SECONDS, CacheBudget(1_000_000), lambda: now[0]))
        with pytest.raises(OperationTooLarge):
            catalog.resources.get(UNIT, FetchScope(0.0, most_calls=0))
        first = FetchScope(0.0, most_calls=1)
        given = catalog.resources.get(UNIT, first)
        assert isinstance(given, asyncio.Future)
        await given
        assert not first.has_calls_left
        now[0] = 20.0
        assert catalog.resources.get(UNIT, FetchScope(20.0, most_calls=0)) is given.result()

    asyncio.run(read())


@settings(max_examples=150, deadline=None)
@given(strategies.slots, strategies.profiles, batches, st.integers(0, 9))
def test_no_request_makes_more_calls_than_granted_and_what_it_gives_is_right(
    slots: Sequence[TrueSlot], profile: EhrProfile, asked_for: Sequence[Sequence[TimeslotQuery]], calls: int
) -> None:
    ehr = ModelEhr(slots, profile)

    async def asked() -> list[list[Answer]]:
        request = granted(gateway(ehr), calls)
        return [await request.answer(batch) for batch in asked_for]

    answers = asyncio.run(asked())

    assert len(ehr.calls) <= calls
    for batch, given_answers in zip(asked_for, answers, strict=True):
        for each, answer in zip(batch, given_answers, strict=True):
            if isinstance(answer, TimeslotList) and all(slot.names_resource and slot.names_service for slot in slots):
                assert answer.slots == ehr.expected(each).slots


class Budget:
    """A caller's budget of upstream calls, as scopes take them from it."""

    def __init__(self, calls: float) -> None:
        self.left = calls
        self.taken = 0

    def take(self, calls: int) -> None:
        if calls > self.left:
            raise RateLimited("wait", retryable=True, retry_after=1)
        self.left -= calls
        self.taken += calls


@settings(max_examples=150, deadline=None)
@given(strategies.slots, strategies.profiles, batches, st.integers(0, 9), st.booleans())
def test_calls_are_taken_from_the_budget_as_they_are_made_and_what_is_given_without_is_right(
    slots: Sequence[TrueSlot],
    profile: EhrProfile,
    asked_for: Sequence[Sequence[TimeslotQuery]],
    calls: int,
    no_cache: bool,
) -> None:
    ehr, budget = ModelEhr(slots, profile), Budget(calls)
    seen: list[str] = []

    async def asked() -> list[list[Answer]]:
        made, found = gateway(ehr), []
        for batch in asked_for:
            # Each with a scope of its own; what is remembered of the earlier ones takes nothing.
            request = made.request(ModelUnitLists(UnitLists.NONE), no_cache=no_cache)
            request.scope.take_calls, request.scope.on_ehr = budget.take, seen.append
            found.append(await request.answer(batch))
            request.close()
            made.now += 1
        return found

    answers = asyncio.run(asked())

    assert budget.taken == len(ehr.calls) <= calls
    assert seen or not ehr.calls
    for batch, given_answers in zip(asked_for, answers, strict=True):
        for each, answer in zip(batch, given_answers, strict=True):
            if isinstance(answer, TimeslotList) and all(slot.names_resource and slot.names_service for slot in slots):
                assert answer.slots == ehr.expected(each).slots


def test_stale_data_is_given_and_joined_calls_are_made_where_the_budget_is_spent() -> None:
    ehr, spent, seen = ModelEhr(SLOTS, PROFILE), Budget(0), list[str]()

    async def asked() -> list[Answer]:
        made = gateway(ehr)
        first, joining, without = (made.request(ModelUnitLists(UnitLists.NONE)) for _ in range(3))
        for request in (joining, without):
            request.scope.take_calls, request.scope.on_ehr = spent.take, seen.append
        begun = asyncio.create_task(first.answer([query(0, 5)]))
        await asyncio.sleep(0)
        answers = [*await joining.answer([query(0, 5)]), *await without.answer([query(6, 9)]), *await begun]
        assert seen == [UNIT.emr] * 2
        made.now += 20
        stale = made.request(ModelUnitLists(UnitLists.NONE))
        stale.scope.take_calls, stale.scope.on_ehr = spent.take, seen.append
        return [*answers, *await stale.answer([query(0, 5)])]

    joined, refused, fetched, stale = asyncio.run(asked())

    assert isinstance(joined, TimeslotList)
    assert isinstance(refused, RateLimited)
    assert isinstance(fetched, TimeslotList)
    assert isinstance(stale, TimeslotList)
    # What is remembered has nothing to wait for.
    assert seen == [UNIT.emr] * 2
    assert len(ehr.calls) == 1


def test_an_expired_scope_makes_no_call_and_takes_nothing() -> None:
    budget = Budget(10)
    scope = FetchScope(0.0, take_calls=budget.take)
    scope.expire(lambda: RateLimited("enough"))

    assert not scope.may_refresh()
    with pytest.raises(RateLimited, match="enough"):
        scope.count_calls()
    assert budget.taken == 0


def test_slots_of_calls_are_counted_once_and_too_many_end_the_request() -> None:
    async def read() -> tuple[BaseException | None, BaseException | None]:
        scope = FetchScope(0.0, most_slots=10)
        waiting: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        scope.wait_for(waiting)
        scope.count_slots("one", 6)
        scope.count_slots("one", 6)
        early = waiting.exception() if waiting.done() else None
        scope.count_slots("two", 6)
        return early, waiting.exception()

    early, late = asyncio.run(read())

    assert early is None
    assert isinstance(late, OperationTooLarge)
    assert "would read 12 timeslots or more; the limit is 10" in late.message


async def test_what_is_asked_anew_uses_no_snapshot_and_joins_no_earlier_call_and_nothing_else_changes() -> None:
    scope = FetchScope(7.0)
    other = UNIT._replace(care_unit="another")

    scope.ask_anew(UNIT)

    assert scope.asks_anew
    assert scope.since_of(UNIT) == 7.0
    assert scope.since_of(other) == scope.since == -inf


def test_queries_of_a_care_unit_that_is_asked_anew_share_calls_of_their_own_request() -> None:
    ehr = ModelEhr(SLOTS, PROFILE)
    made = gateway(ehr)
    wide, narrow = query(0, 5), query(1, 2)

    async def asked() -> list[int]:
        counts = []
        for anew in (False, False, True):
            request = made.request(ModelUnitLists(UnitLists.NONE))
            if anew:
                request.scope.ask_anew(UNIT)
            first, second = await request.answer([wide]), await request.answer([narrow])
            assert all(isinstance(each, TimeslotList) for each in (*first, *second))
            counts.append(len(ehr.calls))
            request.close()
        return counts

    assert asyncio.run(asked()) == [1, 1, 2]


def test_bytes_of_lists_are_counted_once_and_too_many_end_the_request_and_its_calls() -> None:
    async def read() -> tuple[BaseException | None, bool, bool]:
        scope = FetchScope(0.0, most_list_bytes=10)
        call: SharedCall[None] = SharedCall(asyncio.sleep(60), 0.0, lambda _: None)
        scope.release_on_close(call)
        waiting = scope.wait_for(call.wait())
        scope.count_list("one", 6)
        scope.count_list("one", 6)
        is_early = waiting.done()
        scope.count_list("two", 6)
        error = waiting.exception()
        await asyncio.sleep(0)
        scope.close()
        return error, is_early, call.joinable

    error, is_early, is_pending = asyncio.run(read())

    assert not is_early
    assert isinstance(error, OperationTooLarge)
    assert "would read lists of 12 bytes or more; the limit is 10" in error.message
    assert not is_pending
