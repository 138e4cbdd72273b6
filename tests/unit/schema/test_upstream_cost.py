"""The calls of an operation are counted before they are made, and are never more than counted."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
from graphql import OperationDefinitionNode, parse
from graphql.execution.values import VariableValues
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.domain.ehr_profile import EhrProfile, FilterPolicy
from gateway.domain.errors import OperationTooLarge
from gateway.domain.ids import NodeType, TimeslotIds, care_unit_id, emr_id, node_id
from gateway.domain.models import CareUnitKey, Timeslot
from gateway.fetch.cache_budget import Lifetimes
from gateway.schema.context import OperationLimits
from gateway.schema.lookahead import DocumentScope
from gateway.schema.query import build_schema
from gateway.schema.upstream_cost import check_operation_cost
from tests.unit.asking import NOTHING_KEPT
from tests.unit.engine.model_schema import core
from tests.unit.pieces import calls_of
from tests.unit.schema.graph import KEPT, NOW, UNLIMITED, Answered, Graph
from tests.unit.schema.random_queries import Root, document, random_roots
from tests.unit.schema.world import Unit, World

UNITS = {CareUnitKey(emr, f"u{number}"): Unit() for emr in ("one", "two") for number in (1, 2, 3)}
PLAIN = [EhrProfile("one", "One"), EhrProfile("two", "Two")]
U1 = care_unit_id(CareUnitKey("one", "u1"))
U2 = care_unit_id(CareUnitKey("two", "u2"))
R1 = node_id(NodeType.RESOURCE, CareUnitKey("one", "u1"), "r1")
EMR = emr_id("one")
NINE = NOW + timedelta(hours=9)
T1, T2 = (
    TimeslotIds(CareUnitKey("one", "u1"))(Timeslot(start.isoformat(), (start + timedelta(minutes=20)).isoformat(), *of))
    for start, of in ((NINE, ("r1", "s1")), (NINE, ("r2", "s2")))
)
S1 = node_id(NodeType.HEALTHCARE_SERVICE, CareUnitKey("one", "u1"), "s1")


def window(first: int, last: int) -> str:
    days = (NOW + timedelta(days=day) for day in (first, last + 1))
    return ", ".join(f'{name}: "{day.isoformat()}"' for name, day in zip(("start", "end"), days, strict=True))


SOON, LATER = window(0, 3), window(9, 9)
PAIRS = " ".join(
    f'a{n}: timeslots({LATER}, resourceId: "r{n}", healthcareServiceId: "s{n}") {{ start }}' for n in (1, 2)
)
BOTH_LISTS = "resources { id } healthcareServices { id }"
BOTH_OF_SLOT = "resource { id } healthcareService { id }"
# Documents, and the calls that they take where every EHR takes any call.
EXACT = [
    ("{ emrs { code } }", 0),
    ("{ careUnits { name } }", 1),
    ("{ careUnits { resources { timeslots { start } } healthcareServices { name } } }", 10),
    ('{ careUnits { timeslots { start } } two: careUnits(emr: "two") { resources { id } } }', 8),
    (f'{{ careUnit(id: "{U1}") {{ name }} }}', 1),
    (f'{{ careUnit(id: "{U1}") {{ resources {{ careUnit {{ healthcareServices {{ id }} }} }} }} }}', 3),
    (f'{{ a: careUnit(id: "{U1}") {{ resources {{ id }} }} b: careUnit(id: "{U1}") {{ resources {{ name }} }} }}', 2),
    (f'{{ a: careUnit(id: "{U1}") {{ timeslots {{ end }} }} b: careUnit(id: "{U2}") {{ timeslots {{ end }} }} }}', 4),
    (f'{{ node(id: "{R1}") {{ id ... on Resource {{ timeslots {{ start }} }} }} }}', 2),
    (f'{{ node(id: "{R1}") {{ ...F }} }} fragment F on Resource {{ careUnit {{ timeslots {{ start }} }} }}', 3),
    (f'{{ nodes(ids: ["{R1}", "{R1}", "{S1}", "{U1}"]) {{ id }} }}', 3),
    (
        f'{{ careUnit(id: "{U1}") {{ a: timeslots({SOON}) {{ start }} b: timeslots({LATER}) {{ start }} }} }}',
        3,
    ),
    (f'{{ timeslot(id: "{T1}") {{ start }} }}', 1),
    (f'{{ a: timeslot(id: "{T1}") {{ id }} nodes(ids: ["{T1}", "{T2}"]) {{ id }} }}', 2),
    (f'{{ node(id: "{T1}") {{ ... on Timeslot {{ resource {{ id }} careUnit {{ timeslots {{ id }} }} }} }} }}', 4),
    (f'{{ timeslot(id: "{T1}") {{ healthcareService {{ careUnit {{ resources {{ id }} }} }} }} }}', 4),
    # Lists that are read when a slot is found confirm no ids for what is planned before.
    (f'{{ nodes(ids: ["{T1}", "{T2}"]) {{ ... on Timeslot {{ {BOTH_OF_SLOT} }} }} }}', 4),
    (f'{{ careUnit(id: "{U1}") {{ {PAIRS} {BOTH_LISTS} }} }}', 4),
    (f'{{ a: careUnit(id: "{U1}") {{ {PAIRS} }} b: careUnit(id: "{U1}") {{ {BOTH_LISTS} }} }}', 4),
    ("{ emrs { careUnits { name } } }", 2),
    ("{ emrs { careUnits { timeslots { start } emr { careUnits { timeslots { end } } } } } }", 8),
    ('{ emr(code: "two") { careUnits { resources { id } } } careUnits(emr: "two") { resources { name } } }', 4),
    (f'{{ node(id: "{R1}") {{ ... on Resource {{ careUnit {{ emr {{ careUnits {{ name }} }} }} }} }} }}', 2),
    (f'{{ node(id: "{EMR}") {{ ... on Emr {{ careUnits {{ healthcareServices {{ id }} }} }} }} }}', 4),
    (f'{{ careUnit(id: "{U1}") {{ resources @skip(if: true) {{ id }} timeslots {{ start }} }} }}', 2),
]


async def asked(text: str, world: World, limit: int, lifetimes: Lifetimes = NOTHING_KEPT) -> Answered:
    graph = Graph(world, [*world.profiles.values()], lifetimes)
    return await graph.ask(text, limits=OperationLimits(limit))


def world_of(profiles: Sequence[EhrProfile]) -> World:
    return World(UNITS, {profile.code: profile for profile in profiles})


def foretold(answer: Answered) -> int:
    [message] = answer.messages
    found = re.fullmatch(r"The operation would take (\d+) upstream calls(?: or more)?; the limit is \d+", message)
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize(("text", "calls"), EXACT)
def test_what_is_foretold_is_what_is_called(text: str, calls: int) -> None:
    world = world_of(PLAIN)

    accepted = asyncio.run(asked(text, world, calls))

    assert not accepted.errors
    assert world.count == calls


# What the lists are read for, which are asked for only when something slow has come.
LATE = [
    ("timeslots", f'timeslot(id: "{T1}") {{ {BOTH_OF_SLOT} }}', 6),
    ("timeslots", f'timeslot(id: "{T1}") {{ careUnit {{ emr {{ careUnits {{ {BOTH_LISTS} }} }} }} }}', 10),
    ("resources", f'node(id: "{R1}") {{ ... on Resource {{ careUnit {{ healthcareServices {{ id }} }} }} }}', 4),
]


@pytest.mark.parametrize(("slow", "late", "calls"), LATE)
def test_lists_that_are_read_later_than_timeslots_are_counted_beside_their_calls(
    slow: str, late: str, calls: int
) -> None:
    world = world_of(PLAIN)
    world.turns = {slow: 40}
    text = f'{{ careUnit(id: "{U1}") {{ {PAIRS} }} {late} }}'

    async def known() -> Answered:
        graph = Graph(world, PLAIN, KEPT)
        await graph.ask("{ careUnits { name } }")
        return await graph.ask(text, limits=OperationLimits(0))

    assert foretold(asyncio.run(known())) == calls
    world.forget()
    assert not asyncio.run(asked(text, world, calls)).errors
    assert world.count == calls


@pytest.mark.parametrize(("text", "calls"), [row for row in EXACT if row[1]])
def test_one_call_too_many_is_refused_before_the_first(text: str, calls: int) -> None:
    world = world_of(PLAIN)

    refused = asyncio.run(asked(text, world, calls - 1))

    assert "OPERATION_TOO_LARGE" in refused.codes
    if "careUnits" in text:
        # Only with the list of care units does it come out; that of the one EHR does not wait for that of the other.
        assert world.count <= calls - 1
    else:
        assert refused.is_refused
        assert foretold(refused) == calls
        assert world.calls == []


def test_remembered_care_units_are_counted_before_any_call() -> None:
    world = world_of(PLAIN)
    text = "{ careUnits { resources { id } healthcareServices { id } timeslots { start } } }"

    async def twice() -> Answered:
        graph = Graph(world, PLAIN, KEPT)
        await graph.ask("{ careUnits { name } }")
        world.forget()
        return await graph.ask(text, limits=OperationLimits(9))

    refused = asyncio.run(twice())

    assert (foretold(refused), world.calls) == (10, [])


def test_care_units_that_are_not_known_take_one_call_to_be_counted() -> None:
    world = world_of(PLAIN)

    refused = asyncio.run(asked("{ careUnits { resources { id } healthcareServices { id } } }", world, 6))

    assert refused.data == {"careUnits": None}
    assert (foretold(refused), world.counts()) == (7, {"care-units": 1})


def test_what_is_remembered_counts_as_if_it_were_not() -> None:
    world = world_of(PLAIN)
    text = f'{{ careUnit(id: "{U1}") {{ resources {{ timeslots {{ start }} }} }} }}'

    async def warm(limit: int) -> Answered:
        graph = Graph(world, PLAIN, KEPT)
        await graph.ask(text)
        world.forget()
        return await graph.ask(text, limits=OperationLimits(limit))

    assert asyncio.run(warm(2)).is_refused
    assert not asyncio.run(warm(3)).errors
    assert world.calls == []


def test_a_long_window_counts_by_its_pieces() -> None:
    world = world_of([replace(PLAIN[0], longest_window=timedelta(days=7))])
    text = f'{{ careUnit(id: "{U1}") {{ timeslots({window(0, 349)}) {{ start }} }} }}'

    refused, accepted = asyncio.run(asked(text, world, 50)), asyncio.run(asked(text, world, 51))

    assert foretold(refused) == 51
    assert not accepted.errors
    assert world.count == 51


@pytest.mark.parametrize(
    ("policy", "calls"),
    [(FilterPolicy.ANY_ONE, 4), (FilterPolicy.RESOURCE, 4), (FilterPolicy.SERVICE, 4), (FilterPolicy.BOTH, 7)],
)
def test_a_fan_out_over_a_known_roster_is_foretold(policy: FilterPolicy, calls: int) -> None:
    profiles = [replace(PLAIN[0], filter_policy=policy)]
    world = world_of(profiles)
    text = f'{{ careUnit(id: "{U1}") {{ timeslots {{ start }} }} }}'

    async def known(limit: int) -> Answered:
        graph = Graph(world, profiles, KEPT)
        await graph.ask(f'{{ careUnit(id: "{U1}") {{ resources {{ id }} healthcareServices {{ id }} }} }}')
        world.forget()
        return await graph.ask(text, limits=OperationLimits(limit))

    assert foretold(asyncio.run(known(calls - 1))) == calls
    assert world.calls == []
    assert not asyncio.run(known(calls)).errors
    assert not asyncio.run(asked(text, world_of(profiles), calls)).errors


def test_a_fan_out_over_a_roster_that_is_not_known_is_refused_when_it_is() -> None:
    profiles = [replace(PLAIN[0], filter_policy=FilterPolicy.BOTH)]
    world = world_of(profiles)
    text = f'{{ careUnit(id: "{U1}") {{ name timeslots {{ start }} resources {{ name }} }} }}'

    refused = asyncio.run(asked(text, world, 6))

    assert refused.data is not None
    assert refused.data["careUnit"]["timeslots"] is None
    assert len(refused.data["careUnit"]["resources"]) == 2
    assert foretold(refused) == 7
    assert world.counts() == {"care-units": 1, "resources": 1, "healthcare-services": 1}


def test_slots_that_do_not_say_whose_they_are_cannot_take_more_calls_than_granted() -> None:
    world = World({key: Unit([f"r{each}" for each in range(30)]) for key in UNITS}, {"one": PLAIN[0]})
    world.names_resource = False
    text = f'{{ careUnit(id: "{U1}") {{ resources {{ timeslots {{ start }} }} }} }}'

    async def twice() -> tuple[Answered, int, Answered]:
        graph = Graph(world, PLAIN[:1])
        first = await graph.ask(text, limits=OperationLimits(12))
        calls = world.count
        world.forget()
        return first, calls, await graph.ask(text, limits=OperationLimits(12))

    first, calls, second = asyncio.run(twice())

    assert first.codes == second.codes == {"OPERATION_TOO_LARGE"}
    assert calls <= 12
    # What was learned of the care unit is foretold as soon as its resources are known.
    assert world.counts() == {"care-units": 1, "resources": 1}


longest = st.sampled_from([None, timedelta(days=3), timedelta(days=11)])
# Which answers come first, and what is known when others are asked for.
turns = st.fixed_dictionaries(
    {each: st.sampled_from([1, 1, 40]) for each in ("care-units", "resources", "healthcare-services", "timeslots")}
)


@settings(max_examples=200, deadline=None)
@given(st.randoms(use_true_random=False), longest, turns)
def test_what_names_what_it_wants_takes_no_more_calls_than_foretold(
    random: Random, most: timedelta | None, turns: Mapping[str, int]
) -> None:
    world = world_of([EhrProfile("one", "One", longest_window=most), PLAIN[1]])
    world.turns = turns
    # Lists of care units tell only when they have come what is asked of these.
    roots = [root for root in random_roots(world, ["one", "two"], random) if root.keys and "careUnits" not in root.text]
    text = document(roots or [Root("a", "careUnit", f'(id: "{U1}") {{ id }}')])

    async def granted_what_is_foretold() -> tuple[Answered, Answered]:
        refused = await asked(text, world, 0)
        # A few documents are longer than the gateway takes.
        assume(not any("tokens" in message for message in refused.messages))
        calls = foretold(refused)
        assert world.calls == []
        return await asked(text, world, calls), await asked(text, world, UNLIMITED.upstream_calls)

    answer, whole = asyncio.run(granted_what_is_foretold())

    # Of several owners one who is not known is a gap, and no error.
    is_gap = re.search(r'Ids: \[[^]]*"(nobody|nothing)"', text)
    # A slot that is gone may name a resource that Leyr refuses; then it is looked for with fewer filters.
    is_gone = whole.data is None or any(found is None or None in _items(found) for found in whole.data.values())
    if "NOT_FOUND" not in whole.codes and not is_gap and not is_gone:
        assert not answer.errors


def _items(found: object) -> list[object]:
    return found if isinstance(found, list) else []


profiles = st.builds(
    lambda emr, policy, most, names: EhrProfile(
        emr, emr, policy, most, names_resource=names[0], names_service=names[1]
    ),
    st.just("one"),
    st.sampled_from(FilterPolicy),
    longest,
    st.sampled_from([(True, True), (True, True), (False, True), (True, False)]),
)


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False), profiles, st.integers(0, 30), st.booleans())
def test_no_operation_takes_more_calls_than_granted(
    random: Random, profile: EhrProfile, limit: int, is_warm: bool
) -> None:
    world = world_of([profile, PLAIN[1]])
    text = document(random_roots(world, ["one", "two"], random))

    async def limited() -> tuple[Answered, Answered]:
        graph = Graph(world, [profile, PLAIN[1]], KEPT)
        if is_warm:
            await graph.ask(text)
        world.forget()
        answer = await graph.ask(text, limits=OperationLimits(limit))
        calls = world.count
        assert calls <= limit
        return answer, await Graph(world, [profile, PLAIN[1]]).ask(text)

    answer, whole = asyncio.run(limited())

    if "OPERATION_TOO_LARGE" not in answer.codes:
        assert answer.data == whole.data


def test_foretelling_what_many_nodes_ask_grows_with_ids_and_with_windows_and_not_with_both_together() -> None:
    unit = CareUnitKey("one", "u1")
    world = World({unit: Unit()}, {"one": replace(PLAIN[0], filter_policy=FilterPolicy.ANY_ONE)})

    def work(ids: int, windows: int) -> int:
        context = Graph(world, [*world.profiles.values()]).context(limits=OperationLimits(200))
        fields = " ".join(f"w{n}: timeslots({window(2 * n, 2 * n)}) {{ start }}" for n in range(windows))
        found = ", ".join(f'"{node_id(NodeType.RESOURCE, unit, f"r{n}")}"' for n in range(ids))
        parsed = parse(f"{{ nodes(ids: [{found}]) {{ ... on Resource {{ {fields} }} }} }}")
        (operation,) = parsed.definitions
        assert isinstance(operation, OperationDefinitionNode)
        document = DocumentScope(core(build_schema()), {}, VariableValues({}, {}))

        def foretell() -> None:
            with pytest.raises(OperationTooLarge):
                check_operation_cost(document, operation, context, {})

        return calls_of(foretell)

    few, more_ids, more_windows, more_of_both = work(500, 10), work(1_000, 10), work(500, 20), work(1_000, 20)

    assert more_of_both < 1.2 * (more_ids + more_windows - few)
