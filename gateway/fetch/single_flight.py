"""Single flight: one call for everybody who wants the same, however many requests wait for it.

A call belongs to no request. Each that waits acquires it, and the call ends early only when the last has released it;
so the request that started it may be cancelled like any other. Each waiter has a future of its own, because cancelling
the awaiting task also cancels the future that it awaits.

A holder ends in one of three ways. Its answer came; or its client left, so that it wants none; or its time was over.
After the last of these the call is worth its answer to whoever asks next, so it goes on detached, without a holder.
No library is used, since decorators such as async_lru's tell the first two of these apart at most.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar

from gateway.domain.errors import GatewayError

T = TypeVar("T")


class DetachedCalls(Protocol):
    """The calls that go on although nobody waits for them; each may be cancelled at any time. Known by their tasks."""

    def detach(self, task: "asyncio.Task[Any]") -> bool:
        """Let a call go on; False where there is no room for it, or it was not sent yet."""

    def attach(self, task: "asyncio.Task[Any]") -> None:
        """Somebody waits for the call again."""


class SharedCall(Generic[T]):
    """A call that several requests may wait for; it is made with one holder."""

    __slots__ = ("_detached", "_holders", "_loop", "_on_done", "_task", "_waiters", "started")

    def __init__(
        self, call: Coroutine[Any, Any, T], started: float, on_done: "Callable[[SharedCall[T]], None]"
    ) -> None:
        """`on_done` is called with this object when the call has ended, however it ended.

        It must not hold this object itself: a cycle would keep the answer until the garbage collector runs.
        """
        self.started = started
        self._on_done = on_done
        self._holders = 1
        self._detached: DetachedCalls | None = None
        self._waiters: list[asyncio.Future[T]] = []
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(call)
        self._task.add_done_callback(self._finish)

    @property
    def joinable(self) -> bool:
        """Whether it has not been abandoned, so that a further request may wait for it."""
        return not self._task.cancelling() and not self._task.cancelled()

    @property
    def answer(self) -> T | None:
        """The answer of a completed call; None while it is pending, and where it failed."""
        task = self._task
        return None if not task.done() or task.cancelled() or task.exception() else task.result()

    @property
    def failure(self) -> GatewayError | None:
        """Why a completed call failed; None for any other, and where it was cancelled."""
        task = self._task
        error = task.exception() if task.done() and not task.cancelled() else None
        return error if isinstance(error, GatewayError) else None

    def acquire(self) -> "SharedCall[T]":
        """Add a holder; each acquire takes one release."""
        if not self._holders and self._detached is not None:
            self._detached.attach(self._task)
        self._holders += 1
        return self

    def release(self, detached: DetachedCalls | None = None) -> None:
        """Remove a holder; without holders a pending call is cancelled.

        A holder whose time is over gives `detached`: then the call goes on among those, whoever else leaves it.
        """
        self._holders -= 1
        self._detached = self._detached or detached
        if self._task.done():
            forget_frames(self._task)
        elif not self._holders and not (self._detached is not None and self._detached.detach(self._task)):
            self._task.cancel()

    def wait(self) -> "asyncio.Future[T]":
        """A future of the answer, for one waiter, who may cancel it."""
        waiter: asyncio.Future[T] = self._loop.create_future()
        if self._task.done():
            _pass_on(self._task, waiter)
        else:
            self._waiters.append(waiter)
        return waiter

    def _finish(self, task: "asyncio.Task[T]") -> None:
        self._on_done(self)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            _pass_on(task, waiter)
        if not task.cancelled():
            task.exception()


def forget_frames(future: "asyncio.Future[Any]") -> None:
    """Remove the traceback and the context from the domain error that a future failed with.

    They hold the frames that awaited the future, and those hold the future: a cycle, which would keep all that a
    request had until the garbage collector runs. For futures that are no longer awaited; a fault of ours keeps its
    traceback.
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
        # Marks it as retrieved: asyncio must not report it as lost where nobody waits any more.
        waiter.exception()
