"""What a connection may send and how long it may take, guarded in uvicorn's protocol before anything is run.

The *head* of a request is its line and its headers. When it is complete, uvicorn makes a *cycle*, which the application
answers at once, or as soon as those that came before it on the connection are answered. Until its last byte is there
the request is *partial*. A request that is refused is answered in its turn, so that the answers
before it stay whole, and then the connection ends, because nobody knows where the next request would begin.
"""

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (  # type: ignore[attr-defined] # the errors of its parser
    HttpToolsProtocol,
    RequestResponseCycle,
    httptools,
)
from uvicorn.server import ServerState

from gateway.server.request_head import (
    ConnectionLimits,
    ErrorBody,
    RejectedRequestError,
    check_head,
    headers_too_large,
    malformed,
    rejection_bytes,
    too_many_headers,
    url_too_long,
)
from gateway.server.timeouts import IdleTimer, WriteTimeout

# The method, the version and the spaces of a request's line.
_LINE_BYTES = 64
# Data that arrive at a closed socket make the kernel throw away the answer that its client has not read yet.
_LINGER_SECONDS = 0.5
_LINGER_BYTES = 1024 * 1024


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol within limits."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits,
        error_body: ErrorBody,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.url = b""
        self.headers = []
        # A logger that somebody else gave a handler to would be written URLs, and so what clients put in variables.
        self.access_log = False
        self._limits = limits
        self._error_body = error_body
        self._in_head = self._partial = self._upgrading = False
        self._timed = True
        self._overhead = 0
        self._running: RequestResponseCycle | None = None
        self._rejection: RejectedRequestError | None = None
        self._timer = IdleTimer(self.loop)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Wait for the first request."""
        super().connection_made(transport)
        self._write_timeout = WriteTimeout(self.loop, transport, self._limits.receive_seconds)
        if len(self.connections) > self._limits.connections:
            transport.abort()
        else:
            self._timer.wait(self._limits.receive_seconds, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        super().connection_lost(exc)
        # uvicorn tells the newest request only, which may be in the queue.
        if not self._is_free():
            self._disconnect()
        self.pipeline.clear()
        self._timer.end()
        self._write_timeout.end()

    def data_received(self, data: bytes) -> None:
        """Parse what came, and start what is to be answered."""
        self._overhead += len(data)
        if self._rejection is not None:
            self._discard()
            return
        try:
            self._parse(data)
            self._check_rest()
        except httptools.HttpParserError as error:
            # What a callback raises comes as the context of the parser's own error.
            cause = error.__context__
            self._reject(cause if isinstance(cause, RejectedRequestError) else malformed())
        except RejectedRequestError as refusal:
            self._reject(refusal)

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_upgrade() + data[upgrade.args[0] :]
            else:
                return

    def _without_upgrade(self) -> bytes:
        # A server may ignore a wish for another protocol (RFC 9110, section 7.8). The parser stops at one, and would
        # take the body for the next request; so it is given the same head again, without the wish.
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        fields = [b"%b: %b\r\n" % field for field in self.headers if field[0] != b"upgrade"]
        head = b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version, b"".join(fields))
        self.parser = type(self.parser)(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._upgrading = False
        return head

    def _check_rest(self) -> None:
        if self._overhead > self._limits.header_bytes + len(self.url) + _LINE_BYTES:
            raise headers_too_large(self._limits)
        if not self._partial:
            return
        if len(self.headers) > self._limits.headers:
            raise too_many_headers(self._limits)
        if not self._timed:
            self._timed = True
            self._timer.wait(self._limits.receive_seconds, self._late)

    def on_message_begin(self) -> None:
        """A request's first byte came."""
        super().on_message_begin()
        self._in_head = self._partial = True

    def on_url(self, url: bytes) -> None:
        """A part of the request's target came."""
        self.url += url
        if len(self.url) > self._limits.url_bytes:
            raise url_too_long(self._limits)

    def on_headers_complete(self) -> None:
        """Check the head, and start the application or queue the request."""
        check_head(self.parser.get_http_version(), self.headers, self._limits)
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise malformed()
            self._upgrading = True
            return
        if len(self.pipeline) >= self._limits.ahead:
            raise RejectedRequestError(429, f"More than the limit of {self._limits.ahead} requests wait")
        super().on_headers_complete()
        if not self.pipeline:
            self._running = self.cycle
        self._in_head = False
        self._overhead = 0
        # The application has the list; what is still to come are trailers, and those must not pass for headers.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """A part of the request's body came."""
        self._overhead = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        if self._upgrading:
            return
        super().on_message_complete()
        self._partial = self._timed = False
        self._overhead = 0
        if self.cycle.response_complete:
            self._timer.wait(self._limits.idle_seconds, self._idle)
        else:
            self._timer.wait(self._limits.receive_seconds, self._answering)

    def on_response_complete(self) -> None:
        """Turn to the next request of the connection, or wait for one."""
        if self.pipeline or self.transport.is_closing():
            if self.pipeline:
                self._running = self.pipeline[-1][0]
            super().on_response_complete()
            self._write_timeout.watch()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        if self._rejection is not None:
            self._leave()
        elif not self._partial:
            self._timer.wait(self._limits.idle_seconds, self._idle)

    def pause_writing(self) -> None:
        """The client does not take as much as is written."""
        super().pause_writing()
        self._write_timeout.watch()

    def resume_writing(self) -> None:
        """The client took most of what was written."""
        super().resume_writing()
        self._write_timeout.moved()

    def _idle(self) -> None:
        if self._write_timeout.is_all_taken():
            self.transport.close()
        else:
            self._write_timeout.watch()
            self._timer.wait(self._limits.idle_seconds, self._idle)

    def _answering(self) -> None:
        # Where the application breaks off an answer, uvicorn closes the connection, and what is written may stick.
        self._write_timeout.watch()
        self._timer.wait(self._limits.receive_seconds, self._answering)

    def _late(self) -> None:
        if self._waits_for_us():
            self._timer.wait(self._limits.receive_seconds, self._late)
        elif self._partial:
            limit = self._limits.receive_seconds
            text = f"The request was not whole within the limit of {limit:g} seconds"
            self._reject(RejectedRequestError(408, text))
        else:
            self.transport.close()

    def _waits_for_us(self) -> bool:
        if self.flow.read_paused:
            return True
        return self._has_cycle() and self.cycle.waiting_for_100_continue and not self.cycle.response_complete

    def _reject(self, refusal: RejectedRequestError) -> None:
        self._rejection = refusal
        if self._has_cycle():
            self._cut_off()
        if self._is_free():
            self._leave()
        else:
            self._timer.wait(self._limits.receive_seconds, self._answering)

    def _has_cycle(self) -> bool:
        return self._partial and not self._in_head

    def _is_free(self) -> bool:
        return self._running is None or self._running.response_complete or self._running.disconnected

    def _discard(self) -> None:
        if not self._is_free():
            self.flow.pause_reading()
        elif self._overhead > _LINGER_BYTES:
            self.transport.abort()

    def _cut_off(self) -> None:
        if self.cycle is self._running:
            self._disconnect()
        else:
            self.pipeline.popleft()

    def _disconnect(self) -> None:
        if self._running is not None:
            self._running.disconnected = True
            self._running.waiting_for_100_continue = False
            self._running.message_event.set()

    def _leave(self) -> None:
        if self._rejection is not None and not (self._has_cycle() and self.cycle.response_started):
            answer = rejection_bytes(self._rejection, self._error_body, self.server_state.default_headers)
            self.transport.write(answer)
        self.flow.resume_reading()
        self.transport.write_eof()
        self._write_timeout.watch()
        self._timer.wait(_LINGER_SECONDS, self._hang_up)

    def _hang_up(self) -> None:
        if self.transport.get_write_buffer_size():
            self._timer.wait(_LINGER_SECONDS, self._hang_up)
        else:
            self.transport.abort()
