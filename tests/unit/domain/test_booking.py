"""What a client sends beside a patient: keys, codes and comments."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.booking import checked_code, checked_comment, checked_idempotency_key
from gateway.domain.errors import BadUserInput

VISIBLE = [chr(each) for each in range(0x21, 0x7F)]


@given(st.text(VISIBLE, min_size=16, max_size=255))
def test_a_key_of_visible_ascii_passes(key: str) -> None:
    assert checked_idempotency_key(key) == key


@pytest.mark.parametrize("key", ["", "a" * 15, "a" * 256, "a" * 15 + " ", "a" * 15 + "é", "a" * 16 + "\n"])
def test_other_keys_are_refused_and_never_quoted(key: str) -> None:
    with pytest.raises(BadUserInput, match="idempotencyKey") as error:
        checked_idempotency_key(key)

    assert not key or key not in error.value.message


def test_a_code_is_trimmed() -> None:
    assert checked_code(" 123456 ") == "123456"


@pytest.mark.parametrize("code", ["", "  ", "1 2", "1" * 65, "1\x00"])
def test_other_codes_are_refused(code: str) -> None:
    with pytest.raises(BadUserInput, match="code"):
        checked_code(code)


@given(st.one_of(st.none(), st.text(max_size=300)), st.one_of(st.none(), st.integers(0, 200)))
def test_a_comment_is_trimmed_and_bounded(comment: str | None, longest: int | None) -> None:
    with suppress(BadUserInput):
        found = checked_comment(comment, longest)
        assert found == ((comment or "").strip() or None)
        assert len(found or "") <= (2_000 if longest is None else longest)


@pytest.mark.parametrize(
    ("comment", "longest"), [("x" * 2_001, None), ("x" * 2_001, 3_000), ("xx", 1), ("a\x00", None)]
)
def test_other_comments_are_refused(comment: str, longest: int | None) -> None:
    with pytest.raises(BadUserInput, match="comment"):
        checked_comment(comment, longest)
