"""What a document asks of care units, read once at each place of it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from graphql import (
    FieldNode,
    GraphQLError,
    GraphQLField,
    GraphQLObjectType,
    OperationDefinitionNode,
    SelectionSetNode,
    StringValueNode,
    VariableNode,
    get_argument_values,
    get_named_type,
)

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.errors import GatewayError
from gateway.domain.ids import NodeId, NodeType
from gateway.domain.models import CareUnitKey
from gateway.engine.selection import Selections
from gateway.schema.context import Context, Info, TimeslotFilter

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
class Lookahead:
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


class TimeslotsArguments(NamedTuple):
    """The arguments of a `timeslots` field, and the type that it is a field of: None for the node that was found."""

    filter: TimeslotFilter
    of: str | None


class DocumentScope(Selections):
    """A document as one request runs it."""

    __slots__ = ()

    @classmethod
    def of(cls, info: Info) -> "DocumentScope":
        """What a resolver is told of it."""
        raw = info.raw
        return cls(raw.schema, raw.fragments, raw.variable_values)

    def object_type(self, name: str) -> GraphQLObjectType:
        """An object type of the schema."""
        found = self.schema.get_type(name)
        if not isinstance(found, GraphQLObjectType):
            raise TypeError(f"{name} is no object type")
        return found

    def asked(self, lookahead: Lookahead) -> dict[TimeslotsArguments, None]:
        """What the `timeslots` fields of a lookahead ask, each once; those whose arguments are wrong report it."""
        return dict.fromkeys(self._asked(lookahead))

    def _asked(self, lookahead: Lookahead) -> Iterator[TimeslotsArguments]:
        for each in lookahead.timeslots:
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
            yield TimeslotsArguments(asked, None if each.is_own else each.parent)


def lookahead_below(info: Info, kind: str) -> Lookahead:
    """What the document asks below the current field, where that holds objects of a type."""
    found: Lookahead | None = info.memo.get(kind)
    if found is None:
        found = info.memo[kind] = lookahead_of(DocumentScope.of(info), info.raw.field_nodes, kind)
    return found


def lookahead_of(document: DocumentScope, nodes: Iterable[FieldNode], kind: str) -> Lookahead:
    """What the selections of field nodes ask, where the field holds objects of a type."""
    reader = _LookaheadReader(document)
    for node in nodes:
        reader.walk(node.selection_set, document.object_type(kind), is_own=True)
    return reader.lookahead


class _LookaheadReader:
    """One walk over a part of a document, linear in its size: a fragment is entered once for each type.

    Once more where it stands in the very node that was found, because there it asks for that node's own slots.
    """

    def __init__(self, document: DocumentScope) -> None:
        self.lookahead = Lookahead()
        self._document = document
        self._entered: defaultdict[tuple[str, bool], set[str]] = defaultdict(set)

    def walk(self, selections: SelectionSetNode | None, parent: GraphQLObjectType, *, is_own: bool) -> None:
        """Read a selection set; `is_own` where its object is the one that was found."""
        for node in self._document.fields(selections, parent, self._entered[parent.name, is_own]):
            self._read_field(node, parent, is_own=is_own)

    def _read_field(self, node: FieldNode, parent: GraphQLObjectType, *, is_own: bool) -> None:
        definition = parent.fields.get(node.name.value)
        if definition is None:
            return
        if node.name.value in _CALLING:
            self.lookahead.is_deep |= not is_own
        match node.name.value:
            case "resources" | "resource":
                self.lookahead.resources = True
            case "healthcareServices" | "healthcareService":
                self.lookahead.services = True
            case "careUnit":
                self.lookahead.care_unit = True
            case "timeslots":
                self.lookahead.timeslots.append(TimeslotsField(node, definition, parent.name, is_own))
                self.lookahead.names_ids |= not _IDS.isdisjoint(each.name.value for each in node.arguments or ())
                self.lookahead.names_ids |= is_own and parent.name != "CareUnit"
        child = get_named_type(definition.type)
        if isinstance(child, GraphQLObjectType):
            self.walk(node.selection_set, child, is_own=False)


_BY_ID = frozenset({"careUnit", "node", "nodes"})


@dataclass(slots=True, eq=False)
class RootField:
    """One of them, and what stands below it, by the type of the object that it holds."""

    node: FieldNode
    definition: GraphQLField
    _lookaheads: dict[NodeType, Lookahead] = field(default_factory=dict)

    @property
    def lists_care_units(self) -> bool:
        """Whether it is about the care units of an EHR, not about what it names itself."""
        return self.node.name.value == "careUnits"

    @property
    def names_several(self) -> bool:
        """Whether it names any number of nodes."""
        return self.node.name.value == "nodes"

    def lookahead(self, document: DocumentScope, kind: NodeType) -> Lookahead:
        """What stands below it, where it holds an object of a type."""
        found = self._lookaheads.get(kind)
        if found is None:
            found = self._lookaheads[kind] = lookahead_of(document, [self.node], kind)
        return found

    def emr(self, document: DocumentScope, context: Context) -> EhrProfile | None:
        """The EHR whose care units it lists; None where the field will be refused."""
        try:
            return context.emr(self._argument("emr", document))
        except (GatewayError, GraphQLError):
            # The field will say so itself, and makes no call.
            return None

    def named(self, document: DocumentScope, context: Context) -> Iterator[NodeId]:
        """What it names, but for what will be refused."""
        kinds = {NodeType.CARE_UNIT} if self.node.name.value == "careUnit" else set(NodeType)
        try:
            texts = self._argument("ids", document) if self.names_several else [self._argument("id", document)]
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

    def _argument(self, name: str, document: DocumentScope) -> Any:
        """The value of an argument, None where it has none. Raises GraphQLError."""
        for argument in self.node.arguments or ():
            if argument.name.value != name:
                continue
            value = argument.value
            # What graphql-core makes of these is the same, and takes it five times as long.
            if isinstance(value, StringValueNode):
                return value.value
            if isinstance(value, VariableNode):
                return document.variables.coerced.get(value.name.value)
            return get_argument_values(self.definition, self.node, document.variables).get(name)
        return None


class RootRequest(NamedTuple):
    """Who asks something of a care unit: a root field that holds it, or something in it by Leyr's id."""

    root: RootField
    kind: NodeType
    leyr_id: str


def root_fields(document: DocumentScope, operation: OperationDefinitionNode) -> list[RootField]:
    """Those of an operation."""
    query = document.object_type("Query")
    return [
        RootField(node, query.fields[node.name.value])
        for node in document.fields(operation.selection_set, query)
        if node.name.value == "careUnits" or node.name.value in _BY_ID
    ]


def visible_care_units(context: Context, emr: str) -> list[CareUnitKey] | None:
    """The care units of an EHR that the caller may see; None where they are not known yet."""
    listed = context.loaders.known_care_units(emr)
    if listed is None:
        return None
    keys = (CareUnitKey(emr, leyr_id) for leyr_id in listed.items)
    return [key for key in keys if context.access.sees(key)]
