"""The Node interface of Relay's Global Object Identification, and the nodes of one request.

Strawberry's own relay interface computes an id through a resolver for each object. Here the id is a plain
attribute in the same form, so that lists of nodes need no calls into Python to be completed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import strawberry
from strawberry.types.lazy_type import LazyType

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.errors import GatewayError, NotFound
from gateway.domain.ids import NodeId, NodeType
from gateway.domain.models import CareUnit, CareUnitKey
from gateway.domain.personal_numbers import may_hide_a_personal_number
from gateway.domain.pieces import InPieces, Pieces
from gateway.engine.lazy_list import ObjectList
from gateway.fetch.catalog import Catalog, CatalogList
from gateway.fetch.fetch_scope import FetchScope
from gateway.fetch.timeslot_calls import TimeslotCalls
from gateway.schema.loaders import Loaders

# The types refer to each other, modules do not: what lies above is known by its name here.
CARE_UNIT: LazyType[Any, Any] = LazyType("CareUnit", "gateway.schema.care_unit")
RESOURCE: LazyType[Any, Any] = LazyType("Resource", "gateway.schema.resource")
HEALTHCARE_SERVICE: LazyType[Any, Any] = LazyType("HealthcareService", "gateway.schema.healthcare_service")

# A character of an id takes a tenth of a microsecond to encode.
_PIECE_CHARACTERS = 200_000


@strawberry.interface(description="Something with an id that is unique in the whole graph, and can be fetched by it.")
class Node:
    """Anything that `node(id:)` finds."""

    id: strawberry.ID = strawberry.field(
        description=(
            "The node id: opaque, stable and unique in the whole graph, so fit for client caches. "
            "It holds the EHR, the care unit and Leyr's id, as far as the object has them."
        )
    )


@dataclass
class UnitNode(Node):
    """A care unit, or what belongs to one."""

    key: strawberry.Private[CareUnitKey]

    @property
    def own_filters(self) -> tuple[str | None, str | None]:
        """The resource and the healthcare service by Leyr's id that its own timeslots are filtered by."""
        return None, None


@dataclass(frozen=True, slots=True)
class EmrScope:
    """An EHR as its care units see it: `emr` is the object that all of them share, `zone_of` tells a unit's zone."""

    code: str
    emr: Node
    zone_of: Callable[[CareUnitKey], str]


@dataclass(frozen=True, slots=True)
class NodeTypes:
    """How an EHR's profile becomes a node, and how an item of each list does, within its EHR or its care unit.

    A parameter, since the types refer to each other.
    """

    emr: Callable[[EhrProfile], Node]
    listed: Mapping[NodeType, Callable[[Any, Any], UnitNode]]


@dataclass(frozen=True, slots=True)
class NodeList:
    """The nodes of a catalogue list: by Leyr id, and as the list that answers hold."""

    by_id: Mapping[str, UnitNode]
    all: ObjectList[Any]


class Nodes:
    """The nodes of one request; those of a list are made once as long as it is remembered."""

    __slots__ = ("_types", "loaders")

    def __init__(self, catalog: Catalog, calls: TimeslotCalls, types: NodeTypes, scope: FetchScope) -> None:
        self.loaders = Loaders(catalog, calls, scope)
        self._types = types

    async def care_units(self, emr: str) -> NodeList:
        """The care units of an EHR."""
        scope = self._scope_of(emr)
        return await self._made(NodeType.CARE_UNIT, await self.loaders.care_units.load(emr), scope)

    def _scope_of(self, emr: str) -> EmrScope:
        profiles = self.loaders.profiles
        return EmrScope(emr, self._types.emr(profiles.of(emr)), lambda key: profiles.of_unit(key).time_zone.key)

    async def listed(self, node_type: NodeType, care_unit: CareUnitKey) -> NodeList:
        """The nodes of a type that a care unit has."""
        return await self._made(node_type, await self.loaders.unit_lists[node_type].load(care_unit), care_unit)

    async def care_unit(self, key: CareUnitKey) -> UnitNode:
        """One care unit, from the EHR's list. Raises NotFound."""
        return _found(await self.care_units(key.emr), NodeId(NodeType.CARE_UNIT, key, key.care_unit))

    async def care_unit_or_its_id(self, key: CareUnitKey) -> UnitNode:
        """One care unit; where the EHR's list cannot be had or lacks it, one of which only the id is known.

        For what is said about a care unit that may have failed, which must not take from others what they have. Raises
        domain errors where the id may be a personal number, since what is asked of the care unit would hold it in URLs.
        """
        try:
            return await self.care_unit(key)
        except GatewayError:
            if may_hide_a_personal_number(key.care_unit):
                raise
            self.loaders.never_keep()
            return self._types.listed[NodeType.CARE_UNIT](CareUnit(key.care_unit), self._scope_of(key.emr))

    async def listed_one(self, node_type: NodeType, care_unit: CareUnitKey, leyr_id: str | None) -> UnitNode | None:
        """What a care unit's list has under an id; None where there is no id, or nothing under it."""
        return None if leyr_id is None else (await self.listed(node_type, care_unit)).by_id.get(leyr_id)

    async def node(self, wanted: NodeId) -> UnitNode:
        """The node of an id, from the list that holds it. Raises NotFound.

        A care unit whose id may be a personal number must be in its EHR's list before it leaves in a URL.
        """
        key = wanted.care_unit
        if wanted.type is NodeType.CARE_UNIT:
            return await self.care_unit(key)
        await self.confirm_care_unit(key)
        return _found(await self.listed(wanted.type, key), wanted)

    async def confirm_care_unit(self, key: CareUnitKey) -> None:
        """Wait for the list that must hold a care unit whose id may be a personal number. Raises NotFound."""
        if may_hide_a_personal_number(key.care_unit):
            await self.care_unit(key)

    def close(self) -> None:
        """Abandon the reads that nothing waits for any more."""
        self.loaders.close()

    def _emr_scope(self, emr: str) -> EmrScope:
        profiles = self.loaders.profiles
        return EmrScope(emr, self._types.emr(profiles.of(emr)), lambda key: profiles.of_unit(key).time_zone.key)

    async def _made(self, node_type: NodeType, listed: CatalogList[Any], within: EmrScope | CareUnitKey) -> NodeList:
        if listed.views is None:
            by_id = await InPieces(_in_pieces(self._types.listed[node_type], listed, within))
            # Another request may have made them in a pause.
            if listed.views is None:
                listed.views = NodeList(by_id, ObjectList(by_id.values(), listed.derived))
        nodes: NodeList = listed.views
        return nodes


def _in_pieces(
    node: Callable[[Any, Any], UnitNode], listed: CatalogList[Any], within: EmrScope | CareUnitKey
) -> Pieces[dict[str, UnitNode]]:
    by_id: dict[str, UnitNode] = {}
    text, shared = 0, len(within.care_unit) if isinstance(within, CareUnitKey) else 0
    for leyr_id, item in listed.items.items():
        by_id[leyr_id] = node(item, within)
        text += len(leyr_id) + shared
        if text > _PIECE_CHARACTERS:
            text = 0
            yield
    return by_id


def _found(nodes: NodeList, wanted: NodeId) -> UnitNode:
    found = nodes.by_id.get(wanted.leyr_id)
    if found is None:
        raise NotFound(f"There is no {wanted.type} with this id")
    return found
