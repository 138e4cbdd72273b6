"""One call: its time, its attempts, and what it says in the end."""

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
from gateway.leyr.resilience import PolicyConfig, UpstreamPolicies
from tests.unit.leyr.scripted_ehr import HANG, REFERENCE, Act, Scene, ScriptedEhr, kinds
from tests.unit.leyr.virtual_time import clock, run

# No test of a single call is about the breaker.
PATIENT = CircuitBreakerConfig(least_calls=10**9, in_a_row=10**9)
ALONE = PolicyConfig(breaker=PATIENT)
FOR_A_MOMENT = [CallResult.UNREACHABLE, CallResult.UNAVAILABLE]
FOR_GOOD = [
    CallResult.REFUSED,
    CallResult.FAILED,
    CallResult.INVALID_ANSWER,
    CallResult.NO_CONNECTION,
    CallResult.RATE_LIMITED,
]


@pytest.mark.parametrize("outcome", FOR_A_MOMENT)
def test_what_fails_for_a_moment_is_tried_again(outcome: CallResult) -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(Act(0.1, outcome), Act(0.1, outcome), Act(0.1)), ALONE)

        found, _ = await stage.ending()

        assert found == "answer"
        # Half of what the waits may be at most.
        assert [round(began, 4) for began, _ in stage.ehr.attempts] == [0, 0.125, 0.275]
        assert stage.events.attempts == [(outcome, 0.1), (outcome, 0.1), (CallResult.ANSWERED, 0.1)]
        assert stage.events.retries == 2

    run(scene())


@pytest.mark.parametrize("outcome", FOR_A_MOMENT)
def test_three_attempts_are_all(outcome: CallResult) -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(Act(0.1, outcome)), ALONE)

        assert kinds([await stage.ending()]) == ["UPSTREAM_UNAVAILABLE"]
        assert len(stage.ehr.attempts) == 3

    run(scene())


@pytest.mark.parametrize("outcome", FOR_GOOD)
def test_what_another_attempt_would_not_change_is_told_at_once(outcome: CallResult) -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(Act(0.1, outcome)), ALONE)

        found, took = await stage.ending()

        assert isinstance(found, GatewayError)
        assert (len(stage.ehr.attempts), stage.events.retries) == (1, 0)
        assert took == pytest.approx(0.1)

    run(scene())


def test_an_upstream_that_hangs_is_asked_twice_within_the_deadline() -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(Act(HANG)), ALONE)

        found, took = await stage.ending()

        assert isinstance(found, DeadlineExceeded)
        assert found.retryable
        assert took == pytest.approx(10)
        assert stage.ehr.attempts == [(0, 5), (pytest.approx(5.025), pytest.approx(4.975))]

    run(scene())


def test_one_hanging_call_is_saved() -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(Act(HANG), Act(1)), ALONE)

        assert (await stage.ending())[0] == "answer"

    run(scene())


@pytest.mark.parametrize(
    ("acts", "attempt_seconds", "attempts"), [([Act(HANG)], 8, 1), ([Act(4, CallResult.UNAVAILABLE), Act(HANG)], 5, 2)]
)
def test_a_slow_upstream_is_not_asked_again_where_it_could_not_answer_in_time(
    acts: list[Act], attempt_seconds: float, attempts: int
) -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(*acts), PolicyConfig(attempt_seconds=attempt_seconds, breaker=PATIENT))

        await stage.ending()

        assert len(stage.ehr.attempts) == attempts

    run(scene())


@pytest.mark.parametrize(
    "acts",
    [
        [Act(1, CallResult.UNAVAILABLE), Act(HANG)],
        [Act(HANG), Act(1, CallResult.UNAVAILABLE), Act(HANG)],
        [Act(4, CallResult.UNAVAILABLE), Act(4, CallResult.UNAVAILABLE), Act(HANG)],
    ],
)
def test_what_an_upstream_said_goes_before_our_running_out_of_time(acts: list[Act]) -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(*acts), ALONE)

        found, took = await stage.ending()

        assert isinstance(found, UpstreamUnavailable)
        assert found.reference == REFERENCE
        assert took <= 10

    run(scene())


@pytest.mark.parametrize("outcome", [CallResult.RATE_LIMITED, CallResult.UNAVAILABLE])
@pytest.mark.parametrize(("retry_after", "attempts"), [(0, 3), (3, 3), (9.5, 2), (10, 1), (3_600, 1)])
def test_how_long_to_wait_is_for_the_upstream_to_say(outcome: CallResult, retry_after: float, attempts: int) -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(Act(0, outcome, retry_after)), ALONE)

        found, took = await stage.ending()

        assert isinstance(found, UpstreamRateLimited | UpstreamUnavailable)
        assert found.retry_after == retry_after
        assert len(stage.ehr.attempts) == attempts
        assert took >= retry_after * (attempts - 1)
        assert took <= 10

    run(scene())


acts = st.builds(
    Act,
    st.one_of(st.floats(0, 12), st.just(HANG)),
    st.sampled_from([*FOR_A_MOMENT, *FOR_GOOD, CallResult.ANSWERED]),
    st.one_of(st.none(), st.floats(0, 20)),
)


@settings(deadline=None, max_examples=300)
@given(acts=st.lists(acts, min_size=1, max_size=4), randoms=st.randoms(use_true_random=False), others=st.integers(0, 5))
def test_no_call_takes_longer_than_its_deadline(acts: list[Act], randoms: Random, others: int) -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(*acts), chance=randoms.random)

        endings = await stage.endings(1 + others)

        assert all(took <= 10 + 1e-6 for _, took in endings)
        assert len(stage.ehr.attempts) <= 3 * len(endings)
        assert stage.is_calm()

    run(scene())


def test_retries_of_all_calls_together_are_few() -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(Act(0, CallResult.UNAVAILABLE)), ALONE)
        for _ in range(60):
            await stage.endings(50)
            await asyncio.sleep(1)

        assert len(stage.ehr.attempts) <= 1.1 * 3_000 + 20

    run(scene())


def test_a_cancelled_call_leaves_nothing_behind() -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(Act(HANG), Act(HANG), then=Act(1, CallResult.UNAVAILABLE)))
        inside, waiting_for_nothing = stage.calls(2)
        await asyncio.sleep(1)
        inside.cancel()
        await asyncio.sleep(0)
        assert stage.policy.condition.in_flight == 1
        waiting_for_nothing.cancel()
        # One that waits between two attempts.
        (between,) = stage.calls(1)
        await asyncio.sleep(1.01)
        assert stage.is_calm()
        between.cancel()
        await asyncio.gather(inside, waiting_for_nothing, between, return_exceptions=True)

        assert stage.is_calm()
        assert [outcome for outcome, _ in stage.events.attempts] == [
            CallResult.ABANDONED,
            CallResult.ABANDONED,
            CallResult.UNAVAILABLE,
        ]

    run(scene())


def test_a_fault_of_ours_counts_against_nobody() -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(Act()))

        async def faulty(_: float) -> str:
            raise ZeroDivisionError

        for _ in range(50):
            with pytest.raises(ZeroDivisionError):
                await stage.policy.call("timeslots", faulty)

        assert stage.is_calm()
        assert stage.policy.condition.breaker is BreakerState.CLOSED
        assert {outcome for outcome, _ in stage.events.attempts} == {CallResult.ABANDONED}

    run(scene())


def test_each_ehr_has_a_guard_of_its_own() -> None:
    async def scene() -> None:
        policies = UpstreamPolicies()
        sick, well = ScriptedEhr(Act(0, CallResult.UNREACHABLE)), ScriptedEhr(Act())
        for _ in range(5):
            with pytest.raises(UpstreamUnavailable):
                await policies.of("sick").call("timeslots", sick.attempt)
            assert await policies.of("well").call("timeslots", well.attempt) == "answer"

        found = policies.snapshot()

        assert {emr: each.breaker for emr, each in found.items()} == {
            "sick": BreakerState.OPEN,
            "well": BreakerState.CLOSED,
        }
        assert found["well"].retry_after is None
        assert (found["well"].limit, found["well"].in_flight, found["well"].waiting) == (64, 0, 0)
        assert 0 < (found["sick"].retry_after or 0) <= 5

    run(scene())


@pytest.mark.parametrize("outcome", [*FOR_A_MOMENT, *FOR_GOOD])
def test_an_error_goes_with_whoever_heard_of_it(outcome: CallResult) -> None:
    async def scene() -> None:
        stage = Scene(ScriptedEhr(Act(0.1, outcome)), ALONE)
        try:
            await stage.call()
        except GatewayError as error:
            heard = weakref.ref(error)
        # Nor in a cycle, which the collector would have to find.
        assert heard() is None

    gc.disable()
    try:
        run(scene())
    finally:
        gc.enable()


def test_virtual_time_passes_at_once() -> None:
    async def scene() -> float:
        await asyncio.sleep(3_600)
        return clock()

    assert run(scene()) == 3_600
