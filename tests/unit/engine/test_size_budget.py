"""How large an answer may become, whatever is written once and stands in it many times."""

from dataclasses import replace

import pytest

from gateway.engine.errors import AnswerTooLargeError
from gateway.engine.executor import Execution
from tests.unit.engine.answering import CONFIG, KEPT, THINGS, compiled, directly
from tests.unit.engine.model_schema import World

DOCUMENTS = [
    "{ things { name } }",
    "{ things { name owner { name } } }",
    "{ things { owner { name } } again: things { name } }",
]


@pytest.mark.parametrize("document", DOCUMENTS)
async def test_an_answer_may_have_so_many_bytes_and_no_more(document: str) -> None:
    whole = await directly(document, World(THINGS * 20_000))
    assert whole is not None
    program, variables = compiled(KEPT, document, {})
    assert program is not None

    async def within(most: int) -> bytes:
        pieces = await Execution(program, World(THINGS * 20_000), variables, replace(CONFIG, max_bytes=most)).answer()
        assert pieces is not None
        return b"".join(pieces)

    assert await within(3 * len(whole)) == whole
    with pytest.raises(AnswerTooLargeError):
        await within(len(whole) // 2)
