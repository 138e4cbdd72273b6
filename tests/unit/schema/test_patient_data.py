"""Data of patients come in variables only: documents that hold them are neither kept nor known by a hash."""

from collections.abc import Iterator

import pytest
from graphql import GraphQLInputObjectType, get_named_type

from gateway.engine.engine import Engine, Operation
from gateway.fetch.cache_budget import CacheBudget
from gateway.schema.booking_input import refuse_literal
from gateway.schema.query import build_schema, engine_config

SCHEMA = build_schema()
TYPES = SCHEMA._schema.type_map  # noqa: SLF001 # nothing public leads to graphql-core's types
NUMBER = "191212121212"
DOCUMENT = 'mutation { bookAppointment(input: {patient: {details: {firstName: $x, lastName: "%s"}}}) { __typename } }'


def fields_below(name: str) -> Iterator[str]:
    kind = TYPES[name]
    assert isinstance(kind, GraphQLInputObjectType)
    yield kind.name
    for field, definition in kind.fields.items():
        yield field
        below = get_named_type(definition.type)
        if isinstance(below, GraphQLInputObjectType):
            yield from fields_below(below.name)


def test_everything_of_a_patient_is_refused_as_a_literal() -> None:
    names = {*fields_below("PatientInput"), "patient", "code", "comment"}

    assert {each for each in names if refuse_literal(None, each) is None} == set()
    assert refuse_literal("emr", "code") is None
    assert refuse_literal("timeslots", "resourceId") is None


@pytest.mark.parametrize("document", [DOCUMENT, DOCUMENT.replace("mutation {", "mutation($x: Int) {")])
async def test_such_a_document_is_not_kept_and_has_no_hash(document: str) -> None:
    budget = CacheBudget(1024 * 1024)
    engine = Engine(SCHEMA, engine_config(budget=budget))

    result = await engine.execute(Operation(document % NUMBER), None)

    (error,) = result.errors
    assert "variables only" in error.message
    assert (result.document_hash, result.data, budget.bytes) == ("", None, 0)
    assert not engine.can_read(document % NUMBER)
    assert engine.can_read(document.replace('"%s"', "$number"))
