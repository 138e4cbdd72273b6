"""uvicorn's HTTP/1.1 protocol with limits on what a client may send and how long it may take.

The *head* of a request is its request line and its headers. When it is complete, uvicorn makes a *cycle*, which the
application answers at once, or as soon as those that came before it on the connection are answered (pipelining). A
request that is rejected is answered in its turn, so that the responses before it stay whole; then the connection is
closed, because nobody knows where the next request would begin.
"""

import asyncio
from dataclasses import dataclass
from itertools import islice
from typing import Any

from uvicorn.protocols.http.httptools_impl import (  # type: ignore[attr-defined] # the errors of its parser
    HttpToolsProtocol,
    RequestResponseCycle,
    httptools,
)

from gateway.server.request_head import (
    HALF_CLOSED,
    ConnectionLimits,
    ErrorBody,
    ErrorHeaders,
    RejectedRequestError,
    check_head,
    head_without_upgrade,
    headers_too_large,
    malformed,
    rejection_bytes,
    too_many_headers,
    too_slow,
    url_too_long,
)
from gateway.server.timeouts import IdleTimer, WriteTimeout, close_at_once, has_unread_bytes

# A head that is too large is read on for so long, for the header that says which page wants to read the refusal.
_HEAD_END_SECONDS = 0.5
# Data that arrive at a closed socket make the kernel throw away the response that its client has not read yet.
_LINGER_SECONDS = 0.5
_LINGER_BYTES = 1024 * 1024
# A client that has closed its side may still read, as netcat does, or be gone, as a closed tab is: nothing tells.
_HALF_CLOSED_SECONDS = 2.0
# Most clients send a request as soon as they are connected; an older connection is kept for later use.
_FIRST_REQUEST_SECONDS = 1.0
_MOST_IDLE_LOOKED_AT = 8
# For a request that is on its way while the connection is about to be closed.
_CLOSE_DELAY_SECONDS = 0.05


@dataclass(slots=True)
class Readiness:
    """Whether a server is ready; signal handlers and other threads may end it, once and for good."""

    is_stopping: bool = False


class GracefulProtocol(HttpToolsProtocol):
    """A connection that checks requests before the application sees them, and that a stop closes only when idle."""

    def __init__(
        self,
        *,
        limits: ConnectionLimits,
        error_body: ErrorBody,
        error_headers: ErrorHeaders,
        idle: dict["GracefulProtocol", None],
        readiness: Readiness,
        **uvicorn_arguments: Any,
    ) -> None:
        super().__init__(**uvicorn_arguments)
        self.url, self.headers = b"", []
        # A logger that somebody else gave a handler to would be written URLs, and so what clients put in variables.
        self.access_log = False
        self._limits = limits
        self._error_body = error_body
        self._error_headers = error_headers
        self._idle = idle
        self._readiness = readiness
        self._connected_at = self.loop.time()
        self._half_closed = asyncio.Event()
        self._extensions: dict[str, dict[object, object]] = {HALF_CLOSED: {"is_closed": self._half_closed.is_set}}
        self._had_request = self._shutting_down = self._ignoring_upgrade = False
        self._receiving_head = self._receiving = False
        self._receive_timeout_started = True
        # Of heads, of chunk framing and after a rejection: whatever came since the last piece of a body.
        self._overhead_bytes = 0
        self._active_cycle: RequestResponseCycle | None = None
        self._last_cycle: RequestResponseCycle | None = None
        self._rejection: RejectedRequestError | None = None
        self._rejection_after_head: RejectedRequestError | None = None
        self._timer = IdleTimer(self.loop)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Wait for the first request, or drop a connection beyond the limit."""
        super().connection_made(transport)
        limits = self._limits
        self._write_timeout = WriteTimeout(self.loop, transport, limits.receive_seconds, limits.send_bytes_per_second)
        is_full = len(self.connections) > limits.connections
        if is_full and not any(other.close_if_idle() for other in tuple(islice(self._idle, _MOST_IDLE_LOOKED_AT))):
            transport.abort()
        else:
            self._timer.start(self._limits.receive_seconds, self._on_receive_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the application, and cancel the timers."""
        super().connection_lost(exc)
        # uvicorn tells the newest request only, which may be in the queue.
        if self._is_responding():
            self._disconnect_active_cycle()
        self.pipeline.clear()
        self._idle.pop(self, None)
        self._timer.cancel()
        self._write_timeout.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse the data, and start or queue the requests that they complete."""
        self._overhead_bytes += len(data)
        if self._rejection is not None:
            self._discard_data()
            return
        try:
            self._parse(data)
            self._check_incomplete_request()
        except httptools.HttpParserError as error:
            # What a callback raises comes as the context of the parser's own error.
            cause = error.__context__
            self._reject(cause if isinstance(cause, RejectedRequestError) else malformed())
        except RejectedRequestError as rejection:
            self._reject(rejection)

    def eof_received(self) -> bool:  # type: ignore[override] # uvicorn has every client leave here
        """Answer a client that has closed its side once its requests were whole, if that takes no long time."""
        if not self._is_responding() or (self._receiving and self._rejection is None):
            return False
        self._half_closed.set()
        if self._rejection is None:  # One that waits for its turn closes the connection itself.
            self.close_after_response()
        self._timer.start(_HALF_CLOSED_SECONDS, self._on_half_closed_timeout)
        return True

    def _on_half_closed_timeout(self) -> None:
        if self._active_cycle is None or not self._active_cycle.response_started:
            self.transport.abort()
        else:
            self._write_timeout.watch()
            self._timer.start(_HALF_CLOSED_SECONDS, self._on_half_closed_timeout)

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        # A server may ignore a wish for another protocol (RFC 9110, section 7.8). The parser stops at one, and would
        # take the body for the next request; so a new parser is given the same head again, without the wish.
        head = head_without_upgrade(self.parser.get_method(), self.url, self.parser.get_http_version(), self.headers)
        self.parser = type(self.parser)(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._ignoring_upgrade = False
        return head

    def _check_incomplete_request(self) -> None:
        limits = self._limits
        if self._rejection_after_head is not None:
            self.headers[:] = [each for each in self.headers if each[0] == b"origin"]
            if self._overhead_bytes > limits.rejected_head_bytes:
                raise self._rejection_after_head
            return
        if self._overhead_bytes > limits.head_bytes(len(self.url)):
            self._reject_after_head(headers_too_large(limits))
        elif self._receiving and len(self.headers) > limits.headers:
            self._reject_after_head(too_many_headers(limits))
        elif self._receiving and not self._receive_timeout_started:
            self._receive_timeout_started = True
            self._timer.start(limits.receive_seconds, self._on_receive_timeout)

    def _reject_after_head(self, rejection: RejectedRequestError) -> None:
        """Reject a request as soon as its head is whole, or a moment later; at once where no head is being read."""
        if not self._receiving_head:
            raise rejection
        self._rejection_after_head = rejection
        self._timer.start(_HEAD_END_SECONDS, self._on_receive_timeout)

    def on_message_begin(self) -> None:
        """The parser found a request's first byte."""
        super().on_message_begin()
        self._idle.pop(self, None)
        self._receiving_head = self._receiving = True

    def on_url(self, url: bytes) -> None:
        """The parser found a part of the request's target."""
        if self._rejection_after_head is None:
            self.url += url
            if len(self.url) > self._limits.url_bytes:
                self._reject_after_head(url_too_long(self._limits))

    def on_headers_complete(self) -> None:
        """Check the head, and start the application or queue the request."""
        if self._rejection_after_head is not None:
            raise self._rejection_after_head
        check_head(self.parser.get_http_version(), self.headers, self._limits)
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise malformed()
            self._ignoring_upgrade = True
            return
        if len(self.pipeline) >= self._limits.pipelined:
            raise RejectedRequestError(429, f"More than the limit of {self._limits.pipelined} requests wait")
        self.scope["extensions"] = self._extensions
        super().on_headers_complete()
        if not self.pipeline:
            self._active_cycle = self.cycle
        self._receiving_head = False
        self._overhead_bytes = 0
        # The application has the list; what is still to come are trailers, and those must not pass for headers.
        self.headers = []
        self._had_request = True
        if self._readiness.is_stopping:
            self.close_after_response()

    def on_body(self, body: bytes) -> None:
        """The parser found a part of the request's body."""
        self._overhead_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The parser found a request's end."""
        if self._ignoring_upgrade:
            return
        super().on_message_complete()
        self._receiving = self._receive_timeout_started = False
        self._overhead_bytes = 0
        if self.cycle.response_complete:
            self._wait_for_request()
        else:
            self._timer.start(self._limits.receive_seconds, self._watch_writes)
        self._close_when_idle()

    def on_response_complete(self) -> None:
        """Start the next pipelined request, wait for one, or close."""
        if self.pipeline or self.transport.is_closing():
            if self.pipeline:
                self._active_cycle = self.pipeline[-1][0]
            super().on_response_complete()
            self._write_timeout.watch()
        else:
            self.server_state.total_requests += 1
            self.flow.resume_reading()
            if self._rejection is not None:
                self._send_rejection()
            elif not self._receiving:
                self._wait_for_request()
        self._close_when_idle()

    def close_after_response(self) -> None:
        """Let the response to the newest request be the last of the connection, unless its head is sent."""
        # A response before the newest must not close the connection, or the newest would be lost.
        if self._last_cycle is not None and not self._last_cycle.response_started:
            self._last_cycle.keep_alive = True
        self._last_cycle = None
        newest: RequestResponseCycle | None = self.cycle
        if newest is not None and newest.keep_alive and not newest.response_started:
            self._last_cycle = newest
            newest.keep_alive = False

    def shutdown(self) -> None:
        """Close the connection as soon as its requests are answered."""
        self._shutting_down = True
        self.close_after_response()
        self._write_timeout.watch()
        self._close_when_idle()

    def close_if_idle(self) -> bool:
        """Close the connection at once, unless its client has not got all yet, or has sent something."""
        if is_idle := self._write_timeout.is_all_acknowledged() and not has_unread_bytes(self.transport):
            self._idle.pop(self, None)
            close_at_once(self.transport)
        return is_idle

    def pause_writing(self) -> None:
        """The transport's buffer is full, since the client reads more slowly than the application writes."""
        super().pause_writing()
        self._write_timeout.watch()

    def resume_writing(self) -> None:
        """The transport's buffer has emptied."""
        super().resume_writing()
        self._write_timeout.record_progress()

    def _wait_for_request(self) -> None:
        if self._half_closed.is_set():
            self.transport.close()
            return
        self._idle[self] = None
        self._timer.start(self._limits.idle_seconds, self._on_keep_alive_timeout)

    def _on_keep_alive_timeout(self) -> None:
        if has_unread_bytes(self.transport):
            # A request has arrived, and is read in the loop's next step.
            self._timer.start(_CLOSE_DELAY_SECONDS, self._on_keep_alive_timeout)
        elif not self.close_if_idle():
            self._write_timeout.watch()
            self._timer.start(self._limits.idle_seconds, self._on_keep_alive_timeout)

    def _watch_writes(self) -> None:
        # Where the application breaks off a response, uvicorn closes the connection, and what is written may stick.
        self._write_timeout.watch()
        self._timer.start(self._limits.receive_seconds, self._watch_writes)

    def _on_receive_timeout(self) -> None:
        if self._is_client_waiting():
            self._timer.start(self._limits.receive_seconds, self._on_receive_timeout)
        elif self._rejection_after_head is not None:
            self._reject(self._rejection_after_head)
        elif self._receiving:
            self._reject(too_slow(self._limits))
        else:
            self.transport.close()

    def _is_client_waiting(self) -> bool:
        """Does the client wait for this server to read on, or to send `100 Continue`?"""
        if self.flow.read_paused:
            return True
        return self._is_receiving_body() and self.cycle.waiting_for_100_continue and not self.cycle.response_complete

    def _reject(self, rejection: RejectedRequestError) -> None:
        self._rejection = rejection
        if self._is_receiving_body():
            self._drop_incomplete_request()
        if self._is_responding():
            self._timer.start(self._limits.receive_seconds, self._watch_writes)
        else:
            self._send_rejection()

    def _is_receiving_body(self) -> bool:
        """Is the head of the newest request complete, so that it has a cycle, but not its body?"""
        return self._receiving and not self._receiving_head

    def _is_responding(self) -> bool:
        cycle = self._active_cycle
        return not (cycle is None or cycle.response_complete or cycle.disconnected)

    def _discard_data(self) -> None:
        if self._is_responding():
            self.flow.pause_reading()
        elif self._overhead_bytes > _LINGER_BYTES:
            self.transport.abort()

    def _drop_incomplete_request(self) -> None:
        if self.cycle is self._active_cycle:
            self._disconnect_active_cycle()
        else:
            self.pipeline.popleft()

    def _disconnect_active_cycle(self) -> None:
        if self._active_cycle is not None:
            self._active_cycle.disconnected = True
            self._active_cycle.waiting_for_100_continue = False
            self._active_cycle.message_event.set()

    def _send_rejection(self) -> None:
        """Send the response of a rejection, unless the application's has begun; then half-close and linger."""
        if self._rejection is not None and not (self._is_receiving_body() and self.cycle.response_started):
            read = self.cycle.scope["headers"] if self._is_receiving_body() else self.headers
            headers = (*self.server_state.default_headers, *self._error_headers(read))
            self.transport.write(rejection_bytes(self._rejection, self._error_body, headers))
        self.flow.resume_reading()
        self.transport.write_eof()
        self._write_timeout.watch()
        self._timer.start(_LINGER_SECONDS, self._on_linger_timeout)

    def _on_linger_timeout(self) -> None:
        if self.transport.get_write_buffer_size():
            self._timer.start(_LINGER_SECONDS, self._on_linger_timeout)
        else:
            self.transport.abort()

    def _close_when_idle(self) -> None:
        if not self._shutting_down or self.transport.is_closing() or not self._is_idle():
            return
        seconds = _CLOSE_DELAY_SECONDS
        if not self._had_request:
            seconds = max(seconds, self._connected_at + _FIRST_REQUEST_SECONDS - self.loop.time())
        self._timer.start(seconds, self._close_if_still_idle)

    def _is_idle(self) -> bool:
        return not (self._is_responding() or self._receiving or self.pipeline or self._rejection is not None)

    def _close_if_still_idle(self) -> None:
        if self._receiving:
            self._timer.start(self._limits.receive_seconds, self._on_receive_timeout)
        elif has_unread_bytes(self.transport):
            self._timer.start(_CLOSE_DELAY_SECONDS, self._close_if_still_idle)
        else:
            close_at_once(self.transport)
