"""Many calls to one EHR: who waits, who is refused, and what is left when they are gone."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.errors import DeadlineExceeded, Overloaded, UpstreamRateLimited, UpstreamUnavailable
from gateway.leyr.call_events import CallResult, Rejection
from gateway.leyr.circuit_breaker import BreakerState
from gateway.leyr.concurrency_limit import ConcurrencyConfig
from gateway.leyr.resilience import PolicyConfig
from gateway.leyr.retry import RetryBudgetConfig
from tests.unit.leyr.scripted_ehr import HANG, Act, Scene, ScriptedEhr, kinds
from tests.unit.leyr.virtual_time import clock, run

DOWN = Act(0.01, CallResult.UNAVAILABLE)
UP = Act(0.01)
ONE_BY_ONE = PolicyConfig(gate=ConcurrencyConfig(most=1))


async def until_open(stage: Scene) -> None:
    stage.ehr.goes_on_with(DOWN)
    while stage.policy.condition.breaker is not BreakerState.OPEN:
        await stage.ending()


def test_an_open_breaker_answers_at_once_and_says_until_when() -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(DOWN))
        await until_open(stage)
        asked = len(stage.ehr.attempts)
        assert (asked, stage.events.retries) == (5, 3), "the second call is not tried a third time"
        await asyncio.sleep(2)

        endings = await stage.endings(1_000)

        assert {took for _, took in endings} == {0}
        for found, _ in endings:
            assert isinstance(found, UpstreamUnavailable)
            assert found.retryable
            assert found.retry_after == pytest.approx(3, abs=0.2)
        assert len(stage.ehr.attempts) == asked
        assert stage.policy.condition.retry_after == pytest.approx(3, abs=0.2)

    run(scene())


def test_those_that_wait_when_it_opens_are_not_kept_waiting() -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(Act(HANG)), PolicyConfig(gate=ConcurrencyConfig(most=10)))
        calls = stage.calls(10)
        await asyncio.sleep(4)
        late = stage.calls(100)

        endings = await asyncio.gather(*late)

        assert {round(took) for _, took in endings} == {1}
        assert set(kinds(endings)) == {"UPSTREAM_UNAVAILABLE"}
        assert set(kinds(await asyncio.gather(*calls))) == {"DEADLINE_EXCEEDED"}
        assert stage.is_calm()

    run(scene())


def test_neither_are_those_that_wait_out_a_pause() -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(Act(0.1, CallResult.RATE_LIMITED, 8), then=Act(1, CallResult.UNREACHABLE)))
        calls = stage.calls(6)
        await asyncio.sleep(0.5)

        found, took = await stage.ending()

        assert isinstance(found, UpstreamUnavailable)
        assert took == pytest.approx(0.5)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    run(scene())


def test_half_open_lets_one_through_and_its_success_everyone() -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(DOWN))
        await until_open(stage)
        stage.ehr.goes_on_with(Act(1))
        asked = len(stage.ehr.attempts)
        await asyncio.sleep(5)

        endings = await stage.endings(100)

        assert kinds(endings).count("answer") == len(stage.ehr.attempts) - asked == 1
        assert kinds(await stage.endings(50)) == ["answer"] * 50
        assert stage.events.states == [BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED]

    run(scene())


def test_probes_come_ever_more_seldom() -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(DOWN))
        await until_open(stage)
        asked, opened = len(stage.ehr.attempts), clock()
        for _ in range(2_400):
            await stage.ending()
            await asyncio.sleep(0.1)

        probes = [began - opened for began, _ in stage.ehr.attempts[asked:]]

        assert [round(later - earlier) for earlier, later in pairwise([0, *probes])] == [5, 10, 20, 40, 60, 60]

    run(scene())


def test_a_cancelled_probe_gives_its_turn_back() -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(DOWN))
        await until_open(stage)
        stage.ehr.goes_on_with(Act(HANG), Act(0.1))
        await asyncio.sleep(5)
        (probe,) = stage.calls(1)
        await asyncio.sleep(1)
        assert kinds([await stage.ending()]) == ["UPSTREAM_UNAVAILABLE"]
        probe.cancel()
        await asyncio.sleep(0)

        assert kinds([await stage.ending()]) == ["answer"]
        assert stage.policy.condition.breaker is BreakerState.CLOSED

    run(scene())


@pytest.mark.parametrize("outcome", [CallResult.REFUSED, CallResult.RATE_LIMITED, CallResult.INVALID_ANSWER])
def test_what_is_an_answer_never_opens_it(outcome: CallResult) -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(Act(0.01, outcome)))
        await stage.endings(200)

        assert stage.events.states == []
        assert len(stage.ehr.attempts) == 200

    run(scene())


def test_calls_that_clients_give_up_never_open_it() -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(Act(HANG)))
        for _ in range(30):
            calls = stage.calls(40)
            await asyncio.sleep(1)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

        assert stage.events.states == []
        assert {outcome for outcome, _ in stage.events.attempts} == {CallResult.ABANDONED}
        stage.ehr.goes_on_with(UP)
        assert kinds(await stage.endings(20)) == ["answer"] * 20

    run(scene())


def test_attempts_that_had_hardly_any_time_say_nothing_about_an_ehr() -> None:
    async def scene() -> None:
        stage = Scene(
            ScriptedEhr(Act(4)), PolicyConfig(gate=ConcurrencyConfig(most=10), budget=RetryBudgetConfig(0, 0))
        )
        # Two rounds are answered; the third begins after eight of its ten seconds.
        endings = await stage.endings(30)

        assert kinds(endings) == ["answer"] * 20 + ["DEADLINE_EXCEEDED"] * 10
        assert [outcome for outcome, _ in stage.events.attempts[20:]] == [CallResult.CUT_SHORT] * 10
        assert stage.events.states == []

    run(scene())


def test_calls_are_let_through_in_order_and_not_too_many_at_once() -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(Act(0.1)), PolicyConfig(gate=ConcurrencyConfig(most=7)))

        endings = await stage.endings(100)

        took = [took for _, took in endings]
        assert took == sorted(took)
        assert stage.ehr.most_at_once == 7
        assert kinds(endings) == ["answer"] * 100

    run(scene())


def test_who_would_wait_in_too_long_a_queue_is_refused_at_once() -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(Act(0.01)))

        endings = await stage.endings(64 + 1_000 + 7)

        refused = endings[-7:]
        assert {took for _, took in refused} == {0}
        assert all(isinstance(found, Overloaded) and found.retryable for found, _ in refused)
        assert kinds(endings[:-7]) == ["answer"] * 1_064
        assert stage.events.rejections == [Rejection.QUEUE_FULL] * 7

    run(scene())


def test_nobody_waits_for_a_turn_beyond_the_deadline() -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(Act(4.9)), ONE_BY_ONE)

        endings = await stage.endings(5)

        assert [round(took, 1) for _, took in endings] == [4.9, 9.8, 10, 10, 10]
        assert all(isinstance(found, DeadlineExceeded) and found.retryable for found, _ in endings[2:])
        assert stage.is_calm()

    run(scene())


def test_a_refused_rate_halves_the_limit_and_success_brings_it_back() -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(*[Act(0.1, CallResult.RATE_LIMITED)] * 64, then=UP))
        await stage.endings(64)
        assert stage.events.limits == [32]

        stage.ehr.most_at_once = 0
        await stage.endings(100)
        assert 32 <= stage.ehr.most_at_once <= 36
        for _ in range(20):
            await stage.endings(100)

        assert stage.policy.condition.limit == 64
        assert stage.events.limits == list(range(32, 65))

    run(scene())


def test_no_call_begins_before_the_time_that_an_ehr_asked_for() -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(*[Act(0, CallResult.RATE_LIMITED, 6)] * 3, then=UP))
        first = stage.calls(3)
        await asyncio.sleep(1)
        later = stage.calls(50)
        await asyncio.sleep(1)
        assert stage.policy.condition.waiting == 50

        endings = await asyncio.gather(*first, *later)

        assert kinds(endings) == ["answer"] * 53
        assert min(began for began, _ in stage.ehr.attempts[3:]) >= 6
        assert max(began for began, _ in stage.ehr.attempts) < 6.2

    run(scene())


def test_who_could_not_begin_in_time_is_told_so_at_once() -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(Act(0, CallResult.RATE_LIMITED, 3_600), then=UP))
        await stage.ending()
        await asyncio.sleep(1)

        found, took = await stage.ending()

        assert isinstance(found, UpstreamRateLimited)
        assert took == 0
        assert found.retryable
        assert found.retry_after == pytest.approx(29)
        await asyncio.sleep(28.5)
        assert kinds(await stage.endings(1)) == ["answer"]
        assert stage.ehr.attempts[-1][0] == pytest.approx(30)

    run(scene())


crowds = st.lists(st.tuples(st.floats(0, 3), st.integers(0, 15), st.booleans()), min_size=1, max_size=30)
trouble = st.lists(
    st.builds(
        Act,
        st.sampled_from([0, 0.01, 1, 4, HANG]),
        st.sampled_from([*CallResult][:7]),
        st.sampled_from([None, 0, 1, 5, 60]),
    ),
    min_size=1,
    max_size=60,
)


@settings(deadline=None, max_examples=200)
@given(crowds=crowds, trouble=trouble, limit=st.integers(1, 10), data=st.data())
def test_whatever_goes_wrong_nothing_is_stuck_in_the_end(
    crowds: list[tuple[float, int, bool]], trouble: list[Act], limit: int, data: st.DataObject
) -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(*trouble, then=UP), PolicyConfig(gate=ConcurrencyConfig(limit, most_waiting=20)))
        calls = []
        for pause, number, leaves in crowds:
            calls += stage.calls(number)
            await asyncio.sleep(pause)
            if leaves and calls:
                for call in data.draw(st.lists(st.sampled_from(calls), max_size=10)):
                    call.cancel()
            assert stage.policy.condition.in_flight <= limit
            assert stage.policy.condition.waiting <= 20
        await asyncio.gather(*calls, return_exceptions=True)
        assert stage.is_calm()
        assert stage.ehr.most_at_once <= limit

        # Longer than any pause and any break; then as well as ever.
        stage.ehr.goes_on_with(UP)
        await asyncio.sleep(61)
        await stage.ending()
        assert kinds(await stage.endings(10)) == ["answer"] * 10
        assert stage.policy.condition.breaker is BreakerState.CLOSED

    run(scene())
