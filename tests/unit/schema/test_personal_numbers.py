"""An id that may be somebody's personal number leaves the gateway only where Leyr lists it."""

import asyncio
from typing import Any

import pytest

from gateway.domain.ehr_profile import EhrProfile, FilterPolicy
from gateway.domain.ids import NodeType, care_unit_id, node_id
from gateway.domain.models import CareUnitKey
from tests.unit.schema.graph import KEPT, Answered, Graph
from tests.unit.schema.world import Unit, World

NUMBER = "19121212-1212"
LISTED = "121212 12345"
HERE = CareUnitKey("one", "u1")
THERE = CareUnitKey("one", NUMBER)
FAMILIAR = CareUnitKey("one", LISTED)
UNITS = {HERE: Unit(("r1", LISTED), ("s1", LISTED)), FAMILIAR: Unit()}
PROFILE = EhrProfile("one", "One")
LIST, RESOURCES, SERVICES = ("care-units", "one"), ("resources", *HERE), ("healthcare-services", *HERE)
SLOTS = ("timeslots", *HERE)


def within(kind: NodeType, leyr_id: str, key: CareUnitKey = HERE) -> str:
    return node_id(kind, key, leyr_id)


def ask(text: str, world: World, profile: EhrProfile = PROFILE, **variables: Any) -> Answered:
    return asyncio.run(Graph(world, [profile]).ask(text, **variables))


def of_unit(selection: str) -> str:
    return f'{{ careUnit(id: "{care_unit_id(HERE)}") {{ name {selection} }} }}'


# Queries with an id that nobody lists, and the calls that it takes to know that.
UNKNOWN = [
    (of_unit(f'timeslots(resourceId: "{NUMBER}") {{ start }}'), [LIST, RESOURCES]),
    (of_unit(f'timeslots(resourceId: "{within(NodeType.RESOURCE, NUMBER)}") {{ start }}'), [LIST, RESOURCES]),
    (of_unit(f'timeslots(healthcareServiceId: "{NUMBER}") {{ start }}'), [LIST, SERVICES]),
    (
        of_unit(f'timeslots(resourceId: "{NUMBER}", healthcareServiceId: "{NUMBER}") {{ end }}'),
        [LIST, RESOURCES, SERVICES],
    ),
    (of_unit(f'timeslots(resourceId: "r1", healthcareServiceId: "{NUMBER}") {{ start }}'), [LIST, SERVICES]),
    (of_unit(f'resources {{ timeslots(healthcareServiceId: "{NUMBER}") {{ start }} }}'), [LIST, RESOURCES, SERVICES]),
    (
        of_unit(f'healthcareServices {{ careUnit {{ timeslots(resourceId: "{NUMBER}") {{ end }} }} }}'),
        [LIST, RESOURCES, SERVICES],
    ),
    (f'{{ careUnit(id: "{care_unit_id(THERE)}") {{ name timeslots {{ start }} }} }}', [LIST]),
    (f'{{ node(id: "{within(NodeType.RESOURCE, "r1", THERE)}") {{ id }} }}', [LIST]),
    (f'{{ nodes(ids: ["{within(NodeType.HEALTHCARE_SERVICE, NUMBER, THERE)}"]) {{ id }} }}', [LIST]),
    (f'{{ node(id: "{within(NodeType.RESOURCE, NUMBER)}") {{ id }} }}', [RESOURCES]),
]


@pytest.mark.parametrize(("text", "calls"), UNKNOWN)
@pytest.mark.parametrize("policy", list(FilterPolicy))
def test_an_id_that_nobody_lists_is_not_found_and_stays_here(
    text: str, calls: list[tuple[str, ...]], policy: FilterPolicy
) -> None:
    world = World(UNITS)

    answer = ask(text, world, EhrProfile("one", "One", policy))

    assert answer.codes == {"NOT_FOUND"}
    assert NUMBER not in answer.text
    assert sorted(world.calls) == sorted(calls)


@pytest.mark.parametrize(("text", "calls"), UNKNOWN)
def test_nothing_is_asked_again_of_lists_that_are_known(text: str, calls: list[tuple[str, ...]]) -> None:
    world = World(UNITS)

    async def twice() -> Answered:
        graph = Graph(world, [PROFILE], KEPT)
        await graph.ask(text)
        assert sorted(world.calls) == sorted(calls)
        return await graph.ask(text)

    assert asyncio.run(twice()).codes == {"NOT_FOUND"}
    assert sorted(world.calls) == sorted(calls)


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        (of_unit(f'timeslots(resourceId: "{LISTED}") {{ start }}'), [LIST, RESOURCES, SLOTS]),
        (of_unit(f'timeslots(resourceId: "{within(NodeType.RESOURCE, LISTED)}") {{ end }}'), [LIST, RESOURCES, SLOTS]),
        (of_unit("resources { timeslots { start } }"), [LIST, RESOURCES, SLOTS]),
        (
            of_unit(f'resources {{ timeslots(healthcareServiceId: "{LISTED}") {{ start }} }}'),
            [LIST, RESOURCES, SERVICES, SLOTS],
        ),
        (
            f'{{ node(id: "{within(NodeType.RESOURCE, LISTED)}") {{ ... on Resource {{ timeslots {{ start }} }} }} }}',
            [RESOURCES, SLOTS],
        ),
        (
            f'{{ node(id: "{within(NodeType.RESOURCE, "r1", FAMILIAR)}") {{ id }} }}',
            [LIST, ("resources", *FAMILIAR)],
        ),
    ],
)
@pytest.mark.parametrize("is_warm", [False, True])
def test_an_id_that_leyr_lists_goes_on_as_any_other(text: str, calls: list[tuple[str, ...]], is_warm: bool) -> None:
    world = World(UNITS)

    async def asked() -> Answered:
        graph = Graph(world, [PROFILE], KEPT)
        if is_warm:
            await graph.ask("{ careUnits { resources { id } healthcareServices { id } } }")
            world.forget()
        return await graph.ask(text)

    answer = asyncio.run(asked())

    assert not answer.errors
    assert sorted(world.calls) == sorted([call for call in calls if call is SLOTS] if is_warm else calls)


def test_other_ids_wait_for_no_list() -> None:
    world = World(UNITS)

    ask(of_unit('timeslots(resourceId: "r1", healthcareServiceId: "s1") { start }'), world)

    assert world.calls == [LIST, SLOTS]


def test_an_id_is_searched_once_for_all_care_units_and_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[str] = []

    def search(text: str) -> bool:
        searched.append(text)
        return False

    monkeypatch.setattr("gateway.schema.timeslot_queries.may_hide_a_personal_number", search)
    units = {CareUnitKey("one", f"u{number}"): Unit(("r1",), ("s1",)) for number in range(40)}
    windows = " ".join(
        f'a{day}: timeslots(resourceId: "r1", start: "2026-12-{day:02}T08:00:00Z") {{ start }}' for day in range(1, 29)
    )

    ask(f"{{ careUnits {{ {windows} }} }}", World(units))

    assert searched == ["r1"]
