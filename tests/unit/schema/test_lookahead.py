"""What a field reads from upstream is declared at the field, and found there whatever its name is."""

import asyncio
import inspect
from typing import Annotated

import pytest
import strawberry
from graphql import (
    FieldNode,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    get_variable_values,
    parse,
)
from graphql.execution.values import VariableValues
from strawberry.schema.config import StrawberryConfig

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.ids import NodeType, care_unit_id
from gateway.domain.models import CareUnitKey
from gateway.engine.compiler import declared_field
from gateway.schema.context import Info
from gateway.schema.loaders import LIST_OF, READS, Reads
from gateway.schema.lookahead import (
    FINDS,
    CareUnitsOf,
    DocumentScope,
    FindingField,
    NodesNamedBy,
    lookahead_of,
    root_fields,
)
from gateway.schema.query import build_schema, node_types
from tests.unit.engine.model_schema import core
from tests.unit.schema import world
from tests.unit.schema.graph import Graph

SCHEMA = core(build_schema())


@strawberry.type
class Unit:
    """A care unit with fields that the gateway's own does not have."""

    @strawberry.field(metadata={READS: Reads.RESOURCES | Reads.HEALTHCARE_SERVICES})
    async def bookable(self) -> list["Unit"]:
        return []

    @strawberry.field(metadata={READS: Reads.TIMESLOTS})
    async def free(self, resource_id: str | None = None) -> list["Unit"]:
        return [self] if resource_id else []

    @strawberry.field
    def colour(self) -> str:
        return "red"


@strawberry.interface
class Spare:
    """Something that may have free times, whatever it is."""

    @strawberry.field(metadata={READS: Reads.TIMESLOTS})
    async def free(self) -> list[Unit]:
        return []

    @strawberry.field
    def around(self) -> "list[Spare]":
        return []


@strawberry.type
class Room(Spare):
    @strawberry.field(metadata={READS: Reads.RESOURCES})
    async def people(self) -> list[Unit]:
        return []


@strawberry.type
class Phone(Spare):
    @strawberry.field(metadata={READS: Reads.CARE_UNITS})
    async def house(self) -> Annotated[Room | Unit, strawberry.union("House")]:
        return Unit()


@strawberry.type
class Query:
    @strawberry.field
    def spare(self) -> Spare:
        return Room()

    @strawberry.field(metadata={FINDS: NodesNamedBy("ids", is_list=True)})
    async def several(self, ids: list[str | None] | None = None) -> Unit | None:
        return Unit() if ids else None

    @strawberry.field(metadata={FINDS: CareUnitsOf("emr")})
    async def preset(self, emr: str | None = "preset") -> list[Unit]:
        return [Unit()] if emr else []

    @strawberry.field(metadata={FINDS: CareUnitsOf("emr")})
    async def units(self, emr: str | None = None) -> list[Unit]:
        return [Unit()] if emr else []

    @strawberry.field(metadata={FINDS: NodesNamedBy("id")})
    async def unit(self, id: str) -> Unit | None:  # noqa: A002 # GraphQL's name
        return Unit() if id else None

    @strawberry.field
    def version(self) -> str:
        return "1"


OTHER = core(strawberry.Schema(Query, types=[Room, Phone], config=StrawberryConfig(info_class=Info)))


def scope(schema: GraphQLSchema) -> DocumentScope:
    return DocumentScope(schema, {}, VariableValues({}, {}))


def operation(text: str) -> OperationDefinitionNode:
    (found,) = parse(text).definitions
    assert isinstance(found, OperationDefinitionNode)
    return found


@pytest.mark.parametrize(
    ("selection", "reads", "is_deep", "names_ids"),
    [
        ("colour", Reads.NOTHING, False, False),
        ("bookable { colour }", Reads.RESOURCES | Reads.HEALTHCARE_SERVICES, False, False),
        # The timeslots of a node that is no care unit are asked for by its id.
        ("free { colour }", Reads.TIMESLOTS, False, True),
        ("bookable { free { colour } }", Reads.RESOURCES | Reads.HEALTHCARE_SERVICES | Reads.TIMESLOTS, True, False),
        (
            'bookable { free(resourceId: "r") { colour } }',
            Reads.RESOURCES | Reads.HEALTHCARE_SERVICES | Reads.TIMESLOTS,
            True,
            True,
        ),
    ],
)
def test_lookahead_of_a_new_field_is_what_the_field_declares(
    selection: str, reads: Reads, is_deep: bool, names_ids: bool
) -> None:
    (node,) = operation(f"{{ units {{ {selection} }} }}").selection_set.selections
    assert isinstance(node, FieldNode)

    found = lookahead_of(scope(OTHER), [node], "Unit")

    assert (found.reads, found.is_deep, found.names_ids) == (reads, is_deep, names_ids)
    assert len(found.timeslots) == (Reads.TIMESLOTS in reads)


@pytest.mark.parametrize(
    ("selection", "reads", "timeslots"),
    [
        ("around { free { colour } }", Reads.TIMESLOTS, 2),
        ("around { ... on Room { people { colour } } }", Reads.RESOURCES, 0),
        ("around { ... on Phone { house { ... on Unit { colour } } } }", Reads.CARE_UNITS, 0),
        (
            "around { ... on Phone { house { ... on Room { people { colour } } } } }",
            Reads.CARE_UNITS | Reads.RESOURCES,
            0,
        ),
    ],
)
def test_lookahead_through_interfaces_and_unions_reads_what_each_type_declares(
    selection: str, reads: Reads, timeslots: int
) -> None:
    (node,) = operation(f"{{ spare {{ {selection} }} }}").selection_set.selections
    assert isinstance(node, FieldNode)

    found = lookahead_of(scope(OTHER), [node], "Room")

    assert (found.reads, len(found.timeslots)) == (reads, timeslots)


def test_lookahead_through_nested_interfaces_enters_each_selection_once_for_each_type() -> None:
    def entered(levels: int) -> int:
        text = "{ spare { " + "around { " * levels + "free { colour }" + " }" * levels + " } }"
        (node,) = operation(text).selection_set.selections
        assert isinstance(node, FieldNode)
        return len(lookahead_of(scope(OTHER), [node], "Room").timeslots)

    assert entered(3) == entered(30) == 2


GRAPH = Graph(
    world.World({CareUnitKey("one", "u1"): world.Unit()}), [EhrProfile("one", "One"), EhrProfile("preset", "P")]
)
U1 = care_unit_id(CareUnitKey("one", "u1"))


@pytest.mark.parametrize(
    ("text", "variables", "named"),
    [
        (f'{{ unit(id: "{U1}") {{ colour }} }}', {}, 1),
        ("query($i: String!) { unit(id: $i) { colour } }", {"i": U1}, 1),
        (f'query($i: String = "{U1}") {{ unit(id: $i) {{ colour }} }}', {}, 1),
        ('query($i: String = "x") { unit(id: $i) { colour } }', {"i": None}, 0),
        ("{ unit(id: null) { colour } }", {}, 0),
        ("{ several { colour } }", {}, 0),
        ("{ several(ids: null) { colour } }", {}, 0),
        ("{ several(ids: []) { colour } }", {}, 0),
        # One value stands for a list of it.
        (f'{{ several(ids: "{U1}") {{ colour }} }}', {}, 1),
        (f'{{ several(ids: [null, "{U1}", "nonsense"]) {{ colour }} }}', {}, 1),
        ("query($i: [String]) { several(ids: $i) { colour } }", {}, 0),
        ("query($i: [String]) { several(ids: $i) { colour } }", {"i": None}, 0),
        ("query($i: [String]) { several(ids: $i) { colour } }", {"i": [None, U1]}, 1),
        ("query($i: [String]) { several(ids: $i) { colour } }", {"i": U1}, 1),
        ("query($i: String) { several(ids: [$i]) { colour } }", {"i": U1}, 1),
        ("query($i: String) { several(ids: [$i]) { colour } }", {}, 0),
    ],
)
def test_named_nodes_are_those_that_the_argument_gives_in_each_of_its_states(
    text: str, variables: dict[str, object], named: int
) -> None:
    document, root = asked(text, variables)

    assert len(list(root.named(document, GRAPH.context()))) == named


@pytest.mark.parametrize(
    ("text", "variables", "emr"),
    [
        ("{ units { colour } }", {}, "one"),
        ("{ units(emr: null) { colour } }", {}, "one"),
        ('{ units(emr: "preset") { colour } }', {}, "preset"),
        ('{ units(emr: "neither") { colour } }', {}, None),
        ("query($e: String) { units(emr: $e) { colour } }", {}, "one"),
        ("query($e: String) { units(emr: $e) { colour } }", {"e": None}, "one"),
        ('query($e: String = "preset") { units(emr: $e) { colour } }', {}, "preset"),
        ("{ preset { colour } }", {}, "preset"),
        ("{ preset(emr: null) { colour } }", {}, "one"),
        ("query($e: String) { preset(emr: $e) { colour } }", {}, "preset"),
        ("query($e: String) { preset(emr: $e) { colour } }", {"e": None}, "one"),
    ],
)
def test_the_ehr_of_care_units_is_the_one_that_the_argument_gives_in_each_of_its_states(
    text: str, variables: dict[str, object], emr: str | None
) -> None:
    document, root = asked(text, variables)

    found = next(root.care_units(document, GRAPH.context()), None)

    assert (found and found[1].code) == emr


def asked(text: str, variables: dict[str, object]) -> tuple[DocumentScope, FindingField]:
    found = operation(text)
    values = get_variable_values(OTHER, found.variable_definitions or (), variables)
    assert isinstance(values, VariableValues)
    document = DocumentScope(OTHER, {}, values)
    (root,) = root_fields(document, found)
    return document, root


def test_root_fields_are_those_that_declare_what_they_find() -> None:
    found = root_fields(scope(OTHER), operation('{ version units { colour } unit(id: "x") { colour } }'))

    assert [(root.node.name.value, type(root.finds)) for root in found] == [
        ("units", CareUnitsOf),
        ("unit", NodesNamedBy),
    ]


def test_each_list_of_a_care_unit_counts_as_a_call() -> None:
    everything = Reads.NOTHING
    for each in Reads:
        everything |= each

    assert everything.unit_lists == len(list(Reads)) - 2
    assert Reads.NOTHING.unit_lists == (Reads.CARE_UNITS | Reads.TIMESLOTS).unit_lists == 0


def test_every_field_of_the_schema_that_waits_declares_what_it_reads() -> None:
    silent = []
    for name, kind in SCHEMA.type_map.items():
        for field, definition in kind.fields.items() if isinstance(kind, GraphQLObjectType) else ():
            declared = declared_field(definition)
            resolver = declared.base_resolver if declared else None
            if declared and resolver and inspect.iscoroutinefunction(resolver.wrapped_func):
                wanted = FINDS if name in {"Query", "Mutation"} else READS
                silent += [] if wanted in declared.metadata else [f"{name}.{field}"]
    assert silent == []


def test_each_node_type_has_a_list_that_holds_it_and_a_type_that_shows_it() -> None:
    assert set(LIST_OF) == set(NodeType)
    assert set(node_types().listed) == {kind for kind, lists in LIST_OF.items() if lists}
    assert {SCHEMA.type_map[each].interfaces[0].name for each in NodeType} == {"Node"}  # type: ignore[attr-defined] # only object types have interfaces


def test_a_null_for_an_id_is_an_error_at_its_field_alone() -> None:
    text = 'query($i: ID = "x") { a: careUnit(id: $i) { id } careUnits { id } }'

    answer = asyncio.run(GRAPH.ask(text, i=None))

    assert answer.codes == {"BAD_USER_INPUT"}
    assert answer.data == {"a": None, "careUnits": [{"id": U1}]}
