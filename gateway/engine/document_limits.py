"""How large a document may be, and how much its operations ask for when their fragments are written out."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

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

# Fragments make astronomical numbers of little text; counts stop here.
_MAX_COUNT = 1_000_000
_INTROSPECTION = frozenset({"__schema", "__type"})
# The introspection query of GraphiQL and of code generators goes 15 deep: types of types of types.
_INTROSPECTION_DEPTH = 20


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """What a document may hold at most.

    `tokens` bounds the tokens of the text, and its comments by themselves; `integer_digits`, `value_depth` (lists and
    objects in each other, list types too) and `name_characters` hold anywhere in it. The others count in one operation
    with its fragments written out: levels of fields, aliases, fields at the root with every repetition, directives,
    and selections.
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
    """The counts of a selection set with what it holds."""

    depth: int = 0
    aliases: int = 0
    root_fields: int = 0
    directives: int = 0
    selections: int = 0

    def count(self, selection: SelectionNode, level: int) -> None:
        """Add one selection."""
        self.selections += 1
        self.directives += len(selection.directives or ())
        if isinstance(selection, FieldNode):
            self.depth = max(self.depth, level)
            self.aliases += selection.alias is not None
            self.root_fields += level == 1

    def add(self, spread: "_Size", level: int) -> None:
        """Add the size of a fragment that is spread at a level."""
        self.depth = min(max(self.depth, level - 1 + spread.depth), _MAX_COUNT)
        self.aliases = min(self.aliases + spread.aliases, _MAX_COUNT)
        self.root_fields = min(self.root_fields + (spread.root_fields if level == 1 else 0), _MAX_COUNT)
        self.directives = min(self.directives + spread.directives, _MAX_COUNT)
        self.selections = min(self.selections + spread.selections, _MAX_COUNT)


@dataclass(slots=True)
class _Part:
    """An operation or a fragment: its size, that of what lies below its `__schema` and `__type`, and its spreads."""

    size: _Size = field(default_factory=_Size)
    introspection: _Size = field(default_factory=_Size)
    spreads: list[tuple[str, int, bool]] = field(default_factory=list)
    """The fragment's name, the level of the spread, and whether that lies below `__schema` or `__type`."""

    def count(self, selection: SelectionNode, level: int, *, inside: bool) -> None:
        """Add one selection; `inside` where it lies below `__schema` or `__type`, from which its level then counts."""
        (self.introspection if inside else self.size).count(selection, level)
        if isinstance(selection, FragmentSpreadNode):
            self.spreads.append((selection.name.value, level, inside))

    def include_fragments(self, fragments: Mapping[str, "_Part"]) -> None:
        """Add the sizes of the fragments that are spread; they include their own already."""
        for name, level, inside in self.spreads:
            fragment = fragments.get(name)
            if fragment is not None:
                (self.introspection if inside else self.size).add(fragment.size, level)
                self.introspection.add(fragment.introspection, level if inside else 1)


def check_operations(document: DocumentNode, limits: DocumentLimits, *, introspection: bool) -> None:
    """Hold every operation to the limits, in linear time: each fragment is measured once.

    Fragments in a cycle are not counted: such a document is not valid. Raises LimitExceededError, and GraphQLError for
    introspection where that is off.
    """
    fragments: dict[str, _Part] = {}
    operations: list[_Part] = []
    for definition in document.definitions:
        if isinstance(definition, FragmentDefinitionNode):
            fragments[definition.name.value] = _measure(
                definition.selection_set, definition.directives or (), introspection=introspection
            )
        elif isinstance(definition, OperationDefinitionNode):
            directives = list(definition.directives or ())
            for variable in definition.variable_definitions or ():
                directives += variable.directives or ()
            operations.append(_measure(definition.selection_set, directives, introspection=introspection))
    complete = _with_fragments(fragments)
    for operation in operations:
        operation.include_fragments(complete)
        _check(operation, limits)


def _measure(selections: SelectionSetNode, directives: Sequence[DirectiveNode], *, introspection: bool) -> _Part:
    part = _Part(_Size(directives=len(directives)))
    for selection, level in walk(selections, enters=lambda node: not _is_introspection(node)):
        part.count(selection, level, inside=False)
        if _is_introspection(selection):
            if not introspection:
                error = InvalidDocumentError("Introspection is off; GATEWAY_INTROSPECTION=on turns it on")
                raise GraphQLError(error.message, selection, original_error=error)
            for each, depth in walk(selection.selection_set) if selection.selection_set else ():
                part.count(each, depth, inside=True)
    return part


def _is_introspection(node: SelectionNode) -> TypeGuard[FieldNode]:
    return isinstance(node, FieldNode) and node.name.value in _INTROSPECTION


def _with_fragments(fragments: Mapping[str, _Part]) -> dict[str, _Part]:
    """The fragments with the sizes of those that they spread, which are completed first."""
    complete: dict[str, _Part] = {}
    begun: set[str] = set()
    waiting = list(fragments)
    while waiting:
        name = waiting[-1]
        if name in complete:
            waiting.pop()
        elif name in begun:
            fragments[name].include_fragments(complete)
            complete[name] = fragments[name]
            waiting.pop()
        else:
            begun.add(name)
            waiting += {spread for spread, _, _ in fragments[name].spreads if spread in fragments} - begun
    return complete


def _check(part: _Part, limits: DocumentLimits) -> None:
    size, introspection = part.size, part.introspection
    for count, limit, words in (
        (size.depth, limits.depth, "operation is {} levels deep"),
        (size.root_fields, limits.root_fields, "operation has {} root fields"),
        (size.aliases + introspection.aliases, limits.aliases, "operation has {} aliases"),
        (size.directives + introspection.directives, limits.directives, "operation has {} directives"),
        (size.selections, limits.selections, "operation has {} selections, those of its fragments included"),
        (introspection.depth, _INTROSPECTION_DEPTH, "introspection is {} levels deep"),
        (introspection.selections, limits.selections, "introspection has {} selections"),
    ):
        found = min(count, _MAX_COUNT)
        if found > limit:
            number = f"{found} or more" if found == _MAX_COUNT else str(found)
            raise LimitExceededError(f"The {words.format(number)}; the limit is {limit}")


# graphql-core looks for the location of every error from the text's start, line by line.
_LINES_PER_TOKEN = 5
_FLOAT = re.compile(r"-?(\d+)(?:\.\d+)?(?:[eE][+-]?0*(\d*))?")
# Python's largest float has as many digits before the point.
_LARGEST_EXPONENT = 308
_OPENING = frozenset({TokenKind.BRACKET_L, TokenKind.BRACE_L})
_CLOSING = frozenset({TokenKind.BRACKET_R, TokenKind.BRACE_R})


def parse_document(
    text: str, limits: DocumentLimits, refuse_name: Callable[[str], str | None] = lambda _: None
) -> DocumentNode:
    """The syntax tree of a text; `refuse_name` gives the reason to refuse a name in it.

    Raises LimitExceededError, GraphQLError for all else that is wrong, and RecursionError where it nests too deeply.
    """
    lines = 1 + text.count("\n") + text.count("\r") - text.count("\r\n")
    if lines > limits.tokens * _LINES_PER_TOKEN:
        raise LimitExceededError(f"The document has {lines} lines; the limit is {limits.tokens * _LINES_PER_TOKEN}")
    try:
        document = parse(text, max_lexical_tokens=limits.tokens, max_comments=limits.tokens)
    except GraphQLSyntaxError as error:
        raise _limit_exceeded(error, limits) or error from None
    _check_tokens(document, limits, refuse_name)
    return document


def _limit_exceeded(error: GraphQLSyntaxError, limits: DocumentLimits) -> LimitExceededError | None:
    """The limit at which the parser stopped; None for an error of syntax."""
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
    """Check names, numbers and nested values. Raises GraphQLError."""
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
