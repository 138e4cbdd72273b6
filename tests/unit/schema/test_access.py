"""Whoever may see only some care units learns nothing of the others, and of those all that anybody does."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import given, reject, settings
from hypothesis import strategies as st

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.ids import care_unit_id
from gateway.domain.models import EVERYTHING, Access, CareUnitKey
from tests.unit.schema.graph import KEPT, Answered, Graph
from tests.unit.schema.random_queries import Root, document, random_roots
from tests.unit.schema.world import Unit, World, traces

EMRS = ("one", "two", "three")
LIST = "careUnits"
PROFILES = [EhrProfile(emr, f"name of {emr}") for emr in EMRS]


def random_world(random: Random) -> World:
    """EHRs whose care units, resources and services have ids in common."""
    units = {
        CareUnitKey(emr, f"u{number}"): Unit(
            [f"r{each}" for each in range(random.randint(1, 3))],
            [f"s{each}" for each in range(random.randint(1, 3))],
            random.randint(0, 3),
        )
        for emr in EMRS
        for number in range(random.randint(1, 3))
    }
    return World(units)


def random_access(world: World, random: Random) -> Access:
    emrs = random.choice([None, frozenset(random.sample(EMRS, random.randint(0, 3)))])
    some = random.sample([*world.units], random.randint(0, len(world.units)))
    return Access(emrs, random.choice([None, frozenset(some)]))


def check(roots: Sequence[Root], answer: Answered, whole: dict[str, Any], access: Access, world: World) -> None:
    """The answer to a caller is what the one who sees everything gets, without what that caller may not see."""
    for key in world.units:
        if not access.sees(key):
            assert not [trace for trace in traces(world, key) if trace in answer.text]
    assert answer.data is not None
    forbidden = {tuple(error["path"]) for error in answer.errors if error["extensions"]["code"] == "FORBIDDEN"}
    units = {care_unit_id(key) for key in world.units if access.sees(key)}
    for root in roots:
        expected, hidden = visible(root, pruned({root.field: whole[root.alias]}, units)[root.field], access)
        assert answer.data[root.alias] == expected
        assert {path for path in forbidden if path[0] == root.alias} == hidden


def pruned(found: Any, units: set[str]) -> Any:
    """A value without the care units that its lists of them hold beside `units`."""
    if isinstance(found, list):
        return [pruned(each, units) for each in found]
    if not isinstance(found, dict):
        return found
    lists = {name: [unit for unit in value if unit["id"] in units] for name, value in found.items() if name == LIST}
    return {name: pruned(value, units) for name, value in {**found, **lists}.items()}


def visible(root: Root, found: Any, access: Access) -> tuple[Any, set[tuple[Any, ...]]]:
    """What of a root field's value remains for a caller, and the paths that are forbidden."""
    seen = [access.sees(key) for key in root.keys]
    match root.field:
        case "emrs":
            return [each for each in found if access.sees_emr(each["code"])], set()
        case "emr":
            return (found, set()) if access.sees_emr(found["code"]) else (None, {(root.alias,)})
        case "careUnits" if not access.sees_emr(root.emr or first_visible(access)):
            return None, {(root.alias,)}
        case "careUnits":
            return found, set()
        case "nodes":
            return (
                [each if is_seen else None for each, is_seen in zip(found, seen, strict=True)],
                {(root.alias, number) for number, is_seen in enumerate(seen) if not is_seen},
            )
        case _:
            return (found, set()) if seen == [True] else (None, {(root.alias,)})


def first_visible(access: Access) -> str:
    return next(filter(access.sees_emr, EMRS), EMRS[0])


class TooLongError(Exception):
    """A document is longer than the gateway takes, as a few are."""


async def told_everything(world: World, roots: Sequence[Root], default: str) -> dict[str, Any]:
    """What the roots give to whoever sees everything, where `default` is the EHR that is meant by none."""
    named = [replace(root, emr=default) if root.field == "careUnits" and root.emr is None else root for root in roots]
    answer = await Graph(world, PROFILES).ask(document(named))
    if any("tokens" in message for message in answer.messages):
        raise TooLongError
    assert answer.data is not None
    return answer.data


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False))
def test_nothing_invisible_is_in_an_answer_and_everything_visible_is(random: Random) -> None:
    world = random_world(random)
    roots, access = random_roots(world, EMRS, random), random_access(world, random)

    async def both() -> tuple[dict[str, Any], Answered]:
        whole = await told_everything(world, roots, first_visible(access))
        return whole, await Graph(world, PROFILES).ask(document(roots), access)

    try:
        whole, answer = asyncio.run(both())
    except TooLongError:
        reject()

    check(roots, answer, whole, access, world)


def test_callers_on_one_memory_never_get_what_is_for_another() -> None:
    random = Random(20261012)  # noqa: S311 # the same in each run, and nothing secret
    world = random_world(random)
    accesses = [EVERYTHING, *(random_access(world, random) for _ in range(7))]
    asked = [random_roots(world, EMRS, random) for _ in range(60)]

    async def interleaved() -> int:
        whole = {
            (which, emr): await told_everything(world, roots, emr) for which, roots in enumerate(asked) for emr in EMRS
        }
        graph, answered = Graph(world, PROFILES, KEPT), 0
        for _ in range(50):
            graph.now += random.choice([0, 0, 10, 200])
            # Few at a time, so that most of them are compiled already: what was compiled is shared too.
            few = random.sample(range(len(asked)), 10)
            drawn = [(random.choice(few), random.choice(accesses)) for _ in range(80)]
            answers = await asyncio.gather(*(graph.ask(document(asked[which]), access) for which, access in drawn))
            for (which, access), answer in zip(drawn, answers, strict=True):
                check(asked[which], answer, whole[which, first_visible(access)], access, world)
                answered += 1
        return answered

    assert asyncio.run(interleaved()) == 4_000
