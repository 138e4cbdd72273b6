"""Whether fields with one response key can be merged (GraphQL, section 5.3.2), in about linear time.

Comparing every two fields takes time that grows with their square. Here all fields of a key are compared together:
that they have one shape and, where they may meet in one object, that they have one name and one set of arguments.
What they select is then merged, and compared in the same way.

Two fields never meet where their parents are different object types, or where the parents of fields around them are.
So the fields of a key that have several object types for parents are split: the fields of each type are compared among
themselves, those of interfaces and unions among themselves, and lastly the latter with the former, so that each pair
is compared once.

It stands here instead of graphql-core's rule, which takes 1.2 to 1.5 times as long for documents as people write them,
and 50 to 350 times for repeated fields, of which ten kilobytes hold the event loop for 0.7 s
(benchmarks/micro/test_overlapping_fields.py).
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any, TypeAlias

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLObjectType,
    InlineFragmentNode,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValidationContext,
    ValidationRule,
    ValueNode,
    VariableNode,
    get_named_type,
    is_interface_type,
    is_leaf_type,
    is_object_type,
)

from gateway.engine.errors import InvalidDocumentError, LimitExceededError, RequestError
from gateway.engine.selection import type_within

# Documents that people write take some thousands of visits; only those that cross many fragments and types take more.
_MAX_VISITS = 30_000


@dataclass(slots=True, eq=False)
class _Field:
    """A field where it stands in the document; `parent` is None unless that is an object type, `output` if unknown."""

    node: FieldNode
    key: str
    parent: GraphQLObjectType | None
    output: Any


_Fields: TypeAlias = tuple[_Field, ...]


class OverlappingFieldsRule(ValidationRule):
    """Refuses what graphql-core's OverlappingFieldsCanBeMergedRule refuses, with one error for each key."""

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self._visits = 0
        self._fields: dict[int, _Fields] = {}
        self._calls: dict[_Field, int] = {}
        self._shapes: dict[Any, str | None] = {None: None}
        self._numbers: dict[Hashable, int] = {}
        self._scheduled: set[Hashable] = set()
        self._pending: list[tuple[Callable[..., None], tuple[_Fields, ...]]] = []

    def leave_document(self, node: DocumentNode, *_: object) -> None:
        """Check operations and fragments; by now other rules have found that they do not nest too deeply."""
        for definition in node.definitions:
            if isinstance(definition, OperationDefinitionNode):
                root = self.context.schema.get_root_type(definition.operation)
                self._check(self._collected(definition.selection_set, root))
            elif isinstance(definition, FragmentDefinitionNode):
                self._check(self._fragment(definition.name.value))

    def _check(self, fields: _Fields) -> None:
        """Report the fields of one selection set that cannot be merged, and those that they select."""
        self._schedule(self._compare, fields)
        while self._pending:
            step, sets = self._pending.pop()
            self._visits += sum(map(len, sets))
            if self._visits > _MAX_VISITS:
                self._pending.clear()
                self._report(LimitExceededError("The fields of the document overlap in too many ways"), [])
                return
            step(*sets)

    def _collected(self, selections: SelectionSetNode, parent: Any) -> _Fields:
        """The fields of a selection set, each once, with those of its fragments."""
        known = self._fields.get(id(selections))
        if known is None:
            # Fragments in a cycle find nothing in themselves; such a document is refused by another rule.
            self._fields[id(selections)] = ()
            known = self._fields[id(selections)] = tuple(dict.fromkeys(self._selected(selections, parent)))
            self._visits += len(known)
        return known

    def _fragment(self, name: str) -> _Fields:
        """The fields of a fragment, none where there is no such fragment."""
        fragment = self.context.get_fragment(name)
        if fragment is None:
            return ()
        return self._collected(fragment.selection_set, type_within(self.context.schema, fragment, None))

    def _selected(self, selections: SelectionSetNode, parent: Any) -> Iterator[_Field]:
        bound = parent if is_object_type(parent) else None
        definitions = parent.fields if bound or is_interface_type(parent) else {}
        for each in selections.selections:
            if isinstance(each, FieldNode):
                name = each.name.value
                definition = definitions.get(name)
                key = each.alias.value if each.alias else name
                yield _Field(each, key, bound, None if definition is None else definition.type)
            elif isinstance(each, FragmentSpreadNode):
                yield from self._fragment(each.name.value)
            elif isinstance(each, InlineFragmentNode):
                yield from self._collected(each.selection_set, type_within(self.context.schema, each, parent))

    def _schedule(self, step: Callable[..., None], *sets: _Fields) -> None:
        task = (step.__name__, sets)
        if all(sets) and task not in self._scheduled:
            self._scheduled.add(task)
            self._pending.append((step, sets))

    def _subfields(self, fields: Iterable[_Field]) -> _Fields:
        """The fields that fields select, merged."""
        sets = [
            self._collected(each.node.selection_set, get_named_type(each.output))
            for each in fields
            if each.node.selection_set
        ]
        return sets[0] if len(sets) == 1 else tuple(dict.fromkeys(chain.from_iterable(sets)))

    def _compare(self, fields: _Fields) -> None:
        """Compare the fields of one selection set, or of several that are merged."""
        for group in _by_key(fields).values():
            if len(group) == 1:
                if group[0].node.selection_set:
                    self._schedule(self._compare, self._subfields(group))
                continue
            unbound, bound = _by_parent(group)
            meeting = [group] if unbound or len(bound) == 1 else list(bound.values())
            if not (self._have_one_shape(group) and all(map(self._are_one_call, meeting))):
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
                self._visits += len(two)
                if one and two and self._are_one_call([*one, *two]):
                    self._schedule(self._compare_across, self._subfields(one), self._subfields(two))

    def _have_one_shape(self, group: Sequence[_Field]) -> bool:
        examples = {shape: each for each in group if (shape := self._shape(each.output)) is not None}
        return self._agree(examples.values(), "have different types")

    def _are_one_call(self, group: Sequence[_Field]) -> bool:
        examples = {self._call(each): each for each in group}
        return self._agree(examples.values(), "are different fields or have different arguments")

    def _agree(self, examples: Collection[_Field], difference: str) -> bool:
        """Report fields of one key that differ."""
        if len(examples) > 1:
            one, two, *_ = examples
            words = f"Fields that share the name '{one.key}' in the answer {difference}; give them different aliases"
            self._report(InvalidDocumentError(words), [one, two])
        return len(examples) <= 1

    def _report(self, error: RequestError, fields: Sequence[_Field]) -> None:
        self.report_error(GraphQLError(error.message, [each.node for each in fields], original_error=error))

    def _shape(self, output: Any) -> str | None:
        """How values of a type are written; None where it is unknown. Of objects only how they are wrapped counts."""
        if output not in self._shapes:
            selected: Any = get_named_type(output)
            self._shapes[output] = str(output) if is_leaf_type(selected) else str(output).replace(selected.name, "")
        return self._shapes[output]

    def _call(self, found: _Field) -> int:
        """A number for a field's name and arguments."""
        if found not in self._calls:
            arguments = frozenset((each.name.value, _literal(each.value)) for each in found.node.arguments or ())
            self._calls[found] = self._numbers.setdefault((found.node.name.value, arguments), len(self._numbers))
        return self._calls[found]


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
        named = sorted(((each.name.value, each.value) for each in value.fields), key=itemgetter(0))
        return ObjectValueNode, tuple((name, _literal(each)) for name, each in named)
    if isinstance(value, VariableNode):
        return VariableNode, value.name.value
    # Block strings count as other literals than strings, as in graphql-core.
    return type(value), getattr(value, "value", None), bool(getattr(value, "block", False))
