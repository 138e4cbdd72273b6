"""Messages framed as no honest client frames them, before the whole gateway.

What one server takes for a body, another may take for a request; so whatever can be read in two ways is refused, and
nothing that follows it is run.
"""

import pytest

from tests.harness import Gateway
from tests.security.raw_requests import (
    GOOD,
    JSON_BODY,
    PREFLIGHTED,
    answered,
    exchanged,
    next_reply,
    no_fault,
    refusal,
    written,
)
from tests.stand_ins.raw_client import RawConnection

CHUNKED = (b"Transfer-Encoding", b"chunked")
LENGTH = (b"Content-Length", b"%d" % len(GOOD))
SMUGGLED = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def of_length(length: bytes) -> bytes:
    return written(headers=[JSON_BODY, (b"Content-Length", length)])


def in_coding(name: bytes, value: bytes) -> bytes:
    return written(headers=[JSON_BODY, (name, value)], body=chunked(GOOD))


AMBIGUOUS = {
    "length and chunks": written(headers=[JSON_BODY, CHUNKED, LENGTH], body=chunked(GOOD)),
    "chunks and length": written(headers=[JSON_BODY, LENGTH, CHUNKED], body=chunked(GOOD)),
    "chunks that end before the length": written(
        headers=[JSON_BODY, (b"Content-Length", b"%d" % (5 + len(SMUGGLED))), CHUNKED], body=b"0\r\n\r\n" + SMUGGLED
    ),
    "two lengths": written(headers=[JSON_BODY, LENGTH, (b"Content-Length", b"0")]),
    "a list of lengths": of_length(b"27, 0"),
    "a negative length": of_length(b"-27"),
    "a length with a plus": of_length(b"+27"),
    "a hexadecimal length": of_length(b"0x1b"),
    "an underscored length": of_length(b"2_7"),
    "a length beyond 64 bits": of_length(b"9" * 30),
    "a length in other digits": of_length("\uff12\uff17".encode()),
    "chunks that are not last": in_coding(b"Transfer-Encoding", b"chunked, identity"),
    "chunks of no known kind": in_coding(b"Transfer-Encoding", b"xchunked"),
    "chunks after a vertical tab": in_coding(b"Transfer-Encoding", b"\x0bchunked"),
    "blank before the colon": in_coding(b"Transfer-Encoding ", b"chunked"),
    "a folded header": written(headers=[JSON_BODY, (b"X-A", b"a\r\n Transfer-Encoding: chunked")]),
    "a line feed in a value": written(headers=[JSON_BODY, (b"X-A", b"a\nTransfer-Encoding: chunked"), LENGTH]),
    "a carriage return in a value": written(headers=[JSON_BODY, (b"X-A", b"a\rTransfer-Encoding: chunked")]),
    "NUL in a value": written(headers=[JSON_BODY, (b"X-A", b"a\0b")]),
    "a name that is no token": written(headers=[JSON_BODY, (b"X(A)", b"a")]),
    "a name beyond ASCII": written(headers=[JSON_BODY, ("X-é".encode(), b"a")]),
    "line feeds alone": written().replace(b"\r\n", b"\n"),
    "an extension beyond ASCII": written(headers=[JSON_BODY, CHUNKED], body=b"1b;\xff\r\n" + GOOD + b"\r\n0\r\n\r\n"),
    "a body that nobody announced": of_length(b"0"),
    "no version": b"GET /graphql\r\n\r\n",
    "version 2": written(version=b"HTTP/2.0"),
    "version 9.9": written(version=b"HTTP/9.9"),
    "another protocol": written(version=b"SIP/2.0"),
    "TLS": bytes.fromhex("160301020001000001fc0303") + bytes(500),
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "noise": bytes(range(256)) * 40,
    "no host": written().replace(b"Host: gateway.example\r\n", b""),
    "two hosts": written(headers=[JSON_BODY, (b"Host", b"a"), (b"Host", b"b")]),
    "a tunnel": written(b"CONNECT", b"elsewhere.example:443"),
}  # fmt: skip


@pytest.mark.parametrize("message", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_ambiguous_framing_is_refused_and_the_connection_closed(message: bytes, target: Gateway) -> None:
    replies = []
    with RawConnection(target.url) as wire:
        wire.send(message + SMUGGLED)
        while (reply := next_reply(wire)) is not None:
            replies.append(reply)

    # A request without its body is refused, and then so is the body.
    assert 1 <= len(replies) <= 2
    for reply in replies:
        refusal(reply, 400)


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_chunks_of_any_size_are_taken(size: int, target: Gateway) -> None:
    pieces = [GOOD[start : start + size] for start in range(0, len(GOOD), size)]
    body = b"".join(b"%x;a=b\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nX-Trailer: a\r\n\r\n"

    answered(exchanged(target.url, written(headers=[JSON_BODY, CHUNKED], body=body)))


def test_one_byte_at_a_time_is_taken(target: Gateway) -> None:
    with RawConnection(target.url) as wire:
        for byte in written():
            wire.send(bytes([byte]))

        answered(wire.answer())


def test_requests_in_one_piece_are_answered_in_order(target: Gateway) -> None:
    with RawConnection(target.url) as wire:
        wire.send(written() + written(body=b"{") + written())

        answered(wire.answer())
        refusal(wire.answer(), 400)
        answered(wire.answer())


def test_a_body_of_get_is_no_request(target: Gateway) -> None:
    url = b"/graphql?query=%7B__typename%7D"

    answered(exchanged(target.url, written(b"GET", url, [PREFLIGHTED], SMUGGLED)))


def test_http_1_0_is_answered_and_closed(target: Gateway) -> None:
    with RawConnection(target.url) as wire:
        wire.send(written(version=b"HTTP/1.0"))

        answered(wire.answer())
        assert wire.ends()


@pytest.mark.parametrize("expected", [b"nothing", b"100-continue, 200-ok", b"\xff"])
def test_expecting_anything_unknown_harms_nobody(expected: bytes, target: Gateway) -> None:
    no_fault(exchanged(target.url, written(headers=[JSON_BODY, (b"Expect", expected)])))


def test_a_client_that_waits_to_be_asked_is_answered(target: Gateway) -> None:
    head, _, body = written(headers=[JSON_BODY, (b"Expect", b"100-continue")]).partition(b"\r\n\r\n")
    with RawConnection(target.url) as wire:
        wire.send(head + b"\r\n\r\n")

        assert wire.answer().status == 100
        wire.send(body)
        answered(wire.answer())


@pytest.mark.parametrize("message", [b"", b"P", b"POST /graphql HTTP/1.1\r\n", written()[:-1], written()])
def test_leaving_without_an_answer_harms_nobody(message: bytes, target: Gateway) -> None:
    with RawConnection(target.url) as wire:
        wire.send(message)
