"""A gateway that may not take more memory than a small container has answers hostile requests, and others meanwhile."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks.standstill import GATEWAY, run
from benchmarks.standstill_kinds import Kind, kinds

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and `ulimit -v`")

LIMIT_KIB = 1_500_000
LIMITED = ("sh", "-c", f'ulimit -v {LIMIT_KIB} && exec "$@"', "sh", *GATEWAY)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
KINDS = {kind.name: kind for kind in kinds(TODAY)}
TRIED = [
    "4 levels of 30 resources, slots first: 0",
    "4 levels of 45 resources, slots first: 0",
    "4 levels of 30 resources in fragments, id and name",
    "30 aliases of 10,000 resources",
    "non-null careUnit of 90,000 slots fails",
    "both linked lists of 100,000 slots fail",
    "@include(null) beside 80,000 slots",
    "fragments of many positions beside 95,000 slots",
    "null for a non-null argument with a default",
    "600,000 tiny items",
    "300 care units of 10,000 slots",
    "450 care units of 10,000 resources",
    "a name of 9.9 MiB",
    "JSON 100,000 deep",
    "an answer of about 60 MB, gzip",
    "an answer of about 60 MB, zstd",
    "40 lists with names of 4 MB, caches of 16 MiB",
]


@pytest.mark.parametrize("kind", [KINDS[name] for name in TRIED], ids=lambda kind: kind.name)
def test_gateway_with_little_memory_answers_a_hostile_request_and_others(kind: Kind, tmp_path: Path) -> None:
    outcome = run(kind, "on", tmp_path, command=LIMITED)

    assert outcome.faults(kind) == []
    assert [answer.status for answer in outcome.answers] in ([200], [400])
