"""Calls on their way that newer answers have overtaken: which of them waits for which."""

import asyncio

import pytest

from gateway.domain.queries import Step
from gateway.fetch.pending_reads import PendingRead
from tests.unit.model_ehr import UNIT, window


def overtaken(began: float) -> PendingRead:
    read = PendingRead(Step(UNIT, window(0, 1)), object())
    read.begin(began, was_overtaken=True)
    return read


@pytest.mark.anyio
async def test_of_two_overtaken_calls_whose_requests_are_sent_late_the_later_waits_for_the_earlier() -> None:
    earlier, later = overtaken(1.0), overtaken(2.0)
    first = asyncio.create_task(earlier.wait_for_overtaken([earlier, later], 3.0))
    second = asyncio.create_task(later.wait_for_overtaken([earlier, later], 3.0))
    for _ in range(5):
        await asyncio.sleep(0)

    assert first.done()
    assert not second.done()
    earlier.end()
    await second
