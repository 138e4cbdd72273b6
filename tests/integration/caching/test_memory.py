"""The memory of a gateway's process after traffic of every kind that never comes twice."""

import sys
from pathlib import Path

import pytest

from benchmarks.memory import KINDS, gateway, growth, most_growth, send, warmed_up

SHARE = 0.03
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


@pytest.mark.parametrize("cache_mb", [1, 16])
def test_a_process_takes_no_more_than_the_setting_says_whatever_is_asked(cache_mb: int, tmp_path: Path) -> None:
    most = most_growth(cache_mb)
    with gateway(cache_mb, tmp_path) as server:
        before = warmed_up(server)
        for kind in KINDS:
            send(server, kind, max(1, round(kind.long_run * SHARE)))
            assert growth(server, before, most) <= most, kind.name
