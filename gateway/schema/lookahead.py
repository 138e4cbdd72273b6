"""What a document asks of care units, read once at each place of it, and begun before its resolvers ask.

Left alone, `resources { timeslots }` asks for timeslots only when the resources have come: a round trip more,
and a call a resource. Whatever stands below a care unit concerns that unit alone, but for the care units of its EHR,
which are looked at by themselves. So the first resolver that holds it reads on, and asks the loaders for everything
at once: the lists, and for timeslots of each resource those of all resources. The resolvers further down then find
their reads begun, and report themselves what is wrong with their arguments.

Nothing here knows a field by its name: what a field reads is declared at the field (`READS`, `FINDS`).
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

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
    is_abstract_type,
)

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.errors import GatewayError
from gateway.domain.ids import AnyNodeId, NodeId, NodeType, TimeslotId
from gateway.domain.models import CareUnitKey
from gateway.engine.compiler import declared_field
from gateway.engine.selection import Selections
from gateway.schema.context import Context, Info
from gateway.schema.loaders import READS, Reads
from gateway.schema.timeslot_queries import NAMES_IDS
from gateway.schema.timeslots_arguments import TimeslotsArguments, TimeslotsField, arguments_of, python_name

FINDS = "finds"
"""Metadata of a root field: the EHRs, the care units or the nodes that it is about (`EmrsNamedBy`, `CareUnitsOf`,
`NodesNamedBy`); and of a field of an EHR that it is about its care units (`CareUnitsOfParent`)."""


@dataclass(frozen=True, slots=True)
class EmrsNamedBy:
    """The EHR whose code an argument gives; every EHR that the caller may see, where there is no argument."""

    argument: str | None = None


@dataclass(frozen=True, slots=True)
class CareUnitsOfParent:
    """The care units of the EHR that the field belongs to."""


@dataclass(frozen=True, slots=True)
class CareUnitsOf:
    """The care units of the EHR whose code an argument gives; of the caller's first EHR where it gives none."""

    argument: str


@dataclass(frozen=True, slots=True)
class NodesNamedBy:
    """The nodes of these types whose ids an argument gives: one id, or a list of them."""

    argument: str
    types: frozenset[NodeType] = frozenset(NodeType)
    is_list: bool = False


@dataclass(frozen=True, slots=True)
class AvailabilityOf(NodesNamedBy):
    """The care units whose ids an argument gives; the field itself reads their free times, and holds none of them."""


@dataclass(frozen=True, slots=True)
class OwnCalls:
    """Nothing that stands in the document; the field makes so many calls itself, at most.

    There are `each` more for each item of the list `of` in its argument `input`.
    """

    calls: int
    each: int = 0
    of: str = ""


_Finds: TypeAlias = EmrsNamedBy | CareUnitsOf | CareUnitsOfParent | NodesNamedBy | OwnCalls


@dataclass
class Lookahead:
    """What a part of a document asks of a care unit or an EHR, whatever the variables of its arguments are.

    `reads` is what its fields declare together; those that list `care_units` stand for what is below them. `names_ids`
    tells whether timeslots may be asked for by the id of a resource or a service; `is_deep` whether any of it stands
    below a field that has to be waited for, and not in the very node that was found.
    """

    reads: Reads = Reads.NOTHING
    names_ids: bool = False
    is_deep: bool = False
    timeslots: list[TimeslotsField] = field(default_factory=list)
    care_units: "list[FindingField]" = field(default_factory=list)

    @cached_property
    def most_calls(self) -> int:
        """The most calls for a care unit of a plain EHR, where each field makes one query.

        Lists may have to confirm that ids exist.
        """
        reads = self.reads | Reads.RESOURCES | Reads.HEALTHCARE_SERVICES if self.names_ids else self.reads
        return reads.unit_lists + len(self.timeslots)


@dataclass(slots=True)
class DocumentScope(Selections):
    """A document with the variables of one request."""

    @classmethod
    def of(cls, info: Info) -> "DocumentScope":
        """The document that a resolver belongs to."""
        raw = info.raw
        return cls(raw.schema, raw.fragments, raw.variable_values)

    def object_types(self, output_type: Any) -> Sequence[GraphQLObjectType]:
        """The types of the objects that a field of a type may hold: none for scalars, several for an abstract type."""
        named = get_named_type(output_type)
        if isinstance(named, GraphQLObjectType):
            return [named]
        return self.schema.get_possible_types(named) if is_abstract_type(named) else ()

    def object_type(self, name: str) -> GraphQLObjectType:
        """An object type of the schema."""
        found = self.schema.get_type(name)
        if not isinstance(found, GraphQLObjectType):
            raise TypeError(f"{name} is no object type")
        return found

    def asked(self, lookahead: Lookahead) -> dict[TimeslotsArguments, None]:
        """The arguments of the fields that read timeslots, each once; a field reports wrong arguments itself."""
        return dict.fromkeys(self._asked(lookahead))

    def further_queries(self, lookahead: Lookahead) -> int:
        """How many queries of a care unit its fields may make beyond one each."""
        return sum(each.most_queries - 1 for each in self.asked(lookahead)) if lookahead.names_ids else 0

    def _asked(self, lookahead: Lookahead) -> Iterator[TimeslotsArguments]:
        for each in lookahead.timeslots:
            try:
                yield arguments_of(each, self.schema, self.variables)
            except (GraphQLError, GatewayError):
                continue


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


def lookahead_of_units(document: DocumentScope, node: FieldNode, definition: GraphQLField) -> Lookahead:
    """What a field that reads free times of care units asks of each of them."""
    reader = _LookaheadReader(document)
    reader.read_timeslots(TimeslotsField(node, definition, NodeType.CARE_UNIT, is_own=True))
    for kind in document.object_types(definition.type):
        reader.walk(node.selection_set, kind, is_own=False)
    return reader.lookahead


class _LookaheadReader:
    """Walks a part of a document in linear time: a selection set or a fragment is entered once for each type.

    It is entered once more in the very node that was found, because there it asks for that node's own slots.
    """

    def __init__(self, document: DocumentScope) -> None:
        self.lookahead = Lookahead()
        self._document = document
        self._entered: defaultdict[tuple[str, bool], set[str]] = defaultdict(set)
        self._walked: set[tuple[str, bool, int]] = set()

    def walk(self, selections: SelectionSetNode | None, parent: GraphQLObjectType, *, is_own: bool) -> None:
        """Read a selection set; `is_own` where its object is the one that was found."""
        # The document outlives this object, so that no two of its selection sets have one id.
        walked = parent.name, is_own, id(selections)
        if walked in self._walked:
            return
        self._walked.add(walked)
        for node in self._document.fields(selections, parent, self._entered[parent.name, is_own]):
            self._read_field(node, parent, is_own=is_own)

    def read_timeslots(self, found: TimeslotsField) -> None:
        """Note a field that reads timeslots."""
        self._read_upstream(Reads.TIMESLOTS, found)

    def _read_field(self, node: FieldNode, parent: GraphQLObjectType, *, is_own: bool) -> None:
        definition = parent.fields.get(node.name.value)
        if definition is None:
            return
        declared = declared_field(definition)
        reads: Reads = Reads.NOTHING if declared is None else declared.metadata.get(READS, Reads.NOTHING)
        if reads is not Reads.NOTHING:
            self._read_upstream(reads, TimeslotsField(node, definition, parent.name, is_own))
        if declared is not None and isinstance(declared.metadata.get(FINDS), CareUnitsOfParent):
            self.lookahead.care_units.append(FindingField(node, definition, CareUnitsOfParent(), waits=not is_own))
        elif node.selection_set is not None:
            for child in self._document.object_types(definition.type):
                self.walk(node.selection_set, child, is_own=False)

    def _read_upstream(self, reads: Reads, found: TimeslotsField) -> None:
        lookahead = self.lookahead
        lookahead.reads |= reads
        lookahead.is_deep |= not found.is_own
        if Reads.TIMESLOTS in reads:
            lookahead.timeslots.append(found)
            given = {each.name.value for each in found.node.arguments or ()}
            ids = (name for name, each in found.definition.args.items() if python_name(each) in NAMES_IDS)
            lookahead.names_ids |= not given.isdisjoint(ids)
            lookahead.names_ids |= found.is_own and found.parent != NodeType.CARE_UNIT


@dataclass(slots=True, eq=False)
class FindingField:
    """A field that is about EHRs, care units or nodes: a root field, or one that lists an EHR's care units.

    What stands below it is known by the type of the object that it holds. One that `waits` is found only when other
    lists have come.
    """

    node: FieldNode
    definition: GraphQLField
    finds: _Finds
    waits: bool = False
    _lookaheads: dict[NodeType, Lookahead] = field(default_factory=dict)

    def lookahead(self, document: DocumentScope, kind: NodeType) -> Lookahead:
        """What the document asks below it, where it holds an object of a type."""
        found = self._lookaheads.get(kind)
        if found is None:
            if isinstance(self.finds, AvailabilityOf):
                found = lookahead_of_units(document, self.node, self.definition)
            else:
                found = lookahead_of(document, [self.node], kind)
            self._lookaheads[kind] = found
        return found

    def care_units(self, document: DocumentScope, context: Context) -> "Iterator[tuple[FindingField, EhrProfile]]":
        """The fields that list care units, this one or any below, each with the EHR; not those that will be refused."""
        for emr, fields in self._listing(document, context):
            reached = dict.fromkeys(fields)
            queue = list(reached)
            for each in queue:
                yield each, emr
                new = [one for one in each.lookahead(document, NodeType.CARE_UNIT).care_units if one not in reached]
                reached.update(dict.fromkeys(new))
                queue += new

    def _listing(
        self, document: DocumentScope, context: Context
    ) -> "Iterator[tuple[EhrProfile, Sequence[FindingField]]]":
        """The EHRs that it leads to, each with the outermost fields that list its care units."""
        match self.finds:
            case CareUnitsOf(argument):
                for emr in self._emrs(document, context, argument):
                    yield emr, [self]
            case EmrsNamedBy(argument):
                fields = self.lookahead(document, NodeType.EMR).care_units
                for emr in self._emrs(document, context, argument) if fields else ():
                    yield emr, fields
            case NodesNamedBy():
                for code, kind in dict.fromkeys((each.emr, each.type) for each in self.named(document, context)):
                    yield context.profiles.of(code), self.lookahead(document, kind).care_units

    def _emrs(self, document: DocumentScope, context: Context, argument: str | None) -> Sequence[EhrProfile]:
        if argument is None:
            return context.emrs
        try:
            return [context.emr(self.argument(document, argument))]
        except (GatewayError, GraphQLError):
            # The field will say so itself, and makes no call.
            return ()

    def named(self, document: DocumentScope, context: Context) -> Iterator[AnyNodeId]:
        """The nodes that it names, without those that the field will refuse."""
        if not isinstance(self.finds, NodesNamedBy):
            return
        try:
            given = self.argument(document, self.finds.argument)
        except GraphQLError:
            return
        for text in (given or ()) if self.finds.is_list else [given]:
            if text is None:
                continue
            try:
                found = context.named(text)
            except GatewayError:
                # The field will say so itself.
                continue
            if found.type in self.finds.types:
                yield found

    def argument(self, document: DocumentScope, name: str) -> Any:
        """The value of the argument that says what it finds, None where it has none. Raises GraphQLError."""
        given = next((each.value for each in self.node.arguments or () if each.name.value == name), None)
        # What graphql-core makes of most texts and variables is the same, and takes it five times as long.
        if isinstance(given, StringValueNode) and not self._takes_list:
            return given.value
        if isinstance(given, VariableNode):
            value = document.variables.coerced.get(given.name.value)
            if value is not None:
                return value
        return get_argument_values(self.definition, self.node, document.variables).get(name)

    @property
    def _takes_list(self) -> bool:
        return isinstance(self.finds, NodesNamedBy) and self.finds.is_list


class UnitRequest(NamedTuple):
    """A field that asks something of a care unit: through the unit itself, a node in it by Leyr's id, or a timeslot."""

    root: FindingField
    kind: NodeType
    leyr_id: str = ""
    timeslot: TimeslotId | None = None

    @classmethod
    def of(cls, root: FindingField, named: NodeId | TimeslotId) -> "UnitRequest":
        """What a field asks of a care unit through a node that it names."""
        if isinstance(named, TimeslotId):
            return cls(root, named.type, timeslot=named)
        return cls(root, named.type, "" if named.type is NodeType.CARE_UNIT else named.leyr_id)

    @property
    def moment(self) -> Hashable:
        """When it is asked: with all else that waits for the list of its kind alone, or at a moment of its own."""
        return self.root if self.root.waits or self.kind is NodeType.TIMESLOT else self.kind

    @property
    def own_filters(self) -> tuple[str | None, str | None]:
        """The resource and the healthcare service that the node's own timeslots are filtered by."""
        return (
            self.leyr_id if self.kind is NodeType.RESOURCE else None,
            self.leyr_id if self.kind is NodeType.HEALTHCARE_SERVICE else None,
        )


def root_fields(document: DocumentScope, operation: OperationDefinitionNode) -> list[FindingField]:
    """The root fields of an operation that may lead to calls upstream."""
    root = document.schema.get_root_type(operation.operation)
    found = []
    for node in () if root is None else document.fields(operation.selection_set, root):
        definition = root.fields.get(node.name.value) if root else None
        declared = None if definition is None else declared_field(definition)
        finds = None if declared is None else declared.metadata.get(FINDS)
        if definition is not None and finds is not None:
            found.append(FindingField(node, definition, finds))
    return found


def root_fields_of(
    document: DocumentScope, operation: OperationDefinitionNode, memo: dict[str, Any]
) -> list[FindingField]:
    """The same, found once as long as the compiled operation lasts, which is as long as `memo` does."""
    found: list[FindingField] | None = memo.get("Query")
    if found is None:
        found = memo["Query"] = root_fields(document, operation)
    return found


def visible_care_units(context: Context, emr: str) -> list[CareUnitKey] | None:
    """The care units of an EHR that the caller may see; None where they are not known yet."""
    listed = context.loaders.known_care_units(emr)
    if listed is None:
        return None
    keys = (CareUnitKey(emr, leyr_id) for leyr_id in listed.items)
    return [key for key in keys if context.access.sees(key)]
