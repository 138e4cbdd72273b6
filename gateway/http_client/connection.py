"""One connection to Leyr, which carries one HTTP/1.1 request at a time; the parser is llhttp's, through httptools."""

import asyncio
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import httptools

_LONGEST_HEAD = 64 * 1024
# A body in chunks of one byte takes six times its size on the wire; endless trailers take more.
_MOST_ON_THE_WIRE = 8
_INFORMATIONAL = range(100, 200)
_NO_BODY = frozenset({204, 304})
_INFLATABLE = frozenset({"gzip", "x-gzip", "deflate"})
# zlib's name for a stream with a gzip or zlib header.
_ANY_HEADER = zlib.MAX_WBITS | 32


class ContentDecodingError(Exception):
    """The body is not in the content encoding that its headers name."""


class BodyTooLargeError(Exception):
    """The body is larger than whoever asked wants to read."""


class StaleConnectionError(ConnectionError):
    """A kept connection was closed before any byte of the answer came: the server had given it up."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, its body decompressed; header names are lower-case, and of several alike the last one counts."""

    status: int
    headers: Mapping[str, str]
    body: bytes | bytearray

    @property
    def is_success(self) -> bool:
        """Whether the status is any of 2xx."""
        return 200 <= self.status < 300  # noqa: PLR2004 # the bounds of HTTP's success class


class HttpConnection(asyncio.Protocol):
    """The protocol of one connection; its futures give a Response, or raise OSError or one of the first two errors."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._expiry: asyncio.TimerHandle | None = None
        self.closed = False
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._reply: asyncio.Future[Response] | None = None
        self._uses = 0
        self._ends_with_the_connection = False
        self._longest = _LONGEST_HEAD

    @property
    def reusable(self) -> bool:
        """Whether another request may follow."""
        return not self.closed and self._reply is None

    def request(self, head: bytes, largest: int, within: float) -> "asyncio.Future[Response]":
        """Send a request without a body.

        `largest` bounds the answer's body in bytes, `within` the seconds to its last byte: after them the future
        raises TimeoutError.
        """
        if self._transport is None or not self.reusable:
            raise ConnectionError("closed")
        if not self._uses:
            # No sooner: a connection that is given up while it is made is told of nothing that would part the two.
            self._parser = httptools.HttpResponseParser(self)
        self._uses += 1
        self._largest = largest
        self._received = 0
        self._reply = self._loop.create_future()
        self._expiry = self._loop.call_later(within, self._expire)
        self._transport.write(head)
        return self._reply

    def close(self) -> None:
        """Give the socket back at once, with whatever is on its way."""
        self.closed = True
        self._stop_waiting()
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)

    def eof_received(self) -> None:
        """Called by the loop where the server closed the connection in order, unlike one that was reset or aborted."""
        self.closed = True
        if self._ends_with_the_connection:
            self._finish()

    def connection_lost(self, _: Exception | None) -> None:
        """Called by the loop, as the last of all."""
        self.closed = True
        if self._reply is not None:
            given_up = self._uses > 1 and not self._received
            self._fail(StaleConnectionError("closed") if given_up else ConnectionError("the connection broke"))
        # Both hold this object: left joined, they would wait for the collector.
        self._transport = None
        if self._uses:
            del self._parser

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if self._reply is None:
            self.close()
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(ConnectionError("the answer is not HTTP"))
        if self._received > self._longest and self._reply is not None:
            self._fail(ConnectionError("the answer is too long for what it holds"))

    def on_message_begin(self) -> None:
        """Called by the parser, after an informational answer again."""
        if self._reply is None:
            # Nobody asked for a second answer, so what follows it cannot be trusted either.
            self.close()
        self._headers: dict[str, str] = {}
        self._body: bytes | bytearray = b""
        self._encoding = ""
        self._inflate: zlib._Decompress | None = None
        self._in_body = False
        self._longest = _LONGEST_HEAD

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser, for trailers too."""
        if not self._in_body:
            # llhttp leaves white space at a value's end.
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1").rstrip(" \t")

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._in_body = True
        self._longest = _LONGEST_HEAD + _MOST_ON_THE_WIRE * self._largest
        status = self._parser.get_status_code()
        headers = self._headers
        framed = "content-length" in headers or "chunked" in headers.get("transfer-encoding", "").lower()
        self._ends_with_the_connection = not framed and status not in _NO_BODY and status not in _INFORMATIONAL
        encoding = headers.get("content-encoding", "").lower()
        self._encoding = "" if encoding == "identity" else encoding

    def on_body(self, chunk: bytes) -> None:
        """Called by the parser."""
        if self._reply is None:
            return
        if self._encoding:
            chunk = self._inflated(chunk)
        if len(self._body) + len(chunk) > self._largest:
            self._fail(BodyTooLargeError())
        elif not self._body:
            self._body = chunk
        else:
            # A list of the chunks could take a hundred times the memory of what they hold.
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += chunk

    def on_message_complete(self) -> None:
        """Called by the parser."""
        if self._parser.get_status_code() not in _INFORMATIONAL:
            self._finish()

    def _inflated(self, chunk: bytes) -> bytes:
        if self._inflate is None and self._encoding in _INFLATABLE:
            self._inflate = zlib.decompressobj(_ANY_HEADER)
        try:
            if self._inflate is not None:
                plain = self._inflate.decompress(chunk, self._largest - len(self._body) + 1)
                if not self._inflate.unused_data:
                    return plain
        except zlib.error:
            pass
        self._fail(ContentDecodingError())
        return b""

    def _expire(self) -> None:
        self._fail(TimeoutError())

    def _stop_waiting(self) -> None:
        # A timer that is left would keep the connection, and so the answer, until it goes off.
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    def _finish(self) -> None:
        reply, self._reply = self._reply, None
        self._stop_waiting()
        if reply is None:
            return
        whole = self._inflate is None or self._inflate.eof
        if self._ends_with_the_connection or not self._parser.should_keep_alive() or not whole:
            self.close()
        if reply.done():
            return
        if whole:
            reply.set_result(Response(self._parser.get_status_code(), self._headers, self._body))
        else:
            reply.set_exception(ContentDecodingError())
        self._body = b""

    def _fail(self, error: Exception) -> None:
        reply, self._reply = self._reply, None
        self._body = b""
        self.close()
        if reply is not None and not reply.done():
            reply.set_exception(error)
