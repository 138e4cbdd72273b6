"""A semaphore for asyncio whose limit may change at any time."""

import asyncio
from collections import OrderedDict
from collections.abc import Hashable


class ResizableSemaphore:
    """Hands out permits to keys in turn, and for one key in the order of asking; to be used inside one loop.

    So a key for which hundreds wait delays another's first waiter by one permit.

    `release` gives a permit to the first waiter, which holds it from that moment on, before its task runs. So no later
    caller can take it first, and a waiter that is cancelled in between releases it.
    """

    def __init__(self, limit: int) -> None:
        """`limit` may be changed; call `wake_waiting` after it grew."""
        self.limit = limit
        self.in_use = 0
        self.waiting = 0
        """How many callers wait for a permit."""
        # A deque would keep the waiters that left, or have to be searched for each of them.
        self._waiters: OrderedDict[Hashable, dict[asyncio.Future[bool | None], None]] = OrderedDict()

    def try_acquire(self) -> bool:
        """Take a permit if one is free; none is free while others wait."""
        if self.in_use < self.limit:
            self.in_use += 1
            return True
        return False

    async def acquire(self, timeout_seconds: float, key: Hashable = None) -> bool | None:
        """Wait for a permit; False where none came in time, or `reject_waiting` was called.

        None where the waiter had to leave its place in the queue to another key's (`make_room`).
        """
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool | None] = loop.create_future()
        self._waiters.setdefault(key, {})[waiter] = None
        self.waiting += 1
        timer = loop.call_later(timeout_seconds, self._reject, key, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._remove(key, waiter)
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
            key, of_key = next(iter(self._waiters.items()))
            waiter = next(iter(of_key))
            self._remove(key, waiter)
            if of_key:
                self._waiters.move_to_end(key)
            # One that was cancelled in this turn of the loop has not yet left.
            if not waiter.done():
                self.in_use += 1
                waiter.set_result(True)

    def make_room(self, key: Hashable) -> bool:
        """Reject the newest waiter of the key with the most, if those are at least two more than this key's."""
        longest = max(self._waiters, key=lambda each: len(self._waiters[each]), default=key)
        of_longest = self._waiters.get(longest, {})
        if len(of_longest) <= len(self._waiters.get(key, ())) + 1:
            return False
        self._reject(longest, next(reversed(of_longest)), result=None)
        return True

    def reject_waiting(self) -> None:
        """Make every pending `acquire` return False."""
        for key, of_key in tuple(self._waiters.items()):
            for waiter in tuple(of_key):
                self._reject(key, waiter)

    def _reject(self, key: Hashable, waiter: "asyncio.Future[bool | None]", *, result: bool | None = False) -> None:
        self._remove(key, waiter)
        if not waiter.done():
            waiter.set_result(result)

    def _remove(self, key: Hashable, waiter: "asyncio.Future[bool | None]") -> None:
        of_key = self._waiters.get(key)
        if of_key is not None and waiter in of_key:
            del of_key[waiter]
            self.waiting -= 1
            if not of_key:
                del self._waiters[key]
