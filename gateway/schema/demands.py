"""What a document asks of care units, read once at each place of it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLIncludeDirective,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLSkipDirective,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    get_argument_values,
    get_directive_values,
    get_named_type,
    is_abstract_type,
)
from graphql.execution.values import VariableValues

from gateway.schema.context import Info, TimeslotFilter

_Selecting: TypeAlias = FieldNode | InlineFragmentNode | FragmentDefinitionNode | OperationDefinitionNode
_CALLING = frozenset({"resources", "resource", "healthcareServices", "healthcareService", "careUnit", "timeslots"})
_IDS = frozenset({"resourceId", "healthcareServiceId"})


@dataclass(frozen=True, slots=True)
class TimeslotsField:
    """A `timeslots` field: of what type, and whether it stands in the very node that was found."""

    node: FieldNode
    definition: GraphQLField
    parent: str
    is_own: bool


@dataclass(slots=True)
class Demand:
    """What a part of a document asks of a care unit, whatever the variables of its arguments are.

    `names_ids` tells whether timeslots may be asked for by the id of a resource or a service; `is_deep` whether any
    of it stands below a field that has to be waited for, and not in the very node that was found.
    """

    resources: bool = False
    services: bool = False
    care_unit: bool = False
    names_ids: bool = False
    is_deep: bool = False
    timeslots: list[TimeslotsField] = field(default_factory=list)


class AskedSlots(NamedTuple):
    """The arguments of a `timeslots` field, and the type that it is a field of: None for the node that was found."""

    filter: TimeslotFilter
    of: str | None


class Reach(NamedTuple):
    """A document as one request runs it."""

    schema: GraphQLSchema
    fragments: Mapping[str, FragmentDefinitionNode]
    variables: VariableValues

    @classmethod
    def of(cls, info: Info) -> "Reach":
        """What a resolver is told of it."""
        raw = info.raw
        return cls(raw.schema, raw.fragments, raw.variable_values)

    def object_type(self, name: str) -> GraphQLObjectType:
        """An object type of the schema."""
        found = self.schema.get_type(name)
        if not isinstance(found, GraphQLObjectType):
            raise TypeError(f"{name} is no object type")
        return found

    def asked(self, demand: Demand) -> dict[AskedSlots, None]:
        """What the `timeslots` fields of a demand ask, each once; those whose arguments are wrong report it."""
        return dict.fromkeys(self._asked(demand))

    def _asked(self, demand: Demand) -> Iterator[AskedSlots]:
        for each in demand.timeslots:
            try:
                arguments = get_argument_values(each.definition, each.node, self.variables)
            except GraphQLError:
                continue
            asked = TimeslotFilter(
                arguments.get("start"),
                arguments.get("end"),
                arguments.get("resourceId"),
                arguments.get("healthcareServiceId"),
            )
            yield AskedSlots(asked, None if each.is_own else each.parent)

    def selected(self, node: _Selecting, parent: GraphQLObjectType) -> Iterator[FieldNode]:
        """The fields of a selection, through fragments, each fragment once."""
        return self._selected(node, parent, set())

    def _selected(self, node: _Selecting, parent: GraphQLObjectType, entered: set[str]) -> Iterator[FieldNode]:
        for selection in node.selection_set.selections if node.selection_set else ():
            if not self.includes(selection):
                continue
            match selection:
                case FieldNode():
                    yield selection
                case InlineFragmentNode() if self.applies(selection, parent):
                    yield from self._selected(selection, parent, entered)
                case FragmentSpreadNode():
                    fragment = self.fragments[selection.name.value]
                    if selection.name.value not in entered and self.applies(fragment, parent):
                        entered.add(selection.name.value)
                        yield from self._selected(fragment, parent, entered)

    def includes(self, node: SelectionNode) -> bool:
        """Whether `@skip` and `@include` let a selection in."""
        try:
            skip = get_directive_values(GraphQLSkipDirective, node, self.variables)
            include = get_directive_values(GraphQLIncludeDirective, node, self.variables)
        except GraphQLError:
            return False
        return not (skip and skip["if"]) and (include is None or include["if"])

    def applies(self, fragment: InlineFragmentNode | FragmentDefinitionNode, parent: GraphQLObjectType) -> bool:
        """Whether a fragment is about objects of a type."""
        if fragment.type_condition is None or fragment.type_condition.name.value == parent.name:
            return True
        condition = self.schema.get_type(fragment.type_condition.name.value)
        return is_abstract_type(condition) and self.schema.is_sub_type(condition, parent)


def demand_below(info: Info, kind: str) -> Demand:
    """What the document asks below the current field, where that holds objects of a type."""
    found: Demand | None = info.memo.get(kind)
    if found is None:
        found = info.memo[kind] = demand_of(Reach.of(info), info.raw.field_nodes, kind)
    return found


def demand_of(reach: Reach, nodes: Iterable[FieldNode], kind: str) -> Demand:
    """What the selections of field nodes ask, where the field holds objects of a type."""
    reader = _DemandReader(reach)
    for node in nodes:
        reader.walk(node, reach.object_type(kind), is_own=True)
    return reader.demand


class _DemandReader:
    """One walk over a part of a document, linear in its size: a fragment is entered once for each type.

    Once more where it stands in the very node that was found, because there it asks for that node's own slots.
    """

    def __init__(self, reach: Reach) -> None:
        self.demand = Demand()
        self._reach = reach
        self._entered: set[tuple[str, str, bool]] = set()

    def walk(self, node: _Selecting, parent: GraphQLObjectType, *, is_own: bool) -> None:
        """Read the selections of a node; `is_own` where its object is the one that was found."""
        for selection in node.selection_set.selections if node.selection_set else ():
            if not self._reach.includes(selection):
                continue
            match selection:
                case FieldNode():
                    self._read_field(selection, parent, is_own=is_own)
                case InlineFragmentNode() if self._reach.applies(selection, parent):
                    self.walk(selection, parent, is_own=is_own)
                case FragmentSpreadNode():
                    fragment = self._reach.fragments[selection.name.value]
                    entry = (selection.name.value, parent.name, is_own)
                    if entry not in self._entered and self._reach.applies(fragment, parent):
                        self._entered.add(entry)
                        self.walk(fragment, parent, is_own=is_own)

    def _read_field(self, node: FieldNode, parent: GraphQLObjectType, *, is_own: bool) -> None:
        definition = parent.fields.get(node.name.value)
        if definition is None:
            return
        if node.name.value in _CALLING:
            self.demand.is_deep |= not is_own
        match node.name.value:
            case "resources" | "resource":
                self.demand.resources = True
            case "healthcareServices" | "healthcareService":
                self.demand.services = True
            case "careUnit":
                self.demand.care_unit = True
            case "timeslots":
                self.demand.timeslots.append(TimeslotsField(node, definition, parent.name, is_own))
                self.demand.names_ids |= not _IDS.isdisjoint(each.name.value for each in node.arguments or ())
                self.demand.names_ids |= is_own and parent.name != "CareUnit"
        child = get_named_type(definition.type)
        if isinstance(child, GraphQLObjectType):
            self.walk(node, child, is_own=False)
