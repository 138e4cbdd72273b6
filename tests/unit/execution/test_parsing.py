"""A text is read within limits, and no name in it may be a person's number."""

import pytest
from graphql import GraphQLError
from hypothesis import event, given
from hypothesis import strategies as st

from gateway.domain.errors import BadUserInput, CallerError, OperationTooLarge
from gateway.domain.personal_numbers import may_hold_a_personal_number
from gateway.execution.limits import DocumentLimits
from gateway.execution.parsing import parsed

LIMITS = DocumentLimits()


def refusal(text: str, limits: DocumentLimits = LIMITS) -> CallerError:
    """The error that a text is refused with, as clients get to see it."""
    with pytest.raises((GraphQLError, CallerError)) as refused:
        parsed(text, limits)
    error = refused.value
    if isinstance(error, GraphQLError):
        assert isinstance(error.original_error, CallerError)
        assert error.locations
        return error.original_error
    assert isinstance(error, CallerError)
    return error


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{" + "a " * 999 + "}", "The document has more than 1000 tokens, which is the limit"),
        ("{ a }" + "#\n" * 1_001, "The document has more than 1000 comments, which is the limit"),
        ("{ a }" + "\n" * 5_000, "The document has 5001 lines; the limit is 5000"),
        ("{ a }" + "\r\n" * 5_000, "The document has 5001 lines; the limit is 5000"),
        ("{ a }" + "\r" * 5_000, "The document has 5001 lines; the limit is 5000"),
        ("{a" * 300, "The document is nested hundreds of levels deep; the limit is 10 levels of fields and 16 "),
        (f"{{ {'a' * 257} }}", "A name in the document has 257 characters; the limit is 256"),
        (f"{{ a(b: {'[' * 17}1{']' * 17}) }}", "A value or a type in the document is nested 17 levels deep or more;"),
        (f"{{ a(b: {'{c: ' * 17}1{'}' * 17}) }}", "A value or a type in the document is nested 17 levels deep or mor"),
        (f"query($v: {'[' * 17}I{']' * 17}) {{ a }}", "A value or a type in the document is nested 17 levels deep or"),
    ],
)
def test_a_text_that_is_too_large_is_refused(text: str, words: str) -> None:
    error = refusal(text)

    assert isinstance(error, OperationTooLarge)
    assert error.message.startswith(words)


@pytest.mark.parametrize(
    "text",
    [
        "{" + "a " * 998 + "}",
        "{ a }" + "#\n" * 1_000,
        "{ a }" + "\n" * 4_999,
        f"{{ {'a' * 256} }}",
        f"{{ a(b: {'[' * 16}1{']' * 16}, c: {'{d: ' * 16}1{'}' * 16}) {{ b }} }}",
        f"query($v: {'[' * 16}I{']' * 16} = {'[' * 16}1{']' * 16}) {{ a(b: [[1], [2], {{c: [1]}}]) }}",
        f"{{ {'a {' * 20} b {'}' * 20} }}",
        f"{{ a(b: -{'1' * 20}, c: {'1' * 20}.5, d: 1e308, e: 1.5E-0308, f: 0.{'1' * 50}) }}",
    ],
)
def test_a_text_at_the_limit_is_read(text: str) -> None:
    assert parsed(text, LIMITS).definitions


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("1" * 21, "An integer in the document has 21 digits; the limit is 20"),
        ("-" + "1" * 5_000, "An integer in the document has 5000 digits; the limit is 20"),
        (f"{'1' * 21}.0", "A number in the document has 21 digits before its point; the limit is 20"),
        ("1e309", "A number in the document has an exponent beyond 308, which is the limit"),
        ("-1.5E-99999", "A number in the document has an exponent beyond 308, which is the limit"),
    ],
)
@pytest.mark.parametrize("form", ["{{ a(b: {}) }}", "{{ a(b: [{{c: {}}}]) }}", "query($v: I = {}) {{ a @d(e: 1) }}"])
def test_a_number_that_is_too_long_is_refused(form: str, number: str, words: str) -> None:
    error = refusal(form.format(number))

    assert isinstance(error, BadUserInput)
    assert error.message == words


@pytest.mark.parametrize("name", ["_191212121212", "_19121212_1212", "p121212_1212", "x1212121212y", "_010170_123A"])
@pytest.mark.parametrize(
    "form",
    [
        "{{ {} }}",
        "{{ {}: a }}",
        "{{ a({}: 1) }}",
        "{{ a(b: {}) }}",
        "{{ a(b: {{{}: 1}}) }}",
        "{{ a(b: ${}) }}",
        "{{ a @{} }}",
        "{{ a @d({}: 1) }}",
        "{{ ...{} }}",
        "{{ ... on {} {{ a }} }}",
        "query {} {{ a }}",
        "query(${}: I) {{ a }}",
        "query($v: {}) {{ a }}",
        "fragment {} on T {{ a }}",
        "type {} {{ a: Int }}",
    ],
)
def test_a_name_that_looks_like_a_personal_number_is_refused(form: str, name: str) -> None:
    error = refusal(form.format(name))

    assert isinstance(error, BadUserInput)
    assert error.message == "A name in the document looks like a personal number; pass such data in variables"


@given(st.from_regex(r"[_a-z]{1,2}([0-9]{2,6}[_A-Fa]{0,2}){2,4}", fullmatch=True))
def test_names_are_judged_as_the_domain_judges_them(name: str) -> None:
    looks = may_hold_a_personal_number(name)
    event(f"looks like a number: {looks}")

    if looks:
        assert isinstance(refusal(f"{{ {name} }}"), BadUserInput)
    else:
        parsed(f"{{ {name} }}", LIMITS)
