"""Parsing of GraphQL requests."""

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message

from gateway.http.error_responses import HttpError
from gateway.http.requests import GraphQLRequest, RequestReader

QUERY = "{ __typename }"
KIBIBYTE = 1024
READER = RequestReader()


async def post(*chunks: bytes, content_type: str = "application/json") -> GraphQLRequest:
    async def messages() -> AsyncIterator[Message]:
        for chunk in chunks:
            yield {"type": "http.request", "body": chunk, "more_body": True}
        yield {"type": "http.request", "body": b"", "more_body": False}

    headers = {b"content-type": content_type}
    return READER.post(headers, await READER.body(messages().__anext__, headers))


def get(**parameters: str) -> bytes:
    return urlencode(parameters).encode()


@pytest.mark.parametrize(
    ("body", "operation"),
    [
        ({"query": QUERY}, GraphQLRequest(QUERY)),
        ({"query": QUERY, "operationName": "A", "variables": {"a": [1]}}, GraphQLRequest(QUERY, "A", {"a": [1]})),
        ({"query": QUERY, "operationName": None, "variables": None, "extensions": None}, GraphQLRequest(QUERY)),
        ({"query": QUERY, "operationName": "", "extensions": {"x": 1}, "unknown": 1}, GraphQLRequest(QUERY)),
        ({"query": QUERY, "variables": {}}, GraphQLRequest(QUERY, None, {})),
    ],
)
async def test_post_is_parsed_as_a_graphql_request(body: dict[str, Any], operation: GraphQLRequest) -> None:
    assert await post(json.dumps(body).encode()) == operation


async def test_a_body_may_come_in_chunks() -> None:
    whole = json.dumps({"query": "{ å }"}, ensure_ascii=False).encode()

    assert await post(*(whole[at : at + 1] for at in range(len(whole)))) == GraphQLRequest("{ å }")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json;",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "application/json; charset=utf8",
        'application/json; charset="utf-8"',
    ],
)
async def test_json_content_types_are_accepted(content_type: str) -> None:
    assert await post(json.dumps({"query": QUERY}).encode(), content_type=content_type) == GraphQLRequest(QUERY)


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/graphql",
        "application/jsonp",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json",
        "text/plain; application/json",
        "application/json; charset=latin-1",
        "application/json, text/plain",
    ],
)
async def test_other_content_types_are_refused(content_type: str) -> None:
    with pytest.raises(HttpError) as refusal:
        await post(json.dumps({"query": QUERY}).encode(), content_type=content_type)

    assert refusal.value.status == 415


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"query": "\xff"}', "not JSON"),
        (b'{"query": NaN}', "not JSON"),
        (b"[" * 20_000, "not JSON"),
        (b"[]", "batches"),
        (b'[{"query": "{a}"}]', "batches"),
        (b'"text"', "object"),
        (b"null", "object"),
        (b"{}", "no query"),
        (b'{"query": null}', "no query"),
        (b'{"query": 1}', "query is not a string"),
        (b'{"query": ""}', "no query"),
        (b'{"query": " \\n "}', "no query"),
        (b'{"query": "{a}", "operationName": 1}', "operationName"),
        (b'{"query": "{a}", "variables": []}', "variables"),
        (b'{"query": "{a}", "variables": "{}"}', "variables"),
        (b'{"query": "{a}", "extensions": 1}', "extensions"),
    ],
)
async def test_a_body_that_is_no_graphql_request_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(HttpError, match=why) as refusal:
        await post(body)

    assert refusal.value.status == 400


async def test_a_body_of_the_largest_size_is_accepted() -> None:
    body = json.dumps({"query": QUERY}).encode().ljust(64 * KIBIBYTE)

    assert await post(body) == GraphQLRequest(QUERY)


class Sending:
    """A client that sends a body of a length, 4 KiB at a time, and what was read of it."""

    def __init__(self, kibibytes: int) -> None:
        self.left = kibibytes

    async def receive(self) -> Message:
        self.left -= 4
        return {"type": "http.request", "body": b" " * 4 * KIBIBYTE, "more_body": self.left > 0}


@pytest.mark.parametrize(("kibibytes", "left"), [(68, 0), (1024, 0), (1 << 20, (1 << 20) - 1028)])
async def test_a_too_large_body_is_refused_after_its_end_or_a_multiple_of_the_limit(kibibytes: int, left: int) -> None:
    client = Sending(kibibytes)

    with pytest.raises(HttpError, match="the limit is 65536") as refusal:
        await READER.body(client.receive, {})

    assert refusal.value.status == 413
    assert client.left == left


async def test_a_body_with_a_huge_content_length_is_not_read() -> None:
    client = Sending(1 << 20)

    with pytest.raises(HttpError, match="1048576 bytes or more"):
        await READER.body(client.receive, {b"content-length": str(1 << 30)})

    assert client.left == 1 << 20


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ("[" * 15 + "]" * 15, None),
        ("[" * 16 + "]" * 16, "nested 17 deep; the limit is 16"),
        ('{"a":' * 15 + "1" + "}" * 15, None),
        ('[{"a":' * 300 + "1" + "}]" * 300, "nested 601 deep"),
        ("9" * 20, None),
        ("-" + "9" * 20, None),
        ("9" * 21, "more than 20 digits"),
        ("-" + "9" * 21, "more than 20 digits"),
        ("0." + "9" * 30, None),
        ("9" * 21 + ".5", "more than 20 digits"),
        (json.dumps("9" * 21), None),
        (json.dumps('\\"' + "9" * 21), None),
        ('"' + "\\\\" * 3 + '", "k": ' + "9" * 21, "more than 20 digits"),
        ("1e400", "not JSON"),
        ("Infinity", "not JSON"),
        ('"\\ud800"', "not JSON"),
    ],
)
async def test_json_beyond_the_limits_is_refused(variables: str, why: str | None) -> None:
    body = f'{{"query": "{QUERY}", "x": {variables}}}'.encode()
    if why is None:
        assert await post(body) == GraphQLRequest(QUERY)
        return

    with pytest.raises(HttpError, match=why) as refusal:
        await post(body)

    assert refusal.value.status == 400


async def test_a_compressed_body_is_refused() -> None:
    with pytest.raises(HttpError, match="content encoding") as refusal:
        READER.post({b"content-type": "application/json", b"content-encoding": "gzip"}, b"{}")

    assert refusal.value.status == 415


SHA256 = "ecf4edb46db40b5132295c0291d62fb65d6759a9eedfa4d5d612dd5ec54a6b38"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"documentId": "abc"}, GraphQLRequest(document_id="abc")),
        ({"documentId": "abc", "query": ""}, GraphQLRequest(document_id="abc")),
        ({"documentId": "abc", "query": QUERY}, GraphQLRequest(QUERY, document_id="abc")),
        ({"extensions": {"persistedQuery": {"version": 1, "sha256Hash": SHA256}}}, GraphQLRequest(sha256=SHA256)),
        (
            {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": SHA256.upper()}}},
            GraphQLRequest(sha256=SHA256),
        ),
    ],
)
async def test_a_request_may_name_a_persisted_document(body: dict[str, Any], expected: GraphQLRequest) -> None:
    assert await post(json.dumps(body).encode()) == expected


@pytest.mark.parametrize(
    "extension", [1, [], {"version": 2, "sha256Hash": SHA256}, {"version": 1}, {"version": 1, "sha256Hash": "abc"}]
)
async def test_an_invalid_persisted_query_extension_is_refused(extension: object) -> None:
    with pytest.raises(HttpError) as refusal:
        await post(json.dumps({"query": QUERY, "extensions": {"persistedQuery": extension}}).encode())

    assert refusal.value.status == 400


@pytest.mark.parametrize(
    "parameters",
    [b"query={a}&query={b}", b"query=%ff", b"query=\xc3\xa5", b"&".join([b"a=1"] * 33), b"query=%ED%A0%80"],
)
def test_ambiguous_or_malformed_url_parameters_are_refused(parameters: bytes) -> None:
    with pytest.raises(HttpError) as refusal:
        READER.get(parameters)

    assert refusal.value.status == 400


@pytest.mark.parametrize(
    ("parameters", "operation"),
    [
        (get(query=QUERY), GraphQLRequest(QUERY)),
        (get(query=QUERY, operationName="A", variables='{"a": 1}'), GraphQLRequest(QUERY, "A", {"a": 1})),
        (get(query=QUERY, operationName="", variables="", extensions=""), GraphQLRequest(QUERY)),
        (get(query=QUERY, variables="null", unknown="["), GraphQLRequest(QUERY)),
    ],
)
def test_get_is_parsed_as_a_graphql_request(parameters: bytes, operation: GraphQLRequest) -> None:
    assert READER.get(parameters) == operation


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        (get(), "no query"),
        (get(query=""), "no query"),
        (get(variables="{}"), "no query"),
        (get(query=QUERY, variables="{"), "variables parameter is not JSON"),
        (get(query=QUERY, extensions="{"), "extensions parameter is not JSON"),
        (get(query=QUERY, variables="[]"), "variables is not an object"),
        (get(query=QUERY, extensions="1"), "extensions is not an object"),
    ],
)
def test_url_parameters_that_are_no_graphql_request_are_refused(parameters: bytes, why: str) -> None:
    with pytest.raises(HttpError, match=why) as refusal:
        READER.get(parameters)

    assert refusal.value.status == 400


TEXT = st.text(st.characters(codec="utf-8"))


@settings(max_examples=200, deadline=None)  # how long an example takes says nothing on a shared machine
@given(TEXT, TEXT)
def test_any_url_parameters_are_a_request_or_refused_without_quoting_them(query: str, variables: str) -> None:
    outcome: GraphQLRequest | str
    try:
        outcome = READER.get(get(query=query, variables=variables))
    except HttpError as refusal:
        outcome = str(refusal)

    assert isinstance(outcome, GraphQLRequest) or outcome in {
        "The variables parameter is not JSON in UTF-8",
        "The variables parameter holds an integer of more than 20 digits, which is the limit",
        "variables is not an object",
        "The request holds no query; send a GraphQL document as the string `query`",
    }


@pytest.mark.parametrize("number", [2**63 - 1, 2**64 - 1, 2**64, 10**20 - 1, -(2**63) - 1])
async def test_an_integer_beyond_64_bits_stays_what_it_is(number: int) -> None:
    body = b'{"query": "{ a }", "variables": {"id": %d, "text": "%d"}}' % (number, number)

    assert (await post(body)).variables == {"id": number, "text": str(number)}
    assert READER.get(get(query="{ a }", variables=f'{{"id": {number}}}')).variables == {"id": number}
