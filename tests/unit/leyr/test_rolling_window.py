"""A count of the last seconds, against the list of all that happened."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.leyr.circuit_breaker import RollingWindow

steps = st.lists(st.tuples(st.integers(0, 400), st.booleans()), max_size=60)


@given(steps=steps, seconds=st.sampled_from([10, 20, 40]), start=st.integers(0, 10**6))
def test_what_is_older_than_the_window_is_forgotten_a_tenth_at_a_time(
    steps: list[tuple[int, bool]], seconds: int, start: int
) -> None:
    rolling = RollingWindow(seconds)
    happened: list[int] = []
    # In tenths of the window's tenths, so that no rounding decides.
    time = start * 10
    for passed, happens in steps:
        time += passed
        now = time * seconds / 100
        if happens:
            happened.append(time)
            rolling.add(now)
        else:
            assert rolling.total(now) == sum(time // 10 - 10 < each // 10 for each in happened)


@given(times=st.lists(st.floats(0, 100), max_size=50), now=st.floats(0, 200))
def test_it_keeps_all_of_nine_tenths_and_nothing_beyond_the_window(times: list[float], now: float) -> None:
    rolling = RollingWindow(10)
    past = sorted(each for each in times if each <= now)
    for each in past:
        rolling.add(each)

    found = rolling.total(now)

    assert sum(now - each < 8.99 for each in past) <= found <= sum(now - each <= 10.01 for each in past)


def test_a_clock_that_goes_back_loses_nothing() -> None:
    rolling = RollingWindow(10)
    for now in (50.0, 43.0, 50.5):
        rolling.add(now)

    assert rolling.total(47.0) == 3


def test_what_is_cleared_never_happened() -> None:
    rolling = RollingWindow(10)
    rolling.add(1.0)
    rolling.clear()

    assert rolling.total(1.0) == 0
