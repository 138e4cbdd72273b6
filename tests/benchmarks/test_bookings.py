"""The benchmark of bookings: a small run under faults and a kill keeps every law; its judge finds what is broken."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.booking_clients import Order, Told
from benchmarks.booking_verdict import judge, table
from benchmarks.bookings import Bounds, Fleet, run
from tests.stores import need_store_server

BOOKINGS = 200
ORDER = Order("key-of-one", "webdoc", lists_appointments=True, timeslot_ids=["slot"], patient={"leyrId": "P1"})
BOOKED = {"__typename": "AppointmentBooked", "appointment": {"leyrId": "A1"}}
REFUSED = {"__typename": "BookingRefused", "reason": "NOT_BOOKED"}
HELD = {
    "emr": "webdoc",
    "care_unit": "L0_1",
    "id": "A1",
    "status": "booked",
    "start": "2026-10-13T08:00:00Z",
    "end": "2026-10-13T08:20:00Z",
    "resource_id": "R1",
    "comment_sha256": ORDER.comment_sha256,
    "booked_by_call": 1,
}
CALL = {"number": 1, "emr": "webdoc", "fault": None}


@pytest.mark.skipif(sys.platform != "linux", reason="the journal's processes are told apart by Linux")
def test_no_law_is_broken_under_faults_and_a_kill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdict, is_won = run(
        tmp_path, bookings=BOOKINGS, kills=1, races=0, emrs=("webdoc", "cliniko"), bounds=Bounds(1, 2)
    )

    assert verdict.is_fine, capsys.readouterr().out
    assert is_won
    assert verdict.without_fault > BOOKINGS / 3
    assert f"{BOOKINGS} bookings" in capsys.readouterr().out


def test_no_law_is_broken_by_four_processes_whose_store_is_killed_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    need_store_server()
    fleet = Fleet(processes=4, shared=True, store_kills=1)
    verdict, _ = run(
        tmp_path, bookings=BOOKINGS // 2, kills=1, races=0, emrs=("webdoc",), bounds=Bounds(1, 2), fleet=fleet
    )

    assert verdict.is_fine, capsys.readouterr().out
    assert "1 kills, 1 of the store" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "held", "law"),
    [
        (BOOKED, [HELD], None),
        (REFUSED, [], None),
        (BOOKED, [HELD, {**HELD, "id": "A2", "start": HELD["end"], "end": "2026-10-13T09:00:00Z"}], "booked twice"),
        (None, [HELD], "no definite outcome"),
        (BOOKED, [], "claimed and not there"),
        (BOOKED, [{**HELD, "id": "A2"}], "claimed and not there"),
        (BOOKED, [{**HELD, "status": "cancelled"}], "claimed and not there"),
        (REFUSED, [HELD], "denied and there"),
        (BOOKED, [HELD, {**HELD, "id": "A2", "comment_sha256": None}], "one time given twice"),
    ],
)
def test_verdict_names_the_law_that_is_broken(
    answer: Mapping[str, Any] | None, held: list[Mapping[str, Any]], law: str | None
) -> None:
    told = [Told(ORDER, answer)]

    verdict = judge(told, held, [CALL])

    assert [name for name, keys in verdict.broken.items() if keys] == ([] if law is None else [law])
    assert verdict.is_fine is (law is None)
    assert any(line.startswith("| webdoc | 1 | 1 | 0 |") for line in table(told, verdict, [CALL]))


def test_unknown_outcomes_without_a_fault_may_be_two_of_a_hundred() -> None:
    orders = [
        Order(f"key-{number}", "anitasystems", lists_appointments=False, timeslot_ids=["slot"], patient={})
        for number in range(100)
    ]
    held = [{**HELD, "id": each.key, "resource_id": each.key, "comment_sha256": each.comment_sha256} for each in orders]

    def share(unknown: int) -> bool:
        answers = [None if number < unknown else number for number in range(100)]
        told = [
            Told(order, None if number is None else {"__typename": "x", "appointment": {"leyrId": order.key}})
            for order, number in zip(orders, answers, strict=True)
        ]
        return judge(told, held, [CALL]).is_fine

    assert share(2)
    assert not share(3)


def test_an_order_that_a_client_left_open_is_no_definite_outcome() -> None:
    assert Told(ORDER).end == "unknown"
    assert Told(ORDER, BOOKED).appointment == "A1"
