"""So many at a time, and the others in order: what asyncio's semaphore does, for a number that changes."""

import asyncio
from collections import OrderedDict


class ResizableSemaphore:
    """Taken and given back; to be used inside one loop.

    Whoever waits is handed a place by whoever frees one, and holds it from that moment on. So nobody who comes later
    can take it before, and where the waiter is cancelled meanwhile, it gives the place back.
    """

    __slots__ = ("_line", "most", "taken")

    def __init__(self, most: int) -> None:
        """`most` may change; `fill` has to follow where it grew."""
        self.most = most
        self.taken = 0
        # A deque would keep those that left, or take a walk through it for each.
        self._line: OrderedDict[asyncio.Future[bool], None] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._line)

    def take(self) -> bool:
        """Take a place, where one is free; it is free only when nobody waits for it."""
        if self.taken < self.most:
            self.taken += 1
            return True
        return False

    async def wait(self, seconds: float) -> bool:
        """Take a place when it is one's turn; False where there was none in time, or everybody was sent away."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._line[waiter] = None
        timer = loop.call_later(seconds, self._send_away, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._line.pop(waiter, None)
            elif waiter.result():
                self.give_back()
            raise
        finally:
            timer.cancel()

    def give_back(self) -> None:
        """Leave a place to the next."""
        self.taken -= 1
        if self._line:
            self.fill()

    def fill(self) -> None:
        """Hand out the places that are free."""
        while self._line and self.taken < self.most:
            waiter, _ = self._line.popitem(last=False)
            # One that was cancelled in this turn of the loop has not yet gone.
            if not waiter.done():
                self.taken += 1
                waiter.set_result(True)

    def send_away(self) -> None:
        """Nobody shall wait any longer."""
        for waiter in tuple(self._line):
            self._send_away(waiter)

    def _send_away(self, waiter: "asyncio.Future[bool]") -> None:
        self._line.pop(waiter, None)
        if not waiter.done():
            waiter.set_result(False)
