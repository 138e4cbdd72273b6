"""The result of an operation: data, errors, limits, and what the log gets of it."""

import asyncio
import hashlib
from typing import Any

import orjson
import pytest
from graphql import get_introspection_query

from gateway.engine.document_limits import DocumentLimits
from gateway.engine.engine import Engine, Operation
from gateway.engine.errors import MutationNotAllowedError
from gateway.fetch.cache_budget import CacheBudget
from gateway.http.runner import GraphQLResult
from gateway.schema.query import build_schema, engine_config
from tests.unit.schema.clinic import request
from tests.unit.schema.gateway_engine import GatewayEngine

SCHEMA = build_schema()


def outcome(text: str, name: str | None = None, *, by: GatewayEngine | None = None, **variables: Any) -> GraphQLResult:
    return asyncio.run((by or GatewayEngine()).run(Operation(text, name, variables), request()))


@pytest.mark.parametrize(
    ("text", "operation_type"),
    [
        ("{ __typename }", "query"),
        ("{ node(id: 1) { id } }", "query"),
        ("{ nothing }", "query"),
        ("mutation { nothing }", "mutation"),
        ("query($v: Int!) { careUnits { timeslots(first: $v) { start } } }", "query"),
        ("{ a } query B { b }", None),
        ("fragment F on Query { emrs { code } }", None),
        ("{ " + "__typename " * 11 + "}", None),
        ("{ é }", None),
        ("", None),
        ("\ud800", None),
    ],
)
def test_result_has_the_operation_type_and_the_document_hash(text: str, operation_type: str | None) -> None:
    found = outcome(text)

    assert found.operation_type == operation_type
    assert found.document_hash == hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def test_operation_name_chooses_the_operation_and_is_not_quoted() -> None:
    text = "query A { __typename } mutation B { __typename }"

    assert outcome(text, "A").operation_type == "query"
    assert outcome(text, "B").operation_type == "mutation"
    assert "1912" not in orjson.dumps(outcome(text, "_191212121212").errors).decode()
    with pytest.raises(MutationNotAllowedError):
        asyncio.run(GatewayEngine().run(Operation(text, "B"), request(), queries_only=True))


def test_document_limits_of_the_engine_apply() -> None:
    wide = GatewayEngine(limits=DocumentLimits(root_fields=11))

    assert not outcome("{ " + "__typename " * 11 + "}", by=wide).errors
    (error,) = outcome("{ " + "__typename " * 12 + "}", by=wide).errors
    assert error["message"] == "The operation has 12 root fields; the limit is 11"
    assert error["extensions"]["code"] == "OPERATION_TOO_LARGE"


def test_introspection_and_suggestions_are_off_unless_turned_on() -> None:
    opened = GatewayEngine(introspection=True)

    (closed,) = outcome("{ __schema { queryType { name } } }").errors
    (silent,) = outcome("{ careUnit(id: 1) { nam } }").errors
    (helpful,) = outcome("{ careUnit(id: 1) { nam } }", by=opened).errors

    assert closed["message"] == "Introspection is off; GATEWAY_INTROSPECTION=on turns it on"
    assert closed["extensions"]["code"] == "BAD_USER_INPUT"
    assert closed["locations"] == [{"line": 1, "column": 3}]
    assert silent["message"] == "Cannot query field 'nam' on type 'CareUnit'."
    assert helpful["message"] == "Cannot query field 'nam' on type 'CareUnit'. Did you mean 'name'?"
    found = outcome(get_introspection_query(specified_by_url=True, one_of=True), by=opened)
    assert not found.errors
    assert b'"CareUnit"' in b"".join(found.pieces())


def test_introspection_depth_is_bounded() -> None:
    (error,) = outcome(
        "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }",
        by=GatewayEngine(introspection=True),
    ).errors

    assert error["message"] == "Maximum introspection depth exceeded"


@pytest.mark.parametrize(
    ("extensions", "gateway"),
    [(None, {"errorsOmitted": 5}), (b'{"gateway":{"planned":1}}', {"planned": 1, "errorsOmitted": 5})],
)
def test_errors_omitted_stands_beside_the_fetch_report(extensions: bytes | None, gateway: dict[str, int]) -> None:
    found = GraphQLResult([b"null"], [{"message": "x"}], errors_omitted=5)

    assert orjson.loads(b"".join(found.pieces(extensions))) == {
        "data": None,
        "errors": [{"message": "x"}],
        "extensions": {"gateway": gateway},
    }


def test_extensions_are_left_as_they_are_where_no_error_was_left_out() -> None:
    assert b"".join(GraphQLResult([b"{}"]).pieces()) == b'{"data":{}}'
    assert b"".join(GraphQLResult([b"{}"]).pieces(b'{ "a": 1 }')) == b'{"data":{},"extensions":{ "a": 1 }}'


def test_errors_beyond_the_twentieth_are_counted() -> None:
    fields = " ".join(f"f{number}" for number in range(60))
    units = outcome("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=["x"] * 25)
    unknown = outcome(f"{{ careUnits {{ {fields} }} }}")
    variables = outcome("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=[1.5] * 60)

    assert [len(each.errors) for each in (units, unknown, variables)] == [20, 20, 20]
    assert units.errors_omitted == 5
    assert unknown.errors_omitted == variables.errors_omitted == 1


def test_document_cache_finds_documents_by_their_hash() -> None:
    text = '{ node(id: "191212-1212") { id } }'
    documents = Engine(SCHEMA, engine_config(budget=CacheBudget(100_000)))._documents  # noqa: SLF001 # what is cached is nobody else's to see

    kept = documents.read(text)

    assert documents.read(str(text.encode(), "utf-8")) is kept
    assert kept.digest == hashlib.sha256(text.encode()).hexdigest()
    assert documents.read(f"{text} ") is not kept


def test_document_cache_is_bounded_and_evicts_the_least_used() -> None:
    documents = Engine(SCHEMA, engine_config(budget=CacheBudget(500_000)))._documents  # noqa: SLF001 # what is cached is nobody else's to see
    first, second = documents.read("{ __typename }"), documents.read("{ __typename, }")
    for number in range(20):
        documents.read(f"{{ __typename }}{' ' * 16_000}#{number}")
        assert documents.read("{ __typename }") is first

    assert documents.read("{ __typename, }") is not second
    longest = f"{{ __typename }}{' ' * 17_000}"
    assert documents.read(longest) is not documents.read(longest)
