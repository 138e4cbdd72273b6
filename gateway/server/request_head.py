"""Limits on what a client sends, the check of a request's head, and the response where the server rejects it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeAlias

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

HALF_CLOSED = "gateway.half_closed"
"""The ASGI extension whose `is_closed()` tells whether the client closed its side: it may still read, or be gone."""
# The colon, the space and the line's end of a header field.
_FIELD_BYTES = 4
# The method, the version and the spaces of a request line.
_REQUEST_LINE_BYTES = 64
# Browsers send Origin late, so what is too large is read on up to this multiple of the limits.
_REJECTED_HEAD_FACTOR = 4
# More than a step of the event loop takes, whose clock stands still meanwhile.
_IDLE_SLACK_SECONDS = 0.5

ErrorBody: TypeAlias = Callable[[int, str], tuple[bytes, bytes]]
"""Makes the content type and the body of an error response from its status and a message for its client."""
ErrorHeaders: TypeAlias = Callable[[Iterable[tuple[bytes, bytes]]], Iterable[tuple[bytes, bytes]]]
"""Makes further headers of an error response from those of its request that were read, their names in lower case."""


def plain_text(_: int, message: str) -> tuple[bytes, bytes]:
    """Make the message itself an error's body."""
    return b"text/plain; charset=utf-8", message.encode()


def no_headers(_: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
    """Add no header to an error."""
    return ()


class RejectedRequestError(Exception):
    """The server rejects a request before the application sees it; the message never quotes the request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What a client may send, and how long it may take, before the application sees a request."""

    header_bytes: int = 16_384
    """The most bytes of all headers of a request together, and of what surrounds a chunked body."""
    headers: int = 64
    """The most headers of a request, and the most trailers."""
    url_bytes: int = 8_192
    pipelined: int = 16
    """The most requests that may be sent before the responses to those before them."""
    receive_seconds: float = 10.0
    """For how long a request may take to arrive, and the longest pause in which a client reads no response."""
    send_bytes_per_second: float = 4_096.0
    """The least rate at which a client must take responses, on the average of three times `receive_seconds`.

    A mobile subscription that is slowed down for the rest of its month still has 32 kbit/s, which is as much.
    """
    keep_alive_seconds: float = 5.0
    """For how long a connection stays open without a request, as its client counts."""
    connections: int = 10_000
    """The most connections; a further one takes the place of one without a request, or is dropped."""

    def head_bytes(self, url_bytes: int) -> int:
        """The most bytes of a head whose URL has so many, and of what surrounds a chunked body."""
        return self.header_bytes + url_bytes + _REQUEST_LINE_BYTES

    @property
    def idle_seconds(self) -> float:
        """After how many seconds without a request the server closes a connection: a little later than announced.

        A client begins to count when it has read the response, and what it sends at the very end takes a while.
        """
        return self.keep_alive_seconds + _IDLE_SLACK_SECONDS

    @property
    def rejected_head_bytes(self) -> int:
        """The most bytes of a head that is too large, and read only to answer it."""
        return (self.header_bytes + self.url_bytes) * _REJECTED_HEAD_FACTOR


def check_head(version: str, headers: Sequence[tuple[bytes, bytes]], limits: ConnectionLimits) -> None:
    """Check the headers of a request, their names in lower case. Raises RejectedRequestError.

    The parser rejects what is not HTTP. What is left are requests that two servers may understand differently
    (RFC 9112, sections 3.2 and 6.1), so that one of them takes a part of a request for a second one.
    """
    size = hosts = 0
    is_unambiguous = version in {"1.0", "1.1"}
    for name, value in headers:
        size += len(name) + len(value) + _FIELD_BYTES
        if name == b"host":
            hosts += 1
        elif name == b"transfer-encoding" and (version != "1.1" or value.strip().lower() != b"chunked"):
            is_unambiguous = False
    if size > limits.header_bytes:
        raise headers_too_large(limits)
    if len(headers) > limits.headers:
        raise too_many_headers(limits)
    if not is_unambiguous or hosts > 1 or (hosts == 0 and version == "1.1"):
        raise malformed()


def head_without_upgrade(method: bytes, url: bytes, version: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Write a request's head again, without its wish for another protocol."""
    fields = [b"%b: %b\r\n" % field for field in headers if field[0] != b"upgrade"]
    return b"%b %b HTTP/%b\r\n%b\r\n" % (method, url, version.encode(), b"".join(fields))


def headers_too_large(limits: ConnectionLimits) -> RejectedRequestError:
    """Reject a request whose headers, or what surrounds its chunked body, are too many bytes."""
    return RejectedRequestError(431, f"The headers are larger than the limit of {limits.header_bytes} bytes")


def too_many_headers(limits: ConnectionLimits) -> RejectedRequestError:
    """Reject a request with too many headers or trailers."""
    return RejectedRequestError(431, f"The headers are more than the limit of {limits.headers}")


def url_too_long(limits: ConnectionLimits) -> RejectedRequestError:
    """Reject a request whose URL is too long."""
    return RejectedRequestError(414, f"The URL is longer than the limit of {limits.url_bytes} bytes")


def too_slow(limits: ConnectionLimits) -> RejectedRequestError:
    """Reject a request that did not arrive in time."""
    return RejectedRequestError(
        408, f"The request was not whole within the limit of {limits.receive_seconds:g} seconds"
    )


def malformed() -> RejectedRequestError:
    """Reject a request that is not HTTP, or that may be understood in two ways."""
    return RejectedRequestError(400, "The request is not HTTP/1.1 as RFC 9112 has it")


def rejection_bytes(
    rejection: RejectedRequestError, error_body: ErrorBody, default_headers: Iterable[tuple[bytes, bytes]]
) -> bytes:
    """Write the response to a rejected request, head and body, which closes the connection."""
    content_type, body = error_body(rejection.status, rejection.message)
    headers = [
        *default_headers,
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    if rejection.status == HTTPStatus.TOO_MANY_REQUESTS:
        headers.append((b"retry-after", b"1"))
    return b"".join([STATUS_LINE[rejection.status], *(b"%b: %b\r\n" % header for header in headers), b"\r\n", body])
