"""From a document's text to its syntax tree, within limits and without personal numbers in its names."""

import re

from graphql import DocumentNode, GraphQLError, GraphQLSyntaxError, Token, TokenKind, parse

from gateway.domain.errors import BadUserInput, CallerError, OperationTooLarge
from gateway.domain.personal_numbers import may_hold_a_personal_number
from gateway.execution.limits import DocumentLimits

# The place of every error is looked for from the text's start, line by line.
_LINES_PER_TOKEN = 5
_FLOAT = re.compile(r"-?(\d+)(?:\.\d+)?(?:[eE][+-]?0*(\d*))?")
# Python's largest float has as many digits before the point.
_LARGEST_EXPONENT = 308
_MONTH, _DAY = "(?:0[1-9]|1[0-2])", "(?:0[1-9]|[1245678][0-9]|3[01]|9[01])"
# What every personal number in a name holds, found at a fiftieth of the price of telling for certain.
_SUSPICIOUS = re.compile(f"[0-9]{{2}}{_MONTH}{_DAY}[0-9]{{4}}|{_DAY}{_MONTH}[0-9]{{2}}[A-Za-z]?[0-9]{{3}}[0-9A-Za-z]")
_OPENING = frozenset({TokenKind.BRACKET_L, TokenKind.BRACE_L})
_CLOSING = frozenset({TokenKind.BRACKET_R, TokenKind.BRACE_R})


def parsed(text: str, limits: DocumentLimits) -> DocumentNode:
    """The syntax tree of a text.

    Raises OperationTooLarge, GraphQLError for whatever else is wrong, and RecursionError for endless nesting.
    """
    lines = 1 + text.count("\n") + text.count("\r") - text.count("\r\n")
    if lines > limits.tokens * _LINES_PER_TOKEN:
        raise OperationTooLarge(f"The document has {lines} lines; the limit is {limits.tokens * _LINES_PER_TOKEN}")
    try:
        document = parse(text, max_lexical_tokens=limits.tokens, max_comments=limits.tokens)
    except GraphQLSyntaxError as error:
        raise _too_large(error, limits) or error from None
    _check_tokens(document, limits)
    return document


def _too_large(error: GraphQLSyntaxError, limits: DocumentLimits) -> OperationTooLarge | None:
    """What the parser gave up on, unless it is the syntax."""
    far = f"The document is nested hundreds of levels deep; the limit is {limits.depth} levels of fields"
    for ending, words in (
        (" tokens. Parsing aborted.", f"The document has more than {limits.tokens} tokens, which is the limit"),
        (" comments. Parsing aborted.", f"The document has more than {limits.tokens} comments, which is the limit"),
        (" deeply. Parsing aborted.", f"{far} and {limits.value_depth} levels in a value"),
    ):
        if error.message.endswith(ending):
            return OperationTooLarge(words)
    return None


def _check_tokens(document: DocumentNode, limits: DocumentLimits) -> None:
    """Names, numbers and nested values wherever they stand. Raises GraphQLError."""
    token = document.loc.start_token if document.loc else None
    parentheses = 0
    nesting = 0
    while token is not None:
        kind = token.kind
        if kind is TokenKind.NAME:
            _check_name(document, token, limits)
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
                raise _at(document, token, OperationTooLarge(f"{words}; the limit is {limits.value_depth}"))
        elif parentheses and kind in _CLOSING:
            nesting -= 1
        elif kind is TokenKind.BRACE_L and token.next is not None and token.next.kind is TokenKind.BRACE_R:
            # The parser takes it, GraphQL's specification of 2025 does not.
            raise _at(document, token, BadUserInput("Braces in the document are empty; select at least one field"))
        token = token.next


def _check_name(document: DocumentNode, token: Token, limits: DocumentLimits) -> None:
    name = token.value or ""
    if len(name) > limits.name_characters:
        words = f"A name in the document has {len(name)} characters; the limit is {limits.name_characters}"
        raise _at(document, token, OperationTooLarge(words))
    if not name.isalpha() and _SUSPICIOUS.search(name.replace("_", "")) and may_hold_a_personal_number(name):
        words = "A name in the document looks like a personal number; pass such data in variables"
        raise _at(document, token, BadUserInput(words))


def _check_number(document: DocumentNode, token: Token, limits: DocumentLimits) -> None:
    found = _FLOAT.fullmatch(token.value or "")
    whole, exponent = found.groups(default="") if found else ("", "")
    if len(whole) > limits.integer_digits:
        words = f"A number in the document has {len(whole)} digits before its point"
        if token.kind is TokenKind.INT:
            words = f"An integer in the document has {len(whole)} digits"
        raise _at(document, token, BadUserInput(f"{words}; the limit is {limits.integer_digits}"))
    if len(exponent) > len(str(_LARGEST_EXPONENT)) or int(exponent or "0") > _LARGEST_EXPONENT:
        words = f"A number in the document has an exponent beyond {_LARGEST_EXPONENT}, which is the limit"
        raise _at(document, token, BadUserInput(words))


def _at(document: DocumentNode, token: Token, error: CallerError) -> GraphQLError:
    source = document.loc.source if document.loc else None
    return GraphQLError(error.message, source=source, positions=[token.start], original_error=error)
