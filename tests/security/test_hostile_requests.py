"""Request lines and headers that no honest client sends, as bytes on a connection."""

import gzip
import json

import pytest

from tests.harness import Gateway
from tests.security.raw_requests import (
    GOOD,
    JSON_BODY,
    PREFLIGHTED,
    Header,
    answered,
    exchanged,
    no_fault,
    refusal,
    written,
)

QUERY = b"/graphql?query=%7B__typename%7D"


@pytest.mark.parametrize(
    "method", [b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"PROPFIND", b"PURGE", b"SEARCH"]
)
@pytest.mark.parametrize("body", [b"", GOOD], ids=["empty", "query"])
def test_other_methods_are_refused(method: bytes, body: bytes, target: Gateway) -> None:
    reply = exchanged(target.url, written(method, body=body), method)

    assert refusal(reply, 405)["extensions"]["code"] == "BAD_USER_INPUT"
    assert reply is not None
    assert {"GET", "POST"} <= set(reply.headers["allow"].replace(" ", "").split(","))


@pytest.mark.parametrize(
    "method", [b"CONNECT", b"BREW", b"post", b"P OST", b"", b"\xc3\xa9", b"POST\0", b"A" * 10_000, b"PRI"]
)
def test_invalid_methods_harm_nobody(method: bytes, target: Gateway) -> None:
    no_fault(exchanged(target.url, written(method)))


def test_head_answers_as_get_does_without_a_body(target: Gateway) -> None:
    reply = exchanged(target.url, written(b"HEAD", QUERY, [PREFLIGHTED], b""), b"HEAD")

    assert reply is not None
    assert (reply.status, reply.body) == (200, b"")


MUTATION = b"/graphql?query=mutation%7B__typename%7D"


@pytest.mark.parametrize("headers", [[PREFLIGHTED], [JSON_BODY]])
def test_a_mutation_by_get_is_refused(headers: list[Header], target: Gateway) -> None:
    reply = exchanged(target.url, written(b"GET", MUTATION, headers, b""))

    refusal(reply, 405)
    assert reply is not None
    assert reply.headers["allow"] == "POST"


SIMPLE: dict[str, list[Header]] = {
    "nothing": [],
    "a browser's navigation": [(b"Sec-Fetch-Site", b"cross-site"), (b"Sec-Fetch-Mode", b"navigate")],
    "a sibling site": [(b"Sec-Fetch-Site", b"same-site"), (b"Sec-Fetch-Mode", b"no-cors")],
    "a site of no known kind": [(b"Sec-Fetch-Site", b"sam\xe9-origin"), (b"Sec-Fetch-Mode", b"cors")],
    "a form's type": [(b"Content-Type", b"application/x-www-form-urlencoded")],
    "plain text": [(b"Content-Type", b"text/plain; charset=application/json")],
    "a type that starts like a form's": [(b"Content-Type", b"multipart/form-data; boundary=application/json")],
    "an empty type": [(b"Content-Type", b"")],
    "headers that every page may send": [(b"Accept", b"application/json"), (b"Accept-Language", b"x-requested-with")],
    "an origin": [(b"Origin", b"http://gateway.example"), (b"Referer", b"http://gateway.example/graphql")],
    "a cookie": [(b"Cookie", b"x-requested-with=fetch")],
}  # fmt: skip


@pytest.mark.parametrize("headers", SIMPLE.values(), ids=SIMPLE)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_get_that_other_sites_could_send_is_refused(method: bytes, headers: list[Header], target: Gateway) -> None:
    reply = exchanged(target.url, written(method, QUERY, headers, b""), method)

    assert reply is not None
    assert reply.status == 403
    assert reply.body == b"" or refusal(reply, 403)["extensions"]["code"] == "FORBIDDEN"


REFUSED_TYPES: dict[str, list[Header]] = {
    "none": [],
    "empty": [(b"Content-Type", b"")],
    "text": [(b"Content-Type", b"text/plain")],
    "text that mentions JSON": [(b"Content-Type", b"text/plain; application/json")],
    "form": [(b"Content-Type", b"application/x-www-form-urlencoded")],
    "multipart": [(b"Content-Type", b"multipart/form-data; boundary=x")],
    "multipart without a boundary": [(b"Content-Type", b"multipart/form-data")],
    "graphql": [(b"Content-Type", b"application/graphql")],
    "GraphQL's own answer type": [(b"Content-Type", b"application/graphql-response+json")],
    "JSON lines": [(b"Content-Type", b"application/jsonl")],
    "JSON and a comma": [(b"Content-Type", b"application/json, text/plain")],
    "Latin-1": [(b"Content-Type", b"application/json; charset=latin-1")],
    "UTF-16": [(b"Content-Type", b"application/json; charset=utf-16")],
    "UTF-7": [(b"Content-Type", b'application/json; charset="utf-7"')],
    "two charsets": [(b"Content-Type", b"application/json; charset=utf-8; charset=utf-16")],
    "no charset at all": [(b"Content-Type", b"application/json; charset=nothing\xff")],
    "gzip": [JSON_BODY, (b"Content-Encoding", b"gzip")],
    "brotli after identity": [JSON_BODY, (b"Content-Encoding", b"identity, br")],
    "an encoding nobody knows": [JSON_BODY, (b"Content-Encoding", b"x-bomb")],
}


@pytest.mark.parametrize("headers", REFUSED_TYPES.values(), ids=REFUSED_TYPES)
def test_bodies_of_other_types_are_refused(headers: list[Header], target: Gateway) -> None:
    error = refusal(exchanged(target.url, written(headers=headers)), 415)

    assert error["extensions"]["code"] == "BAD_USER_INPUT"


CONTRADICTIONS: dict[str, list[Header]] = {
    "content types": [(b"Content-Type", b"text/plain"), JSON_BODY],
    "content types turned round": [JSON_BODY, (b"Content-Type", b"text/plain")],
    "content encodings": [JSON_BODY, (b"Content-Encoding", b"gzip"), (b"Content-Encoding", b"identity")],
    "content encodings turned round": [JSON_BODY, (b"Content-Encoding", b"identity"), (b"Content-Encoding", b"gzip")],
}


@pytest.mark.parametrize("headers", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_headers_that_contradict_each_other_are_refused(headers: list[Header], target: Gateway) -> None:
    refusal(exchanged(target.url, written(headers=headers)), 400, 415)


@pytest.mark.parametrize("sites", [(b"cross-site", b"same-origin"), (b"same-origin", b"cross-site")])
def test_a_get_from_two_sites_is_refused(sites: tuple[bytes, bytes], target: Gateway) -> None:
    headers = [(b"Sec-Fetch-Site", site) for site in sites]

    refusal(exchanged(target.url, written(b"GET", QUERY, headers, b"")), 400, 403)


def test_a_compressed_bomb_is_not_unpacked(target: Gateway) -> None:
    bomb = gzip.compress(b" " * (32 << 20) + GOOD)

    refusal(exchanged(target.url, written(headers=[JSON_BODY, (b"Content-Encoding", b"gzip")], body=bomb)), 415)


ODD_AND_TAKEN: dict[str, list[Header]] = {
    "100 parameters": [(b"Content-Type", b"application/json" + b"; a=b" * 100)],
    "capitals": [(b"CONTENT-TYPE", b"APPLICATION/JSON; CHARSET=UTF-8")],
    "quoted charset": [(b"Content-Type", b'application/json;charset="utf-8"')],
    "no encoding": [JSON_BODY, (b"Content-Encoding", b"identity")],
    "encodings nobody knows": [JSON_BODY, (b"Accept-Encoding", b"x-none;q=nonsense, *;q=0, ;;;, =, gzip;q=-1")],
    "everything forbidden": [JSON_BODY, (b"Accept-Encoding", b"identity;q=0, *;q=0")],
    "request id": [JSON_BODY, (b"X-Request-Id", b"%0d%0aX-Evil: 1 \\r\\n\xff" + b"x" * 5_000)],
    "trace": [JSON_BODY, (b"Traceparent", b"00-" + b"z" * 32 + b"-\xff"), (b"Tracestate", b"=,=," * 100)],
    "two traces": [JSON_BODY, (b"Traceparent", b"x"), (b"Traceparent", b"00-" + b"1" * 32 + b"-" + b"1" * 16 + b"-01")],
    "credentials nobody asked for": [JSON_BODY, (b"Authorization", b"Bearer \xff"), (b"X-Api-Key", b"x" * 4_000)],
    "etag": [JSON_BODY, (b"If-None-Match", b'*, W/"x", "' + b"y" * 4_000), (b"If-Modified-Since", b"yesterday")],
    "cache": [JSON_BODY, (b"Cache-Control", b"max-age=-1, no-cache=\xff, =")],
    "range": [JSON_BODY, (b"Range", b"bytes=0-0,-1,5-2")],
    "upgrade": [JSON_BODY, (b"Connection", b"Upgrade"), (b"Upgrade", b"h2c")],
    "websocket": [JSON_BODY, (b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")],
    "forwarded": [JSON_BODY, (b"X-Forwarded-For", b"127.0.0.1\xff" * 100), (b"X-Forwarded-Proto", b"javascript")],
    "other method": [JSON_BODY, (b"X-HTTP-Method-Override", b"DELETE")],
    "other path": [JSON_BODY, (b"X-Original-URL", b"/admin"), (b"X-Rewrite-URL", b"/admin")],
    "explain": [JSON_BODY, (b"X-Gateway-Explain", b"\xff1")],
    "origin": [JSON_BODY, (b"Origin", b"null"), (b"Origin", b"http://evil.example")],
    "host": [JSON_BODY, (b"Host", b"evil.example:99999")],
    "strange host": [JSON_BODY, (b"Host", b"[::ffff]:\xff@/<script>")],
    "early data": [JSON_BODY, (b"Early-Data", b"1"), (b"TE", b"trailers, deflate;q=0.5")],
}


@pytest.mark.parametrize("headers", ODD_AND_TAKEN.values(), ids=ODD_AND_TAKEN)
def test_odd_headers_change_nothing(headers: list[Header], target: Gateway) -> None:
    reply = answered(exchanged(target.url, written(headers=headers)))

    assert "evil" not in json.dumps(reply.headers).lower()
    assert len(reply.headers.get("x-request-id", "")) < 200


ACCEPTS: dict[str, tuple[bytes, int]] = {
    "empty": (b"", 200),
    "nonsense": (b"\xff;;;q=,,,/,", 406),
    "nonsense beside an asterisk": (b"\xff;;;q=,,,/,*", 200),
    "no such quality": (b"application/json;q=nonsense", 406),
    "quality beyond one": (b"application/json;q=999", 200),
    "nothing wanted": (b"*/*;q=0", 406),
    "html": (b"text/html", 406),
    "1000 ranges": (b", ".join([b"x/y;q=0.1"] * 1_000), 406),
    "1000 ranges and ours": (b", ".join([b"x/y;q=0.1"] * 1_000) + b", application/json", 200),
    "parameters": (b"application/json" + b";a=b" * 1_000, 200),
    "quotes": (b'application/json;a="' + b"\\" * 5_000, 200),
}


@pytest.mark.parametrize(("accept", "status"), ACCEPTS.values(), ids=ACCEPTS)
def test_unusual_accept_headers_are_answered_or_406(accept: bytes, status: int, target: Gateway) -> None:
    reply = exchanged(target.url, written(headers=[JSON_BODY, (b"Accept", accept)]))

    assert reply is not None
    no_fault(reply)
    assert reply.status == status


LONG_HEADS: dict[str, list[Header]] = {
    "one long header": [JSON_BODY, (b"Accept", b", ".join([b"x/y;q=0.1"] * 5_000))],
    "one header above the limit": [JSON_BODY, (b"X-A", b"a" * 17_000)],
    "a long name": [JSON_BODY, (b"x" * 17_000, b"a")],
    "65 fields": [JSON_BODY, *((b"X-%d" % number, b"a") for number in range(64))],
    "65 equal fields": [JSON_BODY, *[(b"Cookie", b"a=b")] * 64],
    "5000 fields": [JSON_BODY, *((b"X-%d" % number, b"") for number in range(5_000))],
}


@pytest.mark.parametrize("headers", LONG_HEADS.values(), ids=LONG_HEADS)
@pytest.mark.parametrize("method", [b"POST", b"GET"])
def test_heads_above_the_limit_are_refused(method: bytes, headers: list[Header], target: Gateway) -> None:
    refusal(exchanged(target.url, written(method, QUERY, [PREFLIGHTED, *headers], b"")), 431)


@pytest.mark.parametrize("filler", [b"a", b"%41", b"&a=b"])
@pytest.mark.parametrize("method", [b"POST", b"GET"])
def test_a_url_above_the_limit_is_refused(method: bytes, filler: bytes, target: Gateway) -> None:
    url = QUERY + b"&x=" + filler * (8_192 // len(filler))

    refusal(exchanged(target.url, written(method, url, [JSON_BODY])), 414)
