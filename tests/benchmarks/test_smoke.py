"""The benchmarks run: every contender gives right answers and has its place in the table."""

import re
import sys

import pytest

from benchmarks.contenders import CACHED, GATEWAY, JOIN, PLAIN
from benchmarks.run import main
from benchmarks.workers import main as compare_workers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processor time is read from /proc")


def test_smallest_run_measures_every_contender(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--rounds", "1", "--seconds", "0.2", "--scenario", "warm"])

    printed, progress = capsys.readouterr()
    rows = re.findall(r"^\| warm \| ([^|]+) \| [\d.]+ \| [\d.]+ \|", printed, flags=re.MULTILINE)
    assert status == 0, progress
    assert re.search(r"Each of the [1-9]\d* answers was right", printed)
    assert rows == [GATEWAY, CACHED, PLAIN, JOIN]


def test_workers_are_compared_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare_workers(["--rounds", "1", "--seconds", "0.2"]) == 0

    printed, _ = capsys.readouterr()
    assert re.search(r"^\d\.\d\d times as many answers with 2 workers", printed, re.MULTILINE)
