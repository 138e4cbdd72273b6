"""Digests tell texts apart and give none away; appointment ids are of use to the caller alone who got them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.booking.booking_secret import AppointmentKey, BookingSecret
from gateway.domain.models import CareUnitKey
from gateway.domain.personal_numbers import may_hide_a_personal_number

SECRET = BookingSecret(b"k" * 32)
texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30).filter(
    lambda text: text not in {".", ".."}
)
appointments = st.builds(AppointmentKey, st.builds(CareUnitKey, texts, texts), texts)


@given(appointments, texts, texts)
def test_an_id_opens_for_the_caller_to_whom_it_was_sealed_alone(
    appointment: AppointmentKey, caller: str, other: str
) -> None:
    sealed = SECRET.seal(appointment, caller)

    assert SECRET.open(sealed, caller) == appointment
    assert other == caller or SECRET.open(sealed, other) is None
    assert BookingSecret(b"x" * 32).open(sealed, caller) is None


@given(appointments, st.data())
def test_an_id_of_which_any_character_is_another_opens_for_nobody(
    appointment: AppointmentKey, data: st.DataObject
) -> None:
    sealed = SECRET.seal(appointment, "page")
    place = data.draw(st.integers(0, len(sealed)))
    changed = sealed[:place] + data.draw(st.sampled_from(["", "a", "p", ".", "z", "0"])) + sealed[place + 1 :]

    assert changed == sealed or SECRET.open(changed, "page") is None


@given(st.text())
def test_no_other_text_opens(text: str) -> None:
    assert SECRET.open(text, "page") is None


@given(st.integers(10**9, 10**12 - 1).map(str))
def test_no_id_looks_as_if_it_held_a_personal_number(number: str) -> None:
    sealed = SECRET.seal(AppointmentKey(CareUnitKey("webdoc", "L0_1"), number), "page")

    assert not may_hide_a_personal_number(sealed)


def test_what_was_kept_under_the_former_secret_is_found_and_what_is_new_is_under_that_of_now() -> None:
    former, now = BookingSecret(b"f" * 32), BookingSecret(b"n" * 32, b"f" * 32)
    appointment = AppointmentKey(CareUnitKey("webdoc", "L0_1"), "a1")

    assert former.digest("key", "a") in now.digests("key", "a")
    assert now.digest("key", "a") == BookingSecret(b"n" * 32).digest("key", "a") == now.digests("key", "a")[0]
    assert now.open(former.seal(appointment, "page"), "page") == appointment


@given(st.lists(texts, max_size=3), st.lists(texts, max_size=3))
def test_digests_are_equal_for_equal_texts_alone(some: list[str], others: list[str]) -> None:
    assert (SECRET.digest("key", *some) == SECRET.digest("key", *others)) == (some == others)
    assert SECRET.digest("key", *some) != SECRET.digest("input", *some)


def test_a_short_secret_is_refused_and_none_is_shown() -> None:
    with pytest.raises(ValueError, match="at least 32 bytes"):
        BookingSecret(b"short")
    assert "kkk" not in repr(SECRET)
