"""No caller gets more requests than its rate, and none is affected by another."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.caller import Caller, Rate
from gateway.auth.rate_limit import BookingRates, Limit, RateLimits
from gateway.domain.errors import RateLimited
from gateway.domain.models import EVERYTHING
from tests.unit.auth.issuer import Time

rates = st.builds(Rate, st.floats(0.01, 1_000), st.integers(1, 5) | st.integers(1, 50))
pauses = st.lists(st.one_of(st.just(0.0), st.floats(0, 0.5), st.floats(0, 60)), min_size=1, max_size=150)
# A bucket is counted in floats.
ROUNDING = 1e-6


def caller(name: str = "a", rate: Rate | None = None) -> Caller:
    return Caller(name, EVERYTHING, rate or Rate(1, 1))


def is_granted(limits: RateLimits, who: Caller) -> bool:
    try:
        limits.take(who.name, who.rate)
    except RateLimited:
        return False
    return True


def granted(limits: RateLimits, time: Time, who: Caller, gaps: Sequence[float]) -> list[float]:
    """When requests were granted that come so many seconds after each other."""
    times = []
    for gap in gaps:
        time.seconds += gap
        if is_granted(limits, who):
            times.append(time.seconds)
    return times


@given(rates, pauses)
def test_an_interval_grants_at_most_the_burst_plus_the_refill(rate: Rate, gaps: list[float]) -> None:
    time = Time(1_000.0)

    times = granted(RateLimits(time), time, caller(rate=rate), gaps)

    for first, start in enumerate(times):
        for count, end in enumerate(times[first:], 1):
            assert count <= rate.burst + rate.per_second * (end - start + ROUNDING) + ROUNDING


@given(rates, st.floats(0, 1e9))
def test_a_pause_of_any_length_refills_at_most_the_burst(rate: Rate, pause: float) -> None:
    time = Time(1_000.0)
    limits, who = RateLimits(time), caller(rate=rate)
    limits.take(who.name, who.rate)

    assert len(granted(limits, time, who, [pause, *[0.0] * 60])) <= rate.burst


@given(rates, pauses)
def test_a_caller_within_its_rate_is_never_rejected(rate: Rate, gaps: list[float]) -> None:
    time = Time(1_000.0)
    slow = [max(gap, (1 + ROUNDING) / rate.per_second) for gap in gaps]

    assert len(granted(RateLimits(time), time, caller(rate=rate), slow)) == len(gaps)


@given(rates, pauses)
def test_a_request_after_retry_after_is_granted(rate: Rate, gaps: list[float]) -> None:
    time = Time(1_000.0)
    limits, who = RateLimits(time), caller(rate=rate)
    granted(limits, time, who, gaps)
    while True:
        try:
            limits.take(who.name, who.rate)
        except RateLimited as refusal:
            wait = refusal.retry_after
            break

    assert wait is not None
    assert wait == int(wait) >= 1
    time.seconds += wait
    assert is_granted(limits, who)


@given(rates)
def test_retry_after_is_not_longer_than_needed(rate: Rate) -> None:
    time = Time(1_000.0)
    limits, who = RateLimits(time), caller(rate=rate)
    while is_granted(limits, who):
        pass

    with pytest.raises(RateLimited) as refusal:
        limits.take(who.name, who.rate)

    assert refusal.value.retry_after is not None
    assert refusal.value.retry_after <= max(1, 1 / rate.per_second + 1 + ROUNDING)


@given(st.integers(1, 20), st.integers(1, 20))
def test_a_caller_at_ten_times_its_rate_does_not_affect_others(per_second: int, burst: int) -> None:
    time = Time(1_000.0)
    limits, rate = RateLimits(time), Rate(per_second, burst)
    loud, quiet = caller("loud", rate), caller("quiet", rate)
    outcomes = []
    for _ in range(20):
        time.seconds += (1 + ROUNDING) / per_second
        outcomes.append(([is_granted(limits, loud) for _ in range(10)], is_granted(limits, quiet)))

    assert all(quiet_granted for _, quiet_granted in outcomes)
    assert sum(sum(loud_granted) for loud_granted, _ in outcomes) <= burst + 20


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(0, 0.3)), max_size=100), st.integers(1, 4))
def test_a_dropped_bucket_starts_full_and_no_fuller(asked: list[tuple[str, float]], most: int) -> None:
    time = Time(1_000.0)
    limits, rate = RateLimits(time, most), Rate(2, 3)
    for name, gap in asked:
        time.seconds += gap
        is_granted(limits, caller(name, rate))
        assert len(limits) <= most + 1_024

    for name in "abcdefgh":
        assert sum(is_granted(limits, caller(name, rate)) for _ in range(10)) <= rate.burst


def test_a_flood_of_callers_fills_no_bucket_that_is_not_full() -> None:
    time = Time(1_000.0)
    limits = RateLimits(time, max_callers=3)
    assert is_granted(limits, caller("loud"))

    granted_others = 0
    for number in range(20_000):
        # It does not even send meanwhile.
        granted_others += is_granted(limits, caller(f"other {number}"))

    assert not is_granted(limits, caller("loud"))
    # Each has a token once, and those beyond the bound share a thousand buckets.
    assert 2 < granted_others <= 2 + 1_024
    assert len(limits) <= 3 + 1_024
    time.seconds += 1
    assert is_granted(limits, caller("new"))
    assert len(limits) <= 3 + 1_024


@given(st.lists(st.tuples(st.integers(1, 400), st.floats(0, 20)), max_size=60), st.integers(1, 600))
def test_no_minute_has_more_than_one_and_a_half_times_the_calls_but_for_one_operation(
    asked: list[tuple[int, float]], per_minute: int
) -> None:
    time = Time(1_000.0)
    limits, rate = RateLimits(time), Rate(1, 1, per_minute)
    made: list[tuple[float, int]] = []
    for calls, gap in asked:
        time.seconds += gap
        with suppress(RateLimited):
            limits.take_calls("a", rate, calls)
            made.append((time.seconds, calls))

    most = max(1, per_minute / 2)
    for first, (start, _) in enumerate(made):
        total = 0
        for end, calls in made[first:]:
            # What is more than half a minute's calls at once takes a full bucket.
            assert total + min(calls, most) <= most + per_minute * (end - start) / 60 + 1 + ROUNDING
            total += calls


@given(st.integers(1, 600), st.integers(1, 400), st.integers(1, 400))
def test_calls_after_retry_after_are_granted(per_minute: int, before: int, calls: int) -> None:
    time = Time(1_000.0)
    limits, rate = RateLimits(time), Rate(1, 1, per_minute)
    limits.take_calls("a", rate, before)
    try:
        limits.take_calls("a", rate, calls)
    except RateLimited as refusal:
        time.seconds += refusal.retry_after or 0
        limits.take_calls("a", rate, calls)


def test_calls_of_one_caller_are_not_those_of_another_or_requests() -> None:
    reached: Counter[Limit] = Counter()
    limits, rate = RateLimits(Time(1_000.0), reached=reached), Rate(1, 1, 10)
    limits.take_calls("a", rate, 5)

    with pytest.raises(RateLimited, match=r"10 upstream calls a minute; without `no-cache` fewer do; try again in 7 s"):
        limits.take_calls("a", rate, 1)
    limits.take_calls("b", rate, 5)
    limits.take("a", rate)
    with pytest.raises(RateLimited):
        limits.take("a", rate)

    assert reached == {Limit.UPSTREAM_CALLS: 1, Limit.RATE: 1}


def test_a_clock_step_back_takes_no_token() -> None:
    time = Time(1_000.0)
    limits, who = RateLimits(time), caller(rate=Rate(1, 2))
    assert is_granted(limits, who)

    time.seconds -= 100

    assert is_granted(limits, who)
    assert not is_granted(limits, who)


def test_the_message_of_a_rejection_names_rate_and_burst() -> None:
    limits = RateLimits(Time(1_000.0))
    limits.take("a", Rate(0.25, 1))

    with pytest.raises(RateLimited, match=r"0\.25 requests a second, and 1 at once after a pause; try again in 5 s"):
        limits.take("a", Rate(0.25, 1))


@pytest.mark.parametrize(("per_second", "burst"), [(0, 1), (-1, 1), (float("nan"), 1), (float("inf"), 1), (1, 0)])
def test_a_rate_without_requests_is_a_value_error(per_second: float, burst: int) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Rate(per_second, burst)


def test_a_booking_is_counted_once_for_its_key() -> None:
    rates = BookingRates(lambda: 0.0, per_patient=100)

    assert [rates.take("page", "key", 2, None) for _ in range(5)] == [0.0] * 5
    assert rates.take("page", "other key", 2, None) == 0.0
    assert rates.take("page", "third key", 2, None) == 31.0
    assert rates.take("page", "key", 2, None) == 0.0
    assert rates.take("other page", "key", 2, None) == 0.0


def test_bookings_of_a_patient_are_counted_over_callers() -> None:
    reached: Counter[Limit] = Counter()
    rates = BookingRates(lambda: 0.0, per_patient=1, reached=reached)

    assert rates.take("page", "key", 100, b"patient") == 0.0
    assert rates.take("other page", "key", 100, b"patient") == 3_601.0
    assert rates.take("other page", "key", 100, b"other patient") == 0.0
    assert reached == {Limit.BOOKINGS_OF_PATIENT: 1}


def test_the_keys_that_are_known_are_bounded() -> None:
    rates = BookingRates(lambda: 0.0, per_patient=100, max_keys=2)

    for number in range(100):
        rates.take("page", f"key {number}", 1_000, None)

    assert rates.known_keys == 2
