"""How many calls at a time an EHR gets."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.leyr.concurrency_limit import AimdLimit, ConcurrencyConfig

events = st.lists(
    st.tuples(
        st.floats(0, 3), st.one_of(st.none(), st.tuples(st.floats(0, 5), st.one_of(st.none(), st.floats(0, 4_000))))
    ),
    max_size=80,
)


@given(events=events, most=st.integers(1, 64))
def test_it_stays_within_its_bounds(events: list[tuple[float, tuple[float, float | None] | None]], most: int) -> None:
    pace = AimdLimit(ConcurrencyConfig(most=most))
    now = 100.0
    cuts: list[float] = []
    for passed, refused in events:
        now += passed
        before = pace.limit
        if refused is None:
            pace.speed_up()
            assert pace.limit >= before
        else:
            took, retry_after = refused
            pace.slow_down(now, now - took, retry_after)
            assert before // 2 - 1 <= pace.limit <= before
            if pace.limit < before:
                assert not cuts or (now - cuts[-1] >= 1 and now - took >= cuts[-1])
                cuts.append(now)
        assert 1 <= pace.limit <= most
        assert pace.paused_until <= now + 30


def test_many_that_were_sent_together_cut_once() -> None:
    pace = AimdLimit()
    for number in range(64):
        pace.slow_down(10 + number / 10, began=9, retry_after=None)

    assert pace.limit == 32


def test_what_is_refused_at_once_cuts_once_a_second() -> None:
    pace = AimdLimit()
    limits = []
    for tenth in range(100, 131):
        pace.slow_down(tenth / 10, began=tenth / 10, retry_after=None)
        limits.append(pace.limit)

    assert [limits[0], limits[9], limits[10], limits[20], limits[30]] == [32, 32, 16, 8, 4]


def test_it_climbs_by_one_for_every_round_of_successes() -> None:
    pace = AimdLimit()
    pace.slow_down(0, began=0, retry_after=None)
    for limit in range(32, 64):
        assert pace.limit == limit
        for _ in range(limit + 1):
            pace.speed_up()

    assert pace.limit == 64


def test_a_pause_is_never_made_shorter() -> None:
    pace = AimdLimit()
    pace.slow_down(0, began=0, retry_after=20)
    pace.slow_down(1, began=0, retry_after=2)
    pace.slow_down(2, began=0, retry_after=None)
    assert pace.paused_until == 20

    pace.slow_down(3, began=0, retry_after=3_600)

    assert pace.paused_until == 33
