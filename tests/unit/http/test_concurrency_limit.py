"""How many requests are inside, and how many bytes are on their way."""

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import Overloaded
from gateway.http.concurrency_limit import ConcurrencyLimit


def test_so_many_pass_and_the_next_is_turned_away() -> None:
    concurrency_limit = ConcurrencyLimit(2)

    with concurrency_limit, concurrency_limit:
        with pytest.raises(Overloaded) as refused, concurrency_limit:
            pytest.fail("one too many")
        assert concurrency_limit.active == 2

    assert concurrency_limit.active == 0
    assert refused.value.retryable
    assert refused.value.retry_after == 1
    assert refused.value.code == "OVERLOADED"
    assert refused.value.origin == "gateway"


@pytest.mark.parametrize("failure", [ValueError(), KeyboardInterrupt(), GeneratorExit()])
def test_whoever_fails_leaves_as_well(failure: BaseException) -> None:
    concurrency_limit = ConcurrencyLimit(1)

    with pytest.raises(type(failure)), concurrency_limit, concurrency_limit.sending(10):
        raise failure

    assert (concurrency_limit.active, concurrency_limit.unsent_bytes) == (0, 0)
    with concurrency_limit:
        assert concurrency_limit.active == 1


def test_nobody_passes_while_too_much_is_unsent() -> None:
    concurrency_limit = ConcurrencyLimit(10, max_unsent_bytes=100)

    with concurrency_limit.sending(99):
        with concurrency_limit:
            assert concurrency_limit.active == 1
        with concurrency_limit.sending(1), pytest.raises(Overloaded), concurrency_limit:
            pytest.fail("too much is on its way")
        with concurrency_limit:
            assert concurrency_limit.active == 1


def test_an_answer_is_sent_however_large_it_is() -> None:
    concurrency_limit = ConcurrencyLimit(1, max_unsent_bytes=100)

    with concurrency_limit.sending(1_000), concurrency_limit.sending(1_000):
        assert concurrency_limit.unsent_bytes == 2_000

    assert concurrency_limit.unsent_bytes == 0


@given(st.integers(1, 5), st.lists(st.booleans(), max_size=40))
def test_never_are_more_inside_than_may_be(most: int, comings: list[bool]) -> None:
    concurrency_limit = ConcurrencyLimit(most)
    inside: list[ExitStack] = []

    for comes in comings:
        if not comes:
            if inside:
                inside.pop(0).close()
            continue
        stack = ExitStack()
        try:
            stack.enter_context(concurrency_limit)
        except Overloaded:
            assert len(inside) == most
        else:
            inside.append(stack)
        assert concurrency_limit.active == len(inside) <= most
