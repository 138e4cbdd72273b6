"""Windows in the local days of a care unit, which may lie in another time zone than its EHR."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.domain.ids import care_unit_id
from gateway.domain.models import CareUnitKey
from tests.harness import CACHES_ON, Gateway, Simulator

STOCKHOLM, HELSINKI, TOKYO = (care_unit_id(CareUnitKey("webdoc", each)) for each in ("L0_1", "L0_2", "L0_3"))
Serve = Callable[..., Gateway]


@pytest.fixture
def zones(tmp_path: Path) -> Path:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text("""
        [webdoc]
        longest_window_days = 7
        [webdoc.care_units.L0_2]
        time_zone = "Europe/Helsinki"
        [webdoc.care_units.L0_3]
        time_zone = "Asia/Tokyo"
    """)
    return profiles


def test_three_months_over_the_end_of_summer_time_are_accepted_where_the_care_unit_has_it(
    serve_gateway: Serve, zones: Path
) -> None:
    arguments = 'timeslots(start: "2026-07-31T22:00:00Z", end: "2026-10-31T23:00:00Z") { start }'
    units = {"a": STOCKHOLM, "b": TOKYO}

    answer = serve_gateway(leyr_profiles=zones).ask(
        "{" + "".join(f'{name}: careUnit(id: "{unit}") {{ {arguments} }}' for name, unit in units.items()) + "}"
    )

    assert answer["data"]["a"]["timeslots"]
    [error] = answer["errors"]
    assert (error["path"], error["extensions"]["code"]) == (["b", "timeslots"], "BAD_USER_INPUT")
    assert error["message"].startswith("The window is wider than 92 days")


@pytest.mark.parametrize(("unit", "midnight"), [(STOCKHOLM, 22), (HELSINKI, 21), (TOKYO, 15)])
def test_window_is_rounded_up_to_the_midnight_of_its_care_unit(
    unit: str, midnight: int, serve_gateway: Serve, simulator: Simulator, zones: Path
) -> None:
    window = 'start: "2026-10-13T06:00:00Z", end: "2026-10-14T06:30:00Z"'

    serve_gateway(leyr_profiles=zones, **CACHES_ON).data(
        f'{{ careUnit(id: "{unit}") {{ timeslots({window}) {{ start }} }} }}'
    )

    assert simulator.calls()[-1]["params"]["end"] == f"2026-10-14T{midnight}:00:00+00:00"


@pytest.mark.parametrize(("unit", "midnight"), [(STOCKHOLM, 22), (HELSINKI, 21), (TOKYO, 15)])
def test_long_window_is_cut_at_the_midnight_of_its_care_unit(
    unit: str, midnight: int, serve_gateway: Serve, simulator: Simulator, zones: Path
) -> None:
    window = 'start: "2026-10-13T06:00:00Z", end: "2026-10-22T06:00:00Z"'

    serve_gateway(leyr_profiles=zones).data(f'{{ careUnit(id: "{unit}") {{ timeslots({window}) {{ start }} }} }}')

    ends = sorted(call["params"]["end"] for call in simulator.calls() if call["endpoint"] == "timeslots")
    assert len(ends) == 2
    assert ends[0].endswith(f"T{midnight}:00:00+00:00")
