"""A request's timeout, and the cancellation of its work when its client disconnects.

Both begin when the request first waits for upstream, which most requests never do.
"""

import asyncio
from typing import Any

from starlette.types import Receive

from gateway.fetch.fetch_scope import FetchScope

_SECONDS_BEFORE_WATCHING = 0.05


class ClientDisconnectedError(Exception):
    """The client disconnected before it got a response."""


class RequestTimeout:
    """A context manager around the work on a request, in the request's own task.

    After `seconds` the scope expires. When the client disconnects, the block is cancelled and raises
    ClientDisconnectedError; a cancellation from elsewhere passes through.
    """

    __slots__ = ("_has_disconnected", "_receive", "_scope", "_seconds", "_task", "_timers", "_watcher")

    def __init__(self, scope: FetchScope, receive: Receive, seconds: float) -> None:
        self._scope = scope
        self._receive = receive
        self._seconds = seconds
        self._task: asyncio.Task[Any] | None = None
        self._has_disconnected = False
        self._timers: tuple[asyncio.TimerHandle, ...] = ()
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        self._scope.on_waiting = self._begin

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._scope.on_waiting = None
        task, watcher, timers = self._task, self._watcher, self._timers
        # The watcher's traceback holds this object: with the references kept, both would be garbage in a cycle.
        self._task, self._watcher, self._timers = None, None, ()
        for timer in timers:
            timer.cancel()
        if watcher is not None:
            watcher.cancel()
        if kind is asyncio.CancelledError and self._has_disconnected and task is not None and not task.uncancel():
            raise ClientDisconnectedError from None

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._timers = (
            loop.call_later(self._seconds, self._scope.expire),
            loop.call_later(_SECONDS_BEFORE_WATCHING, self._watch),
        )

    def _watch(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._until_disconnected())

    async def _until_disconnected(self) -> None:
        is_whole = False
        while (message := await self._receive())["type"] != "http.disconnect":
            if is_whole:
                # After a whole request only a disconnect can come; ignore a server that sends anything else.
                return
            is_whole = not message.get("more_body", False)
        self._has_disconnected = True
        if self._task is not None:
            self._task.cancel()
