"""Rows that are damaged in any way: the usable ones come out exactly and the others are counted, on every path."""

import json
from typing import Any, TypeVar, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.errors import UpstreamInvalidAnswer
from gateway.domain.models import CareUnit, Timeslot
from gateway.domain.pieces import PIECE, SIMPLE, whole
from gateway.leyr.decoding import Decoded, ListDecoder
from tests.unit.pieces import worked

T = TypeVar("T", bound=msgspec.Struct)

MOST = 100_000
UNITS = ListDecoder(CareUnit, "id", max_items=MOST)
SLOTS = ListDecoder(
    Timeslot, "start", max_items=MOST, instants=("start", "end"), owners=("resource_id", "healthcare_service_id")
)
NINE = "2027-02-03T09:00:00+01:00"
TEN = "2027-02-03T10:00:00+01:00"
# What each text of a time becomes.
TIMES = {
    NINE: NINE,
    TEN: TEN,
    "2027-02-03T09:00Z": "2027-02-03T09:00:00+00:00",
    "2027-02-03 10:00:00+01:00": TEN,
    "2027-02-03T24:00:00+01:00": None,
    "2027-02-03T09:00:00": None,
    "0": None,
    "soon": None,
    "": None,
}
UNUSABLE: object = object()


def text_of(value: object) -> Any:
    """What a field's value becomes: a text, None, or UNUSABLE."""
    if isinstance(value, bool | list | dict):
        return UNUSABLE
    if isinstance(value, int | float):
        return json.dumps(value)
    return value or None


def unit_of(row: object) -> CareUnit | None:
    if not isinstance(row, dict) or text_of(row.get("id")) in {None, UNUSABLE}:
        return None
    texts: dict[str, Any] = {name: text_of(row.get(name)) for name in CareUnit.__struct_fields__}
    return CareUnit(**{name: cast("Any", None if text is UNUSABLE else text) for name, text in texts.items()})


def slot_of(row: object) -> Timeslot | None:
    if not isinstance(row, dict):
        return None
    start, end = (TIMES.get(str(text_of(row.get(name)))) for name in ("start", "end"))
    resource, service = (text_of(row.get(name)) for name in ("resource_id", "healthcare_service_id"))
    if start is None or UNUSABLE in {resource, service}:
        return None
    return Timeslot(start, end, resource, service)


odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.just([]),
    st.just({}),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.sampled_from(["id", "start", "x"]), st.text(max_size=3), max_size=2),
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
times = st.sampled_from([*TIMES])
good_units = st.fixed_dictionaries({"id": texts.filter(bool)}, optional={"name": texts, "emr_id": texts, "more": odd})
odd_units = st.dictionaries(st.sampled_from([*CareUnit.__struct_fields__, "more"]), odd | texts)
good_slots = st.fixed_dictionaries(
    {"start": st.sampled_from([NINE, TEN])},
    optional={"end": st.just(TEN), "resource_id": texts, "healthcare_service_id": texts, "more": odd},
)
odd_slots = st.dictionaries(st.sampled_from([*Timeslot.__struct_fields__, "more"]), odd | texts | times)


def ways(decoder: ListDecoder[T], rows: list[Any]) -> list[Decoded[T]]:
    """The list by every path that may read it."""
    plain, spaced = json.dumps(rows).encode(), json.dumps(rows, indent=1, ensure_ascii=False).encode()
    bodies: list[bytes | bytearray] = [plain, bytearray(plain), spaced, b'{"count":0,"items":' + plain + b"}"]
    found = [whole(decoder.decode_page(body)) for body in bodies]
    simple = [decoder.decode_simply(body) for body in bodies]
    return found + [each for each in simple if each is not None]


@settings(max_examples=300)
@given(st.lists(good_units | odd_units | odd, max_size=8))
def test_usable_rows_come_out_exactly_and_the_others_are_counted(rows: list[Any]) -> None:
    expected = [unit for row in rows if (unit := unit_of(row)) is not None]

    for found in ways(UNITS, rows):
        assert found.items == expected
        assert found.dropped == len(rows) - len(expected)


@settings(max_examples=300)
@given(st.lists(good_slots | odd_slots | odd, max_size=8))
def test_usable_slots_come_out_exactly_and_the_others_are_counted(rows: list[Any]) -> None:
    expected = [slot for row in rows if (slot := slot_of(row)) is not None]

    for found in ways(SLOTS, rows):
        assert found.items == expected
        assert found.dropped == len(rows) - len(expected)
        assert found.times >= {slot.start for slot in expected}


@settings(max_examples=10)
@given(st.lists(good_slots | odd_slots | odd, min_size=1, max_size=6), st.sampled_from([PIECE, SIMPLE + 1]))
def test_a_long_list_of_damaged_rows_is_read_as_a_short_one(rows: list[Any], length: int) -> None:
    long = (rows * (length // len(rows) + 1))[:length]
    expected = [slot_of(row) for row in rows] * (length // len(rows) + 1)

    for found in ways(SLOTS, long):
        assert found.items == [slot for slot in expected[:length] if slot is not None]
        assert found.dropped == length - len(found.items)


@pytest.mark.parametrize("rows", [[], [{"id": "a"}], [None, {"id": "a"}]])
def test_a_list_with_a_usable_row_or_none_at_all_is_a_list(rows: list[Any]) -> None:
    assert len(UNITS.decode(json.dumps(rows).encode()).items) == min(len(rows), 1)


@pytest.mark.parametrize("rows", [[None], [{"name": "A"}, 7], [[]], [{"id": True}], [{"id": {}}, {"id": []}]])
def test_a_list_of_which_no_row_is_usable_is_refused(rows: list[Any]) -> None:
    with pytest.raises(UpstreamInvalidAnswer, match="No row"):
        UNITS.decode(json.dumps(rows).encode())


def test_a_slot_whose_owner_cannot_be_read_is_dropped_rather_than_given_to_nobody() -> None:
    rows = [{"start": NINE, "resource_id": {"id": "r"}}, {"start": TEN, "resource_id": None}]

    found = SLOTS.decode(json.dumps(rows).encode())

    assert (found.items, found.dropped) == ([Timeslot(TEN)], 1)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (r"Per \ud83d", "Per \ufffd"),
        (r"\uDE00Per", "\ufffdPer"),
        (r"\ud83d\uD83D\uDE00\ude00", "\ufffd\U0001f600\ufffd"),
        (r"\\ud83d \\\ud83d \"\ud83d\"", '\\ud83d \\\ufffd "\ufffd"'),
    ],
)
@pytest.mark.parametrize("others", [1, PIECE])
def test_a_text_that_was_cut_off_within_a_character_takes_no_row_away(text: str, read: str, others: int) -> None:
    more = b"".join(b',{"id":"%d","more":"\\ud83d\\ude00"}' % number for number in range(others))
    for name, around in (
        (name, around) for name in ("name", "more") for around in (b"[%s]", b'{"n":"\\udc00","data":[%s]}')
    ):
        found = UNITS.decode(around % (b'{"id":"a","%s":"%s"}%s' % (name.encode(), text.encode(), more)))

        assert found.items[0] == CareUnit("a", name=read if name == "name" else None)
        assert (len(found.items), found.dropped) == (1 + others, 0)


@pytest.mark.parametrize("odd", [b"null", b'{"id":7}', b'{"id":""}'])
def test_half_a_character_beside_a_row_that_is_odd_otherwise_takes_no_row_away(odd: bytes) -> None:
    found = UNITS.decode(b'[%s,{"id":"a","name":"\\ud83d"}]' % odd)

    assert found.items[-1] == CareUnit("a", name="\ufffd")


def test_a_row_whose_ids_were_cut_off_within_a_character_is_dropped() -> None:
    rows = (
        rf'[{{"start":"{NINE}","resource_id":"r\ud83d"}},{{"start":"{NINE}","resource_id":"r"}},{{"start":"\ud83d"}}]'
    )

    found = SLOTS.decode(rows.encode())

    assert (found.items, found.dropped) == ([Timeslot(NINE, None, "r", None)], 2)


def test_an_end_before_its_start_is_given_as_it_came() -> None:
    assert SLOTS.decode(json.dumps([{"start": TEN, "end": NINE}]).encode()).items == [Timeslot(TEN, NINE)]


ODD_ROWS: dict[str, object] = {
    "a null": None,
    "a number": 5,
    "a list": [[], {}],
    "an odd optional field": {"start": NINE, "end": {}},
    "an odd owner": {"start": NINE, "resource_id": False},
    "a start of 0": {"start": 0},
    "an end of 24:00": {"start": NINE, "end": "2027-02-03T24:00:00+01:00"},
}


@pytest.mark.parametrize("row", ODD_ROWS.values(), ids=ODD_ROWS)
def test_one_odd_row_among_ninety_thousand_is_no_long_step(row: object) -> None:
    good = {"start": NINE, "end": TEN, "resource_id": "r", "healthcare_service_id": "s", "x": [1, 2, 3], "y": {"z": 1}}
    body = json.dumps([*[good] * 89_999, row]).encode()

    done = worked(SLOTS.decode_in_pieces(body))

    assert len(done.result.items) + done.result.dropped == 90_000
    assert len(done.result.items) >= 89_999
    assert max(done.calls) <= 20 * PIECE
    assert len(done.calls) > 90_000 // PIECE


@pytest.mark.parametrize("row", ODD_ROWS.values(), ids=ODD_ROWS)
def test_ninety_thousand_odd_rows_are_no_long_step(row: object) -> None:
    body = json.dumps([{"start": TEN}, *[row] * 89_999]).encode()

    done = worked(SLOTS.decode_in_pieces(body))

    assert len(done.result.items) + done.result.dropped == 90_000
    assert max(done.calls) <= 20 * PIECE


def test_a_wide_row_is_read_as_any_other() -> None:
    wide = {"start": NINE, "name": "x" * 200_000, "more": [[]] * 100_000, "end": False}

    found = SLOTS.decode(json.dumps([wide, {"start": TEN}]).encode())

    assert (found.items, found.dropped) == ([Timeslot(NINE), Timeslot(TEN)], 0)
