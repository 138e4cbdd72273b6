"""How many calls at a time an EHR gets. The limiter's queue is tested with test_resilience_load.py."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.leyr.concurrency_limit import ConcurrencyConfig, ConcurrencyLimiter

# Seconds that pass before each call ends, and for a rate-limited one how long it took and its Retry-After.
events = st.lists(
    st.tuples(
        st.floats(0, 3), st.one_of(st.none(), st.tuples(st.floats(0, 5), st.one_of(st.none(), st.floats(0, 4_000))))
    ),
    max_size=80,
)


def make_limiter(config: ConcurrencyConfig) -> ConcurrencyLimiter:
    return ConcurrencyLimiter(config, clock=lambda: 0.0, on_change=lambda _: None)


@given(events=events, most=st.integers(1, 64))
def test_the_limit_stays_within_its_bounds(
    events: list[tuple[float, tuple[float, float | None] | None]], most: int
) -> None:
    limiter = make_limiter(ConcurrencyConfig(max_concurrency=most))
    now = 100.0
    decreased_at: list[float] = []
    for passed, rate_limited in events:
        now += passed
        before = limiter.limit
        if rate_limited is None:
            limiter.succeeded(now)
            assert limiter.limit >= before
        else:
            took, retry_after = rate_limited
            limiter.rate_limited(now, now - took, retry_after)
            assert before // 2 - 1 <= limiter.limit <= before
            if limiter.limit < before:
                assert not decreased_at or (now - decreased_at[-1] >= 1 and now - took >= decreased_at[-1])
                decreased_at.append(now)
        assert 1 <= limiter.limit <= most
        assert limiter.pause_seconds(now) <= 30 + 1e-9


def test_many_rate_limited_calls_that_began_together_decrease_the_limit_once() -> None:
    limiter = make_limiter(ConcurrencyConfig())
    for number in range(64):
        limiter.rate_limited(10 + number / 10, began=9, retry_after=None)

    assert limiter.limit == 32


def test_calls_that_are_rate_limited_at_once_decrease_the_limit_once_a_second() -> None:
    limiter = make_limiter(ConcurrencyConfig())
    limits = []
    for tenth in range(100, 131):
        limiter.rate_limited(tenth / 10, began=tenth / 10, retry_after=None)
        limits.append(limiter.limit)

    assert [limits[0], limits[9], limits[10], limits[20], limits[30]] == [32, 32, 16, 8, 4]


def test_the_limit_grows_by_one_for_as_many_successes_as_it_has_calls() -> None:
    limiter = make_limiter(ConcurrencyConfig())
    limiter.rate_limited(0, began=0, retry_after=None)
    for limit in range(32, 64):
        assert limiter.limit == limit
        for _ in range(limit + 1):
            limiter.succeeded(100)

    assert limiter.limit == 64


def test_a_pause_is_never_made_shorter() -> None:
    limiter = make_limiter(ConcurrencyConfig())
    limiter.rate_limited(0, began=0, retry_after=20)
    limiter.rate_limited(1, began=0, retry_after=2)
    limiter.rate_limited(2, began=0, retry_after=None)
    assert limiter.pause_seconds(2) == 18

    limiter.rate_limited(3, began=0, retry_after=3_600)

    assert limiter.pause_seconds(3) == 30
