"""UpstreamPolicy with one call: its deadline, its attempts, and what it returns or raises."""

import asyncio
import gc
import weakref
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.errors import DeadlineExceeded, GatewayError, UpstreamRateLimited, UpstreamUnavailable
from gateway.leyr.call_events import CallResult
from gateway.leyr.circuit_breaker import BreakerState, CircuitBreakerConfig
from gateway.leyr.resilience import PolicyConfig, PolicyDependencies, UpstreamPolicies
from tests.unit.leyr.scripted_ehr import HANG, REFERENCE, Attempt, PolicyHarness, ScriptedEhr, codes
from tests.unit.leyr.virtual_time import clock, run

# No test of a single call is about the breaker.
NEVER_OPEN = CircuitBreakerConfig(min_calls=10**9, consecutive_failures=10**9)
WITHOUT_BREAKER = PolicyConfig(circuit_breaker=NEVER_OPEN)
TEMPORARY = [CallResult.UNREACHABLE, CallResult.UNAVAILABLE]
NOT_RETRIED = [
    CallResult.REFUSED,
    CallResult.FAILED,
    CallResult.INVALID_ANSWER,
    CallResult.NO_CONNECTION,
    CallResult.RATE_LIMITED,
]


@pytest.mark.parametrize("result", TEMPORARY)
def test_a_temporary_failure_is_retried_after_a_backoff(result: CallResult) -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(Attempt(0.1, result), Attempt(0.1, result), Attempt(0.1)), WITHOUT_BREAKER)

        found, _ = await harness.outcome()

        assert found == "success"
        # Half of what the waits may be at most.
        assert [round(began, 4) for began, _ in harness.ehr.attempts] == [0, 0.125, 0.275]
        assert harness.events.attempts == [(result, 0.1), (result, 0.1), (CallResult.ANSWERED, 0.1)]
        assert harness.events.retries == 2

    run(scenario())


@pytest.mark.parametrize("result", TEMPORARY)
def test_a_call_makes_at_most_three_attempts(result: CallResult) -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(Attempt(0.1, result)), WITHOUT_BREAKER)

        assert codes([await harness.outcome()]) == ["UPSTREAM_UNAVAILABLE"]
        assert len(harness.ehr.attempts) == 3

    run(scenario())


@pytest.mark.parametrize("result", NOT_RETRIED)
def test_a_result_that_a_retry_would_not_change_is_not_retried(result: CallResult) -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(Attempt(0.1, result)), WITHOUT_BREAKER)

        found, took = await harness.outcome()

        assert isinstance(found, GatewayError)
        assert (len(harness.ehr.attempts), harness.events.retries) == (1, 0)
        assert took == pytest.approx(0.1)

    run(scenario())


@pytest.mark.parametrize(("endpoint", "seconds"), [("timeslots", 20), ("resources", 5)])
def test_a_timeout_is_not_retried_and_timeslots_have_the_whole_time_of_a_call(endpoint: str, seconds: float) -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(Attempt(HANG), Attempt(1)), WITHOUT_BREAKER, endpoint=endpoint)

        found, took = await harness.outcome()

        assert isinstance(found, DeadlineExceeded)
        assert found.retryable
        assert took == pytest.approx(seconds)
        assert harness.ehr.attempts == [(0, seconds)]
        assert harness.events.attempts == [(CallResult.TIMED_OUT, seconds)]

    run(scenario())


def test_a_retry_that_begins_before_the_deadline_has_what_is_left_of_the_calls_time() -> None:
    async def scenario() -> None:
        script = [Attempt(9, CallResult.UNREACHABLE), Attempt(10)]
        harness = PolicyHarness(ScriptedEhr(*script), WITHOUT_BREAKER)

        found, took = await harness.outcome()

        assert (found, round(took, 3)) == ("success", 19.025)
        assert harness.ehr.attempts == [(0, 20), (pytest.approx(9.025), pytest.approx(10.975))]

    run(scenario())


def test_a_failure_after_the_deadline_is_not_retried() -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(Attempt(11, CallResult.UNREACHABLE)), WITHOUT_BREAKER)

        assert codes([await harness.outcome()]) == ["UPSTREAM_UNAVAILABLE"]
        assert len(harness.ehr.attempts) == 1

    run(scenario())


@pytest.mark.parametrize(
    "script",
    [
        [Attempt(1, CallResult.UNAVAILABLE), Attempt(HANG)],
        [Attempt(4, CallResult.UNAVAILABLE), Attempt(4, CallResult.UNAVAILABLE), Attempt(HANG)],
    ],
)
def test_an_upstreams_error_is_raised_rather_than_a_later_timeout(script: list[Attempt]) -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(*script), WITHOUT_BREAKER)

        found, took = await harness.outcome()

        assert isinstance(found, UpstreamUnavailable)
        assert found.reference == REFERENCE
        assert took == pytest.approx(20)

    run(scenario())


@pytest.mark.parametrize("result", [CallResult.RATE_LIMITED, CallResult.UNAVAILABLE])
@pytest.mark.parametrize(("retry_after", "attempts"), [(0, 3), (3, 3), (9.5, 2), (10, 1), (3_600, 1)])
def test_a_retry_waits_for_as_long_as_retry_after_says(result: CallResult, retry_after: float, attempts: int) -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(Attempt(0, result, retry_after)), WITHOUT_BREAKER)

        found, took = await harness.outcome()

        assert isinstance(found, UpstreamRateLimited | UpstreamUnavailable)
        # After an hour's wait the gateway would ask again in half a minute, so that is what it says.
        assert found.retry_after == min(retry_after, 30)
        assert len(harness.ehr.attempts) == attempts
        assert took >= retry_after * (attempts - 1)
        assert took <= 10

    run(scenario())


script = st.builds(
    Attempt,
    st.one_of(st.floats(0, 12), st.just(HANG)),
    st.sampled_from([*TEMPORARY, *NOT_RETRIED, CallResult.ANSWERED]),
    st.one_of(st.none(), st.floats(0, 20)),
)


@settings(deadline=None, max_examples=300)
@given(
    script=st.lists(script, min_size=1, max_size=4),
    randoms=st.randoms(use_true_random=False),
    others=st.integers(0, 5),
)
def test_no_call_takes_longer_than_calls_may_or_is_tried_again_after_its_deadline(
    script: list[Attempt], randoms: Random, others: int
) -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(*script), rng=randoms.random)

        outcomes = await harness.outcomes(1 + others)

        assert all(took <= 20 + 1e-6 for _, took in outcomes)
        assert all(began <= 10 for began, _ in harness.ehr.attempts)
        assert len(harness.ehr.attempts) <= 3 * len(outcomes)
        assert harness.is_idle()

    run(scenario())


def test_the_retry_budget_bounds_the_retries_of_all_calls_together() -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(Attempt(0, CallResult.UNAVAILABLE)), WITHOUT_BREAKER)
        for _ in range(60):
            await harness.outcomes(50)
            await asyncio.sleep(1)

        assert len(harness.ehr.attempts) <= 1.1 * 3_000 + 20

    run(scenario())


def test_a_cancelled_call_releases_its_permit_at_every_stage() -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(Attempt(HANG), Attempt(HANG), then=Attempt(1, CallResult.UNAVAILABLE)))
        inside, waiting_for_nothing = harness.start(2)
        await asyncio.sleep(1)
        inside.cancel()
        await asyncio.sleep(0)
        assert harness.policy.health.in_flight == 1
        waiting_for_nothing.cancel()
        # One that waits between two attempts.
        (between,) = harness.start(1)
        await asyncio.sleep(1.01)
        assert harness.is_idle()
        between.cancel()
        await asyncio.gather(inside, waiting_for_nothing, between, return_exceptions=True)

        assert harness.is_idle()
        assert [result for result, _ in harness.events.attempts] == [
            CallResult.ABANDONED,
            CallResult.ABANDONED,
            CallResult.UNAVAILABLE,
        ]

    run(scenario())


def test_an_unexpected_exception_counts_as_abandoned_and_not_against_the_ehr() -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(Attempt()))

        async def faulty(_: float) -> str:
            raise ZeroDivisionError

        for _ in range(50):
            with pytest.raises(ZeroDivisionError):
                await harness.policy.call("timeslots", faulty)

        assert harness.is_idle()
        assert harness.policy.health.breaker is BreakerState.CLOSED
        assert {result for result, _ in harness.events.attempts} == {CallResult.ABANDONED}

    run(scenario())


def test_each_ehr_has_a_policy_of_its_own() -> None:
    async def scenario() -> None:
        policies = UpstreamPolicies(PolicyConfig(), PolicyDependencies())
        sick, well = ScriptedEhr(Attempt(0, CallResult.UNREACHABLE)), ScriptedEhr(Attempt())
        for _ in range(5):
            with pytest.raises(UpstreamUnavailable):
                await policies.of("sick").call("timeslots", sick.attempt)
            assert await policies.of("well").call("timeslots", well.attempt) == "success"

        found = policies.health()

        assert {emr: each.breaker for emr, each in found.items()} == {
            "sick": BreakerState.OPEN,
            "well": BreakerState.CLOSED,
        }
        assert found["well"].retry_after is None
        assert (found["well"].limit, found["well"].in_flight, found["well"].waiting) == (64, 0, 0)
        assert 0 < (found["sick"].retry_after or 0) <= 5

    run(scenario())


@pytest.mark.parametrize("result", [*TEMPORARY, *NOT_RETRIED])
def test_a_raised_error_is_freed_without_the_garbage_collector(result: CallResult) -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(Attempt(0.1, result)), WITHOUT_BREAKER)
        try:
            await harness.call()
        except GatewayError as error:
            heard = weakref.ref(error)
        # Nor in a cycle, which the collector would have to find.
        assert heard() is None

    gc.disable()
    try:
        run(scenario())
    finally:
        gc.enable()


def test_virtual_time_passes_at_once() -> None:
    async def scenario() -> float:
        await asyncio.sleep(3_600)
        return clock()

    assert run(scenario()) == 3_600


def test_clients_are_told_when_the_gateway_itself_asks_again() -> None:
    async def scenario() -> None:
        script = [Attempt(0, CallResult.RATE_LIMITED, 3_600), Attempt(1, CallResult.RATE_LIMITED, 2)]
        harness = PolicyHarness(ScriptedEhr(*script, then=Attempt()), WITHOUT_BREAKER)

        (first, _), (second, _) = await harness.outcomes(2)

        assert isinstance(first, UpstreamRateLimited)
        assert isinstance(second, UpstreamRateLimited)
        # The second came a second later, and its two seconds end before the pause of the first.
        assert (first.retry_after, second.retry_after) == (30, 29)
        await asyncio.sleep(28.9)
        assert isinstance((await harness.outcome())[0], str)
        assert [began for began, _ in harness.ehr.attempts] == [0, 0, pytest.approx(30)]

    run(scenario())
