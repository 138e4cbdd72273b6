"""Node ids: one text for one thing, and nothing else passes."""

from base64 import b64decode, b64encode
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.domain.errors import BadUserInput
from gateway.domain.ids import (
    AnyNodeId,
    EmrId,
    NodeId,
    NodeType,
    TimeslotId,
    TimeslotIds,
    care_unit_id,
    checked_leyr_id,
    emr_id,
    is_usable,
    leyr_id_within,
    node_id,
    parse_node_id,
)
from gateway.domain.models import CareUnitKey, Timeslot

UNIT = CareUnitKey("webdoc", "L0_1")
UNUSABLE = ["", ".", "..", "a\x00", "\n", "\x1f", "\x7f", "\x85", "\x9f", "\ud800", "a\udfff", "x" * 1025]
BELOW_CARE_UNITS = [NodeType.RESOURCE, NodeType.HEALTHCARE_SERVICE]

# Cc is control characters, Cs is surrogates.
usable = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40).filter(
    lambda text: text not in {".", ".."}
)
keys = st.builds(CareUnitKey, usable, usable)
many = settings(max_examples=200, deadline=None)  # how long an example takes says nothing on a shared machine


@many
@given(st.sampled_from(BELOW_CARE_UNITS), keys, usable)
@example(NodeType.RESOURCE, UNIT, "R/7")
@example(NodeType.RESOURCE, CareUnitKey("a/b", "%2F"), "å%C3%A5 ../..")
def test_a_node_id_leads_back(node_type: NodeType, key: CareUnitKey, leyr_id: str) -> None:
    text = node_id(node_type, key, leyr_id)

    assert parse_node_id(text) == NodeId(node_type, key, leyr_id)
    assert leyr_id_within(text, node_type, key) == leyr_id
    assert text.isascii()


@many
@given(keys)
def test_a_care_units_id_leads_back(key: CareUnitKey) -> None:
    assert parse_node_id(care_unit_id(key)) == NodeId(NodeType.CARE_UNIT, key, key.care_unit)


def test_the_form_is_the_documented_one() -> None:
    assert b64decode(care_unit_id(UNIT)) == b"CareUnit:webdoc/L0_1"
    assert b64decode(node_id(NodeType.RESOURCE, UNIT, "R/7")) == b"Resource:webdoc/L0_1/R%2F7"


@many
@given(keys, usable, st.data())
def test_a_changed_node_id_is_never_another_things(key: CareUnitKey, leyr_id: str, data: st.DataObject) -> None:
    text = node_id(NodeType.RESOURCE, key, leyr_id)
    place = data.draw(st.integers(0, len(text)))
    changed = text[:place] + data.draw(st.text(max_size=3)) + text[data.draw(st.integers(place, len(text))) :]

    with suppress(BadUserInput):
        assert canonical(parse_node_id(changed)) == changed


@many
@given(st.text())
def test_any_text_is_a_canonical_node_id_or_refused(text: str) -> None:
    with suppress(BadUserInput):
        assert canonical(parse_node_id(text)) == text


@many
@given(st.binary(max_size=30))
def test_any_bytes_after_a_type_are_canonical_or_refused(tail: bytes) -> None:
    text = b64encode(b"Resource:" + tail).decode()

    with suppress(BadUserInput):
        assert canonical(parse_node_id(text)) == text


@pytest.mark.parametrize(
    "content",
    [
        b"Resource",
        b"Resource:",
        b"Resource:webdoc/L0_1",
        b"Resource:webdoc/L0_1/",
        b"Resource:webdoc/L0_1/a/b",
        b"Resource:webdoc/L0_1/%61",
        b"Resource:webdoc/L0_1/R%2f7",
        b"Resource:webdoc/L0_1/%FF",
        b"Resource:webdoc/L0_1/%",
        b"Resource:webdoc/L0_1/..",
        b"Resource:webdoc/../a",
        b"Resource:webdoc/L0_1/%00",
        b"Resource:webdoc/L0_1/" + b"x" * 1025,
        b"CareUnit:webdoc",
        b"CareUnit:webdoc/L0_1/a",
        b"CareUnit:/",
    ],
)
def test_a_damaged_node_id_is_refused_and_not_taken_for_a_raw_id(content: bytes) -> None:
    text = b64encode(content).decode()

    with pytest.raises(BadUserInput):
        parse_node_id(text)
    with pytest.raises(BadUserInput):
        leyr_id_within(text, NodeType.RESOURCE, UNIT)


@pytest.mark.parametrize("text", ["", "x", "R7", "Resource:webdoc/L0_1/a", "UGF0aWVudDphL2IvYw==", "å", "\ud800"])
def test_what_is_no_node_id_is_refused(text: str) -> None:
    with pytest.raises(BadUserInput):
        parse_node_id(text)


def test_a_node_id_of_another_type_is_refused() -> None:
    with pytest.raises(BadUserInput, match="id of a HealthcareService"):
        leyr_id_within(node_id(NodeType.HEALTHCARE_SERVICE, UNIT, "1"), NodeType.RESOURCE, UNIT)


@pytest.mark.parametrize("other", [CareUnitKey("webdoc", "L0_2"), CareUnitKey("kaddio", "L0_1")])
def test_a_node_id_of_another_care_unit_is_refused(other: CareUnitKey) -> None:
    with pytest.raises(BadUserInput, match="another care unit"):
        leyr_id_within(node_id(NodeType.RESOURCE, other, "1"), NodeType.RESOURCE, UNIT)


@pytest.mark.parametrize("raw", ["R7", "17", "R/7", "a..b", "%2F", "å", "Resource:webdoc/L0_1/a", "x" * 1024, "..."])
def test_a_raw_id_is_taken_where_the_parent_is_known(raw: str) -> None:
    assert leyr_id_within(raw, NodeType.RESOURCE, UNIT) == raw


@pytest.mark.parametrize("text", UNUSABLE)
def test_an_unusable_id_is_refused_without_quoting_it(text: str) -> None:
    assert not is_usable(text)
    with pytest.raises(BadUserInput) as refusal:
        checked_leyr_id(text)

    assert refusal.value.message.startswith("An id may not be empty, `.` or `..`")
    with pytest.raises(BadUserInput):
        leyr_id_within(text, NodeType.RESOURCE, UNIT)


def canonical(found: AnyNodeId) -> str:
    if isinstance(found, EmrId):
        return emr_id(found.emr)
    if isinstance(found, TimeslotId):
        end = None if found.end is None else found.end.isoformat()
        return TimeslotIds(found.care_unit)(Timeslot(found.start.isoformat(), end, found.resource, found.service))
    if found.type is NodeType.CARE_UNIT:
        return care_unit_id(found.care_unit)
    return node_id(found.type, found.care_unit, found.leyr_id)
