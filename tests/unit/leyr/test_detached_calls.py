"""Calls that go on although nobody waits for them: how many, whose, and what they give way to."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.errors import Overloaded
from gateway.leyr.call_events import CallResult
from gateway.leyr.concurrency_limit import ConcurrencyConfig
from gateway.leyr.resilience import PolicyConfig
from tests.unit.leyr.scripted_ehr import HANG, Attempt, PolicyHarness, ScriptedEhr, codes
from tests.unit.leyr.virtual_time import clock, run

OK = CallResult.ANSWERED


def harness_of(limit: int, *script: Attempt) -> PolicyHarness:
    return PolicyHarness(ScriptedEhr(*script), PolicyConfig(concurrency=ConcurrencyConfig(max_concurrency=limit)))


async def detach(harness: PolicyHarness, *calls: "asyncio.Task[object]") -> int:
    """End the requests of calls, as shared calls do when the last request's time is over; how many go on."""
    await asyncio.sleep(0)
    kept = 0
    for call in calls:
        if harness.policy.detached.detach(call):
            kept += 1
        else:
            call.cancel()
    for _ in range(4):
        await asyncio.sleep(0)
    return kept


@pytest.mark.parametrize(("limit", "kept"), [(1, 1), (3, 1), (8, 2), (64, 16)])
def test_a_quarter_of_the_permits_may_be_held_by_detached_calls_and_at_least_one(limit: int, kept: int) -> None:
    async def scenario() -> None:
        harness = harness_of(limit, Attempt(6))
        calls = harness.start(limit)

        assert await detach(harness, *calls) == kept
        assert harness.policy.health.in_flight == kept
        await asyncio.gather(*calls, return_exceptions=True)

        assert Counter(result for result, _ in harness.events.attempts) == Counter(
            {CallResult.ABANDONED: limit - kept, OK: kept} if limit > kept else {OK: kept}
        )
        assert len(harness.policy.detached) == 0
        assert harness.is_idle()

    run(scenario())


def test_a_call_that_was_not_sent_does_not_go_on() -> None:
    async def scenario() -> None:
        harness = harness_of(1, Attempt(1))
        running, waiting = harness.start(2)

        assert await detach(harness, running, waiting) == 1, "the one that waits is no reason to end the other"
        await asyncio.gather(running, waiting, return_exceptions=True)
        assert len(harness.ehr.attempts) == 1
        assert await running == ("success", 1)

    run(scenario())


def test_a_call_that_waits_for_a_permit_gets_that_of_the_oldest_detached_call() -> None:
    async def scenario() -> None:
        harness = harness_of(8, Attempt(HANG))
        calls = harness.start(8)
        assert await detach(harness, calls[3], calls[1]) == 2
        harness.ehr.continue_with(Attempt(1))

        assert await harness.outcome() == ("success", 1)

        assert calls[3].cancelled()
        assert not calls[1].done()
        assert await harness.outcome() == ("success", 1)
        assert not calls[1].done(), "a permit was free already"

        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert harness.is_idle()

    run(scenario())


def test_calls_that_wait_already_get_the_permits_of_calls_that_are_detached_later() -> None:
    async def scenario() -> None:
        harness = harness_of(4, Attempt(HANG))
        calls = harness.start(4)
        await asyncio.sleep(1)
        harness.ehr.continue_with(Attempt(1))
        waiting = harness.start(2)
        await asyncio.sleep(1)

        await detach(harness, calls[0])
        await asyncio.sleep(0)

        assert calls[0].cancelled()
        assert codes(await asyncio.gather(*waiting)) == ["success"] * 2
        for call in calls[1:]:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    run(scenario())


def test_a_caller_with_fewer_detached_calls_takes_room_from_the_one_with_the_most() -> None:
    async def scenario() -> None:
        harness = harness_of(16, Attempt(HANG))
        harness.caller = "loud"
        loud = harness.start(6)
        assert await detach(harness, *loud) == 4
        harness.caller = "quiet"
        quiet = harness.start(3)

        # The third would have more than the other.
        assert await detach(harness, *quiet) == 2

        assert [call.done() for call in loud[:4]] == [True, True, False, False]
        assert len(harness.policy.detached) == 4
        for call in [*loud, *quiet]:
            call.cancel()
        await asyncio.gather(*loud, *quiet, return_exceptions=True)

    run(scenario())


def test_a_lower_limit_ends_the_detached_calls_beyond_its_quarter() -> None:
    async def scenario() -> None:
        harness = harness_of(16, *[Attempt(HANG)] * 4, Attempt(1, CallResult.RATE_LIMITED))
        calls = harness.start(4)
        assert await detach(harness, *calls) == 4

        await harness.outcome()
        await asyncio.sleep(0.1)

        assert harness.policy.health.limit == 8
        assert [call.done() for call in calls] == [True, True, False, False]
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    run(scenario())


def test_a_detached_call_that_fails_is_not_tried_again_and_an_attached_one_is() -> None:
    async def scenario() -> None:
        harness = harness_of(16, Attempt(1, CallResult.UNREACHABLE))
        calls = harness.start(2)
        await detach(harness, *calls)
        harness.policy.detached.attach(calls[1])

        assert codes(await asyncio.gather(*calls)) == ["UPSTREAM_UNAVAILABLE"] * 2

        assert len(harness.ehr.attempts) == 1 + 3
        assert harness.is_idle()

    run(scenario())


def pages(harness: PolicyHarness, pause: asyncio.Event | None = None) -> "asyncio.Task[object]":
    """A call that takes two attempts, one after the other, as a list in pages does; `pause` ends what is between."""

    async def both() -> None:
        await harness.call()
        if pause is not None:
            await pause.wait()
        await harness.call()

    return asyncio.create_task(both())


def test_a_detached_call_stays_one_when_it_goes_on_to_its_next_page() -> None:
    async def scenario() -> None:
        harness = harness_of(4, Attempt(1), Attempt(HANG), Attempt(1))
        call = pages(harness)
        assert await detach(harness, call) == 1
        await asyncio.sleep(2)

        assert len(harness.policy.detached) == 1
        harness.start(3)
        await asyncio.sleep(0.1)
        assert not call.done()
        [late] = harness.start(1)
        await asyncio.sleep(0.1)

        # It gives way to the one that has to wait.
        assert call.cancelled()
        assert codes([await late]) == ["success"]

    run(scenario())


@pytest.mark.parametrize("is_detached", [True, False])
def test_a_detached_call_ends_before_its_next_page_where_there_is_no_room_for_it(is_detached: bool) -> None:
    async def scenario() -> None:
        harness = harness_of(4 if is_detached else 1, Attempt(1), Attempt(HANG))
        pause = asyncio.Event()
        call = pages(harness, pause)
        await detach(harness, call)
        await asyncio.sleep(2)
        others = harness.start(1)
        if is_detached:
            assert await detach(harness, *others) == 1
        await asyncio.sleep(1)

        pause.set()
        await asyncio.wait([call])

        assert call.cancelled() or isinstance(call.exception(), Overloaded)
        assert not others[0].done()
        assert harness.policy.health.waiting == 0

    run(scenario())


def test_a_stop_ends_a_detached_call_between_its_pages() -> None:
    async def scenario() -> None:
        harness = harness_of(4, Attempt(1))
        call = pages(harness, asyncio.Event())
        await detach(harness, call)
        await asyncio.sleep(2)

        assert harness.policy.detached.cancel_all() == [call]
        await asyncio.gather(call, return_exceptions=True)
        assert call.cancelled()
        assert len(harness.ehr.attempts) == 1

    run(scenario())


def test_a_detached_call_that_somebody_waits_for_again_may_wait_for_its_next_page() -> None:
    async def scenario() -> None:
        harness = harness_of(1, Attempt(1), Attempt(2), Attempt(1))
        call = pages(harness)
        await detach(harness, call)
        harness.policy.detached.attach(call)
        await asyncio.sleep(0.5)
        [other] = harness.start(1)

        await call
        assert codes([await other]) == ["success"]
        assert len(harness.ehr.attempts) == 3

    run(scenario())


steps = st.lists(
    st.tuples(st.sampled_from(["start", "detach", "attach", "pass", "leave"]), st.integers(0, 99), st.floats(0, 6)),
    max_size=60,
)


@settings(max_examples=150)
@given(steps=steps, limit=st.integers(1, 12))
def test_detached_calls_never_hold_more_than_a_quarter_or_keep_others_waiting(
    steps: list[tuple[str, int, float]], limit: int
) -> None:
    async def scenario() -> None:
        harness = harness_of(limit, Attempt(2), Attempt(HANG), Attempt(0.1), Attempt(7), Attempt(HANG))
        calls: list[asyncio.Task[object]] = []
        for action, number, seconds in steps:
            harness.caller = str(number % 3)
            some = calls[number % len(calls)] if calls else None
            if action == "start":
                calls += harness.start(1 + number % 3)
                calls.append(pages(harness))
            elif action == "pass":
                await asyncio.sleep(seconds)
            elif some is not None and action == "attach":
                harness.policy.detached.attach(some)
            elif some is not None and action == "leave":
                some.cancel()
            elif some is not None and some not in harness.policy.detached and not some.cancelling():
                await detach(harness, some)
            for _ in range(5):
                await asyncio.sleep(0)
            assert len(harness.policy.detached) <= max(1, limit // 4)
            assert harness.policy.health.in_flight <= limit
            assert not (harness.policy.health.waiting and len(harness.policy.detached))
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert harness.is_idle()
        assert len(harness.policy.detached) == 0
        assert clock() >= 0

    run(scenario())
