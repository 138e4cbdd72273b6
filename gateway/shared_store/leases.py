"""Leases: which process works on what an event log says was begun, and how others wait for it.

Who begins something appends an event that names a lease, `Leases.new`, with `EventLogs.append(..., lease=name)`, then
does the work between `hold` and `end`; meanwhile the lease is renewed. When its process dies it ends by itself, within
a second.

Others read the log, find what was begun and not ended, and wait: `newer(log, after, leases)` returns as soon as the log
has an event after that position, or one of the leases has ended; it raises StoreAwayError where the store goes away. So
a wait ends when the work has ended, when its process was killed, and when nothing more can be known of it.

    page = await logs.read(log)
    ...                                     # what `page.events` say was begun by others under `lease`
    ended = await leases.newer(log, page.events[-1].position, [lease])
    page = await logs.read(log)             # and look again; what has `ended` without an event will get none
"""

import asyncio
from base64 import urlsafe_b64encode
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from cachetools import LRUCache

from gateway.shared_store.errors import StoreAwayError, StoreRefusedError
from gateway.shared_store.event_log import BEFORE_ALL, EventLogs, EventMessage, Position

_RENEWAL_SECONDS = 0.3
_CHECK_SECONDS = 0.05
_NAME_BYTES = 12
# A message may come between reading a log and waiting for what follows; that takes some turns of the loop.
_REMEMBERED_MESSAGES = 1_000
# A script's keys are on Lua's stack.
_MOST_KEYS = 1_000


@dataclass(slots=True, eq=False)
class _Waiter:
    after: Position
    leases: Collection[str]
    woken: "asyncio.Future[Collection[str]]"

    def wake(self, ended: Collection[str] = ()) -> None:
        if not self.woken.done():
            self.woken.set_result(ended)

    def fail(self, error: Exception) -> None:
        if not self.woken.done():
            self.woken.set_exception(error)
            # Marks it as retrieved: who waited may have been cancelled in the same turn.
            self.woken.exception()


class Leases:
    """The leases that this process holds, and its waiting for what others hold; used on one event loop."""

    def __init__(self, logs: EventLogs, new_secret: Callable[[], bytes]) -> None:
        self._logs = logs
        self._new_secret = new_secret
        self._held: set[str] = set()
        self._renewal: asyncio.TimerHandle | None = None
        self._waiting: defaultdict[str, set[_Waiter]] = defaultdict(set)
        self._latest: LRUCache[str, EventMessage] = LRUCache(_REMEMBERED_MESSAGES)
        self._checking: asyncio.Task[None] | None = None
        logs.follow(self._take_message)
        logs.store.on_away(self._take_away)

    def new(self) -> str:
        """The name of a new lease, which nobody can guess."""
        return urlsafe_b64encode(self._new_secret()[:_NAME_BYTES]).decode()

    def hold(self, lease: str) -> None:
        """Renew a lease, which was just appended, until it is ended."""
        self._held.add(lease)
        if self._renewal is None:
            self._renewal = asyncio.get_running_loop().call_later(_RENEWAL_SECONDS, self._renew)

    def end(self, lease: str) -> None:
        """End a lease that this process holds, after what became of the work was appended."""
        self._held.discard(lease)
        self._logs.end(lease)
        if not self._held and self._renewal is not None:
            self._renewal.cancel()
            self._renewal = None

    async def newer(self, log: str, after: Position, leases: Collection[str]) -> Collection[str]:
        """Wait until a log has an event after a position, or one of some leases has ended; gives those that have.

        Raises StoreAwayError and StoreRefusedError.
        """
        waiter = _Waiter(after, leases, asyncio.get_running_loop().create_future())
        latest = self._latest.get(log)
        if latest is not None and latest.position > after:
            if latest.event is not None:
                return ()
            # Somebody else's, who may name a position that the log never gets to.
            del self._latest[log]
        self._waiting[log].add(waiter)
        try:
            ended = await self._ended(leases)
            if ended or waiter.woken.done():
                return ended
            if self._checking is None:
                self._checking = asyncio.get_running_loop().create_task(self._check())
            return await waiter.woken
        finally:
            self._waiting[log].discard(waiter)
            if not self._waiting[log]:
                del self._waiting[log]
            if not self._waiting and self._checking is not None:
                self._checking.cancel()
                self._checking = None

    def _renew(self) -> None:
        held = list(self._held)
        for start in range(0, len(held), _MOST_KEYS):
            self._logs.renew(held[start : start + _MOST_KEYS])
        self._renewal = asyncio.get_running_loop().call_later(_RENEWAL_SECONDS, self._renew)

    async def _check(self) -> None:
        """Look time and again whether what is waited for is still held, which also shows whether the store answers."""
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            waiters = self._waiters()
            try:
                ended = set(await self._ended({lease for each in waiters for lease in each.leases}))
            except (StoreAwayError, StoreRefusedError) as error:
                for each in waiters:
                    each.fail(_same(error))
                continue
            for each in waiters if ended else ():
                if found := ended.intersection(each.leases):
                    each.wake(found)

    async def _ended(self, leases: Collection[str]) -> Collection[str]:
        """Which of some leases have ended, all asked for at once."""
        names = list(leases)
        parts = [names[start : start + _MOST_KEYS] for start in range(0, len(names), _MOST_KEYS)]
        ended: list[str] = []
        for part in parts:
            alive = await self._logs.alive(part)
            ended += [lease for lease, lives in zip(part, alive, strict=True) if not lives]
        return ended

    def _waiters(self) -> Sequence[_Waiter]:
        return [each for waiters in self._waiting.values() for each in waiters]

    def _take_message(self, message: EventMessage) -> None:
        log, position = message.log, message.position
        latest = self._latest.get(log)
        if latest is None or position > latest.position:
            self._latest[log] = message
        for each in self._waiting.get(log, ()):
            # An event for which there was no room ended its log.
            if (position > each.after or position == BEFORE_ALL) and message.event is not None:
                each.wake()

    def _take_away(self) -> None:
        reason = self._logs.store.away_reason
        for each in self._waiters():
            each.fail(StoreAwayError(reason))


def _same(error: StoreAwayError | StoreRefusedError) -> Exception:
    """An error of its own for each who waits, since raising one notes where."""
    return StoreAwayError(error.reason) if isinstance(error, StoreAwayError) else StoreRefusedError(error.kind)
