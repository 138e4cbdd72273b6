"""How large a document may be, and how much its operations ask for when their fragments are written out."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from graphql import (
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    Token,
    TokenKind,
    parse,
)

from gateway.engine.errors import InvalidDocumentError, LimitExceededError, RequestError
from gateway.engine.selection import walk

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

    Fragments in a cycle are left out of account: such a document is not valid. Raises LimitExceededError, and
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
    for selection, level in walk(selections, enters=lambda node: not _introspects(node)):
        _count(part, selection, level, inside=False)
        if isinstance(selection, FieldNode) and _introspects(selection):
            if not introspection:
                raise _closed(selection)
            for each, depth in walk(selection.selection_set) if selection.selection_set else ():
                _count(part, each, depth, inside=True)
    return part


def _introspects(node: SelectionNode) -> bool:
    return isinstance(node, FieldNode) and node.name.value in _INTROSPECTION


def _count(part: _Part, selection: SelectionNode, level: int, *, inside: bool) -> None:
    """Add one selection; `inside` where it lies below `__schema` or `__type`, from which its level then counts."""
    size = part.size
    is_field = isinstance(selection, FieldNode)
    size.directives += len(selection.directives or ())
    if isinstance(selection, FragmentSpreadNode):
        part.spreads.append((selection.name.value, level, inside))
    elif isinstance(selection, FieldNode):
        size.aliases += selection.alias is not None
    if inside:
        size.introspection_selections += 1
        size.introspection_depth = max(size.introspection_depth, level if is_field else 0)
        return
    size.selections += 1
    if is_field:
        size.depth = max(size.depth, level)
        size.root_fields += level == 1


def _closed(node: SelectionNode) -> GraphQLError:
    error = InvalidDocumentError("Introspection is off; GATEWAY_INTROSPECTION=on turns it on")
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
            raise LimitExceededError(f"The {words.format(number)}; the limit is {limit}")


# The place of every error is looked for from the text's start, line by line.
_LINES_PER_TOKEN = 5
_FLOAT = re.compile(r"-?(\d+)(?:\.\d+)?(?:[eE][+-]?0*(\d*))?")
# Python's largest float has as many digits before the point.
_LARGEST_EXPONENT = 308
_OPENING = frozenset({TokenKind.BRACKET_L, TokenKind.BRACE_L})
_CLOSING = frozenset({TokenKind.BRACKET_R, TokenKind.BRACE_R})


def parsed(
    text: str, limits: DocumentLimits, refuse_name: Callable[[str], str | None] = lambda _: None
) -> DocumentNode:
    """The syntax tree of a text; `refuse_name` gives the reason to refuse a name in it.

    Raises LimitExceededError, GraphQLError for whatever else is wrong, and RecursionError for endless nesting.
    """
    lines = 1 + text.count("\n") + text.count("\r") - text.count("\r\n")
    if lines > limits.tokens * _LINES_PER_TOKEN:
        raise LimitExceededError(f"The document has {lines} lines; the limit is {limits.tokens * _LINES_PER_TOKEN}")
    try:
        document = parse(text, max_lexical_tokens=limits.tokens, max_comments=limits.tokens)
    except GraphQLSyntaxError as error:
        raise _too_large(error, limits) or error from None
    _check_tokens(document, limits, refuse_name)
    return document


def _too_large(error: GraphQLSyntaxError, limits: DocumentLimits) -> LimitExceededError | None:
    """What the parser gave up on, unless it is the syntax."""
    far = f"The document is nested hundreds of levels deep; the limit is {limits.depth} levels of fields"
    for ending, words in (
        (" tokens. Parsing aborted.", f"The document has more than {limits.tokens} tokens, which is the limit"),
        (" comments. Parsing aborted.", f"The document has more than {limits.tokens} comments, which is the limit"),
        (" deeply. Parsing aborted.", f"{far} and {limits.value_depth} levels in a value"),
    ):
        if error.message.endswith(ending):
            return LimitExceededError(words)
    return None


def _check_tokens(document: DocumentNode, limits: DocumentLimits, refuse_name: Callable[[str], str | None]) -> None:
    """Names, numbers and nested values wherever they stand. Raises GraphQLError."""
    token = document.loc.start_token if document.loc else None
    parentheses = 0
    nesting = 0
    while token is not None:
        kind = token.kind
        if kind is TokenKind.NAME:
            _check_name(document, token, limits, refuse_name)
        elif kind is TokenKind.INT or kind is TokenKind.FLOAT:
            _check_number(document, token, limits)
        elif kind is TokenKind.PAREN_L:
            parentheses += 1
        elif kind is TokenKind.PAREN_R:
            parentheses -= 1
        elif parentheses and kind in _OPENING:
            nesting += 1
            if nesting > limits.value_depth:
                words = f"A value or a type in the document is nested {nesting} levels deep or more"
                raise _at(document, token, LimitExceededError(f"{words}; the limit is {limits.value_depth}"))
        elif parentheses and kind in _CLOSING:
            nesting -= 1
        elif kind is TokenKind.BRACE_L and token.next is not None and token.next.kind is TokenKind.BRACE_R:
            # The parser takes it, GraphQL's specification of 2025 does not.
            raise _at(
                document, token, InvalidDocumentError("Braces in the document are empty; select at least one field")
            )
        token = token.next


def _check_name(
    document: DocumentNode, token: Token, limits: DocumentLimits, refuse_name: Callable[[str], str | None]
) -> None:
    name = token.value or ""
    if len(name) > limits.name_characters:
        words = f"A name in the document has {len(name)} characters; the limit is {limits.name_characters}"
        raise _at(document, token, LimitExceededError(words))
    reason = None if name.isalpha() else refuse_name(name)
    if reason is not None:
        raise _at(document, token, InvalidDocumentError(reason))


def _check_number(document: DocumentNode, token: Token, limits: DocumentLimits) -> None:
    found = _FLOAT.fullmatch(token.value or "")
    whole, exponent = found.groups(default="") if found else ("", "")
    if len(whole) > limits.integer_digits:
        words = f"A number in the document has {len(whole)} digits before its point"
        if token.kind is TokenKind.INT:
            words = f"An integer in the document has {len(whole)} digits"
        raise _at(document, token, InvalidDocumentError(f"{words}; the limit is {limits.integer_digits}"))
    if len(exponent) > len(str(_LARGEST_EXPONENT)) or int(exponent or "0") > _LARGEST_EXPONENT:
        words = f"A number in the document has an exponent beyond {_LARGEST_EXPONENT}, which is the limit"
        raise _at(document, token, InvalidDocumentError(words))


def _at(document: DocumentNode, token: Token, error: RequestError) -> GraphQLError:
    source = document.loc.source if document.loc else None
    return GraphQLError(error.message, source=source, positions=[token.start], original_error=error)
