"""Bodies that no honest client sends: each is refused with its error, and the gateway goes on."""

import json
import re
from socket import SHUT_WR
from typing import Any

import pytest

from tests.harness import Gateway
from tests.security.raw_requests import GOOD, JSON_BODY, answered, exchanged, next_reply, refusal, written
from tests.stand_ins.raw_client import RawConnection

TYPENAME = {"query": "{ __typename }"}
TWO = "query A { __typename } query B { __typename }"
NODE = "query($id: ID!) { node(id: $id) { id } }"


def nested(depth: int) -> bytes:
    """A request whose JSON is so many objects and arrays deep."""
    return b'{"query": "{ __typename }", "variables": {"v": ' + b"[" * (depth - 2) + b"]" * (depth - 2) + b"}}"


def with_variable(text: bytes) -> bytes:
    return b'{"query": "{ __typename }", "variables": {"v": ' + text + b"}}"


def member(name: str, value: Any) -> bytes:
    return json.dumps({**TYPENAME, name: value}).encode()


BROKEN_TEXT = {
    "nothing": b"",
    "blanks": b" \r\n\t ",
    "truncated": b'{"query": "{ __typename',
    "truncated escape": b'{"query": "\\u00',
    "trailing comma": b'{"query": "{ __typename }",}',
    "single quotes": b"{'query': '{ __typename }'}",
    "unquoted name": b'{query: "{ __typename }"}',
    "comment": b'{"query": "{ __typename }"} // no',
    "two values": GOOD + GOOD,
    "NUL at the end": GOOD + b"\0",
    "NUL in text": b'{"query": "{ __type\0name }"}',
    "line break in text": b'{"query": "{\n__typename }"}',
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-16 without mark": GOOD.decode().encode("utf-16-le"),
    "UTF-32": GOOD.decode().encode("utf-32"),
    "latin-1": '{"query": "{ __typename }", "operationName": "é"}'.encode("latin-1"),
    "overlong UTF-8": b'{"query": "{ __typename }", "operationName": "\xc0\x80"}',
    "UTF-8 beyond Unicode": b'{"query": "{ __typename }", "operationName": "\xf5\x80\x80\x80"}',
    "surrogate in UTF-8": b'{"query": "{ __typename }", "operationName": "\xed\xa0\x80"}',
    "surrogate in the query": b'{"query": "{ __typename } # \\ud800"}',
    "surrogate in a value": with_variable(b'"\\udfff"'),
    "surrogate in a name": b'{"query": "{ __typename }", "variables": {"\\ud800": 1}}',
    "surrogates in the wrong order": with_variable(b'"\\udc00\\ud800"'),
    "bad escape": b'{"query": "\\x41"}',
    "form": b"query=%7B__typename%7D",
    "XML": b"<?xml version='1.0'?><!DOCTYPE q [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><q>&e;</q>",
    "gzip": bytes.fromhex("1f8b0800000000000003"),
    "pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93\x94.",
    "bytes of every kind": bytes(range(256)),
    "not a number": with_variable(b"NaN"),
    "infinity": with_variable(b"Infinity"),
    "negative infinity": with_variable(b"-Infinity"),
    "hexadecimal": with_variable(b"0x10"),
    "leading zero": with_variable(b"007"),
    "leading plus": with_variable(b"+1"),
    "exponent beyond a double": with_variable(b"1e999999"),
    "negative exponent beyond a double": with_variable(b"-1e999999"),
    "21 digits": with_variable(b"9" * 21),
    "21 digits below zero": with_variable(b"-" + b"9" * 21),
    "5000 digits": with_variable(b"9" * 5_000),
    "5000 digits after text": with_variable(b'["\\\\\\"", ' + b"9" * 5_000 + b"]"),
    "17 deep": nested(17),
    "1000 deep": nested(1_000),
    "30 000 arrays": b"[" * 30_000,
    "30 000 whole arrays": nested(30_000),
    "10 000 objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
}


@pytest.mark.parametrize("body", BROKEN_TEXT.values(), ids=BROKEN_TEXT)
def test_body_that_is_no_json_within_bounds_is_400(body: bytes, target: Gateway) -> None:
    error = refusal(exchanged(target.url, written(body=body)), 400)

    assert error["extensions"]["code"] == "BAD_USER_INPUT"


WRONG_TYPES: dict[str, list[Any]] = {
    "query": [1, 1.5, True, None, [], {}, ["{ __typename }"], "", " "],
    "variables": [1, True, "x", "{}", [], [{}]],
    "operationName": [5, True, [], {}, ["A"]],
    "extensions": [1, True, "x", "{}", [], [{}]],
    "documentId": [1, True, [], {}],
}
BAD_HASHES: list[Any] = [
    1, True, "x", [], {}, {"version": 2, "sha256Hash": "0" * 64}, {"version": "1", "sha256Hash": "0" * 64},
    {"version": 1, "sha256Hash": "../x"}, {"version": 1, "sha256Hash": 1}, {"version": 1},
]  # fmt: skip
WRONG_MEMBERS = {
    "array": b"[]",
    "batch": b"[" + GOOD + b"]",
    "batch of ten": b"[" + b",".join([GOOD] * 10) + b"]",
    "string": b'"{ __typename }"',
    "number": b"1",
    "true": b"true",
    "null": b"null",
    "empty object": b"{}",
    "other members alone": b'{"mutation": "{ __typename }"}',
    "name in capitals": b'{"QUERY": "{ __typename }"}',
    **{f"{name} {value!r}": member(name, value) for name, values in WRONG_TYPES.items() for value in values},
    **{f"persistedQuery {value!r}": member("extensions", {"persistedQuery": value}) for value in BAD_HASHES},
}


@pytest.mark.parametrize("body", WRONG_MEMBERS.values(), ids=WRONG_MEMBERS)
def test_members_of_the_wrong_type_are_400(body: bytes, target: Gateway) -> None:
    error = refusal(exchanged(target.url, written(body=body)), 400)

    assert error["extensions"]["code"] == "BAD_USER_INPUT"


ODD_AND_RIGHT = {
    "members nobody knows": {**TYPENAME, "__proto__": {"admin": True}, "constructor": {"prototype": {}}, "": 1},
    "variables nobody asked for": {**TYPENAME, "variables": {"__proto__": {"x": 1}, "": None, "\0": 1, "é": [1]}},
    "nothing but null": {**TYPENAME, "variables": None, "operationName": None, "extensions": None},
    "empty name": {**TYPENAME, "operationName": ""},
    "extensions of others": {**TYPENAME, "extensions": {"tracing": True, "__proto__": {}}},
    "20 digits": {**TYPENAME, "variables": {"v": int("9" * 20)}},
    "digits in text": {**TYPENAME, "variables": {"v": "9" * 5_000}},
    "brackets in text": {**TYPENAME, "variables": {"v": "[" * 5_000}},
    "wide": {**TYPENAME, "variables": {"v": [[]] * 5_000}},
    "byte order mark in the document": {"query": "\ufeff{ __typename }"},
}


@pytest.mark.parametrize("body", ODD_AND_RIGHT.values(), ids=ODD_AND_RIGHT)
def test_unusual_but_valid_body_is_answered(body: dict[str, Any], target: Gateway) -> None:
    answered(exchanged(target.url, written(body=json.dumps(body).encode())))


@pytest.mark.parametrize("depth", [3, 16])
def test_json_may_be_as_deep_as_the_limit(depth: int, target: Gateway) -> None:
    answered(exchanged(target.url, written(body=nested(depth))))


@pytest.mark.parametrize(
    "members", [b'"query": "{ a }", "query": "{ __typename }"', b'"\\u0071uery": "{ a }", "query": ""']
)
def test_duplicate_names_are_harmless(members: bytes, target: Gateway) -> None:
    reply = exchanged(target.url, written(body=b"{" + members + b"}"))

    assert reply is not None
    assert reply.status in {200, 400}


LONG = "a" * 5_000
FRAGMENTS = " ".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }}" for n in range(25))
BAD_DOCUMENTS = {
    "NUL": "{ __type\0name }",
    "control character": "{ __typename \x07 }",
    "unfinished string": '{ node(id: "',
    "unfinished block string": '{ node(id: """',
    "code point beyond Unicode": '{ node(id: "\\u{110000}") { id } }',
    "half a surrogate pair": '{ node(id: "\\ud800") { id } }',
    "type definition": "type Query { a: Int }",
    "extension": "extend type Query { a: Int }",
    "schema": "schema { query: Query }",
    "mutation": "mutation { emrs { code } }",
    "subscription": "subscription { __typename }",
    "fragment in a circle": "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }",
    "fragment of itself": "{ ...A } fragment A on Query { ...A }",
    "unknown fragment": "{ ...Nothing }",
    "unknown variable": "{ node(id: $id) { id } }",
    "variable of an output type": "query($v: CareUnit) { __typename }",
    "several operations": TWO,
    "unknown directive": "{ __typename @nothing }",
    "skip without a condition": "{ __typename @skip }",
    "defer": "{ ... @defer { __typename } }",
    "stream": "{ emrs @stream { code } }",
    "field as an object": "{ __typename { __typename } }",
    "object as a field": "{ emrs }",
    "unions of nothing": "{ ... on Nothing { __typename } }",
    "argument twice": '{ node(id: "a", id: "b") { id } }',
    "integer of 5000 digits": f"{{ careUnits {{ timeslots(first: {'9' * 5_000}) {{ start }} }} }}",
    "number of 5000 digits": f"{{ careUnits {{ timeslots(first: 1e{'9' * 5_000}) {{ start }} }} }}",
    "1000 directives": f"{{ __typename {'@a' * 1_000} }}",
    "1000 aliases": f"{{ {' '.join(f'a{n}: __typename' for n in range(1_000))} }}",
    "5000 fields": f"{{ {'__typename ' * 5_000} }}",
    "5000 variables": f"query({' '.join(f'$v{n}: Int' for n in range(5_000))}) {{ __typename }}",
    "1500 fragments": "{ __typename }" + " ".join(f"fragment F{n} on Query {{ __typename }}" for n in range(1_500)),
    "doubling fragments": "{ ...F0 } " + FRAGMENTS + " fragment F25 on Query { __typename }",
    "deep fields": "{ careUnits { resources { careUnit " * 100 + "{ id }" + "} } }" * 100,
    "deep list": f"{{ nodes(ids: {'[' * 5_000}{']' * 5_000}) {{ id }} }}",
    "deep object": f"{{ node(id: {'{a: ' * 1_000}1{'}' * 1_000}) {{ id }} }}",
    "deep type": f"query($v: {'[' * 5_000}Int{']' * 5_000}) {{ __typename }}",
    "brackets": "{" * 60_000,
    "one long name": "{ " + "a" * 60_000 + " }",
    "one long comment": "#" * 60_000,
    "one long name many times": f"query(${LONG}: Int) {{ {' '.join(f'a{n}: node(id: ${LONG})' for n in range(9))} }}",
    "commas": "{" + "," * 60_000,
    "overlapping fields": f"{{ {' '.join(f'node(id: {n}) {{ id }}' for n in range(300))} }}",
}  # fmt: skip


@pytest.mark.parametrize("document", BAD_DOCUMENTS.values(), ids=BAD_DOCUMENTS)
@pytest.mark.parametrize(("accept", "status"), [("application/json", 200), ("application/graphql-response+json", 400)])
def test_a_document_that_cannot_be_run_is_refused(document: str, accept: str, status: int, target: Gateway) -> None:
    response = target.http.post("/graphql", json={"query": document}, headers={"accept": accept})

    answer = response.json()
    assert "data" not in answer
    assert len(answer["errors"]) <= 20
    codes = {error["extensions"]["code"] for error in answer["errors"]}
    assert codes <= {"BAD_USER_INPUT", "OPERATION_TOO_LARGE"}
    # A document above a limit was not looked at as GraphQL.
    assert response.status_code == (400 if "OPERATION_TOO_LARGE" in codes else status)
    assert not re.search(r"did you mean", response.text, re.IGNORECASE)
    assert len(response.content) < 2 * len(document) + 16_384


def test_a_body_above_the_limit_is_refused(target: Gateway) -> None:
    allowed = member("variables", {"v": "x" * 65_000}).ljust(65_536)

    answered(exchanged(target.url, written(body=allowed)))
    for body in (allowed + b" ", b"[" * 100_000, b" " * (4 << 20)):
        error = refusal(exchanged(target.url, written(body=body)), 413)
        assert error["extensions"]["code"] == "BAD_USER_INPUT"


def test_a_chunked_body_above_the_limit_is_refused(target: Gateway) -> None:
    chunks = b"1000\r\n" + b" " * 4_096 + b"\r\n"
    headers = (JSON_BODY, (b"Transfer-Encoding", b"chunked"))

    refusal(exchanged(target.url, written(headers=headers, body=chunks * 1_000 + b"0\r\n\r\n")), 413)


@pytest.mark.parametrize("body", [b"", b'{"query"', GOOD])
def test_a_body_that_breaks_off_harms_nobody(body: bytes, target: Gateway) -> None:
    with RawConnection(target.url) as wire:
        wire.send(written(headers=(JSON_BODY, (b"Content-Length", b"1000")), body=body))
        wire.socket.shutdown(SHUT_WR)
        reply = next_reply(wire)

    assert reply is None or reply.status == 400
