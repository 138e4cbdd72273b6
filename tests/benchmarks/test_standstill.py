"""The standstill benchmark runs, and its report tells what is wrong from what is right."""

import re
import sys
from collections import Counter
from datetime import UTC, datetime

import pytest

from benchmarks.blocking_client import Answer, Probe
from benchmarks.hostile_upstream import Ehr, Manner, Upstream
from benchmarks.standstill import Outcome, main
from benchmarks.standstill_kinds import REFUSED, WIDE_FRAGMENTS, Kind, kinds

TODAY = datetime(2026, 11, 23, tzinfo=UTC)
KIND = Kind(name="some", document="{emrs{code}}", codes=REFUSED)


def probe(**statuses: int) -> Probe:
    found = Probe("", b"", 1, 1, lambda: 0.0)
    found.statuses = Counter({int(status.removeprefix("_")): number for status, number in statuses.items()})
    return found


def outcome(*answers: Answer, end: str = "", livez: Probe | None = None) -> Outcome:
    return Outcome(list(answers), end, livez=livez or probe(_200=3), ordinary=probe(_200=1))


@pytest.mark.skipif(sys.platform != "linux", reason="processor time is read from /proc")
def test_smallest_run_measures_a_request_and_a_load(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ["--kind", "4 levels of 30 resources, slots", "caches of 1 MiB"]
    status = main([*chosen, "--scale", "0.001", "--caches", "on"])

    printed = capsys.readouterr().out
    rows = re.findall(
        r"^\| ([^|]+) \| ([^|]+) \| [\d.]+ \| [\d.]+ \| [1-9]\d* \| \d+ \| \d+ \| [1-9]", printed, re.MULTILINE
    )
    assert status == 0, printed
    assert [name for name, _ in rows] == [
        "4 levels of 30 resources, slots first: 0",
        "25,000 different documents, caches of 1 MiB",
    ]
    assert rows[0][1].startswith("200, ")
    assert rows[1][1].startswith("25 x 200, ")


@pytest.mark.parametrize(
    ("found", "faults"),
    [
        (outcome(Answer(200, 10, (), 0.1)), []),
        (outcome(Answer(400, 10, ("OPERATION_TOO_LARGE",), 0.1)), []),
        (outcome(Answer(500, 10, ("INTERNAL",), 0.1)), ["INTERNAL"]),
        (outcome(end="died"), ["died"]),
        (outcome(livez=probe(_200=3, _503=1)), ["/livez failed 1 of 4"]),
        (outcome(livez=probe()), ["/livez failed 0 of 0"]),
    ],
)
def test_report_names_an_end_an_unexpected_code_and_others_that_failed(found: Outcome, faults: list[str]) -> None:
    assert found.faults(KIND) == faults


def test_kinds_have_names_of_their_own() -> None:
    names = [kind.name for kind in kinds(TODAY)]

    assert len(set(names)) == len(names) > 40


def test_document_with_wide_fragments_is_short() -> None:
    assert len(WIDE_FRAGMENTS) < 2_300


def test_hostile_upstream_gives_the_slots_of_a_window_and_a_resource() -> None:
    manner = Manner(resources=2, timeslots=29, failing=("care-units",))
    upstream = Upstream(Ehr(manner, TODAY), Ehr(Manner(), TODAY))
    window = "start=2026-11-24T00:00:00%2B00:00&end=2026-11-28T00:00:00%2B00:00"

    _, status, body = upstream.answer(f"/api/emrs/webdoc/care-units/u0/timeslots?{window}&resource_id=r1")
    _, failed, _ = upstream.answer("/api/emrs/webdoc/care-units")

    assert (status, failed) == (200, 500)
    assert re.findall(rb'"start":"([^"]+)"', body) == [b"2026-11-25T00:00:00+00:00", b"2026-11-27T00:00:00+00:00"]
