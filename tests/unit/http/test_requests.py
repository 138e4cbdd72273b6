"""What counts as a GraphQL request."""

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import QueryParams
from starlette.types import Message

from gateway.execution.operation import Operation
from gateway.http.requests import RequestRefusedError, read_body, read_get, read_post

QUERY = "{ __typename }"
MEBIBYTE = 1024 * 1024


async def post(*chunks: bytes, content_type: str = "application/json") -> Operation:
    async def messages() -> AsyncIterator[Message]:
        for chunk in chunks:
            yield {"type": "http.request", "body": chunk, "more_body": True}
        yield {"type": "http.request", "body": b"", "more_body": False}

    return read_post(content_type, await read_body(messages().__anext__))


def get(**parameters: str) -> QueryParams:
    return QueryParams(urlencode(parameters))


@pytest.mark.parametrize(
    ("body", "operation"),
    [
        ({"query": QUERY}, Operation(QUERY)),
        ({"query": QUERY, "operationName": "A", "variables": {"a": [1]}}, Operation(QUERY, "A", {"a": [1]})),
        ({"query": QUERY, "operationName": None, "variables": None, "extensions": None}, Operation(QUERY)),
        ({"query": QUERY, "operationName": "", "extensions": {"x": 1}, "unknown": 1}, Operation(QUERY)),
        ({"query": QUERY, "variables": {}}, Operation(QUERY, None, {})),
    ],
)
async def test_post_carries_an_operation(body: dict[str, Any], operation: Operation) -> None:
    assert await post(json.dumps(body).encode()) == operation


async def test_a_body_may_come_in_chunks() -> None:
    whole = json.dumps({"query": "{ å }"}, ensure_ascii=False).encode()

    assert await post(*(whole[at : at + 1] for at in range(len(whole)))) == Operation("{ å }")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json;",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        'application/json; charset="utf-8"',
    ],
)
async def test_json_in_utf_8_is_taken(content_type: str) -> None:
    assert await post(json.dumps({"query": QUERY}).encode(), content_type=content_type) == Operation(QUERY)


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
async def test_another_content_type_is_refused(content_type: str) -> None:
    with pytest.raises(RequestRefusedError) as refusal:
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
        (b'{"query": 1}', "no query"),
        (b'{"query": ""}', "no query"),
        (b'{"query": " \\n "}', "no query"),
        (b'{"query": "{a}", "operationName": 1}', "operationName"),
        (b'{"query": "{a}", "variables": []}', "variables"),
        (b'{"query": "{a}", "variables": "{}"}', "variables"),
        (b'{"query": "{a}", "extensions": 1}', "extensions"),
    ],
)
async def test_a_body_that_is_no_request_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(RequestRefusedError, match=why) as refusal:
        await post(body)

    assert refusal.value.status == 400


async def test_the_largest_body_is_taken() -> None:
    body = json.dumps({"query": QUERY}).encode().ljust(MEBIBYTE)

    assert await post(body) == Operation(QUERY)


async def test_a_larger_body_is_refused_before_its_end() -> None:
    read = 0

    async def long() -> Message:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b" " * (MEBIBYTE // 4), "more_body": read < 30}

    with pytest.raises(RequestRefusedError) as refusal:
        await read_body(long)

    assert refusal.value.status == 413
    assert read == 5


@pytest.mark.parametrize(
    ("parameters", "operation"),
    [
        (get(query=QUERY), Operation(QUERY)),
        (get(query=QUERY, operationName="A", variables='{"a": 1}'), Operation(QUERY, "A", {"a": 1})),
        (get(query=QUERY, operationName="", variables="", extensions=""), Operation(QUERY)),
        (get(query=QUERY, variables="null", unknown="["), Operation(QUERY)),
    ],
)
def test_get_carries_an_operation(parameters: QueryParams, operation: Operation) -> None:
    assert read_get(parameters) == operation


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
def test_parameters_that_are_no_request_are_refused(parameters: QueryParams, why: str) -> None:
    with pytest.raises(RequestRefusedError, match=why) as refusal:
        read_get(parameters)

    assert refusal.value.status == 400


@settings(max_examples=200, deadline=None)  # how long an example takes says nothing on a shared machine
@given(st.text(), st.text())
def test_any_parameters_are_a_request_or_refused_without_quoting_them(query: str, variables: str) -> None:
    outcome: Operation | str
    try:
        outcome = read_get(QueryParams({"query": query, "variables": variables}))
    except RequestRefusedError as refusal:
        outcome = refusal.message

    assert isinstance(outcome, Operation) or outcome in {
        "The variables parameter is not JSON",
        "variables is not an object",
        "The request holds no query; send a GraphQL document as the string `query`",
    }
