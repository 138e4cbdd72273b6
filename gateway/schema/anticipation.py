"""Looking ahead in the document, so that all a care unit is asked for starts in one turn.

Left alone, `resources { timeslots }` asks for timeslots only when the resources have come: a round trip more,
and a call a resource. Whatever stands below a care unit concerns that unit alone, so the first resolver that
holds it reads on, and asks the loaders for everything at once: the lists, and for timeslots of each resource
those of all resources. The resolvers further down then find their answers under way, and report themselves what
is wrong with their arguments.
"""

from asyncio import Future
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLIncludeDirective,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSkipDirective,
    InlineFragmentNode,
    SelectionNode,
    get_argument_values,
    get_directive_values,
    get_named_type,
    is_abstract_type,
)

from gateway.domain.errors import GatewayError
from gateway.domain.models import CareUnitKey
from gateway.schema.care_unit import CareUnit
from gateway.schema.context import Context, Info, TimeslotFilter
from gateway.schema.healthcare_service import HealthcareService
from gateway.schema.resource import Resource

Anticipated: TypeAlias = CareUnit | Resource | HealthcareService
_Selecting: TypeAlias = FieldNode | InlineFragmentNode | FragmentDefinitionNode


@dataclass(slots=True)
class Demand:
    """What a part of a document asks of a care unit; `timeslots` is a set that keeps its order."""

    resources: bool = False
    services: bool = False
    care_unit: bool = False
    timeslots: dict[TimeslotFilter, None] = field(default_factory=dict)


def anticipate(info: Info, found: Sequence[Anticipated]) -> None:
    """Start everything that the document asks below the current field: for care units, or for one other node."""
    if found:
        demand = _DemandReader(info.raw).read(found[0])
        for node in found:
            _start(info.context, node.key, demand)


def _start(context: Context, care_unit: CareUnitKey, demand: Demand) -> None:
    loaders = context.loaders
    if demand.resources:
        _unobserved(loaders.resources(care_unit))
    if demand.services:
        _unobserved(loaders.healthcare_services(care_unit))
    if demand.care_unit:
        _unobserved(loaders.care_units(care_unit.emr))
    for asked in demand.timeslots:
        try:
            query = context.timeslot_query(care_unit, asked)
        except GatewayError:
            continue
        _unobserved(loaders.timeslots(query))


def _unobserved(future: "Future[Any]") -> None:
    """Let a failure pass here; the resolver that waits for the same future reports it."""
    future.add_done_callback(lambda done: done.cancelled() or done.exception())


class _DemandReader:
    """One walk over a part of a document, linear in its size: a fragment is entered once for each type."""

    def __init__(self, info: GraphQLResolveInfo[Context]) -> None:
        self._info = info
        self._demand = Demand()
        self._entered: set[tuple[str, str]] = set()

    def read(self, node: Anticipated) -> Demand:
        """What the selections below the current field ask, where that field holds `node`."""
        own = TimeslotFilter(
            resource_id=node.leyr_id if isinstance(node, Resource) else None,
            healthcare_service_id=node.leyr_id if isinstance(node, HealthcareService) else None,
        )
        for field_node in self._info.field_nodes:
            self._walk(field_node, self._object_type(type(node).__name__), own)
        return self._demand

    def _walk(self, node: _Selecting, parent: GraphQLObjectType, own: TimeslotFilter) -> None:
        """Read the selections of a node. `own` is what the parent object narrows its timeslots to."""
        for selection in node.selection_set.selections if node.selection_set else ():
            if not self._included(selection):
                continue
            match selection:
                case FieldNode():
                    self._read_field(selection, parent, own)
                case InlineFragmentNode() if self._applies(selection, parent):
                    self._walk(selection, parent, own)
                case FragmentSpreadNode():
                    fragment = self._info.fragments[selection.name.value]
                    entry = (selection.name.value, parent.name)
                    if entry not in self._entered and self._applies(fragment, parent):
                        self._entered.add(entry)
                        self._walk(fragment, parent, own)

    def _read_field(self, node: FieldNode, parent: GraphQLObjectType, own: TimeslotFilter) -> None:
        definition = parent.fields.get(node.name.value)
        if definition is None:
            return
        match node.name.value:
            case "resources" | "resource":
                self._demand.resources = True
            case "healthcareServices" | "healthcareService":
                self._demand.services = True
            case "careUnit":
                self._demand.care_unit = True
            case "timeslots":
                self._read_timeslots(node, definition, own)
        child = get_named_type(definition.type)
        if isinstance(child, GraphQLObjectType):
            self._walk(node, child, TimeslotFilter())

    def _read_timeslots(self, node: FieldNode, definition: GraphQLField, own: TimeslotFilter) -> None:
        try:
            arguments = get_argument_values(definition, node, self._info.variable_values)
        except GraphQLError:
            return
        resource, service = arguments.get("resourceId"), arguments.get("healthcareServiceId")
        asked = replace(
            own,
            start=arguments.get("start"),
            end=arguments.get("end"),
            resource_id=own.resource_id if resource is None else resource,
            healthcare_service_id=own.healthcare_service_id if service is None else service,
        )
        self._demand.timeslots[asked] = None

    def _included(self, node: SelectionNode) -> bool:
        try:
            skip = get_directive_values(GraphQLSkipDirective, node, self._info.variable_values)
            include = get_directive_values(GraphQLIncludeDirective, node, self._info.variable_values)
        except GraphQLError:
            return False
        return not (skip and skip["if"]) and (include is None or include["if"])

    def _applies(self, fragment: InlineFragmentNode | FragmentDefinitionNode, parent: GraphQLObjectType) -> bool:
        if fragment.type_condition is None or fragment.type_condition.name.value == parent.name:
            return True
        condition = self._info.schema.get_type(fragment.type_condition.name.value)
        return is_abstract_type(condition) and self._info.schema.is_sub_type(condition, parent)

    def _object_type(self, name: str) -> GraphQLObjectType:
        found = self._info.schema.get_type(name)
        if not isinstance(found, GraphQLObjectType):
            raise TypeError(f"{name} is no object type")
        return found
