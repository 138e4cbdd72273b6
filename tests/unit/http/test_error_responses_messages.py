"""Messages of graphql-core about values lose them; unknown messages become the generic one."""

from collections.abc import Callable
from typing import Any

import pytest
import structlog
from graphql import GraphQLError, GraphQLSyntaxError, build_schema, parse
from graphql.execution.values import get_variable_values

from gateway.engine.document_cache import validated
from gateway.engine.errors import InvalidDocumentError
from gateway.http.error_responses import GENERIC_MESSAGE, ErrorFormatter, safe_message
from gateway.schema.scalars import parse_date, parse_date_time, parse_local_time

SCHEMA = build_schema("""
    type Query { a(x: Int!, e: E, i: In, o: One, d: [Int!]): A list: [A] n: Node u: U name: String! }
    interface Node { id: ID }
    type A implements Node { id: ID name: String b: A }
    type B implements Node { id: ID k: Int }
    union U = A | B
    enum E { RED BLUE }
    input In { p: Int! q: String r: In }
    input One @oneOf { a: Int b: Int }
    directive @once on FIELD
""")
PLAIN = """
{ zz } | Cannot query field 'zz' on type 'Query'.
{ name { x } } | Field 'name' must not have a selection since type 'String!' has no subfields.
{ n } | Field 'n' of type 'Node' must have a selection of subfields.
{ a(x: 1, y: 2) { id } } | Unknown argument 'y' on field 'Query.a'.
{ name @once(z: 1) } | Unknown argument 'z' on directive '@once'.
{ n { ...X } } | Unknown fragment 'X'.
query($a: Zork) { name } | Unknown type 'Zork'.
fragment F on Int { id } | Fragment 'F' cannot condition on non composite type 'Int'.
{ n { ... on Int { id } } } | Fragment cannot condition on non composite type 'Int'.
{ name @zork } | Unknown directive '@zork'.
query @once { name } | Directive '@once' may not be used on query.
{ name @once @once } | The directive '@once' can only be used once at this location.
query A { name } query A { name } | There can be only one operation named 'A'.
{ a(x: 1, x: 2) { id } } | There can be only one argument named 'x'.
query($a: Int, $a: Int) { a(x: $a) { id } } | There can be only one variable named '$a'.
query A { a(x: $u) { id } } | Variable '$u' is not defined by operation 'A'.
{ a(x: $u) { id } } | Variable '$u' is not defined.
query A($u: Int) { name } | Variable '$u' is never used in operation 'A'.
query($u: Int) { name } | Variable '$u' is never used.
query($u: String) { a(x: $u) { id } } | Variable '$u' of type 'String' used in position expecting type 'Int!'.
query($u: A) { a(x: $u) { id } } | Variable '$u' cannot be non-input type 'A'.
{ name } fragment F on Query { name } | Fragment 'F' is never used.
{ n { ... on A { ...F } } } fragment F on B { k } | \
Fragment 'F' cannot be spread here as objects of type 'A' can never be of type 'B'.
{ a(x: 1) { ... on B { k } } } | Fragment cannot be spread here as objects of type 'A' can never be of type 'B'.
{ ...F } fragment F on Query { ...F } | Cannot spread fragment 'F' within itself.
{ ...F } fragment F on Query { ...G } fragment G on Query { ...F } | Cannot spread fragment 'F' within itself via 'G'.
{ a { id } } | Argument 'Query.a(x:)' of type 'Int!' is required, but it was not provided.
type Z { a: Int } | The 'Z' definition is not executable.
schema { query: Query } | The schema definition is not executable.
mutation { name } | The mutation operation is not supported by the schema.
{ name } query X { name } | This anonymous operation must be the only defined operation.
{ a(x: "17") { id } } | Int cannot represent non-integer value
{ a(x: 9917171717) { id } } | Int cannot represent non 32-bit signed integer value
{ a(x: 1, e: SEVENTEEN) { id } } | Value does not exist in 'E' enum.
{ a(x: 1, e: "17") { id } } | Enum 'E' cannot represent non-enum value
{ a(x: 1, i: 17) { id } } | Expected value of type 'In' to be an object
{ a(x: 1, i: { q: "17" }) { id } } | Expected value of type 'In' to include required field 'p'
{ a(x: 1, i: { p: 1, zork: "17" }) { id } } | Expected value of type 'In' not to include unknown field
{ a(x: 1, i: { p: 1, q: 17 }) { id } } | String cannot represent a non string value
{ a(x: 1, i: { p: 1, p: 2 }) { id } } | There can be only one input field named 'p'.
{ a(x: null) { id } } | Expected value of non-null type 'Int!' not to be None.
"""
SYNTAX = r"""
{ | Syntax Error: Expected Name, found <EOF>.
{ a(b: 017) } | Syntax Error: Invalid number, unexpected digit after 0.
{ a(b: 17x) } | Syntax Error: Invalid number, expected digit but got: 'x'.
{ a(b: .17) } | Syntax Error: Invalid number, expected digit before '.'.
{ a(b: "\u{17171717171717}") } | Syntax Error: Invalid Unicode escape sequence.
{ a(b: "\u17") } | Syntax Error: Invalid Unicode escape sequence.
{ a(b: "\1") } | Syntax Error: Invalid character escape sequence.
{ a(b: "17 | Syntax Error: Unterminated string.
{ a(b: '17') } | Syntax Error: Unexpected single quote character.
{ a .. } | Syntax Error: Unexpected '..'.
{ a ? } | Syntax Error: Unexpected character: '?'.
query($a: Int = $seventeen) { a } | Syntax Error: Unexpected variable.
"17" { a } | Syntax Error: Unexpected description, descriptions are not supported on shorthand queries.
{ a "17 ' 17" } | Syntax Error: Expected Name, found String.
{ a 17 } | Syntax Error: Expected Name, found Int.
{ a 1.7 } | Syntax Error: Expected Name, found Float.
query 17 | Syntax Error: Expected '{', found Int.
fragment F seventeen X { a } | Syntax Error: Expected 'on', found Name.
seventeen | Syntax Error: Unexpected Name.
enum A { true } | Syntax Error: The document cannot be read here.
"""
VARIABLES: list[tuple[str, Any, str]] = [
    ("Int!", None, "Variable '$v' has invalid value: Expected value of non-null type 'Int!' not to be None."),
    ("Int", "17", "Variable '$v' has invalid value: Int cannot represent non-integer value"),
    ("[Int]", [1, "17"], "Variable '$v' has invalid value at [1]: Int cannot represent non-integer value"),
    (
        "In",
        {"p": 1, "17 Did you mean 17?": 17},
        "Variable '$v' has invalid value: Expected value of type 'In' not to inc",
    ),
    (
        "In",
        {"p": 1, "r": {"p": "17"}},
        "Variable '$v' has invalid value at .r.p: Int cannot represent non-integer value",
    ),
    ("E", "17' does not exist in 'RED' enum.", "Variable '$v' has invalid value: Value does not exist in 'E' enum."),
    ("E", 17, "Variable '$v' has invalid value: Enum 'E' cannot represent non-string value"),
    ("One", {"a": 17, "b": 17}, "Variable '$v' has invalid value: Within OneOf Input Object type 'One', exactly one"),
    ("ID", 1.7, "Variable '$v' has invalid value: ID cannot represent value"),
    ("Boolean", "17", "Variable '$v' has invalid value: Boolean cannot represent a non boolean value"),
]


FORMATTER = ErrorFormatter(structlog.get_logger())


def messages(errors: list[GraphQLError]) -> set[str]:
    """What a client is told of errors."""
    return {each["message"] for each in FORMATTER.formatted(errors, "reference")[0]}


def rows(table: str) -> list[tuple[str, str]]:
    return [(text, words) for text, _, words in (row.rpartition(" | ") for row in table.strip().splitlines())]


@pytest.mark.parametrize(("text", "words"), rows(PLAIN))
def test_a_validation_message_holds_no_value_of_the_document(text: str, words: str) -> None:
    told = messages(validated(SCHEMA, parse(text), hide_suggestions=True))

    assert words in told
    assert GENERIC_MESSAGE not in told
    assert not any("Did you mean" in each or "17" in each or "SEVEN" in each for each in told)


@pytest.mark.parametrize(("text", "words"), rows(SYNTAX))
def test_a_syntax_error_message_holds_no_word_of_the_document(text: str, words: str) -> None:
    with pytest.raises(GraphQLSyntaxError) as broken:
        parse(text)

    assert safe_message(broken.value) == words


@pytest.mark.parametrize(("declared", "value", "words"), VARIABLES)
def test_a_variable_error_message_holds_no_value(declared: str, value: Any, words: str) -> None:
    (operation,) = parse(f"query($v: {declared}) {{ name }}").definitions

    errors = get_variable_values(SCHEMA, operation.variable_definitions, {"v": value})  # type: ignore[attr-defined] # no union

    assert isinstance(errors, list)
    for told in (safe_message(error) for error in errors):
        assert told.startswith(words)
        assert "17" not in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{ naem }", "Cannot query field 'naem' on type 'Query'. Did you mean 'name'?"),
        ("{ n }", "Field 'n' of type 'Node' must have a selection of subfields. Did you mean 'n { ... }'?"),
        (
            "query($v: Int) { a(x: 1, i: { p: $v, qq: 17 }) { id } }",
            "Expected value of type 'In' not to include unknown",
        ),
    ],
)
def test_suggestions_are_kept_only_where_they_are_enabled(text: str, words: str) -> None:
    told = messages(validated(SCHEMA, parse(text), hide_suggestions=False))

    assert any(each.startswith(words) for each in told)
    assert not any("17" in each for each in told)


@pytest.mark.parametrize(
    "message",
    [
        "Tolvan",
        "Cannot query field 'Tolvan Tolvansson' on type 'Query'.",
        "Cannot query field 'a' on type 'Query'. Tolvan",
        "Variable '$v' has invalid value at .Tolvan-.b: Expected value of type 'In'",
        "Expected value Tolvan of type 'In', found: 17.",
        "Cannot query field '_19121212_1212' on type 'Query'.",
        "Unknown type '_19121212_1212'. A DateTime is RFC 3339 text",
    ],
)
def test_an_unknown_message_becomes_the_generic_one(message: str) -> None:
    assert safe_message(GraphQLError(message)) == GENERIC_MESSAGE


def test_a_rule_that_quotes_a_personal_number_becomes_the_generic_message() -> None:
    words = "Cannot query field '_19121212_1212' on type 'Query'."

    assert messages([GraphQLError(words, original_error=InvalidDocumentError(words))]) == {GENERIC_MESSAGE}


@pytest.mark.parametrize(
    ("parse_value", "value", "expected"),
    [
        (parse_date_time, "17", "A DateTime is RFC 3339 text with an offset, such as 2026-12-01T09:00:00+01:00 or "),
        (parse_date_time, "2026-02-30T00:00:00Z", "This DateTime names a day or a time that does not exist"),
        (parse_date_time, "0001-01-01T00:00:00Z", "A DateTime lies in the years 1900 to 9000"),
        (parse_date, "17", "A Date is RFC 3339 full-date text, such as 2026-12-01"),
        (parse_date, "2026-02-30", "This Date names a day that does not exist"),
        (parse_date, "0001-01-01", "A Date lies in the years 1900 to 9000"),
        (parse_local_time, "17", "A LocalTime is a time of day without an offset, such as 09:00 or 09:00:00"),
        (parse_local_time, "24:00", "This LocalTime names a time that does not exist"),
    ],
)
def test_a_message_of_our_own_scalars_is_told_with_its_example(
    parse_value: Callable[[object], object], value: str, expected: str
) -> None:
    with pytest.raises(GraphQLError) as refused:
        parse_value(value)

    for where in ("", "Variable '$v' has invalid value: ", "Variable '$v' has invalid value at .days.from: "):
        told = safe_message(GraphQLError(f"{where}{refused.value.message}"))
        assert told.startswith(f"{where}{expected}")


def test_a_long_message_is_truncated() -> None:
    words = f"Unknown type '{'a' * 1_000}'."
    told = messages([GraphQLError(words, original_error=InvalidDocumentError(words))])

    assert told == {f"Unknown type '{'a' * 386}..."}
