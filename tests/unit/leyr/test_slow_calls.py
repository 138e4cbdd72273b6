"""Calls that are not answered in the usual time: an EHR that hangs is left alone, one that is slow is not."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.leyr.call_events import CallResult
from gateway.leyr.circuit_breaker import (
    BreakerState,
    CircuitBreaker,
    CircuitBreakerConfig,
    RollingWindow,
    SlowCalls,
    TimedCall,
)
from gateway.leyr.resilience import PolicyConfig
from tests.unit.leyr.scripted_ehr import HANG, Attempt, PolicyHarness, ScriptedEhr, codes
from tests.unit.leyr.virtual_time import clock, run

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
SLOW = Attempt(6)


def test_an_ehr_that_takes_six_seconds_answers_every_question_by_one_call() -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(SLOW))
        for count in range(1, 31):
            assert await harness.outcome() == ("success", 6)
            assert len(harness.ehr.attempts) == count

        assert harness.events.states == []

    run(scenario())


@pytest.mark.parametrize("at_once", [4, 20, 64])
def test_a_crowd_opens_the_breaker_of_an_unknown_slow_ehr_until_its_first_answer_only(at_once: int) -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(SLOW))
        for _ in range(10):
            assert await harness.outcomes(at_once) == [("success", 6)] * at_once
            assert harness.policy.health.breaker is CLOSED
            await asyncio.sleep(60)

        assert harness.events.states == ([] if at_once < 5 else [OPEN, CLOSED])
        assert len(harness.ehr.attempts) == 10 * at_once

    run(scenario())


def test_an_ehr_that_hangs_opens_the_breaker_after_five_calls_that_are_slow() -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(Attempt(HANG)))
        calls = []
        for _ in range(30):
            calls += harness.start(1)
            await asyncio.sleep(1)

        # The fifth call began at 4 and is slow at 9; probes follow.
        assert [began for began, _ in harness.ehr.attempts][:10] == [*range(9), 14]
        assert harness.events.states[:2] == [OPEN, HALF_OPEN]
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert harness.is_idle()

    run(scenario())


def test_an_ehr_that_hangs_never_has_more_calls_than_permits() -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(Attempt(HANG)))
        outcomes = await harness.outcomes(500)

        assert harness.ehr.max_in_flight == len(harness.ehr.attempts) == 64
        assert harness.events.states[0] is OPEN
        # Those that waited hear it with the first that were slow.
        assert sorted(round(took) for _, took in outcomes) == [5] * 436 + [20] * 64

    run(scenario())


def test_a_slow_ehr_that_begins_to_hang_is_left_alone_and_found_again() -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(SLOW))
        await harness.outcomes(10)
        harness.ehr.continue_with(Attempt(HANG))
        hanging = harness.start(10)
        await asyncio.sleep(8.9)
        assert harness.policy.health.breaker is CLOSED
        await asyncio.sleep(0.2)
        assert harness.policy.health.breaker is OPEN
        await asyncio.gather(*hanging)

        harness.ehr.continue_with(SLOW)
        await asyncio.sleep(5)
        assert codes(await harness.outcomes(1)) == ["success"]
        assert harness.policy.health.breaker is CLOSED
        assert codes(await harness.outcomes(20)) == ["success"] * 20

    run(scenario())


def test_a_slow_call_that_fails_in_the_end_counts_once() -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(Attempt(6, CallResult.FAILED)))
        await harness.outcomes(4)
        assert harness.events.states == []
        await harness.outcomes(1)
        assert harness.events.states == [OPEN]

    run(scenario())


def test_lists_time_out_after_the_attempts_time_and_tell_nothing_of_how_long_timeslots_take() -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(Attempt(HANG)), PolicyConfig(attempt_seconds=3), endpoint="resources")
        outcomes = await harness.outcomes(5)

        assert {round(took, 3) for _, took in outcomes} == {3}
        assert harness.events.states == [OPEN]

    run(scenario())


def test_a_list_that_takes_longer_than_an_attempt_comes_to_those_who_ask_again() -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(Attempt(12)), endpoint="resources")
        assert [round((await harness.outcome())[1], 3) for _ in range(3)] == [5, 10, 12]
        # It is known for it, so that the next one comes at once.
        assert await harness.outcome() == ("success", 12)

        harness.ehr.continue_with(Attempt(1))
        await harness.outcome()
        harness.ehr.continue_with(Attempt(HANG))
        took = [await harness.outcome() for _ in range(4)]

        assert [round(seconds, 3) for _, seconds in took] == [5, 10, 20, 20]
        assert harness.events.states == []

    run(scenario())


def test_lists_that_time_out_together_give_the_next_one_twice_their_time() -> None:
    async def scenario() -> None:
        harness = PolicyHarness(ScriptedEhr(Attempt(HANG)), endpoint="resources")
        await harness.outcomes(4)
        [(_, took)] = await harness.outcomes(1)

        assert round(took, 3) == 10

    run(scenario())


def slow_calls(breaker: CircuitBreaker) -> SlowCalls:
    return SlowCalls(breaker, 5.0, clock)


@given(answers=st.lists(st.floats(0.01, 20), min_size=1, max_size=60))
def test_a_call_is_never_slow_before_the_least_time_or_before_the_last_answer_took(answers: list[float]) -> None:
    calls = slow_calls(CircuitBreaker(CircuitBreakerConfig()))
    for took in answers:
        calls.answered(TimedCall(0, 100.0), 100.0 + took)
        assert calls.seconds >= max(5, 1.5 * took - 1e-6)
    assert calls.seconds <= max(5, 1.5 * max(answers)) + 1e-6
    for _ in range(60):
        calls.answered(TimedCall(0, 100.0), 100.1)
    assert calls.seconds == 5


def test_a_timeout_forgets_how_long_answers_took() -> None:
    calls = slow_calls(CircuitBreaker(CircuitBreakerConfig()))
    calls.answered(TimedCall(0, 0.0), 15.0)
    assert calls.seconds == 22.5
    calls.ended(TimedCall(0, 0.0), timed_out=False)
    assert calls.seconds == 22.5

    calls.ended(TimedCall(0, 0.0), timed_out=True)

    assert calls.seconds == 5


def opened_by_slow_calls() -> tuple[CircuitBreaker, list[int]]:
    breaker = CircuitBreaker(CircuitBreakerConfig())
    calls = [breaker.begin() for _ in range(6)]
    for call in calls[:5]:
        breaker.record_slow(call, 5)
    assert breaker.state is OPEN
    return breaker, calls


def test_the_answer_of_a_slow_call_closes_a_breaker_that_slow_calls_opened() -> None:
    breaker, calls = opened_by_slow_calls()
    breaker.record_success(calls[5], 5.5)
    assert breaker.state is OPEN, "it was not slow, so it tells nothing about now"

    breaker.record_success(calls[0], 6, 5)

    assert breaker.state is CLOSED
    breaker.record_success(calls[1], 6, 5)
    assert breaker.state is CLOSED


def test_a_probe_that_is_slow_opens_the_breaker_again_and_its_answer_closes_it() -> None:
    breaker = CircuitBreaker(CircuitBreakerConfig())
    for _ in range(5):
        breaker.record_failure(breaker.begin(), 0, unreachable=True)
    probe = breaker.begin()
    breaker.record_slow(probe, 10)
    assert breaker.wait_seconds(10) == 10

    breaker.record_success(probe, 11, 10)

    assert (breaker.state, breaker.wait_seconds(11)) == (CLOSED, 0)


def test_the_answer_of_a_slow_call_closes_no_breaker_that_failures_opened_since() -> None:
    breaker, calls = opened_by_slow_calls()
    breaker.record_failure(breaker.begin(), 10, unreachable=True)

    breaker.record_success(calls[0], 11, 5)

    assert breaker.state is OPEN


def test_answered_slow_calls_do_not_count_as_failures() -> None:
    breaker = CircuitBreaker(CircuitBreakerConfig())
    for second in range(0, 300, 3):
        call = breaker.begin()
        breaker.record_slow(call, second + 5)
        breaker.record_success(call, second + 6, second + 5)
    for _ in range(4):
        breaker.record_failure(breaker.begin(), 306, unreachable=False)

    assert breaker.state is CLOSED


@given(times=st.lists(st.integers(0, 400), max_size=40), data=st.data())
def test_a_rolling_window_forgets_removed_events_and_no_other(times: list[int], data: st.DataObject) -> None:
    removed, kept = RollingWindow(10), RollingWindow(10)
    times.sort()
    gone = [data.draw(st.booleans()) for _ in times]
    for time, is_gone in zip(times, gone, strict=True):
        removed.add(time / 10)
        if not is_gone:
            kept.add(time / 10)
    now = (times[-1] if times else 0) / 10 + data.draw(st.floats(0, 12))
    for time, is_gone in zip(times, gone, strict=True):
        if is_gone:
            removed.remove(time / 10, now)

    assert removed.total(now) == kept.total(now)
