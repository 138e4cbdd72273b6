"""Limits are exact for any operation: bytes, objects of a type, and the work of one step."""

import asyncio
import re
from random import Random
from typing import Any

import orjson
import pytest
from graphql import GraphQLField, OperationDefinitionNode, parse
from graphql.execution.values import VariableValues
from hypothesis import assume, given, settings

from gateway.engine.arguments import ArgumentConverter
from gateway.engine.budget import ExecutionLimits, ItemLimit
from gateway.engine.compiler import Columns, CompilerConfig, compile_operation
from gateway.engine.errors import LimitExceededError
from gateway.engine.executor import Execution, ExecutionConfig
from tests.unit.engine.answering import Answer, answer, engine_of
from tests.unit.engine.booking_schema import BOOKING
from tests.unit.engine.booking_world import World
from tests.unit.engine.counted_schema import COUNTED, Clinic, Info, Pauses
from tests.unit.engine.differential import Operation
from tests.unit.engine.examples import EXAMPLES, RANDOMS
from tests.unit.engine.model_schema import core
from tests.unit.engine.random_documents import Maker
from tests.unit.engine.test_executor_booking import random_operation

# Fields that give lists of timeslots, some of them lists of lists.
LISTS = {"slots", "slotsOrNulls", "grid", "strictGrid"}


def answered(operation: Operation, world: World, limits: ExecutionLimits) -> Answer:
    engine = engine_of(BOOKING, limits)
    return asyncio.run(answer(operation.text, world.anew(), operation.variables, engine))


def message_of(found: Answer) -> str:
    assert found.data is None
    (error,) = found.errors
    assert isinstance(error.original_error, LimitExceededError)
    return error.message


@settings(max_examples=EXAMPLES // 2)
@given(RANDOMS)
def test_an_answer_of_the_most_bytes_is_given_and_one_more_is_refused_with_its_size(random: Random) -> None:
    operation, world = random_operation(random, may_wait=True), World(random.getrandbits(32))
    data = answered(operation, world, ExecutionLimits()).data
    assume(data is not None and len(data) > 20)
    assert data is not None

    assert answered(operation, world, ExecutionLimits(answer_bytes=len(data))).data == data
    message = message_of(answered(operation, world, ExecutionLimits(answer_bytes=len(data) - 1)))
    told = int(message.split()[4])
    assert len(data) - 1 < told <= len(data)
    assert f"the limit is {len(data) - 1}: " in message


def never_fails(parent: str, name: str, _: GraphQLField) -> bool:
    """Whether nothing fails in a field of a world without trouble."""
    return name in {"unit", "units"} if parent == "Query" else not re.match("secret|lateSecret|parts", name)


def timeslots_in(data: Any, key: str = "") -> int:
    """How many items the lists of timeslots in an answer have."""
    if isinstance(data, dict):
        return sum(timeslots_in(value, name.rstrip("0123456789")) for name, value in data.items())
    if not isinstance(data, list):
        return 0
    own = sum(not isinstance(each, list) for each in data) if key in LISTS else 0
    return own + sum(timeslots_in(each, key) for each in data)


@settings(max_examples=EXAMPLES // 2)
@given(RANDOMS)
def test_objects_of_a_type_are_counted_as_often_as_they_stand_in_the_answer(random: Random) -> None:
    maker = Maker(core(BOOKING), random, admits=never_fails, depth=5)
    operation, world = Operation(*maker.operation()), World(random.getrandbits(32), longest=4)
    whole = answered(operation, world, ExecutionLimits())
    # A list that is dropped later, because something in it fails, is counted when it is met.
    assume(not whole.errors)
    count = timeslots_in(orjson.loads(whole.data or b"null"))
    assume(count > 0)

    def limits(most: int) -> ExecutionLimits:
        return ExecutionLimits(items=ItemLimit("Timeslot", most, "timeslots"))

    assert answered(operation, world, limits(count)).data is not None
    message = message_of(answered(operation, world, limits(count - 1)))
    assert count - 1 < int(message.split()[4]) <= count
    assert f"timeslots or more; the limit is {count - 1}: " in message


@pytest.mark.parametrize(
    ("text", "most"),
    [
        # An object that is written item by item, with what is around it.
        ("{ unit { resources { name slots(first: 1) { start } } } }", 60),
        ("{ unit { slots { eachUnit { name } } } }", 60),
        # A piece has 20,000 rows at most.
        ("{ unit { slots { start end } } }", 2_700),
        ("{ unit { slots { start end careUnit { name } } } }", 2_700),
        ("{ unit { resources { slots { start } careUnit { slots { start end } } } } }", 2_700),
    ],
)
def test_a_step_ends_one_item_or_one_piece_after_its_work_is_done(text: str, most: float) -> None:
    (operation,) = parse(text).definitions
    assert isinstance(operation, OperationDefinitionNode)
    arguments = ArgumentConverter(
        COUNTED.schema_converter.scalar_registry, COUNTED.config, 1_000, hide_suggestions=True
    )
    variables = VariableValues({}, {})
    program = compile_operation(core(COUNTED), operation, {}, variables, CompilerConfig(Columns(), arguments))
    limits = ExecutionLimits(work=1_000_000, step_work=20)
    beyond: list[float] = []

    def look() -> None:
        beyond.append(-execution.budget.step)

    config = ExecutionConfig(Info, Exception, limits)
    execution = Execution(program, Clinic(40, slots=20_000), variables, config, Pauses(look))
    asyncio.run(execution.run())
    execution.close()

    assert len(beyond) >= 3
    assert max(beyond) <= most
