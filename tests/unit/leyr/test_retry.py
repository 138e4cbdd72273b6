"""RetryBudget: retries stay a ratio of the calls, whichever calls want them and when."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.leyr.retry import RetryBudget, RetryBudgetConfig

# Seconds that pass, then so many calls, then so many retries that are wanted.
bursts = st.lists(st.tuples(st.floats(0, 12), st.integers(0, 300), st.integers(0, 60)), max_size=40)


def spend(budget: RetryBudget, bursts: list[tuple[float, int, int]]) -> list[tuple[float, int, int]]:
    """When, how many calls, and how many retries were granted."""
    now, spent = 0.0, []
    for passed, calls, wanted in bursts:
        now += passed
        for _ in range(calls):
            budget.deposit(now)
        spent.append((now, calls, sum(budget.withdraw(now) for _ in range(wanted))))
    return spent


@given(bursts=bursts)
def test_without_a_minimum_retries_never_exceed_a_tenth_of_the_calls(bursts: list[tuple[float, int, int]]) -> None:
    spent = spend(RetryBudget(RetryBudgetConfig(min_per_second=0)), bursts)

    for end in range(len(spent)):
        assert sum(s[2] for s in spent[: end + 1]) * 10 <= sum(s[1] for s in spent[: end + 1])


@given(bursts=bursts)
def test_within_the_window_the_greater_of_ratio_and_minimum_bounds_the_retries(
    bursts: list[tuple[float, int, int]],
) -> None:
    spent = spend(RetryBudget(RetryBudgetConfig()), bursts)

    for end, _, granted in spent:
        calls = sum(calls for now, calls, _ in spent if end - 10.01 <= now <= end)
        # What it remembers may be a second less than the ten.
        retries = sum(retries for now, _, retries in spent if end - 8.99 < now <= end)
        assert not granted or retries <= max(calls * 0.1, 20)


@given(calls=st.integers(0, 190))
def test_the_minimum_of_retries_is_there_however_few_calls_there_are(calls: int) -> None:
    budget = RetryBudget(RetryBudgetConfig())

    assert spend(budget, [(0, calls, 50)])[0][2] == 20
    assert spend(budget, [(0, 0, 50)])[0][2] == 0


@given(rate=st.integers(20, 60))
def test_a_minute_of_failures_costs_a_tenth_more_calls(rate: int) -> None:
    seconds = [(1.0, rate, 2 * rate)] * 60

    granted = sum(retries for _, _, retries in spend(RetryBudget(RetryBudgetConfig()), seconds))

    assert 0.05 < granted / (rate * 60) <= 0.1 + 20 / (rate * 60)


def test_withdrawn_retries_come_back_when_the_window_has_passed() -> None:
    budget = RetryBudget(RetryBudgetConfig())

    granted = [sum(budget.withdraw(now) for _ in range(50)) for now in (0.0, 5.0, 9.0, 10.0, 15.0, 20.0)]

    assert granted == [20, 0, 0, 20, 0, 20]
