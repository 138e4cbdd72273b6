"""Timeslot calls on their way, each corrected by what calls that were sent after it have brought before it.

Such an answer may have been shown already, so the later one may not go back behind it. Where slots do not name their
owners, it cannot be told what of the later one is older: then the EHR is asked again.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf

from gateway.domain.pieces import PIECE, InPieces, whole
from gateway.domain.queries import Step
from gateway.domain.read_order import corrected_in_pieces, filters_meet
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import Window
from gateway.fetch.snapshots import Snapshot

# So many may land while a call is on its way.
_MOST_NEWER = 100
# No EHR is as slow to a call that was made before as that a newer answer should wait for it longer.
_LONGEST_WAIT_SECONDS = 5.0


@dataclass(slots=True, eq=False)
class PendingRead:
    """A call that is on its way, and what calls that landed meanwhile have brought.

    Those of them that began later are newer, although they landed earlier, and may have been shown. `reader` stands for
    the request that makes the call, `began` is when its latest attempt began, in the clock's seconds; `forgotten` are
    the windows in which what began before an instant is not to be kept.
    """

    step: Step
    reader: object
    began: float = 0.0
    was_overtaken: bool = False
    newer: list[Snapshot] = field(default_factory=list)
    forgotten: list[tuple[Window, float]] = field(default_factory=list)
    overtaken_by: float = -inf
    """When the latest call began of those that have brought something newer that is not known here."""
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self, now: float, *, was_overtaken: bool) -> None:
        """Begin an attempt, the first one or one after newer answers have overtaken the call."""
        self.began, self.was_overtaken = now, was_overtaken
        self.newer.clear()
        self.forgotten.clear()

    def end(self) -> None:
        """Let those land that wait for this call."""
        self._ended.set()

    def note(self, landed: Snapshot) -> None:
        """Remember what another call brought."""
        if not (filters_meet(landed.step, self.step) and landed.step.window.overlaps(self.step.window)):
            return
        if len(self.newer) > _MOST_NEWER:
            self.newer = [each for each in self.newer if _last_began(each) > self.began]
        if len(self.newer) > _MOST_NEWER:
            # Nor is more of it remembered, since calls of other processes may be looked at late.
            self.overtaken_by = max(self.overtaken_by, _last_began(landed))
        else:
            self.newer.append(landed)

    def forget(self, window: Window, before: float) -> None:
        """Remember that what the call brings of a window is not to be kept, unless it begins after an instant."""
        if self.step.window.overlaps(window):
            self.forgotten.append((window, before))

    async def wait_for_overtaken(self, others: Iterable["PendingRead"], began: float) -> None:
        """Let calls land first that began before this one's request was sent, and were overtaken before.

        Else answers that come one after the other could keep a call from ever landing. Of two that were overtaken the
        one that began later waits, whenever their requests were sent, so that they never wait for each other.
        """
        before = self.began if self.was_overtaken else began
        older = [
            each
            for each in others
            if each.was_overtaken
            and each.began < before
            and each is not self
            and each.step.window.overlaps(self.step.window)
            and filters_meet(each.step, self.step)
        ]
        if older:
            # A call that is slower still is overtaken once more, and says so if it was the last time.
            with suppress(TimeoutError):
                async with asyncio.timeout(_LONGEST_WAIT_SECONDS):
                    for each in older:
                        await each._ended.wait()  # noqa: SLF001 # of the same class

    async def corrected(self, answer: TimeslotList, began: float) -> TimeslotList | None:
        """The answer as newer ones say; None where they do not tell, so that the EHR has to be asked again."""
        if self.overtaken_by > began:
            return None
        corrected = answer
        # Calls wait for their turn while others land that were sent before them.
        self.newer = [each for each in self.newer if _last_began(each) > began]
        while self.newer:
            if len(self.newer) > _MOST_NEWER:
                return None
            self.newer.sort(key=lambda snapshot: -snapshot.fetched_at)
            newer = self.newer.pop()
            if _last_began(newer) <= began:
                continue
            # What one request reads is told apart by its calls alone, where slots do not name their owners.
            is_own = newer.reader is self.reader
            work = corrected_in_pieces(corrected, self.step, newer.answer, newer.step, leaves_unnamed=is_own)
            is_short = len(corrected) + len(newer.answer) <= PIECE
            found = whole(work) if is_short else await InPieces(work)
            if found is corrected:
                continue
            # Which of its slots are of the requests that were sent after this one's, and which are not, is not known.
            if found is None or newer.fetched_at <= began:
                return None
            corrected = found
        return corrected


def _last_began(snapshot: Snapshot) -> float:
    """When the last request was sent that brought an answer: its window in halves, or its pages, take several."""
    return max(snapshot.fetched_at, snapshot.answer.last_began or snapshot.fetched_at)
