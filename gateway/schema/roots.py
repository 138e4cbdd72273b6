"""The root fields of an operation that call upstream, and which care units they are about."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from graphql import (
    FieldNode,
    GraphQLError,
    GraphQLField,
    OperationDefinitionNode,
    StringValueNode,
    VariableNode,
    get_argument_values,
)

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.errors import GatewayError
from gateway.domain.ids import NodeId, NodeType
from gateway.domain.models import CareUnitKey
from gateway.schema.context import Context
from gateway.schema.demands import Demand, Reach, demand_of

_BY_ID = frozenset({"careUnit", "node", "nodes"})


@dataclass(slots=True, eq=False)
class RootField:
    """One of them, and what stands below it, by the type of the object that it holds."""

    node: FieldNode
    definition: GraphQLField
    _demands: dict[NodeType, Demand] = field(default_factory=dict)

    @property
    def lists_care_units(self) -> bool:
        """Whether it is about the care units of an EHR, not about what it names itself."""
        return self.node.name.value == "careUnits"

    @property
    def names_several(self) -> bool:
        """Whether it names any number of nodes."""
        return self.node.name.value == "nodes"

    def demand(self, reach: Reach, kind: NodeType) -> Demand:
        """What stands below it, where it holds an object of a type."""
        found = self._demands.get(kind)
        if found is None:
            found = self._demands[kind] = demand_of(reach, [self.node], kind)
        return found

    def emr(self, reach: Reach, context: Context) -> EhrProfile | None:
        """The EHR whose care units it lists; None where the field will be refused."""
        try:
            return context.emr(self._argument("emr", reach))
        except (GatewayError, GraphQLError):
            # The field will say so itself, and makes no call.
            return None

    def named(self, reach: Reach, context: Context) -> Iterator[NodeId]:
        """What it names, but for what will be refused."""
        kinds = {NodeType.CARE_UNIT} if self.node.name.value == "careUnit" else set(NodeType)
        try:
            texts = self._argument("ids", reach) if self.names_several else [self._argument("id", reach)]
        except GraphQLError:
            return
        for text in texts:
            try:
                found = context.named(text)
            except GatewayError:
                # Likewise.
                continue
            if found.type in kinds:
                yield found

    def _argument(self, name: str, reach: Reach) -> Any:
        """The value of an argument, None where it has none. Raises GraphQLError."""
        for argument in self.node.arguments or ():
            if argument.name.value != name:
                continue
            value = argument.value
            # What graphql-core makes of these is the same, and takes it five times as long.
            if isinstance(value, StringValueNode):
                return value.value
            if isinstance(value, VariableNode):
                return reach.variables.coerced.get(value.name.value)
            return get_argument_values(self.definition, self.node, reach.variables).get(name)
        return None


class Asking(NamedTuple):
    """Who asks something of a care unit: a root field that holds it, or something in it by Leyr's id."""

    root: RootField
    kind: NodeType
    leyr_id: str


def root_fields(reach: Reach, operation: OperationDefinitionNode) -> list[RootField]:
    """Those of an operation."""
    query = reach.object_type("Query")
    return [
        RootField(node, query.fields[node.name.value])
        for node in reach.selected(operation, query)
        if node.name.value == "careUnits" or node.name.value in _BY_ID
    ]


def visible_care_units(context: Context, emr: str) -> list[CareUnitKey] | None:
    """The care units of an EHR that the caller may see; None where they are not known yet."""
    listed = context.loaders.known_care_units(emr)
    if listed is None:
        return None
    keys = (CareUnitKey(emr, leyr_id) for leyr_id in listed.items)
    return [key for key in keys if context.access.sees(key)]
