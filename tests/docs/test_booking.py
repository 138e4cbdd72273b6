"""The page about booking: its tables are the program's, its documents are valid, its alerts watch what there is."""

import re

import pytest
from graphql import build_schema, parse, validate

from gateway.booking.key_decision import ACTIONS
from gateway.domain.booking import KEYLESS, BookingFailureReason
from gateway.engine.literals import check_literals
from gateway.schema.booking_input import refuse_literal
from tests.house.pages import ROOT, Block, blocks
from tests.house.test_readme import table

SCHEMA = build_schema((ROOT / "schema.graphql").read_text(encoding="utf-8"))


def rows(name: str) -> list[list[str]]:
    _, _, *lines = table(name).strip().splitlines()
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_of_keys_is_the_one_that_decides() -> None:
    assert [tuple(row) for row in rows("key actions")] == [
        (state.value, worker.value, action.value)
        for (state, worker), action in sorted(ACTIONS.items(), key=lambda each: _ORDER.index(each[0][0].value))
    ]


def test_every_reason_has_its_row_and_says_what_the_key_is_worth() -> None:
    found = {reason: key for reason, _, key in rows("reasons")}

    assert list(found) == [each.value for each in BookingFailureReason]
    same = {reason for reason, key in found.items() if key == "same"}
    # A key that stands for something else is worth nothing, though it is kept for that.
    assert same == {each.value for each in KEYLESS} - {"KEY_MISMATCH"} | {"OUTCOME_UNKNOWN"}


@pytest.mark.parametrize("block", blocks("graphql", "booking"), ids=str)
def test_a_document_is_valid_and_holds_no_data_of_a_patient(block: Block) -> None:
    document = parse(block.text)

    assert validate(SCHEMA, document) == []
    check_literals(document, refuse_literal)


def test_the_alerts_watch_metrics_that_there_are() -> None:
    (block,) = blocks("yaml", "alerts")
    source = (ROOT / "gateway" / "telemetry" / "booking_metrics.py").read_text(encoding="utf-8")

    metrics = {each.removesuffix("_bucket") for each in re.findall(r"gateway_\w+", block.text)}
    assert metrics
    assert [each for each in metrics if f'"{each}"' not in source] == []


_ORDER = ["claimed", "sent", "unknown", "done"]
