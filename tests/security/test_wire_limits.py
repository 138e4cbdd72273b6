"""Limits on heads, bodies and pipelining, and refusal of requests that two servers could read differently."""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.http.csrf import Origins
from gateway.server.request_head import ConnectionLimits
from gateway.server.serving import listening_socket, serve_in_thread
from tests.harness import ERROR_BODY
from tests.stand_ins.echo_application import Echo
from tests.stand_ins.raw_client import RawConnection, RawResponse

LIMITS = ConnectionLimits()
HOST = b"Host: a\r\n"
GET = b"GET /one HTTP/1.1\r\n" + HOST
POST = b"POST /one HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
SECRET = "19121212-1212"


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Echo, str]]:
    echo = Echo()
    with serve_in_thread(echo, listening_socket("127.0.0.1", 0), error_body=ERROR_BODY) as url:
        yield echo, url


@pytest.fixture
def echo(server: tuple[Echo, str]) -> Echo:
    server[0].called.clear()
    return server[0]


@pytest.fixture
def url(server: tuple[Echo, str]) -> str:
    return server[1]


def assert_refused(answer: RawResponse, status: int, *words: str) -> None:
    (error,) = answer.json()["errors"]
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["connection"] == "close"
    assert all(word in error["message"] for word in words), error["message"]
    assert error["extensions"].pop("reference")
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "retryable": False, "origin": "client"}


def field_of(size: int) -> bytes:
    return b"X-A: " + b"a" * (size - 7) + b"\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status", "words"),
    [
        (GET + field_of(20_000) + b"\r\n", 431, "16384 bytes"),
        (GET + field_of(2_000) * 9 + b"\r\n", 431, "16384 bytes"),
        (GET + b"A: b\r\n" * 64 + b"\r\n", 431, "limit of 64"),
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414, "8192 bytes"),
        # None of these has an end.
        (GET + field_of(20_000), 431, "16384 bytes"),
        (GET + b"X-A: " + b"a" * 20_000, 431, "16384 bytes"),
        (GET + b"a" * 20_000, 431, "16384 bytes"),
        (GET + b"A: b\r\n" * 66, 431, "limit of 64"),
        (b"GET /" + b"a" * 9_000, 414, "8192 bytes"),
        (b"GET" + b" " * 20_000, 431, "16384 bytes"),
    ],
)
@pytest.mark.parametrize("piece", [1_000, 1_000_000])
def test_oversized_head_is_refused_before_the_application_is_called(
    echo: Echo, url: str, request_bytes: bytes, status: int, words: str, piece: int
) -> None:
    with RawConnection(url) as wire:
        wire.send(*(request_bytes[at : at + piece] for at in range(0, len(request_bytes), piece)))

        assert_refused(wire.answer(), status, words)
        assert wire.ends()
    assert echo.called == []


def test_head_just_within_the_limits_is_accepted(url: str) -> None:
    with RawConnection(url) as wire:
        wire.send(GET + field_of(LIMITS.header_bytes - len(HOST)) + b"\r\n")
        assert wire.answer().status == 200

        wire.send(b"GET /" + b"a" * (LIMITS.url_bytes - 1) + b" HTTP/1.1\r\n" + HOST + b"\r\n")
        assert wire.answer().status == 200

        wire.send(GET + b"A: b\r\n" * (LIMITS.headers - 1) + b"\r\n")
        assert wire.answer().status == 200


@pytest.mark.parametrize(
    ("start", "piece", "status"),
    [
        (GET + b"X-A: ", b"a" * 8_192, 431),
        (GET, b"X-A: b\r\n" * 1_024, 431),
        (b"GET /", b"a" * 8_192, 414),
        (b"\r\n", b"\r\n" * 4_096, 431),
        (CHUNKED + b"1;", b"a" * 8_192, 431),
        (CHUNKED + b"0\r\nX-A: ", b"a" * 8_192, 431),
        (CHUNKED + b"0\r\n", b"X-A: b\r\n" * 1_024, 431),
    ],
    ids=["value", "fields", "url", "empty lines", "chunk extension", "trailer", "trailers"],
)
def test_endless_head_or_trailer_is_refused_and_cut_off(url: str, start: bytes, piece: bytes, status: int) -> None:
    with RawConnection(url) as wire:
        wire.send(start)

        wire.send_until_cut(piece, most=1_000_000_000)

        assert_refused(wire.answer(), status, "limit")
        assert wire.ends()


MALFORMED = {
    "noise": b"\x16\x03\x01\x02\x00\x01",
    "an unknown method": b"FETCH / HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /one\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a tunnel": b"CONNECT b:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "no host": b"GET /one HTTP/1.1\r\n\r\n",
    "two hosts": GET + b"Host: b\r\n\r\n",
    "a length and chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a length twice": POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "lengths in a list": POST + b"Content-Length: 1, 1\r\n\r\na",
    "a signed length": POST + b"Content-Length: +1\r\n\r\na",
    "a length beyond 64 bits": POST + b"Content-Length: 99999999999999999999999\r\n\r\na",
    "another coding": POST + b"Transfer-Encoding: gzip\r\n\r\na",
    "another coding in chunks": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunks and another coding": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunks twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "almost chunks": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST /one HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded line": GET + b"X-A: b\r\n c\r\n\r\n",
    "a folded coding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a space before the first header": b"GET /one HTTP/1.1\r\n " + HOST + b"\r\n",
    "a space before the colon": POST + b"Content-Length : 1\r\n\r\na",
    "no colon": GET + b"Content-Length\r\n\r\n",
    "no name": GET + b": b\r\n\r\n",
    "NUL in a name": GET + b"X\0A: b\r\n\r\n",
    "NUL in a value": GET + b"X-A: b\0c\r\n\r\n",
    "NUL in the URL": b"GET /\0 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a bare LF": GET + b"X-A: b\nX-B: c\r\n\r\n",
    "bare LF throughout": b"GET /one HTTP/1.1\nHost: a\n\n",
    "a lone CR": GET + b"X-A: b\rX-B: c\r\n\r\n",
    "a lone CR at the end": GET + b"X-A: b\r\n\rX",
}
BROKEN_BODIES = {
    "no number": b"zz\r\nab\r\n0\r\n\r\n",
    "a prefix": b"0x2\r\nab\r\n0\r\n\r\n",
    "a sign": b"-2\r\nab\r\n0\r\n\r\n",
    "a space": b"2 \r\nab\r\n0\r\n\r\n",
    "no size": b"\r\nab\r\n0\r\n\r\n",
    "a longer chunk": b"2\r\nabc\r\n0\r\n\r\n",
    "a bare LF": b"2\nab\n0\n\n",
    "a size beyond 64 bits": b"fffffffffffffffff\r\nab",
    "a bare LF in an extension": b"2;a\nb\r\nab\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_or_ambiguous_request_is_400(
    echo: Echo, url: str, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with RawConnection(url) as wire:
        # Whatever a server took for the next request would be answered too.
        wire.send(request_bytes + GET + b"\r\n")

        assert_refused(wire.answer(), 400)
        assert wire.ends()
    assert echo.called == []
    assert caplog.records == []


@pytest.mark.parametrize("body", BROKEN_BODIES.values(), ids=BROKEN_BODIES.keys())
def test_invalid_chunks_are_400(body: bytes) -> None:
    echo = Echo()
    with (
        serve_in_thread(echo, listening_socket("127.0.0.1", 0), error_body=ERROR_BODY) as url,
        RawConnection(url) as wire,
    ):
        wire.send(CHUNKED + body + GET + b"\r\n")

        assert_refused(wire.answer(), 400)
        assert wire.ends()
    assert echo.broken_off == echo.ended == ["/one"]


def test_nothing_of_a_request_is_quoted_or_logged(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = SECRET.encode()
    for request in (
        secret,
        b"GET /" + secret + b"\xff HTTP/1.1\r\n" + HOST + b"\r\n",
        GET + secret + b"\r\n\r\n",
        CHUNKED + secret + b"\r\n",
        GET + b"X-A: " + secret * 2_000,
        GET + b"Connection: upgrade\r\nUpgrade: websocket\r\nX-A: " + secret + b"\0\r\n\r\n",
    ):
        with RawConnection(url) as wire:
            answer = wire.send(request).answer()
            assert answer.status in {400, 431}
            assert SECRET not in f"{answer.headers}{answer.body!r}"
    assert SECRET not in caplog.text


def test_a_refusal_comes_after_the_answers_before_it(echo: Echo, url: str) -> None:
    with RawConnection(url) as wire:
        wire.send(GET.replace(b"/one", b"/large") + b"\r\n" + GET + b"\r\n" + GET + b"NO\r\n\r\n")

        assert len(wire.answer().body) == echo.pieces * 65_536
        assert wire.answer().json()["path"] == "/one"
        assert_refused(wire.answer(), 400)
        assert wire.ends()
    assert echo.called == ["/large", "/one"]


def test_a_queued_request_whose_body_breaks_is_never_run(echo: Echo, url: str) -> None:
    with RawConnection(url) as wire:
        wire.send(GET.replace(b"/one", b"/large") + b"\r\n" + CHUNKED + b"zz\r\n")

        assert wire.answer().status == 200
        assert_refused(wire.answer(), 400)
        assert wire.ends()
    assert echo.called == ["/large"]


def test_pipelined_requests_beyond_the_limit_are_429(echo: Echo, url: str) -> None:
    with RawConnection(url) as wire:
        wire.send((GET + b"\r\n") * 5_000)
        answers = [wire.answer() for _ in range(LIMITS.pipelined + 2)]

        assert [answer.status for answer in answers] == [200] * (LIMITS.pipelined + 1) + [429]
        extensions = answers[-1].json()["errors"][0]["extensions"]
        assert (extensions["code"], extensions["retryable"], extensions["retryAfter"]) == ("RATE_LIMITED", True, 1)
        assert answers[-1].headers["retry-after"] == "1"
        assert wire.ends()
    assert len(echo.called) == LIMITS.pipelined + 1


def test_trailers_are_not_headers(url: str) -> None:
    with RawConnection(url) as wire:
        wire.send(CHUNKED + b"2\r\nab\r\n0\r\nAuthorization: c\r\n\r\n")

        told = wire.answer().json()
    assert told["body"] == "ab"
    assert "authorization" not in told["headers"]


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
def test_upgrade_to_another_protocol_is_ignored(url: str, protocol: bytes, caplog: pytest.LogCaptureFixture) -> None:
    wish = b"Connection: keep-alive, Upgrade, HTTP2-Settings\r\nUpgrade: " + protocol + b"\r\nHTTP2-Settings: AA\r\n"
    with RawConnection(url) as wire:
        wire.send(GET + wish + b"\r\n")
        assert wire.answer().json()["method"] == "GET"

        wire.send(POST + wish + b"Content-Length: 40\r\n\r\n")
        wire.send(b"GET /two HTTP/1.1\r\nHost: b\r\nX-Smuggled: \r\n\r\n"[:40])
        assert wire.answer().json()["body"].startswith("GET /two")

        wire.send((POST + wish + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n") * 3 + GET + b"\r\n")
        assert [wire.answer().json()["body"] for _ in range(4)] == ["ab", "ab", "ab", ""]
    assert caplog.records == []


def test_valid_requests_keep_working(url: str) -> None:
    with RawConnection(url) as wire:
        head = wire.send(GET.replace(b"GET", b"HEAD") + b"\r\n").answer(to="HEAD")
        assert (head.status, head.body) == (200, b"")

        assert wire.send(GET.replace(b"GET", b"OPTIONS") + b"\r\n").answer().json()["method"] == "OPTIONS"

        asked = wire.send(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n").answer()
        assert asked.status == 100
        assert wire.send(b"ab").answer().json()["body"] == "ab"

        wire.send(GET + b"Connection: close\r\n\r\n")
        assert wire.answer().headers["connection"] == "close"
        assert wire.ends()
    with RawConnection(url) as wire:
        assert wire.send(b"GET /one HTTP/1.0\r\n\r\n").answer().status == 200
        assert wire.ends()


STREAM = (
    b"\r\n"
    + GET
    + b"\r\n"
    + CHUNKED
    + b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-T: u\r\n\r\n"
    + POST
    + b"Upgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 3\r\n\r\nfgh"
    + POST
    + b"Content-Length: 2\r\n\r\nij"
)


@settings(max_examples=40, deadline=None)
@given(cuts=st.sets(st.integers(1, len(STREAM) - 1), max_size=12))
def test_result_does_not_depend_on_how_the_bytes_are_split(server: tuple[Echo, str], cuts: set[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    with RawConnection(server[1]) as wire:
        wire.send(*(STREAM[start:end] for start, end in pairwise(edges)))

        assert [wire.answer().json()["body"] for _ in range(4)] == ["", "abcde", "fgh", "ij"]


def test_the_body_of_a_refusal_is_json(url: str) -> None:
    with RawConnection(url) as wire:
        body = wire.send(b"\0").answer().body

    assert list(json.loads(body)) == ["errors"]


OURS = b"Origin: https://book.example\r\n"
THEIRS = b"Origin: https://evil.example\r\n"


@pytest.mark.parametrize(
    ("start", "end", "status"),
    [
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n" + HOST, b"\r\n", 414),
        (b"GET /" + b"a" * 30_000 + b" HTTP/1.1\r\n" + HOST, b"\r\n", 414),
        (GET + field_of(20_000), b"\r\n", 431),
        (GET + b"A: b\r\n" * 80, b"\r\n", 431),
        (GET, b"Host: b\r\n\r\n", 400),
        (POST, b"Transfer-Encoding: chunked\r\n\r\nno length\r\n", 400),
        # These never end.
        (GET, b"X-A: b", 408),
        (POST, b"Content-Length: 5\r\n\r\na", 408),
    ],
)
@pytest.mark.parametrize("piece", [1_000, 1_000_000])
def test_a_refusal_can_be_read_by_pages_of_allowed_origins_alone(
    start: bytes, end: bytes, status: int, piece: int
) -> None:
    rules: dict[str, Any] = {
        "error_headers": Origins(["https://book.example"]).headers,
        "limits": replace(LIMITS, receive_seconds=1),
    }
    with serve_in_thread(Echo(), listening_socket("127.0.0.1", 0), error_body=ERROR_BODY, **rules) as url:
        for origin, allowed in ((OURS, "https://book.example"), (THEIRS, None), (b"", None)):
            sent = start + origin + end
            with RawConnection(url) as wire:
                wire.send(*(sent[at : at + piece] for at in range(0, len(sent), piece)))
                answer = wire.answer()

            assert answer.status == status
            assert answer.headers.get("access-control-allow-origin") == allowed
            assert answer.headers["vary"] == "origin"
