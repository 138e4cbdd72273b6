"""What an operation costs is counted and refused in time, whatever the document and whatever fails."""

import re
from typing import Any

import orjson
import pytest

from gateway.engine.budget import ExecutionLimits
from gateway.engine.engine import Operation, Result
from gateway.engine.errors import LimitExceededError
from tests.unit.engine.answering import engine_of
from tests.unit.engine.counted_schema import COUNTED, Clinic, Pauses

# The limits that the gateway ships with.
SHIPPED = ExecutionLimits()
AS_SHIPPED = engine_of(COUNTED, SHIPPED)


async def execute(text: str, clinic: Clinic, limits: ExecutionLimits = SHIPPED, **variables: Any) -> Result:
    engine = AS_SHIPPED if limits is SHIPPED else engine_of(COUNTED, limits)
    return await engine.execute(Operation(text, variables=variables), clinic)


async def pauses(text: str, clinic: Clinic, limits: ExecutionLimits = SHIPPED, **variables: Any) -> int:
    """How often an operation that succeeds has paused."""
    turns = Pauses()
    engine = engine_of(COUNTED, limits)
    result = await engine.execute(Operation(text, variables=variables), clinic, turns=turns)
    assert not result.errors
    return turns.count


def refusal(result: Result) -> str:
    """The message of the only error of an operation that was too large."""
    assert result.data is None
    (error,) = result.errors
    assert isinstance(error.original_error, LimitExceededError)
    return error.message


def decoded(result: Result) -> Any:
    return orjson.loads(b"".join(result.data or ()))


CROSSED = (
    "{ units { resources { careUnit { resources { careUnit { resources { careUnit { resources { "
    "slots(first: 0) { start } } } } } } } } } }"
)


@pytest.mark.parametrize("resources", [5, 30, 50])
async def test_references_back_and_forth_run_few_resolvers_where_objects_are_the_same(resources: int) -> None:
    clinic = Clinic(resources)

    result = await execute(CROSSED, clinic)

    assert clinic.runs.total() <= 5 * resources + 10
    if resources < 50:
        assert b"".join(result.data or ()).count(b"slots") == resources**4
    else:
        assert re.fullmatch(r"The answer would take \d+ bytes or more; the limit is 67108864: .*", refusal(result))


@pytest.mark.parametrize("resources", [30, 45])
async def test_references_back_and_forth_are_refused_where_objects_are_copies(resources: int) -> None:
    clinic = Clinic(resources, copies=True)

    message = refusal(await execute(CROSSED, clinic))

    found = re.fullmatch(r"The operation would take (\d+) units of work or more; the limit is (\d+): .*", message)
    assert found is not None
    assert int(found[1]) > int(found[2]) == SHIPPED.work
    assert clinic.runs.total() <= SHIPPED.work


FAILING = ["careUnit { name }", "eachUnit { name }", "start eachUnit { name } careUnit { name }"]


@pytest.mark.parametrize("selection", FAILING)
@pytest.mark.parametrize("slots", [1_000, 90_000])
async def test_a_field_that_may_not_be_null_fails_once_for_a_list_of_any_length(selection: str, slots: int) -> None:
    clinic = Clinic(slots=slots, is_down=True)

    result = await execute(f"{{ unit {{ name slots {{ {selection} }} }} }}", clinic, ExecutionLimits(work=1_000_000))

    assert decoded(result) == {"unit": {"name": "unit", "slots": None}}
    (error,) = result.errors
    assert error.message == "down"
    assert clinic.runs.total() <= 4


@pytest.mark.parametrize("value", [None, True, False])
async def test_a_null_for_include_costs_what_another_value_does(value: bool | None) -> None:
    text = "query($b: Boolean = true) { x: unit { name @include(if: $b) } units { slots { start } } }"
    clinic = Clinic(slots=80_000)

    result = await execute(text, clinic, b=value)

    assert len(decoded(result)["units"][0]["slots"]) == 80_000
    assert bool(result.errors) == (value is None)
    assert clinic.runs.total() == 1


@pytest.mark.parametrize("kind", ["", "(kind: DAY)", "(kind: $kind)"])
async def test_an_enum_argument_changes_nothing_about_what_a_list_costs(kind: str) -> None:
    head = "query($kind: Kind! = DAY)" if "$" in kind else ""
    tight = ExecutionLimits(step_work=100)
    text = f"{head} {{ unit {{ slotsOfKind{kind} {{ start end careUnit {{ name }} }} }} }}"
    plain, given = Clinic(slots=20_000), Clinic(slots=20_000)

    expected = await pauses("{ unit { slots { start end careUnit { name } } } }", plain, tight)

    assert await pauses(text, given, tight) == expected
    assert given.runs == plain.runs


BELOW = "{ unit { name resources { name careUnit { slots { start end } } slots { eachUnit { name } } } } }"


async def test_below_a_mutation_work_runs_and_steps_are_those_below_a_query() -> None:
    tight = ExecutionLimits(step_work=50)
    ours, theirs = Clinic(), Clinic()

    expected = await pauses(BELOW, theirs, tight)

    assert await pauses(f"mutation {BELOW}", ours, tight) == expected > 0
    assert ours.runs == theirs.runs
    small = ExecutionLimits(work=300)
    assert refusal(await execute(f"mutation {BELOW}", Clinic(), small)) == refusal(
        await execute(BELOW, Clinic(), small)
    )


@pytest.mark.parametrize("field", ["million", "lazy"])
@pytest.mark.parametrize("selection", ["name", "name slots { start }", "name slots { eachUnit { name } }"])
async def test_a_list_is_refused_before_its_first_item_is_written(field: str, selection: str) -> None:
    clinic = Clinic()
    small = ExecutionLimits(work=20_000)

    message = refusal(
        await execute(f"{{ list: {field}(millions: {10 if field == 'lazy' else 1}) {{ {selection} }} }}", clinic, small)
    )

    assert clinic.runs.total() == 0
    found = re.match(r"The operation would take (\d+) units", message)
    assert found is not None
    assert int(found[1]) >= 50_000


async def test_a_hundred_thousand_slots_with_their_links_are_within_the_limit() -> None:
    clinic = Clinic(slots=100_000)

    result = await execute("{ unit { slots { start end careUnit { name } } } }", clinic)

    assert not result.errors
    assert len(decoded(result)["unit"]["slots"]) == 100_000


@pytest.mark.parametrize(
    ("text", "variables", "length"),
    [
        ("query($ids: [ID!]!) { length(ids: $ids) }", {"ids": ["x"] * 11}, 11),
        (f"{{ length(ids: {['x'] * 12}) }}".replace("'", '"'), {}, 12),
        (f"query($ids: [ID!] = {['x'] * 13}) {{ length(ids: $ids) }}".replace("'", '"'), {}, 13),
        ("query($n: [[Int!]!]) { length(ids: [], nested: $n) }", {"n": [[1], [2] * 14]}, 14),
        ("query($n: [Int!]!) { length(ids: [], nested: [$n, [1]]) }", {"n": [3] * 15}, 15),
    ],
)
async def test_a_list_in_the_arguments_has_a_most(text: str, variables: dict[str, Any], length: int) -> None:
    def limits(most: int) -> ExecutionLimits:
        return ExecutionLimits(list_items=most)

    assert not (await execute(text, Clinic(), limits(length), **variables)).errors
    message = refusal(await execute(text, Clinic(), limits(length - 1), **variables))
    assert message == f"A list in the arguments has {length} items; the limit is {length - 1}"
