"""Lists that are long or odd: refused before they are made, or read in pieces of bounded work."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from gateway.domain.errors import UpstreamAnswerTooLarge, UpstreamInvalidAnswer
from gateway.domain.models import Timeslot
from gateway.domain.pieces import PIECE
from gateway.leyr.decoding import ListDecoder
from tests.unit.pieces import worked

LIMIT = 4 * PIECE
SLOTS = ListDecoder(Timeslot, "start", max_items=LIMIT, instants=("start", "end"))
START = "2026-12-01T09:00:00+01:00"
SLOT = b'{"start":"2026-12-01T09:00:00+01:00"}'
MEBIBYTE = 2**20
MOST_CALLS = 20 * PIECE


def listed(item: bytes, count: int) -> bytes:
    return b"[" + b",".join([item] * count) + b"]"


def at(minutes: int) -> str:
    return (datetime(2026, 12, 1, tzinfo=UTC) + timedelta(minutes=minutes)).isoformat()


@pytest.mark.parametrize(
    "item",
    [
        SLOT,
        SLOT[:-1] + b',"nested":{"deep":[{},{}]}}',
        SLOT[:-1] + b',"text":"{{{{{{"}',
        b'{"start":"2026-12-01T08:00Z","resource_id":""}',
    ],
)
def test_a_list_at_the_limit_is_read_and_one_item_more_is_refused(item: bytes) -> None:
    assert len(SLOTS.decode(listed(item, LIMIT)).items) == LIMIT
    with pytest.raises(UpstreamInvalidAnswer, match="more items"):
        SLOTS.decode(listed(item, LIMIT + 1))


def test_items_that_are_dropped_count_too() -> None:
    with pytest.raises(UpstreamInvalidAnswer, match="more items"):
        SLOTS.decode(b"[" + SLOT + b"," + listed(b'{"start":""}', LIMIT)[1:])


def test_a_wrapped_list_that_is_too_long_is_refused() -> None:
    body = b'{"data":' + listed(SLOT, LIMIT) + b"}"

    assert len(SLOTS.decode(body).items) == LIMIT
    with pytest.raises(UpstreamInvalidAnswer, match="more items"):
        SLOTS.decode(body.replace(b"[", b"[" + SLOT + b","))


def test_lists_that_are_too_long_are_told_from_other_invalid_ones() -> None:
    wrapped = b'{"data":[{"start":"2026-12-01T09:00:00+01:00","text":"' + b"x" * 2 * MEBIBYTE + b'"}]}'

    for body in (listed(SLOT, LIMIT + 1), wrapped):
        with pytest.raises(UpstreamAnswerTooLarge):
            SLOTS.decode(body)
    for body in (b"{}", b"[1]", b"[", b'[{"start":"no time"}]'):
        with pytest.raises(UpstreamInvalidAnswer) as other:
            SLOTS.decode(body)
        assert not isinstance(other.value, UpstreamAnswerTooLarge)


# Made by the test alone: each process would make all of them, 77 MB, before the first test.
GARBAGE: dict[str, Callable[[], bytes]] = {
    "empty objects": lambda: listed(b"{}", 3 * MEBIBYTE),
    "empty lists": lambda: listed(b"[]", 3 * MEBIBYTE),
    "numbers": lambda: listed(b"1", 5 * MEBIBYTE),
    "six hundred thousand items": lambda: listed(b'{"start":"x"}', 600_000),
    "a wide object": lambda: b"{" + b",".join(b'"%x":0' % number for number in range(MEBIBYTE)) + b"}",
    "an item with a wide list": lambda: b'[{"start":""},{"start":"","x":' + listed(b"[]", 3 * MEBIBYTE) + b"}]",
    "a long number": lambda: b'[{"start":' + b"1" * 10 * MEBIBYTE + b"}]",
    "open brackets": lambda: b"[" * 10 * MEBIBYTE,
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_ten_megabytes_of_garbage_are_refused_without_a_python_object_for_each_part(
    garbage: Callable[[], bytes],
) -> None:
    body, calls = garbage(), 0

    def refused() -> None:
        nonlocal calls
        done = worked(SLOTS.decode_in_pieces(body))
        calls = sum(done.calls)

    with pytest.raises(UpstreamInvalidAnswer):
        refused()
    assert calls == 0


SHAPES: dict[str, Callable[[int], object]] = {
    "documented": lambda n: {"start": at(n), "end": at(n + 20), "resource_id": "r"},
    "other times": lambda n: {"start": at(n).replace("T", " "), "end": at(n + 20)},
    "empty texts": lambda n: {"start": at(n), "end": "", "resource_id": ""},
    "some without identity": lambda n: {"start": at(n) if n % 2 else None},
    "wide rows": lambda n: {"start": at(n) if n else "", "x": [[]] * 100},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_long_list_is_read_in_pieces_of_bounded_work(shape: Callable[[int], object]) -> None:
    body = json.dumps([shape(number) for number in range(LIMIT)]).encode()

    done = worked(SLOTS.decode_in_pieces(body))

    assert max(done.calls) <= MOST_CALLS
    assert len(done.calls) > LIMIT // PIECE
    assert len(done.result.items) + done.result.dropped == LIMIT


def test_a_large_list_of_one_item_gives_others_their_turn() -> None:
    body = b'[{"start":"2026-12-01T09:00:00+01:00","resource_id":"' + b"r" * 9 * MEBIBYTE + b'"}]'

    assert sum(1 for _ in SLOTS.decode_in_pieces(body)) > 0
