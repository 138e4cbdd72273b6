"""Calls in call, shared by whoever wants the same: one call, however many requests wait for it.

A call belongs to nobody. Whoever waits holds it, and it ends early only when the last holder has let go; so the
request that began it may be cancelled like any other. Each waiter has a future of its own, since one that is
awaited is cancelled with whoever awaits it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from gateway.domain.errors import GatewayError

T = TypeVar("T")


class SharedCall(Generic[T]):
    """A call on its way; made with one holder."""

    __slots__ = ("_holders", "_landed", "_loop", "_task", "_waiters", "started")

    def __init__(self, call: Coroutine[Any, Any, T], started: float, landed: "Callable[[SharedCall[T]], None]") -> None:
        """`landed` is called with the call when it has ended, however it ended.

        It must not hold the call itself: a cycle would keep the answer until the collector comes by.
        """
        self.started = started
        self._landed = landed
        self._holders = 1
        self._waiters: list[asyncio.Future[T]] = []
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(call)
        self._task.add_done_callback(self._land)

    @property
    def joinable(self) -> bool:
        """Whether it will bring an answer."""
        return self._holders > 0 and not self._task.cancelled()

    @property
    def answer(self) -> T | None:
        """What it brought; None before it has, and where it failed."""
        task = self._task
        return None if not task.done() or task.cancelled() or task.exception() else task.result()

    def hold(self) -> "SharedCall[T]":
        """Wait for it too; each hold takes one release."""
        self._holders += 1
        return self

    def release(self) -> None:
        """Let go; without holders it ends."""
        self._holders -= 1
        if self._task.done():
            forget_frames(self._task)
        elif not self._holders:
            self._task.cancel()

    def outcome(self) -> "asyncio.Future[T]":
        """What it brings, for one waiter, who need not wait to the end."""
        waiter: asyncio.Future[T] = self._loop.create_future()
        if self._task.done():
            _pass_on(self._task, waiter)
        else:
            self._waiters.append(waiter)
        return waiter

    def _land(self, task: "asyncio.Task[T]") -> None:
        self._landed(self)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            _pass_on(task, waiter)
        if not task.cancelled():
            task.exception()


def forget_frames(future: "asyncio.Future[Any]") -> None:
    """Take from the domain error that a future failed with whatever says where it was raised.

    It holds the frames that awaited the future, and those hold the future: a cycle, and with it all that a request
    had, until the collector comes by. For when nobody awaits it any more; a fault of ours keeps its traceback.
    """
    if future.done() and not future.cancelled():
        error = future.exception()
        if isinstance(error, GatewayError):
            error.__traceback__ = error.__context__ = None


def _pass_on(task: "asyncio.Task[T]", waiter: "asyncio.Future[T]") -> None:
    if waiter.done():
        return
    if task.cancelled():
        waiter.cancel()
        return
    error = task.exception()
    if error is None:
        waiter.set_result(task.result())
    else:
        waiter.set_exception(error)
        # Whoever waits gets it; where nobody does any more, it must not be reported as lost.
        waiter.exception()
