"""One call for all who want the same: it ends with the last of them, and nobody hangs."""

import asyncio
import gc
import weakref
from collections.abc import Sequence

import pytest

from gateway.domain.ehr_profile import EhrProfile, FilterPolicy
from gateway.domain.errors import UpstreamUnavailable
from gateway.domain.queries import Step, TimeslotQuery, UnitLists
from gateway.domain.timeslots import TimeslotList
from gateway.fetch.cache_budget import Lifetimes
from gateway.fetch.profiles import Profiles
from gateway.fetch.single_flight import SharedCall
from tests.unit.asking import Answer, Gateway
from tests.unit.model_ehr import DAY, SERVICES, START, ModelEhr, ModelUnitLists, TrueSlot, query


class Call:
    """A call that ends when it is told to."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.failure: Exception | None = None
        self.was_cancelled = False
        self.ended: list[SharedCall[str]] = []

    async def __call__(self) -> str:
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        if self.failure:
            raise self.failure
        return "answer"

    def shared(self) -> SharedCall[str]:
        return SharedCall(self(), 0.0, self.ended.append)


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_all_waiters_get_the_one_answer() -> None:
    call = Call()
    shared = call.shared()
    waiting = [asyncio.ensure_future(shared.acquire().wait()) for _ in range(5)]
    await turns()

    call.gate.set()

    assert await asyncio.gather(*waiting) == ["answer"] * 5
    assert await shared.wait() == shared.answer == "answer"
    assert call.ended == [shared]


async def test_all_waiters_get_the_one_failure() -> None:
    call = Call()
    call.failure = UpstreamUnavailable("sick")
    shared = call.shared()
    waiting = [shared.wait() for _ in range(5)]

    call.gate.set()
    await turns()

    assert [type(each.exception()) for each in waiting] == [UpstreamUnavailable] * 5
    with pytest.raises(UpstreamUnavailable):
        await shared.wait()
    assert shared.answer is None
    assert call.ended == [shared]


async def test_a_cancelled_waiter_cancels_no_other() -> None:
    call = Call()
    shared = call.shared()
    first, second = (asyncio.ensure_future(shared.acquire().wait()) for _ in range(2))
    await turns()

    first.cancel()
    shared.release()
    call.gate.set()

    assert await second == "answer"
    assert first.cancelled()


async def test_the_last_release_cancels_a_pending_call() -> None:
    call = Call()
    shared = call.shared().acquire()
    await turns()

    shared.release()
    await turns()
    joinable = [shared.joinable]
    shared.release()
    joinable.append(shared.joinable)
    await turns()

    assert joinable == [True, False]
    assert call.was_cancelled
    assert call.ended == [shared]
    assert shared.answer is None


async def test_releasing_a_completed_call_keeps_its_answer() -> None:
    call = Call()
    shared = call.shared()
    call.gate.set()
    await shared.wait()

    shared.release()

    assert await shared.wait() == "answer"


async def test_waiting_for_an_abandoned_call_is_cancelled() -> None:
    shared = Call().shared()
    waiting = shared.wait()
    await turns()

    shared.release()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(waiting, 1)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(shared.wait(), 1)


@pytest.mark.parametrize("is_left", [True, False])
async def test_a_failure_that_nobody_waits_for_is_not_reported_as_lost(is_left: bool) -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    call = Call()
    call.failure = UpstreamUnavailable("sick")
    shared = call.shared()
    lost = shared.wait()
    await turns()

    call.gate.set()
    if is_left:
        shared.release()
    await turns()
    del lost, shared
    call.ended.clear()
    gc.collect()
    await turns()

    assert reported == []


async def test_an_answer_is_freed_with_its_last_reference() -> None:
    class Heavy:
        pass

    async def heavy() -> Heavy:
        return Heavy()

    shared: SharedCall[Heavy] = SharedCall(heavy(), 0.0, lambda _: None)
    answer = weakref.ref(await shared.wait())
    await turns()
    gc.disable()
    try:
        del shared
        await turns()
        assert answer() is None
    finally:
        gc.enable()


async def test_a_failure_is_freed_with_its_last_reference() -> None:
    async def fails() -> str:
        raise UpstreamUnavailable("sick")

    async def failure_of(shared: SharedCall[str]) -> "weakref.ref[UpstreamUnavailable] | None":
        try:
            await shared.wait()
        except UpstreamUnavailable as error:
            return weakref.ref(error)
        return None

    shared = SharedCall(fails(), 0.0, lambda _: None).acquire()
    first, second = await failure_of(shared), await failure_of(shared)
    gc.disable()
    try:
        shared.release()
        shared.release()
        del shared
        await turns()
        assert first is second
        assert first is not None
        assert first() is None
    finally:
        gc.enable()


async def test_a_fault_of_ours_keeps_its_traceback() -> None:
    call = Call()
    call.failure = ZeroDivisionError()
    shared = call.shared()
    call.gate.set()
    with pytest.raises(ZeroDivisionError):
        await shared.wait()

    shared.release()

    assert call.failure.__traceback__ is not None


class Slow(ModelEhr):
    """Answers after so many turns of the loop, and counts the calls that were ended before."""

    def __init__(self, profile: EhrProfile, turns: int = 10) -> None:
        super().__init__([TrueSlot(START + each * DAY, "r1", "s1") for each in range(9)], profile)
        self.turns = turns
        self.begun = 0
        self.ended_early = 0
        self.is_sick = False

    async def timeslots(self, step: Step) -> TimeslotList:
        self.begun += 1
        try:
            await turns(self.turns)
        except asyncio.CancelledError:
            self.ended_early += 1
            raise
        if self.is_sick:
            raise UpstreamUnavailable("sick")
        return self.fetch(step)


def clinic(policy: FilterPolicy = FilterPolicy.NONE_REQUIRED, *, turns: int = 10) -> tuple[Gateway, Slow]:
    ehr = Slow(EhrProfile("model", "Model", policy), turns)
    return Gateway(ehr, Profiles([ehr.profile]), Lifetimes(15, 15)), ehr


async def served(gateway: Gateway, query: TimeslotQuery, *, no_cache: bool = False) -> Answer:
    """One request from its beginning to its end, as the endpoint runs it."""
    request = gateway.request(ModelUnitLists(UnitLists.NONE), no_cache=no_cache)
    try:
        [answer] = await request.answer([query])
        return answer
    finally:
        request.close()


async def all_of(tasks: Sequence[asyncio.Task[Answer]]) -> set[int]:
    """How many slots they all got; fails where one hangs."""
    answers = await asyncio.wait_for(asyncio.gather(*tasks), 5)
    assert all(isinstance(each, TimeslotList) for each in answers), answers
    return {len(each) for each in answers if isinstance(each, TimeslotList)}


@pytest.mark.parametrize("policy", FilterPolicy)
async def test_five_hundred_requests_at_expiry_make_each_call_once(policy: FilterPolicy) -> None:
    gateway, ehr = clinic(policy)
    await served(gateway, query(0, 9))
    calls = list(ehr.calls)
    gateway.now += 30

    found = await all_of([asyncio.create_task(served(gateway, query(0, 9))) for _ in range(500)])

    assert found == {9}
    assert ehr.calls == calls * 2


async def test_requests_whose_windows_differ_by_seconds_share_a_call() -> None:
    gateway, ehr = clinic()
    windows = [query(each / 86_400, 7.5 + each / 86_400) for each in range(50)]

    await all_of([asyncio.create_task(served(gateway, each)) for each in windows])

    assert len(ehr.calls) == 1


@pytest.mark.parametrize("moment", range(20))
async def test_a_call_outlives_the_request_that_started_it(moment: int) -> None:
    gateway, ehr = clinic(turns=14)
    leader = asyncio.create_task(served(gateway, query(0, 9)))
    followers: list[asyncio.Task[Answer]] = []
    for turn in range(moment):
        if turn % 3 == 0:
            followers += [asyncio.create_task(served(gateway, query(0, 9))) for _ in range(99 // (moment // 3 + 1))]
        await asyncio.sleep(0)
    followers += [asyncio.create_task(served(gateway, query(0, 9))) for _ in range(99 - len(followers))]

    leader.cancel()

    assert await all_of(followers) == {9}
    assert len(followers) == 99
    # Where nobody had joined it yet, the call ended with its one holder.
    assert (ehr.begun, ehr.ended_early) in {(1, 0), (2, 1)}
    assert await all_of([asyncio.create_task(served(gateway, query(0, 9)))]) == {9}
    assert len(ehr.calls) == 1


@pytest.mark.parametrize("moment", range(0, 20, 3))
async def test_a_joined_request_that_is_cancelled_cancels_no_other(moment: int) -> None:
    gateway, ehr = clinic(turns=14)
    waiting = [asyncio.create_task(served(gateway, query(0, 9))) for _ in range(100)]
    await turns(moment)

    for each in waiting[1::2]:
        each.cancel()

    assert await all_of(waiting[::2]) == {9}
    assert len(ehr.calls) == 1


async def test_a_call_that_no_request_waits_for_any_more_is_cancelled() -> None:
    gateway, ehr = clinic(FilterPolicy.SERVICE)
    waiting = [asyncio.create_task(served(gateway, query(0, 9))) for _ in range(100)]
    await turns(4)

    for each in waiting:
        each.cancel()
    await turns(4)

    assert (ehr.begun, ehr.ended_early) == (2, 2)
    assert await all_of([asyncio.create_task(served(gateway, query(0, 9)))]) == {9}


async def test_a_closed_request_leaves_no_call_running() -> None:
    gateway, ehr = clinic()
    request = gateway.request(ModelUnitLists(UnitLists.NONE))
    late = asyncio.create_task(request.answer([query(0, 9)]))

    request.close()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(late, 5)
    await turns()
    assert ehr.begun == ehr.ended_early
    assert await all_of([asyncio.create_task(served(gateway, query(0, 9)))]) == {9}


async def test_a_failure_reaches_all_requests_and_is_not_cached() -> None:
    gateway, ehr = clinic()
    ehr.is_sick = True
    waiting = [asyncio.create_task(served(gateway, query(0, 9))) for _ in range(100)]

    failures = await asyncio.wait_for(asyncio.gather(*waiting), 5)
    ehr.is_sick = False

    assert {type(each) for each in failures} == {UpstreamUnavailable}
    assert ehr.begun == 1
    assert await all_of([asyncio.create_task(served(gateway, query(0, 9)))]) == {9}


async def test_a_refusal_of_many_requests_is_answered_by_one_set_of_filtered_calls() -> None:
    ehr = Slow(EhrProfile("model", "Model", FilterPolicy.SERVICE))
    gateway = Gateway(ehr, Profiles([EhrProfile("model", "Model")]), Lifetimes(15, 15))

    found = await all_of([asyncio.create_task(served(gateway, query(0, 9))) for _ in range(100)])

    assert found == {9}
    assert [step.service for step in ehr.calls] == [None, *SERVICES]


async def test_a_no_cache_request_joins_no_call_that_started_before_it() -> None:
    gateway, ehr = clinic()
    earlier = asyncio.create_task(served(gateway, query(0, 9)))
    await turns(4)
    gateway.now += 1
    ehr.slots = ehr.slots[:5]

    now = [asyncio.create_task(served(gateway, query(0, 9), no_cache=True)) for _ in range(50)]
    joining = asyncio.create_task(served(gateway, query(0, 9)))

    assert await all_of([*now, joining]) == {5}
    assert await all_of([earlier, asyncio.create_task(served(gateway, query(0, 9)))]) == {5}
    assert len(ehr.calls) == 2


async def test_a_refresh_outlives_the_request_that_wanted_it() -> None:
    gateway, ehr = clinic()
    await served(gateway, query(0, 9))
    gateway.now += 20

    await asyncio.wait_for(served(gateway, query(0, 9)), 5)
    await turns(15)

    assert (ehr.begun, ehr.ended_early) == (2, 0)
