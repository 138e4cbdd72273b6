"""Turns at a time or an appointment: of our own clients one after the other, in the order in which they came.

Within a process they queue here. Only the first in a queue asks the journal for the hold that other processes respect.
"""

import asyncio
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from gateway.booking.journal import Hold, Journal, JournalUnavailableError
from gateway.domain.ids import TimeslotId
from gateway.domain.models import CareUnitKey

# Another process may end its hold at any moment, and says nothing.
_SHORTEST_POLL_SECONDS = 0.02
_LONGEST_POLL_SECONDS = 0.5


@dataclass(slots=True, eq=False)
class Turn:
    """A key's place in the queue for what it wants to hold.

    `had_to_wait` says that another was before it, so that what was free may be gone; `is_gone` that somebody has asked
    meanwhile, and it is.
    """

    hold: Hold
    slot: TimeslotId | None
    arrived: float
    had_to_wait: bool = False
    is_gone: bool = False
    begun: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Turns:
    """All turns of a process; their number is bounded by that of the requests."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._turns: defaultdict[CareUnitKey, list[Turn]] = defaultdict(list)

    async def take(self, hold: Hold, slot: TimeslotId | None, seconds: float) -> Turn:
        """Wait for a turn, and hold what is wanted. Raises TimeoutError and JournalUnavailableError.

        A turn whose slot turned out to be gone holds nothing.
        """
        turn = Turn(hold, slot, asyncio.get_running_loop().time())
        turns = self._turns[hold.care_unit]
        turn.had_to_wait = _is_blocked(turn, turns)
        turns.append(turn)
        if not turn.had_to_wait:
            turn.begun.set_result(None)
        try:
            async with asyncio.timeout(seconds):
                await turn.begun
                if not turn.is_gone:
                    await self._hold(turn)
        except BaseException:
            await self.end(turn)
            raise
        return turn

    async def extend(self, turn: Turn, until: datetime) -> None:
        """Hold for longer, since a call may still land. Raises JournalUnavailableError."""
        turn.hold = replace(turn.hold, until=until)
        await self._journal.hold(turn.hold)

    async def end(self, turn: Turn) -> None:
        """End a turn, so that the next begins."""
        has_begun = turn.begun.done() and not turn.begun.cancelled() and not turn.is_gone
        try:
            if has_begun and turn in self._turns.get(turn.hold.care_unit, ()):
                # What cannot be written is void at its time anyway.
                with suppress(JournalUnavailableError):
                    await self._journal.let_go(turn.hold.key)
        finally:
            self.leave(turn)

    def leave(self, turn: Turn) -> None:
        """Leave the queue, so that the next of this process begins; the journal's hold is not ended."""
        turns = self._turns.get(turn.hold.care_unit, [])
        if turn not in turns:
            return
        place = turns.index(turn)
        del turns[place]
        for number in range(place, len(turns)):
            each = turns[number]
            if not each.begun.done() and each.hold.meets(turn.hold) and not _is_blocked(each, turns[:number]):
                each.begun.set_result(None)
        if not turns:
            self._turns.pop(turn.hold.care_unit, None)

    def tell_gone(self, turn: Turn, since: float) -> None:
        """Tell those who wait for the same slot that it is gone, by a call that began after they came."""
        for each in list(self._turns.get(turn.hold.care_unit, ())):
            if each.slot == turn.slot and each.arrived <= since and not each.begun.done():
                each.is_gone = True
                self.leave(each)
                each.begun.set_result(None)

    async def _hold(self, turn: Turn) -> None:
        seconds = _SHORTEST_POLL_SECONDS
        while not await self._journal.hold(turn.hold):
            turn.had_to_wait = True
            await asyncio.sleep(seconds)
            seconds = min(2 * seconds, _LONGEST_POLL_SECONDS)


def _is_blocked(turn: Turn, earlier: list[Turn]) -> bool:
    return any(each.hold.meets(turn.hold) for each in earlier)
