"""No personal number that a client sends gets into an error or into the log, wherever it stands."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from graphql import OperationDefinitionNode, build_schema, parse
from graphql.execution.values import get_variable_values
from hypothesis import event, given, settings
from hypothesis import strategies as st
from structlog.testing import LogCapture

from gateway.domain.personal_numbers import may_hold_a_personal_number
from gateway.engine.document_cache import validated
from gateway.engine.engine import Operation
from gateway.http.error_responses import ErrorFormatter
from tests.unit.schema.clinic import request
from tests.unit.schema.gateway_engine import GatewayEngine

# The parts of a number, and of its written forms, that nothing else in an answer holds.
DAY, LAST = "870312", "7391"
FORMS = [
    f"19{DAY}{LAST}",
    f"19{DAY}-{LAST}",
    f"{DAY}-{LAST}",
    f"{DAY}{LAST}",
    f"{DAY}+{LAST}",
    f"19 87 03 12 {LAST[:2]} {LAST[2:]}",
    f"19.87.03.12.{LAST}",
    f"1987-03-12 {LAST}",
    f"120387-{LAST}",
]
NAMES = [f"_19{DAY}_{LAST}", f"p{DAY}{LAST}", f"_19{DAY}{LAST}x", f"a_87_03_12_{LAST}", f"_120387_{LAST}"]
DOCUMENTS = [
    "{ careUnits(emr: VALUE) { id } }",
    "{ careUnit(id: VALUE) { id } node(id: VALUE) { id } nodes(ids: VALUE) { id } }",
    "{ careUnits { timeslots(start: VALUE, end: VALUE) { start } } }",
    "{ careUnits { timeslots(first: VALUE, resourceId: VALUE, healthcareServiceId: VALUE) { start } } }",
    "query($v: ID = VALUE) { node(id: $v) { id } }",
    "query($v: [DateTime!] = VALUE) { careUnits { timeslots(start: $v) { start } } }",
    "{ careUnits @include(if: VALUE) { id } }",
    "{ careUnits @NAME(if: VALUE) { id } }",
    "{ NAME: careUnits { id } }",
    "{ careUnits { NAME timeslots(NAME: VALUE) { id } } }",
    "query NAME($NAME: NAME = VALUE) { node(id: $NAME) { ...NAME ... on NAME { id } } }",
    "fragment NAME on CareUnit { NAME } query { careUnits { ...NAME } node(id: NAME) { id } }",
    "{ nodes(ids: [1.5, {NAME: VALUE}]) { id } } # VALUE",
    "type NAME { NAME(NAME: NAME = VALUE): NAME @NAME } enum NAME { NAME }",
    'query Q { emrs { code } } """VALUE""" query NAME { emrs { code } }',
]
INPUTS = build_schema("""
    input In { p: Int! q: [E!] r: In s: Boolean t: One } input One @oneOf { a: ID b: Float } enum E { RED }
    type Query { a(i: In, e: E, f: [[Float]], b: Boolean, s: String, d: ID, n: Int): Int }
""")
Draw = Callable[[st.SearchStrategy[Any]], Any]


class Listener:
    """An engine, and what it says to clients and to the log."""

    def __init__(self) -> None:
        self._log = LogCapture()
        logger = structlog.wrap_logger(
            None, processors=[self._log], wrapper_class=structlog.make_filtering_bound_logger(0)
        )
        self.errors = ErrorFormatter(logger)
        self._engine = GatewayEngine(self.errors, introspection=True)

    def ask(self, text: str, name: str | None = None, variables: dict[str, Any] | None = None) -> list[str]:
        """The messages of the answer; nothing else of it, nor the log, holds a number."""
        operation = Operation(text, name, variables)
        outcome = asyncio.run(self._engine.run(operation, request()))
        self.check(outcome.errors)
        return [error["message"] for error in outcome.errors]

    def check(self, errors: Any) -> None:
        said = json.dumps([[{**each, "locations": None} for each in errors], self._log.entries])
        self._log.entries.clear()
        assert DAY not in said
        assert LAST not in said
        # What DateTime says holds an example.
        messages = [each["message"] for each in errors if "A DateTime is" not in each["message"]]
        assert not any(map(may_hold_a_personal_number, messages))


LISTENER = Listener()


@st.composite
def literals(draw: Draw) -> str:
    """A number in one of its written forms, as GraphQL can hold it."""
    form = draw(st.sampled_from(FORMS))
    literal: str = draw(
        st.recursive(
            st.sampled_from(
                [
                    f'"{form}"',
                    f'"""\n{form} Tolvan\n"""',
                    f"19{DAY}{LAST}",
                    f"-{DAY}{LAST}",
                    f"{LAST}.{DAY}{LAST}",
                    f"{LAST}e1",
                    draw(st.sampled_from(NAMES)),
                    f'"\\u{{31}}{form[1:]}"',
                ]
            ),
            lambda inner: st.one_of(
                inner.map("[{}]".format), inner.map("{{a: {}}}".format), inner.map("[1, {}]".format)
            ),
            max_leaves=3,
        )
    )
    return literal


@given(st.sampled_from(DOCUMENTS), literals(), st.one_of(st.just("careUnits"), st.sampled_from(NAMES)))
@settings(max_examples=300)
def test_a_personal_number_in_a_document_is_not_repeated(form: str, literal: str, name: str) -> None:
    text = form.replace("VALUE", literal).replace("NAME", name)

    messages = LISTENER.ask(text, name if "query NAME" in form else None)

    event(messages[0] if messages else "no error")


@given(st.sampled_from(NAMES))
def test_a_personal_number_in_the_operation_name_is_not_repeated(name: str) -> None:
    assert LISTENER.ask("query A { emrs { code } } query B { emrs { code } }", name)


@pytest.mark.parametrize("number", ["FORM", '"FORM"', '"""FORM"""', "_FORM"])
@pytest.mark.parametrize("form", FORMS)
def test_a_personal_number_in_broken_syntax_is_not_repeated(form: str, number: str) -> None:
    planted = number.replace("FORM", form)
    text = (
        f"query Q($v: ID = {planted}) {{ a: node(id: {planted}) @skip(if: {planted}) {{ ...{planted} }} }} #{planted}"
    )
    for place in range(len(text) + 1):
        before, after = text[:place], text[place:]
        for broken in (
            before,
            after,
            before + after[1:],
            f'{before}"{after}',
            f"{before}}}{after}",
            f"{before} {form} {after}",
        ):
            assert LISTENER.ask(broken)


values = st.recursive(
    st.sampled_from(
        [*FORMS, f"Tolvan {FORMS[0]}", int(FORMS[0]), float(FORMS[3]), f"2026-12-01T{FORMS[3]}", "RED", None, True]
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from([*FORMS, f"p' Did you mean {FORMS[0]}?", "p", "q", "r", "t"]), inner, max_size=4
        ),
    ),
    max_leaves=6,
)
PLACES = [
    ("ID!", "node(id: $v) { id }"),
    ("[ID!]!", "nodes(ids: $v) { id }"),
    ("String", "careUnits(emr: $v) { id }"),
    ("DateTime", "careUnits { timeslots(start: $v) { start } }"),
    ("Int", "careUnits { timeslots(first: $v) { start } }"),
    ("ID", "careUnits { timeslots(resourceId: $v, healthcareServiceId: $v) { start } }"),
    ("Boolean!", "careUnits @skip(if: $v) { id }"),
    ("Int", "careUnits(emr: $v) { id }"),
    ("CareUnit", "careUnits(emr: $v) { id }"),
]


@given(st.sampled_from(PLACES), values)
def test_a_personal_number_in_a_variable_is_not_repeated(place: tuple[str, str], value: Any) -> None:
    declared, field = place

    messages = LISTENER.ask(f"query($v: {declared}) {{ {field} }}", None, {"v": value, FORMS[0]: value})

    event(f"{declared}: {messages[0] if messages else 'no error'}")


@given(st.sampled_from(["In", "[In!]", "One", "E", "[[Float]]", "Boolean!", "String", "ID", "Int"]), values)
@settings(max_examples=200)
def test_a_personal_number_in_an_input_object_is_not_repeated(declared: str, value: Any) -> None:
    (operation,) = parse(f"query($v: {declared}) {{ a }}").definitions
    assert isinstance(operation, OperationDefinitionNode)
    errors = get_variable_values(INPUTS, operation.variable_definitions or (), {"v": value})
    if isinstance(errors, list):
        formatted, _ = LISTENER.errors.formatted(errors, "reference")
        LISTENER.check(formatted)
        event(formatted[0]["message"])


@given(st.sampled_from(["i", "e", "f", "b", "s", "d", "n"]), literals())
def test_a_personal_number_in_a_literal_object_is_not_repeated(argument: str, literal: str) -> None:
    document = parse(f"{{ a({argument}: {{p: {literal}, q: {literal}, r: {{t: {literal}}}, z: {literal}}}) }}")
    formatted, _ = LISTENER.errors.formatted(validated(INPUTS, document, hide_suggestions=False), "reference")

    LISTENER.check(formatted)
    assert formatted
