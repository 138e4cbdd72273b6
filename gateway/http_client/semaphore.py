"""A semaphore for asyncio whose limit may change at any time."""

import asyncio
from collections import OrderedDict


class ResizableSemaphore:
    """Hands out permits in the order in which they were asked for; to be used inside one loop.

    `release` gives a permit to the first waiter, which holds it from that moment on, before its task runs. So no later
    caller can take it first, and a waiter that is cancelled in between releases it.
    """

    def __init__(self, limit: int) -> None:
        """`limit` may be changed; call `wake_waiting` after it grew."""
        self.limit = limit
        self.in_use = 0
        # A deque would keep the waiters that left, or have to be searched for each of them.
        self._waiters: OrderedDict[asyncio.Future[bool], None] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many callers wait for a permit."""
        return len(self._waiters)

    def try_acquire(self) -> bool:
        """Take a permit if one is free; none is free while others wait."""
        if self.in_use < self.limit:
            self.in_use += 1
            return True
        return False

    async def acquire(self, timeout_seconds: float) -> bool:
        """Wait for a permit; False where none came in time, or `reject_waiting` was called."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiters[waiter] = None
        timer = loop.call_later(timeout_seconds, self._reject, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._waiters.pop(waiter, None)
            elif waiter.result():
                self.release()
            raise
        finally:
            timer.cancel()

    def release(self) -> None:
        """Give a permit back, and on to the first waiter if there is one."""
        self.in_use -= 1
        if self._waiters:
            self.wake_waiting()

    def wake_waiting(self) -> None:
        """Give the free permits to those that wait."""
        while self._waiters and self.in_use < self.limit:
            waiter, _ = self._waiters.popitem(last=False)
            # One that was cancelled in this turn of the loop has not yet left.
            if not waiter.done():
                self.in_use += 1
                waiter.set_result(True)

    def reject_waiting(self) -> None:
        """Make every pending `acquire` return False."""
        for waiter in tuple(self._waiters):
            self._reject(waiter)

    def _reject(self, waiter: "asyncio.Future[bool]") -> None:
        self._waiters.pop(waiter, None)
        if not waiter.done():
            waiter.set_result(False)
