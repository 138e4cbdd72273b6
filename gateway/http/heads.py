"""What the head of a request may be whatever it asks for, and the answer where it is not."""

from collections.abc import Sequence
from dataclasses import dataclass

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from gateway.http.negotiation import MediaType
from gateway.http.refusals import refusal_answer
from gateway.http.requests import RequestRefusedError

# The colon, the space and the line's end of a field.
_FIELD_BYTES = 4


@dataclass(frozen=True, slots=True)
class WireLimits:
    """How much clients may send before a request is looked at, and how many seconds they may take.

    A request must be whole within `receive_seconds`, and an answer must be taken with no longer pause than that. A
    connection that waits for a next request is closed after `idle_seconds`. As many as `ahead` requests may be sent
    before the answers to those before them have come. Connections beyond `connections` are dropped as they come.
    """

    header_bytes: int = 16_384
    headers: int = 64
    url_bytes: int = 8_192
    ahead: int = 16
    receive_seconds: float = 10.0
    idle_seconds: float = 5.0
    connections: int = 10_000


def check_head(version: str, headers: Sequence[tuple[bytes, bytes]], limits: WireLimits) -> None:
    """Look at the headers of a request, their names in lower case. Raises RequestRefusedError.

    The parser refuses what is not HTTP. What is left are requests that two servers may understand differently
    (RFC 9112, sections 3.2 and 6.1), so that one of them takes a part of the first for a second.
    """
    size = hosts = 0
    clear = version in {"1.0", "1.1"}
    for name, value in headers:
        size += len(name) + len(value) + _FIELD_BYTES
        if name == b"host":
            hosts += 1
        elif name == b"transfer-encoding" and (version != "1.1" or value.strip().lower() != b"chunked"):
            clear = False
    if size > limits.header_bytes:
        raise headers_too_large(limits)
    if len(headers) > limits.headers:
        raise too_many_headers(limits)
    if not clear or hosts > 1 or (hosts == 0 and version == "1.1"):
        raise malformed()


def url_too_long(limits: WireLimits) -> RequestRefusedError:
    """The request's target is longer than it may be."""
    return RequestRefusedError(414, f"The URL is longer than the limit of {limits.url_bytes} bytes")


def headers_too_large(limits: WireLimits) -> RequestRefusedError:
    """The headers, or what surrounds a chunked body, are more bytes than they may be."""
    return RequestRefusedError(431, f"The headers are larger than the limit of {limits.header_bytes} bytes")


def too_many_headers(limits: WireLimits) -> RequestRefusedError:
    """The headers or the trailers are more than they may be."""
    return RequestRefusedError(431, f"The headers are more than the limit of {limits.headers}")


def malformed() -> RequestRefusedError:
    """The request is not HTTP, or may be understood in two ways."""
    return RequestRefusedError(400, "The request is not HTTP/1.1 as RFC 9112 has it")


def written_refusal(
    refusal: RequestRefusedError, reference: str, default_headers: Sequence[tuple[bytes, bytes]]
) -> bytes:
    """The last answer of a connection, head and body."""
    answer = refusal_answer(refusal, MediaType.JSON, reference)
    body = b"".join(answer.pieces)
    headers = [
        *default_headers,
        (b"content-type", answer.media_type.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        *answer.headers,
        (b"connection", b"close"),
    ]
    return b"".join([STATUS_LINE[answer.status], *(b"%b: %b\r\n" % header for header in headers), b"\r\n", body])
