"""The Query type, and the schema made of it."""

from asyncio import gather
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, cast

import strawberry
from graphql import GraphQLInputObjectType
from strawberry import UNSET
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.field import StrawberryField

from gateway.domain.errors import BadUserInput, GatewayError
from gateway.domain.ids import AnyNodeId, EmrId, NodeId, NodeType, TimeslotId
from gateway.domain.personal_numbers import refuse_name
from gateway.engine.budget import ExecutionLimits, ItemLimit
from gateway.engine.document_cache import MemoryBudget
from gateway.engine.document_limits import DocumentLimits
from gateway.engine.engine import EngineConfig
from gateway.schema.appointment import Appointment
from gateway.schema.availability import Availability, load_availability_of_units
from gateway.schema.availability_input import Filter, Range, TimeZone, requested, requested_of_units
from gateway.schema.booking_input import refuse_literal
from gateway.schema.booking_result import BookAppointmentResult
from gateway.schema.care_unit import CareUnit, Emr, load_care_units
from gateway.schema.context import Info
from gateway.schema.error_code import ErrorCode
from gateway.schema.healthcare_service import HealthcareService
from gateway.schema.lookahead import FINDS, AvailabilityOf, CareUnitsOf, EmrsNamedBy, NodesNamedBy, OwnCalls
from gateway.schema.mutation import Mutation, load_appointment, load_outcome
from gateway.schema.node import Node, NodeTypes, UnitNode
from gateway.schema.prefetch import prefetch
from gateway.schema.resource import Resource
from gateway.schema.scalars import PLAIN_SCALARS, scalar_map
from gateway.schema.timeslot import Timeslot, given, load_timeslot
from gateway.schema.timeslots_arguments import ASKS
from gateway.schema.upstream_cost import check_upstream_cost

CareUnitIds = Annotated[
    list[strawberry.ID],
    strawberry.argument(description="The node ids of the care units; the gateway sets how many at most."),
]
NodeIdArgument = Annotated[strawberry.ID, strawberry.argument(description="An `id` that this gateway gave out.")]


@strawberry.type(description="Where every query starts.")
class Query:
    """The root fields."""

    @strawberry.field(
        description="The EHRs that this gateway is configured to reach, the default one first.",
        metadata={FINDS: EmrsNamedBy()},
    )
    def emrs(self, info: Info) -> list[Emr]:
        """The configured EHRs, as far as the caller may see them; no upstream call."""
        return [Emr.of(profile) for profile in info.context.emrs]

    @strawberry.field(
        description="One EHR by its code. Null comes with an error.", metadata={FINDS: EmrsNamedBy("code")}
    )
    def emr(
        self, info: Info, code: Annotated[str, strawberry.argument(description="The EHR's code, such as `webdoc`.")]
    ) -> Emr | None:
        """The EHR; no upstream call."""
        return Emr.of(info.context.emr(code))

    @strawberry.field(
        description="The care units of an EHR. Null comes with an error.", metadata={FINDS: CareUnitsOf("emr")}
    )
    async def care_units(
        self,
        info: Info,
        emr: Annotated[
            str | None,
            strawberry.argument(description="The EHR's code; the first configured EHR when left out."),
        ] = UNSET,
    ) -> list[CareUnit] | None:
        """The care units, in Leyr's order."""
        return await load_care_units(info, info.context.emr(given(emr)).code)

    @strawberry.field(
        description="One care unit by its node id. Null comes with an error.",
        metadata={FINDS: NodesNamedBy("id", frozenset({NodeType.CARE_UNIT}))},
    )
    async def care_unit(self, info: Info, id: NodeIdArgument) -> CareUnit | None:  # noqa: A002 # GraphQL's name
        """The care unit."""
        wanted = info.context.named(id)
        if wanted.type is not NodeType.CARE_UNIT:
            raise BadUserInput(f"This is the id of a {wanted.type}; pass the id of a CareUnit")
        return cast("CareUnit", await _fetch(info, wanted))

    @strawberry.field(
        description=(
            "Is it still free? The timeslot as Leyr has it now, asked anew with all other timeslots of its care unit; "
            "null, without an error, when it is gone. Any other null comes with an error."
        ),
        metadata={FINDS: NodesNamedBy("id", frozenset({NodeType.TIMESLOT}))},
    )
    async def timeslot(self, info: Info, id: NodeIdArgument) -> Timeslot | None:  # noqa: A002 # GraphQL's name
        """The timeslot."""
        wanted = info.context.named(id)
        if wanted.type is not NodeType.TIMESLOT:
            raise BadUserInput(f"This is the id of a {wanted.type}; pass the id of a Timeslot")
        return cast("Timeslot | None", await _fetch(info, wanted))

    @strawberry.field(
        description=(
            "What is free in several care units, in any EHRs, all from one set of slots. One that fails is a gap of "
            "`coverage`, and the others are delivered. Null comes with an error: where none could be had, or where the "
            "arguments are refused."
        ),
        metadata={
            FINDS: AvailabilityOf("careUnitIds", frozenset({NodeType.CARE_UNIT}), is_list=True),
            ASKS: requested_of_units,
        },
    )
    async def availability(
        self,
        info: Info,
        *,
        care_unit_ids: CareUnitIds,
        range: Range = UNSET,  # noqa: A002 # GraphQL's name
        time_zone: TimeZone = UNSET,
        filter: Filter = UNSET,  # noqa: A002 # as before
    ) -> Availability | None:
        """What is free."""
        return await load_availability_of_units(info, care_unit_ids, requested(range, time_zone, filter))

    @strawberry.field(
        description=(
            "Anything that has a node id. Null comes with an error, but for a timeslot, which is asked for as "
            "`timeslot(id:)` does it: null, without an error, when it is gone."
        ),
        metadata={FINDS: NodesNamedBy("id")},
    )
    async def node(self, info: Info, id: NodeIdArgument) -> Node | None:  # noqa: A002 # GraphQL's name
        """The node."""
        return await _fetch(info, info.context.named(id))

    @strawberry.field(
        description=(
            "Several nodes, in the order of their ids. One that cannot be had is null, with an error; the others are "
            "delivered. A timeslot is asked for as `timeslot(id:)` does it: null, without an error, when it is gone."
        ),
        metadata={FINDS: NodesNamedBy("ids", is_list=True)},
    )
    async def nodes(
        self,
        info: Info,
        ids: Annotated[list[strawberry.ID], strawberry.argument(description="`id`s that this gateway gave out.")],
    ) -> list[Node | None]:
        """The nodes; an exception in the list fails its own item only."""
        return cast(
            "list[Node | None]",
            await gather(*(_fetch_by_text(info, text) for text in ids), return_exceptions=True),
        )

    @strawberry.field(
        description=(
            "What became of the booking that this caller asked for with a key; it never books. Null, without an error, "
            "where none is known: nothing was asked with the key, or that was forgotten when its time was over. Any "
            "other null comes with an error."
        ),
        metadata={FINDS: OwnCalls(2)},
    )
    async def booking_outcome(
        self,
        info: Info,
        idempotency_key: Annotated[
            str, strawberry.argument(description="The `idempotencyKey` of the `bookAppointment` that is meant.")
        ],
    ) -> BookAppointmentResult | None:
        """The outcome."""
        return await load_outcome(info, idempotency_key)

    @strawberry.field(
        description=(
            "An appointment of this caller as the EHR lists it now, where `capabilities.listAppointments` is not NO. "
            "Null comes with an error."
        ),
        metadata={FINDS: OwnCalls(1)},
    )
    async def appointment(
        self,
        info: Info,
        id: Annotated[  # noqa: A002 # GraphQL's name
            strawberry.ID, strawberry.argument(description="The `id` of an appointment, given to this caller.")
        ],
    ) -> Appointment | None:
        """The appointment."""
        return await load_appointment(info, id)


async def _fetch(info: Info, wanted: AnyNodeId) -> Node | None:
    found: UnitNode | None
    match wanted:
        case EmrId(emr):
            return Emr.of(info.context.emr(emr))
        case TimeslotId():
            found = await load_timeslot(info, wanted)
        case NodeId():
            found = await info.context.nodes.node(wanted)
    prefetch(info, [] if found is None else [found])
    return found


async def _fetch_by_text(info: Info, text: str) -> Node | None:
    return await _fetch(info, info.context.named(text))


def _check_cost(info: Info) -> None:
    """Count the upstream calls of the operation, if the root field may lead to some. Raises OperationTooLarge."""
    declared: StrawberryField | None = info._field  # noqa: SLF001 # Strawberry's info tells but the field's name
    if declared is not None and FINDS in declared.metadata:
        check_upstream_cost(info)


def build_schema(*, sort: bool = False) -> strawberry.Schema:
    """The schema: to be executed, or sorted by name to be printed.

    Sorting takes their classes from Strawberry's enums, so that resolvers would get bare values and could give none.
    """
    schema = strawberry.Schema(
        query=Query,
        mutation=Mutation,
        # No field has it, since GraphQL leaves `extensions` untyped.
        types=[ErrorCode],
        config=StrawberryConfig(info_class=Info, scalar_map=scalar_map(), sort_schema=sort),
    )
    for each in schema._schema.type_map.values():  # noqa: SLF001 # nothing public leads to graphql-core's types
        # Strawberry does not tell graphql-core, whose rules for literals and variables would not hold.
        if isinstance(each, GraphQLInputObjectType) and _is_one_of(each):
            each.is_one_of = True
    return schema


@cache
def shared_schema() -> strawberry.Schema:
    """The schema to be executed, built once in a process: nothing changes it, and building it takes milliseconds."""
    return build_schema()


@cache
def sdl() -> str:
    """The schema definition language text, sorted by name and with one newline at its end."""
    return build_schema(sort=True).as_str().rstrip("\n") + "\n"


def _is_one_of(kind: GraphQLInputObjectType) -> bool:
    definition: StrawberryObjectDefinition | None = kind.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    return definition is not None and definition.is_one_of


def engine_config(
    limits: DocumentLimits | None = None,
    execution: ExecutionLimits | None = None,
    *,
    max_errors: int = 20,
    introspection: bool = False,
    budget: MemoryBudget | None = None,
) -> EngineConfig:
    """What the engine is told of this schema: its plain scalars, its error tree, and that names may be personal.

    Every root field has its upstream calls counted before the first of them.
    """
    return EngineConfig(
        limits or DocumentLimits(),
        execution or execution_limits(),
        plain_scalars=PLAIN_SCALARS,
        expected_errors=GatewayError,
        max_errors=max_errors,
        before_root_field=_check_cost,
        refuse_name=refuse_name,
        refuse_literal=refuse_literal,
        introspection=introspection,
        budget=budget,
    )


def execution_limits(
    work: float = 100_000,
    answer_bytes: int = 64 * 1024 * 1024,
    list_items: int = 1_000,
    timeslots: int = 100_000,
) -> ExecutionLimits:
    """What an operation may take, with the words of this schema."""
    return ExecutionLimits(
        work,
        answer_bytes,
        list_items,
        ItemLimit("Timeslot", timeslots, "timeslots", "ask for a shorter window, or for fewer with first"),
        hint="ask for less under each timeslot and each resource",
    )


def node_types() -> NodeTypes:
    """How profiles and catalogue items become nodes of this schema."""
    listed: dict[NodeType, Callable[[Any, Any], UnitNode]] = {
        NodeType.CARE_UNIT: CareUnit.of,
        NodeType.RESOURCE: Resource.of,
        NodeType.HEALTHCARE_SERVICE: HealthcareService.of,
    }
    return NodeTypes(Emr.of, listed)
