"""Whether fields with one response key can be merged (GraphQL, section 5.3.2), in about linear time.

Comparing every two fields takes time that grows with their square. Here all fields of a key are compared together:
that they have one shape and, where they may meet in one object, that they have one name and one set of arguments.
What they select is then merged, and compared in the same way.

Two fields never meet where their parents are different object types, or where the parents of fields around them are.
So the fields of a key that have several object types for parents are split: the fields of each type are compared among
themselves, those of interfaces and unions among themselves, and lastly the latter with the former, so that each pair
is compared once.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeAlias

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    StringValueNode,
    ValidationRule,
    ValueNode,
    VariableNode,
    get_named_type,
    is_interface_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
)

from gateway.engine.errors import InvalidDocumentError, LimitExceededError, RequestError
from gateway.engine.selection import type_within

# Documents that people write take some thousands of visits; only those that cross many fragments and types take more.
_MAX_VISITS = 30_000


@dataclass(frozen=True, slots=True, eq=False)
class _Field:
    """A field where it stands in the document; `parent` is None unless that is an object type."""

    node: FieldNode
    key: str
    parent: GraphQLObjectType | None
    shape: Hashable
    selected_type: Any


_Fields: TypeAlias = tuple[_Field, ...]


class OverlappingFieldsRule(ValidationRule):
    """Refuses what graphql-core's OverlappingFieldsCanBeMergedRule refuses, with one error for each key."""

    def leave_document(self, node: DocumentNode, *_: object) -> None:
        """Check operations and fragments; by now other rules have found that they do not nest too deeply."""
        fragments = {each.name.value: each for each in node.definitions if isinstance(each, FragmentDefinitionNode)}
        merge = _Merge(self.context.schema, fragments, self._report)
        for definition in node.definitions:
            if isinstance(definition, OperationDefinitionNode):
                root = self.context.schema.get_root_type(definition.operation)
                merge.check(merge.collected(definition.selection_set, root))
            elif isinstance(definition, FragmentDefinitionNode):
                merge.check(merge.fragment(definition.name.value))

    def _report(self, error: RequestError, fields: Sequence[_Field]) -> None:
        self.report_error(GraphQLError(error.message, [each.node for each in fields], original_error=error))


@dataclass(slots=True)
class _Merge:
    schema: GraphQLSchema
    fragments: Mapping[str, FragmentDefinitionNode]
    report: Callable[[RequestError, Sequence[_Field]], None]
    visits: int = 0
    fields: dict[int, _Fields] = field(default_factory=dict)
    calls: dict[_Field, int] = field(default_factory=dict)
    numbers: dict[Hashable, int] = field(default_factory=dict)
    scheduled: set[Hashable] = field(default_factory=set)
    pending: list[tuple[Callable[..., None], tuple[_Fields, ...]]] = field(default_factory=list)

    def check(self, fields: _Fields) -> None:
        """Report the fields of one selection set that cannot be merged, and those that they select."""
        self._schedule(self._compare, fields)
        while self.pending:
            step, sets = self.pending.pop()
            self.visits += sum(map(len, sets))
            if self.visits > _MAX_VISITS:
                self.pending.clear()
                self.report(LimitExceededError("The fields of the document overlap in too many ways"), [])
                return
            step(*sets)

    def collected(self, selections: SelectionSetNode, parent: Any) -> _Fields:
        """The fields of a selection set, each once, with those of its fragments."""
        known = self.fields.get(id(selections))
        if known is None:
            # Fragments in a cycle find nothing in themselves; such a document is refused by another rule.
            self.fields[id(selections)] = ()
            known = self.fields[id(selections)] = tuple(dict.fromkeys(self._selected(selections, parent)))
            self.visits += len(known)
        return known

    def fragment(self, name: str) -> _Fields:
        """The fields of a fragment, none where there is no such fragment."""
        fragment = self.fragments.get(name)
        if fragment is None:
            return ()
        return self.collected(fragment.selection_set, type_within(self.schema, fragment, None))

    def _selected(self, selections: SelectionSetNode, parent: Any) -> Iterator[_Field]:
        for each in selections.selections:
            if isinstance(each, FieldNode):
                yield _field(each, parent)
            elif isinstance(each, FragmentSpreadNode):
                yield from self.fragment(each.name.value)
            elif isinstance(each, InlineFragmentNode):
                yield from self.collected(each.selection_set, type_within(self.schema, each, parent))

    def _schedule(self, step: Callable[..., None], *sets: _Fields) -> None:
        task = (step.__name__, sets)
        if all(sets) and task not in self.scheduled:
            self.scheduled.add(task)
            self.pending.append((step, sets))

    def _subfields(self, fields: Iterable[_Field]) -> _Fields:
        """The fields that fields select, merged."""
        sets = [
            self.collected(each.node.selection_set, each.selected_type) for each in fields if each.node.selection_set
        ]
        return sets[0] if len(sets) == 1 else tuple(dict.fromkeys(chain.from_iterable(sets)))

    def _compare(self, fields: _Fields) -> None:
        """Compare the fields of one selection set, or of several that are merged."""
        for group in _by_key(fields).values():
            if len(group) == 1:
                self._schedule(self._compare, self._subfields(group))
                continue
            unbound, bound = _by_parent(group)
            meeting = [group] if unbound or len(bound) == 1 else list(bound.values())
            if not self._have_one_shape(group) or not all(map(self._are_one_call, meeting)):
                continue
            if len(bound) <= 1:
                self._schedule(self._compare, self._subfields(group))
                continue
            self._schedule(self._compare_shapes, self._subfields(group))
            for each in (unbound, *bound.values()):
                self._schedule(self._compare, self._subfields(each))
            all_bound = self._subfields(chain.from_iterable(bound.values()))
            self._schedule(self._compare_across, self._subfields(unbound), all_bound)

    def _compare_shapes(self, fields: _Fields) -> None:
        """Compare fields that may never meet: their shapes have to agree all the same."""
        for group in _by_key(fields).values():
            if len(group) > 1 and self._have_one_shape(group):
                self._schedule(self._compare_shapes, self._subfields(group))

    def _compare_across(self, left: _Fields, right: _Fields) -> None:
        """Compare the fields of two sides with each other; those of each side are compared elsewhere."""
        others = _by_key(right)
        for key, group in _by_key(left).items():
            other = others.get(key, [])
            unbound, bound = _by_parent(group)
            other_unbound, other_bound = _by_parent(other)
            pairs = [(unbound, other)]
            pairs += [(each, [*other_unbound, *other_bound.get(parent, ())]) for parent, each in bound.items()]
            for one, two in pairs:
                self.visits += len(two)
                if one and two and self._are_one_call([*one, *two]):
                    self._schedule(self._compare_across, self._subfields(one), self._subfields(two))

    def _have_one_shape(self, group: Sequence[_Field]) -> bool:
        examples = {each.shape: each for each in group if each.shape is not None}
        return len(examples) <= 1 or self._refuse(list(examples.values()), "have different types")

    def _are_one_call(self, group: Sequence[_Field]) -> bool:
        examples = {self._call(each): each for each in group}
        return len(examples) == 1 or self._refuse(
            list(examples.values()), "are different fields or have different arguments"
        )

    def _refuse(self, examples: Sequence[_Field], what: str) -> bool:
        words = f"Fields that share the name '{examples[0].key}' in the answer {what}; give them different aliases"
        self.report(InvalidDocumentError(words), examples[:2])
        return False

    def _call(self, found: _Field) -> int:
        """A number for a field's name and arguments."""
        known = self.calls.get(found)
        if known is None:
            arguments = frozenset((each.name.value, _literal(each.value)) for each in found.node.arguments or ())
            known = self.numbers.setdefault((found.node.name.value, arguments), len(self.numbers))
            self.calls[found] = known
        return known


def _field(node: FieldNode, parent: Any) -> _Field:
    name = node.name.value
    is_object = is_object_type(parent)
    definition = parent.fields.get(name) if is_object or is_interface_type(parent) else None
    output = None if definition is None else definition.type
    return _Field(
        node,
        node.alias.value if node.alias else name,
        parent if is_object else None,
        None if output is None else _shape(output),
        get_named_type(output),
    )


def _shape(output: Any) -> Hashable:
    """The lists, non-nulls and leaf type of an output type; the shapes of objects are those of their fields."""
    wrappers = []
    while is_list_type(output) or is_non_null_type(output):
        wrappers.append(is_list_type(output))
        output = output.of_type
    return tuple(wrappers), output if is_leaf_type(output) else None


def _by_key(fields: _Fields) -> dict[str, list[_Field]]:
    groups: dict[str, list[_Field]] = {}
    for each in fields:
        groups.setdefault(each.key, []).append(each)
    return groups


def _by_parent(group: Sequence[_Field]) -> tuple[list[_Field], dict[GraphQLObjectType, list[_Field]]]:
    unbound: list[_Field] = []
    bound: dict[GraphQLObjectType, list[_Field]] = {}
    for each in group:
        (unbound if each.parent is None else bound.setdefault(each.parent, [])).append(each)
    return unbound, bound


def _literal(value: ValueNode) -> Hashable:
    """A literal's text in a form to compare, in which the order of an object's fields does not count."""
    if isinstance(value, ListValueNode):
        return ListValueNode, tuple(_literal(each) for each in value.values)
    if isinstance(value, ObjectValueNode):
        named = sorted(((each.name.value, each.value) for each in value.fields), key=lambda pair: pair[0])
        return ObjectValueNode, tuple((name, _literal(each)) for name, each in named)
    if isinstance(value, VariableNode):
        return VariableNode, value.name.value
    if isinstance(value, StringValueNode):
        return StringValueNode, value.value, bool(value.block)
    return type(value), None if isinstance(value, NullValueNode) else getattr(value, "value", None)
