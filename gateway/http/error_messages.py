"""What clients are told of their document and variables: graphql-core's messages, never with a value of theirs.

Only messages of a known form get through, and the client's part of them is names that the document was checked for.
Whatever else graphql-core says, now or in a later version, becomes one sentence that says nothing.
"""

import re
from typing import Final

from graphql import GraphQLError, GraphQLSyntaxError

from gateway.domain.personal_numbers import may_hold_a_personal_number

GENERIC_MESSAGE: Final = "The document or its variables hold something that is not allowed here"
_LONGEST = 400
# What matters stands at a message's start; the rest is a value, of any length.
_MOST_READ = 2_000

# A text with broken syntax was not checked for anything, so that none of its words may be repeated.
_TOKEN = r"(?:'[^'\w]{1,3}'|<[SE]OF>|Name|Int|Float|String|BlockString|Comment)"  # noqa: S105 # a token of GraphQL
_CHARACTER = r"(?:'.'|U\+[0-9A-F]+|<EOF>)"
_SYNTAX = re.compile(
    rf"""Syntax\ Error:\ (?:
      Expected\ (?:{_TOKEN}|'[a-z]+'),\ found\ {_TOKEN}
    | Unexpected\ (?:{_TOKEN}|variable|single\ quote\ character|'\.\.')
    | Unexpected\ description,[a-zA-Z ]+
    | (?:Unexpected|Invalid)\ character:\ {_CHARACTER}
    | Invalid\ number,\ (?:unexpected\ digit\ after\ 0|expected\ digit(?:\ before\ '\.'|\ but\ got:\ {_CHARACTER}))
    | Invalid\ (?:Unicode|character)\ escape\ sequence
    | Invalid\ character\ within\ String
    | Unterminated\ string
    )""",
    re.VERBOSE,
)

_QUOTED = r"'[$@]?[\w.\[\]!]+(?:\(\w+:\))?'"
_WHERE = r"(?:(?:Variable '\$\w+'|Argument '\w+') has invalid (?:default )?value(?: at [\w.\[\]]+)?: )?"
# The scalar DateTime is ours, and quotes nothing but an example, which looks like many a number.
_DATE_TIME = "(?:A|This) DateTime [^']+"
# {} is one name or several of the document or the schema, ... is words of graphql-core.
_FORMS = """
Cannot query field {} on type {}.
Field {} must not have a selection since type {} has no subfields.
Field {} of type {} must have a selection of subfields.
Field {} of type {} must have at least one field selected.
Unknown argument {} on ... {}.
Unknown ... {}.
Directive {} may not be used on ....
The directive {} can only be used once at this location.
There can be only one ... named {}.
Variable {} is not defined by operation {}.
Variable {} is not defined.
Variable {} is never used in operation {}.
Variable {} is never used.
Variable {} of type {} used in position expecting type {}.
Variable {} is of type {} but must be non-nullable to be used for OneOf Input Object {}.
Variable {} cannot be non-input type {}.
Variable {} expected value of type {} which cannot be used as an input type.
Fragment {} is never used.
Fragment {} cannot condition on non composite type {}.
Fragment cannot condition on non composite type {}.
Fragment {} cannot be spread here as objects of type {} can never be of type {}.
Fragment cannot be spread here as objects of type {} can never be of type {}.
Cannot spread fragment {} within itself.
Cannot spread fragment {} within itself via {}.
Argument {} of type {} is required, but it was not provided.
Argument {} of required type {} was not provided.
The {} definition is not executable.
The ... definition is not executable.
The ... operation is not supported by the schema.
This anonymous operation must be the only defined operation.
Maximum introspection depth exceeded
Validation aborted.
Expected value of non-null type {} not to be None.
Expected a value of non-null type {} to be provided.
Expected variable {} provided to ...type {} to provide a runtime value.
Expected variable {} provided to ...type {} not to be None.
Expected value of type {}
Expected value of type {} to be an object
Expected value of type {} to include required field {}
Expected value of type {} not to include unknown field
Within OneOf Input Object type {}, exactly one field must be specified, and the value for that field must be non-null.
... cannot represent ... value
... cannot represent value
Enum {} cannot represent ... value
Enum {} cannot represent value
Value does not exist in {} enum.
"""
_KNOWN = re.compile(
    _WHERE
    + "(?:"
    + "|".join(
        re.escape(form).replace(r"\{\}", rf"{_QUOTED}(?:, {_QUOTED})*").replace(r"\.\.\.", r"[\w -]*")
        for form in _FORMS.strip().splitlines()
    )
    + f"|{_DATE_TIME})"
)
# Where the client's value stands, up to the message's end.
_VALUE = re.compile(
    r"( cannot represent [\w -]*value\b|(?<= not to include unknown field)(?= ')|, found\b|, but encountered\b).*",
    re.DOTALL,
)
_KEPT = " cannot represent "
_ENUM_VALUE = re.compile(r"\bValue '.*' does not exist in ('\w+') enum\..*", re.DOTALL)
_SUGGESTION = re.compile(r" Did you mean [^?]+\?$")


def safe_message(error: GraphQLError, *, suggestions: bool) -> str:
    """What to tell a client of an error of graphql-core's; without `suggestions`, no names that it did not send."""
    said = error.message[:_MOST_READ]
    message = _syntax(said) if isinstance(error, GraphQLSyntaxError) else _validity(said, suggestions=suggestions)
    if message is None or may_hold_a_personal_number(re.sub(_DATE_TIME, "", message)):
        return GENERIC_MESSAGE
    return message if len(message) <= _LONGEST else f"{message[:_LONGEST]}..."


def _syntax(message: str) -> str:
    found = _SYNTAX.match(message)
    return f"{found.group()}." if found else "Syntax Error: The document cannot be read here."


def _validity(message: str, *, suggestions: bool) -> str | None:
    suggestion = _SUGGESTION.search(message)
    told = _SUGGESTION.sub("", message)
    told = _ENUM_VALUE.sub(r"Value does not exist in \1 enum.", told)
    told = _VALUE.sub(lambda cut: cut[1] if cut[1].startswith(_KEPT) else "", told)
    if not _KNOWN.fullmatch(told):
        return None
    whole = suggestions and suggestion is not None and message == told + suggestion.group() and told.endswith(".")
    return message if whole else told
