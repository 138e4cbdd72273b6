"""Looking ahead in the document, so that all a care unit is asked for starts in one turn.

Left alone, `resources { timeslots }` asks for timeslots only when the resources have come: a round trip more,
and a call a resource. Whatever stands below a care unit concerns that unit alone, so the first resolver that
holds it reads on, and asks the loaders for everything at once: the lists, and for timeslots of each resource
those of all resources. The resolvers further down then find their answers under way, and report themselves what
is wrong with their arguments.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

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
    """What a part of a document asks of a care unit, whatever the variables of its arguments are.

    `timeslots` are the fields of that name, with whether they stand in the node itself that was found.
    """

    resources: bool = False
    services: bool = False
    care_unit: bool = False
    timeslots: list[tuple[FieldNode, GraphQLField, bool]] = field(default_factory=list)


def anticipate(info: Info, found: Sequence[Anticipated]) -> None:
    """Start everything that the document asks below the current field: for care units, or for one other node."""
    if not found:
        return
    kind = type(found[0]).__name__
    demand = info.seen_ahead.get(kind)
    if demand is None:
        demand = info.seen_ahead[kind] = _DemandReader(info.raw).read(kind)
    filters = dict.fromkeys(_filters(demand, info.raw, found[0]))
    for node in found:
        _start(info.context, node.key, demand, filters)


def _start(context: Context, care_unit: CareUnitKey, demand: Demand, filters: Iterable[TimeslotFilter]) -> None:
    loaders = context.loaders
    if demand.resources:
        loaders.start_resources(care_unit)
    if demand.services:
        loaders.start_healthcare_services(care_unit)
    if demand.care_unit:
        loaders.start_care_units(care_unit.emr)
    for asked in filters:
        with suppress(GatewayError):
            loaders.start_timeslots(context.timeslot_query(care_unit, asked))


def _filters(demand: Demand, info: GraphQLResolveInfo[Context], node: Anticipated) -> Iterator[TimeslotFilter]:
    """What the `timeslots` fields of a demand ask, with this request's variables."""
    of_node = TimeslotFilter(
        resource_id=node.leyr_id if isinstance(node, Resource) else None,
        healthcare_service_id=node.leyr_id if isinstance(node, HealthcareService) else None,
    )
    for field_node, definition, is_own in demand.timeslots:
        try:
            arguments = get_argument_values(definition, field_node, info.variable_values)
        except GraphQLError:
            continue
        own = of_node if is_own else TimeslotFilter()
        resource, service = arguments.get("resourceId"), arguments.get("healthcareServiceId")
        yield TimeslotFilter(
            arguments.get("start"),
            arguments.get("end"),
            own.resource_id if resource is None else resource,
            own.healthcare_service_id if service is None else service,
        )


class _DemandReader:
    """One walk over a part of a document, linear in its size: a fragment is entered once for each type."""

    def __init__(self, info: GraphQLResolveInfo[Context]) -> None:
        self._info = info
        self._demand = Demand()
        self._entered: set[tuple[str, str]] = set()

    def read(self, kind: str) -> Demand:
        """What the selections below the current field ask, where that field holds an object of a type."""
        for field_node in self._info.field_nodes:
            self._walk(field_node, self._object_type(kind), is_own=True)
        return self._demand

    def _walk(self, node: _Selecting, parent: GraphQLObjectType, *, is_own: bool) -> None:
        """Read the selections of a node; `is_own` where its object is the one that the current field holds."""
        for selection in node.selection_set.selections if node.selection_set else ():
            if not self._included(selection):
                continue
            match selection:
                case FieldNode():
                    self._read_field(selection, parent, is_own=is_own)
                case InlineFragmentNode() if self._applies(selection, parent):
                    self._walk(selection, parent, is_own=is_own)
                case FragmentSpreadNode():
                    fragment = self._info.fragments[selection.name.value]
                    entry = (selection.name.value, parent.name)
                    if entry not in self._entered and self._applies(fragment, parent):
                        self._entered.add(entry)
                        self._walk(fragment, parent, is_own=is_own)

    def _read_field(self, node: FieldNode, parent: GraphQLObjectType, *, is_own: bool) -> None:
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
                self._demand.timeslots.append((node, definition, is_own))
        child = get_named_type(definition.type)
        if isinstance(child, GraphQLObjectType):
            self._walk(node, child, is_own=False)

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
