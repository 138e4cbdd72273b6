"""The table of results: medians, ratios, and where it goes in the benchmarks' README."""

from datetime import date

import pytest

from benchmarks.contenders import GATEWAY, PLAIN
from benchmarks.measurement import Measurement
from benchmarks.results import Results, written_into
from benchmarks.scenarios import SCENARIOS

TODAY = date(2026, 12, 3)


def measurement(cpu: float) -> Measurement:
    return Measurement(
        answers=10, cpu_seconds=cpu, p50_seconds=0.0125, p99_seconds=0.25, peak_bytes=3 * 2**20, upstream_calls=13,
        upstream_cpu_seconds=0.001, busy=0.9,
    )  # fmt: skip


def results() -> Results:
    made = Results(rounds=3)
    made.describe(SCENARIOS[0], [{"resources": [{"id": "R1"}], "timeslots": [("a",), ("b",)]}])
    for number, (own, plain) in enumerate([(0.002, 0.02), (0.004, 0.048), (0.002, 0.028)]):
        made.measured["small", GATEWAY][number] = measurement(own)
        made.measured["small", PLAIN][number] = measurement(plain)
    return made


def test_medians_over_rounds_and_ratios_within() -> None:
    table = results().markdown(TODAY)

    assert "Measured on 3 December 2026: " in table
    assert "Each of the 60 answers was right. Medians of 3 interleaved rounds." in table
    assert "| small | gateway | 2.00 | 1.00 | 12.5 | 250 | 3.00 | 13.0 |" in table
    assert "| small | plain strawberry | 28.0 | 12.0 | 12.5 | 250 | 3.00 | 13.0 |" in table
    assert "* `small`: 1 care units, 1 resources, 2 slots, 8 connections, windows that move" in table


def test_wrong_answer_is_shown_instead_of_a_figure() -> None:
    made = results()
    made.failures["small", PLAIN] = "a slot is missing"

    table = made.markdown(TODAY)

    assert "| small | plain strawberry | FAILED |" in table
    assert "1 of 2 rows FAILED." in table
    assert "was right" not in table


def test_the_table_goes_between_its_markers() -> None:
    page = "# Title\n\n<!-- benchmark:start -->\nold\n<!-- benchmark:end -->\n\nmore\n"

    once = written_into(page, r"new \1")

    assert once == "# Title\n\n<!-- benchmark:start -->\nnew \\1\n<!-- benchmark:end -->\n\nmore\n"
    assert written_into(once, r"new \1") == once
    with pytest.raises(ValueError, match="benchmark:start"):
        written_into("# Title\n", "new")
