"""The report of the storm benchmark: which answers it counts as late, and which as missing."""

from typing import Any

import pytest

from benchmarks.storm import (
    DEADLINE_SECONDS,
    MOST_OVERDUE_SECONDS,
    SICK_UNITS,
    STRUCK,
    Heard,
    Storm,
    report,
    wrong,
)

WELL = {"leyrId": "1", "resources": [], "timeslots": [{"start": "2026-10-13T08:00:00+02:00"}]}
TRUTH = {("physica", "1", "2026-10-13T06:00:00Z"): WELL}


def heard(*left: Any, seconds: float = 0.1, status: int = 200) -> Heard:
    asked = {"left": "physica", "right": "cliniko", "start": "2026-10-13T06:00:00Z"}
    return Heard(asked, status, {"data": {"left": left or None, "right": None}}, seconds)


@pytest.mark.parametrize(
    ("answer", "is_fine"),
    [
        (heard(WELL), True),
        (heard(WELL, seconds=DEADLINE_SECONDS + MOST_OVERDUE_SECONDS / 2), True),
        (heard(WELL, seconds=DEADLINE_SECONDS + MOST_OVERDUE_SECONDS * 2), False),
        (heard(WELL, status=503), False),
        (heard({**WELL, "timeslots": []}), False),
        (heard(), False),
    ],
)
def test_a_storm_is_fine_where_every_answer_is_in_time_and_whole(
    answer: Heard, is_fine: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(Storm([heard(WELL), answer], [0.0]), TRUTH, at_a_time=2, cpu_seconds=0.1) is is_fine
    assert f"{int(answer.seconds > DEADLINE_SECONDS + MOST_OVERDUE_SECONDS)} of" in capsys.readouterr().out


def test_verdict_names_what_is_missing() -> None:
    assert wrong([heard()], TRUTH) == [(("physica", "1", "2026-10-13T06:00:00Z"), None, 0.1, None)]


def test_each_sick_unit_has_a_fault_of_its_own() -> None:
    struck = [fault.get("path", "") for faults in STRUCK.values() for fault in faults]

    assert all(any(f"/{emr}/care-units/{unit}/" in path for path in struck) for emr, unit in SICK_UNITS)
