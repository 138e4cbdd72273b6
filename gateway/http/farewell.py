"""How a connection ends when the server stops: whatever was begun gets its answer, and then it closes.

Between the signal and the end there are two steps. While the server *drains* it takes requests as before, and each
answer says that it is the last of its connection, so that its client takes another one. Then the connections are told
to end, and those at rest close. HTTP/1.1 has no word for that, so a request may be on its way to one; a moment's wait
lets it in.
"""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from gateway.http.heads import WireLimits
from gateway.http.patience import has_unread
from gateway.http.readiness import Readiness
from gateway.http.wire import WireProtocol

# Whoever connects asks at once; a connection older than this is kept for later.
_FIRST_REQUEST_SECONDS = 1.0
# For what crosses our closing on its way.
_QUIET_SECONDS = 0.05


def limited_protocol(
    limits: WireLimits, readiness: Readiness, *, new_reference: Callable[[], str] = lambda: str(uuid4())
) -> type[asyncio.Protocol]:
    """The class to give to uvicorn as `http`; `new_reference` makes the references of refusals."""

    class LimitedProtocol(FarewellProtocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, readiness=readiness, limits=limits, new_reference=new_reference, **kwargs)

    return LimitedProtocol


class FarewellProtocol(WireProtocol):
    """A connection that ends well."""

    def __init__(self, *args: Any, readiness: Readiness, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._readiness = readiness
        self._made_at = self.loop.time()
        self._was_asked = False
        self._ending = False
        self._last: RequestResponseCycle | None = None

    def say_goodbye(self) -> None:
        """Let the newest answer be the last of the connection, unless its head is out."""
        # An answer before the newest must not close the connection, or the newest would be lost.
        if self._last is not None and not self._last.response_started:
            self._last.keep_alive = True
        self._last = None
        newest: RequestResponseCycle | None = self.cycle
        if newest is not None and newest.keep_alive and not newest.response_started:
            self._last = newest
            newest.keep_alive = False

    def shutdown(self) -> None:
        """Close the connection as soon as it has its answers."""
        self._ending = True
        self.say_goodbye()
        self._uptake.watch()
        self._close_at_rest()

    def on_headers_complete(self) -> None:
        """Say of a request's answer that it is the last one, where the server stops."""
        super().on_headers_complete()
        self._was_asked = True
        if self._readiness.is_stopping:
            self.say_goodbye()

    def on_message_complete(self) -> None:
        """A request is whole, and may have been answered before it was."""
        super().on_message_complete()
        self._close_at_rest()

    def on_response_complete(self) -> None:
        """Turn to the next request of the connection, or end."""
        super().on_response_complete()
        self._close_at_rest()

    def _close_at_rest(self) -> None:
        if not self._ending or self.transport.is_closing() or not self._is_at_rest():
            return
        seconds = _QUIET_SECONDS
        if not self._was_asked:
            seconds = max(seconds, self._made_at + _FIRST_REQUEST_SECONDS - self.loop.time())
        self._patience.wait(seconds, self._close_unless_asked)

    def _is_at_rest(self) -> bool:
        return self._is_free() and not self._partial and not self.pipeline and self._refusal is None

    def _close_unless_asked(self) -> None:
        if self._partial:
            self._patience.wait(self._limits.receive_seconds, self._late)
        elif has_unread(self.transport):
            self._patience.wait(_QUIET_SECONDS, self._close_unless_asked)
        else:
            self.transport.close()
