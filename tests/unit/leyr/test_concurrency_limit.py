"""AimdLimit: how many calls at a time an EHR gets. The limiter's queue is tested with test_resilience_load.py."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.leyr.concurrency_limit import AimdLimit, ConcurrencyConfig

# Seconds that pass before each call ends, and for a rate-limited one how long it took and its Retry-After.
events = st.lists(
    st.tuples(
        st.floats(0, 3), st.one_of(st.none(), st.tuples(st.floats(0, 5), st.one_of(st.none(), st.floats(0, 4_000))))
    ),
    max_size=80,
)


@given(events=events, most=st.integers(1, 64))
def test_aimd_limit_stays_within_its_bounds(
    events: list[tuple[float, tuple[float, float | None] | None]], most: int
) -> None:
    aimd = AimdLimit(ConcurrencyConfig(max_concurrency=most))
    now = 100.0
    decreased_at: list[float] = []
    for passed, rate_limited in events:
        now += passed
        before = aimd.limit
        if rate_limited is None:
            aimd.increase()
            assert aimd.limit >= before
        else:
            took, retry_after = rate_limited
            aimd.decrease(now, now - took, retry_after)
            assert before // 2 - 1 <= aimd.limit <= before
            if aimd.limit < before:
                assert not decreased_at or (now - decreased_at[-1] >= 1 and now - took >= decreased_at[-1])
                decreased_at.append(now)
        assert 1 <= aimd.limit <= most
        assert aimd.paused_until <= now + 30


def test_many_rate_limited_calls_that_began_together_decrease_the_limit_once() -> None:
    aimd = AimdLimit(ConcurrencyConfig())
    for number in range(64):
        aimd.decrease(10 + number / 10, began=9, retry_after=None)

    assert aimd.limit == 32


def test_calls_that_are_rate_limited_at_once_decrease_the_limit_once_a_second() -> None:
    aimd = AimdLimit(ConcurrencyConfig())
    limits = []
    for tenth in range(100, 131):
        aimd.decrease(tenth / 10, began=tenth / 10, retry_after=None)
        limits.append(aimd.limit)

    assert [limits[0], limits[9], limits[10], limits[20], limits[30]] == [32, 32, 16, 8, 4]


def test_the_limit_grows_by_one_for_as_many_successes_as_it_has_calls() -> None:
    aimd = AimdLimit(ConcurrencyConfig())
    aimd.decrease(0, began=0, retry_after=None)
    for limit in range(32, 64):
        assert aimd.limit == limit
        for _ in range(limit + 1):
            aimd.increase()

    assert aimd.limit == 64


def test_a_pause_is_never_made_shorter() -> None:
    aimd = AimdLimit(ConcurrencyConfig())
    aimd.decrease(0, began=0, retry_after=20)
    aimd.decrease(1, began=0, retry_after=2)
    aimd.decrease(2, began=0, retry_after=None)
    assert aimd.paused_until == 20

    aimd.decrease(3, began=0, retry_after=3_600)

    assert aimd.paused_until == 33
