"""Telling the journal what came of a call: at once where it can be written, and again and again where it cannot."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from gateway.booking.attempt import Attempt
from gateway.booking.journal import Journal, JournalState, JournalUnavailableError
from gateway.booking.outcomes import done, is_keyless
from gateway.domain.booking import Outcome

_SHORTEST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 5.0

Write: TypeAlias = Callable[[], Awaitable[object]]


def writes_of(journal: Journal, attempt: Attempt, outcome: Outcome | None) -> Sequence[Write]:
    """What the journal has to be told of an attempt, in this order; the outcome is None where its call was lost."""
    entry = attempt.entry
    counts = [partial(journal.count_attempt, each, attempt.attempts_expire_at) for each in attempt.wrong_codes]
    if outcome is None:
        return [*counts, partial(journal.write, replace(entry, state=JournalState.UNKNOWN))]
    if attempt.was_called and not is_keyless(outcome):
        return [*counts, partial(journal.write, done(entry, outcome))]
    # What was written as sent, and did not leave, is taken back before it is forgotten.
    claimed = replace(entry, state=JournalState.CLAIMED)
    taken_back = [] if entry.state is JournalState.CLAIMED else [partial(journal.write, claimed)]
    return [*taken_back, partial(journal.release, entry.key)]


async def written(writes: Sequence[Write]) -> Sequence[Write]:
    """Write in order; gives what could not be written, and what comes after it."""
    for number, write in enumerate(writes):
        try:
            await write()
        except JournalUnavailableError:
            return writes[number:]
    return ()


async def write_until_written(writes: Sequence[Write], is_stopping: Callable[[], bool]) -> None:
    """Write until it is written, or the process stops: then others find what was sent, and look it up."""
    seconds = _SHORTEST_WAIT_SECONDS
    while (writes := await written(writes)) and not is_stopping():
        await asyncio.sleep(seconds)
        seconds = min(2 * seconds, _LONGEST_WAIT_SECONDS)
