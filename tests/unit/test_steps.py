"""The counting event loop finds long steps, whoever makes them, and two parts of the gateway that go in small steps."""

import asyncio
import json
from typing import Any

import pytest
from starlette.types import Message

from gateway.engine.engine import Operation
from gateway.http.requests import RequestReader
from tests.steps import Steps, run_counted
from tests.unit.schema.clinic import request
from tests.unit.schema.gateway_engine import GatewayEngine

ROUNDS = 10_000
# Calls, lines and returns around one pause of the loops below.
A_FEW = 100


async def in_one_step(_: Steps) -> int:
    total = 0
    for each in range(ROUNDS):
        total += each
    return total


async def in_a_comprehension(_: Steps) -> int:
    return len([each for each in range(ROUNDS) if each >= 0])


async def in_another_task(steps: Steps) -> int:
    return await asyncio.create_task(in_one_step(steps))


async def in_a_timer(_: Steps) -> int:
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0, lambda: done.set_result(sum(each for each in range(ROUNDS))))
    found: int = await done
    return found


def ordered(numbers: list[int]) -> list[int]:
    return sorted(numbers)


async def in_c(steps: Steps) -> int:
    return len(steps.charged(ordered, len)(list(range(ROUNDS))))


async def in_pieces(_: Steps) -> int:
    total = 0
    for each in range(ROUNDS):
        total += each
        if each % 100 == 0:
            await asyncio.sleep(0)
    return total


async def in_a_thread(steps: Steps) -> int:
    return len(await asyncio.to_thread(steps.charged(ordered, len), list(range(ROUNDS))))


@pytest.mark.parametrize("work", [in_one_step, in_a_comprehension, in_another_task, in_a_timer, in_c])
def test_work_without_a_pause_is_one_long_step(work: Any) -> None:
    _, steps = run_counted(work)

    assert steps.largest.size >= ROUNDS


def test_work_with_pauses_is_many_short_steps() -> None:
    total, steps = run_counted(in_pieces)

    assert total == sum(range(ROUNDS))
    assert len(steps.all) > ROUNDS / 100
    assert steps.largest.size < 4 * 100 + A_FEW
    assert steps.total > 2 * ROUNDS


def test_work_in_a_thread_is_no_step() -> None:
    _, steps = run_counted(in_a_thread)

    assert steps.largest.size < ROUNDS


def test_steps_of_the_same_work_are_the_same() -> None:
    assert run_counted(in_pieces)[1].all == run_counted(in_pieces)[1].all


def test_an_error_of_the_work_reaches_the_test() -> None:
    async def failing(_: Steps) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        run_counted(failing)


def test_a_body_in_many_chunks_is_read_in_one_small_step_a_chunk() -> None:
    body = json.dumps({"query": "x" * 60_000}).encode()
    chunks = [body[at : at + 100] for at in range(0, len(body), 100)]

    async def receive() -> Message:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    number = len(chunks)
    read, steps = run_counted(lambda _: RequestReader().body(receive, {}))

    assert read == body
    assert len(steps.all) > number
    assert steps.largest.size < A_FEW


def test_a_document_that_came_before_is_answered_in_small_steps() -> None:
    operation = Operation("{ careUnits { timeslots { start end durationMinutes } resources { id name } } }")
    engine = GatewayEngine()

    _, first = run_counted(lambda _: engine.run(operation, request()))
    result, steps = run_counted(lambda _: engine.run(operation, request()))

    assert result.data is not None
    assert result.errors == ()
    assert len(steps.all) > 3
    # Parsing, validating and compiling it is most of what the first time takes.
    assert steps.largest.size < first.largest.size / 5
    assert steps.largest.size < 3_000
