"""While a request waits for upstream its time may run out, and its client may leave.

Both are looked after from the moment on at which it begins to wait: most requests never do.
"""

import asyncio
from typing import Any

from starlette.types import Receive

from gateway.fetch.fetch_scope import FetchScope

_SECONDS_BEFORE_LOOKING = 0.05


class ClientDisconnectedError(Exception):
    """Nobody is there to take the answer."""


class RequestTimeout:
    """A context manager around what answers a request, in the request's own task.

    After so many seconds the scope expires. Where the client disconnects, the block is cancelled and
    ClientDisconnectedError raised; whoever cancels it otherwise gets the cancellation.
    """

    __slots__ = ("_client_left", "_receive", "_request", "_scope", "_seconds", "_timers", "_watch")

    def __init__(self, scope: FetchScope, receive: Receive, seconds: float) -> None:
        self._scope = scope
        self._receive = receive
        self._seconds = seconds
        self._request: asyncio.Task[Any] | None = None
        self._client_left = False
        self._timers: tuple[asyncio.TimerHandle, ...] = ()
        self._watch: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        self._scope.on_waiting = self._begin

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._scope.on_waiting = None
        request, watch, timers = self._request, self._watch, self._timers
        # The watch's traceback holds this object: left joined, they and the scope would wait for the collector.
        self._request, self._watch, self._timers = None, None, ()
        for timer in timers:
            timer.cancel()
        if watch is not None:
            watch.cancel()
        if kind is asyncio.CancelledError and self._client_left and request is not None and not request.uncancel():
            raise ClientDisconnectedError from None

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._request = asyncio.current_task()
        self._timers = (
            loop.call_later(self._seconds, self._scope.expire),
            loop.call_later(_SECONDS_BEFORE_LOOKING, self._look),
        )

    def _look(self) -> None:
        self._watch = asyncio.get_running_loop().create_task(self._until_left())

    async def _until_left(self) -> None:
        is_whole = False
        while (message := await self._receive())["type"] != "http.disconnect":
            if is_whole:
                # Nothing but its leaving can come after a request; a server that says otherwise is not listened to.
                return
            is_whole = not message.get("more_body", False)
        self._client_left = True
        if self._request is not None:
            self._request.cancel()
