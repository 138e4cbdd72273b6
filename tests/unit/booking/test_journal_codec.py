"""Entries of the journal come back as they were written, and nothing else is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.booking.journal import JournalEntry
from gateway.booking.journal_codec import UnreadableEntryError, decoded, encoded
from tests.unit.booking.entries import entries, entry


@given(entries)
def test_an_entry_comes_back_as_it_was_written(each: JournalEntry) -> None:
    assert decoded(encoded(each)) == each


@given(st.binary())
def test_bytes_that_are_no_entry_are_refused(data: bytes) -> None:
    with pytest.raises(UnreadableEntryError):
        decoded(data)


def test_an_outcome_of_another_version_is_refused_without_a_word_of_it() -> None:
    data = encoded(entry()).replace(b'"outcome":null', b'"outcome":["Postponed",{"until":"secret"}]')

    with pytest.raises(UnreadableEntryError) as caught:
        decoded(data)
    assert "secret" not in str(caught.value)
