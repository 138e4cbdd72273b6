"""The Query type."""

from asyncio import gather
from typing import Annotated, cast

import strawberry
from strawberry import UNSET

from gateway.domain.errors import BadUserInput
from gateway.domain.ids import NodeId, NodeType, parse_node_id
from gateway.schema.anticipation import anticipate
from gateway.schema.arguments import given
from gateway.schema.care_unit import CareUnit
from gateway.schema.context import Info
from gateway.schema.emr import Emr
from gateway.schema.healthcare_service import HealthcareService
from gateway.schema.node import Node
from gateway.schema.resource import Resource

NodeIdArgument = Annotated[strawberry.ID, strawberry.argument(description="An `id` that this gateway gave out.")]


@strawberry.type(description="Where every query starts.")
class Query:
    """The root fields."""

    @strawberry.field(description="The EHRs that this gateway is configured to reach, the default one first.")
    def emrs(self, info: Info) -> list[Emr]:
        """The configured EHRs; no upstream call."""
        return [Emr.of(profile) for profile in info.context.profiles.all]

    @strawberry.field(description="The care units of an EHR. Null comes with an error.")
    async def care_units(
        self,
        info: Info,
        emr: Annotated[
            str | None,
            strawberry.argument(description="The EHR's code; the first configured EHR when left out."),
        ] = UNSET,
    ) -> list[CareUnit] | None:
        """The care units, in Leyr's order."""
        code = given(emr)
        profile = info.context.profiles.default if code is None else info.context.profiles.of(code)
        units = (await info.context.loaders.care_units(profile.code)).views
        anticipate(info, units)
        return units

    @strawberry.field(description="One care unit by its node id. Null comes with an error.")
    async def care_unit(self, info: Info, id: NodeIdArgument) -> CareUnit | None:  # noqa: A002 # GraphQL's name
        """The care unit."""
        wanted = parse_node_id(id)
        if wanted.type is not NodeType.CARE_UNIT:
            raise BadUserInput(f"This is the id of a {wanted.type}; pass the id of a CareUnit")
        return cast("CareUnit", await _fetch(info, wanted))

    @strawberry.field(description="Anything that has a node id. Null comes with an error.")
    async def node(self, info: Info, id: NodeIdArgument) -> Node | None:  # noqa: A002 # GraphQL's name
        """The node."""
        return await _fetch(info, parse_node_id(id))

    @strawberry.field(
        description=(
            "Several nodes, in the order of their ids. One that cannot be had is null, with an error; the others are "
            "delivered."
        )
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


async def _fetch(info: Info, wanted: NodeId) -> CareUnit | Resource | HealthcareService:
    info.context.profiles.of(wanted.care_unit.emr)
    found = await info.context.loaders.node(wanted)
    anticipate(info, [found])
    return found


async def _fetch_by_text(info: Info, text: str) -> Node:
    return await _fetch(info, parse_node_id(text))
