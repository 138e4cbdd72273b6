"""What processes tell each other of timeslots: the same again, and a long list in pieces."""

from datetime import timedelta

import msgspec
import pytest

from gateway.domain.models import Timeslot
from gateway.domain.pieces import PIECE, Pieces, whole
from gateway.domain.timeslots import TimeslotList
from gateway.fetch.timeslot_events import decoded, decoded_answer, encoded_answer
from tests.unit.model_ehr import START


def answer_of(count: int) -> TimeslotList:
    starts = [(START + timedelta(minutes=number)).isoformat() for number in range(count)]
    answer = TimeslotList.presorted([Timeslot(start, None, "r1", None) for start in starts])
    answer.dropped, answer.text_bytes = 3, 1_000
    return answer


def pauses(work: Pieces[object]) -> int:
    return sum(1 for _ in work)


@pytest.mark.parametrize("count", [0, 1, PIECE, 2 * PIECE + 1])
def test_an_answer_is_the_same_again(count: int) -> None:
    answer = answer_of(count)

    again = whole(decoded_answer(whole(encoded_answer(answer))))

    assert again is not None
    assert (again.slots, again.dropped, again.text_bytes) == (answer.slots, 3, 1_000)


def test_a_long_answer_is_written_and_read_in_pieces() -> None:
    answer = answer_of(3 * PIECE)

    assert pauses(encoded_answer(answer)) >= 3
    assert pauses(decoded_answer(whole(encoded_answer(answer)))) >= 3


@pytest.mark.parametrize("data", [b"", b"\xc1", msgspec.msgpack.encode([[b"\xc1"], 0, None]), b"\x91" * 5_000])
def test_what_is_no_answer_and_no_event_is_neither(data: bytes) -> None:
    assert whole(decoded_answer(data)) is None
    assert decoded(data) is None
