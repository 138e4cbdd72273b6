"""Whether fields that share a name in the answer can be merged (GraphQL, section 5.3.2), in about linear time.

Comparing every two fields takes time that grows with their square. Here all fields of a name are looked at together:
that they have one shape and, where they may meet in one object, that they are one field with one set of arguments.
What they select is then merged, and looked at in the same way.

Two fields never meet where their parents are different object types, or where that is so of fields around them. So a
name whose fields have several object types for parents is taken apart: the fields of each type among themselves, those
of interfaces and unions among themselves, and lastly the latter across the former, so that each pair is met once.
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

# What people write takes some thousands of looks; only documents that cross fragments and types at will take more.
_MOST_LOOKS = 30_000


@dataclass(frozen=True, slots=True, eq=False)
class _Field:
    """A field at its place in the document; `parent` is None unless that is an object type."""

    node: FieldNode
    key: str
    parent: GraphQLObjectType | None
    shape: Hashable
    selected_type: Any


_Fields: TypeAlias = tuple[_Field, ...]


class OverlappingFieldsRule(ValidationRule):
    """Refuses what graphql-core's OverlappingFieldsCanBeMergedRule refuses, one error a name."""

    def leave_document(self, node: DocumentNode, *_: object) -> None:
        """Check operations and fragments; by now it is known that they are not nested too deeply."""
        fragments = {each.name.value: each for each in node.definitions if isinstance(each, FragmentDefinitionNode)}
        merging = _Merging(self.context.schema, fragments, self._report)
        for definition in node.definitions:
            if isinstance(definition, OperationDefinitionNode):
                root = self.context.schema.get_root_type(definition.operation)
                merging.check(merging.collected(definition.selection_set, root))
            elif isinstance(definition, FragmentDefinitionNode):
                merging.check(merging.fragment(definition.name.value))

    def _report(self, error: RequestError, fields: Sequence[_Field]) -> None:
        self.report_error(GraphQLError(error.message, [each.node for each in fields], original_error=error))


@dataclass(slots=True)
class _Merging:
    schema: GraphQLSchema
    fragments: Mapping[str, FragmentDefinitionNode]
    report: Callable[[RequestError, Sequence[_Field]], None]
    looks: int = 0
    found: dict[int, _Fields] = field(default_factory=dict)
    calls: dict[_Field, int] = field(default_factory=dict)
    numbers: dict[Hashable, int] = field(default_factory=dict)
    begun: set[Hashable] = field(default_factory=set)
    waiting: list[tuple[Callable[..., None], tuple[_Fields, ...]]] = field(default_factory=list)

    def check(self, fields: _Fields) -> None:
        """Whether the fields of one selection set can be merged, and whatever they select."""
        self._later(self._together, fields)
        while self.waiting:
            step, sets = self.waiting.pop()
            self.looks += sum(map(len, sets))
            if self.looks > _MOST_LOOKS:
                self.waiting.clear()
                self.report(LimitExceededError("The fields of the document overlap in too many ways"), [])
                return
            step(*sets)

    def collected(self, selections: SelectionSetNode, parent: Any) -> _Fields:
        """The fields of a selection set, each once, with those of its fragments."""
        known = self.found.get(id(selections))
        if known is None:
            # Fragments in a cycle find nothing in themselves; such a document is refused by another rule.
            self.found[id(selections)] = ()
            known = self.found[id(selections)] = tuple(dict.fromkeys(self._selected(selections, parent)))
            self.looks += len(known)
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

    def _later(self, step: Callable[..., None], *sets: _Fields) -> None:
        task = (step.__name__, sets)
        if all(sets) and task not in self.begun:
            self.begun.add(task)
            self.waiting.append((step, sets))

    def _below(self, fields: Iterable[_Field]) -> _Fields:
        """What fields select, merged."""
        sets = [
            self.collected(each.node.selection_set, each.selected_type) for each in fields if each.node.selection_set
        ]
        return sets[0] if len(sets) == 1 else tuple(dict.fromkeys(chain.from_iterable(sets)))

    def _together(self, fields: _Fields) -> None:
        """The fields of one selection set, or of several that are merged."""
        for group in _by_key(fields).values():
            if len(group) == 1:
                self._later(self._together, self._below(group))
                continue
            unbound, bound = _by_parent(group)
            meeting = [group] if unbound or len(bound) == 1 else list(bound.values())
            if not self._are_alike(group) or not all(map(self._are_one, meeting)):
                continue
            if len(bound) <= 1:
                self._later(self._together, self._below(group))
                continue
            self._later(self._alike, self._below(group))
            for each in (unbound, *bound.values()):
                self._later(self._together, self._below(each))
            self._later(self._across, self._below(unbound), self._below(chain.from_iterable(bound.values())))

    def _alike(self, fields: _Fields) -> None:
        """Fields that may or may not meet: their shapes have to agree."""
        for group in _by_key(fields).values():
            if len(group) > 1 and self._are_alike(group):
                self._later(self._alike, self._below(group))

    def _across(self, left: _Fields, right: _Fields) -> None:
        """Fields of two sides where those of one side are seen to elsewhere."""
        others = _by_key(right)
        for key, group in _by_key(left).items():
            other = others.get(key, [])
            unbound, bound = _by_parent(group)
            other_unbound, other_bound = _by_parent(other)
            pairs = [(unbound, other)]
            pairs += [(each, [*other_unbound, *other_bound.get(parent, ())]) for parent, each in bound.items()]
            for one, two in pairs:
                self.looks += len(two)
                if one and two and self._are_one([*one, *two]):
                    self._later(self._across, self._below(one), self._below(two))

    def _are_alike(self, group: Sequence[_Field]) -> bool:
        examples = {each.shape: each for each in group if each.shape is not None}
        return len(examples) <= 1 or self._refuse(list(examples.values()), "have different types")

    def _are_one(self, group: Sequence[_Field]) -> bool:
        examples = {self._call(each): each for each in group}
        return len(examples) == 1 or self._refuse(
            list(examples.values()), "are different fields or have different arguments"
        )

    def _refuse(self, examples: Sequence[_Field], what: str) -> bool:
        words = f"Fields that share the name '{examples[0].key}' in the answer {what}; give them different aliases"
        self.report(InvalidDocumentError(words), examples[:2])
        return False

    def _call(self, found: _Field) -> int:
        """A number for what fields that meet have in common: name and arguments."""
        known = self.calls.get(found)
        if known is None:
            arguments = frozenset((each.name.value, _written(each.value)) for each in found.node.arguments or ())
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
    """UnitLists, nulls and leaves; how objects differ is for their fields to say."""
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


def _written(value: ValueNode) -> Hashable:
    """A literal as it is written, without regard to the order of an object's fields."""
    if isinstance(value, ListValueNode):
        return ListValueNode, tuple(_written(each) for each in value.values)
    if isinstance(value, ObjectValueNode):
        named = sorted(((each.name.value, each.value) for each in value.fields), key=lambda pair: pair[0])
        return ObjectValueNode, tuple((name, _written(each)) for name, each in named)
    if isinstance(value, VariableNode):
        return VariableNode, value.name.value
    if isinstance(value, StringValueNode):
        return StringValueNode, value.value, bool(value.block)
    return type(value), None if isinstance(value, NullValueNode) else getattr(value, "value", None)
