"""Work in pieces."""

import asyncio

import pytest

from gateway.domain.pieces import PIECE, InPieces, Pieces, batches, whole


def work(done: list[int], pieces: int) -> Pieces[str]:
    for number in range(pieces):
        done.append(number)
        yield
    return "done"


def test_work_in_one_go_gives_its_result() -> None:
    done: list[int] = []

    assert whole(work(done, 3)) == "done"
    assert done == [0, 1, 2]


def test_awaited_work_lets_others_go_on_after_each_piece() -> None:
    done: list[int] = []

    async def other() -> None:
        for _ in range(3):
            done.append(-1)
            await asyncio.sleep(0)

    async def both() -> str:
        result, _ = await asyncio.gather(InPieces(work(done, 3)), other())
        return result

    assert asyncio.run(both()) == "done"
    assert done == [0, -1, 1, -1, 2, -1]


def test_awaited_work_ends_at_the_next_pause_when_its_task_is_cancelled() -> None:
    done: list[int] = []

    async def cancelled() -> None:
        task = asyncio.ensure_future(InPieces(work(done, 1_000)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())

    assert len(done) < 5


@pytest.mark.parametrize("count", [0, 1, PIECE, PIECE + 1, 3 * PIECE])
def test_batches_hold_every_item_once_and_at_most_a_piece(count: int) -> None:
    found = list(batches(range(count)))

    assert [item for batch in found for item in batch] == list(range(count))
    assert all(0 < len(batch) <= PIECE for batch in found)
