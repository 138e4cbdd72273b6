"""Leyr's lists, as the documentation leaves them possible."""

import json
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.errors import UpstreamInvalidAnswer
from gateway.domain.models import Resource, Timeslot
from gateway.domain.timeslots import TimeslotList
from gateway.leyr.decoding import Decoded, ListDecoder

RESOURCES = ListDecoder(Resource, "id", max_items=1_000)
TIMESLOTS = ListDecoder(
    Timeslot,
    "start",
    max_items=1_000,
    instants=("start", "end"),
    owners=("resource_id", "healthcare_service_id"),
)
START = "2026-12-01T09:00:00+01:00"
many = settings(max_examples=200, deadline=None)  # how long an example takes says nothing on a shared machine


def body(found: object) -> bytes:
    return json.dumps(found).encode()


def started(*starts: str) -> list[str]:
    return [slot.start for slot in TIMESLOTS.decode(body([{"start": start} for start in starts])).items]


def test_an_empty_list_is_an_empty_list() -> None:
    assert RESOURCES.decode(b"[]") == Decoded([])


def test_unknown_fields_are_ignored_and_missing_ones_are_none() -> None:
    found = RESOURCES.decode(body([{"id": "1", "colour": {"deep": [1, None]}}, {"id": "2", "name": None}]))

    assert found == Decoded([Resource("1"), Resource("2")])


def test_a_timeslot_needs_its_start_only() -> None:
    assert TIMESLOTS.decode(body([{"start": START}])).items == [Timeslot(START)]


@pytest.mark.parametrize("item", [{}, {"id": None}, {"id": ""}, {"name": "Nobody"}])
def test_an_item_without_identity_is_dropped_and_counted(item: dict[str, Any]) -> None:
    found = RESOURCES.decode(body([item, {"id": "1"}, item]))

    assert found == Decoded([Resource("1")], dropped=2)


@pytest.mark.parametrize("items", [[{}], [{"id": None}, {"id": ""}], [{"ID": "1"}, {"identifier": "2"}]])
def test_a_list_whose_items_all_lack_identity_is_refused(items: list[dict[str, Any]]) -> None:
    with pytest.raises(UpstreamInvalidAnswer):
        RESOURCES.decode(body(items))


def test_an_object_around_one_list_is_accepted_and_flagged() -> None:
    found = RESOURCES.decode(body({"data": [{"id": "1"}, {}], "total": 2, "next": None}))

    assert found == Decoded([Resource("1")], dropped=1, wrapped=True)


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"data": None},
        {"one": [], "other": []},
        {"id": "1"},
        {"errors": []},
        {"error": "no", "data": []},
        {"code": "EMR_ERROR", "errors": [{"error_code": "X"}]},
        {"code": None, "data": [{"id": "1"}]},
        {"data": {"items": [{"id": "1"}]}},
        None,
        1,
        "text",
        True,
    ],
)
def test_what_is_no_list_is_refused(found: object) -> None:
    with pytest.raises(UpstreamInvalidAnswer):
        RESOURCES.decode(body(found))


@pytest.mark.parametrize(
    "items",
    [
        [1],
        ["a"],
        [None],
        [[]],
        [{"id": ["1"]}],
        [{"id": {"id": "1"}}, None],
        [{"id": True}],
    ],
)
def test_a_list_of_something_else_is_refused(items: list[Any]) -> None:
    with pytest.raises(UpstreamInvalidAnswer):
        RESOURCES.decode(body(items))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"<html>Bad gateway</html>",
        b'[{"id": "1"}',
        b'[{"id": "1"},]',
        b'[{"id": "1"}] []',
        b'[{"id": "\xff"}]',
        b'[{"id": "\xc3"}]',
        b'[{"id": "\\ud800"}]',
        b'[{"id": NaN}]',
        b"\xef\xbb\xbf[]",
        b'[{"id": "1", "x": ' + b"[" * 20_000 + b"]" * 20_000 + b"}]",
    ],
)
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(UpstreamInvalidAnswer):
        RESOURCES.decode(text)


@pytest.mark.parametrize(
    "text",
    [
        START,
        "2026-12-01T08:00:00Z",
        "2026-12-01T08:00:00-00:00",
        "2026-12-01T08:00:00.5+05:45",
        "2026-12-01T08:00:00.123456Z",
    ],
)
def test_rfc_3339_is_kept_as_it_came(text: str) -> None:
    assert started(text) == [text]


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("2026-12-01 09:00:00+01:00", START),
        ("2026-12-01T09:00+01:00", START),
        ("2026-12-01T09:00:00+01", START),
        ("20261201T090000+0100", START),
        ("2026-W49-2T09:00:00+01:00", START),
        ("2026-12-01T09:00:00,5+01:00", "2026-12-01T09:00:00.500000+01:00"),
        ("2026-12-01T09:00:00.123456789+01:00", "2026-12-01T09:00:00.123456+01:00"),
    ],
)
def test_other_ways_of_iso_8601_become_rfc_3339(text: str, normalised: str) -> None:
    assert started(text, START) == [normalised, START]


@pytest.mark.parametrize(
    "text",
    [
        "2026-12-01T09:00:00",
        "2026-12-01",
        "09:00:00+01:00",
        "tomorrow",
        "2026-02-30T09:00:00Z",
        "2026-12-01T25:00:00Z",
        "2026-12-01T24:00:00+01:00",
        "2026-12-01T24:00+01:00",
        "2026-12-01T09:00:60Z",
        "2026-12-01T09:00:00+01:00:30",
        "0",
        "0000-00-00T00:00:00Z",
        "9" * 100,
        "2026-12-01T09:00:00+24:00",
        "1764576000",
        "٢٠٢٦-12-01T09:00:00Z",
    ],
)
def test_a_start_that_names_no_instant_drops_its_row_and_such_an_end_is_none(text: str) -> None:
    found = TIMESLOTS.decode(body([{"start": text}, {"start": START, "end": text}]))

    assert (found.items, found.dropped) == ([Timeslot(START)], 1)
    with pytest.raises(UpstreamInvalidAnswer):
        TIMESLOTS.decode(body([{"start": text}]))


@many
@given(st.datetimes(), st.integers(-14 * 60, 14 * 60), st.sampled_from("T t_"))
def test_a_normalised_time_is_the_same_instant(local: datetime, offset: int, separator: str) -> None:
    moment = local.replace(tzinfo=timezone(timedelta(minutes=offset)))

    assert started(moment.isoformat(separator)) == [moment.isoformat()]


identities = st.sampled_from([None, "", "1", "2026-12-01T09:00:00Z", "2026-12-01 09:00Z", 1])
rows = st.dictionaries(
    st.sampled_from(["id", "start", "end", "name", "resource_id"]),
    identities | st.lists(identities, max_size=1),
    max_size=4,
)
answers = st.lists(rows | identities, max_size=4)


@many
@given(answers | st.dictionaries(st.sampled_from(["data", "error", "more"]), answers | identities, max_size=3))
def test_any_json_is_decoded_or_refused(found: Any) -> None:
    with suppress(UpstreamInvalidAnswer):
        assert all(resource.id for resource in RESOURCES.decode(body(found)).items)
    with suppress(UpstreamInvalidAnswer):
        TimeslotList(TIMESLOTS.decode(body(found)).items)


@many
@given(answers)
def test_every_item_is_decoded_or_counted(found: list[Any]) -> None:
    with suppress(UpstreamInvalidAnswer):
        decoded = RESOURCES.decode(body(found))

        assert len(decoded.items) + decoded.dropped == len(found)


@many
@given(st.binary(max_size=200))
def test_any_bytes_are_a_list_or_refused(body: bytes) -> None:
    for decoder in (RESOURCES, TIMESLOTS):
        with suppress(UpstreamInvalidAnswer):
            assert isinstance(decoder.decode(body), Decoded)


DEEP = b"[" * 20_000
BROKEN = [b"[1,", b'{"a":', DEEP, b'{"x":"\xff"}', b'[{"id":"a"},{"id":null},"\xff"]', b'[{"id":null,"x":' + DEEP]


@pytest.mark.parametrize("body", BROKEN)
def test_broken_json_is_refused_on_the_tolerant_way_too(body: bytes) -> None:
    with pytest.raises(UpstreamInvalidAnswer):
        RESOURCES.decode(body)


def test_an_empty_text_counts_as_missing() -> None:
    [slot] = TIMESLOTS.decode(body([{"start": START, "end": "", "resource_id": "", "healthcare_service_id": ""}])).items

    assert slot == Timeslot(START)


@pytest.mark.parametrize(
    "beside",
    [
        {"errors": []},
        {"error": None},
        {"warnings": []},
        {"warnings": ["old"]},
        {"error": "", "errors": None, "messages": [], "links": [], "_links": {}},
        {"error": False},
        {"errors": {}},
    ],
)
def test_a_list_beside_no_errors_is_a_list(beside: dict[str, Any]) -> None:
    assert RESOURCES.decode(body({"data": [{"id": "1"}], **beside})).items == [Resource("1")]
    assert RESOURCES.decode(body({**beside, "data": []})).items == []


@pytest.mark.parametrize("beside", [{"errors": ["no"]}, {"error": "no"}, {"error": {"code": 1}}, {"errors": [[]]}])
def test_a_list_beside_an_error_is_refused(beside: dict[str, Any]) -> None:
    with pytest.raises(UpstreamInvalidAnswer):
        RESOURCES.decode(body({"data": [{"id": "1"}], **beside}))
