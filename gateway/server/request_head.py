"""What the head of a request may be whatever it asks for, and the answer where it is not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

# The colon, the space and the line's end of a field.
_FIELD_BYTES = 4

ErrorBody: TypeAlias = Callable[[int, str], tuple[bytes, bytes]]
"""Makes the content type and the body of an error response from its status and a message that is safe to show."""


def plain_text(_: int, message: str) -> tuple[bytes, bytes]:
    """The message itself, as an error's body."""
    return b"text/plain; charset=utf-8", message.encode()


class RejectedRequestError(Exception):
    """A request that the server rejects itself; the message never quotes it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
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


def check_head(version: str, headers: Sequence[tuple[bytes, bytes]], limits: ConnectionLimits) -> None:
    """Look at the headers of a request, their names in lower case. Raises RejectedRequestError.

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


def url_too_long(limits: ConnectionLimits) -> RejectedRequestError:
    """The request's target is longer than it may be."""
    return RejectedRequestError(414, f"The URL is longer than the limit of {limits.url_bytes} bytes")


def headers_too_large(limits: ConnectionLimits) -> RejectedRequestError:
    """The headers, or what surrounds a chunked body, are more bytes than they may be."""
    return RejectedRequestError(431, f"The headers are larger than the limit of {limits.header_bytes} bytes")


def too_many_headers(limits: ConnectionLimits) -> RejectedRequestError:
    """The headers or the trailers are more than they may be."""
    return RejectedRequestError(431, f"The headers are more than the limit of {limits.headers}")


def malformed() -> RejectedRequestError:
    """The request is not HTTP, or may be understood in two ways."""
    return RejectedRequestError(400, "The request is not HTTP/1.1 as RFC 9112 has it")


def rejection_bytes(
    rejection: RejectedRequestError, error_body: ErrorBody, default_headers: Sequence[tuple[bytes, bytes]]
) -> bytes:
    """The last response of a connection, head and body."""
    content_type, body = error_body(rejection.status, rejection.message)
    headers = [
        *default_headers,
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    return b"".join([STATUS_LINE[rejection.status], *(b"%b: %b\r\n" % header for header in headers), b"\r\n", body])
