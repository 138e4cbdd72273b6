"""How large a document may be, and how much its operations ask for when their fragments are written out."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeGuard

from graphql import (
    DocumentNode,
    ExecutableDefinitionNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    SelectionNode,
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


def check_operations(document: DocumentNode, limits: DocumentLimits, *, introspection: bool) -> None:
    """Hold every operation to the limits, in linear time: each fragment is measured once.

    Fragments in a cycle are not counted: such a document is not valid. Raises LimitExceededError, and GraphQLError for
    introspection where that is off.
    """
    definitions = [each for each in document.definitions if isinstance(each, ExecutableDefinitionNode)]
    selections = (selection for each in definitions for selection, _ in walk(each.selection_set))
    found = None if introspection else next(filter(_is_introspection, selections), None)
    if found is not None:
        error = InvalidDocumentError("Introspection is off; GATEWAY_INTROSPECTION=on turns it on")
        raise GraphQLError(error.message, found, original_error=error)
    sizes = _Sizes(document)
    for definition in definitions:
        if isinstance(definition, OperationDefinitionNode):
            _check(sizes.measured(definition), limits)


def _is_introspection(node: SelectionNode) -> TypeGuard[FieldNode]:
    return isinstance(node, FieldNode) and node.name.value in _INTROSPECTION


# Counts of an operation or a fragment, by the name of their limit and whether they count below `__schema` or `__type`.
_Size: TypeAlias = Counter[tuple[str, bool]]


class _Sizes:
    """The sizes of a document's fragments, with those of the fragments that they spread."""

    def __init__(self, document: DocumentNode) -> None:
        self._definitions = {
            each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)
        }
        self._fragments: defaultdict[str, _Size] = defaultdict(Counter)

    def measured(self, definition: ExecutableDefinitionNode) -> _Size:
        """The size of an operation or a fragment."""
        size = Counter({("directives", False): len(definition.directives or ())})
        for variable in definition.variable_definitions or ():
            size["directives", False] += len(variable.directives or ())
        for selection, level in walk(definition.selection_set, enters=lambda node: not _is_introspection(node)):
            self._count(selection, level, size, inside=False)
            if _is_introspection(selection) and selection.selection_set:
                for each, depth in walk(selection.selection_set):
                    self._count(each, depth, size, inside=True)
        return size

    def _count(self, selection: SelectionNode, level: int, size: _Size, *, inside: bool) -> None:
        """Add one selection; `inside` where it lies below `__schema` or `__type`, from which its level then counts."""
        size["selections", inside] += 1
        size["directives", inside] += len(selection.directives or ())
        if isinstance(selection, FieldNode):
            size["depth", inside] = max(size["depth", inside], level)
            size["aliases", inside] += selection.alias is not None
            size["root_fields", inside] += level == 1
        elif isinstance(selection, FragmentSpreadNode):
            for (what, below), count in self._fragment(selection.name.value).items():
                above = 0 if below and not inside else level - 1
                if what == "depth":
                    size[what, inside or below] = max(size[what, inside or below], above + count)
                elif what != "root_fields" or not above:
                    size[what, inside or below] += count

    def _fragment(self, name: str) -> _Size:
        # Taken out, so that a fragment is measured once, and in a cycle finds nothing of itself.
        definition = self._definitions.pop(name, None)
        if definition is not None:
            self._fragments[name] = self.measured(definition)
        return self._fragments[name]


def _check(size: _Size, limits: DocumentLimits) -> None:
    for count, limit, words in (
        (size["depth", False], limits.depth, "operation is {} levels deep"),
        (size["root_fields", False], limits.root_fields, "operation has {} root fields"),
        (size["aliases", False] + size["aliases", True], limits.aliases, "operation has {} aliases"),
        (size["directives", False] + size["directives", True], limits.directives, "operation has {} directives"),
        (size["selections", False], limits.selections, "operation has {} selections, those of its fragments included"),
        (size["depth", True], _INTROSPECTION_DEPTH, "introspection is {} levels deep"),
        (size["selections", True], limits.selections, "introspection has {} selections"),
    ):
        found = min(count, _MAX_COUNT)
        if found > limit:
            number = f"{found} or more" if found == _MAX_COUNT else str(found)
            raise LimitExceededError(f"The {words.format(number)}; the limit is {limit}")


# graphql-core looks for the location of every error from the text's start, line by line.
_LINES_PER_TOKEN = 5
# The ends of the parser's messages where it stops at a limit.
_PARSER_LIMITS = {
    " tokens. Parsing aborted.": "The document has more than {limits.tokens} tokens, which is the limit",
    " comments. Parsing aborted.": "The document has more than {limits.tokens} comments, which is the limit",
    " deeply. Parsing aborted.": "The document is nested hundreds of levels deep; "
    "the limit is {limits.depth} levels of fields and {limits.value_depth} levels in a value",
}
_FLOAT = re.compile(r"-?(\d+)(?:\.\d+)?(?:[eE][+-]?0*(\d*))?")
# Python's largest float has as many digits before the point.
_LARGEST_EXPONENT = 308
_NESTING = {TokenKind.BRACKET_L: 1, TokenKind.BRACE_L: 1, TokenKind.BRACKET_R: -1, TokenKind.BRACE_R: -1}


def parse_document(text: str, limits: DocumentLimits, refuse_name: Callable[[str], str | None]) -> DocumentNode:
    """The syntax tree of a text; `refuse_name` gives the reason to refuse a name in it.

    Raises LimitExceededError, GraphQLError for all else that is wrong, and RecursionError where it nests too deeply.
    """
    lines = 1 + text.count("\n") + text.count("\r") - text.count("\r\n")
    if lines > limits.tokens * _LINES_PER_TOKEN:
        raise LimitExceededError(f"The document has {lines} lines; the limit is {limits.tokens * _LINES_PER_TOKEN}")
    try:
        document = parse(text, max_lexical_tokens=limits.tokens, max_comments=limits.tokens)
    except GraphQLSyntaxError as error:
        for ending, words in _PARSER_LIMITS.items():
            if error.message.endswith(ending):
                raise LimitExceededError(words.format(limits=limits)) from None
        raise
    _check_tokens(document, limits, refuse_name)
    _unlink_tokens(document)
    return document


def _check_tokens(document: DocumentNode, limits: DocumentLimits, refuse_name: Callable[[str], str | None]) -> None:
    """Check names, numbers and nested values. Raises GraphQLError."""
    location = document.loc
    token = location.start_token if location else None
    parentheses = 0
    nesting = 0
    while location is not None and token is not None:
        error: RequestError | None = None
        kind = token.kind
        if kind is TokenKind.NAME:
            error = _name_error(token.value or "", limits, refuse_name)
        elif kind is TokenKind.INT or kind is TokenKind.FLOAT:
            error = _number_error(token, limits)
        elif kind is TokenKind.PAREN_L or kind is TokenKind.PAREN_R:
            parentheses += 1 if kind is TokenKind.PAREN_L else -1
        elif parentheses and kind in _NESTING:
            nesting += _NESTING[kind]
            if nesting > limits.value_depth:
                words = f"A value or a type in the document is nested {nesting} levels deep or more"
                error = LimitExceededError(f"{words}; the limit is {limits.value_depth}")
        elif kind is TokenKind.BRACE_L and token.next is not None and token.next.kind is TokenKind.BRACE_R:
            # The parser takes it, GraphQL's specification of 2025 does not.
            error = InvalidDocumentError("Braces in the document are empty; select at least one field")
        if error is not None:
            raise GraphQLError(error.message, source=location.source, positions=[token.start], original_error=error)
        token = token.next


def _unlink_tokens(document: DocumentNode) -> None:
    """Take the links between tokens away: they are a cycle, so that a document would wait for the garbage collector.

    Nothing needs them any more; errors are located by the positions in each node.
    """
    token = document.loc.start_token if document.loc else None
    while token is not None:
        token.prev, token.next, token = None, None, token.next


def _name_error(name: str, limits: DocumentLimits, refuse_name: Callable[[str], str | None]) -> RequestError | None:
    if len(name) > limits.name_characters:
        words = f"A name in the document has {len(name)} characters; the limit is {limits.name_characters}"
        return LimitExceededError(words)
    reason = None if name.isalpha() else refuse_name(name)
    return None if reason is None else InvalidDocumentError(reason)


def _number_error(token: Token, limits: DocumentLimits) -> RequestError | None:
    found = _FLOAT.fullmatch(token.value or "")
    whole, exponent = found.groups(default="") if found else ("", "")
    if len(whole) > limits.integer_digits:
        words = f"A number in the document has {len(whole)} digits before its point"
        if token.kind is TokenKind.INT:
            words = f"An integer in the document has {len(whole)} digits"
        return InvalidDocumentError(f"{words}; the limit is {limits.integer_digits}")
    if len(exponent) > len(str(_LARGEST_EXPONENT)) or int(exponent or "0") > _LARGEST_EXPONENT:
        return InvalidDocumentError(
            f"A number in the document has an exponent beyond {_LARGEST_EXPONENT}, which is the limit"
        )
    return None
