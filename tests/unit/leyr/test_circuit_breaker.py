"""CircuitBreaker: when it opens, half-opens and closes; RollingWindow: which events it counts."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from gateway.leyr.circuit_breaker import BreakerState, CircuitBreaker, CircuitBreakerConfig, RollingWindow

CONFIG = CircuitBreakerConfig()
CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


def succeed(breaker: CircuitBreaker, now: float, times: int = 1) -> None:
    for _ in range(times):
        breaker.record_success(breaker.begin(), now)


def fail(breaker: CircuitBreaker, now: float, times: int = 1, *, unreachable: bool = False) -> None:
    """Let calls fail, one after another, as long as there may be any."""
    for _ in range(times):
        if not breaker.wait_seconds(now):
            breaker.record_failure(breaker.begin(), now, unreachable=unreachable)


def opened(now: float = 0.0) -> CircuitBreaker:
    breaker = CircuitBreaker(CONFIG)
    fail(breaker, now, 5)
    assert breaker.state is OPEN
    return breaker


def test_the_breaker_opens_when_half_of_ten_calls_failed() -> None:
    breaker = CircuitBreaker(CONFIG)
    succeed(breaker, 0, 5)

    fail(breaker, 1, 4)
    assert breaker.state is CLOSED
    fail(breaker, 1)

    assert breaker.state is OPEN
    assert breaker.wait_seconds(1) == 5


def test_the_breaker_stays_closed_while_fewer_than_half_of_the_calls_fail() -> None:
    breaker = CircuitBreaker(CONFIG)
    for second in range(100):
        succeed(breaker, second, 6)
        fail(breaker, second, 5)

    assert breaker.state is CLOSED


def test_many_failures_at_once_among_more_successes_do_not_open_the_breaker() -> None:
    breaker = CircuitBreaker(CONFIG)
    succeed(breaker, 0, 1_000)
    fail(breaker, 1, 900)

    assert breaker.state is CLOSED


def test_five_consecutive_unreachable_calls_open_the_breaker_whatever_succeeded_before() -> None:
    breaker = CircuitBreaker(CONFIG)
    succeed(breaker, 0, 1_000)
    fail(breaker, 1, 4, unreachable=True)
    fail(breaker, 1)
    fail(breaker, 1, 4, unreachable=True)
    assert breaker.state is CLOSED

    fail(breaker, 1, unreachable=True)

    assert breaker.state is OPEN


@given(gap=st.floats(31, 10_000))
def test_five_consecutive_failures_open_the_breaker_of_an_ehr_that_is_seldom_called(gap: float) -> None:
    breaker = CircuitBreaker(CONFIG)
    succeed(breaker, 0, 3)

    for number in range(1, 6):
        assert breaker.state is CLOSED
        fail(breaker, gap * number)

    assert breaker.state is OPEN


def test_calls_before_the_window_do_not_count() -> None:
    breaker = CircuitBreaker(CONFIG)
    succeed(breaker, 0, 5)
    fail(breaker, 0, 4)
    succeed(breaker, 33, 1)
    fail(breaker, 33, 4)

    assert breaker.state is CLOSED


def test_breaks_double_up_to_a_minute_and_begin_anew_after_a_success() -> None:
    breaker, now = opened(), 0.0
    breaks = []
    for _ in range(6):
        breaks.append(breaker.wait_seconds(now))
        assert breaker.wait_seconds(now + breaks[-1] - 0.001) > 0
        now += breaks[-1]
        fail(breaker, now)
    assert breaks == [5, 10, 20, 40, 60, 60]

    now += 60
    succeed(breaker, now)
    assert breaker.state is CLOSED
    fail(breaker, now, 5)
    assert breaker.state is CLOSED, "a success is remembered"
    succeed(breaker, now, 1)
    fail(breaker, now, 5)

    assert breaker.wait_seconds(now) == 5


def test_a_half_open_breaker_allows_one_probe_at_a_time() -> None:
    breaker = opened()
    assert breaker.wait_seconds(5) == 0
    probe = breaker.begin()

    assert breaker.state is HALF_OPEN
    assert breaker.wait_seconds(5) > 0
    assert breaker.wait_seconds(1_000) > 0
    breaker.record_success(probe, 6)
    assert breaker.wait_seconds(6) == 0


def test_after_an_abandoned_probe_the_next_call_may_be_one() -> None:
    breaker = opened()
    breaker.record_abandoned(breaker.begin())

    assert breaker.state is HALF_OPEN
    assert breaker.wait_seconds(5) == 0
    succeed(breaker, 5)
    assert breaker.state is CLOSED


@pytest.mark.parametrize("ends", ["succeeded", "failed", "abandoned"])
def test_results_of_an_earlier_generation_are_ignored(ends: str) -> None:
    breaker = CircuitBreaker(CONFIG)
    late = [breaker.begin() for _ in range(3)]
    fail(breaker, 0, 5)

    def end(generation: int, now: float) -> None:
        if ends == "succeeded":
            breaker.record_success(generation, now)
        elif ends == "failed":
            breaker.record_failure(generation, now, unreachable=True)
        else:
            breaker.record_abandoned(generation)

    end(late[0], 1)
    assert (breaker.state, breaker.wait_seconds(1)) == (OPEN, 4)
    probe = breaker.begin()
    end(late[1], 5)
    assert breaker.state is HALF_OPEN
    assert breaker.wait_seconds(5) > 0, "the probe still runs"
    breaker.record_success(probe, 6)
    for _ in range(10):
        end(late[2], 6)
    assert breaker.state is CLOSED


def test_on_change_gets_each_new_state_once() -> None:
    states: list[BreakerState] = []
    breaker = CircuitBreaker(CONFIG, on_change=states.append)
    fail(breaker, 0, 20)
    fail(breaker, 5)
    succeed(breaker, 15)
    succeed(breaker, 15)

    assert states == [OPEN, HALF_OPEN, OPEN, HALF_OPEN, CLOSED]


@dataclass(eq=False)
class ModelCall:
    """A call: its generation for the breaker and for the model, and when it was told to be slow, if it was."""

    given: int
    generation: int
    slow_since: float | None = None


class Calls(RuleBasedStateMachine):
    """Calls that begin and end in any order, against a plain model of the breaker."""

    calls: Bundle[Any] = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.breaker = CircuitBreaker(CircuitBreakerConfig(window_seconds=30, min_calls=4, consecutive_failures=3))
        self.now = 0.0
        self.generation = 0
        self.state = CLOSED
        self.history: list[tuple[float, str]] = []
        self.probes = 0
        self.retry_at = 0.0
        self.pause = 5.0
        self.slow_since: int | None = None

    @rule(seconds=st.integers(0, 70))
    def pass_time(self, seconds: int) -> None:
        # In whole widths of the window's tenths, so that the model needs none.
        self.now += seconds * 3

    @precondition(lambda self: self.breaker.wait_seconds(self.now) == 0)
    @rule(target=calls)
    def begin(self) -> ModelCall:
        if self.state is OPEN:
            assert self.now >= self.retry_at
            self.become(HALF_OPEN)
        if self.state is HALF_OPEN:
            self.probes += 1
        return ModelCall(self.breaker.begin(), self.generation)

    @rule(call=consumes(calls))
    def succeeded(self, call: ModelCall) -> None:
        self.breaker.record_success(call.given, self.now, call.slow_since)
        shows_it_works = (
            call.slow_since is not None and self.slow_since is not None and call.generation >= self.slow_since
        )
        if call.generation != self.generation and not shows_it_works:
            return
        if self.state is not CLOSED:
            self.pause = 5.0
            self.become(CLOSED)
        elif call.slow_since is not None:
            self.history.remove((call.slow_since, "failed"))
        self.history.append((self.now, "succeeded"))

    @rule(call=calls)
    def slow(self, call: ModelCall) -> None:
        if call.slow_since is None:
            call.slow_since = self.now
            self.breaker.record_slow(call.given, self.now)
            if call.generation == self.generation:
                since = call.generation if self.slow_since is None else self.slow_since
                self.count_failure("failed")
                self.slow_since = since if self.state is OPEN else None

    @rule(call=consumes(calls), unreachable=st.booleans())
    def failed(self, call: ModelCall, unreachable: bool) -> None:
        if call.slow_since is None:
            self.breaker.record_failure(call.given, self.now, unreachable=unreachable)
            if call.generation == self.generation:
                self.count_failure("unreachable" if unreachable else "failed")

    @rule(call=consumes(calls))
    def abandoned(self, call: ModelCall) -> None:
        self.breaker.record_abandoned(call.given)
        if call.generation == self.generation:
            self.probes = 0

    def count_failure(self, kind: str) -> None:
        self.history.append((self.now, kind))
        if self.state is HALF_OPEN:
            self.pause = min(self.pause * 2, 60)
            self.open()
        elif self.is_enough():
            self.open()

    def is_enough(self) -> bool:
        recent = [kind for at, kind in self.history if self.now - at < 30]
        kinds = [kind for _, kind in self.history]
        bad = sum(kind != "succeeded" for kind in recent)
        return (
            kinds[-3:] == ["unreachable"] * 3
            or (len(kinds) >= 3 and "succeeded" not in [*kinds[-3:], *recent])
            or (len(recent) >= 4 and bad * 2 >= len(recent))
        )

    def open(self) -> None:
        self.retry_at = self.now + self.pause
        self.slow_since = None
        self.become(OPEN)

    def become(self, state: BreakerState) -> None:
        self.state, self.generation, self.probes = state, self.generation + 1, 0
        if state is not OPEN:
            self.history = []
        if state is CLOSED:
            self.slow_since = None

    @invariant()
    def agrees_with_the_model(self) -> None:
        assert self.breaker.state is self.state
        assert self.probes <= 1
        wait = self.breaker.wait_seconds(self.now)
        match self.state:
            case BreakerState.CLOSED:
                assert wait == 0
            case BreakerState.OPEN:
                assert wait == max(0, self.retry_at - self.now)
            case BreakerState.HALF_OPEN:
                assert (wait > 0) == (self.probes == 1)


TestCalls = Calls.TestCase
TestCalls.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


window_steps = st.lists(st.tuples(st.integers(0, 400), st.booleans()), max_size=60)


@given(steps=window_steps, seconds=st.sampled_from([10, 20, 40]), start=st.integers(0, 10**6))
def test_a_rolling_window_window_expires_a_tenth_at_a_time(
    steps: list[tuple[int, bool]], seconds: int, start: int
) -> None:
    window = RollingWindow(seconds)
    happened: list[int] = []
    # In tenths of the window's tenths, so that no rounding decides.
    time = start * 10
    for passed, happens in steps:
        time += passed
        now = time * seconds / 100
        if happens:
            happened.append(time)
            window.add(now)
        else:
            assert window.total(now) == sum(time // 10 - 10 < each // 10 for each in happened)


@given(times=st.lists(st.floats(0, 100), max_size=50), now=st.floats(0, 200))
def test_a_rolling_window_window_keeps_all_of_nine_tenths_and_nothing_older(times: list[float], now: float) -> None:
    window = RollingWindow(10)
    past = sorted(each for each in times if each <= now)
    for each in past:
        window.add(each)

    found = window.total(now)

    assert sum(now - each < 8.99 for each in past) <= found <= sum(now - each <= 10.01 for each in past)


def test_a_rolling_window_window_loses_nothing_when_the_clock_goes_back() -> None:
    window = RollingWindow(10)
    for now in (50.0, 43.0, 50.5):
        window.add(now)

    assert window.total(47.0) == 3


def test_a_cleared_rolling_window_window_counts_nothing() -> None:
    window = RollingWindow(10)
    window.add(1.0)
    window.clear()

    assert window.total(1.0) == 0
