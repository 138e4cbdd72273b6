"""Node ids of timeslots: one for each slot of a list, and none that looks like a personal number by our writing."""

from base64 import b64decode, b64encode
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from gateway.domain.errors import BadUserInput
from gateway.domain.ids import NodeType, TimeslotId, TimeslotIds, emr_id, leyr_id_within, parse_node_id
from gateway.domain.models import CareUnitKey, Timeslot
from gateway.domain.personal_numbers import may_hide_a_personal_number
from gateway.domain.timeslots import TimeslotList, instant

UNIT = CareUnitKey("webdoc", "L0_1")
NINE, HALF_PAST = "2026-12-01T09:00:00+01:00", "2026-12-01T09:30:00+01:00"

offsets = st.integers(-12 * 4, 14 * 4).map(lambda quarters: timezone(timedelta(minutes=15 * quarters)))
moments = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=offsets)  # noqa: DTZ001 # the bounds that Hypothesis takes
times = st.one_of(moments, moments.map(lambda at: at.replace(second=0, microsecond=0))).map(datetime.isoformat)
styles = st.one_of(
    st.from_regex(r"[A-Z]\d_\d{1,2}", fullmatch=True),
    st.integers(1, 99_999).map(str),
    st.uuids().map(str),
    st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=1, max_size=30),
)
perhaps = st.none() | styles
slots = st.builds(Timeslot, times, st.none() | times, perhaps, perhaps)
keys = st.builds(CareUnitKey, st.sampled_from(["webdoc", "takecare", "emr2", "emr-1912"]), styles)
# Anything that JSON may hold and a URL may take.
odd = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20).filter(
    lambda text: text not in {".", ".."}
)
many = settings(max_examples=400, deadline=None)  # how long an example takes says nothing on a shared machine


def written(slot: Timeslot, key: CareUnitKey = UNIT) -> str:
    return TimeslotIds(key)(slot)


@many
@given(keys, slots)
@example(UNIT, Timeslot("2012-12-12T12:12:12+00:00", "2012-12-12T12:12:12+00:00", "1912", "121212"))
@example(CareUnitKey("emr-1912", "1212"), Timeslot("1970-01-02T00:00:00+14:00", None, "1212", None))
@example(CareUnitKey("webdoc", "19121"), Timeslot(NINE, HALF_PAST, "21212", "12"))
def test_no_guard_takes_an_id_for_a_personal_number_unless_it_takes_one_of_leyrs_ids_for_one(
    key: CareUnitKey, slot: Timeslot
) -> None:
    leyr_ids = (*key, slot.resource_id or "", slot.healthcare_service_id or "")
    assume(not any(map(may_hide_a_personal_number, leyr_ids)))

    text = written(slot, key)

    assert not may_hide_a_personal_number(text)
    assert not may_hide_a_personal_number(quote(text, safe=""))
    assert not may_hide_a_personal_number(b64encode(text.encode()).decode())


def test_an_id_that_holds_what_looks_like_a_personal_number_itself_is_still_taken_for_one() -> None:
    assert may_hide_a_personal_number(written(Timeslot(NINE, HALF_PAST, "191212121212")))


def test_four_hundred_starts_in_a_row_are_all_let_through() -> None:
    starts = [datetime(2026, 1, 1, tzinfo=UTC) + number * timedelta(hours=23, minutes=5) for number in range(400)]
    dated = [b64encode(f"Timeslot:webdoc/L0_1/{start.isoformat()}".encode()).decode() for start in starts]

    assert all(map(may_hide_a_personal_number, dated))
    assert not any(may_hide_a_personal_number(written(Timeslot(start.isoformat()))) for start in starts)


@many
@given(
    st.builds(CareUnitKey, odd, odd), st.builds(Timeslot, times, st.none() | times, st.none() | odd, st.none() | odd)
)
@example(
    CareUnitKey("a,b", "*"), Timeslot("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-12:00", "*", "%2A,")
)
@example(CareUnitKey("a", "%2C"), Timeslot("9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00.5+23:59", "å", "~>?"))
def test_an_id_leads_back_to_its_slot(key: CareUnitKey, slot: Timeslot) -> None:
    found = parse_node_id(written(slot, key))

    assert isinstance(found, TimeslotId)
    assert found.care_unit == key
    assert found.start == instant(slot.start)
    assert found.end == (None if slot.end is None else instant(slot.end))
    assert (found.resource, found.service) == (slot.resource_id, slot.healthcare_service_id)
    assert found.is_of(slot)


@many
@given(st.lists(st.builds(Timeslot, *[st.sampled_from(["2026-12-01T09:00:00+01:00", "2026-12-01T08:00:00Z",
    "2026-12-01T08:00:00.5Z", "2026-12-01T09:30:00+01:00"])] * 2, st.sampled_from([None, "a", "b"]),
    st.sampled_from([None, "a", "*"])) | slots, max_size=30))  # fmt: skip
def test_no_two_slots_of_a_list_have_the_same_id(given_slots: list[Timeslot]) -> None:
    ids = TimeslotIds(UNIT)
    arranged = TimeslotList(given_slots).slots

    assert len(set(map(ids, arranged))) == len(arranged)
    assert {ids(slot) for slot in given_slots} == {ids(slot) for slot in arranged}


@pytest.mark.parametrize(
    "other",
    [
        Timeslot("2026-12-01T09:00:01+01:00", HALF_PAST, "r", "s"),
        Timeslot("2026-12-01T09:00:00.000001+01:00", HALF_PAST, "r", "s"),
        Timeslot(NINE, "2026-12-01T09:31:00+01:00", "r", "s"),
        Timeslot(NINE, None, "r", "s"),
        Timeslot(NINE, HALF_PAST, None, "s"),
        Timeslot(NINE, HALF_PAST, "r", None),
        Timeslot(NINE, HALF_PAST, "s", "r"),
        Timeslot(NINE, HALF_PAST, "*", "s"),
        Timeslot(NINE, HALF_PAST, "", "s"),
    ],
)
def test_a_slot_that_differs_in_one_thing_has_another_id(other: Timeslot) -> None:
    slot = Timeslot(NINE, HALF_PAST, "r", "s")

    assert written(other) != written(slot)
    found = parse_node_id(written(slot))
    assert isinstance(found, TimeslotId)
    assert not found.is_of(other)


def test_null_and_empty_have_different_ids() -> None:
    assert written(Timeslot(NINE, HALF_PAST, "", "s")) != written(Timeslot(NINE, HALF_PAST, None, "s"))


def test_a_slot_that_differs_in_its_offset_alone_is_the_same_slot() -> None:
    slot, in_utc = Timeslot(NINE, HALF_PAST), Timeslot("2026-12-01T08:00:00Z", "2026-12-01T08:30:00.000Z")

    assert written(slot) == written(in_utc)
    assert len(TimeslotList([slot, in_utc])) == 1


@many
@given(slots, st.data())
def test_a_changed_id_is_another_slots_or_refused(slot: Timeslot, data: st.DataObject) -> None:
    plain = b64decode(written(slot)).decode()
    place = data.draw(st.integers(len("Timeslot:"), len(plain)))
    changed = (
        plain[:place]
        + data.draw(st.text("aBz,.*%2C/:0", max_size=3))
        + plain[data.draw(st.integers(place, len(plain))) :]
    )

    with suppress(BadUserInput):
        found = parse_node_id(b64encode(changed.encode()).decode())
        assert isinstance(found, TimeslotId)
        end = None if found.end is None else found.end.isoformat()
        again = Timeslot(found.start.isoformat(), end, found.resource, found.service)
        assert b64decode(written(again, found.care_unit)).decode() == changed


@pytest.mark.parametrize(
    "path",
    [
        "",
        "webdoc,L0_1,dmhTdua,*,*",
        "webdoc,L0_1,dmhTdua,*,*,*,*",
        "webdoc,L0_1,*,*,*,*",
        "*,L0_1,dmhTdua,*,*,*",
        "webdoc,*,dmhTdua,*,*,*",
        "webdoc,,dmhTdua,*,*,*",
        "webdoc,L0_1,,*,*,*",
        "webdoc,L0_1,2026,*,*,*",
        "webdoc,L0_1,dmhTdua.,*,*,*",
        "webdoc,L0_1,dmhTdua.a,*,*,*",
        "webdoc,L0_1,admhTdua,*,*,*",
        "webdoc,L0_1,admhTdu,*,*,*",
        "webdoc,L0_1,ZZZZZZZ,*,*,*",
        "webdoc,L0_1,dmhTdua,,*,*",
        "webdoc,L0_1,dmhTdua,*,..,*",
        "webdoc,L0_1,dmhTdua,*,,*",
        "webdoc,L0_1,dmhTdua,*,%61,*",
        "webdoc,L0_1,dmhTdua,*,a/b,*",
        "webdoc,L0_1,dmhTdua,*,%00,*",
        "webdoc,L0_1,dmhTdua,*,*," + "x" * 1025,
        "webdoc/L0_1/dmhTdua/*/*/*",
    ],
)
def test_a_damaged_id_is_refused(path: str) -> None:
    assert parse_node_id(b64encode(b"Timeslot:webdoc,L0_1,dmhTdua,*,*,*").decode()).type is NodeType.TIMESLOT
    text = b64encode(f"Timeslot:{path}".encode()).decode()

    with pytest.raises(BadUserInput):
        parse_node_id(text)
    with pytest.raises(BadUserInput):
        leyr_id_within(text, NodeType.RESOURCE, UNIT)


def test_neither_a_timeslots_nor_an_ehrs_id_is_taken_for_a_resources() -> None:
    for text, kind in ((written(Timeslot(NINE)), "Timeslot"), (emr_id("webdoc"), "Emr")):
        with pytest.raises(BadUserInput, match=f"id of a {kind}"):
            leyr_id_within(text, NodeType.RESOURCE, UNIT)


def test_an_ehrs_id_leads_back() -> None:
    found = parse_node_id(emr_id("webdoc"))

    assert (found.type, found.emr) == (NodeType.EMR, "webdoc")
    for damaged in (b"Emr:", b"Emr:webdoc/L0_1", b"Emr:%61", b"Emr"):
        with pytest.raises(BadUserInput):
            parse_node_id(b64encode(damaged).decode())


def test_ids_of_ever_new_times_and_owners_take_no_more_memory_than_before() -> None:
    ids = TimeslotIds(UNIT)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(25_000):
        slot = Timeslot((start + timedelta(minutes=number)).isoformat(), None, f"r{number}")
        ids(slot)

    assert max(len(ids._times), len(ids._owners)) <= 10_000  # noqa: SLF001 # nothing else tells
