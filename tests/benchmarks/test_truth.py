"""The judge of the benchmarks finds wrong answers, and accepts right ones in any form."""

from base64 import b64encode
from typing import Any

import orjson
import pytest

from benchmarks.truth import Judge, WrongAnswerError

EARLY = ("2026-12-01T08:00:00+01:00", "2026-12-01T08:30:00+01:00", "R/7", "B1")
LATE = ("2026-12-01T09:00:00+01:00", "2026-12-01T09:30:00+01:00", "R/7", None)
TRUTH = [{"id": "L0_1", "name": "A", "resources": [{"id": "R/7", "name": "B"}], "timeslots": [EARLY, LATE]}]


def slot(start: str, end: str, resource: str | None, service: str | None) -> dict[str, Any]:
    return {"start": start, "end": end, "resourceId": resource, "healthcareServiceId": service}


def body(**changes: Any) -> bytes:
    slots = [slot(*LATE), slot(*EARLY), slot(*EARLY)]
    unit = {"id": "L0_1", "name": "A", "resources": [{"id": "R/7", "name": "B"}], "timeslots": slots, **changes}
    return orjson.dumps({"data": {"careUnits": [unit]}})


def node(text: str) -> str:
    return b64encode(text.encode()).decode()


def test_order_and_repetition_do_not_matter() -> None:
    Judge(TRUTH).judge(200, body())


def test_node_ids_stand_for_leyrs() -> None:
    resource, service = node("Resource:webdoc/L0_1/R%2F7"), node("HealthcareService:webdoc/L0_1/B1")
    slots = [slot(EARLY[0], EARLY[1], resource, service), slot(LATE[0], LATE[1], resource, None)]
    answer = body(id=node("CareUnit:webdoc/L0_1"), resources=[{"id": resource, "name": "B"}], timeslots=slots)

    Judge(TRUTH).judge(200, answer)


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeslots": [slot(*EARLY)]},
        {"timeslots": []},
        {"timeslots": [slot(*EARLY), slot(*LATE), slot(*LATE[:3], "B2")]},
        {"timeslots": None},
        {"name": "C"},
        {"id": "L0_2"},
        {"resources": []},
        {"more": 1},
    ],
)
def test_different_answer_is_wrong(wrong: dict[str, Any]) -> None:
    judge = Judge(TRUTH)
    judge.judge(200, body())

    with pytest.raises(WrongAnswerError):
        judge.judge(200, body(**wrong))


def test_errors_and_refusals_are_wrong() -> None:
    partial = orjson.dumps({**orjson.loads(body()), "errors": [{"message": "partial"}]})
    for status, answer in ((500, body()), (200, partial), (200, b"oops"), (200, b'{"data": null}'), (200, b"[]")):
        with pytest.raises(WrongAnswerError):
            Judge(TRUTH).judge(status, answer)
