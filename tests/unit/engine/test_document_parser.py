"""A text is read within limits, and no name in it may be one that is refused."""

from collections.abc import Callable

import pytest
from graphql import GraphQLError

from gateway.engine.document_limits import DocumentLimits, parsed
from gateway.engine.errors import InvalidDocumentError, LimitExceededError, RequestError

LIMITS = DocumentLimits()


def refusal(
    text: str, limits: DocumentLimits = LIMITS, refuse_name: Callable[[str], str | None] = lambda _: None
) -> RequestError:
    """The error that a text is refused with, as clients get to see it."""
    with pytest.raises((GraphQLError, RequestError)) as refused:
        parsed(text, limits, refuse_name)
    error = refused.value
    if isinstance(error, GraphQLError):
        assert isinstance(error.original_error, RequestError)
        assert error.locations
        return error.original_error
    assert isinstance(error, RequestError)
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

    assert isinstance(error, LimitExceededError)
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

    assert isinstance(error, InvalidDocumentError)
    assert error.message == words


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
def test_a_name_that_is_refused_is_found_wherever_it_stands(form: str) -> None:
    error = refusal(form.format("_1"), refuse_name=lambda name: "Not this name" if name == "_1" else None)

    assert isinstance(error, InvalidDocumentError)
    assert error.message == "Not this name"
