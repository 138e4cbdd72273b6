"""Literals where only variables may stand are found wherever they are, and whether or not the document is valid."""

import pytest
from graphql import GraphQLError, parse
from hypothesis import given
from hypothesis import strategies as st

from gateway.engine.literals import check_literals

CANARY = "191212121212"


def refuse(owner: str | None, name: str) -> str | None:
    return "variables only" if name in {"patient", "Patient", "code"} and owner != "emr" else None


@pytest.mark.parametrize(
    "document",
    [
        'mutation { book(patient: "%s") { id } }',
        "mutation { book(patient: %s) { id } }",
        'mutation { book(input: {patient: {number: "%s"}}) { id } }',
        'mutation { book(input: [{patient: {numbers: ["%s"]}}]) { id } }',
        "mutation { book(input: {patient: {name: n%s}}) { id } }",
        "mutation { book(input: {patient: {is: true}}) { id } } # %s",
        'mutation { book(input: {patient: {name: """%s"""}}) { id } }',
        'mutation($i: Input = {patient: {number: "%s"}}) { book(input: $i) { id } }',
        'mutation($p: Patient = {number: "%s"}) { book(input: {patient: $p}) { id } }',
        'mutation($p: [Patient!]! = [{number: "%s"}]) { book { id } }',
        'mutation($n: String = "%s") { book(input: {patient: {number: $n}}) { id } }',
        'mutation($n: String = "%s") { ...F } fragment F on Mutation { book(patient: {number: $n}) { id } }',
        'query { a { b { c(patient: "%s") } } }',
        'query { a @include(patient: "%s") }',
        'query @skip(code: "%s") { a }',
        'fragment F on Mutation { book(code: "%s") { id } }',
        '{ ... on Query { ... { a(code: "%s") } } }',
    ],
)
def test_a_literal_is_refused_without_being_quoted(document: str) -> None:
    text = document % CANARY if "%s" in document else document

    with pytest.raises(GraphQLError, match="variables only") as error:
        check_literals(parse(text), refuse)

    assert CANARY not in str(error.value.formatted)


@pytest.mark.parametrize(
    "document",
    [
        "mutation($p: Patient!, $c: String) { book(input: {patient: $p, code: $c, key: 1}) { id } }",
        "mutation { book(input: {patient: null, other: {name: 1}}) { id } }",
        "mutation { book(patient: {}, codes: [1]) { id } }",
        'mutation($k: String = "key") { book(key: $k) { id } }',
        '{ emr(code: "webdoc") { id } }',
        "type Patient { code: String }",
    ],
)
def test_variables_and_other_literals_pass(document: str) -> None:
    check_literals(parse(document), refuse)


@given(st.recursive(st.just('"191212121212"'), lambda inner: st.builds("{{a: [{}, $v], b: {}}}".format, inner, inner)))
def test_a_literal_is_found_however_deep_it_is(value: str) -> None:
    with pytest.raises(GraphQLError, match="variables only"):
        check_literals(parse(f"mutation($v: T) {{ book(input: {{patient: {{deep: {value}}}}}) {{ id }} }}"), refuse)
