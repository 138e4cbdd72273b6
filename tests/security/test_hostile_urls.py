"""Targets and parameters that no honest client sends."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.harness import Gateway
from tests.security.raw_requests import JSON_BODY, PREFLIGHTED, answered, exchanged, no_fault, refusal, written
from tests.stand_ins.raw_client import RawResponse

TYPENAME = b"query=%7B__typename%7D"


@pytest.mark.parametrize("target_form", [b"http://gateway.example/graphql", b"HTTPS://other.example:1/graphql?a=b"])
def test_absolute_targets_are_taken(target_form: bytes, target: Gateway) -> None:
    answered(exchanged(target.url, written(target=target_form)))


ELSEWHERE = [
    b"/", b"/graphql/", b"//graphql", b"/graphql//", b"/graphql/.", b"/./graphql", b"/graphql/../graphql",
    b"/livez/../graphql", b"/graphql/..", b"/../graphql", b"/../../etc/passwd", b"/graphql/assets/../../../etc/passwd",
    b"/GraphQL", b"/graphql;a=b", b"/graphql%2f", b"/graphql%00", b"/graphql%0d%0aX-Evil:%201", b"/%2e%2e/graphql",
    b"/graphql%20", b"/graphql%", b"/graphql%zz", b"/%ff%fe", b"/graphql/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    b"/graphql.json", b"/graphiql", b"/playground", b"/console", b"/admin", b"/metrics", b"/docs", b"/openapi.json",
    b"/.git/config", b"/.env", b"/__calls", b"/__reset", b"/__faults", b"/api/graphql", b"/a" * 3_000,
]  # fmt: skip


@pytest.mark.parametrize("path", ELSEWHERE)
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_there_is_nothing_at_other_paths(method: bytes, path: bytes, target: Gateway) -> None:
    reply = exchanged(target.url, written(method, path, [JSON_BODY, PREFLIGHTED]))

    no_fault(reply)
    assert reply is not None
    assert reply.status in {400, 404}
    assert not {"location", "x-evil"} & set(reply.headers)


ODD_TARGETS = [
    b"*", b"graphql", b"?query={__typename}", b"#", b"/graphql#/livez", b"/%67raphql", b"/graphql?", b"/graphql??a",
    b"/graphql?#", b"http://", b"http:///graphql", b"http://[::1/graphql", b"http://a:b@c/graphql",
    b"http://x:99999/graphql", b"http://x:/graphql", b"ftp://x/graphql", b"javascript:alert(1)",
    b"gateway.example:443", b"/\\graphql", b"\\graphql", b"/graphql\t", b"/graphql x", b"/graphql\x00",
    b"/graphql\x7f", b"/gr\xc3\xa9phql", b"/graphql?query=\xc3\xa9", b"/graphql?\xff", b"", b" /graphql",
    "/\uff47raphql".encode(), b"/graphql?" + b"%" * 100, b"/" + b"\xff" * 1_000,
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD_TARGETS)
@pytest.mark.parametrize("method", [b"GET", b"POST", b"OPTIONS", b"CONNECT"])
def test_odd_targets_harm_nobody(method: bytes, odd: bytes, target: Gateway) -> None:
    no_fault(exchanged(target.url, written(method, odd, [JSON_BODY, PREFLIGHTED])))


def got(target: Gateway, query_string: bytes) -> RawResponse | None:
    return exchanged(target.url, written(b"GET", b"/graphql?" + query_string, [PREFLIGHTED], b""))


def variables(value: Any) -> bytes:
    text = value if isinstance(value, str) else json.dumps(value)
    return b"&variables=" + quote(text).encode()


BAD_VARIABLES = [
    "x", "1", "[]", "[{}]", '""', "true", "{", "{}{}", "NaN", '{"a": NaN}', '{"a": 1e999}', "{'a': 1}", '{"a":"\0"}',
    '{"a": ' + "9" * 21 + "}", '{"a": ' + "[" * 16 + "]" * 16 + "}", "[" * 2_000, "\ufeff{}", '{"a": "\\ud800"}',
]  # fmt: skip
REFUSED = {
    "nothing": b"",
    "no value": b"query",
    "empty": b"query=",
    "blank": b"query=%20%0a",
    "query twice": TYPENAME + b"&" + TYPENAME,
    "query twice, once spelt otherwise": TYPENAME + b"&%71uery=x",
    "variables twice": TYPENAME + variables({}) + variables({"a": 1}),
    "operation name twice": TYPENAME + b"&operationName=A&operationName=B",
    "operation name twice, once empty": TYPENAME + b"&operationName=&operationName=",
    "document id twice": b"documentId=a&documentId=a",
    "not UTF-8": b"query=%7B__typename%7D%ff",
    "overlong UTF-8": b"query=%7B__typename%7D%c0%80",
    "surrogate": b"query=%7B__typename%7D%ed%a0%80",
    "not UTF-8 in another parameter": TYPENAME + b"&x=%ff",
    "not UTF-8 in variables": TYPENAME + b"&variables={%22a%22:%22%C3%22}",
    "surrogate in the operation name": TYPENAME + b"&operationName=%ED%A0%80",
    "33 parameters": TYPENAME + b"&a=1" * 32,
    "100 parameters": TYPENAME + b"&a=b" * 100,
    "an array by brackets": b"query[]=%7B__typename%7D",
    "a separator of old": b"a=b;" + TYPENAME,
    "a batch": b"batch=" + quote('[{"query": "{ __typename }"}]').encode(),
    "another's document id": b"id=1",
    **{
        f"variables {text[:24]}": TYPENAME + variables(text)
        for text in BAD_VARIABLES
    },
    **{f"extensions {text}": TYPENAME + b"&extensions=" + quote(text).encode() for text in ("x", "1", "[]", '""', "{")},
}  # fmt: skip


@pytest.mark.parametrize("query_string", REFUSED.values(), ids=REFUSED)
def test_bad_parameters_are_refused(query_string: bytes, target: Gateway) -> None:
    assert refusal(got(target, query_string), 400)["extensions"]["code"] == "BAD_USER_INPUT"


TAKEN = {
    "others": TYPENAME + b"&__proto__=1&constructor=2&query2=x&=&&==",
    "others twice": TYPENAME + b"&utm=a&utm=b",
    "plus": b"query=%7B+__typename+%7D",
    "small hexadecimals": b"query=%7b__typename%7d",
    "every character encoded": b"query=" + b"".join(b"%%%02X" % each for each in b"{__typename}"),
    "no variables": TYPENAME + b"&variables=&extensions=&operationName=",
    "null variables": TYPENAME + b"&variables=null&extensions=null",
    "variables nobody asked for": TYPENAME + variables({"__proto__": {"a": 1}, "": [], "é": "9" * 100}),
}


@pytest.mark.parametrize("query_string", TAKEN.values(), ids=TAKEN)
def test_odd_parameters_change_nothing(query_string: bytes, target: Gateway) -> None:
    answered(got(target, query_string))


@pytest.mark.parametrize(
    "query_string", [b"query=%", b"query=%7", b"query=%zz", b"query=%u007B", b"query=%7B__typename%7D%"]
)
def test_broken_percent_encoding_is_the_clients_fault(query_string: bytes, target: Gateway) -> None:
    reply = got(target, query_string)

    assert reply is not None
    assert reply.status in {200, 400}
    assert [error["extensions"]["code"] for error in reply.json()["errors"]] == ["BAD_USER_INPUT"]
