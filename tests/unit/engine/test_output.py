"""The size budget bounds an answer in bytes, however often the same text is copied in it."""

from dataclasses import replace

import pytest

from gateway.engine.errors import AnswerTooLargeError
from gateway.engine.executor import Execution
from tests.unit.engine.answering import CONFIG, DOCUMENTS, THINGS, compiled_data, program_of
from tests.unit.engine.model_schema import World

TEXTS = [
    "{ things { name } }",
    "{ things { name owner { name } } }",
    "{ things { owner { name } } again: things { name } }",
]


@pytest.mark.parametrize("text", TEXTS)
async def test_an_answer_beyond_its_budget_is_refused_and_one_within_is_whole(text: str) -> None:
    complete = await compiled_data(text, World(THINGS * 20_000))
    assert complete is not None
    program, variables = program_of(DOCUMENTS, text, {})
    assert program is not None

    async def within(most: int) -> bytes:
        pieces = await Execution(program, World(THINGS * 20_000), variables, replace(CONFIG, max_bytes=most)).run()
        assert pieces is not None
        return b"".join(pieces)

    assert await within(3 * len(complete)) == complete
    with pytest.raises(AnswerTooLargeError):
        await within(len(complete) // 2)
