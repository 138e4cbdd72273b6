"""UpstreamPolicy with many calls to one EHR: which wait, which are rejected, and that every permit is released."""

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
from tests.unit.leyr.scripted_ehr import HANG, Attempt, PolicyHarness, ScriptedEhr, codes
from tests.unit.leyr.virtual_time import clock, run

DOWN = Attempt(0.01, CallResult.UNAVAILABLE)
UP = Attempt(0.01)
ONE_BY_ONE = PolicyConfig(concurrency=ConcurrencyConfig(max_concurrency=1))


async def until_open(harness: PolicyHarness) -> None:
    harness.ehr.continue_with(DOWN)
    while harness.policy.health.breaker is not BreakerState.OPEN:
        await harness.outcome()


def test_an_open_breaker_rejects_calls_at_once_with_the_seconds_to_wait() -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(DOWN))
        await until_open(harness)
        asked = len(harness.ehr.attempts)
        assert (asked, harness.events.retries) == (5, 3), "the second call is not tried a third time"
        await asyncio.sleep(2)

        outcomes = await harness.outcomes(1_000)

        assert {took for _, took in outcomes} == {0}
        for found, _ in outcomes:
            assert isinstance(found, UpstreamUnavailable)
            assert found.retryable
            assert found.retry_after == pytest.approx(3, abs=0.2)
        assert len(harness.ehr.attempts) == asked
        assert harness.policy.health.retry_after == pytest.approx(3, abs=0.2)

    run(scenario())


def test_calls_that_wait_for_a_permit_are_rejected_when_the_breaker_opens() -> None:
    async def scenario() -> None:
        harness = PolicyHarness(
            ScriptedEhr(Attempt(HANG)), PolicyConfig(concurrency=ConcurrencyConfig(max_concurrency=10))
        )
        calls = harness.start(10)
        await asyncio.sleep(4)
        late = harness.start(100)

        outcomes = await asyncio.gather(*late)

        assert {round(took) for _, took in outcomes} == {1}
        assert set(codes(outcomes)) == {"UPSTREAM_UNAVAILABLE"}
        assert set(codes(await asyncio.gather(*calls))) == {"DEADLINE_EXCEEDED"}
        assert harness.is_idle()

    run(scenario())


def test_calls_that_wait_during_a_pause_are_rejected_when_the_breaker_opens() -> None:
    async def scenario() -> None:
        harness = PolicyHarness(
            ScriptedEhr(Attempt(0.1, CallResult.RATE_LIMITED, 8), then=Attempt(1, CallResult.UNREACHABLE))
        )
        calls = harness.start(6)
        await asyncio.sleep(0.5)

        found, took = await harness.outcome()

        assert isinstance(found, UpstreamUnavailable)
        assert took == pytest.approx(0.5)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    run(scenario())


def test_a_half_open_breaker_lets_one_probe_through_and_its_success_all_calls() -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(DOWN))
        await until_open(harness)
        harness.ehr.continue_with(Attempt(1))
        asked = len(harness.ehr.attempts)
        await asyncio.sleep(5)

        outcomes = await harness.outcomes(100)

        assert codes(outcomes).count("success") == len(harness.ehr.attempts) - asked == 1
        assert codes(await harness.outcomes(50)) == ["success"] * 50
        assert harness.events.states == [BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED]

    run(scenario())


def test_probes_of_a_breaker_come_at_growing_intervals() -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(DOWN))
        await until_open(harness)
        asked, opened = len(harness.ehr.attempts), clock()
        for _ in range(2_400):
            await harness.outcome()
            await asyncio.sleep(0.1)

        probes = [began - opened for began, _ in harness.ehr.attempts[asked:]]

        assert [round(later - earlier) for earlier, later in pairwise([0, *probes])] == [5, 10, 20, 40, 60, 60]

    run(scenario())


def test_a_cancelled_probe_lets_the_next_call_be_one() -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(DOWN))
        await until_open(harness)
        harness.ehr.continue_with(Attempt(HANG), Attempt(0.1))
        await asyncio.sleep(5)
        (probe,) = harness.start(1)
        await asyncio.sleep(1)
        assert codes([await harness.outcome()]) == ["UPSTREAM_UNAVAILABLE"]
        probe.cancel()
        await asyncio.sleep(0)

        assert codes([await harness.outcome()]) == ["success"]
        assert harness.policy.health.breaker is BreakerState.CLOSED

    run(scenario())


@pytest.mark.parametrize("result", [CallResult.REFUSED, CallResult.RATE_LIMITED, CallResult.INVALID_ANSWER])
def test_responses_that_are_no_failure_never_open_the_breaker(result: CallResult) -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(Attempt(0.01, result)))
        await harness.outcomes(200)

        assert harness.events.states == []
        assert len(harness.ehr.attempts) == 200

    run(scenario())


def test_calls_that_clients_cancel_never_open_the_breaker() -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(Attempt(HANG)))
        for _ in range(30):
            calls = harness.start(40)
            await asyncio.sleep(1)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

        assert harness.events.states == []
        assert {result for result, _ in harness.events.attempts} == {CallResult.ABANDONED}
        harness.ehr.continue_with(UP)
        assert codes(await harness.outcomes(20)) == ["success"] * 20

    run(scenario())


def test_timeouts_of_attempts_with_little_time_do_not_open_the_breaker() -> None:
    async def scenario() -> None:
        harness = PolicyHarness(
            ScriptedEhr(Attempt(4)),
            PolicyConfig(
                call_seconds=10,
                concurrency=ConcurrencyConfig(max_concurrency=10),
                retry_budget=RetryBudgetConfig(0, 0),
            ),
        )
        # Two rounds are answered; the third begins after eight of its ten seconds.
        outcomes = await harness.outcomes(30)

        assert codes(outcomes) == ["success"] * 20 + ["DEADLINE_EXCEEDED"] * 10
        assert [result for result, _ in harness.events.attempts[20:]] == [CallResult.CUT_SHORT] * 10
        assert harness.events.states == []

    run(scenario())


def test_the_concurrency_limit_lets_calls_through_in_order() -> None:
    async def scenario() -> None:
        harness = PolicyHarness(
            ScriptedEhr(Attempt(0.1)), PolicyConfig(concurrency=ConcurrencyConfig(max_concurrency=7))
        )

        outcomes = await harness.outcomes(100)

        took = [took for _, took in outcomes]
        assert took == sorted(took)
        assert harness.ehr.max_in_flight == 7
        assert codes(outcomes) == ["success"] * 100

    run(scenario())


def test_calls_beyond_the_queues_limit_are_rejected_at_once() -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(Attempt(0.01)))

        outcomes = await harness.outcomes(64 + 1_000 + 7)

        refused = outcomes[-7:]
        assert {took for _, took in refused} == {0}
        assert all(isinstance(found, Overloaded) and found.retryable for found, _ in refused)
        assert codes(outcomes[:-7]) == ["success"] * 1_064
        assert harness.events.rejections == [Rejection.QUEUE_FULL] * 7

    run(scenario())


def test_a_caller_gets_into_a_full_queue_and_waits_for_one_call_of_the_caller_that_fills_it() -> None:
    async def scenario() -> None:
        config = PolicyConfig(concurrency=ConcurrencyConfig(max_concurrency=1, max_waiting=5))
        harness = PolicyHarness(ScriptedEhr(Attempt(1)), config, caller="loud")
        loud = harness.start(8)
        await asyncio.sleep(0.5)
        harness.caller = "quiet"
        quiet = harness.start(3)

        outcomes = await asyncio.gather(*quiet)

        # The third would have made it as many as the other's. Two of the other's ran before, one of them when it came.
        assert codes(outcomes) == ["success", "success", "OVERLOADED"]
        assert [round(took, 1) for _, took in outcomes] == [2.5, 4.5, 0]
        rejected = [found for found, _ in await asyncio.gather(*loud) if isinstance(found, Overloaded)]
        assert len(rejected) == 2 + 2
        assert all(each.retryable and each.retry_after == 1 for each in rejected)
        assert harness.events.rejections == [Rejection.QUEUE_FULL] * 5
        assert harness.is_idle()

    run(scenario())


def test_a_call_that_waits_for_a_permit_is_rejected_at_its_deadline() -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(Attempt(4.9)), ONE_BY_ONE)

        outcomes = await harness.outcomes(5)

        # What began in time goes on beyond the deadline.
        assert [round(took, 1) for _, took in outcomes] == [4.9, 9.8, 14.7, 10, 10]
        assert codes(outcomes[:3]) == ["success"] * 3
        assert all(isinstance(found, DeadlineExceeded) and found.retryable for found, _ in outcomes[3:])
        assert harness.is_idle()

    run(scenario())


def test_rate_limiting_halves_the_concurrency_limit_and_successes_restore_it() -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(*[Attempt(0.1, CallResult.RATE_LIMITED)] * 64, then=UP))
        await harness.outcomes(64)
        assert harness.events.limits == [32]

        harness.ehr.max_in_flight = 0
        await harness.outcomes(100)
        assert 32 <= harness.ehr.max_in_flight <= 36
        for _ in range(20):
            await harness.outcomes(100)

        assert harness.policy.health.limit == 64
        assert harness.events.limits == list(range(32, 65))

    run(scenario())


def test_no_call_begins_before_the_pause_that_retry_after_asked_for_is_over() -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(*[Attempt(0, CallResult.RATE_LIMITED, 6)] * 3, then=UP))
        first = harness.start(3)
        await asyncio.sleep(1)
        later = harness.start(50)
        await asyncio.sleep(1)
        assert harness.policy.health.waiting == 50

        outcomes = await asyncio.gather(*first, *later)

        assert codes(outcomes) == ["success"] * 53
        assert min(began for began, _ in harness.ehr.attempts[3:]) >= 6
        assert max(began for began, _ in harness.ehr.attempts) < 6.2

    run(scenario())


def test_a_call_whose_deadline_is_before_the_end_of_a_pause_is_rejected_at_once() -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(Attempt(0, CallResult.RATE_LIMITED, 3_600), then=UP))
        await harness.outcome()
        await asyncio.sleep(1)

        found, took = await harness.outcome()

        assert isinstance(found, UpstreamRateLimited)
        assert took == 0
        assert found.retryable
        assert found.retry_after == pytest.approx(29)
        await asyncio.sleep(28.5)
        assert codes(await harness.outcomes(1)) == ["success"]
        assert harness.ehr.attempts[-1][0] == pytest.approx(30)

    run(scenario())


bursts = st.lists(st.tuples(st.floats(0, 3), st.integers(0, 15), st.booleans()), min_size=1, max_size=30)
script = st.lists(
    st.builds(
        Attempt,
        st.sampled_from([0, 0.01, 1, 4, HANG]),
        st.sampled_from([*CallResult][:7]),
        st.sampled_from([None, 0, 1, 5, 60]),
    ),
    min_size=1,
    max_size=60,
)


@settings(deadline=None, max_examples=200)
@given(bursts=bursts, script=script, limit=st.integers(1, 10), data=st.data())
def test_after_any_failures_and_cancellations_all_permits_are_free_and_calls_succeed(
    bursts: list[tuple[float, int, bool]], script: list[Attempt], limit: int, data: st.DataObject
) -> None:
    async def scenario() -> None:
        harness = PolicyHarness(
            ScriptedEhr(*script, then=UP), PolicyConfig(concurrency=ConcurrencyConfig(limit, max_waiting=20))
        )
        calls = []
        for pause, number, leaves in bursts:
            calls += harness.start(number)
            await asyncio.sleep(pause)
            if leaves and calls:
                for call in data.draw(st.lists(st.sampled_from(calls), max_size=10)):
                    call.cancel()
            assert harness.policy.health.in_flight <= limit
            assert harness.policy.health.waiting <= 20
        await asyncio.gather(*calls, return_exceptions=True)
        assert harness.is_idle()
        assert harness.ehr.max_in_flight <= limit

        # Longer than any pause and any break.
        harness.ehr.continue_with(UP)
        await asyncio.sleep(61)
        await harness.outcome()
        assert codes(await harness.outcomes(10)) == ["success"] * 10
        assert harness.policy.health.breaker is BreakerState.CLOSED

    run(scenario())
