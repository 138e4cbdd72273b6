"""What the head of a request may be, whatever is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.http.requests import RequestRefusedError

# The colon, the space and the line's end of a field.
_FIELD_BYTES = 4


@dataclass(frozen=True, slots=True)
class WireLimits:
    """How much a client may send before its request is looked at, and how many seconds it may take.

    A request must be whole within `receive_seconds`, and an answer must be taken with no longer pause than that. A
    connection that waits for a next request is closed after `idle_seconds`. As many as `ahead` requests may be sent
    before the answers to those before them have come.
    """

    header_bytes: int = 16_384
    headers: int = 64
    url_bytes: int = 8_192
    ahead: int = 16
    receive_seconds: float = 10.0
    idle_seconds: float = 5.0


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
