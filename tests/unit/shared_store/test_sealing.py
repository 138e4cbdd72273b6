"""Sealed values open under their own name, secret and context alone; everything else is garbage, and counted."""

from os import urandom

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.shared_store import sealing as module
from gateway.shared_store.sealing import Sealing

SHORT = st.binary(max_size=300)
NAMES = st.text(st.characters(codec="ascii"), max_size=30)


class Counted:
    def __init__(self, secret: bytes = b"secret", context: tuple[str, ...] = ("1", "https://leyr.example")) -> None:
        self.garbage = 0
        self.sealing = Sealing(secret, context, lambda: urandom(32), self._count)

    def _count(self) -> None:
        self.garbage += 1


@given(SHORT, NAMES)
def test_opens_what_any_process_with_the_secret_sealed(plain: bytes, name: str) -> None:
    assert Counted().sealing.open(name, Counted().sealing.seal(name, plain)) == plain


@given(SHORT, NAMES, st.data())
def test_a_changed_cut_or_longer_value_is_garbage(plain: bytes, name: str, data: st.DataObject) -> None:
    ours = Counted()
    sealed = ours.sealing.seal(name, plain)
    place = data.draw(st.integers(0, len(sealed) - 1))
    flipped = bytearray(sealed)
    flipped[place] ^= data.draw(st.integers(1, 255))
    changes = [bytes(flipped), sealed[:place], sealed[place + 1 :], sealed + b"x", b"x" + sealed, sealed + sealed]
    assert [ours.sealing.open(name, each) for each in changes] == [None] * len(changes)
    assert ours.garbage == len(changes)


@given(SHORT, NAMES, NAMES, st.binary(min_size=16, max_size=16))
def test_another_name_secret_context_or_salt_does_not_open(plain: bytes, name: str, other: str, salt: bytes) -> None:
    ours, sealed = Counted(), Counted().sealing.seal(name, plain)
    if other != name:
        assert ours.sealing.open(other, sealed) is None
    for strangers in (Counted(b"other"), Counted(context=("2", "https://leyr.example")), Counted(context=("1", "h"))):
        assert strangers.sealing.open(name, sealed) is None
        assert strangers.sealing.name("p", name) != ours.sealing.name("p", name)
        assert strangers.garbage == 1
    if salt != sealed[2:18]:
        assert ours.sealing.open(name, sealed[:2] + salt + sealed[18:]) is None


@given(st.binary(max_size=200))
def test_whatever_else_stands_there_is_garbage(value: bytes) -> None:
    ours = Counted()
    assert [ours.sealing.open("n", each) for each in (value, b"L1" + value, [value], 1)] == [None] * 4
    assert ours.garbage == 4


def test_nothing_there_is_no_garbage() -> None:
    ours = Counted()
    assert ours.sealing.open("n", None) is None
    assert ours.garbage == 0


@given(st.text(min_size=4, max_size=40), st.lists(st.text(max_size=10), max_size=3))
def test_nothing_of_a_short_text_shows(text: str, parts: list[str]) -> None:
    ours, plain = Counted(), text.encode("utf-8", "surrogatepass")
    assert plain not in ours.sealing.seal("n", plain)
    assert ours.sealing.seal("n", plain) != ours.sealing.seal("n", plain)
    assert len(ours.sealing.name(text, *parts)) == 24


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_other_parts_have_another_name(parts: list[str], others: list[str]) -> None:
    ours = Counted()
    assert (ours.sealing.name("p", *parts) == ours.sealing.name("p", *others)) == (parts == others)


def test_what_would_take_too_much_memory_is_not_decompressed(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Counted()
    sealed = ours.sealing.seal("n", bytes(2_000_000))
    assert len(sealed) < 1_000
    assert ours.sealing.open("n", sealed) == bytes(2_000_000)
    monkeypatch.setattr(module, "_MOST_PLAIN_BYTES", 1_999_999)
    assert ours.sealing.open("n", sealed) is None


def test_a_key_seals_no_more_than_random_nonces_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_SEALED", 4)
    ours = Counted()
    salts = [ours.sealing.seal("n", b"x")[2:18] for _ in range(12)]
    assert [salts.count(each) for each in dict.fromkeys(salts)] == [4, 4, 4]
