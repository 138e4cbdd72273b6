"""The limits of active requests and of unsent bytes."""

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import Overloaded
from gateway.http.endpoint import ConcurrencyLimit


def test_a_request_beyond_the_limit_is_rejected_as_overloaded() -> None:
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
def test_a_request_that_fails_is_no_longer_counted(failure: BaseException) -> None:
    concurrency_limit = ConcurrencyLimit(1)

    with pytest.raises(type(failure)), concurrency_limit, concurrency_limit.sending(10):
        raise failure

    assert (concurrency_limit.active, concurrency_limit.unsent_bytes) == (0, 0)
    with concurrency_limit:
        assert concurrency_limit.active == 1


def test_requests_are_rejected_while_too_many_bytes_are_unsent() -> None:
    concurrency_limit = ConcurrencyLimit(10, max_unsent_bytes=100)

    with concurrency_limit.sending(99):
        with concurrency_limit:
            assert concurrency_limit.active == 1
        with concurrency_limit.sending(1), pytest.raises(Overloaded), concurrency_limit:
            pytest.fail("too much is on its way")
        with concurrency_limit:
            assert concurrency_limit.active == 1


def test_a_response_is_sent_even_above_the_limit_of_unsent_bytes() -> None:
    concurrency_limit = ConcurrencyLimit(1, max_unsent_bytes=100)

    with concurrency_limit.sending(1_000), concurrency_limit.sending(1_000):
        assert concurrency_limit.unsent_bytes == 2_000

    assert concurrency_limit.unsent_bytes == 0


@given(st.integers(1, 5), st.lists(st.booleans(), max_size=40))
def test_active_requests_never_exceed_the_limit(most: int, comings: list[bool]) -> None:
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
