"""What a field reads from upstream is declared at the field, and found there whatever its name is."""

import inspect

import pytest
import strawberry
from graphql import FieldNode, GraphQLObjectType, GraphQLSchema, OperationDefinitionNode, parse
from graphql.execution.values import VariableValues
from strawberry.schema.config import StrawberryConfig

from gateway.domain.ids import NodeType
from gateway.engine.compiler import declared_field
from gateway.schema.context import Info
from gateway.schema.loaders import LIST_OF, READS, Reads
from gateway.schema.lookahead import FINDS, CareUnitsOf, DocumentScope, NodesNamedBy, lookahead_of, root_fields
from gateway.schema.query import build_schema, node_types
from tests.unit.engine.model_schema import core

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


@strawberry.type
class Query:
    @strawberry.field(metadata={FINDS: CareUnitsOf("emr")})
    async def units(self, emr: str | None = None) -> list[Unit]:
        return [Unit()] if emr else []

    @strawberry.field(metadata={FINDS: NodesNamedBy("id")})
    async def unit(self, id: str) -> Unit | None:  # noqa: A002 # GraphQL's name
        return Unit() if id else None

    @strawberry.field
    def version(self) -> str:
        return "1"


OTHER = core(strawberry.Schema(Query, config=StrawberryConfig(info_class=Info)))


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


def test_root_fields_are_those_that_declare_what_they_find() -> None:
    found = root_fields(scope(OTHER), operation('{ version units { colour } unit(id: "x") { colour } }'))

    assert [(root.node.name.value, root.lists_care_units) for root in found] == [("units", True), ("unit", False)]


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
                wanted = FINDS if name == "Query" else READS
                silent += [] if wanted in declared.metadata else [f"{name}.{field}"]
    assert silent == []


def test_each_node_type_has_a_list_that_holds_it_and_a_type_that_shows_it() -> None:
    assert set(LIST_OF) == set(node_types()) == set(NodeType)
    assert {SCHEMA.type_map[each].interfaces[0].name for each in NodeType} == {"Node"}  # type: ignore[attr-defined] # only object types have interfaces
