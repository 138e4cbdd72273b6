"""How many requests are inside, and how many bytes are on their way."""

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import Overloaded
from gateway.http.turnstile import Turnstile


def test_so_many_pass_and_the_next_is_turned_away() -> None:
    turnstile = Turnstile(2)

    with turnstile.passed(), turnstile.passed():
        with pytest.raises(Overloaded) as refused, turnstile.passed():
            pytest.fail("one too many")
        assert turnstile.inside == 2

    assert turnstile.inside == 0
    assert refused.value.retryable
    assert refused.value.retry_after == 1
    assert refused.value.code == "OVERLOADED"
    assert refused.value.origin == "gateway"


@pytest.mark.parametrize("failure", [ValueError(), KeyboardInterrupt(), GeneratorExit()])
def test_whoever_fails_leaves_as_well(failure: BaseException) -> None:
    turnstile = Turnstile(1)

    with pytest.raises(type(failure)), turnstile.passed(), turnstile.sending(10):
        raise failure

    assert (turnstile.inside, turnstile.unsent_bytes) == (0, 0)
    with turnstile.passed():
        assert turnstile.inside == 1


def test_nobody_passes_while_too_much_is_unsent() -> None:
    turnstile = Turnstile(10, most_unsent_bytes=100)

    with turnstile.sending(99):
        with turnstile.passed():
            assert turnstile.inside == 1
        with turnstile.sending(1), pytest.raises(Overloaded), turnstile.passed():
            pytest.fail("too much is on its way")
        with turnstile.passed():
            assert turnstile.inside == 1


def test_an_answer_is_sent_however_large_it_is() -> None:
    turnstile = Turnstile(1, most_unsent_bytes=100)

    with turnstile.sending(1_000), turnstile.sending(1_000):
        assert turnstile.unsent_bytes == 2_000

    assert turnstile.unsent_bytes == 0


@given(st.integers(1, 5), st.lists(st.booleans(), max_size=40))
def test_never_are_more_inside_than_may_be(most: int, comings: list[bool]) -> None:
    turnstile = Turnstile(most)
    inside: list[ExitStack] = []

    for comes in comings:
        if not comes:
            if inside:
                inside.pop(0).close()
            continue
        stack = ExitStack()
        try:
            stack.enter_context(turnstile.passed())
        except Overloaded:
            assert len(inside) == most
        else:
            inside.append(stack)
        assert turnstile.inside == len(inside) <= most
