"""How large a document may be, and how much its operations ask for when their fragments are written out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from graphql import (
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
)

from gateway.domain.errors import BadUserInput, OperationTooLarge

# Fragments make astronomical numbers of little text; beyond this nobody cares how large they are.
_UNCOUNTED = 1_000_000
_INTROSPECTION = frozenset({"__schema", "__type"})
# The introspection query of GraphiQL and of code generators goes 15 deep: types of types of types.
_INTROSPECTION_DEPTH = 20


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """What a document may hold at most.

    `tokens` bounds the text, and its comments by themselves; `integer_digits`, `value_depth` (lists and objects in
    each other, list types too) and `name_characters` hold anywhere in it. The others count one operation with its
    fragments written out: levels of fields, aliases, fields at the root with every repetition, directives, and
    selections.
    """

    tokens: int = 1_000
    depth: int = 10
    aliases: int = 30
    root_fields: int = 10
    directives: int = 20
    selections: int = 2_000
    integer_digits: int = 20
    value_depth: int = 16
    name_characters: int = 256


@dataclass(slots=True)
class _Size:
    """What a selection set comes to; what lies below `__schema` and `__type` counts by itself."""

    depth: int = 0
    aliases: int = 0
    root_fields: int = 0
    directives: int = 0
    selections: int = 0
    introspection_depth: int = 0
    introspection_selections: int = 0


_NOTHING = _Size()


@dataclass(slots=True)
class _Part:
    """An operation or a fragment: its size without its fragments, and where it spreads them."""

    size: _Size
    spreads: list[tuple[str, int, bool]] = field(default_factory=list)
    """The fragment's name, its level, and whether it lies in an introspection."""


def check_operations(document: DocumentNode, limits: DocumentLimits, *, introspection: bool) -> None:
    """Whether every operation keeps to the limits; linear in the document, and each fragment is measured once.

    Fragments in a cycle are left out of account: such a document is not valid. Raises OperationTooLarge, and
    GraphQLError for introspection where that is off.
    """
    fragments: dict[str, _Part] = {}
    operations: list[_Part] = []
    for definition in document.definitions:
        if isinstance(definition, FragmentDefinitionNode):
            fragments[definition.name.value] = _measured(
                definition.selection_set, definition.directives or (), introspection=introspection
            )
        elif isinstance(definition, OperationDefinitionNode):
            directives = list(definition.directives or ())
            for variable in definition.variable_definitions or ():
                directives += variable.directives or ()
            operations.append(_measured(definition.selection_set, directives, introspection=introspection))
    sizes = _written_out(fragments)
    for operation in operations:
        _check(_whole(operation, sizes), limits)


def _measured(selections: SelectionSetNode, directives: Sequence[DirectiveNode], *, introspection: bool) -> _Part:
    part = _Part(_Size(directives=len(directives)))
    waiting: list[tuple[SelectionSetNode, int, bool]] = [(selections, 1, False)]
    while waiting:
        selection_set, level, inside = waiting.pop()
        for selection in selection_set.selections:
            part.size.directives += len(selection.directives or ())
            _count(part.size, level, inside=inside, is_field=isinstance(selection, FieldNode))
            if isinstance(selection, FragmentSpreadNode):
                part.spreads.append((selection.name.value, level, inside))
            elif isinstance(selection, InlineFragmentNode):
                waiting.append((selection.selection_set, level, inside))
            elif isinstance(selection, FieldNode):
                part.size.aliases += selection.alias is not None
                enters = not inside and selection.name.value in _INTROSPECTION
                if enters and not introspection:
                    raise _closed(selection)
                if selection.selection_set is not None:
                    waiting.append((selection.selection_set, 1 if enters else level + 1, inside or enters))
    return part


def _count(size: _Size, level: int, *, inside: bool, is_field: bool) -> None:
    if inside:
        size.introspection_selections += 1
        size.introspection_depth = max(size.introspection_depth, level if is_field else 0)
        return
    size.selections += 1
    if is_field:
        size.depth = max(size.depth, level)
        size.root_fields += level == 1


def _closed(node: SelectionNode) -> GraphQLError:
    error = BadUserInput("Introspection is off; GATEWAY_INTROSPECTION=on turns it on")
    return GraphQLError(error.message, node, original_error=error)


def _written_out(fragments: Mapping[str, _Part]) -> dict[str, _Size]:
    """The sizes of all fragments, each after those that it spreads."""
    sizes: dict[str, _Size] = {}
    begun: set[str] = set()
    waiting = list(fragments)
    while waiting:
        name = waiting[-1]
        if name in sizes:
            waiting.pop()
        elif name in begun:
            sizes[name] = _whole(fragments[name], sizes)
            waiting.pop()
        else:
            begun.add(name)
            waiting += {spread for spread, _, _ in fragments[name].spreads if spread in fragments} - begun
    return sizes


def _whole(part: _Part, sizes: Mapping[str, _Size]) -> _Size:
    whole = replace(part.size)
    for name, level, inside in part.spreads:
        spread = sizes.get(name, _NOTHING)
        whole.aliases += spread.aliases
        whole.directives += spread.directives
        whole.introspection_selections += spread.introspection_selections
        if inside:
            deepest = level - 1 + max(spread.depth, spread.introspection_depth)
            whole.introspection_selections += spread.selections
        else:
            deepest = spread.introspection_depth
            whole.selections += spread.selections
            whole.depth = max(whole.depth, level - 1 + spread.depth)
            whole.root_fields += spread.root_fields if level == 1 else 0
        whole.introspection_depth = max(whole.introspection_depth, deepest)
    return _Size(*(min(getattr(whole, each.name), _UNCOUNTED) for each in fields(_Size)))


def _check(size: _Size, limits: DocumentLimits) -> None:
    for found, limit, words in (
        (size.depth, limits.depth, "operation is {} levels deep"),
        (size.root_fields, limits.root_fields, "operation has {} root fields"),
        (size.aliases, limits.aliases, "operation has {} aliases"),
        (size.directives, limits.directives, "operation has {} directives"),
        (size.selections, limits.selections, "operation has {} selections, those of its fragments included"),
        (size.introspection_depth, _INTROSPECTION_DEPTH, "introspection is {} levels deep"),
        (size.introspection_selections, limits.selections, "introspection has {} selections"),
    ):
        if found > limit:
            number = f"{found} or more" if found == _UNCOUNTED else str(found)
            raise OperationTooLarge(f"The {words.format(number)}; the limit is {limit}")
