"""Texts and operations are held to each limit, to the number; fragments count as if written out."""

import gc
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from graphql import GraphQLError, get_introspection_query, parse
from hypothesis import given
from hypothesis import strategies as st

from gateway.engine.document_limits import DocumentLimits, check_operations, parse_document
from gateway.engine.errors import InvalidDocumentError, LimitExceededError, RequestError

LIMITS = DocumentLimits()
WIDE = DocumentLimits(10**6, 10**6, 10**6, 10**6, 10**6, 10**6)
Draw = Callable[[st.SearchStrategy[Any]], Any]


def check(text: str, limits: DocumentLimits = LIMITS, *, introspection: bool = False) -> None:
    check_operations(parse(text), limits, introspection=introspection)


@pytest.mark.parametrize(
    ("form", "most", "words"),
    [
        ("{{ {} }}", 10, "The operation has 11 root fields; the limit is 10"),
        (
            "{{ x {{ {} }} }}",
            1999,
            "The operation has 2001 selections, those of its fragments included; the limit is 2000",
        ),
        ("{{ x {{ ...F }} }} fragment F on T {{ {} }}", 1998, "The operation has 2001 selections, "),
        ("{{ ...F }} fragment F on T {{ ... {{ ...G }} }} fragment G on T {{ {} }}", 10, "has 11 root fields; "),
    ],
)
def test_fields_are_counted_wherever_they_stand(form: str, most: int, words: str) -> None:
    check(form.format("__typename " * most))

    with pytest.raises(LimitExceededError, match=words):
        check(form.format("__typename " * (most + 1)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{{ {'a { ' * 11}b{' }' * 11} }}", "The operation is 12 levels deep; the limit is 10"),
        (f"{{ a {{ ...F }} }} fragment F on T {{ {'a { ' * 10}b{' }' * 10} }}", "The operation is 12 levels deep; "),
        (f"{{ a {{ {'x: b ' * 31} }} }}", "The operation has 31 aliases; the limit is 30"),
        (f"{{ a {{ ...F ...F }} }} fragment F on T {{ {'x: b ' * 16} }}", "The operation has 32 aliases; "),
        (f"{{ a {'@d ' * 21} }}", "The operation has 21 directives; the limit is 20"),
        (f"query($v: I @d) @d {{ a @d {{ ...F @d ...F @d }} }} fragment F on T @d {{ {'b @d ' * 7} }}", "has 21 dir"),
        ("{ a } query Q { a { b c } } query R { x: a { " + "b " * 2_000 + "} }", "The operation has 2001 selections"),
        (
            "{ a { ...F0 } }" + "".join(f"fragment F{n} on T {{ ...F{n + 1} ...F{n + 1} }}" for n in range(90)),
            "The operation has 1000000 or more selections, those of its fragments included; the limit is 2000",
        ),
    ],
)
def test_an_operation_beyond_a_limit_is_refused_with_its_count(text: str, words: str) -> None:
    with pytest.raises(LimitExceededError, match=words):
        check(text)


@pytest.mark.parametrize(
    "text",
    [
        "{ ...F } fragment F on T { ...F }",
        "{ ...F } fragment F on T { a { ...G } } fragment G on T { ...F ...G ...H } fragment H on T { b { ...F } }",
        "{ ...Nowhere }",
        "fragment F on T { " + "b " * 5_000 + "}",
        "type T { a: Int }",
    ],
)
def test_invalid_documents_are_left_to_validation(text: str) -> None:
    check(text)


@pytest.mark.parametrize(
    "introspection", ["{ __schema { types { name } } }", 'query { a x: __type(name: "T") { name } }']
)
def test_introspection_is_refused_unless_enabled(introspection: str) -> None:
    with pytest.raises(GraphQLError, match="GATEWAY_INTROSPECTION=on turns it on") as refused:
        check(introspection)

    assert refused.value.locations
    check("{ a { __typename } __typename }")
    check(introspection, introspection=True)


@pytest.mark.parametrize("depth", [9, 12])
def test_the_introspection_of_explorers_and_generators_passes(depth: int) -> None:
    every = {"specified_by_url": True, "schema_description": True, "input_value_deprecation": True}
    text = get_introspection_query(**every, directive_is_repeatable=True, one_of=True, type_depth=depth)

    check_operations(parse_document(text, LIMITS, lambda _: None), LIMITS, introspection=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{{ __schema {{ {'ofType { ' * 20}name{' }' * 20} }} }}", "The introspection is 21 levels deep; the limit"),
        (
            f"{{ __schema {{ a {{ ...F }} }} }} fragment F on T {{ {'ofType { ' * 19}name{' }' * 19} }}",
            "The introspection is 21 levels deep; the limit is 20",
        ),
        (f"{{ __schema {{ {'a ' * 2_001} }} }}", "The introspection has 2001 selections; the limit is 2000"),
        (f"{{ {'__schema { a } ' * 11} }}", "The operation has 11 root fields"),
        (f"{{ __schema {{ {'x: a ' * 31} }} }}", "The operation has 31 aliases"),
    ],
)
def test_introspection_has_limits_of_its_own(text: str, words: str) -> None:
    with pytest.raises(LimitExceededError, match=words):
        check(text, introspection=True)


def selections(draw: Draw, spreads: list[str], depth: int) -> str:
    made = []
    for _ in range(draw(st.integers(1, 3))):
        directive = " @d" * draw(st.integers(0, 1))
        kind = draw(st.integers(0, 3))
        if kind == 0 and spreads:
            made.append(f"...{draw(st.sampled_from(spreads))}{directive}")
        elif kind == 1 and depth:
            made.append(f"...{directive} {selections(draw, spreads, depth - 1)}")
        else:
            below = selections(draw, spreads, depth - 1) if depth and draw(st.booleans()) else ""
            made.append(f"{draw(st.sampled_from(['', 'x: ']))}a{directive} {below}")
    return f"{{ {' '.join(made)} }}"


@st.composite
def documents(draw: Draw) -> str:
    names = [f"F{number}" for number in range(draw(st.integers(0, 4)))]
    fragments = [f" fragment {name} on T {selections(draw, names[at + 1 :], 2)}" for at, name in enumerate(names)]
    return selections(draw, names, 3) + "".join(fragments)


def written_out(text: str) -> Counter[str]:
    """The numbers of the one operation, by writing its fragments out."""
    found: Counter[str] = Counter()
    operation, *fragments = parse(text).definitions
    by_name: Any = {fragment.name.value: fragment for fragment in fragments}  # type: ignore[attr-defined] # no union

    def walk(node: Any, level: int) -> None:
        for each in node.selection_set.selections:
            found["selections"] += 1
            found["directives"] += len(each.directives or ())
            if each.kind == "field":
                found["aliases"] += each.alias is not None
                found["root_fields"] += level == 1
                found["depth"] = max(found["depth"], level)
                if each.selection_set:
                    walk(each, level + 1)
            else:
                walk(by_name[each.name.value] if each.kind == "fragment_spread" else each, level)

    walk(operation, 1)
    return found


@given(documents())
def test_counts_are_those_with_fragments_written_out(text: str) -> None:
    for what, number in written_out(text).items():
        check(text, replace(WIDE, **{what: number}))
        if number:
            with pytest.raises(LimitExceededError, match=rf" {number} "):
                check(text, replace(WIDE, **{what: number - 1}))


def refusal(
    text: str, limits: DocumentLimits = LIMITS, refuse_name: Callable[[str], str | None] = lambda _: None
) -> RequestError:
    """The error that a text is refused with, as clients get to see it."""
    with pytest.raises((GraphQLError, RequestError)) as refused:
        parse_document(text, limits, refuse_name)
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
    assert parse_document(text, LIMITS, lambda _: None).definitions


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


def test_parsed_document_is_freed_without_the_garbage_collector() -> None:
    # What the parser of graphql-core itself leaves behind at its first use is none of the document's.
    parse_document("{ a }", LIMITS, lambda _: None)
    gc.collect()
    gc.disable()
    try:
        document = parse_document(
            'query Q($v: [I] = [1]) { a(b: "x", c: $v) @d { ...F } } fragment F on T { b }', LIMITS, lambda _: None
        )
        assert document.loc is not None
        del document
        assert gc.collect() == 0
    finally:
        gc.enable()
