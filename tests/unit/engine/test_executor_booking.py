"""Whatever resolvers of the booking schema do, the engine answers random operations as graphql-core's executor does."""

import asyncio
from random import Random

from graphql import OperationType
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.engine.budget import ExecutionLimits
from tests.unit.engine.answering import Answer, answer, document_of, engine_of
from tests.unit.engine.booking_schema import BOOKING, BOOKING_SCHEMA, SCALARS, waits
from tests.unit.engine.booking_world import World
from tests.unit.engine.differential import Operation, check_operation, check_same, expected_answer
from tests.unit.engine.examples import EXAMPLES, RANDOMS
from tests.unit.engine.random_documents import Maker

ENGINE = engine_of(BOOKING)
PAUSING = engine_of(BOOKING, ExecutionLimits(work=10_000_000, step_work=0.5))
TROUBLE = st.sampled_from([0, 5, 20, 50])


def random_operation(random: Random, *, may_wait: bool, kind: OperationType | None = None) -> Operation:
    """A valid operation, with or without fields whose resolvers wait."""
    maker = Maker(
        BOOKING_SCHEMA,
        random,
        SCALARS,
        (lambda *_: True) if may_wait else (lambda *field: not waits(*field)),
        depth=random.choice([2, 3, 4]),
        wrong_conditions=random.random() < 0.2,
    )
    chosen = kind or random.choice([OperationType.QUERY] * 5 + [OperationType.MUTATION])
    operation = Operation(*maker.operation(chosen))
    assert not document_of(operation.text, ENGINE).errors
    return operation


@settings(max_examples=EXAMPLES)
@given(RANDOMS, TROUBLE)
def test_operations_that_do_not_wait_have_the_answer_of_graphql_core_in_its_order(random: Random, trouble: int) -> None:
    operation = random_operation(random, may_wait=False)

    async def story() -> None:
        world = World(random.getrandbits(32), trouble, waits=False, own_paths=True)
        await check_operation([ENGINE], BOOKING_SCHEMA, operation, world.anew, waits=False)

    asyncio.run(story())


@settings(max_examples=EXAMPLES)
@given(RANDOMS, TROUBLE, st.booleans())
def test_operations_that_wait_or_pause_have_the_data_of_graphql_core_and_its_reasons_for_each_null(
    random: Random, trouble: int, later: bool
) -> None:
    operation = random_operation(random, may_wait=later)

    async def story() -> None:
        world = World(random.getrandbits(32), trouble, waits=later)
        await check_operation([ENGINE, PAUSING], BOOKING_SCHEMA, operation, world.anew, waits=True)

    asyncio.run(story())


@settings(max_examples=EXAMPLES // 3 + 1)
@given(RANDOMS, TROUBLE, st.booleans())
def test_an_object_that_stands_in_many_places_is_written_as_copies_of_it_are(
    random: Random, trouble: int, later: bool
) -> None:
    operation = random_operation(random, may_wait=later)
    world = World(random.getrandbits(32), trouble, waits=later, shares=False)

    async def story() -> None:
        expected = await expected_answer(BOOKING_SCHEMA, operation, world.anew())
        for shares in (True, False):
            found = await answer(operation.text, world.anew(shares=shares), operation.variables, ENGINE)
            check_same(found, expected, waits=later)

    asyncio.run(story())


@settings(max_examples=EXAMPLES // 3 + 1)
@given(RANDOMS, TROUBLE)
def test_operations_at_the_same_time_have_the_answers_that_each_has_alone(random: Random, trouble: int) -> None:
    operations = [random_operation(random, may_wait=True) for _ in range(3)]
    worlds = [World(random.getrandbits(32), trouble) for _ in range(3)]

    async def answered(number: int) -> Answer:
        operation = operations[number]
        return await answer(operation.text, worlds[number].anew(), operation.variables, PAUSING)

    async def story() -> None:
        # What is compiled at run time moves the pauses of the first execution, and so the order of what fails.
        for number in range(3):
            await answered(number)
        alone = [await answered(number) for number in range(3)]
        mixed = await asyncio.gather(*map(answered, range(3)))
        for one, other in zip(alone, mixed, strict=True):
            assert one.data == other.data
            assert list(map(str, one.errors)) == list(map(str, other.errors))

    asyncio.run(story())


@settings(max_examples=EXAMPLES // 3 + 1)
@given(RANDOMS, TROUBLE)
def test_mutations_run_one_after_the_other_as_in_graphql_core(random: Random, trouble: int) -> None:
    operation = random_operation(random, may_wait=True, kind=OperationType.MUTATION)

    async def story() -> None:
        world = World(random.getrandbits(32), trouble)
        theirs = world.anew()
        expected = await expected_answer(BOOKING_SCHEMA, operation, theirs)
        for engine in (ENGINE, PAUSING):
            ours = world.anew()
            found = await answer(operation.text, ours, operation.variables, engine)
            check_same(found, expected, waits=True)
            assert roots(ours) == roots(theirs)

    asyncio.run(story())


def roots(world: World) -> dict[str, int]:
    """How often the resolvers of mutations have run."""
    return {name: count for name, count in world.runs.items() if name in {"book", "cancel"}}
